"""A stand-in for the driver's library (pynvml): one card whose answers a test sets."""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import chain, repeat
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class DriverError(Exception):
    """Any error of the library."""


class NotSupportedError(DriverError):
    """The card has no answer."""


class NoPermissionError(DriverError):
    """The user gets no answer."""


class FunctionNotFoundError(DriverError):
    """The driver is older than the question."""


_NOT_SUPPORTED = NotSupportedError()


class FakeNvml:
    """A driver with one card whose state a test sets; a question whose answer is an error gets that."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    NVMLError = DriverError
    NVMLError_NotSupported = NotSupportedError
    NVMLError_NoPermission = NoPermissionError
    NVMLError_FunctionNotFound = FunctionNotFoundError

    def __init__(  # noqa: PLR0913 - each is one independent answer
        self,
        *,
        pids: Sequence[int] | Exception = (),
        reasons: Sequence[int] | int | Exception = 0,
        clocks: Sequence[int] | Exception = (1980,),
        memory_clock: int | Exception = 2619,
        celsius: Sequence[int] | int | Exception = 40,
        utilization: Sequence[int] | int | Exception = 0,
        computing: Sequence[tuple[int, int]] | Exception = _NOT_SUPPORTED,
        uuids: Sequence[str] = ("GPU-1",),
    ) -> None:
        self.asked: Counter[str] = Counter()
        self._uuids = uuids
        self._clocks, self._memory_clock = _answers(clocks), _answers(memory_clock)
        self._reasons, self._celsius, self._utilization = map(_answers, (reasons, celsius, utilization))
        self.pids, self._computing = pids, computing
        self.nvmlInit = lambda: None

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        if uuid not in self._uuids:
            raise DriverError("Not Found")
        return uuid

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: str) -> str:  # noqa: N802
        assert handle.startswith("MIG-")
        return "GPU-1"

    def nvmlDeviceGetMaxClockInfo(self, _card: str, _kind: int) -> int:  # noqa: N802
        return 1980

    def nvmlDeviceGetClockInfo(self, card: str, kind: int) -> Any:  # noqa: N802
        assert card == "GPU-1"
        return next(self._clocks if kind == self.NVML_CLOCK_SM else self._memory_clock)()

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, card: str) -> Any:  # noqa: N802
        assert card == "GPU-1"
        return next(self._reasons)()

    def nvmlDeviceGetTemperature(self, card: str, _sensor: int) -> Any:  # noqa: N802
        assert card == "GPU-1"
        return next(self._celsius)()

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[SimpleNamespace]:  # noqa: N802
        assert handle == self._uuids[0]
        self.asked["processes"] += 1
        return [SimpleNamespace(pid=pid) for pid in _or_raise(self.pids)]

    def nvmlDeviceGetUtilizationRates(self, card: str) -> SimpleNamespace:  # noqa: N802
        assert card == "GPU-1"
        return SimpleNamespace(gpu=next(self._utilization)())

    def nvmlDeviceGetProcessUtilization(self, _card: str, since_us: int) -> list[SimpleNamespace]:  # noqa: N802
        """Percent by process; a process named by a negative number computed before it was asked for."""
        return [
            SimpleNamespace(pid=abs(pid), smUtil=percent, timeStamp=since_us + (1 if pid > 0 else 0))
            for pid, percent in _or_raise(self._computing)
        ]


def _or_raise(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


def _answers(values: Any) -> Iterator[Callable[[], Any]]:
    """One answer after the other, the last for ever; each is given, or raised, when it is called."""
    given = list(values) if isinstance(values, (list, tuple)) else [values]
    return (partial(_or_raise, value) for value in chain(given, repeat(given[-1])))
