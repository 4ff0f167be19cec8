"""Runs for the page's tests, of recorded launches alone: the H100's calibration and baseline as files of a run would have them."""

from __future__ import annotations

import dataclasses
import gzip
import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from perfgate.compare.judge import judge
from perfgate.config import Limits
from perfgate.records import BASELINE_COMMIT, Launch, Recording, Samples, Status, Verdict, exit_code
from perfgate.report.inputs import Extras, of_run
from perfgate.report.view import view
from perfgate.store.recording import read_recording, write_recording
from perfgate.store.run import RunRecord, StageResult, run_to_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FOLDER = Path(__file__).parents[2] / "baselines/nvidia-h100-80gb-hbm3"
BASELINE = FOLDER / "matmul.json"
QUICK = ("k1_square", "k7_small_k", "sq1024_fp32", "sq1024_fp16", "sq1024_bf16")
"""Cases of the calibration of the quick subset."""
ONE_PERCENT = {"k1_square": ("+1", "+0"), "k7_small_k": ("+0.5", "+0")}
"""Real extra work in two cases: that of 1 %, and of half of it."""
_EDGE = ("edge_odd", "edge_empty")
"""Cases that are checked and not timed."""


@cache
def _calibration() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress((FOLDER / "calibration-quick.json.gz").read_bytes()))
    return found


def baseline() -> Recording:
    """The card's own, as it is in the repository."""
    return read_recording(BASELINE)


def measured(arms: Mapping[str, tuple[str, str]] = ONE_PERCENT, *, launches: Sequence[int] = range(4)) -> Recording:
    """Recorded launches as a run: the kernel beside itself, or beside itself with more work in the cases named."""
    document, then = _calibration(), baseline()
    samples = {}
    for case in QUICK:
        now, before = arms.get(case, ("A2", "A"))
        made = [_launch(document["launches"][number], case, now=now, before=before) for number in launches]
        samples[case] = dataclasses.replace(
            then.samples[case],
            launches=tuple(made),
            other={"kind": BASELINE_COMMIT, "name": then.commit},
            code={},
        )
    about = document["about"]
    return Recording(
        samples=samples,
        environment={key: about[key] for key in then.environment},
        settings=about["settings"],
        commit=about["commit"],
        recorded_at=about["recorded_at"],
    )


def _launch(entry: Mapping[str, Any], case: str, *, now: str, before: str) -> Launch:
    seconds = entry["samples"][case]
    arms = {"kernel": seconds[now], "other": seconds[before], "control": seconds["control"]}
    state = {key: value for key, value in entry["states"][case].items() if key != "knobs"}
    return Launch(arms={arm: tuple(one) for arm, one in arms.items()}, state=state)


def halves() -> tuple[Recording, Recording]:
    """The baseline's first four launches, and its last four as if they were measured later: 25 cases, stored comparison."""
    whole = baseline()
    first, last = (
        dataclasses.replace(
            whole,
            samples={
                case: dataclasses.replace(one, launches=one.launches[part]) for case, one in whole.samples.items()
            },
        )
        for part in (slice(0, 4), slice(4, 8))
    )
    return first, last


def run_of(recording: Recording, then: Recording | None = None) -> RunRecord:
    """The run that would have ended with these samples: results checked, nothing compiled, times judged by the gate."""
    verdicts = judge(then, recording, Limits(), selected=list(recording.samples))
    return RunRecord(
        environment={**recording.environment, "why": ""},
        exit=exit_code(verdicts),
        partial=True,
        stages=(
            StageResult(
                name="correctness", done="7 cases right (on the card, full size; seed 1)", passed=(*QUICK, *_EDGE)
            ),
            StageResult(name="compiled", left_out="no case that is compiled and timed was chosen"),
            StageResult(
                name="throughput", done="5 cases in 4 launches against the baseline", note="a note", verdicts=verdicts
            ),
        ),
    )


def many(count: int, *, launches: Sequence[int] = range(4)) -> Recording:
    """So many cases, every one the recorded launches of a quick case under a name of its own."""
    few = measured({}, launches=launches)
    samples = {}
    for number in range(count):
        one = few.samples[QUICK[number % len(QUICK)]]
        name = f"case_{number:03}_{one.case}"
        samples[name] = dataclasses.replace(one, case=name)
    return dataclasses.replace(few, samples=samples)


def renamed(recording: Recording, names: Mapping[str, str]) -> Recording:
    """The recording with other case ids."""
    samples: dict[str, Samples] = {}
    for case, one in recording.samples.items():
        name = names.get(case, case)
        samples[name] = dataclasses.replace(one, case=name)
    return dataclasses.replace(recording, samples=samples)


def write_run(folder: Path, recording: Recording, then: Recording | None = None) -> list[str]:
    """The files that such a run leaves: ``run.json`` and ``current.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    run = folder / "run.json"
    run.write_text(json.dumps(run_to_json(run_of(recording, then)), indent=1), encoding="utf-8")
    write_recording(folder / "current.json", recording)
    return [str(run), str(folder / "current.json")]


def shown(recording: Recording, then: Recording | None = None, extras: Extras | None = None) -> Any:
    """What the template is given of a run with these samples, by attribute."""
    return _named(view(of_run(run_of(recording, then), recording, then), extras or Extras()))


def shown_without_card() -> Any:
    """The same of a run without a card."""
    return _named(view(of_run(wrong_run(), None, None), Extras()))


def _named(made: dict[str, Any]) -> Any:
    return SimpleNamespace(**made | {"cases": [SimpleNamespace(**one) for one in made["cases"]]})


def wrong_run() -> RunRecord:
    """A run without a card that found a wrong result."""
    verdict = Verdict(
        case="edge_odd",
        status=Status.INVALID,
        reason="wrong-result",
        text="edge_odd: largest error 1.02 against float64, expected at most 0.0339.",
        wrong=True,
    )
    return RunRecord(
        environment={"gpu": "", "why": "none", "torch": "2.14.1", "triton": "3.8.0"},
        exit=1,
        stages=(
            StageResult(name="correctness", done="1 cases right", passed=("k1_square",), verdicts=(verdict,)),
            StageResult(name="throughput", left_out="no CUDA card"),
        ),
    )
