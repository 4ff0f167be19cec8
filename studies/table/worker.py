"""One process of the table: ``python -m studies.table.worker``, started by `processes` with a code path.

Owns how each arm is called at the precision of its case, the check that comes before its times, and what happens to a
case within a process. A job is one case and the arms asked for, an answer is what was found and which arms failed:

- ``check``: run every arm once, so that whatever has to be compiled or tuned is in the caches of the code path.
- ``measure``: check each arm, time them in random order in every round, check them again.

Arms, each a launch that gives the case's result into the same memory where it can:

- ``kernel``: the file under test; ``start``: the kernel it started from (``starting``).
- ``torch``: the vendor library, as the gate's own control.
- ``compile``: ``torch.compile(mode="max-autotune-no-cudagraphs")``. Plain max-autotune records a CUDA graph, which copies
  the operands into memory of its own at every call and would be timed copying. A compiled product makes its own result;
  told to write into a given one it would copy. The result is let go after each call, so that the next one is given
  the same memory without asking the driver, and nothing but the product runs between the events.
- ``limit``: a memset of the result where storing it bounds the case, a sum of the operands where reading them does.
- of a study of accuracy: the kernel, or torch, at another precision (`PRECISIONS`).
"""

from __future__ import annotations

import ctypes
import gc
import statistics
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from triton.errors import TritonError

from perf_tests import cases
from perfgate.config import read_settings
from perfgate.harness import interleave, machine
from perfgate.harness.correctness import WrongResultError, matmul_errors
from perfgate.harness.guarded import guarded, require_room
from perfgate.harness.launches import launched_by
from perfgate.harness.timer import Stopwatch
from perfgate.project import load_kernel
from perfgate.records import GateError
from perfgate.workers import serve
from studies.table.cases import BY_ID, COMPILE, KERNEL, LIMIT, START, TORCH, limit_of
from studies.table.starting import starting_matmul

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import ModuleType

    from perfgate.config import Settings
    from perfgate.harness.guarded import Guarded
    from perfgate.records import Case

    Launch = Callable[[], torch.Tensor]

TORCH_FP32 = "torch FP32"
FULL = ("bf16x3", "tf32x3", "ieee")
PRECISIONS = {**{precision: precision for precision in FULL}, TORCH_FP32: "ieee"}
"""By arm, its precision where that is not the case's."""

