"""What facts rule out, and the proposed list: the cheapest of its length, no longer than it pays."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from perfgate.tuning import choice as rules
from perfgate.tuning.choice import propose, prune, shortest
from tuning_support import candidate

if TYPE_CHECKING:
    from perfgate.tuning.document import Candidate

THREE = {
    "wide": {"a": 1.0, "b": 1.5, "c": 2.0},
    "tall": {"a": 1.5, "b": 1.0, "c": 2.0},
    "small": {"a": 3.0, "b": 3.0, "c": 1.0},
}


def test_a_list_as_long_as_there_are_different_winners_loses_nothing() -> None:
    found = propose(THREE)
    assert [len(choice.configs) for choice in found] == [2, 3]
    assert found[-1].configs == ("a", "b", "c")
    assert found[-1].loss == 0
    assert found[-1].takes == {"wide": "a", "tall": "b", "small": "c"}


def test_the_loss_is_the_geometric_mean_over_the_cases_of_time_over_the_best() -> None:
    pair = propose(THREE)[0]
    assert pair.configs == ("a", "c")
    assert pair.loss == pytest.approx((1.0 * 1.5 * 1.0) ** (1 / 3) - 1)
    assert pair.takes["tall"] == "a"


def test_a_config_is_proposed_only_where_it_serves_and_every_case_is_served() -> None:
    (only,) = propose({"one": {"x": 1.0, "y": 9.0}, "two": {"y": 1.0}})
    assert (only.configs, only.takes) == (("x", "y"), {"one": "x", "two": "y"})
    assert propose({"one": {"x": 1.0}, "two": {"y": 1.0}, "three": {"z": 1.0}})[0].configs == ("x", "y", "z")
    assert propose({str(case): {str(case): 1.0} for case in range(5)}) == ()
    assert propose({"none": {}}) == ()


def test_beside_a_config_that_is_best_everywhere_stands_the_next_best() -> None:
    (two,) = propose({"one": {"w": 9.0, "x": 1.0, "y": 1.5}, "two": {"w": 1.0e9, "x": 2.0, "y": 3.0}})
    assert (two.configs, two.loss, two.takes) == (("x", "y"), 0.0, {"one": "x", "two": "x"})
    assert propose({"one": {"a": 1.09, "b": 1.08, "c": 1.0}})[0].configs == ("b", "c")
    (only,) = propose({"one": {"x": 1.0}})
    assert only.configs == ("x",)


def test_one_more_config_is_proposed_only_where_it_gains_more_than_the_gates_limit() -> None:
    near = {"one": {"x": 1.0, "y": 1.04}, "two": {"y": 1.0, "x": 1.04}, "three": {"z": 1.0, "x": 1.004, "y": 1.09}}
    kept = shortest(propose(near))
    assert kept
    assert kept.configs == ("x", "y")
    near["three"]["x"] = 1.02
    kept = shortest(propose(near))
    assert kept
    assert kept.configs == ("x", "y", "z")
    assert shortest(()) is None


def _random_times(cases: int, configs: int) -> dict[str, dict[str, float]]:
    draw = random.Random(5)  # noqa: S311 - times of no card
    return {f"c{i}": {f"k{j}": 1 + 0.08 * draw.random() for j in range(configs)} for i in range(cases)}


def test_where_lists_are_too_many_to_try_the_search_still_finds_the_best_or_nearly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = _random_times(9, 14)
    tried = propose(times)
    monkeypatch.setattr(rules, "_MOST_SUBSETS", 0)
    searched = propose(times)
    assert [len(choice.configs) for choice in searched] == [2, 3, 4]
    for all_tried, bettered in zip(tried, searched, strict=True):
        assert 0 <= bettered.loss - all_tried.loss < 0.004


def test_a_list_that_is_searched_for_serves_every_case_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "_MOST_SUBSETS", 0)
    times = _random_times(8, 12)
    times["c0"] = {"k3": 1.0}  # by far the worst elsewhere, and the only one here
    times |= {case: {**times[case], "k3": 5.0} for case in times if case != "c0"}
    for choice in propose(times):
        assert "k3" in choice.configs
        assert choice.takes["c0"] == "k3"


def test_the_same_numbers_in_another_order_give_the_same_lists() -> None:
    times = _random_times(6, 10)
    turned = {case: dict(reversed(found.items())) for case, found in reversed(times.items())}
    assert propose(turned) == propose(times)
    ties = {"one": {"b": 1.0, "a": 1.0, "c": 1.0}}
    assert propose(ties)[0].configs == ("a", "b")
    assert propose(ties)[0].takes == {"one": "a"}


def test_every_list_is_at_least_as_good_as_the_shorter_one() -> None:
    losses = [choice.loss for choice in propose(_random_times(12, 16))]
    assert losses == sorted(losses, reverse=True)
    assert math.isfinite(losses[0])


def compiled(*, warps: int = 4, stages: int = 3, m: int = 64, count: int = 800, **facts: Any) -> Candidate:
    """A candidate as it comes from the compiler; equal code only where a test says so."""
    config = {"BLOCK_M": m, "num_warps": warps, "num_stages": stages}
    usual: dict[str, Any] = {"blocks_per_sm": 2, "instructions": {"other": count}, "code_hash": repr((config, facts))}
    return candidate(config, **usual | facts)


SPILLING = {"x": compiled(spill_instructions=3), "y": compiled(stack_bytes=8, m=32), "z": compiled(m=128)}
EQUAL = {"s4": compiled(stages=4, code_hash="same"), "s5": compiled(stages=5, code_hash="same")}
FOUR, EIGHT = compiled(count=900), compiled(warps=8, count=400)
CANNOT = {"x": compiled(error="PassManager failed"), "y": compiled(blocks_per_sm=0), "z": compiled()}


@pytest.mark.parametrize(
    ("candidates", "kept", "out"),
    [
        pytest.param(
            CANNOT, "xy", {"x": rules.DOES_NOT_COMPILE, "y": rules.DOES_NOT_FIT}, id="cannot run, though kept"
        ),
        pytest.param(SPILLING, "", {"x": rules.SPILLS, "y": rules.SPILLS}, id="spills"),
        pytest.param(SPILLING, "xy", {}, id="spills and is kept"),
        pytest.param(EQUAL, (), {"s5": rules.SAME_CODE}, id="equal code in equal launches"),
        pytest.param(EQUAL, ("s5",), {"s4": rules.SAME_CODE}, id="of equal ones the kept one goes first"),
        pytest.param(EQUAL, ("s4", "s5"), {}, id="equal ones that are kept"),
        pytest.param(
            {"x": compiled(code_hash="same"), "y": compiled(m=32, code_hash="same")}, (), {}, id="other launches"
        ),
        pytest.param({"4": FOUR, "8": EIGHT}, (), {"4": rules.BEATEN}, id="more warps resident and less to do"),
        pytest.param({"4": FOUR, "8": EIGHT}, ("4",), {}, id="beaten and kept"),
        pytest.param({"4": FOUR, "8": compiled(warps=8, count=450)}, (), {}, id="as much to do"),
        pytest.param({"4": FOUR, "8": compiled(warps=8, count=400, blocks_per_sm=1)}, (), {}, id="as many resident"),
        pytest.param(
            {"4": FOUR, "8": compiled(warps=8, count=400, spill_instructions=1)},
            (),
            {"8": rules.SPILLS},
            id="one that is out itself beats nobody",
        ),
        pytest.param(
            {"s2": compiled(stages=2, count=700, blocks_per_sm=3), "s4": compiled(stages=4, blocks_per_sm=1)},
            (),
            {},
            id="a deeper pipeline is not held to resident warps",
        ),
    ],
)
def test_facts_rule_out_what_is_not_worth_measuring(
    candidates: dict[str, Candidate], kept: tuple[str, ...], out: dict[str, str]
) -> None:
    assert prune(candidates, kept) == out


def test_a_spill_in_any_kernel_of_the_call_counts() -> None:
    (kernel,) = compiled().kernels
    two = structs.replace(compiled(), kernels=(kernel, structs.replace(kernel, spill_instructions=1)))
    assert prune({"x": two}, ()) == {"x": rules.SPILLS}
