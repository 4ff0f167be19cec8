"""What moved with a time, in sentences: the one that explains most first, and one that says so when nothing did."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from counters_support import MATMUL, PREPARE, counted
from facts_support import BEFORE, changed
from perfgate.console import Look
from perfgate.profiling.why import Code, Evidence, sentences
from perfgate.records import Aside, Status, Verdict
from perfgate.report.text import format_text, summary
from perfgate.store.run import StageResult

CLOCKED = {"sm_clock_mhz": 1980, "temperature_c": 50, "power_capped": 0, "looks": 40, "foreign_processes": 0}
NOTHING = "nothing that is recorded moved with it: "
SMALL = structs.replace(BEFORE, name="prepare_kernel")


def code(*after: Any, before: Any = (BEFORE,)) -> Code:
    return Code(target="sm_90", before=before, after=after)


def states(*launches: dict[str, Any]) -> list[dict[str, Any]]:
    return [CLOCKED | launch for launch in launches or ({}, {}, {})]


def said(**found: Any) -> tuple[str, ...]:
    given: dict[str, Any] = {"case": "k7", "ratio": 1.2, "same_launches": True} | found
    return sentences(Evidence(**given))


FASTER = changed(name="prepare_kernel", registers=90)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (code(changed(config={"BLOCK_M": 64, "num_warps": 4})), ": BLOCK_M 128 → 64"),
        (code(FASTER, FASTER, BEFORE, before=(SMALL, SMALL, BEFORE)), " of prepare_kernel: registers 118 → 90"),
        (code(SMALL, BEFORE), " of prepare_kernel: the kernel is new"),
        (code(BEFORE, before=(SMALL, BEFORE)), " of prepare_kernel: the kernel is no longer launched"),
    ],
    ids=["one kernel", "of several those that are others, by name, and twice is once", "new", "gone"],
)
def test_the_machine_code_is_told_as_it_was_compiled_for_the_card(given: Code, told: str) -> None:
    assert said(code=given) == (f"machine code for sm_90{told}",)


def test_names_of_registers_are_not_what_moved() -> None:
    renamed = structs.replace(BEFORE, code_hash="b" * 64)
    assert said(code=code(renamed))[0].startswith(f"{NOTHING}machine code for sm_90")


ONE, TWO = counted(), counted({"split_kernel": MATMUL, "hopper_kernel": MATMUL})


@pytest.mark.parametrize(
    ("counters", "told"),
    [
        (
            (ONE, counted(L2_hit_rate=99.84, DRAM_share=66.0, time=1.98e-3)),
            (
                "counters of hopper_kernel: L2 hit rate 99.22 → 99.84 %, DRAM share 58.40 → 66.00 %; time under the profiler "
                "2.290 ms → 1.980 ms"
            ),
        ),
        (
            (ONE, counted(time=3e-3)),
            "counters of hopper_kernel: none moved; time under the profiler 2.290 ms → 3.000 ms",
        ),
        ((ONE, TWO), "split_kernel is new, 2.290 ms under the profiler"),
        ((TWO, ONE), "split_kernel is no longer launched, 2.290 ms under the profiler"),
    ],
)
def test_counters_are_told_beside_the_time_that_they_explain(counters: Any, told: str) -> None:
    assert said(counters=counters) == (told,)


def test_a_kernel_that_takes_no_time_explains_none() -> None:
    def both(**prepare: float) -> Any:
        return counted({"prepare_kernel": {**PREPARE, **prepare}, "hopper_kernel": MATMUL})

    grown, slow = {"lts__t_sector_hit_rate.pct": 10.0}, {"gpu__time_duration.sum": 4e5}
    assert said(counters=(both(), both(**grown)))[0].startswith(f"{NOTHING}counters")
    (text,) = said(counters=(both(**slow), both(**slow, **grown)))
    assert text.startswith("counters of prepare_kernel: L2 hit rate 39.89 → 10.00 %")


@pytest.mark.parametrize(
    ("code_moved", "first"),
    [
        ({"registers": 100}, "counters"),
        ({"blocks_per_sm": 1}, "machine"),
        ({"spill_instructions": 9}, "machine"),
        ({"instructions": {"integer": 5}}, "machine"),
    ],
)
def test_spills_blocks_and_tensor_cores_come_before_counters_and_other_code_after_them(
    code_moved: dict[str, Any], first: str
) -> None:
    found = said(code=code(changed(**code_moved)), counters=(counted(), counted(DRAM_share=70.0)))
    assert [text.split()[0] for text in found] == [first, *({"counters", "machine"} - {first})]


@pytest.mark.parametrize(
    ("mhz", "ratio", "together", "at"),
    [(1650, 1.2, False, 0), (1900, 1.2, False, -1), (1650, 0.8, False, -1), (1650, 1.2, True, -1)],
    ids=["it explains half", "too little", "the wrong way", "both sides ran at it"],
)
def test_a_clock_that_accounts_for_the_change_comes_first_where_the_sides_ran_apart(
    mhz: int,
    ratio: float,
    together: bool,  # noqa: FBT001 - a table's column
    at: int,
) -> None:
    slow = states(*[{"sm_clock_mhz": mhz}] * 3)
    found = said(code=code(changed(blocks_per_sm=1)), states=(states(), slow), same_launches=together, ratio=ratio)
    change = {1650: "1980 → 1650 MHz (-16.67 %)", 1900: "1980 → 1900 MHz (-4.04 %)"}[mhz]
    alike = "; both sides of this comparison ran at it" if together else ""
    assert found[at] == f"since the baseline the SM clock went {change}{alike}"
    assert len(found) == 2


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
    (text,) = said(states=(states(), states(*launches)))
    assert text.startswith(f"since the baseline {moved}" if moved else f"{NOTHING}clocks and state of the machine")


def test_nothing_moved_is_said_with_what_was_looked_at_and_what_there_is_not() -> None:
    lacking = "counters of both sides (nox -s counters -- --case k7"
    assert said(against="main") == (
        f"{NOTHING}nothing could be looked at; not recorded: machine code of both sides, {lacking} --against main)",
    )
    assert said(code=code(BEFORE), counters=(ONE, ONE), states=(states(), states())) == (
        f"{NOTHING}machine code for sm_90, counters, clocks and state of the machine",
    )
    assert said(equal_code=True, same_launches=False) == (
        f"{NOTHING}the code that both sides launched (equal); not recorded: {lacking}), clocks of both sides",
    )


VERDICTS = tuple(
    Verdict(case=str(status).lower(), status=status, reason="r", text=f"{status}: said.", asides=(Aside(text="a"),))
    for status in (Status.SLOWER, Status.SAME, Status.FASTER)
)
WHY = {"slower": ("counters of k: L2 hit rate 99.22 → 99.84 %", "machine code for sm_90"), "faster": ("the\nclock",)}


def test_it_is_shown_below_the_sentence_of_its_case_and_above_what_the_machine_did() -> None:
    lines = format_text(VERDICTS, brief=True, why=WHY).splitlines()
    at = lines.index("SLOWER: SLOWER: said.")
    assert lines[at + 1 : at + 4] == [*(f"  why: {text}" for text in WHY["slower"]), "  a"]
    assert lines[lines.index("FASTER: FASTER: said.") + 1] == "  why: the?clock"


def test_a_run_shows_it_in_a_terminal_that_it_fits_and_a_verdict_alone_has_none() -> None:
    stage = StageResult(name="throughput", done="3 cases", verdicts=VERDICTS, why=WHY)
    shown = summary([stage], partial=False, code=1, total_s=1.0, look=Look(width=50, folds=True))
    assert "    why: counters of k: L2 hit rate 99.22 → 99.84\n" in shown
    assert max(map(len, shown.splitlines())) <= 50
    assert "why" not in summary([StageResult(name="t", verdicts=VERDICTS)], partial=False, code=1, total_s=1.0)
