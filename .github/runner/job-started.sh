#!/bin/bash
# Asks, before the first step of a job, whether this machine may run it, and ends the job where it may not.
#
# The runner calls this by ACTIONS_RUNNER_HOOK_JOB_STARTED. It lies, with the Python that it calls, in a clone of root's:
# a pull request can change the workflow, but nothing here.
set +e -uo pipefail # the runner calls bash -e, which would end this at the first process that is not there
root=$(dirname -- "$(dirname -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")")")

# GitHub's own variables and nothing else, so that nothing in the job's or the user's environment changes what is asked.
kept=()
while IFS= read -r name; do
  kept+=("${name}=${!name}")
done < <(compgen -e | grep -E '^(GITHUB_|RUNNER_NAME$)')

# -P: no module from the folder that the job starts in; -s: none from the user's home.
if /usr/bin/env -i PATH=/usr/bin:/bin LANG=C.UTF-8 PYTHONPATH="${root}" "${kept[@]}" \
  /usr/bin/timeout 120 /usr/bin/python3 -B -P -s -m perfgate.github admit; then
  exit 0
fi

# An exit code is not enough: the runner goes on to steps marked `if: always()` (actions/runner#2811), and a stranger
# marks theirs so. Without its worker the job has no next step; the runner itself lives on and reports it as failed.
echo "This machine does not run this job; its worker is ended now, so no step of it runs."
sleep 5 # for these lines to reach the log
user=$(id -u)
if grep -aq 'Runner\.Worker' "/proc/${PPID}/cmdline"; then
  kill -KILL "${PPID}"
fi
pkill -KILL -u "${user}" -f '/Runner\.Worker ' # however it started this
sleep 1
if [ "${user}" -ne 0 ] && [ -n "${GITHUB_RUN_ID:-}" ] && { kill -0 "${PPID}" || pgrep -u "${user}" -f '/Runner\.Worker '; } >/dev/null 2>&1; then
  kill -KILL -1 # all that this user runs
fi
exit 1
