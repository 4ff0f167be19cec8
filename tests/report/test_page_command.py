"""``python -m perfgate report``: what it takes, what it refuses, what it leaves; and the page at a run's end."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import page_support
from perfgate.__main__ import main
from perfgate.cli import judge, report
from perfgate.gate import left_page
from perfgate.limits import Limits
from perfgate.measurement.session import Request, Session, Stage
from perfgate.records import GateError
from perfgate.report import curves
from perfgate.report.curves import read_curve
from perfgate.settings import Settings
from perfgate.store.recording import write_recording
from perfgate.store.run import run_to_json

if TYPE_CHECKING:
    from perfgate.records import Recording

CALIBRATION = page_support.FOLDER / "calibration-one-percent.json.gz"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _file(name: str, recording: Recording) -> str:
    write_recording(Path(name), recording)
    return name


def _refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    Path("report.html").write_text("earlier", encoding="utf-8")
    assert report.main(list(words)) == 2
    assert Path("report.html").read_text(encoding="utf-8") == "earlier"
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_a_runs_files_make_one_page_whatever_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    files = page_support.write_run(Path(), page_support.measured(), page_support.baseline())
    assert main(["report", *files, "--baseline", str(page_support.BASELINE)]) == 0
    assert capsys.readouterr().out == "report: report.html\n"
    first = Path("report.html").read_bytes()
    assert main(["report", *reversed(files), "--baseline", str(page_support.BASELINE)]) == 0
    assert Path("report.html").read_bytes() == first
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []


def test_samples_without_a_run_get_the_verdicts_of_judge(capsys: pytest.CaptureFixture[str]) -> None:
    now = _file("now.json", page_support.measured())
    words = ["--baseline", str(page_support.BASELINE), *(f"--case={case}" for case in page_support.QUICK)]
    assert judge.main([*words, "--current", now, "--format", "json"]) == 1
    verdicts = json.loads(capsys.readouterr().out)["verdicts"]
    assert report.main([now, *words]) == 0
    page = Path("report.html").read_text(encoding="utf-8").replace("&#x27;", "'").replace("&quot;", '"')
    assert len(verdicts) == 5
    for verdict in verdicts:
        sentence, _, aside = verdict["text"].partition(" machine: ")
        assert f"{sentence} " in page
        assert f"machine: {aside}" in page
    assert "partial: 5 of 25 cases, as selected; 4 SAME, 1 SLOWER" in page


def test_files_of_two_cards_are_judged_card_by_card() -> None:
    one = page_support.measured()
    two = dataclasses.replace(one, environment={**one.environment, "uuid": "GPU-00000000-1"})
    assert report.main([_file("a.json", one), _file("b.json", two)]) == 0
    page = Path("report.html").read_text(encoding="utf-8")
    assert page.count('<figure><svg viewBox="0 0 360 330"') == 2
    assert "k1_square@nvidia-h100-80gb-hbm3#00000000" in page


def test_two_runs_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        page_support.write_run(Path(name), page_support.measured())
    assert "two-runs" in _refused(capsys, "a/run.json", "b/run.json")


def test_samples_of_another_run_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    run, _ = page_support.write_run(Path("a"), page_support.measured())
    other = page_support.renamed(page_support.measured(), {"k1_square": "k99"})
    assert "files-disagree: c.json has samples of k99" in _refused(capsys, run, _file("c.json", other))
    elsewhere = {**page_support.measured().environment, "uuid": "GPU-2"}
    moved = dataclasses.replace(page_support.measured(), environment=elsewhere)
    assert "files-disagree: d.json has uuid 'GPU-2'" in _refused(capsys, run, _file("d.json", moved))


def test_a_run_takes_no_option_that_would_judge_it_anew(capsys: pytest.CaptureFixture[str]) -> None:
    run, current = page_support.write_run(Path(), page_support.measured())
    for words in (["--case", "k1_square"], ["--fail-on-drift"], ["--anchor", current]):
        assert "bad-usage" in _refused(capsys, run, *words)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["none.json"], "no-file"),
        (["half.json"], "not-json"),
        (["list.json"], "malformed"),
        ([], "bad-usage"),
        (["now.json", "--counters", "half.json"], "not-json"),
        (["now.json", "--counters", "none.json"], "no-file"),
        (["now.json", "--history", "history.json"], "malformed"),
        (["now.json", "--calibration", "none.json"], "no-file"),
        (["now.json", "--calibration", "half.json"], "unreadable"),
        (["now.json", "--output", "no/folder/report.html"], "unwritable"),
    ],
)
def test_what_cannot_be_read_or_written_leaves_the_earlier_page_as_it_is(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _file("now.json", page_support.measured())
    Path("half.json").write_text('{"schema": 1,', encoding="utf-8")
    Path("list.json").write_text("[]", encoding="utf-8")
    step = {"commit": "a", "date": "b", "reason": "c", "time_s": 0}
    Path("history.json").write_text(json.dumps({"schema": 1, "history": {"k1_square": [step]}}), encoding="utf-8")
    assert f"INVALID {reason}: " in _refused(capsys, *words)


def test_counters_and_history_stand_with_their_case() -> None:
    counter = {"name": "L2 hits", "before": "81 %", "after": "64 %", "moved": True}
    found = {"schema": 1, "counters": {"k1_square": [counter]}, "moved_with_it": {"k1_square": ["L2 hits fell."]}}
    Path("counters.json").write_text(json.dumps(found), encoding="utf-8")
    step = {"commit": "abc", "date": "2026-01-01", "reason": "first", "time_s": 0.00125}
    Path("history.json").write_text(json.dumps({"schema": 1, "history": {"k1_square": [step]}}), encoding="utf-8")
    now = _file("now.json", page_support.measured())
    assert report.main([now, "--counters", "counters.json", "--history", "history.json"]) == 0
    page = Path("report.html").read_text(encoding="utf-8")
    assert '<th scope="row">L2 hits</th><td>81 %</td><td>64 %</td><td>moved</td>' in page
    assert "<li>L2 hits fell.</li>" in page
    assert "<td><code>abc</code></td><td>1.250 ms</td>" in page


def test_what_the_history_command_prints_is_a_history(capsys: pytest.CaptureFixture[str]) -> None:
    update = {"commit": "abcdef0123456789", "date": "2026-01-01T10:00:00+00:00"}
    point = {"update": 0, "reason": "first", "time_s": 0.00125}
    past = {"schema": 1, "updates": [update], "cases": [{"case": "k1_square", "times": [point]}]}
    Path("history.json").write_text(json.dumps(past), encoding="utf-8")
    now = _file("now.json", page_support.measured())
    assert report.main([now, "--history", "history.json"]) == 0
    assert "<td><code>abcdef01</code></td><td>1.250 ms</td>" in Path("report.html").read_text(encoding="utf-8")
    past["cases"] = [{"case": "k1_square", "times": [{**point, "update": 1}]}]
    Path("history.json").write_text(json.dumps(past), encoding="utf-8")
    assert report.main([now, "--history", "history.json"]) == 2
    assert "history.json has 1 as update, expected one of its 1, counted from 0; run again." in capsys.readouterr().err


def test_without_matplotlib_the_page_has_no_charts_and_the_line_has_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert report.main([_file("now.json", page_support.measured())]) == 0
    assert "without charts: The page's charts need matplotlib" in capsys.readouterr().out
    assert "<svg" not in Path("report.html").read_text(encoding="utf-8")


def test_a_calibrations_rates_are_worked_out_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = read_curve(str(CALIBRATION), Limits(), kept_in=tmp_path)
    assert first.rows[0][0] == "none (false alarms)"
    assert first.gpu == "NVIDIA H100 80GB HBM3"
    published = CALIBRATION.with_name("calibration-one-percent.md").read_text(encoding="utf-8")
    assert [row for row in first.rows if f"| {' | '.join(row)} |" not in published] == []

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("worked out again")

    monkeypatch.setattr(curves, "rates", refuse)
    assert read_curve(str(CALIBRATION), Limits(), kept_in=tmp_path) == first
    with pytest.raises(AssertionError, match="again"):
        read_curve(str(CALIBRATION), Limits(against_tolerance=0.01), kept_in=tmp_path)
    (kept,) = tmp_path.glob("curve-*.json")
    kept.write_text("{}", encoding="utf-8")
    with pytest.raises(AssertionError, match="again"):
        read_curve(str(CALIBRATION), Limits(), kept_in=tmp_path)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A run that has ended in a copy of this project, as far as its page needs it."""
    (tmp_path / "pyproject.toml").write_text("", encoding="utf-8")
    (tmp_path / "perfgate").symlink_to(Path(report.__file__).parents[1])
    recording = page_support.measured()
    page_support.write_run(tmp_path / ".perfgate", recording, page_support.baseline())
    return Session(
        settings=Settings(root=tmp_path),
        request=Request(),
        environment=dict(recording.environment),
        output=tmp_path / ".perfgate",
        checked=(),
        timed=(),
    )


