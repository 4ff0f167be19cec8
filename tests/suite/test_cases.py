"""What the suite gives to the gate beside the kernel."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from perf_tests import cases
from studies.table.cases import contract_of

if TYPE_CHECKING:
    from collections.abc import Callable

BY_ID = {case.id: case for case in cases.CASES}


@pytest.mark.parametrize(("precision", "tf32"), [("tf32", True), ("ieee", False)])
def test_the_control_has_the_precision_of_its_case_whatever_ran_before(precision: str, *, tf32: bool) -> None:
    case = cases.matmul_case("any", (8, 4), (4, 6), precision=precision)
    a, b = torch.ones(8, 4), torch.ones(4, 6)
    launch = cases.control(case, a, b)
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = not tf32
        assert torch.equal(launch(), torch.full((8, 6), 4.0))
        assert torch.backends.cuda.matmul.allow_tf32 is tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize(("case_id", "triangle"), cases.TRIANGLES.items())
@pytest.mark.parametrize("n", [1, 2, 7])
def test_the_gate_counts_triangles_whole_and_the_table_only_what_may_not_be_zero(
    case_id: str, triangle: str, n: int
) -> None:
    case = cases.matmul_case(case_id, (n, n), (n, n))
    assert (case.flops, case.min_bytes) == (2 * n**3, 4 * 3 * n * n)

    def held(row: int, column: int) -> bool:
        return row <= column if triangle == "upper" else row >= column

    terms = sum(held(i, k) and held(k, j) for i, k, j in product(range(n), repeat=3))
    elements = sum(held(i, j) for i, j in product(range(n), repeat=2))
    contract = contract_of(case)
    assert (contract["flops"], contract["min_bytes"]) == (2 * terms, 4 * (2 * elements + n * n))
    assert {name for name, value in contract.items() if value != case.contract()[name]} <= {"flops", "min_bytes"}


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(("case_id", "triangle"), cases.TRIANGLES.items())
def test_operands_are_the_triangles_that_the_kernel_is_told(case_id: str, triangle: str, *, exact: bool) -> None:
    assert triangle in case_id
    a, b = torch.empty(2, 9, 9)
    cases.fill(BY_ID[case_id], a, b, exact=exact, generator=torch.Generator().manual_seed(3))
    for tensor in (a, b):
        assert torch.equal(tensor, tensor.triu() if triangle == "upper" else tensor.tril())
        assert not torch.equal(tensor, tensor.diag().diag())
    (options,) = options_of(case_id)
    assert (options["a_triangle"], options["b_triangle"]) == (triangle, triangle)


def options_of(*case_ids: str, older: bool = False) -> list[dict[str, Any]]:
    """With what the kernel is called for each case."""
    called: list[dict[str, Any]] = []

    def triton_matmul(
        _a: object, _b: object, *, precision: str = "native", a_triangle: str = "", b_triangle: str = ""
    ) -> None:
        called.append({"precision": precision, "a_triangle": a_triangle, "b_triangle": b_triangle})

    def of_older(_a: object, _b: object, *, precision: str = "native") -> None:
        called.append({"precision": precision})

    module: Any = SimpleNamespace(triton_matmul=of_older if older else triton_matmul)
    for case_id in case_ids:
        cases.call(module, BY_ID[case_id], torch.empty(1), torch.empty(1))()
    return called


def test_the_kernel_is_told_the_precision_of_float32_and_triangles_where_there_are_some() -> None:
    for case, options in zip(cases.CASES, options_of(*BY_ID), strict=True):
        triangle = cases.TRIANGLES.get(case.id, "")
        assert options == {"precision": case.precision, "a_triangle": triangle, "b_triangle": triangle}


def test_an_older_kernel_that_knows_no_triangles_is_not_told_of_them() -> None:
    assert options_of(*cases.TRIANGLES, older=True) == [{"precision": "tf32"}, {"precision": "tf32"}]


class Rules:
    """A kernel file's rules; each writes down the sizes that it is asked with."""

    def __init__(self) -> None:
        self.asked: dict[str, object] = {}
        self.cleared = 0
        self.matmul_kernel = SimpleNamespace(cache=SimpleNamespace(clear=self._clear))
        self.choose_config: Callable[..., str] = self._config
        self.choose_form: Callable[..., str] = self._form
        self.choose_splits: Callable[..., int] = self._splits

    def _clear(self) -> None:
        self.cleared += 1

    def _config(self, configs: list[str], named: dict[str, object]) -> str:
        self.asked["config"] = named
        return configs[1]

    def _form(self, *sizes: int, **facts: object) -> str:
        self.asked["form"] = (sizes, facts)
        return "scaled"

    def _splits(self, *sizes: int) -> int:
        self.asked["splits"] = sizes
        return 7


def ask(rules: Rules) -> tuple[object, ...]:
    """Ask all rules as the kernel does for a small shape."""
    named = {"M": 2, "N": 3, "K": 4, "BATCH": 5, "PRECISION": "tf32", "CAPABILITY": 0}
    form = rules.choose_form(2, 3, 4, 5, shared_b=False, work=0.5, capability=0)
    return rules.choose_config(["first", "second"], named), form, rules.choose_splits(2, 3, 4, 5)


@pytest.mark.parametrize(
    ("case_id", "sizes"),
    [
        ("k2_standard", (2048, 4096, 8192, 1)),
        ("k3_batched", (512, 2048, 1024, 128)),
        ("k11_4d", (8 * 256 * 512, 768, 256, 1)),
    ],
)
def test_a_small_shape_runs_what_its_case_runs_in_full_size(case_id: str, sizes: tuple[int, ...]) -> None:
    rules = Rules()
    module: Any = rules
    m, n, k, batch = sizes
    with cases.chosen_as(module, BY_ID[case_id]):
        assert ask(rules) == ("second", "scaled", 7)
        assert rules.cleared == 1
    assert rules.asked == {
        "config": {"M": m, "N": n, "K": k, "BATCH": batch, "PRECISION": "tf32", "CAPABILITY": 0},
        "form": (sizes, {"shared_b": False, "work": 0.5, "capability": 0}),
        "splits": sizes,
    }


def test_afterwards_every_rule_is_the_kernels_own_again_even_after_an_error() -> None:
    rules = Rules()
    module: Any = rules
    before = (rules.choose_config, rules.choose_form, rules.choose_splits)

    def fail() -> None:
        with cases.chosen_as(module, BY_ID["k1_square"]):
            assert rules.choose_config != before[0]
            raise LookupError("the kernel's own")

    with pytest.raises(LookupError, match="own"):
        fail()
    assert (rules.choose_config, rules.choose_form, rules.choose_splits) == before
    assert rules.cleared == 2
    ask(rules)
    assert rules.asked["splits"] == (2, 3, 4, 5)
