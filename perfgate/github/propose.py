"""``python -m perfgate.github propose``: new baselines from a job's artifact as a pull request that changes nothing else.

Owns the pull request's words, and the order of the steps on GitHub: nothing points at the new commit until it is whole. What
changed is said as the update itself says it. Every text of a file is escaped.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import shlex
import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate import git
from perfgate.codegen.rules import judge_compiled
from perfgate.command_line import Parser, refused
from perfgate.compare import comparability
from perfgate.compare.judge import old_against_new
from perfgate.compare.roofline import recording_metrics
from perfgate.config import picked, read_limits, read_settings
from perfgate.github import api as github
from perfgate.github.conclusion import LABEL, WORKFLOW
from perfgate.github.event import append, arguments_of, say, set_outputs
from perfgate.github.plan import PROJECT_FILE
from perfgate.github.proposal import ONLY, Asked, Proposed, collect, read_beside
from perfgate.hardware.gpus import card
from perfgate.records import GateError, Status
from perfgate.report.verdicts import format_markdown, machine, outcome, whole_text, worst_first
from perfgate.text import arrow, cut, duration, escaped, pipes, plain

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping, Sequence

    from perfgate.compare.roofline import Metrics
    from perfgate.config import Limits, Settings
    from perfgate.records import Recording, Verdict

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,79}")
_RUN = re.compile(r"\w{1,40}", re.ASCII)
MOST_BODY = 65536
"""Characters that GitHub takes."""
MOST_REASON = 500
_TITLE_REASON = 60
_CELL = 60
_NAMES = 30
"""Cases named in a sentence, or told of in lines."""
_SAME_CODE = "same-code"


@dataclass(frozen=True, kw_only=True)
class Commit:
    """What the new commit stands on."""

    parent: str
    tree: str
    folder: str
    """Of the baselines, from the repository's root."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What is sent to GitHub besides the files."""

    branch: str
    base: str
    """Branch that it is to go into."""
    title: str
    message: str
    body: str
    label: str = LABEL


