"""One launch's worth of times for the gate's own error rates: the kernel, itself again, and itself made slower.

Passes when there are numbers; the rates are worked out over many launches by ``perfgate.calibration.session``.
"""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from perf_tests import cases
from perf_tests.slowed import load_slowed, slowed_by
from perfgate.calibration import slowdown as knobs
from perfgate.calibration.rates import AGAIN, KERNEL, KNOBS_FILE, NOTHING_ADDED, sizes_wanted
from perfgate.harness import interleave
from perfgate.harness.correctness import WrongResultError, same_bits
from perfgate.harness.guarded import guarded, require_room
from perfgate.harness.launches import launched_by
from perfgate.project import load_kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from perfgate.config import Settings
    from perfgate.harness.machine import Monitor
    from perfgate.harness.timer import Stopwatch
    from perfgate.records import Case

_SEARCH_S, _MOST_PAIRS, _LEAST_PAIRS, _OVERHEAD_S = 0.04, 30, 2, 0.0013
"""Seconds for one point of the search; pairs of runs; what a timed run costs beside the kernel (flush and hold)."""


@pytest.fixture(scope="session")
def again(gate_settings: Settings) -> ModuleType:
    """The kernel file imported a second time: the same code as another program."""
    return load_kernel(gate_settings.root / gate_settings.kernel, "kernel_again")


@pytest.fixture(scope="session")
def slowed(gate_settings: Settings) -> ModuleType:
    """The kernel with extra work in it."""
    scratch = gate_settings.root / ".perfgate"
    scratch.mkdir(exist_ok=True)
    return load_slowed(gate_settings.root / gate_settings.kernel, scratch)


def _knobs(
    case: Case, launch: Callable[[int], Callable[[], object]], *, watch: Stopwatch, seconds: float
) -> Mapping[str, knobs.Found]:
    """The extra work for each size: as the file has it, else searched now and put there."""
    path = Path(os.environ[KNOBS_FILE]) if os.environ.get(KNOBS_FILE) else None
    kept = json.loads(path.read_text(encoding="utf-8")) if path and path.is_file() else {}
    if case.id not in kept:
        pairs = max(_LEAST_PAIRS, min(_MOST_PAIRS, int(_SEARCH_S / (seconds + _OVERHEAD_S))))

        def slowdown(extra: int) -> float:
            times = [(watch.time(launch(extra)), watch.time(launch(0))) for _ in range(pairs)]
            more, none = zip(*times, strict=True)
            return knobs.typical(more) / knobs.typical(none) - 1

        found = knobs.search(sizes_wanted(), slowdown=slowdown, seconds=seconds)
        kept[case.id] = {name: vars(one) for name, one in found.items()}
        if path:
            path.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return {name: knobs.Found(**one) for name, one in kept[case.id].items()}


def _check_bits(
    case: Case, arms: Mapping[str, Callable[[], object]], out: torch.Tensor, expected: torch.Tensor
) -> None:
    """Every arm does the same job: a slowed kernel has the result of the kernel, to the bit."""
    for name, launch in arms.items():
        out.fill_(float("nan"))
        launch()
        if not same_bits(out, expected):
            raise WrongResultError(
                f"{case.id}: the arm {name} gives another result than the kernel; see perf_tests/slowed.py."
            )


@pytest.mark.gpu
@pytest.mark.usefixtures("free_memory")
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.id, marks=[pytest.mark.quick] if case.quick else []) for case in cases.CASES]
)
def test_calibration(  # noqa: PLR0913, PLR0917 - pytest's fixtures
    case: Case,
    kernel: ModuleType,
    again: ModuleType,
    slowed: ModuleType,
    device: str,
    stopwatch: Stopwatch,
    monitor: Monitor,
    gpu_benchmark: interleave.Benchmark,
    gate_settings: Settings,
    seed: int,
    record_samples: Callable[..., None],
) -> None:
    if device == "cuda":
        require_room(case)
    a, b = cases.operands(case, device=device, seed=seed)
    out = guarded(cases.result_shape(case), dtype=a.dtype, device=device).tensor
    run, run_again, run_slowed = (partial(cases.call(m, case, a, b), out=out) for m in (kernel, again, slowed))
    for launch in (run, run_again, run_slowed):  # compiles them, which a timed run must not
        launch()
    expected = out.clone()
    if bool(torch.isnan(expected).any()):
        raise WrongResultError(f"{case.id}: the result holds NaN; see nox -s perf -- --case {case.id}.")

    def slower(extra: int) -> Callable[[], object]:
        return slowed_by(slowed, extra, run_slowed)

    seconds = knobs.typical([stopwatch.time(run) for _ in range(4)])
    found = _knobs(case, slower, watch=stopwatch, seconds=seconds)
    own: dict[str, Callable[[], object]] = {AGAIN: run_again, NOTHING_ADDED: slower(0)}
    own |= {name: slower(one.extra) for name, one in found.items() if one.reached}
    _check_bits(case, own, out, expected)
    stopwatch.unheld = 0
    others = interleave.interleave(
        gpu_benchmark,
        run,
        {**own, "control": cases.control(case, a, b)},
        watch=stopwatch,
        rounds=interleave.rounds_for(
            seconds, most=gate_settings.rounds, fewest=gate_settings.fewest_rounds, arm_s=gate_settings.arm_s
        ),
        warmup_rounds=gate_settings.warmup_rounds,
        seed=seed,
        between=monitor.sample,
    )
    _check_bits(case, {KERNEL: run, **own}, out, expected)
    record_samples(
        case=case,
        config=dict(launched_by(run).config),
        arms=others,
        state={
            **monitor.state(),
            "unheld": stopwatch.unheld,
            "knobs": {name: vars(one) for name, one in found.items()},
        },
        code={},
        other=None,
    )
