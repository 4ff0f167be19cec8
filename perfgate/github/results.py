"""One card's results: that they are this run's and whole, and what they come to, judged again from their raw samples.

The job with the card ran the kernel's code and could have written anything. So its files are read strictly; they have to be
those that this run's gate left, by digest, by GitHub's number, by commit and by time; every case of the base's suite has to
be in each stage, once, and no other; and verdicts on times are not taken over but made again by the base's code, baselines
and limits. The digest comes from the jobs' outputs, which the machine with the GPU cannot change afterwards. Reads files;
writes none.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from perfgate import git
from perfgate.compare.judge import judge
from perfgate.config import read_limits
from perfgate.github.conclusion import CardReport
from perfgate.github.overlay import output_name
from perfgate.hardware.gpus import slug
from perfgate.records import GateError, Recording, Verdict
from perfgate.store import evidence
from perfgate.store.compiled import read_compiled
from perfgate.store.evidence import RUN_FILE, SAMPLES_FILE
from perfgate.store.recording import read_recording
from perfgate.store.run import CASES_FILE, Cases, RunRecord, StageResult, read_cases, read_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from perfgate.config import Runner, Settings
    from perfgate.github.plan import Plan


STAGES = ("correctness", "compiled", "throughput")
_TIMED = "throughput"
_MOST_BYTES = 64 * 1024**2
"""Of one file; a recording of 25 cases in 8 launches has 1 MB."""
ALL = "*"
"""Stands for no case but for the run, or the suite, as a whole."""
_NONCE = re.compile(r"[0-9a-f]{32}")
_SKEW = timedelta(minutes=10)
"""That the clocks of two machines may differ by."""
_OLDEST = timedelta(days=31)
"""GitHub runs no job again after 30 days."""
_ENDED = "ended_at"


def artifact(runner: Runner, *, own: bool = False) -> str:
    """Name of the artifact with a card's results, by the base or by the change's own gate."""
    return f"perf-{runner.slug}{'-own' if own else ''}"


def card_report(  # noqa: PLR0913 - what is judged, and by what, all by name
    index: int, results: Path, project: Settings, *, this_run: ThisRun, own: bool, on_default_branch: bool
) -> CardReport:
    """Judge what a card's job left.

    Args:
        index: Of the card in the plan.
        results: Folder with one folder an artifact.
        project: The base's, whose baselines and limits judge.
        this_run: What the results have to be of.
        own: The change's own gate has to have run as well.
        on_default_branch: Small steps that add up fail.
    """
    runner = this_run.plan.runners[index]
    empty = CardReport(label=runner.label, slug=runner.slug)
    try:
        folder = results / artifact(runner)
        run = _run(folder, f"The job on the runner {runner.label}")
        this_run.check(folder, run, index=index)
        cases = known_cases(project, runner.slug)
        report = dataclasses.replace(
            empty,
            machine=_machine(run),
            notes=tuple(f"{stage.name}: {stage.note}" for stage in run.stages if stage.note),
            problems=(*_problems(run, runner), *incomplete(run, cases)),
            verdicts=_once(run.verdicts),
        )
        if not report.problems:
            judged_by = _Judge(project=project, slug=runner.slug, this_run=this_run, fail_on_drift=on_default_branch)
            report = dataclasses.replace(report, verdicts=_once(judged_by.again(run, folder, cases)))
    except GateError as error:
        return dataclasses.replace(empty, problems=(error.text,))
    if not own:
        return report
    try:
        folder = results / artifact(runner, own=True)
        itself = _run(folder, "The change's own gate")
        this_run.check(folder, itself, index=index, own=True)
    except GateError as error:
        return dataclasses.replace(report, problems=(*report.problems, error.text))
    wrong = tuple(f"Its own gate: {problem}" for problem in _problems(itself, runner))
    return dataclasses.replace(report, proposed=_once(itself.verdicts), problems=(*report.problems, *wrong))


def _run(folder: Path, whose: str) -> RunRecord:
    path = folder / RUN_FILE
    if not path.is_file():
        raise GateError(
            "no-results",
            f"{whose} left no results: it was skipped, cancelled, or ended before anything was judged; look at its log and run "
            "it again.",
        )
    return read_run(_bounded(path).read_bytes(), source=f"{folder.name}/run.json")


def _bounded(path: Path) -> Path:
    if path.is_symlink() or path.stat().st_size > _MOST_BYTES:
        raise GateError(
            "malformed", f"{path.name} is a link or larger than {_MOST_BYTES} bytes, expected a plain file."
        )
    return path


def _machine(run: RunRecord) -> str:
    known = run.environment
    return (
        f"{known.get('gpu') or 'no card'}, driver {known.get('driver', 'unknown')}, torch {known.get('torch', 'unknown')}, "
        f"Triton {known.get('triton', 'unknown')}"
    )


def _problems(run: RunRecord, runner: Runner) -> tuple[str, ...]:
    """What was left out, which makes the whole red: a check that is not made is not passed."""
    found = []
    gpu = run.environment.get("gpu", "")
    if slug(gpu, run.environment.get("code_path", "native")) != runner.slug:
        found.append(f"It was measured on {gpu or 'no card'}, expected {runner.slug}; look at the runner's labels.")
    if run.partial:
        found.append("Only chosen cases were judged, expected all.")
    wrong = any(verdict.wrong for verdict in run.verdicts)
    for name in STAGES:
        stage = _stage(run, name)
        if stage.done or (name == _TIMED and wrong):  # a wrong kernel gets no time
            continue
        why = stage.left_out or next((verdict.reason for verdict in stage.verdicts if verdict.exit_code), "")
        found.append(f"{name.capitalize()} was not judged{f' ({why})' if why else ''}.")
    return tuple(found)


def _stage(run: RunRecord, name: str) -> StageResult:
    return next((stage for stage in run.stages if stage.name == name), StageResult(name=name))


@dataclass(frozen=True, kw_only=True)
class _Judge:
    """What judges one card's samples: the base's baseline, anchor and limits."""

    project: Settings
    slug: str
    this_run: ThisRun
    fail_on_drift: bool

    def again(self, run: RunRecord, folder: Path, cases: Cases) -> tuple[Verdict, ...]:
        """All verdicts of a run, those on times made from the samples; of the run's own, only what fails is kept unseen."""
        said = {verdict.case: verdict for verdict in _stage(run, _TIMED).verdicts}
        timed = {verdict.case for verdict in _stage(run, "compiled").verdicts}
        current = _samples(folder / SAMPLES_FILE, run)
        measured = set(current.samples) if current else set()
        failed = {case for case, verdict in said.items() if verdict.exit_code and case not in measured}
        wrong = any(verdict.wrong for verdict in run.verdicts)
        if not wrong and (unmeasured := sorted({*said, *timed, *cases.timed} - {ALL} - measured - failed)):
            raise GateError(
                "case-not-measured",
                f"{unmeasured[0]} has no samples, expected those of every timed case; run it again.",
            )
        if current:
            self.this_run.check_samples(folder, run, current)
            self._check_reference(current)
        made = self._judged(current, selected=bool(failed - {ALL}))
        for verdict in made:
            if (live := said.get(verdict.case)) is None or live.status != verdict.status:
                raise GateError(
                    "verdict-not-of-samples",
                    f"The run says {live.status if live else 'nothing'} of {verdict.case} and its samples give {verdict.status}, "
                    "expected the same; the files are not of one run of the base's gate.",
                )
        remade = {verdict.case for verdict in made}
        kept = tuple(said[case] for case in said if case in failed and case not in remade)
        others = tuple(verdict for stage in run.stages if stage.name != _TIMED for verdict in stage.verdicts)
        return (*others, *kept, *made)

    def _judged(self, current: Recording | None, *, selected: bool) -> tuple[Verdict, ...]:
        """Verdicts on times from samples."""
        if current is None:
            return ()
        baseline = self._stored("matmul.json")
        return judge(
            baseline,
            current,
            read_limits(self.project.root),
            selected=sorted(current.samples) if selected else None,
            anchor=self._stored("anchor.json") if baseline else None,
            fail_on_drift=self.fail_on_drift,
        )

    def _check_reference(self, current: Recording) -> None:
        """Each case was measured beside the base, where no baseline is stored; a commit beside a stored one is the base's too."""
        asked = self.this_run.reference
        name = asked if not asked.endswith("^") else git.commit_of(self.project.root, asked)
        stored, base = self._stored("matmul.json") is not None, {"kind": "ref", "name": name}
        for samples in current.samples.values():
            if (stored and (samples.other is None or samples.is_anchored)) or samples.other == base:
                continue
            found = f"{samples.other['kind']} {samples.other['name'][:60]}" if samples.other else "nothing"
            raise GateError(
                "other-reference",
                f"{samples.case} was measured beside {found}, expected ref {name or asked}, which this change starts from; "
                "run it again.",
            )

    def _stored(self, name: str) -> Recording | None:
        relative = f"{self.project.baselines}/{self.slug}/{name}"
        path = self.project.root / relative
        return dataclasses.replace(read_recording(path), source=relative) if path.is_file() else None


