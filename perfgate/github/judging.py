"""One card's results, judged again from its raw samples by the base's code, baselines and limits.

The job with the card ran the kernel's code and could have written anything, so its files are read strictly and its
verdicts on times are not taken over but made again. Reads files; writes none.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from perfgate.baselines import read_recording
from perfgate.cards import slug
from perfgate.github import bearable
from perfgate.github.conclusion import CardReport
from perfgate.limits import read_limits
from perfgate.records import GateError, Recording, Verdict
from perfgate.run_record import RunRecord, StageRecord, read_run
from perfgate.verdict import judge

if TYPE_CHECKING:
    from pathlib import Path

    from perfgate.github.plan import Runner

STAGES = ("correctness", "compiled", "throughput")
_TIMED = "throughput"
_MOST_BYTES = 64 * 1024**2
"""Of one file; a recording of 25 cases in 8 launches has 1 MB."""


def artifact(runner: Runner, *, own: bool = False) -> str:
    """Name of the artifact with a card's results, by the base or by the change's own gate."""
    return f"perf-{runner.slug}{'-own' if own else ''}"


def card_report(runner: Runner, results: Path, root: Path, *, own: bool, on_default_branch: bool) -> CardReport:
    """Judge what a card's job left.

    Args:
        runner: Which card it has to be.
        results: Folder with one folder an artifact.
        root: The base's checkout, whose baselines and limits judge.
        own: The change's own gate has to have run as well.
        on_default_branch: Small steps that add up fail.
    """
    empty = CardReport(label=runner.label, slug=runner.slug)
    try:
        folder = results / artifact(runner)
        run = _run(folder, f"The job on the runner {runner.label}")
        report = dataclasses.replace(
            empty,
            machine=_machine(run),
            notes=tuple(f"{stage.name}: {stage.note}" for stage in run.stages if stage.note),
            problems=_problems(run, runner),
            verdicts=_once(run.verdicts),
        )
        if not report.problems and (folder / "current.json").exists():
            report = _again(report, run, folder, root, on_default_branch=on_default_branch)
    except GateError as error:
        return dataclasses.replace(empty, problems=(error.text,))
    if not own:
        return report
    try:
        itself = _run(results / artifact(runner, own=True), "The change's own gate")
    except GateError as error:
        return dataclasses.replace(report, problems=(*report.problems, error.text))
    wrong = tuple(f"Its own gate: {problem}" for problem in _problems(itself, runner))
    return dataclasses.replace(report, proposed=_once(itself.verdicts), problems=(*report.problems, *wrong))


def _run(folder: Path, whose: str) -> RunRecord:
    path = folder / "run.json"
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
    stages = {stage.name: stage for stage in run.stages}
    failed = any(verdict.exit_code for verdict in run.verdicts)
    for name in STAGES:
        stage = stages.get(name, StageRecord(name=name))
        if not stage.done and not failed:
            found.append(f"{name.capitalize()} was not judged{f' ({stage.left_out})' if stage.left_out else ''}.")
    return tuple(found)


def _again(report: CardReport, run: RunRecord, folder: Path, root: Path, *, on_default_branch: bool) -> CardReport:
    """Put verdicts made from the samples in place of those that the job wrote, which have to be the same."""
    stages = {stage.name: stage for stage in run.stages}
    said = {verdict.case: verdict for verdict in stages[_TIMED].verdicts}
    current = read_recording(_bounded(folder / "current.json"))
    bearable.check(current, "current.json")
    if _machine_of(current) != _machine_of(run):
        raise GateError(
            "malformed", "current.json is of another machine than run.json, expected one run; run it again."
        )
    timed = {verdict.case for verdict in stages["compiled"].verdicts} - {"*"}
    if unmeasured := sorted(timed - set(current.samples) - set(said)):
        raise GateError(
            "case-not-measured", f"{unmeasured[0]} was not measured, expected every timed case; run it again."
        )
    failed = {case for case in said if case not in current.samples and case != "*"}
    baseline = _stored(root, report.slug, "matmul.json")
    verdicts = judge(
        baseline,
        current,
        read_limits(root),
        selected=sorted(current.samples) if failed else None,
        anchor=_stored(root, report.slug, "anchor.json") if baseline else None,
        fail_on_drift=on_default_branch,
    )
    forged = [
        verdict for verdict in verdicts if verdict.case not in said or said[verdict.case].status != verdict.status
    ]
    if forged:
        live = said.get(forged[0].case)
        raise GateError(
            "verdict-not-of-samples",
            f"The run says {live.status if live else 'nothing'} of {forged[0].case} and its samples give {forged[0].status}, "
            "expected the same; the files are not of one run of the base's gate.",
        )
    kept = tuple(verdict for verdict in said.values() if verdict.case in failed)
    others = tuple(verdict for stage in run.stages if stage.name != _TIMED for verdict in stage.verdicts)
    return dataclasses.replace(report, verdicts=_once((*others, *kept, *verdicts)))


def _once(verdicts: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
    """One line a case: what passed in one stage is not said where another has more to say of that case."""
    spoken = {verdict.case for verdict in verdicts if verdict.ratio is not None or verdict.exit_code}
    return tuple(
        verdict for verdict in verdicts if verdict.exit_code or verdict.ratio is not None or verdict.case not in spoken
    )


def _machine_of(record: Recording | RunRecord) -> tuple[str, ...]:
    return tuple(record.environment.get(key, "") for key in ("gpu", "uuid", "code_path", "driver"))


def _stored(root: Path, folder: str, name: str) -> Recording | None:
    path = root / "baselines" / folder / name
    if not path.is_file():
        return None
    return dataclasses.replace(read_recording(path), source=f"baselines/{folder}/{name}")
