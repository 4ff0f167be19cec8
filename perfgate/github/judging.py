"""One card's results, judged again from its raw samples by the base's code, baselines and limits.

The job with the card ran the kernel's code and could have written anything, so its files are read strictly and its
verdicts on times are not taken over but made again. Reads files; writes none.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from perfgate import git
from perfgate.compare.judge import judge
from perfgate.github import bearable
from perfgate.github.complete import ALL, known_cases, problems
from perfgate.github.conclusion import CardReport
from perfgate.hardware.gpus import slug
from perfgate.limits import read_limits
from perfgate.records import GateError, Recording, Verdict
from perfgate.store.evidence import RUN_FILE, SAMPLES_FILE
from perfgate.store.recording import read_recording
from perfgate.store.run import RunRecord, StageRecord, read_run

if TYPE_CHECKING:
    from pathlib import Path

    from perfgate.github.this_run import ThisRun
    from perfgate.runners import Runner
    from perfgate.settings import Settings
    from perfgate.store.manifest import Cases

STAGES = ("correctness", "compiled", "throughput")
_TIMED = "throughput"
_MOST_BYTES = 64 * 1024**2
"""Of one file; a recording of 25 cases in 8 launches has 1 MB."""


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
            problems=(*_problems(run, runner), *problems(run, cases)),
            verdicts=_once(run.verdicts),
        )
        if not report.problems:
            verdicts = _again(
                run,
                folder,
                project,
                cases=cases,
                this_run=this_run,
                slug=runner.slug,
                on_default_branch=on_default_branch,
            )
            report = dataclasses.replace(report, verdicts=_once(verdicts))
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


def _stage(run: RunRecord, name: str) -> StageRecord:
    return next((stage for stage in run.stages if stage.name == name), StageRecord(name=name))


def _again(  # noqa: PLR0913 - what is judged, and by what, all by name
    run: RunRecord,
    folder: Path,
    project: Settings,
    *,
    cases: Cases,
    this_run: ThisRun,
    slug: str,
    on_default_branch: bool,
) -> tuple[Verdict, ...]:
    """All verdicts of a run, those on times made from the samples; of the run's own, only what fails is kept unseen."""
    said = {verdict.case: verdict for verdict in _stage(run, _TIMED).verdicts}
    timed = {verdict.case for verdict in _stage(run, "compiled").verdicts}
    current = _samples(folder / SAMPLES_FILE, run)
    measured = set(current.samples) if current else set()
    failed = {case for case, verdict in said.items() if verdict.exit_code and case not in measured}
    wrong = any(verdict.wrong for verdict in run.verdicts)
    if not wrong and (unmeasured := sorted({*said, *timed, *cases.timed} - {ALL} - measured - failed)):
        raise GateError(
            "case-not-measured", f"{unmeasured[0]} has no samples, expected those of every timed case; run it again."
        )
    if current:
        this_run.check_samples(folder, run, current)
        _check_reference(current, project, slug, this_run.reference)
    made = _judged(current, project, slug, selected=bool(failed - {ALL}), on_default_branch=on_default_branch)
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


def _samples(path: Path, run: RunRecord) -> Recording | None:
    """What was measured, bearable and of the run's own machine; None where nothing was."""
    if not path.exists():
        return None
    current = read_recording(_bounded(path))
    bearable.check(current, path.name)
    if _machine_of(current) != _machine_of(run):
        raise GateError(
            "malformed", f"{path.name} is of another machine than run.json, expected one run; run it again."
        )
    return current


def _judged(
    current: Recording | None, project: Settings, slug: str, *, selected: bool, on_default_branch: bool
) -> tuple[Verdict, ...]:
    """Verdicts on times from samples, by the base's baseline, anchor and limits."""
    if current is None:
        return ()
    baseline = _stored(project, slug, "matmul.json")
    return judge(
        baseline,
        current,
        read_limits(project.root),
        selected=sorted(current.samples) if selected else None,
        anchor=_stored(project, slug, "anchor.json") if baseline else None,
        fail_on_drift=on_default_branch,
    )


def _check_reference(current: Recording, project: Settings, slug: str, reference: str) -> None:
    """Each case was measured beside the base, where no baseline is stored; a commit beside a stored one is the base's too."""
    name = reference if not reference.endswith("^") else git.commit_of(project.root, reference)
    stored = _stored(project, slug, "matmul.json") is not None
    for samples in current.samples.values():
        if (stored and (samples.other is None or samples.is_anchored)) or samples.other == {
            "kind": "ref",
            "name": name,
        }:
            continue
        found = f"{samples.other['kind']} {samples.other['name'][:60]}" if samples.other else "nothing"
        raise GateError(
            "other-reference",
            f"{samples.case} was measured beside {found}, expected ref {name or reference}, which this change starts from; "
            "run it again.",
        )


def _once(verdicts: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
    """One line a case: what passed in one stage is not said where another has more to say of that case."""
    spoken = {verdict.case for verdict in verdicts if verdict.ratio is not None or verdict.exit_code}
    return tuple(
        verdict for verdict in verdicts if verdict.exit_code or verdict.ratio is not None or verdict.case not in spoken
    )


def _machine_of(record: Recording | RunRecord) -> tuple[str, ...]:
    return tuple(record.environment.get(key, "") for key in ("gpu", "uuid", "code_path", "driver"))


def _stored(project: Settings, folder: str, name: str) -> Recording | None:
    relative = f"{project.baselines}/{folder}/{name}"
    path = project.root / relative
    if not path.is_file():
        return None
    return dataclasses.replace(read_recording(path), source=relative)
