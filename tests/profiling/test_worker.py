"""The process under the profiler: what it sets up, what is counted of it, and what it leaves when a case cannot be."""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from perf_tests import cases
from perfgate.harness.launches import Launched
from perfgate.profiling import worker
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CASE = cases.matmul_case("case", (40, 4), (4, 6))


class Card:
    """Notes what runs, and whether ncu would count it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counting, self.counted, self.ran = False, list[str](), list[str]()
        self.names: tuple[str, ...] = ("prepare_kernel", "prepare_kernel", "matmul_kernel")
        monkeypatch.setattr(worker, "launched_by", self.launched_by)

    @contextmanager
    def range(self) -> Iterator[None]:
        self.counting = True
        yield
        self.counting = False

    def launched_by(self, call: Callable[[], object]) -> Launched:
        call()
        return Launched(code="c0de", names=self.names)

    def kernel(self, name: str, *, factor: float = 1.0) -> Any:
        def triton_matmul(a: torch.Tensor, b: torch.Tensor, *, out: torch.Tensor, precision: str) -> None:
            assert precision == "tf32"
            self.ran.append(name)
            if self.counting:
                self.counted.append(name)
            torch.matmul(a, b, out=out).mul_(factor)

        return SimpleNamespace(triton_matmul=triton_matmul)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    return Card(monkeypatch)


def profile(card: Card, **sides: Any) -> dict[str, dict[str, Any]]:
    given = {name: (module, None) for name, module in sides.items()}
    return worker.profile(cases, CASE, given, calls=3, seed=1, device="cpu", counting=card.range)


def test_only_the_asked_number_of_calls_is_counted_after_a_warm_up_and_a_check(card: Card) -> None:
    found = profile(card, kernel=card.kernel("new"), other=card.kernel("old"))
    assert card.counted == ["new"] * 3 + ["old"] * 3
    assert card.ran == ["new"] * 5 + ["old"] * 5
    names = ["prepare_kernel", "prepare_kernel", "matmul_kernel"]
    assert found == {side: {"names": names, "code": "c0de"} for side in ("kernel", "other")}


def test_a_wrong_result_is_not_counted_nor_a_call_that_launches_no_triton_kernel(card: Card) -> None:
    with pytest.raises(GateError, match=r"case: .*\(other\); a wrong kernel gets no counters") as caught:
        profile(card, kernel=card.kernel("new"), other=card.kernel("old", factor=1.5))
    assert caught.value.reason == "wrong-result"
    assert "old" not in card.counted
    card.names, card.counted = (), []
    with pytest.raises(GateError, match="launched no Triton kernel"):
        profile(card, kernel=card.kernel("new"))
    assert card.counted == []


def test_the_profiler_is_started_and_stopped_around_what_is_counted_even_if_it_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", partial(events.append, "wait"))
    monkeypatch.setattr(torch.cuda.profiler, "start", partial(events.append, "start"))
    monkeypatch.setattr(torch.cuda.profiler, "stop", partial(events.append, "stop"))
    with worker.counted():
        events.append("call")
    assert events == ["wait", "start", "call", "wait", "stop"]
    with pytest.raises(RuntimeError), worker.counted():
        raise RuntimeError
    assert events[-1] == "stop"


def test_what_cannot_be_profiled_leaves_its_sentence_in_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, results = tmp_path / "plan.json", tmp_path / "results.json"
    missing = {"kernel": str(tmp_path / "none.py"), "cache": None}
    plan.write_text(json.dumps({"cases": ["k7_small_k"], "sides": {"kernel": missing}, "calls": 2, "seed": 0}))
    assert worker.main(plan, results) == 2
    assert json.loads(results.read_text())["error"]["reason"] == "no-kernel-file"

    def profiled(*_: Any, calls: int, seed: int) -> dict[str, Any]:
        return {"kernel": {"names": ["k"] * calls, "code": str(seed)}}

    (tmp_path / "none.py").write_text("")
    monkeypatch.setattr(worker, "profile", profiled)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    assert worker.main(plan, results) == 0
    done = {"k7_small_k": {"kernel": {"names": ["k", "k"], "code": "0"}}}
    assert json.loads(results.read_text()) == {"cases": done}
