"""``python -m perfgate.github propose``: new baselines from a job's artifact as a pull request that changes nothing else.

Owns the command line and the order of the steps on GitHub: nothing points at the new commit until it is whole.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from perfgate import git, settings
from perfgate.cli.common import Parser
from perfgate.github import api as github
from perfgate.github.conclusion import WORKFLOW
from perfgate.github.proposal import Proposal, check_reason, proposal
from perfgate.github.proposal_changes import changes
from perfgate.github.proposal_checks import ONLY, Asked, read_beside
from perfgate.github.proposal_files import Proposed, collect
from perfgate.limits import read_limits
from perfgate.records import GateError
from perfgate.report.markdown import plain

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping

    from perfgate.settings import Settings

USAGE_EXIT = 2
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,79}")


class Sender(Protocol):
    """What this command needs of `perfgate.github.api.Api`."""

    @property
    def repository(self) -> str:
        """``owner/name``."""

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever GitHub answers
        """Change something."""


@dataclass(frozen=True, kw_only=True)
class Commit:
    """What the new commit stands on."""

    parent: str
    tree: str
    folder: str
    """Of the baselines, from the repository's root."""


def main(argv: list[str], environment: Mapping[str, str]) -> int:
    """Propose; 0 when the pull request is open and being judged, 2 with one sentence where it is not."""
    try:
        options = _parser().parse_args(argv)
        _run(options, environment)
    except GateError as error:
        print(f"INVALID {error.reason}: {error.text}", file=sys.stderr)
        return USAGE_EXIT
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
    project = settings.load(Path.cwd())
    sender = None if options.dry_run else github.from_environment(environment)
    base, run = _place(project, environment, dry=sender is None)
    commit = _commit(project)
    asked = Asked(card=options.card, target=project.target, commit=commit.parent, reason=reason, only=options.only)
    proposed = collect(options.source, project.root / project.baselines, asked)
    times = proposed.after.times
    beside = read_beside(options.samples, times) if options.samples and times else None
    found = changes(proposed, beside, read_limits(project.root))
    words = proposal(proposed, found, base=base, run=run, now=datetime.now(UTC))
    if sender is None:
        _write(options.dry_run, proposed, words, folder=commit.folder)
        print(f"propose: {options.dry_run} holds what would be proposed; nothing was sent")
        return
    url = propose(sender, proposed, words, commit)
    print(f"propose: {url}")
    if summary := environment.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(f"Proposed: {url}\n")


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


@dataclass
class _Steps:
    """What has been sent, so that a failure can say what stands and what is left to do."""

    sender: Sender
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


def propose(sender: Sender, proposed: Proposed, words: Proposal, commit: Commit) -> str:
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
