"""One launch of the calibration, on a device that is played: which arms run, with how much extra work, and what is kept."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from perf_tests import cases
from perf_tests import test_calibration as calibration
from perfgate.calibration import SIZES
from perfgate.calibration.rates import AGAIN, KNOBS_FILE, NOTHING_ADDED
from perfgate.config import Settings
from perfgate.harness.correctness import WrongResultError
from perfgate.harness.launches import Launched

if TYPE_CHECKING:
    from collections.abc import Callable

CASE = cases.matmul_case("case", (8, 4), (4, 6))


class Kernel:
    """A kernel file: computes the product, and moves the device's clock as its extra work does."""

    def __init__(
        self, device: Device, name: str, *, curve: Callable[[int], float] = lambda _: 0.0, wrong_from: int = 2**31
    ) -> None:
        self.SLOWDOWN = 0
        self.launches: list[int] = []
        self._device, self._name, self._curve, self._wrong_from = device, name, curve, wrong_from

    def triton_matmul(self, a: torch.Tensor, b: torch.Tensor, *, out: torch.Tensor, precision: str) -> torch.Tensor:
        assert precision == "tf32"
        self.launches.append(self.SLOWDOWN)
        self._device.ran.append(self._name)
        self._device.clock_s += self._device.kernel_s * (1 + self._curve(self.SLOWDOWN))
        torch.matmul(a, b, out=out)
        if self.launches[-1] >= self._wrong_from:
            out[0, 0] += 1
        return out


class Device:
    """Plays stopwatch, monitor and pytest-benchmark; a run takes what the kernels say."""

    def __init__(self, kernel_s: float) -> None:
        self.kernel_s = kernel_s
        self.clock_s = 0.0
        self.unheld = 0
        self.rounds = 0
        self.ran: list[str] = []
        self.recorded: dict[str, Any] = {}

    def prepare(self) -> None:
        pass

    def time(self, launch: Callable[[], object]) -> float:
        before_s = self.clock_s
        launch()
        return self.clock_s - before_s

    def sample(self) -> None:
        pass

    def state(self) -> dict[str, Any]:
        return {"throttle_reasons": []}

    def pedantic(self, target: Callable[..., object], **options: Any) -> None:
        self.rounds = options["rounds"]
        for _ in range(options["warmup_rounds"] + self.rounds):
            options["setup"]()
            target()
            options["teardown"]()

    def record(self, **recorded: Any) -> None:
        self.recorded = recorded


def run(device: Device | None = None, *, kernel_s: float = 1e-3, **slowed: Any) -> tuple[Device, Kernel]:
    """One launch of the case; ``slowed`` says how the slowed kernel behaves."""
    device = device or Device(kernel_s)
    slow = Kernel(device, "slowed", **({"curve": lambda extra: extra * 1e-5} | slowed))
    parts: dict[str, Any] = {"kernel": Kernel(device, "kernel"), "again": Kernel(device, "again"), "slowed": slow}
    parts |= {"stopwatch": device, "monitor": device, "gpu_benchmark": device, "record_samples": device.record}
    settings = Settings(root=Path(), rounds=6, fewest_rounds=3, warmup_rounds=1)
    calibration.test_calibration(case=CASE, device="cpu", gate_settings=settings, seed=1, **parts)
    return device, slow


def slowdowns(device: Device) -> dict[str, float]:
    arms = device.recorded["arms"]
    nothing = statistics.median(arms[NOTHING_ADDED])
    return {size: statistics.median(arms[size]) / nothing - 1 for size in SIZES if size in arms}


def test_a_launch_holds_the_kernel_twice_the_slowed_one_with_nothing_added_and_every_size() -> None:
    device, _ = run()
    assert set(device.recorded["arms"]) == {AGAIN, NOTHING_ADDED, "control", *SIZES}
    assert {len(samples) for samples in device.recorded["arms"].values()} == {6}
    assert slowdowns(device) == {size: pytest.approx(wanted, rel=0.1) for size, wanted in SIZES.items()}


def test_the_configuration_kept_is_that_of_the_kernel_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(1e-3)

    def launched_by(call: Callable[[], object]) -> Launched:
        call()
        return Launched(code="its own", config={device.ran[-1]: {"num_warps": 4}})

    monkeypatch.setattr(calibration, "launched_by", launched_by)
    run(device)
    assert device.recorded["config"] == {"kernel": {"num_warps": 4}}


def test_the_first_launch_searches_and_every_later_one_does_the_same_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    knobs = tmp_path / "knobs.json"
    knobs.write_text(json.dumps({"another": {}}), encoding="utf-8")
    monkeypatch.setenv(KNOBS_FILE, str(knobs))
    first, searching = run()
    kept = json.loads(knobs.read_text(encoding="utf-8"))
    assert kept == {"another": {}, "case": first.recorded["state"]["knobs"]}
    # Another machine, where the same work costs twice as much: the work stays, and the sizes are what they are.
    second, told = run(curve=lambda extra: extra * 2e-5)
    assert second.recorded["state"]["knobs"] == first.recorded["state"]["knobs"]
    assert set(told.launches) == {0, *(knob["extra"] for knob in kept["case"].values())}
    assert len(told.launches) < len(searching.launches)
    assert slowdowns(second)["+1"] == pytest.approx(2 * slowdowns(first)["+1"])


def test_a_size_that_cannot_be_reached_has_no_arm_and_its_nearest_is_kept() -> None:
    device, _ = run(curve=lambda extra: 0.03 if extra else 0.0)
    assert set(slowdowns(device)) == {"+3"}
    knob = device.recorded["state"]["knobs"]["+0.5"]
    assert (knob["reached"], knob["slowdown"]) == (False, pytest.approx(0.03))


def test_a_slowed_kernel_with_another_result_gives_no_times() -> None:
    with pytest.raises(WrongResultError, match=r"case: the arm \+2 gives another result than the kernel"):
        run(wrong_from=1800)


def test_a_result_of_nan_gives_no_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "fill", lambda *operands, **_: operands[1].fill_(float("nan")))
    with pytest.raises(WrongResultError, match="case: the result holds NaN"):
        run()


def test_a_long_case_has_fewer_rounds_and_a_shorter_search() -> None:
    long, slow = run(kernel_s=0.1)
    assert long.rounds == 3
    _, short = run(kernel_s=1e-4)
    assert len(slow.launches) < len(short.launches) / 4
