"""What moved with a time, in sentences: the one that explains most first, and one that says so when nothing did."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from counters_support import MATMUL, PREPARE, counted
from perfgate.profiling.why import Code, Evidence, counter_sentences, sentences
from tests.codegen.test_diff import BEFORE, changed

CLOCKED = {"sm_clock_mhz": 1980, "temperature_c": 50, "power_capped": 0, "looks": 40, "foreign_processes": 0}


def code(*after: Any, before: Any = (BEFORE,)) -> Code:
    return Code(target="sm_90", before=before, after=after)


def states(*launches: dict[str, Any]) -> list[dict[str, Any]]:
    return [CLOCKED | launch for launch in launches or ({}, {}, {})]


def said(**found: Any) -> tuple[str, ...]:
    given: dict[str, Any] = {"case": "k7", "ratio": 1.2, "same_launches": True} | found
    return sentences(Evidence(**given))


def test_the_machine_code_is_told_as_it_was_compiled_for_the_card() -> None:
    (text,) = said(code=code(changed(config={"BLOCK_M": 64, "num_warps": 4})))
    assert text == "machine code for sm_90: BLOCK_M 128 → 64"


def test_of_several_kernels_only_those_that_are_others_are_told_by_name_and_twice_is_once() -> None:
    small = replace(BEFORE, name="prepare_kernel")
    faster = replace(changed(registers=90), name="prepare_kernel")
    found = said(code=code(faster, faster, BEFORE, before=(small, small, BEFORE)))
    assert found == ("machine code for sm_90 of prepare_kernel: registers 118 → 90",)


def test_a_kernel_that_is_new_or_gone_is_said() -> None:
    small = replace(BEFORE, name="prepare_kernel")
    assert said(code=code(small, BEFORE)) == ("machine code for sm_90 of prepare_kernel: the kernel is new",)
    gone = said(code=code(BEFORE, before=(small, BEFORE)))
    assert gone == ("machine code for sm_90 of prepare_kernel: the kernel is no longer launched",)


def test_names_of_registers_are_not_what_moved() -> None:
    renamed = replace(BEFORE, code_hash="b" * 64)
    assert said(code=code(renamed))[0].startswith("nothing that is recorded moved with it: machine code for sm_90")


def test_counters_are_told_beside_the_time_that_they_explain() -> None:
    (text,) = said(counters=(counted(), counted(L2_hit_rate=99.84, DRAM_share=66.0, time=1.98e-3)))
    assert text == (
        "counters of hopper_kernel: L2 hit rate 99.22 → 99.84 %, DRAM share 58.40 → 66.00 %; time under the profiler "
        "2.290 ms → 1.980 ms"
    )


def test_a_kernel_that_takes_no_time_explains_none() -> None:
    def both(**prepare: float) -> Any:
        return counted({"prepare_kernel": {**PREPARE, **prepare}, "hopper_kernel": MATMUL})

    grown = {"lts__t_sector_hit_rate.pct": 10.0}
    assert said(counters=(both(), both(**grown)))[0].startswith("nothing that is recorded moved with it: counters")
    slow = {"gpu__time_duration.sum": 4e5}
    (text,) = said(counters=(both(**slow), both(**slow, **grown)))
    assert text.startswith("counters of prepare_kernel: L2 hit rate 39.89 → 10.00 %")


def test_a_kernel_that_one_side_alone_launches_is_told_with_its_time() -> None:
    one, two = counted(), counted({"split_kernel": MATMUL, "hopper_kernel": MATMUL})
    assert said(counters=(one, two)) == ("split_kernel is new, 2.290 ms under the profiler",)
    assert said(counters=(two, one)) == ("split_kernel is no longer launched, 2.290 ms under the profiler",)


def test_time_that_moved_without_any_counter_is_said_so() -> None:
    assert counter_sentences([]) == ()
    (text,) = said(counters=(counted(), counted(time=3e-3)))
    assert text == "counters of hopper_kernel: none moved; time under the profiler 2.290 ms → 3.000 ms"


def test_spills_and_lost_blocks_come_before_counters_and_other_code_after_them() -> None:
    counters = (counted(), counted(DRAM_share=70.0))
    mild = said(code=code(changed(registers=100)), counters=counters)
    assert [text.split()[0] for text in mild] == ["counters", "machine"]
    for decisive in ({"blocks_per_sm": 1}, {"spill_instructions": 9}, {"instructions": {"integer": 5}}):
        hard = said(code=code(changed(**decisive)), counters=counters)
        assert [text.split()[0] for text in hard] == ["machine", "counters"], decisive


def test_a_clock_that_accounts_for_the_change_comes_first_where_the_sides_ran_apart() -> None:
    slow = states(*[{"sm_clock_mhz": 1650}] * 3)
    found = said(code=code(changed(blocks_per_sm=1)), states=(states(), slow), same_launches=False)
    assert found[0] == "since the baseline the SM clock went 1980 → 1650 MHz (-16.67 %)"
    mild = states(*[{"sm_clock_mhz": 1900}] * 3)
    found = said(code=code(changed(blocks_per_sm=1)), states=(states(), mild), same_launches=False)
    assert found[0].startswith("machine code")
    faster = said(code=code(changed(blocks_per_sm=1)), states=(states(), slow), same_launches=False, ratio=0.8)
    assert faster[0].startswith("machine code")


def test_a_clock_at_which_both_sides_ran_comes_last_and_says_so() -> None:
    slow = states(*[{"sm_clock_mhz": 1650}] * 3)
    found = said(code=code(changed(registers=100)), states=(states(), slow))
    assert found[-1] == (
        "since the baseline the SM clock went 1980 → 1650 MHz (-16.67 %); both sides of this comparison ran at it"
    )


@pytest.mark.parametrize(
    ("launches", "moved"),
    [
        ([{"sm_clock_mhz": 1971}] * 3, ""),
        ([{"sm_clock_mhz": 1965}] * 3, "the SM clock went 1980 → 1965 MHz"),
        ([{"sm_clock_mhz": 1950}, {"sm_clock_mhz": 1965}, {"sm_clock_mhz": 1980}], ""),
        ([{"temperature_c": 55}] * 3, ""),
        ([{"temperature_c": 56}] * 3, "the temperature went 50 → 56 °C"),
        ([{"power_capped": 4}] * 3, ""),
        ([{"power_capped": 20}] * 3, "the card was at its power limit in 0 → 50 % of the looks"),
        ([{"foreign_processes": 1}] * 3, "the other processes on the card went 0 → 1"),
        ([{"throttle_reasons": ["power brake"]}] * 3, "the reasons to throttle went none → power brake"),
        ([{"sm_clock_mhz": 0}] * 3, ""),
        ([{"sm_clock_mhz": "fast"}] * 3, ""),
    ],
)
def test_the_state_of_the_machine_moved_beyond_the_launches_of_either_side(
    launches: list[dict[str, Any]], moved: str
) -> None:
    found = said(states=(states(), states(*launches)))
    if moved:
        assert found == (f"since the baseline {moved}" + found[0][len(f"since the baseline {moved}") :],)
    else:
        assert found[0].startswith("nothing that is recorded moved with it: clocks and state of the machine")


def test_nothing_moved_is_said_with_what_was_looked_at_and_what_there_is_not() -> None:
    (text,) = said(against="main")
    assert text == (
        "nothing that is recorded moved with it: nothing could be looked at; not recorded: machine code of both sides, "
        "counters of both sides (nox -s counters -- --case k7 --against main)"
    )
    same = counted()
    assert said(code=code(BEFORE), counters=(same, same), states=(states(), states())) == (
        "nothing that is recorded moved with it: machine code for sm_90, counters, clocks and state of the machine",
    )
    assert said(equal_code=True)[0].startswith(
        "nothing that is recorded moved with it: the code that both sides launched (equal); not recorded: counters"
    )
    assert "clocks of both sides" in said(same_launches=False)[0]
