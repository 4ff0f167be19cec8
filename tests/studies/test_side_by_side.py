"""The side by side of gates: which launches each rule is given, the tables, the files, and the command."""

from __future__ import annotations

import json
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.calibration.resampling import Rate, RecordedLaunch, read_launches_file
from perfgate.limits import Limits
from perfgate.records import GateError
from studies.gates import __main__ as side_by_side
from studies.gates.__main__ import compare, main, read_all
from studies.gates.report import OTHER, OURS, SAME, Row, as_json, draw, markdown, percent, pooled
from studies.gates.rules import RULES, Rule

if TYPE_CHECKING:
    from collections.abc import Sequence

RECORDED = Path(__file__).parents[1] / "data" / "h100-launches.json.gz"
LAUNCHES = read_launches_file(RECORDED)
RUNS = 10


@cache
def _rows() -> tuple[Row, ...]:
    """The whole study on the recorded launches, with few runs."""
    return compare(LAUNCHES, limits=Limits(), cases=25, runs=RUNS)


def _share(setting: str, rule: str, change: str) -> float:
    found = pooled(_rows(), setting=setting, rule=rule, change=change)
    assert found is not None
    return found.share


def _launches(*sizes: int) -> list[RecordedLaunch]:
    """Made-up launches whose samples name occasion, launch and arm."""
    return [
        RecordedLaunch(
            str(occasion), {"case": {arm: (100 * occasion + launch + n / 10,) * 3 for n, arm in enumerate(("A", "A2"))}}
        )
        for occasion, size in enumerate(sizes, 1)
        for launch in range(size)
    ]


def _given(launches: Sequence[RecordedLaunch], before: int, now: int, least: int) -> dict[str, list[Any]]:
    """What a rule that wants so many launches is given, by setting."""
    seen: list[Any] = []

    def flags(then: Any, current: Any) -> bool:
        seen.append(([launch[0] for launch in then], [launch[0] for launch in current]))
        return False

    rule = Rule(name="spy", flags=flags, before=before, now=now, least=least, given="")
    rows = side_by_side._theirs(launches, "case", side_by_side.CHANGES[0], rule=rule, runs=20)  # noqa: SLF001
    found = {}
    for row in rows:
        found[row.setting] = list(seen)
        seen.clear()
    return found


def _occasions(side: list[float]) -> set[int]:
    return {int(value) // 100 for value in side}


def test_on_one_occasion_a_rule_is_given_different_launches_of_it() -> None:
    for before, now in _given(_launches(4, 5), 1, 1, 1)[SAME]:
        assert _occasions(before) == _occasions(now)
        assert int(before[0]) != int(now[0])


def test_the_same_code_is_held_against_itself_both_ways() -> None:
    arms = Counter(f"{before[0]:.1f}"[-1] + f"{now[0]:.1f}"[-1] for before, now in _given(_launches(4), 1, 1, 1)[SAME])
    assert arms == {"01": 10, "10": 10}


def test_against_another_occasion_a_rule_is_given_one_side_of_each_and_each_pair_in_turn() -> None:
    pairs = {
        (tuple(_occasions(before)), tuple(_occasions(now)))
        for before, now in _given(_launches(2, 2, 2), 2, 2, 2)[OTHER]
    }
    assert pairs == {((a,), (b,)) for a in (1, 2, 3) for b in (1, 2, 3) if a != b}


@pytest.mark.parametrize(
    ("sizes", "wanted", "same", "other"),
    [
        ((12, 8), (10, 10, 6), {(6, 6)}, {(10, 8), (8, 10)}),  # 8 are too few to make two sides of 6
        ((20, 20), (10, 10, 6), {(10, 10)}, {(10, 10)}),
        ((12, 8), (20, 1, 8), {(11, 1)}, {(12, 1), (8, 1)}),  # one now against a history
        ((30, 30), (20, 1, 8), {(20, 1)}, {(20, 1)}),
        ((3, 3), (2, 2, 2), None, {(2, 2)}),
        ((9,), (1, 1, 1), {(1, 1)}, None),
    ],
)
def test_a_rule_is_given_as_many_launches_as_it_wants_and_there_are(
    sizes: tuple[int, ...],
    wanted: tuple[int, int, int],
    same: set[tuple[int, int]] | None,
    other: set[tuple[int, int]] | None,
) -> None:
    given = _given(_launches(*sizes), *wanted)
    counts = {setting: {(len(before), len(now)) for before, now in seen} for setting, seen in given.items()}
    assert counts == {setting: expected for setting, expected in ((SAME, same), (OTHER, other)) if expected is not None}
    for before, now in given.get(SAME, []):
        assert len({*map(int, before), *map(int, now)}) == len(before) + len(now)


def test_every_rule_is_run_in_both_settings_for_every_case_and_change() -> None:
    rows = Counter((row.setting, row.rule) for row in _rows())
    assert rows == {(setting, rule): 7 * 7 for setting in (SAME, OTHER) for rule in (OURS, *(r.name for r in RULES))}
    assert {row.rate.runs for row in _rows()} == {RUNS}


def test_beside_the_old_code_this_gate_finds_one_percent_and_is_quiet_without_a_change() -> None:
    assert _share(SAME, OURS, "+1 %") >= 0.95
    assert _share(SAME, OURS, "none") <= 0.05


def test_flat_rules_of_five_and_ten_percent_miss_three_percent() -> None:
    for rule in ("pytest-benchmark mean:5%", "SGLang ±5 %", "vllm-xpu-kernels 10 %", "gpucheck", "asv continuous"):
        assert _share(SAME, rule, "+3 %") <= 0.2


def test_rules_that_find_one_percent_elsewhere_cry_wolf_between_cards() -> None:
    assert _share(OTHER, "benchstat, one process", "none") >= 0.1
    assert _share(OTHER, "pytest-benchmark median:1%", "none") >= 0.1
    assert _share(OTHER, OURS, "none") <= 0.02


def test_a_recording_of_one_occasion_leaves_the_other_setting_empty_and_shows_dashes() -> None:
    first = [launch for launch in LAUNCHES if launch.occasion == "1"]
    one_case = [RecordedLaunch("1", {"sq2048": launch.samples["sq2048"]}) for launch in first]
    rows = compare(one_case, limits=Limits(), runs=2)
    assert {row.setting for row in rows} == {SAME}
    other = markdown(rows, one_case).split("## Other occasion")[1]
    assert "| **this gate** | – | – | – | – | – | – | – | – | – |" in other


def test_a_case_without_the_same_code_twice_is_refused() -> None:
    launches = [RecordedLaunch("1", {"case": {"A": (1.0,), "B1": (1.0,)}})]
    with pytest.raises(GateError, match=r"case has the arms A, B1, expected A and A2"):
        compare(launches, limits=Limits())


def test_too_few_launches_for_any_rule_are_refused() -> None:
    with pytest.raises(GateError, match="record more"):
        compare(_launches(1), limits=Limits(), runs=2)


def test_files_are_read_together_and_their_occasions_kept_apart(tmp_path: Path) -> None:
    for name, second in (("a.json", 1.0), ("b.json", 2.0)):
        document = {"launches": [{"occasion": 1, "samples": {"c": {"A": [second]}}}]}
        (tmp_path / name).write_text(json.dumps(document), encoding="utf-8")
    paths = [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    assert [launch.occasion for launch in read_all(paths)] == ["1: 1", "2: 1"]
    assert [launch.occasion for launch in read_all(paths[:1])] == ["1"]
    with pytest.raises(GateError, match="read before"):
        read_all([*paths, paths[0]])


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, "0 %"), (1, "100 %"), (0.0001, "0.1 %"), (0.99999, "99.9 %"), (0.5, "50.0 %"), (0.123, "12.3 %")],
)
def test_a_share_is_shown_as_0_or_100_only_where_it_is(share: float, shown: str) -> None:
    assert percent(share) == shown