def _samples(path: Path, run: RunRecord) -> Recording | None:
    """What was measured, of the run's own machine; None where nothing was."""
    if not path.exists():
        return None
    current = read_recording(_bounded(path))
    if _machine_of(current) != _machine_of(run):
        raise GateError(
            "malformed", f"{path.name} is of another machine than run.json, expected one run; run it again."
        )
    return current


def _once(verdicts: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
    """One line a case: what passed in one stage is not said where another has more to say of that case."""
    spoken = {verdict.case for verdict in verdicts if verdict.ratio is not None or verdict.exit_code}
    return tuple(
        verdict for verdict in verdicts if verdict.exit_code or verdict.ratio is not None or verdict.case not in spoken
    )


def _machine_of(record: Recording | RunRecord) -> tuple[str, ...]:
    return tuple(record.environment.get(key, "") for key in ("gpu", "uuid", "code_path", "driver"))


# What results have to be of.


@dataclass(frozen=True, kw_only=True)
class ThisRun:
    """What results have to be of."""

    plan: Plan
    id: str
    """GitHub's number of the workflow's run."""
    attempt: int
    """Of the job that judges; results may be of an earlier one, where that job alone was run again."""
    outputs: Mapping[str, Any]
    """Of the jobs with the cards: a digest of each card's results."""
    now: datetime

    @property
    def reference(self) -> str:
        """The commit beside which a card without a baseline is measured; ``^`` stands for its parent."""
        return self.plan.base if self.plan.base != self.plan.candidate else f"{self.plan.base}^"

    def check(self, folder: Path, run: RunRecord, *, index: int, own: bool = False) -> None:
        """Refuse results that are not those that the gate left in this run.

        Args:
            folder: Where they lie.
            run: The run's file, as read.
            index: Of the card in the plan, and so of its job.
            own: They are of the change's own gate.

        Raises:
            GateError: ``no-digest``, ``changed-results`` or ``foreign``.
        """
        name = output_name(index, own=own)
        left, found = str(self.outputs.get(name) or ""), evidence.of_results(folder)
        if not left:
            _refuse(
                "no-digest", f"The job left no digest of {folder.name} ({name})", "one that its gate made at its end"
            )
        if left != found:
            _refuse(
                "changed-results",
                f"The files of {folder.name} have the digest {found[:12]}",
                f"{left[:12]}, which their gate left: they were changed, or are of another attempt",
            )
        told = run.run
        if told.get("run_id") != self.id:
            _foreign(folder, f"run {told.get('run_id') or 'unknown'}", f"this run {self.id}")
        attempt = told.get("attempt", "")
        if not (attempt.isascii() and attempt.isdecimal() and 1 <= int(attempt[:9]) <= self.attempt):
            _foreign(folder, f"attempt {attempt[:20] or 'unknown'}", f"one up to {self.attempt}")
        base = self.plan.candidate if own else self.plan.base
        for key, commit in (("candidate", self.plan.candidate), ("base", base)):
            if told.get(key) != commit:
                _foreign(folder, f"the {key} {told.get(key, '')[:46] or 'unknown'}", f"the plan's {commit[:40]}")
        began, ended = _time(folder, told, "began_at"), _time(folder, told, _ENDED)
        if not self.now - _OLDEST <= began <= ended <= self.now + _SKEW:
            _foreign(folder, f"{began} to {ended}", f"an end after the beginning, and both before {self.now}")
        if not _NONCE.fullmatch(told.get("nonce", "")):
            _foreign(folder, "no one run (it has no nonce)", "the number that every file of a run carries")

    @staticmethod
    def check_samples(folder: Path, run: RunRecord, samples: Recording) -> None:
        """Refuse samples that are of another run than the file of verdicts beside them.

        Raises:
            GateError: ``foreign``.
        """
        told = {key: value for key, value in run.run.items() if key != _ENDED}
        if differing := sorted(key for key in {*told, *samples.run} if told.get(key) != samples.run.get(key)):
            _foreign(folder, f"two runs: current.json has another {differing[0]} than run.json", "files of one run")
        recorded = _time(folder, {"recorded_at": samples.recorded_at}, "recorded_at")
        if not _time(folder, run.run, "began_at") <= recorded <= _time(folder, run.run, _ENDED):
            _foreign(folder, f"{recorded}, when its run was not under way", "samples taken during the run")


def _time(folder: Path, told: Mapping[str, str], key: str) -> datetime:
    try:
        found = datetime.fromisoformat(told.get(key, ""))
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        _foreign(folder, f"no known time ({key} is {told.get(key, '')[:40]!r})", "one in UTC")
    return found.astimezone(UTC)


def _foreign(folder: Path, found: str, expected: str) -> NoReturn:
    _refuse("foreign", f"The results in {folder.name} are of {found}", expected)


def _refuse(reason: str, found: str, expected: str) -> NoReturn:
    raise GateError(reason, f"{found}, expected {expected}; run all jobs again.")


# Which cases they have to hold.


def known_cases(project: Settings, slug: str) -> Cases:
    """The ids of the base's suite, by stage.

    Raises:
        GateError: ``unknown-cases`` where neither the file nor a baseline says which there are; or as the readers do.
    """
    folder = project.root / project.baselines
    if (listed := folder / CASES_FILE).is_file():
        return read_cases(listed.read_bytes(), source=f"{project.baselines}/{CASES_FILE}")
    stored, machine_code = folder / slug / "matmul.json", folder / project.target / "compiled.json"
    timed = tuple(read_recording(stored).samples) if stored.is_file() else ()
    compiled = read_compiled(machine_code) if machine_code.is_file() else None
    compiled_ids = tuple(compiled.cases) if compiled else timed
    if not timed and not compiled_ids:
        raise GateError(
            "unknown-cases",
            f"The base does not say which cases it has, expected {project.baselines}/{CASES_FILE}; write it there with "
            "python -m perfgate cases.",
        )
    return Cases(checked=timed or compiled_ids, compiled=compiled_ids, timed=timed or compiled_ids, whole=False)


def incomplete(run: RunRecord, cases: Cases) -> tuple[str, ...]:
    """What each stage that was judged leaves out, says twice or made up, a sentence each; times are for the samples.

    Args:
        run: As its file says.
        cases: Of the base's suite.
    """
    found = []
    for stage in run.stages:
        if not stage.done:
            continue
        expected = {"correctness": cases.checked, "compiled": cases.compiled}.get(stage.name, ())
        ids = [*stage.passed, *(verdict.case for verdict in stage.verdicts)]
        if missing := [case for case in expected if case not in ids]:
            found.append(_said(stage, "says nothing of", missing, f"each of the base's {len(expected)} cases"))
        if twice := [case for case, count in Counter(ids).items() if count > 1 and case != ALL]:
            found.append(_said(stage, "speaks twice of", twice, "each case once"))
        passed = {*stage.passed, *(verdict.case for verdict in stage.verdicts if not verdict.exit_code)}
        if cases.whole and (made_up := sorted(passed - {*cases.checked, *cases.compiled, *cases.timed, ALL})):
            found.append(_said(stage, "speaks of", made_up, "only cases of the base's suite"))
    return tuple(found)


def _said(stage: StageResult, what: str, cases: Iterable[str], expected: str) -> str:
    first, *others = cases
    more = f" and {len(others)} more" if others else ""
    return f"{stage.name.capitalize()} {what} {first[:80]}{more}, expected {expected}."
