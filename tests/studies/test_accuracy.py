"""The study of accuracy: what it calls right and wrong, its page, KernelBench's check, and what full accuracy costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from perfgate.config import read_settings
from perfgate.harness import machine
from perfgate.harness.correctness import round_to_tf32
from perfgate.measurement.session import Request, open_session
from perfgate.records import GateError
from studies.accuracy import arms, command, cost
from studies.accuracy.errors import distribution, truncate_to_tf32
from studies.accuracy.report import Report, markdown
from studies.table import processes
from studies.table.cases import Entry, Failure, Launched

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).parents[2]
NO_CARD = {"gpu": "", "why": "no NVIDIA driver", "torch": "2", "triton": "3", "cuda": "13.0", "code_path": "native"}
CARD = {**NO_CARD, "gpu": "NVIDIA GeForce RTX 4090", "why": "", "driver": "580", "uuid": "GPU-1", "code_path": "sm89"}
ENOUGH = ("--size=64", "--draws=8")


class Broken:
    """A kernel of torch's parts, each of which a test may break."""

    cut: Callable[[torch.Tensor], torch.Tensor] = staticmethod(round_to_tf32)
    bf16x3: Callable[[torch.Tensor], torch.Tensor] = staticmethod(lambda x: x)

    def triton_matmul(self, a: torch.Tensor, b: torch.Tensor, *, precision: str | None = None) -> torch.Tensor:
        """Multiply as asked."""
        prepare = {"tf32": self.cut, "bf16x3": self.bf16x3}.get(precision or "", lambda x: x)
        return prepare(a) @ prepare(b)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Broken:
    """What the command loads as the kernel, on a machine without a card."""
    broken = Broken()
    monkeypatch.setattr("perfgate.project.load_kernel", lambda *_: broken)
    monkeypatch.setattr(machine, "look", lambda: NO_CARD)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.chdir(ROOT)
    return broken


@pytest.mark.usefixtures("kernel")
def test_a_right_kernel_passes_and_the_page_says_what_was_measured_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([*ENOUGH, "--output", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "tf32: no bias in 8 of 8" in said
    assert "NOT measured, there is no card (no NVIDIA driver)" in said
    page = (tmp_path / "accuracy.md").read_text(encoding="utf-8")
    assert "Triton's interpreter, no card; torch 2, Triton 3;" in page
    assert "`nox -s study -- accuracy --size=64 --draws=8 --output" in page
    lines = [line.strip("| ").split(" | ") for line in page.splitlines()]
    failing = {(cells[0], *cells[2:4]): cells[4] for cells in lines if len(cells) == 6}
    for case in arms.STORE_BOUND:
        assert {failing[case, precision, "kernel"] for precision in arms.FULL} == {"0 of 65,536"}
        # As the kernel's facts have it: truncation fails on every element, rounding to nearest on a few.
        assert failing[case, "tf32", "operands truncated, FP32 sums"] == "65,536 of 65,536"
        assert 0 < int(failing[case, "tf32", "kernel"].split()[0].replace(",", "")) < 65536 / 5


@pytest.mark.parametrize(
    ("broken", "words", "code", "said"),
    [
        ({"cut": truncate_to_tf32}, ENOUGH, 1, "tf32: biased in 8 of 8"),
        ({"bf16x3": lambda x: x.bfloat16().float()}, ENOUGH, 1, "elements of k7_small_k fail KernelBench's 0.0001"),
        ({}, ("--size=16", "--draws=2"), 2, "tf32: cannot tell in"),
        ({"cut": lambda x: x * torch.nan}, ENOUGH, 1, "INVALID wrong-result: tf32, kernel: the result holds NaN"),
        (
            {},
            (*ENOUGH, "--case", "k3_batched"),
            2,
            "INVALID bad-usage: --case is k3_batched; expected one of k1_square",
        ),
    ],
    ids=["truncates", "not full", "too few draws", "nan", "no case of the check"],
)
def test_what_is_wrong_or_not_known_is_not_green(  # noqa: PLR0913, PLR0917 - fixtures and a case
    kernel: Broken,
    broken: dict[str, Any],
    words: tuple[str, ...],
    code: int,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    vars(kernel).update(broken)
    assert command.main([*words, "--output", str(tmp_path)]) == code
    found = capsys.readouterr()
    assert said in found.out + found.err
    assert (tmp_path / "accuracy.md").exists() is not said.startswith("INVALID")


def test_an_element_fails_as_allclose_has_it() -> None:
    reference = torch.tensor([[1.0, 1.0, 10000.0, 1.0, 1.0]])
    result = torch.tensor([[1.00019, 1.0003, 10000.9, torch.nan, 1.0]])
    assert arms.compare(reference, result) == (2, float("inf"))
    assert arms.compare(reference, reference) == (0, 0.0)
    for element in range(5):
        expected = torch.allclose(reference[:, element], result[:, element], atol=1e-4, rtol=1e-4)
        assert (arms.compare(reference[:, [element]], result[:, [element]])[0] == 0) is expected


# --- the cost of full accuracy


def launched(*times: tuple[float, float], state: dict[str, Any] | None = None) -> list[Launched]:
    return [
        Launched(
            {
                "k7_small_k": Entry(
                    seconds={"kernel": tf32, "bf16x3": full}, rounds=9, errors={}, config={}, state=state or {}
                )
            }
        )
        for tf32, full in times
    ]


def test_a_page_of_a_card_names_its_code_path_and_what_full_accuracy_costs() -> None:
    problem = arms.Problem("normal", 16, 16, 16)
    module: Any = Broken()
    drawn = arms.draw_all(module, [problem], device="cpu", draws=2, seed=0)
    state = {"throttle_reasons": ["power brake"], "foreign_processes": 1, "unheld": 1}
    launches = launched((4.5e-3, 4.554e-3), (4.5e-3, 4.536e-3), state=state)
    page = markdown(
        Report(
            environment=CARD,
            interpreted=False,
            command="",
            date="",
            draws=2,
            errors={problem: {arm: distribution(draws) for arm, draws in drawn[problem].items()}},
            rounding={"kernel": arms.biases(drawn)},
            checks=arms.check_case(module, "k9_tall_skinny", device="cpu", seed=0, most_rows=16),
            costs=cost.costs(launches),
            launches=launches,
        )
    )
    assert "NVIDIA GeForce RTX 4090, sm89 code path, driver 580" in page
    assert "Not a card's numbers" not in page
    assert "cheapest mode: k7_small_k bf16x3 +1.00 %" in page
    assert "| k7_small_k | bf16x3 | 4.545 ms | +1.00 % | +0.80 % to +1.20 % |" in page
    assert "**Doubtful**: power brake, 2 launches were not held." in page


def test_the_store_bound_cases_are_timed_in_a_tables_launches_and_an_arm_without_a_number_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def launch(run: processes.Run) -> None:
        (found,) = run.recordings.values()
        found.failed.append(Failure(case="k7_small_k", arm="kernel", why="out of memory"))
        assert (run.plan.launches, run.plan.arms["k9_tall_skinny"]) == (2, tuple(cost.ARMS))

    monkeypatch.setattr(processes.Run, "launch", launch)
    session = open_session(read_settings(ROOT), Request(), environment=CARD)
    with pytest.raises(GateError, match="Timing k7_small_k at tf32 failed: out of memory; see nox -s perf"):
        cost.measure(session, arms.STORE_BOUND, path="sm89", processes=2, output=tmp_path)
