#!/bin/bash
# Registers this machine with GitHub for one job, runs it as an unprivileged user, and removes all that it left.
#
# Runs as root by perf-runner@USER.service, again and again. Reads /etc/perfgate/USER.conf:
#   REPOSITORY=owner/name
#   LABELS=gpu,rtx-4090
#   CARD=GPU-…            the card's UUID (nvidia-smi -L)
#   RUNNERGROUP=…         only for a runner of a group of the organisation that owns the repository
# and, as a credential of the service, the token that may ask for registrations. Neither is readable by USER.
set -euo pipefail
umask 022
readonly app=/opt/actions-runner seed=/opt/perf-home hook=/opt/perfgate/.github/runner/job-started.sh

fail() {
  echo "run-one-job: $*" >&2
  exit 1
}

[ "$#" -eq 1 ] || fail "expected one argument, the user that runs jobs"
[ "$(id -u)" -eq 0 ] || fail "expected to run as root, which alone may read the token and clean up"
readonly user=$1
uid=$(id -u -- "${user}") || fail "there is no user ${user}"
gid=$(id -g -- "${user}")
home=$(getent passwd -- "${user}" | cut -d: -f6)
readonly uid gid home
[ "${uid}" -ge 1000 ] || fail "user ${user} is one of the system's, expected one made for jobs"
[ "$(realpath -- "${home}")" = "/home/${user}" ] || fail "the home of ${user} is ${home}, expected /home/${user}: it is emptied"

CARD="" RUNNERGROUP=""
# shellcheck source=/dev/null
. "/etc/perfgate/${user}.conf"
: "${REPOSITORY:?not set in /etc/perfgate/${user}.conf}" "${LABELS:?not set in /etc/perfgate/${user}.conf}"

readonly locks=/tmp/perfgate-locks

clean_locks() {
  # Whoever waits for a card waits on its lock file, which may be this user's although another holds it: plain files
  # named as locks stay. All else is for the next job to fall over: a link, a folder, a file of another name.
  local folder=$1 owner=$2
  if [ -L "${folder}" ] || [ ! -d "${folder}" ]; then
    find "$(dirname -- "${folder}")" -maxdepth 1 -path "${folder}" -uid "${owner}" -delete
    return
  fi
  find "${folder}" -xdev -mindepth 1 -depth -uid "${owner}" \
    -not \( -type f -path "${folder}/*.lock" -not -path "${folder}/*/*" \) -delete
}

clean() {
  # What still runs as this user could watch the next job; then what it left where other jobs would find it.
  local tries=0
  while pkill -KILL -u "${uid}"; do
    sleep 0.2
    tries=$((tries + 1))
    [ "${tries}" -lt 50 ] || fail "processes of ${user} cannot be ended"
  done
  find "${home}" -xdev -mindepth 1 -delete
  find /tmp /var/tmp /dev/shm -xdev -mindepth 1 -depth -uid "${uid}" \
    -not -path "${locks}" -not -path "${locks}/*" -delete
  clean_locks "${locks}" "${uid}"
}

as_user() {
  # Without a way back to root's rights: no capabilities, and no program that is setuid works as such.
  setpriv --reuid="${uid}" --regid="${gid}" --init-groups --inh-caps=-all --bounding-set=-all --no-new-privs -- "$@"
}

clean
trap clean EXIT
chmod 750 "${home}"
if [ -d "${seed}" ]; then
  cp -a --reflink=auto -- "${seed}/." "${home}/"
fi
cp -a --reflink=auto -- "${app}" "${home}/actions-runner"
printf 'ACTIONS_RUNNER_HOOK_JOB_STARTED=%s\n' "${hook}" >"${home}/actions-runner/.env"
chown -R --no-dereference -- "${uid}:${gid}" "${home}"
chown root:root -- "${home}/actions-runner/.env"
# The driver's own helper makes the device files and is setuid, which does not work for the user: so they are made now.
if command -v nvidia-modprobe >/dev/null; then
  nvidia-modprobe -c 0 -u
fi

scope=repos/${REPOSITORY} url=https://github.com/${REPOSITORY} group=()
if [ -n "${RUNNERGROUP}" ]; then
  scope=orgs/${REPOSITORY%%/*} url=https://github.com/${REPOSITORY%%/*} group=(--runnergroup "${RUNNERGROUP}")
fi
token=$(HOME=/root GH_TOKEN=$(<"${CREDENTIALS_DIRECTORY:?not started by its service}/token") \
  gh api --method POST "${scope}/actions/runners/registration-token" --jq .token)
[ -n "${token}" ] || fail "GitHub gave no registration token"
unset CREDENTIALS_DIRECTORY

cd -- "${home}/actions-runner"
export HOME="${home}" USER="${user}" LOGNAME="${user}" SHELL=/bin/bash PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8
if [ -n "${CARD}" ]; then
  export CUDA_VISIBLE_DEVICES="${CARD}"
fi
# By the environment: every user can read a command line. It is gone before the job begins.
ACTIONS_RUNNER_INPUT_TOKEN="${token}" as_user ./config.sh --unattended --ephemeral --disableupdate --replace \
  --url "${url}" --name "$(hostname)-${user}" --labels "${LABELS}" --work _work "${group[@]}"
unset token
as_user ./run.sh
