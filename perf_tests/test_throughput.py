"""One launch's worth of times of every case: the kernel, the vendor library and, if there is one, the other side.

Passes when there are numbers to judge; whether they are good is judged over several launches by the gate.
"""

from __future__ import annotations

import statistics
from functools import partial
from typing import TYPE_CHECKING

import pytest

from perf_tests import cases
from perfgate.harness import interleave
from perfgate.harness.correctness import WrongResultError, same_bits
from perfgate.harness.guarded import guarded, require_room
from perfgate.harness.launches import cache_folder, code_of, launched_by

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from perfgate.config import Settings
    from perfgate.harness.machine import Monitor
    from perfgate.harness.timer import Stopwatch
    from perfgate.records import Case
    from perfgate.store.reference import LoadedSide

_TRIALS = 3
"""Runs that tell how long a case takes, for the number of its rounds."""


@pytest.mark.gpu
@pytest.mark.usefixtures("free_memory")
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.id, marks=[pytest.mark.quick] if case.quick else []) for case in cases.CASES]
)
def test_throughput(  # noqa: PLR0913, PLR0917 - pytest's fixtures
    case: Case,
    kernel: ModuleType,
    other_side: LoadedSide | None,
    stopwatch: Stopwatch,
    monitor: Monitor,
    gpu_benchmark: interleave.Benchmark,
    gate_settings: Settings,
    seed: int,
    record_samples: Callable[..., None],
) -> None:
    require_room(case)
    a, b = cases.operands(case, device="cuda", seed=seed)
    out = guarded(cases.result_shape(case), dtype=a.dtype, device="cuda")
    code, beside = {}, {}
    if other_side:
        # Into the same result as the kernel: neither side may have the luckier address.
        beside["other"] = partial(cases.call(other_side.kernel, case, a, b), out=out.tensor)
        with cache_folder(other_side.cache):
            code["other"] = code_of(beside["other"])
        out.poison()
    run = partial(cases.call(kernel, case, a, b), out=out.tensor)
    launched = launched_by(run)
    code["kernel"] = launched.code
    cases.check_rows(case, a, b, out.tensor, seed=seed)
    kept = out.tensor.clone()

    typical_s = statistics.median(stopwatch.time(run) for _ in range(_TRIALS))
    stopwatch.unheld = 0
    others = interleave.interleave(
        gpu_benchmark,
        run,
        {"control": cases.control(case, a, b), **beside},
        watch=stopwatch,
        rounds=interleave.rounds_for(
            typical_s, most=gate_settings.rounds, fewest=gate_settings.fewest_rounds, arm_s=gate_settings.arm_s
        ),
        warmup_rounds=gate_settings.warmup_rounds,
        seed=seed,
        between=monitor.sample,
    )

    out.poison()
    run()
    if not same_bits(out.tensor, kept) or not out.intact():
        raise WrongResultError(
            f"{case.id}: the result after timing differs from the one before; the kernel races or writes out of bounds."
        )
    record_samples(
        case=case,
        config=dict(launched.config),
        arms=others,
        state={**monitor.state(), "unheld": stopwatch.unheld},
        code={side: found for side, found in code.items() if found},
        other=other_side,
    )
