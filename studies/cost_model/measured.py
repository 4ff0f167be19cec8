"""Times of drawn pairs on the card present: launches, each a process that runs all pairs of a case interleaved.

Owns how pairs get to `perfgate.tuning.worker` and their times back.
"""

from __future__ import annotations

import json
import statistics
import sys
from typing import TYPE_CHECKING

from perfgate import workers
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from studies.cost_model.pairs import CodePath, Pair

_LAUNCH_S = 600


def launch(
    root: Path, output: Path, path: CodePath, pairs: Sequence[Pair], *, number: int
) -> dict[tuple[str, str], float]:
    """Time all pairs once more in a process of its own.

    Returns:
        Seconds by (case, id): the median of its runs; a pair that does not run or is wrong is not in it.

    Raises:
        GateError: ``no-samples``, the process ended before its end.
    """
    cases: dict[str, dict[str, object]] = {}
    for pair in pairs:
        case = cases.setdefault(pair.case, {"keep": 0, "kernel": path.kernel, "candidates": {}})
        case["candidates"][pair.id] = pair.config  # type: ignore[index]
    plan, steps, log = (output / f"launch-{path.name}-{number}.{kind}" for kind in ("json", "jsonl", "log"))
    plan.write_text(json.dumps({"seed": number, "cases": cases}), encoding="utf-8")
    steps.unlink(missing_ok=True)
    with log.open("w", encoding="utf-8") as stream:
        command = [sys.executable, "-m", "perfgate.tuning.worker", str(plan), str(steps)]
        done = workers.run(
            command, cwd=root, environment=_environment(path), stdout=stream, stderr=stream, timeout_s=_LAUNCH_S
        )
    if done.returncode:
        raise GateError("no-samples", f"A measuring process ended with {done.returncode}; its output is in {log}.")
    return {
        (step["case"], name): statistics.median(seconds)
        for step in map(json.loads, steps.read_text(encoding="utf-8").splitlines())
        if step["step"] == "timed"
        for name, seconds in step["seconds"].items()
        if seconds
    }


def _environment(path: CodePath) -> Mapping[str, str]:
    inherited = {key: value for key, value in workers.environment().items() if key != "TRITON_OVERRIDE_ARCH"}
    return inherited | ({"TRITON_OVERRIDE_ARCH": path.lowered_for.replace("_", "")} if path.lowered_for else {})