REFUSALS = (RuntimeError, ValueError, TritonError)
"""What an arm raises that cannot be built or launched; torch's compiler and its out of memory are RuntimeErrors."""
_TRIALS = 3
"""Runs that tell how long an arm takes, for the number of rounds."""
_FACTOR = 4.0
"""An arm's error may be this many times that of operands rounded to nearest: truncated ones have two to three times it."""
_ADDED_AT_ONCE = 8
"""Products that a tensor core adds at least at once; what it truncates after each is the price of a long sum."""
_UNIT_ROUNDOFF = {torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One case's operands and the result that the arms share: none may have the luckier address."""

    case: Case
    a: torch.Tensor
    b: torch.Tensor
    out: Guarded
    kernel: ModuleType

    def at(self, arm: str) -> Problem:
        """The same at the precision of an arm."""
        if arm not in PRECISIONS:
            return self
        (a, b), precision = self.case.shapes, PRECISIONS[arm]
        return replace(self, case=cases.matmul_case(self.case.id, a, b, precision=precision))


def problem(case: Case, kernel: ModuleType, *, device: str, seed: int) -> Problem:
    """Random operands in the case's layouts and a result filled with NaN, canaries around it."""
    a, b = cases.operands(case, device=device, seed=seed)
    out = guarded(cases.result_shape(case), dtype=a.dtype, device=device)
    return Problem(case=case, a=a, b=b, out=out, kernel=kernel)


def _kernel(given: Problem) -> Launch:
    return partial(cases.call(given.kernel, given.case, given.a, given.b), out=given.out.tensor)


def _start(given: Problem) -> Launch:
    return partial(starting_matmul, given.a, given.b, out=given.out.tensor)


def _torch(given: Problem) -> Launch:
    return cases.control(given.case, given.a, given.b)


def _compile(given: Problem) -> Launch:
    torch.compiler.reset()  # all cases are one function to torch, which refuses to compile that for more than a few shapes

    def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(a, b)

    compiled = torch.compile(product, mode="max-autotune-no-cudagraphs", dynamic=False, fullgraph=True)

    def run() -> torch.Tensor:
        # Part of what the compiled code was compiled for: with another value it would be compiled again.
        torch.backends.cuda.matmul.allow_tf32 = given.case.precision == "tf32"
        result: torch.Tensor = compiled(given.a, given.b)
        return result

    return run


def _limit(given: Problem) -> Launch:
    if limit_of(given.case) == "store":
        return partial(memset, given.out.tensor)
    total = torch.zeros((), dtype=given.a.dtype, device=given.a.device)

    def read() -> torch.Tensor:
        for operand in (given.a, given.b):
            torch.sum(operand.view(-1), dim=0, out=total)
        return total

    return read


MAKERS: Mapping[str, Callable[[Problem], Launch]] = {
    KERNEL: _kernel,
    START: _start,
    TORCH: _torch,
    COMPILE: _compile,
    LIMIT: _limit,
    **dict.fromkeys(FULL, _kernel),
    TORCH_FP32: _torch,
}
"""How each arm is called, given the problem at its precision."""


def memset(tensor: torch.Tensor) -> torch.Tensor:
    """Set a contiguous tensor's bytes to zero with the driver's own memset, on the current stream.

    Torch's ``zero_`` launches a kernel of its own, which is no limit of the card.

    Raises:
        RuntimeError: The driver refused.
    """
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    at, count = ctypes.c_uint64(tensor.data_ptr()), ctypes.c_size_t(tensor.numel() * tensor.element_size())
    code = ctypes.CDLL("libcuda.so.1").cuMemsetD8Async(at, ctypes.c_ubyte(0), count, stream)
    if code:
        raise RuntimeError(f"the driver's memset gave error {code}, expected 0")
    return tensor


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What the check before timing found."""

    bits: tuple[torch.Tensor, ...]
    """Sums of the result's bits by row and by column; a copy of the result would need as much memory again."""
    error: float | None
    """RMS error over that of operands rounded to nearest and multiplied by torch; None for the limit."""


def check(name: str, launch: Launch, given: Problem, *, seed: int) -> Checked:
    """Run an arm twice, the second time over NaN, and hold some rows of its result against float64.

    The kernel is held to the gate's own tolerance. Other arms may truncate operands where it rounds them (the starting
    kernel does), and pay for a long sum as tensor cores do: each addition of 8 products may lose a unit in the last place.

    Raises:
        WrongResultError: The result is wrong, or was written beside the result.
    """
    given = given.at(name)
    launch().fill_(float("nan"))
    got = launch()
    if name == LIMIT:
        if limit_of(given.case) == "store" and bool(got.any()):
            raise WrongResultError(f"{given.case.id}: the memset left something in the result, expected zeros.")
        return Checked(bits=_bits(got), error=None)
    if name in {KERNEL, *FULL}:
        cases.check_rows(given.case, given.a, given.b, got, seed=seed)
    if not given.out.intact():
        raise WrongResultError(f"{given.case.id}: {name} wrote outside its result (the canaries around it changed).")
    error = _check_loosely(name, given, got, seed)
    return Checked(bits=_bits(got), error=error)


def same_again(launch: Launch, given: Problem, checked: Checked) -> bool:
    """Whether an arm, run once more over NaN, gives the bits it gave before it was timed, and nothing beside them."""
    launch().fill_(float("nan"))
    return (
        all(bool(torch.equal(x, y)) for x, y in zip(_bits(launch()), checked.bits, strict=True)) and given.out.intact()
    )


def _bits(result: torch.Tensor) -> tuple[torch.Tensor, ...]:
    bits = result.view(torch.int32 if result.element_size() == 4 else torch.int16)  # noqa: PLR2004 - bytes of FP32
    if bits.dim() < 2:  # noqa: PLR2004 - the scalar of a read
        return (bits.clone(),)
    return tuple(bits.sum(dim=dim, dtype=torch.int64) for dim in (-1, -2))


def _check_loosely(name: str, given: Problem, got: torch.Tensor, seed: int) -> float:
    """The arm's RMS error over that of torch with operands rounded to nearest; refuses what no such arithmetic gives."""
    case = given.case
    if bool(torch.isnan(got).any()):
        raise WrongResultError(f"{case.id}: {name}'s result holds NaN (elements never written, or computed from NaN).")
    torch.backends.cuda.matmul.allow_tf32 = False
    rows = cases.some_rows(given.a, seed=seed)
    ours, theirs, scale = matmul_errors(given.a[..., rows, :], given.b, got[..., rows, :], case.precision)
    lost = given.a.shape[-1] / _ADDED_AT_ONCE * 2.0**-23 + _UNIT_ROUNDOFF[got.dtype]
    for kind in ("largest", "rms"):
        found, allowed = getattr(ours, kind), _FACTOR * getattr(theirs, kind) + lost * scale
        if not found <= allowed:
            raise WrongResultError(
                f"{case.id}: {name}'s {kind} error is {found:.3g} against float64, expected at most {allowed:.3g} "
                f"({_FACTOR:g} × torch's own {getattr(theirs, kind):.3g} at {case.precision} + {lost * scale:.3g})."
            )
    return ours.rms / theirs.rms if theirs.rms else 1.0


def never_compiles() -> contextlib.AbstractContextManager[None]:
    """Within it, a call of torch.compile's that would compile or tune raises in place of being timed at it."""
    stance: contextlib.AbstractContextManager[None] = torch.compiler.set_stance("fail_on_recompile")
    return stance


class Rounds:
    """Stands in for pytest-benchmark: times a target once a round with the stopwatch."""

    def __init__(self, watch: Stopwatch) -> None:
        self._watch = watch
        self.seconds: list[float] = []

    def pedantic(self, target: Callable[..., object], **options: Any) -> None:  # noqa: ANN401 - pytest-benchmark's signature
        """Time ``target``; ``setup`` prepares the device before each round, ``teardown`` follows it."""
        for number in range(options["warmup_rounds"] + options["rounds"]):
            options["setup"]()
            start = self._watch.stamp()
            target()
            taken = self._watch.stamp() - start
            if number >= options["warmup_rounds"]:
                self.seconds.append(taken)
            options["teardown"]()


class Failures(list[dict[str, Any]]):
    """The arms that have no number, and why."""

    def add(self, case: Case, arm: str, error: BaseException, *, wrong: bool) -> None:
        """One more."""
        self.append({"case": case.id, "arm": arm, "why": _line(error), "wrong": wrong})


def set_up(given: Problem, arms: Iterable[str], failed: Failures, *, seed: int) -> dict[str, tuple[Launch, Checked]]:
    """Build and check arms; one that fails is left out."""
    ready = {}
    for arm in arms:
        try:
            launch = MAKERS[arm](given.at(arm))
            ready[arm] = (launch, check(arm, launch, given, seed=seed))
        except WrongResultError as error:
            failed.add(given.case, arm, error, wrong=True)
        except REFUSALS as error:
            failed.add(given.case, arm, error, wrong=not isinstance(error, torch.OutOfMemoryError))
        if arm == KERNEL and arm not in ready:  # a wrong kernel gets no number, so nor do those beside it
            break
    return ready


def measure(  # noqa: PLR0913 - each is one independent part, all by name
    given: Problem,
    arms: Iterable[str],
    failed: Failures,
    *,
    watch: Stopwatch,
    monitor: machine.Monitor,
    project: Settings,
    seed: int,
) -> dict[str, Any] | None:
    """Time a case's arms in the same rounds; their medians, or None where the kernel has no number."""
    case = given.case
    ready = set_up(given, arms, failed, seed=seed)
    if KERNEL not in ready:
        return None
    config = dict(launched_by(ready[KERNEL][0]).config)
    while True:
        launches = {arm: launch for arm, (launch, _) in ready.items()}
        try:
            rounds, seconds = time_arms(launches, watch=watch, monitor=monitor, project=project, seed=seed)
            break
        except REFUSALS as error:
            if COMPILE not in ready:
                raise
            # It was about to compile again; what the others have been timed at with it is dropped too.
            failed.add(case, COMPILE, error, wrong=False)
            del ready[COMPILE]
    for arm, (launch, checked) in ready.items():
        if not same_again(launch, given, checked):
            said = (
                f"{case.id}: {arm}'s result after timing differs from the one before; it races or writes out of bounds."
            )
            failed.add(case, arm, WrongResultError(said), wrong=True)
            del seconds[arm]
    if KERNEL not in seconds:
        return None
    return {
        "seconds": {arm: statistics.median(taken) for arm, taken in seconds.items()},
        "rounds": rounds,
        "errors": {arm: round(lost, 3) for arm in seconds if (lost := ready[arm][1].error) is not None},
        "config": config,
        "state": {**monitor.state(), "unheld": watch.unheld},
    }


def time_arms(
    launches: Mapping[str, Callable[[], object]],
    *,
    watch: Stopwatch,
    monitor: machine.Monitor,
    project: Settings,
    seed: int,
) -> tuple[int, dict[str, Sequence[float]]]:
    """The number of rounds, and each arm's seconds in them. Nothing is compiled meanwhile."""
    with never_compiles():
        typical_s = statistics.fmean(
            statistics.median(watch.time(launch) for _ in range(_TRIALS)) for launch in launches.values()
        )
        watch.unheld = 0
        rounds = interleave.rounds_for(
            typical_s, most=project.rounds, fewest=project.fewest_rounds, arm_s=project.arm_s
        )
        timer = Rounds(watch)
        others = interleave.interleave(
            timer,
            launches[KERNEL],
            {arm: launch for arm, launch in launches.items() if arm != KERNEL},
            watch=watch,
            rounds=rounds,
            warmup_rounds=project.warmup_rounds,
            seed=seed,
            between=monitor.sample,
        )
    return rounds, {KERNEL: timer.seconds, **others}


def _line(error: BaseException) -> str:
    """The first line that says something, of the cause where a compiler wrapped it."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else "no message"
    return text if isinstance(error, (WrongResultError, GateError)) else f"{type(error).__name__}: {text}"


def answers(project: Settings, kernel: ModuleType) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What the process does with a job: ``task``, and but for ``begin`` ``case``, ``arms`` and ``seed``."""
    card = machine.look()

    def answer(job: dict[str, Any]) -> dict[str, Any]:
        if not card["gpu"]:
            return {"refused": ["no-card", f"A launch needs a CUDA card and there is none ({card['why']})."]}
        failed, entry = Failures(), None
        if job["task"] != "begin":
            entry = _one(job, failed)
            gc.collect()
            torch.cuda.empty_cache()
        return {"failed": failed, "entry": entry}

    def _one(job: dict[str, Any], failed: Failures) -> dict[str, Any] | None:
        case, arms, seed = BY_ID[job["case"]], job["arms"], job["seed"]
        try:
            require_room(case)
            given = problem(case, kernel, device="cuda", seed=seed)
        except (GateError, torch.OutOfMemoryError) as error:
            failed.add(case, KERNEL, error, wrong=False)
            return None
        if job["task"] == "check":
            set_up(given, arms, failed, seed=seed)
            return None
        monitor = machine.Monitor(card["uuid"])
        watch = stopwatch(project, monitor)
        return measure(given, arms, failed, watch=watch, monitor=monitor, project=project, seed=seed)

    return answer


def stopwatch(project: Settings, monitor: machine.Monitor) -> Stopwatch:
    """The gate's, as its settings have it."""
    cache_bytes = torch.cuda.get_device_properties(0).L2_cache_size
    return Stopwatch(
        flush_bytes=project.flush_factor * cache_bytes, hold_cycles=int(project.hold_s * monitor.max_sm_clock_hz())
    )


if __name__ == "__main__":
    found = read_settings(Path.cwd())
    serve(answers(found, load_kernel(found.root / found.kernel)))
