"""``python -m perfgate judge`` on files: exit codes, formats, and that nothing broken exits 0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.cli import judge
from recorded import CASES, FIRST_CARD, SECOND_CARD, document

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _file(name: str, launches: Any, **options: Any) -> str:
    Path(name).write_text(json.dumps(document(launches, **options)), encoding="utf-8")
    return name


def _json(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict[str, Any]]:
    code = judge.main([*argv, "--format", "json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["exit"] == code
    return code, found


def test_unchanged_code_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = _json(
        capsys, "--baseline", _file("then.json", FIRST_CARD[:6]), "--current", _file("now.json", SECOND_CARD[:5])
    )
    assert code == 0
    assert [verdict["case"] for verdict in found["verdicts"]] == list(CASES)
    assert {verdict["status"] for verdict in found["verdicts"]} == {"SAME"}


def test_a_slower_kernel_exits_1_and_says_which_and_how_much(capsys: pytest.CaptureFixture[str]) -> None:
    now = _file("now.json", FIRST_CARD[6:], scale={"k1_sq4096": 1.05, "k7_small_k": 1.05})
    code, found = _json(capsys, "--baseline", _file("then.json", FIRST_CARD[:6]), "--current", now)
    slower = {verdict["case"]: verdict["ratio"] for verdict in found["verdicts"] if verdict["status"] == "SLOWER"}
    assert code == 1
    assert slower == {"k7_small_k": pytest.approx(1.05, abs=0.01), "k1_sq4096": pytest.approx(1.05, abs=0.01)}


def test_without_a_baseline_the_other_side_is_the_measure(capsys: pytest.CaptureFixture[str]) -> None:
    assert _json(capsys, "--current", _file("a.json", range(8), kernel="A2", other="A"))[0] == 0
    assert _json(capsys, "--current", _file("b.json", range(8), kernel="B1", other="A"))[0] == 1
    code, found = _json(capsys, "--current", _file("c.json", range(8)))
    assert (code, found["verdicts"][0]["reason"]) == (2, "no-baseline")


def test_too_close_to_tell_exits_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert _json(capsys, "--current", _file("a.json", range(2), kernel="B1", other="A", cases=("k9_8k",)))[0] == 3


def test_several_files_are_several_launches(capsys: pytest.CaptureFixture[str]) -> None:
    apart = [_file(f"{n}.json", [n], kernel="B1", other="A") for n in range(4)]
    whole = _file("whole.json", range(4), kernel="B1", other="A")
    assert _json(capsys, "--current", *apart) == _json(capsys, "--current", whole)


def test_the_same_files_give_the_same_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--baseline", _file("then.json", range(5)), "--current", _file("now.json", range(5, 9)), "--format", "json"]
    shown = [(judge.main(argv), capsys.readouterr().out) for _ in range(2)]
    assert shown[0] == shown[1]


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_other_formats_exit_the_same_and_name_the_case(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--current", _file("b.json", range(8), kernel="B1", other="A", cases=("sq2048",)), "--format", form]
    assert judge.main(argv) == 1
    out = capsys.readouterr().out
    assert "sq2048" in out
    assert "exit 1" in out


def test_a_chosen_case_is_judged_alone_and_the_report_says_partial(capsys: pytest.CaptureFixture[str]) -> None:
    now = _file("now.json", range(8), kernel="A2", other="A")
    assert judge.main(["--current", now, "--case", "sq2048"]) == 0
    assert f"partial: 1 of {len(CASES)} cases" in capsys.readouterr().out
    assert judge.main(["--current", now, "--case", "no-such"]) == 2


def test_limits_come_from_the_project(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    now = _file("b.json", range(8), kernel="B1", other="A", cases=("k1_sq4096",))
    assert _json(capsys, "--current", now)[0] == 1
    (tmp_path / "pyproject.toml").write_text("[tool.perfgate.limits]\nagainst_tolerance = 0.02\n")
    assert _json(capsys, "--current", now)[0] == 0
    (tmp_path / "pyproject.toml").write_text("[tool.perfgate.limits]\nagainst_tolerence = 0.02\n")
    assert _json(capsys, "--current", now)[0] == 2


def _state(key: str, value: object) -> Callable[[str], str]:
    return lambda text: text.replace('"arms"', f'"state": {{"{key}": {json.dumps(value)}}}, "arms"', 1)


def _contract(key: str, value: str) -> Callable[[str], str]:
    return lambda text: text.replace('"launches"', f'"contract": {{"{key}": {value}}}, "launches"', 1)


SPOILT: dict[str, Callable[[str], str]] = {
    "duplicate-keys": lambda text: text.replace('"benchmarks"', '"benchmarks": [], "benchmarks"', 1),
    "clock-text": _state("sm_clock_mhz", "N/A"),
    "clock-list": _state("sm_clock_mhz", [1980]),
    "clock-negative": _state("sm_clock_mhz", -1),
    "flops-text": _contract("flops", '"1"'),
    "flops-huge": _contract("flops", "9" * 401),
    "bytes-text": _contract("min_bytes", '"201326592"'),
    "truncated": lambda text: text[: len(text) // 2],
    "empty": lambda _: "",
    "no-cases": lambda _: '{"benchmarks": []}',
    "other-schema": lambda text: text.replace('"schema": 1', '"schema": 2'),
    "nan": lambda text: text.replace('"kernel": [', '"kernel": [NaN, ', 1),
    "no-samples": lambda text: text.replace('"kernel": [', '"kernel": [], "ignored": [', 1),
    "renamed": lambda text: text.replace('"case": "sq2048"', '"case": "square2048"'),
    "missing": lambda _: json.dumps(document(range(5), cases=CASES[1:])),
    "other-card": lambda text: text.replace("H100", "H200"),
}


@pytest.mark.parametrize("side", ["--baseline", "--current"])
@pytest.mark.parametrize("spoil", SPOILT)
def test_a_spoilt_side_exits_2_with_a_sentence(
    side: str, spoil: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    files = {"--baseline": _file("then.json", range(5)), "--current": _file("now.json", range(5, 10))}
    path = tmp_path / files[side]
    path.write_text(SPOILT[spoil](path.read_text(encoding="utf-8")), encoding="utf-8")
    code, found = _json(capsys, *(word for item in files.items() for word in item))
    assert code == 2
    assert any(verdict["status"] == "INVALID" and verdict["text"].endswith(".") for verdict in found["verdicts"])


def test_a_missing_file_exits_2_in_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("text", "markdown", "json"):
        assert judge.main(["--current", "none.json", "--format", form]) == 2
        assert "none.json" in capsys.readouterr().out.replace("\\", "")


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--baseline", "x"],
        ["--current"],
        ["--current", "x", "--format", "xml"],
        ["--current", "x", "--curent", "y"],
    ],
)
def test_bad_usage_exits_2_with_one_line(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert judge.main(argv) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.strip().splitlines()) == 1
    assert "bad-usage" in shown.err
