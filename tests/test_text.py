"""Numbers, names and tables in words."""

from __future__ import annotations

import pytest

from perfgate.text import aligned, arrow, change, cut, duration, number, percent, pipes, size


def test_units_fit_the_number() -> None:
    assert [duration(s) for s in (2.5, 1.652e-3, 1.67e-5)] == ["2.500 s", "1.652 ms", "16.70 µs"]
    assert [size(count) for count in (999, 134_217_728)] == ["999 bytes", "134.2 MB"]
    assert (percent(1.0123), percent(0.99)) == ("+1.23 %", "-1.00 %")
    assert [number(value, ".0%") for value in (0.57, None)] == ["57%", "-"]


@pytest.mark.parametrize(
    ("ratio", "said"),
    [(1.0123, "1.23 % slower than it"), (0.9877, "1.23 % faster than it"), (1.00001, "unchanged from it")],
)
def test_a_change_is_said_as_a_person_says_it(ratio: float, said: str) -> None:
    assert change(ratio, "it") == said


def test_what_moved_has_an_arrow_and_what_is_too_long_an_ellipsis() -> None:
    assert (arrow(118, 132), arrow(118, 118)) == ("118 → 132", "118")
    assert (cut("a\nb"), cut("abcdef", 4)) == ("a?b", "abc…")


def test_a_table_of_text_cuts_its_words_and_never_a_number() -> None:
    rows = [("a\x1blong name", "1"), ("b", "123456")]
    made = aligned(
        {"case": 5, "time": 5}, rows, words={"case"}, paint=lambda name, cell: f"<{cell}>" if name == "case" else cell
    )
    assert made == ["<case >  time", "<a?lo…>     1", "<b    > 123456"]


def test_a_table_of_markdown_says_where_its_columns_stand() -> None:
    assert pipes(("a", "b"), [("1", "2")]) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]
    assert pipes(("a", "b"), [], align="lr")[1] == "| :-- | --: |"
