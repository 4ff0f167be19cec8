"""``python -m perfgate.github comment``: one comment on the pull request of a finished run, posted or brought up to date.

Runs with the right to write, on code of the default branch. The report comes from a run whose workflow a fork may have
edited: it is read in memory, bounded and strictly, never unpacked, and shown only where GitHub's own word on the run agrees
with it: the jobs that it had, how its check ended, what its change edits. A run that replaces the workflows is green where
it says so, and nothing of the base runs; that is said first. Nothing of a report is printed.
"""

from __future__ import annotations

import dataclasses
import io
import re
import stat
import struct
import sys
import unicodedata
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from perfgate.github import api as github
from perfgate.github import page, pulls
from perfgate.github.conclusion import REPORT, read_conclusion
from perfgate.github.event import DISPATCH, PULL_REQUEST, arguments_of, commit, read_payload
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from perfgate.github.conclusion import Conclusion


ARTIFACT = "report-for-comment"
USAGE_EXIT = 2
_AUTHOR = "github-actions[bot]"
_MARKER = re.compile(r"<!-- perfgate(?: run=(\d{1,18}) attempt=(\d{1,9}))? -->")
_MOST_ZIPPED = 2 << 20
_MOST_REPORT = 4 << 20
_MOST_COMMENTS = 5000
_MOST_BODY = 65536
"""Characters of a comment, by GitHub's own limit."""
_SUCCESS = "success"
_NOTHING_RAN = {"cancelled", "skipped", "stale", "action_required"}
"""Ends of a run after which the comment stays as it is; GitHub itself says that a run waits for its approval."""
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories that can change how a line reads without being seen."""
_ALLOWED = {"\n", "\u200b"}
"""Of those: the second keeps a name from being notified."""
JOBS = (pulls.PLAN, "approve", "admit", "measure", pulls.CHECK)
"""Names that the jobs of the gate's workflow begin with; one that runs once a card has the card's behind it."""
_FOLDER = ".github/"
_MOST_NAMES = 15
_MOST_NAME = 120
_MOST_MEMBERS = 100
_ENTRY = b"PK\x01\x02"
"""Begins each entry of a zip's list of members."""
_NAME = re.compile(r"\w[\w.-]{0,199}", re.ASCII)
_COMPRESSIONS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENCRYPTED = 0x1
_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError, OverflowError)
"""What zipfile raises on bytes that are no zip, or one that contradicts itself."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run of the gate's workflow, as GitHub itself tells of it."""

    id: int
    attempt: int
    conclusion: str
    """How it ended; empty while it has not."""
    head: str
    """Commit of the pull request that it was for."""
    source: str
    """``owner:branch`` that the commit comes from; empty where its repository or branch is gone."""
    started: str
    """When this attempt began; an artifact from before is of another attempt."""
    pulls: tuple[int, ...]
    """Pull requests of this repository with that commit, as far as the event names them: none for forks."""
    started_by_hand: bool = False
    """On a branch of this repository, such as one that a workflow proposes: its pull request starts no run by itself."""