def propose_command(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Propose; 0 when the pull request is open and being judged, 2 with one sentence where it is not."""
    try:
        _run(_parser().parse_args(arguments), environment)
    except GateError as error:
        return refused(error)
    return 0


def _parser() -> Parser:
    parser = Parser(prog="python -m perfgate.github propose", description="new baselines as a pull request")
    parser.add_argument("--from", dest="source", type=Path, required=True, metavar="DIR", help="the job's baselines")
    parser.add_argument("--samples", type=Path, metavar="DIR", help="the job's .perfgate, for before and after")
    parser.add_argument("--card", required=True, metavar="SLUG", help="the card's folder among the baselines")
    parser.add_argument("--only", choices=ONLY, help="the one kind that the update was asked for; else both")
    parser.add_argument("--reason", metavar="TEXT", help="why the numbers change (else the variable REASON)")
    parser.add_argument(
        "--dry-run", type=Path, metavar="OUT", help="write there what would be proposed, and send nothing"
    )
    return parser


def _run(options: Namespace, environment: Mapping[str, str]) -> None:
    reason = check_reason(environment.get("REASON", "") if options.reason is None else options.reason)
    if not _SLUG.fullmatch(options.card):
        raise GateError(
            "bad-usage", f"--card is {plain(options.card[:80])!r}, expected a slug such as nvidia-geforce-rtx-4090."
        )
    project = read_settings(Path.cwd())
    sender = None if options.dry_run else github.from_environment(environment)
    base, run = _place(project, environment, dry=sender is None)
    commit = _commit(project)
    asked = Asked(card=options.card, target=project.target, commit=commit.parent, reason=reason, only=options.only)
    proposed = collect(options.source, project.root / project.baselines, asked)
    times = proposed.after.times
    beside = read_beside(options.samples, times) if options.samples and times else None
    words = proposal(proposed, beside, read_limits(project.root), base=base, run=run, now=datetime.now(UTC))
    if sender is None:
        _write(options.dry_run, proposed, words, folder=commit.folder)
        print(f"propose: {options.dry_run} holds what would be proposed; nothing was sent")
        return
    url = propose(sender, proposed, words, commit)
    print(f"propose: {url}")
    append(environment, "GITHUB_STEP_SUMMARY", f"Proposed: {url}\n")


def pick_command(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Find the runner of the card that was named, and refuse a reason that is none, before anything is measured."""
    arguments_of(arguments, 0)
    check_reason(environment.get("REASON", ""))
    runner = picked(environment.get("CARD", ""), Path(PROJECT_FILE).read_text(encoding="utf-8"))
    set_outputs(environment, {"label": runner.label, "slug": runner.slug})
    say(f"pick: {runner.slug} on the runner {runner.label}.")
    return 0


def check_reason(reason: str) -> str:
    """The reason as it was given.

    Raises:
        GateError: ``no-reason`` or ``bad-reason``.
    """
    if not reason.strip():
        raise GateError(
            "no-reason", "No reason was given, expected one sentence on why the numbers change; start it with one."
        )
    if len(reason) > MOST_REASON or not reason.isprintable():
        found = (
            f"{len(reason)} characters" if len(reason) > MOST_REASON else "a line break or another control character"
        )
        raise GateError(
            "bad-reason", f"The reason has {found}, expected one line of at most {MOST_REASON} characters; shorten it."
        )
    return reason


def _place(project: Settings, environment: Mapping[str, str], *, dry: bool) -> tuple[str, str]:
    """The branch that the update was started on, and the number of the run."""
    base, run = environment.get("GITHUB_REF_NAME", ""), environment.get("GITHUB_RUN_ID", "")
    if dry:
        return base or project.default_branch, run or "local"
    if not base or not run:
        missing = "GITHUB_RUN_ID" if base else "GITHUB_REF_NAME"
        raise GateError(
            "not-on-github", f"{missing} is not set, expected GitHub's variables; elsewhere use --dry-run OUT."
        )
    if environment.get("GITHUB_REF_TYPE", "branch") != "branch":
        raise GateError(
            "not-a-branch", f"The update was started on the tag {plain(base)}, expected a branch; choose one."
        )
    return base, run


def _commit(project: Settings) -> Commit:
    """The checkout's commit; its baselines have to be as committed, since they are what the artifact is held against."""
    head = git.commit_of(project.root, "HEAD")
    tree = (git.ask(project.root, "rev-parse", "--verify", "--quiet", "HEAD^{tree}") or "").strip()
    if not head or not tree:
        raise GateError("no-commit", f"{project.root} is no checkout that git knows, expected one; check it out first.")
    if git.is_changed(project.root, project.baselines):
        raise GateError(
            "changed-baselines",
            f"{project.baselines}/ of the checkout is not as committed, expected the commit's; download the artifact "
            "somewhere else.",
        )
    return Commit(parent=head, tree=tree, folder=project.baselines)


def refuse_taken(out: Path) -> None:
    """Refuse to write over what somebody has there; also to be asked before minutes of measuring.

    Raises:
        GateError: ``bad-usage``.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise GateError("bad-usage", f"--dry-run {out} exists and is not empty, expected a new folder; name another.")


def _write(out: Path, proposed: Proposed, words: Proposal, *, folder: str) -> None:
    """All that would be sent, whole or not at all."""
    refuse_taken(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        for name, data in proposed.files.items():
            path = scratch / "branch" / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (scratch / "body.md").write_text(words.body, encoding="utf-8")
        request = {key: value for key, value in dataclasses.asdict(words).items() if key != "body"}
        request["files"] = [f"{folder}/{name}" for name in sorted(proposed.files)]
        (scratch / "pull-request.json").write_text(json.dumps(request, indent=1) + "\n", encoding="utf-8")
        scratch.chmod(0o755)  # mkdtemp's 0700 is for secrets
        scratch.replace(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


# What a reviewer reads.


def proposal(  # noqa: PLR0913 - what is proposed, and where, all by name
    proposed: Proposed, beside: Recording | None, limits: Limits, *, base: str, run: str, now: datetime
) -> Proposal:
    """Put a proposal into words.

    Args:
        proposed: The files and records.
        beside: The new launches with the old baseline's code in them, where that was kept.
        limits: What counts as a change.
        base: Branch that the update was started on.
        run: Number of the workflow run.
        now: Time of day, UTC.

    Raises:
        GateError: ``not-on-github`` for a run that has no number.
    """
    if not _RUN.fullmatch(run):
        raise GateError("not-on-github", f"The run is called {plain(run[:40])!r}, expected GitHub's number of it.")
    asked = proposed.asked
    title = f"Baselines of {cut(_card(proposed), _CELL)}: {cut(' '.join(asked.reason.split()), _TITLE_REASON)}"
    bodies = (_body(proposed, beside, limits, base, tables=tables) for tables in (True, False))
    return Proposal(
        branch=f"baselines/{asked.card}-{now:%Y-%m-%d}-{run}",
        base=base,
        title=title,
        message=f"{title}\n\n{asked.reason}\n",
        body=next((text for text in bodies if len(text) <= MOST_BODY), "The update is too large to be told here.\n"),
    )


def _body(proposed: Proposed, beside: Recording | None, limits: Limits, base: str, *, tables: bool) -> str:
    old, new = proposed.before.times, proposed.after.times
    versions = _versions(proposed)
    parts = [f"## Baselines of {_cell(_card(proposed))}", f"> {escaped(proposed.asked.reason)}"]
    if versions:
        parts.append(
            f"**Not the code alone:** {_list(versions)}. Part of a change in the stored numbers may be theirs; the same "
            "launches show what the code did."
        )
    parts += [
        f"{_cell(name)} could not be read before and is replaced, so it has no before." for name in proposed.unread
    ]
    verdicts: tuple[Verdict, ...] = ()
    if new:
        numbers = recording_metrics(new, card(new.environment.get("gpu", "")))
        verdicts = old_against_new(old, beside or new, limits)
        parts += ["### Times", *_times(proposed, verdicts, numbers, tables=tables)]
    for name, facts in proposed.after.compiled.items():
        tools = ", ".join(f"{key} {version}" for key, version in facts.versions.items())
        parts.append(f"### Machine code: {_cell(name)}\n\nBy {_cell(tools, 200)}.")
        if before := proposed.before.compiled.get(name):
            found = judge_compiled(facts.cases, before, versions=facts.versions, target=facts.target)
            moved = [f"- **{v.status}** {escaped(whole_text(v))}" for v in worst_first(found) if v.reason != _SAME_CODE]
            parts.append(f"**old against new: {escaped(outcome(found, None))}**")
            parts += [_lines(moved)] if moved and tables else []
        else:
            parts.append(f"First facts of {len(facts.cases)} cases: there is no before.")
    parts += [*_measured(proposed, base), *_review(proposed, verdicts, versions)]
    return "\n\n".join(parts) + "\n"


def _times(
    proposed: Proposed, verdicts: tuple[Verdict, ...], numbers: Mapping[str, Metrics], *, tables: bool
) -> list[str]:
    new = proposed.after.times
    if proposed.before.times is None or new is None:
        broken = proposed.asked.times in proposed.unread
        first = "There is no before." if broken else "**First baseline of this card**: there is no before."
        rows = [[escaped(case), duration(found.seconds)] for case, found in numbers.items()]
        table = ["\n".join(pipes(("case", "time"), rows, align="lr"))] if tables else []
        return [f"{first} It is its own anchor: drift is counted from it.", *table]
    anchored = proposed.after.anchor.samples.items() if proposed.after.anchor else ()
    restarted = [case for case, samples in anchored if samples == new.samples[case]]
    which = "every case" if len(restarted) == len(new.samples) else _list(restarted)
    did = escaped(machine(verdicts))
    shown = "There was no baseline before that could be compared."
    if verdicts:
        shown = format_markdown(verdicts, metrics=numbers, title="old against new")
    if verdicts and not tables:
        shown = f"{escaped(outcome(verdicts, None))}; too many cases to be shown here, see the files."
    return [
        shown,
        *([f"{did[:1].upper()}{did[1:]}."] if did else []),
        f"Drift is counted anew from this baseline for {which}."
        if restarted
        else "No case starts its drift anew: the anchor stays.",
    ]


def _versions(proposed: Proposed) -> list[str]:
    """What differs between both sides of any file, each difference once: ``triton 3.7.1 → 3.8.0``."""
    found: dict[str, None] = {}
    old, new = proposed.before.times, proposed.after.times
    if old and new:
        a, b = old.environment, new.environment
        moved = [key for key in comparability.VERSIONS if a.get(key) != b.get(key)]
        found |= {f"{key} {arrow(a.get(key) or '–', b.get(key) or '–')}": None for key in moved}
        if a.get("uuid") != b.get("uuid"):
            found["another card of the same model"] = None
    for name, now in proposed.after.compiled.items():
        was = before.versions if (before := proposed.before.compiled.get(name)) else now.versions
        moved = [key for key, version in now.versions.items() if was.get(key) != version]
        found |= {f"{key} {arrow(was.get(key) or '–', now.versions[key])} (machine code)": None for key in moved}
    return list(found)


def _measured(proposed: Proposed, base: str) -> list[str]:
    asked, times = proposed.asked, proposed.after.times
    about = f"Recorded of commit {asked.commit}."
    if times:
        known = times.environment
        counts = sorted({len(samples.launches) for samples in times.samples.values()})
        versions = ", ".join(f"{key} {known.get(key) or 'unknown'}" for key in ("driver", "torch", "triton"))
        where = _cell(f"{known.get('gpu', '')}, {versions}", 200)
        about = (
            f"{where}; commit {asked.commit}; "
            f"{_cell(times.recorded_at) or 'no date'}; {' to '.join(map(str, dict.fromkeys(counts[:1] + counts[-1:])))} "
            "launches a case."
        )
    commands = [f"nox -s update-baselines -- --reason {shlex.quote(asked.reason)}"]
    if times and proposed.before.times:
        commands += [
            f"# on {base}, with the run's .perfgate: what the change did, judged again without a card",
            f"python -m perfgate judge --baseline baselines/{asked.times} --current .perfgate/current.json",
        ]
    text = "\n".join(map(plain, commands))
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))  # which nothing in the text ends
    return ["### How it was measured", about, f"{fence}sh\n{text}\n{fence}"]


def _review(proposed: Proposed, verdicts: Sequence[Verdict], versions: Sequence[str]) -> list[str]:
    times, code = proposed.after.times, proposed.after.compiled
    old = [record for record in (proposed.before.times,) if record and times]
    gone = any(case not in times.samples for record in old if times for case in record.samples) or any(
        case not in code[name].cases for name, facts in proposed.before.compiled.items() for case in facts.cases
    )
    checks = [
        "the reason explains every case above, and those alone",
        *(["each slower case is meant and worth it"] if any(v.status is Status.SLOWER for v in verdicts) else []),
        *(["the versions above are those that the runner is meant to have"] if versions else []),
        *(["the cases that are gone were removed on purpose"] if gone else []),
        *(["the times are what this card should reach: nothing judged them"] if times and not old else []),
    ]
    judged = (
        f"The gate judges this pull request by its base, as any other. It carries the label {escaped(LABEL)}: what the "
        "base says of it is shown and need not pass; by its own baselines every case has to."
    )
    return [
        "### What to check\n\n" + "\n".join(f"- [ ] {check}" for check in checks),
        "Files, and nothing else:\n\n" + "\n".join(f"- {_cell(f'baselines/{n}', 120)}" for n in sorted(proposed.files)),
        judged,
    ]


def _lines(every: Sequence[str]) -> str:
    left = len(every) - _NAMES
    return "\n".join([*every[:_NAMES], *([f"- … and {left} more, in the file"] if left > 0 else [])])


def _list(names: Sequence[str]) -> str:
    left = len(names) - _NAMES
    return ", ".join(map(_cell, names[:_NAMES])) + (f" and {left} more" if left > 0 else "")


def _card(proposed: Proposed) -> str:
    return proposed.after.times.environment["gpu"] if proposed.after.times else proposed.asked.card


def _cell(text: str, most: int = _CELL) -> str:
    return escaped(cut(text, most))


# What is sent.


@dataclass
class _Steps:
    """What has been sent, so that a failure can say what stands and what is left to do."""

    sender: github.Api
    done: list[str] = field(default_factory=list)

    def send(self, step: str, by_hand: str, path: str, body: Mapping[str, Any], *keys: str) -> dict[str, Any]:
        """One step, and the answer, which has to hold some keys."""
        try:
            answer = self.sender.send("POST", f"/repos/{self.sender.repository}/{path}", body)
            if missing := [key for key in keys if not isinstance(answer, dict) or not answer.get(key)]:
                raise GateError("github-api", f"the answer has no {missing[0]}")
        except GateError as error:
            raise GateError(
                "half-proposed" if self.done else "not-proposed",
                f"{step} failed ({error.text.rstrip('.')}); done: {', '.join(self.done) or 'nothing'}; by hand: {by_hand}.",
            ) from None
        return answer if keys else {}


def propose(sender: github.Api, proposed: Proposed, words: Proposal, commit: Commit) -> str:
    """Make the commit, then the branch, then the pull request, and have it judged.

    Returns:
        The pull request's address.

    Raises:
        GateError: ``not-proposed`` where nothing is left on GitHub that anyone sees; ``half-proposed`` where there is.
    """
    steps = _Steps(sender)
    again = "start the update again"
    entries = []
    for name, data in sorted(proposed.files.items()):
        content = {"content": base64.b64encode(data).decode("ascii"), "encoding": "base64"}
        blob = steps.send(f"Storing {name}", again, "git/blobs", content, "sha")
        entries.append({"path": f"{commit.folder}/{name}", "mode": "100644", "type": "blob", "sha": blob["sha"]})
    listing = {"base_tree": commit.tree, "tree": entries}
    tree = steps.send("Making the tree", again, "git/trees", listing, "sha")["sha"]
    contents: dict[str, Any] = {"message": words.message, "tree": tree, "parents": [commit.parent]}
    made = steps.send("Making the commit", again, "git/commits", contents, "sha")["sha"]
    afresh = f"delete the branch {words.branch} and {again}"
    steps.send("Making the branch", afresh, "git/refs", {"ref": f"refs/heads/{words.branch}", "sha": made})
    steps.done.append(f"branch {words.branch}")
    pull = steps.send(
        "Opening the pull request",
        f"let Actions open pull requests (Settings, Actions, General), {afresh}",
        "pulls",
        {"title": words.title, "head": words.branch, "base": words.base, "body": words.body},
        "number",
        "html_url",
    )
    url = plain(str(pull["html_url"]))
    steps.done.append(f"pull request {url}")
    start = f"start {WORKFLOW} on {words.branch}"
    labelled = f"set the label {words.label}, then {start}"
    steps.send("Setting the label", labelled, f"issues/{pull['number']}/labels", {"labels": [words.label]})
    steps.done.append(f"label {words.label}")
    # A pull request that is opened with the workflow's own token starts no workflow by itself: not the required check.
    steps.send("Starting the gate", start, f"actions/workflows/{WORKFLOW}/dispatches", {"ref": words.branch})
    return url