def test_a_run_leaves_its_page_and_names_it(session: Session) -> None:
    timed = Stage(name="throughput", baseline=str(page_support.BASELINE), recording=page_support.measured())
    said = left_page.leave_page(session, session.output / "run.json", timed)
    assert said == f"page: {session.output / 'report.html'}"
    page = (session.output / "report.html").read_text(encoding="utf-8")
    assert "the baseline as recorded" in page
    assert "1.255 ms in 4 launches, 1.00 % slower than the baseline" in page


def test_a_run_without_samples_leaves_a_page_too(session: Session) -> None:
    run = session.output / "run.json"
    run.write_text(json.dumps(run_to_json(page_support.wrong_run())), encoding="utf-8")
    assert left_page.leave_page(session, run, None) == f"page: {session.output / 'report.html'}"
    assert "edge_odd" in (session.output / "report.html").read_text(encoding="utf-8")


def test_a_page_that_cannot_be_made_is_one_line(session: Session) -> None:
    run = session.output / "run.json"
    run.write_text("{", encoding="utf-8")
    said = left_page.leave_page(session, run, None)
    assert said.startswith("page: none (INVALID ")
    assert "\n" not in said


def test_the_cards_calibrations_are_taken_along(session: Session) -> None:
    folder = session.settings.root / "baselines/nvidia-h100-80gb-hbm3"
    folder.mkdir(parents=True)
    (folder / CALIBRATION.name).write_bytes(CALIBRATION.read_bytes())
    timed = Stage(name="throughput", recording=page_support.measured())
    assert left_page.leave_page(session, session.output / "run.json", timed).startswith("page: ")
    assert "Rates of calibration-one-percent.json.gz" in (session.output / "report.html").read_text(encoding="utf-8")
    assert [path.name[:6] for path in session.output.glob("curve-*")] == ["curve-"]


def test_a_bad_usage_is_a_gate_error() -> None:
    with pytest.raises(GateError, match="see python -m perfgate report --help"):
        report._parser().parse_args(["--output"])  # noqa: SLF001 - its words are the point