def comment_command(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Post or update the comment of the run that the event is about; returns 0, or 2 where that failed."""
    arguments_of(arguments, 0)
    try:
        print(f"comment: {_handle(environment)}")
    except GateError as error:
        print(f"comment: INVALID {error.reason}: {github.for_log(error.text, most=1000)}", file=sys.stderr)
        return USAGE_EXIT
    return 0


def _handle(environment: Mapping[str, str]) -> str:
    """Do it all; says in one sentence what was done."""
    api = github.from_environment(environment)
    server = environment.get("GITHUB_SERVER_URL") or "https://github.com"
    if not github.is_safe(server):
        raise GateError("not-on-github", f"GITHUB_SERVER_URL is {github.for_log(server)!r}, expected an https address.")
    payload = read_payload(environment)
    run = read_run(payload, api.repository)
    if run is None:
        return "the run is neither of a pull request nor of a branch of one, so there is nothing to do."
    if not run.conclusion or run.conclusion in _NOTHING_RAN:
        return f"run {run.id} ended as {run.conclusion or 'nothing yet'}, so the comment stays as it is."
    number = pull_request(api, run)
    if number is None:
        return f"no one open pull request has the commit {run.head[:12]} any more, so there is nothing to do."
    vouched = vouch(api, number, run=run.id, until=run.attempt)
    comments = api.pages(f"/repos/{api.repository}/issues/{number}/comments", most=_MOST_COMMENTS)
    ours = next((comment for comment in comments if _is_ours(comment)), None)
    if vouched.repeats and (judged := pulls.judging(api, run.head, (PULL_REQUEST, DISPATCH))):
        run = _earlier(run, judged[0])
        if not run.conclusion or run.conclusion in _NOTHING_RAN:
            return f"it repeats run {run.id}, which ended as {run.conclusion or 'nothing yet'}, so the comment stays as it is."
        vouched = vouch(api, number, run=run.id, until=run.attempt)
        if ours and _shown(ours) == (run.id, run.attempt) and not vouched.edited and vouched.listed:
            return f"#{number} shows run {run.id}, which is repeated, so its comment stays as it is."
    url = f"{server.rstrip('/')}/{api.repository}/actions/runs/{run.id}"
    return _upsert(api, number, run, body(run, find_report(api, run, vouched), vouched, run_url=url), ours)


def read_run(payload: Mapping[str, Any], repository: str) -> Run | None:
    """The run that a ``workflow_run`` event is about; None where no pull request can be meant.

    Raises:
        GateError: ``bad-event``.
    """
    run = payload.get("workflow_run")
    here = payload.get("repository")
    if not isinstance(run, dict) or not isinstance(here, dict) or here.get("full_name") != repository:
        raise GateError("bad-event", "The event is not of a run of this repository's workflow, expected workflow_run.")
    owner, branch = _within(run, "head_repository", "owner", "login"), run.get("head_branch")
    by_hand = (
        run.get("event") == DISPATCH
        and _within(run, "head_repository", "full_name") == repository
        and branch != here.get("default_branch")
    )
    if run.get("event") != PULL_REQUEST and not by_hand:
        return None
    head = commit(str(run.get("head_sha")))
    return Run(
        id=_positive(run, "id"),
        attempt=_positive(run, "run_attempt"),
        conclusion=str(run.get("conclusion") or ""),
        head=head,
        source=f"{owner}:{branch}" if owner and branch else "",
        started=str(run.get("run_started_at") or ""),
        started_by_hand=by_hand,
        pulls=tuple(
            _positive(pull, "number")
            for pull in (() if by_hand else run.get("pull_requests") or ())
            if _within(pull, "head", "sha") == head and _within(pull, "base", "repo", "id") == _positive(here, "id")
        ),
    )


def _earlier(run: Run, judged: Mapping[str, Any]) -> Run:
    """The run that judged the same commit, as GitHub's list of runs has it."""
    return dataclasses.replace(
        run,
        id=_positive(judged, "id"),
        attempt=_positive(judged, "run_attempt"),
        conclusion=str(judged.get("conclusion") or ""),
        started=str(judged.get("run_started_at") or ""),
    )


def pull_request(api: github.Api, run: Run) -> int | None:
    """Number of the one open pull request whose head is the run's commit; None where there is none, or no one.

    Never from the artifact: a number in there would put a fork's report on anybody's pull request.
    """
    numbers = list(run.pulls)
    if not numbers and run.source:
        numbers = [
            _positive(pull, "number")
            for pull in api.pages(f"/repos/{api.repository}/pulls", state="open", head=run.source)
            if _within(pull, "head", "sha") == run.head
            and _within(pull, "base", "repo", "full_name") == api.repository
            and (not run.started_by_hand or _within(pull, "head", "repo", "full_name") == api.repository)
        ]
    return numbers[0] if len(numbers) == 1 else None


def find_report(api: github.Api, run: Run, vouched: Vouched) -> Conclusion | str:
    """What the run reports of itself, or why that cannot be shown: a reason code.

    Held against how the required check ended, not the whole run: a job with a card fails also where the label excuses it.

    Raises:
        GateError: ``github-api`` or ``bad-event``, when GitHub does not answer as it should.
    """
    if vouched.lacking:
        return "lacking"
    if vouched.repeats:
        return "repeats"
    listed = api.pages(f"/repos/{api.repository}/actions/runs/{run.id}/artifacts", key="artifacts", name=ARTIFACT)
    found = [
        entry
        for entry in listed
        if entry.get("name") == ARTIFACT and not entry.get("expired") and str(entry.get("created_at")) >= run.started
    ]
    if not found:
        return "missing"
    newest = max(found, key=lambda entry: _positive(entry, "id"))
    if _positive(newest, "size_in_bytes") > _MOST_ZIPPED:
        return "too-large"
    try:
        path = f"/repos/{api.repository}/actions/artifacts/{_positive(newest, 'id')}/zip"
        data = member(api.download(path, most_bytes=_MOST_ZIPPED), REPORT, most_bytes=_MOST_REPORT)
        report = read_conclusion(data, source=REPORT)
    except GateError as error:
        if error.reason == "github-api":
            raise
        return error.reason  # and not its text, which quotes the artifact
    agrees = report.head == run.head and (report.exit == 0) == (vouched.check == _SUCCESS)
    return report if agrees else "contradiction"


def body(run: Run, report: Conclusion | str, vouched: Vouched, *, run_url: str) -> str:
    """The comment: marker, what has to be known first, then the report, or one sentence on why it is not shown."""
    first = f"<!-- perfgate run={run.id} attempt={run.attempt} -->\n{notice(vouched)}"
    if not isinstance(report, str):
        whole = first + page.comment(report, run_url=run_url)
        if _can_be_sent(whole):
            return whole
        report = "unshowable"
    why = {
        "missing": "it left no report",
        "repeats": "it repeats a verdict, and no run has judged this commit",
        "lacking": "it is not a run of the gate's workflow and no verdict",
        "contradiction": f"its report contradicts its job {pulls.CHECK}, which ended as `{vouched.check}`, and is not shown",
    }.get(report, f"its report cannot be used ({report}) and is not shown")
    return (
        f"{first}**perfgate**: the run for commit {run.head[:12]} ended as `{run.conclusion}`, but {why}; "
        f"[read the run]({run_url})."
    )


def _can_be_sent(text: str) -> bool:
    hidden = any(unicodedata.category(c) in _INVISIBLE and c not in _ALLOWED for c in text)
    return len(text) <= _MOST_BODY and not hidden


def _upsert(api: github.Api, number: int, run: Run, text: str, ours: Mapping[str, Any] | None) -> str:
    if ours is None:
        api.send("POST", f"/repos/{api.repository}/issues/{number}/comments", {"body": text})
        return f"posted on #{number} for run {run.id}."
    if _shown(ours) > (run.id, run.attempt):
        return f"#{number} already shows a later run than {run.id}, so its comment stays as it is."
    api.send("PATCH", f"/repos/{api.repository}/issues/comments/{_positive(ours, 'id')}", {"body": text})
    return f"updated on #{number} for run {run.id}."


def _is_ours(comment: Mapping[str, Any]) -> bool:
    """Anybody can write our marker; only the workflow's own account can be the author."""
    by_us = _within(comment, "user", "login") == _AUTHOR and _within(comment, "user", "type") == "Bot"
    return by_us and _MARKER.match(str(comment.get("body"))) is not None


def _shown(comment: Mapping[str, Any]) -> tuple[int, int]:
    found = _MARKER.match(str(comment.get("body")))
    return (int(found[1]), int(found[2])) if found and found[1] else (0, 0)


def _within(parent: object, *keys: str) -> object:
    """What stands at the end of a way through objects; None where the way ends early."""
    for key in keys:
        parent = parent.get(key) if isinstance(parent, dict) else None
    return parent


def _positive(parent: Mapping[str, Any], key: str) -> int:
    value = parent.get(key)
    if type(value) is not int or value < 1:
        raise GateError("bad-event", f"GitHub names no {key}, expected a number from 1; run again.")
    return value


# Whether the run is the gate's, by GitHub's own word. It cannot be seen what its jobs did.


@dataclass(frozen=True, kw_only=True)
class Vouched:
    """What GitHub tells of one run and its pull request."""

    check: str = ""
    """How the required check ended; empty where the run has not one."""
    lacking: tuple[str, ...] = ()
    """Jobs of the gate that it had not."""
    repeats: bool = False
    """It has them all and judged nothing by itself: it repeats the verdict of an earlier run."""
    edited: tuple[str, ...] = ()
    """Files below ``.github/`` that the pull request adds, edits, removes or renames."""
    listed: bool = True
    """GitHub lists every file of the pull request."""


def vouch(client: github.Api, number: int, *, run: int, until: int) -> Vouched:
    """Ask GitHub.

    Args:
        client: With the rights ``actions: read`` and ``pull-requests: read``.
        number: Of the pull request.
        run: Of the run.
        until: Number of the attempt that ended; one that began since tells nothing of it.
    """
    had = [job for job in pulls.jobs(client, run) if pulls.attempt(job) <= until]
    names = [str(job.get("name")).partition(" (")[0] for job in had]
    last = pulls.last_check(had)
    paths, listed = pulls.files(client, number)
    lacking = tuple(name for name in JOBS if name not in names or (name == pulls.CHECK and last is None))
    return Vouched(
        check=str((last or {}).get("conclusion") or ""),
        lacking=lacking,
        repeats=not lacking and pulls.repeats(had),
        edited=tuple(sorted({path for path in paths if path.startswith(_FOLDER)})),
        listed=listed,
    )


def notice(vouched: Vouched) -> str:
    """What the reader has to know first of all; empty where the run is the gate's and its workflows are the base's."""
    said = []
    if vouched.lacking:
        said.append(
            f"**This run is not the gate's:** it had no {_names(vouched.lacking)}. Whatever colour its checks have, nothing was judged."
        )
    if vouched.edited or not vouched.listed:
        what = (
            _names(vouched.edited) if vouched.edited else f"more than {pulls.MOST_FILES} files, perhaps workflows too"
        )
        said.append(
            f"**This pull request edits what runs on GitHub:** {what}. Its runs are those of its own workflows, and a green "
            "check is what they make of it: it tells nothing before a code owner has read them."
        )
    return "".join(f"> [!CAUTION]\n> {sentence}\n\n" for sentence in said)


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(page.code(name[:_MOST_NAME]) for name in names[:_MOST_NAMES]) + more


# One file out of an artifact that anybody may have made.


def member(data: bytes, name: str, *, most_bytes: int) -> bytes:
    """The content of one member of a zip.

    Args:
        data: The whole zip.
        name: The member's name, a plain one.
        most_bytes: Of the content; more is neither accepted nor unpacked.

    Raises:
        GateError: ``bad-artifact`` for a zip that is broken, large, or holds more than plain files with plain names.
    """
    # Counted before zipfile builds an object for each.
    if data.count(_ENTRY) > _MOST_MEMBERS:
        _refuse("has too many members", f"at most {_MOST_MEMBERS}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            info = _only(archive.infolist(), name)
            if info.file_size > most_bytes:
                _refuse(f"holds {info.file_size} bytes of {name}", f"at most {most_bytes}")
            with archive.open(info) as file:
                content = file.read(most_bytes + 1)
    except _BROKEN:
        _refuse("is broken", "a whole zip")
    if len(content) != info.file_size:
        _refuse(f"holds {len(content)} bytes of {name}", f"{info.file_size} as it says itself")
    return content


def _only(members: list[zipfile.ZipInfo], name: str) -> zipfile.ZipInfo:
    for info in members:
        mode = info.external_attr >> 16
        if not _NAME.fullmatch(info.orig_filename):  # `filename` is cut at a NUL
            _refuse("has a member whose name is not plain", "names without a path")
        if stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
            _refuse("has a member that is no file", "plain files")
    found = [info for info in members if info.filename == name]
    if len(found) != 1:
        _refuse(f"has {len(found)} members named {name}", "one")
    if found[0].flag_bits & _ENCRYPTED:
        _refuse(f"has an encrypted {name}", "a plain one")
    if found[0].compress_type not in _COMPRESSIONS:
        _refuse(f"has {name} in compression {found[0].compress_type}", "stored or deflated")
    return found[0]


def _refuse(found: str, expected: str) -> NoReturn:
    raise GateError("bad-artifact", f"The artifact {found}, expected {expected}; run again.")