def test_the_json_holds_every_row_with_its_interval_and_the_source_of_every_rule() -> None:
    document = json.loads(as_json(_rows()))
    assert [rule["name"] for rule in document["rules"]] == [OURS, *(rule.name for rule in RULES)]
    assert len(document["rows"]) == len(_rows())
    for row in document["rows"]:
        assert row["low"] <= row["share"] <= row["high"]
        assert ("statuses" in row) is (row["rule"] == OURS)
    assert sum(document["rows"][0]["statuses"].values()) == RUNS


def test_a_case_weighs_as_much_as_another_when_they_are_pooled() -> None:
    def row(case: str, flagged: int) -> Row:
        rate = Rate(flagged=flagged, runs=10, independent=2)
        return Row(setting=SAME, rule="r", case=case, change="none", rate=rate)

    both = pooled([row("a", 0), row("b", 5)], setting=SAME, rule="r", change="none")
    assert both == Rate(flagged=5, runs=20, independent=4)


def test_the_table_has_a_line_for_every_rule_in_both_settings_and_for_every_case() -> None:
    text = markdown(_rows(), LAUNCHES)
    for rule in RULES:
        assert text.count(f"\n| {rule.name} |") == 2
        assert f"- **{rule.name}**: {rule.given}." in text
    for case in LAUNCHES[0].samples:
        assert text.count(f"\n| {case} |") == 2


def test_the_same_rows_give_the_same_plot_and_it_names_no_date(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        draw(_rows(), tmp_path / name)
    drawn = (tmp_path / "a.svg").read_bytes()
    assert drawn == (tmp_path / "b.svg").read_bytes()
    assert drawn.startswith(b"<?xml")
    assert b"dc:date" not in drawn
    for rule in RULES:
        assert f"<!-- {rule.name.replace('<', '&lt;')} -->".encode() in drawn


def test_the_command_writes_table_json_and_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(RECORDED), "--output", str(tmp_path / "new"), "--runs", "2"]) == 0
    written = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "new").iterdir()}
    assert set(written) == {"side-by-side.json", "side-by-side.md", "side-by-side.svg"}
    assert capsys.readouterr().out.startswith(written["side-by-side.md"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "bad-usage"),
        ([str(RECORDED), "--runs", "1"], "--runs is 1; expected 2 or more"),
        ([str(RECORDED), "--run", "5"], "unrecognized arguments"),
        (["nowhere.json"], "unreadable: nowhere.json cannot be read"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_exit_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("INVALID ")
    assert error.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main([str(RECORDED), "--output", str(tmp_path / "file"), "--runs", "2"]) == 2
    assert "unwritable" in capsys.readouterr().err


def test_a_missing_matplotlib_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(GateError, match="install it with") as refused:
        draw(_rows(), tmp_path / "plot.svg")
    assert refused.value.reason == "no-matplotlib"
