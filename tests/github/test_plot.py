"""The plot, character by character: names, axis, interval, limits, estimate and what is said of it."""

from __future__ import annotations

from perfgate.github.plot import plot
from perfgate.records import Status, Verdict


def _verdict(  # noqa: PLR0913, PLR0917 - a row of a table
    case: str,
    ratio: float | None,
    low: float | None,
    high: float | None,
    limit: float | None = 1.005,
    status: Status = Status.SAME,
) -> Verdict:
    return Verdict(case=case, status=status, reason="r", text="t", ratio=ratio, low=low, high=high, limit=limit)


def test_an_axis_of_10_percent_shows_what_lies_within_and_where_the_rest_is() -> None:
    verdicts = (
        _verdict("a", 1.04, 1.03, 1.05, 1.02, Status.SLOWER),
        _verdict("b`" + "x" * 30, 0.8, 0.7, 0.9, 1.2, Status.FASTER),
        _verdict("c", 1.0, 1.0, 1.0, None),
        _verdict("d", 1.0, 0.999, 1.02, status=Status.UNSURE),
        _verdict("*", 1.5, 1.4, 1.6),
        _verdict("no low", 1.0, None, 1.0),
        _verdict("no high", 1.0, 1.0, None),
        _verdict("no estimate", None, 1.0, 1.0),
    )
    assert plot(verdicts) == (
        "                         -10.00 %            0            +10.00 %",
        "a                                        :   |   : [-o-]              +4.00 % SLOWER",
        "b'xxxxxxxxxxxxxxxxxxxxx… <                   |                       -20.00 % FASTER",
        "c                                            o                        +0.00 % SAME",
        "d                                           :o---]                    +0.00 % UNSURE",
    )


def test_noise_is_drawn_on_an_axis_of_1_percent() -> None:
    assert plot([_verdict("aa", 1.001, 0.9995, 1.002), _verdict("b", 1.0, 0.9995, 1.0005)]) == (
        "   -1.00 %             0             +1.00 %",
        "aa           :        [--o-]     :              +0.10 % SAME",
        "b            :        [o]        :              +0.00 % SAME",
    )


def test_the_axis_reaches_to_the_farthest_of_estimate_interval_and_limit() -> None:
    assert plot([_verdict("aa", 1.001, 0.9995, 1.002, 1.06)]) == (
        "   -6.00 %             0             +6.00 %",
        "aa :                   o]                  :    +0.10 % SAME",
    )
    assert plot([_verdict("aa", 0.95, 0.92, 0.97, None)]) == (
        "   -8.00 %             0             +8.00 %",
        "aa [------o----]       |                        -5.00 % SAME",
    )
    assert "-7.00 %" in plot([_verdict("aa", 1.07, 1.01, 1.02)])[0]
    assert "-7.00 %" in plot([_verdict("aa", 1.0, 1.0, 1.07)])[0]


def test_a_name_of_24_characters_is_whole_and_a_longer_one_cut() -> None:
    lines = plot([_verdict("k" * 24, 1.0, 1.0, 1.0), _verdict("k" * 25, 1.0, 1.0, 1.0)])
    assert lines[1].startswith("k" * 24 + " ")
    assert lines[2].startswith("k" * 23 + "… ")


def test_an_estimate_at_the_very_end_of_the_axis_is_no_arrow() -> None:
    assert plot([_verdict("a", 1.0625, 1.0625, 1.0625, None)])[1][2:43] == " " * 20 + "|" + " " * 19 + "o"
    assert plot([_verdict("a", 1.0625, 1.0625, 1.0625, 1.0625)])[1][2:43] == ":" + " " * 19 + "|" + " " * 19 + "o"
