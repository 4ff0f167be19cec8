"""One process under the profiler: sets cases up, and lets ncu read a few calls of each side's kernels and nothing else.

Run as ``python -m perfgate.profiling.worker PLAN RESULTS`` beneath ncu, which counts between the profiler's start and stop
only. Both sides compute into the same result from the same operands, so that neither has the luckier address. What a call
launches is watched outside of that, so that ncu's rows can be told apart.
"""

from __future__ import annotations

import gc
import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from perfgate.config import read_settings
from perfgate.files import write_whole
from perfgate.harness import correctness
from perfgate.harness.launches import cache_folder, launched_by
from perfgate.harness.workload import Workload
from perfgate.project import Suite, load_kernel, load_suite
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from types import ModuleType

    from perfgate.records import Case


@contextmanager
def counted() -> Iterator[None]:
    """Within it, ncu counts; what was queued before is over, and what is queued within ends within."""
    torch.cuda.synchronize()
    torch.cuda.profiler.start()
    try:
        yield
        torch.cuda.synchronize()
    finally:
        torch.cuda.profiler.stop()


def profile(  # noqa: PLR0913 - the parts of one case, all by name
    suite: Suite,
    case: Case,
    sides: Mapping[str, tuple[ModuleType, str | None]],
    *,
    calls: int,
    seed: int,
    device: str = "cuda",
    counting: Callable[[], AbstractContextManager[None]] = counted,
) -> dict[str, dict[str, Any]]:
    """Check and profile one case.

    Args:
        suite: Sets the case up and calls it.
        case: Which one.
        sides: By name, a kernel file that is imported, and where Triton keeps what it compiles of it.
        calls: How many are profiled of each side.
        seed: Of the operands.
        device: Where.
        counting: Entered while the profiled calls run.

    Returns:
        By side, ``names`` of the kernels that one call launches, in order, and ``code``, a hash of what they are.

    Raises:
        GateError: ``wrong-result``, ``no-kernel``, or the case does not fit the card.
    """
    workload = Workload(suite=suite, case=case, device=device, seed=seed)
    found = {}
    for name, (module, cache) in sides.items():
        launch = workload.launch(module)
        with cache_folder(cache):
            launched = launched_by(launch)
            try:
                workload.check(launch)
            except correctness.WrongResultError as error:
                raise GateError(
                    "wrong-result", f"{case.id}: {error} ({name}); a wrong kernel gets no counters, mend it first."
                ) from None
            if not launched.names:
                raise GateError("no-kernel", f"{case.id}: a call launched no Triton kernel ({name}), expected one.")
            with counting():
                for _ in range(calls):
                    launch()
        found[name] = {"names": list(launched.names), "code": launched.code}
    return found


def main(plan_path: Path, results_path: Path) -> int:
    """Profile every case of a plan; what was launched, or the one sentence on why not, is left in the results."""
    plan = json.loads(plan_path.read_text(encoding="utf-8"))
    try:
        project = read_settings(Path.cwd())
        suite = load_suite(project)
        sides = {
            name: (load_kernel(Path(side["kernel"]), f"kernel_counted_{name}"), side["cache"])
            for name, side in plan["sides"].items()
        }
        cases = {case.id: case for case in suite.CASES}
        done = {}
        for name in plan["cases"]:
            done[name] = profile(suite, cases[name], sides, calls=plan["calls"], seed=plan["seed"])
            gc.collect()
            torch.cuda.empty_cache()
    except GateError as error:
        write_whole(results_path, json.dumps({"error": {"reason": error.reason, "text": error.text}}))
        return 2
    write_whole(results_path, json.dumps({"cases": done}))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
