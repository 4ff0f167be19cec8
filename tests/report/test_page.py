"""The page of a run: what it is made of, what it refuses, what it shows, and what it leaves at a run's end."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
import statistics
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import page_support
from perfgate.cli import judge, main, report
from perfgate.compare.judge import judge as judged
from perfgate.compare.roofline import recording_metrics
from perfgate.config import Limits, Settings
from perfgate.hardware.gpus import card
from perfgate.measurement.session import Request, Session
from perfgate.report.inputs import Counter, Extras, Step, calibrations, of_run
from perfgate.report.page import document, leave
from perfgate.report.verdicts import RATES, cells
from perfgate.report.view import anchors, speed
from perfgate.store.recording import write_recording
from perfgate.store.run import StageResult

if TYPE_CHECKING:
    from perfgate.records import Recording, Verdict

NASTY = "<img src=x onerror=alert(1)>\"'&\x1b[31m\u202e"


def case(found: Any, name: str) -> Any:
    return next(one for one in found.cases if one.name == name)


def verdicts(recording: Recording, then: Recording | None = None) -> dict[str, Verdict]:
    return {one.case: one for one in judged(then, recording, Limits(), selected=list(recording.samples))}


# The command.


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def file(name: str, recording: Recording) -> str:
    write_recording(Path(name), recording)
    return name


def written(*words: str) -> str:
    assert report.main(list(words)) == 0
    return Path("report.html").read_text(encoding="utf-8")


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    Path("report.html").write_text("earlier", encoding="utf-8")
    assert report.main(list(words)) == 2
    assert Path("report.html").read_text(encoding="utf-8") == "earlier"
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


@pytest.mark.usefixtures("here")
def test_a_runs_files_make_one_page_whatever_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    files = page_support.write_run(Path(), page_support.measured(), page_support.baseline())
    assert main(["report", *files, "--baseline", str(page_support.BASELINE)]) == 0
    assert capsys.readouterr().out == "report: report.html\n"
    first = Path("report.html").read_bytes()
    assert main(["report", *reversed(files), "--baseline", str(page_support.BASELINE)]) == 0
    assert Path("report.html").read_bytes() == first
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []


@pytest.mark.usefixtures("here")
def test_samples_without_a_run_get_the_verdicts_of_judge(capsys: pytest.CaptureFixture[str]) -> None:
    now = file("now.json", page_support.measured())
    words = ["--baseline", str(page_support.BASELINE), *(f"--case={case}" for case in page_support.QUICK)]
    assert judge.main([*words, "--current", now, "--format", "json"]) == 1
    found = json.loads(capsys.readouterr().out)["verdicts"]
    page = written(now, *words).replace("&#39;", "'").replace("&#34;", '"')
    assert len(found) == 5
    for one in found:
        sentence, _, aside = one["text"].partition(" machine: ")
        assert sentence in page
        assert f"machine: {aside}" in page
    assert "partial: 5 of 25 cases, as selected; 4 SAME, 1 SLOWER" in page


@pytest.mark.usefixtures("here")
def test_what_does_not_belong_together_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    (run, current), (other, _) = (page_support.write_run(Path(name), page_support.measured()) for name in "ab")
    assert "two-runs" in refused(capsys, run, other)
    strange = file("c.json", page_support.renamed(page_support.measured(), {"k1_square": "k99"}))
    assert "files-disagree: c.json has samples of k99" in refused(capsys, run, strange)
    elsewhere = {**page_support.measured().environment, "uuid": "GPU-2"}
    moved = file("d.json", dataclasses.replace(page_support.measured(), environment=elsewhere))
    assert "files-disagree: d.json has uuid 'GPU-2'" in refused(capsys, run, moved)
    for words in (["--case", "k1_square"], ["--fail-on-drift"], ["--anchor", current]):
        assert "bad-usage" in refused(capsys, run, *words)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["none.json"], "no-file"),
        (["half.json"], "not-json"),
        (["list.json"], "malformed"),
        ([], "bad-usage"),
        (["now.json", "--output"], "bad-usage"),
        (["now.json", "--counters", "half.json"], "not-json"),
        (["now.json", "--counters", "none.json"], "no-file"),
        (["now.json", "--history", "step.json"], "malformed"),
        (["now.json", "--history", "past.json"], "malformed"),
        (["now.json", "--output", "no/folder/report.html"], "unwritable"),
    ],
)
def test_what_cannot_be_read_or_written_leaves_the_earlier_page_as_it_is(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file("now.json", page_support.measured())
    Path("half.json").write_text('{"schema": 1,', encoding="utf-8")
    Path("list.json").write_text("[]", encoding="utf-8")
    step = {"commit": "a", "date": "b", "reason": "c", "time_s": 0}
    Path("step.json").write_text(json.dumps({"schema": 1, "history": {"k1_square": [step]}}), encoding="utf-8")
    one = {"case": "k1_square", "times": [{"update": 1, "reason": "first", "time_s": 1}]}
    past = {"schema": 1, "updates": [{"commit": "a", "date": "b"}], "cases": [one]}
    Path("past.json").write_text(json.dumps(past), encoding="utf-8")
    assert f"INVALID {reason}: " in refused(capsys, *words)


@pytest.mark.usefixtures("here")
def test_without_jinja2_there_is_no_page_and_the_line_has_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    now = file("now.json", page_support.measured())
    assert "INVALID no-jinja2: The page needs jinja2" in refused(capsys, now)


@pytest.mark.usefixtures("here")
def test_a_history_as_its_command_prints_it_stands_with_its_case() -> None:
    updates = [{"commit": letter * 40, "date": "2026-01-01T10:00:00+00:00", "subject": "x"} for letter in "ab"]
    points = [{"update": number, "reason": "first", "time_s": 0.00125 * (1 + number)} for number in (0, 1)]
    past = {"schema": 1, "updates": updates, "cases": [{"case": "k1_square", "times": points}]}
    Path("history.json").write_text(json.dumps(past), encoding="utf-8")
    page = written(file("now.json", page_support.measured()), "--history", "history.json")
    assert "<td><code>bbbbbbbb</code></td><td>2.500 ms</td><td>+100.00 %</td>" in page


@pytest.mark.usefixtures("here")
def test_calibrations_that_lie_beside_the_baseline_are_on_the_page() -> None:
    now = file("now.json", page_support.measured())
    for given in (page_support.BASELINE, page_support.FOLDER.parent):
        page = written(now, f"--baseline={given}", "--case=k1_square")
        assert "Rates of calibration-one-percent.md" in page
        assert '<th scope="row">none (false alarms)</th><td>+0.01 % (+0.00 % to +0.20 %)</td>' in page
        assert "Unchanged code on this card is called changed in 0 % [0–5] of runs." in page
    assert "No calibration of this card was given" in written(now)


def test_a_calibrations_page_without_its_tables_is_none(tmp_path: Path) -> None:
    (tmp_path / "calibration-a.md").write_text("# Nothing\n", encoding="utf-8")
    (tmp_path / "calibration-b.md").write_text("## All cases\n\n| a | b |\n| --- | --- |\n| 1 |\n", encoding="utf-8")
    assert calibrations(tmp_path) == ()


# At a run's end.


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A run that has ended, as far as its page needs it."""
    (tmp_path / ".perfgate").mkdir()
    environment = dict(page_support.measured().environment)
    settings = Settings(root=tmp_path)
    return Session(
        settings=settings,
        request=Request(),
        environment=environment,
        output=tmp_path / ".perfgate",
        checked=(),
        timed=(),
    )


def left(session: Session, timed: StageResult | None) -> str:
    run = page_support.run_of(timed.recording, page_support.baseline()) if timed and timed.recording else None
    assert leave(session, run or page_support.wrong_run(), timed) == f"page: {session.output / 'report.html'}"
    return (session.output / "report.html").read_text(encoding="utf-8")


def test_a_run_leaves_its_page_with_what_lies_beside_its_baseline(session: Session) -> None:
    folder = session.settings.root / "baselines/nvidia-h100-80gb-hbm3"
    folder.mkdir(parents=True)
    kept = page_support.FOLDER / "calibration-quick.md"
    (folder / kept.name).write_bytes(kept.read_bytes())
    moved = {"schema": 1, "moved_with_it": {"k1_square": ["L2 hits fell."]}}
    (session.output / "moved.json").write_text(json.dumps(moved), encoding="utf-8")
    page = left(session, StageResult(name="t", baseline=str(page_support.BASELINE), recording=page_support.measured()))
    assert "the baseline as recorded" in page
    assert "1.255 ms in 4 launches, 1.00 % slower than the baseline" in page
    assert "Rates of calibration-quick.md" in page
    assert "<li>L2 hits fell.</li>" in page


def test_a_run_without_samples_leaves_a_page_too(session: Session) -> None:
    page = left(session, None)
    assert "largest error 1.02 against float64" in page
    assert "exit 1; judged: correctness; NOT judged: throughput" in page
    assert "<svg" not in page


def test_a_page_that_cannot_be_made_is_one_line_and_ends_no_run(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise ValueError("two\nlines")

    run = page_support.wrong_run()
    lost = StageResult(name="throughput", baseline="none.json", recording=page_support.measured())
    assert leave(session, run, lost).startswith("page: none (INVALID ")
    monkeypatch.setattr("perfgate.report.page.view", fails)
    assert leave(session, run, None) == "page: none (ValueError: two?lines)"


# What it shows.


def test_every_row_has_the_words_of_the_terminals_row() -> None:
    recording, then = page_support.measured(), page_support.baseline()
    found = page_support.shown(recording, then)
    numbers = recording_metrics(recording, card(recording.environment["gpu"]))
    for name, verdict in verdicts(recording, then).items():
        row = dict(zip(found.head[1:], (text for text, _ in case(found, name).cells), strict=True))
        expected = cells(verdict, numbers[name])
        assert {key: row[key] for key in ("change", "interval", "limit", "time", *RATES)} == {
            key: expected[key] for key in row if key in expected
        }
        assert row["speed"] == expected["status"]
        assert f"interval {row['interval']}, limit {row['limit']}" in verdict.text
        ((_, said),) = case(found, name).said
        assert said.text == verdict.text


def test_what_needs_a_look_comes_first_and_of_one_reason_the_first_few() -> None:
    recording = page_support.many(7)
    slowed = list(page_support.measured(dict.fromkeys(page_support.QUICK, ("+5", "+0"))).samples.values())
    spoilt = {name: dataclasses.replace(slowed[n % 5], case=name) for n, name in enumerate(recording.samples)}
    found = page_support.shown(dataclasses.replace(recording, samples=spoilt))
    assert [verdict.status for _, verdict, _ in found.telling] == ["SLOWER"] * 5
    assert found.unsaid == {"slower": 2}
    assert all(one.attention for one in found.cases if one.speed)


def test_the_launches_ratios_are_shown_where_the_verdict_is_their_mean() -> None:
    one = page_support.measured().samples["k1_square"]
    verdict = verdicts(page_support.measured())["k1_square"]
    made = speed(one, None, verdict)
    assert made
    assert verdict.ratio
    assert math.exp(statistics.fmean(map(math.log, made.shifts))) == pytest.approx(verdict.ratio, rel=1e-9)
    assert len(made.shifts) == 4
    other = speed(one, None, dataclasses.replace(verdict, ratio=verdict.ratio * 1.0001))
    assert other
    assert other.shifts == ()


def test_every_sample_is_on_the_chart_or_counted_beyond_it() -> None:
    for one in page_support.shown(page_support.measured(), page_support.baseline()).cases:
        if one.speed is None:
            assert one.name.startswith("edge_")
            continue
        assert [len(side.launches) for side in one.speed.sides] == [4, 4, 8]
        seconds = [sample for side in one.speed.sides for launch in side.launches for sample in launch]
        low, high = one.speed.axis_s
        assert min(seconds) > low
        above = sum(sample > high for sample in seconds)
        assert above <= 0.02 * len(seconds) + 1
        assert (f" {above} above the axis" in one.speed.caption) == bool(above)


def test_a_stray_sample_does_not_flatten_the_rest() -> None:
    one = page_support.measured().samples["k1_square"]
    arms = {**one.launches[0].arms, "kernel": (1.0, *one.launches[0].arms["kernel"][1:])}
    spoilt = dataclasses.replace(one, launches=(dataclasses.replace(one.launches[0], arms=arms), *one.launches[1:]))
    made = speed(spoilt, None, verdicts(page_support.measured())["k1_square"])
    assert made
    assert made.axis_s[1] < 0.002
    assert "above the axis" in made.caption


def test_a_wrong_kernel_shows_no_times() -> None:
    recording = page_support.measured()
    one = recording.samples["k7_small_k"]
    launches = tuple(dataclasses.replace(launch, state={"correct": False}) for launch in one.launches)
    samples = {**recording.samples, "k7_small_k": dataclasses.replace(one, launches=launches)}
    found = page_support.shown(dataclasses.replace(recording, samples=samples))
    made = case(found, "k7_small_k")
    assert (made.status, made.change, made.speed) == ("WRONG", "", None)
    assert [text for text, _ in made.cells][:5] == ["INVALID", "-", "-", "-", "-"]
    assert "k7_small_k" not in {point.name for point in found.cards[0].points}
    assert found.answers[0][1] == "No: k7_small_k."


def test_a_run_without_a_card_says_what_was_not_judged() -> None:
    found = page_support.shown_without_card()
    assert found.head == ("case", "result")
    assert [(one.name, one.status) for one in found.cases] == [("edge_odd", "WRONG"), ("k1_square", "right")]
    assert found.answers[1][1] == "NOT judged (no CUDA card)."
    assert found.outcome.endswith("NOT judged: throughput")


def test_a_case_is_linked_by_its_id_and_a_strange_one_by_its_number() -> None:
    found = anchors(["k7_small_k", "k1@card#2", "page-cases", "", "ünï", "a b"])
    assert found["k7_small_k"] == "k7_small_k"
    assert [found[case] for case in list(found)[1:]] == [f"page-case-{number}" for number in range(2, 7)]


# The file: self-contained, escaped, with a policy that allows its own style and script alone.


class Parsed(HTMLParser):
    """Tags with their attributes, and what stands in style and script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, str] = {}
        self.feed(page)
        self.ids = [found["id"] for _, found in self.tags if "id" in found]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in {"style", "script"}:
            self.raw.setdefault(self.tags[-1][0], data)


@pytest.fixture(scope="module")
def parsed() -> Parsed:
    recording, then = page_support.measured(), page_support.baseline()
    return Parsed(document(of_run(page_support.run_of(recording, then), recording, then), Extras()))


def test_the_policy_names_the_hashes_of_the_only_style_and_script(parsed: Parsed) -> None:
    (policy,) = (found["content"] for _, found in parsed.tags if found.get("http-equiv") == "Content-Security-Policy")
    assert policy
    for tag in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(parsed.raw[tag].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
        assert [name for name, _ in parsed.tags].count(tag) == 1
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_nothing_is_fetched_and_nothing_has_a_style_or_a_handler_of_its_own(parsed: Parsed) -> None:
    for tag, attributes in parsed.tags:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form"}
        assert not {"src", "style", "srcset"} & set(attributes)
        assert not [key for key in attributes if key.startswith("on")]
        assert (attributes.get("href") or "#").startswith("#")


def test_every_id_is_there_once_every_link_leads_to_one_and_a_header_says_what_it_heads(parsed: Parsed) -> None:
    assert len(parsed.ids) == len(set(parsed.ids))
    assert {(found.get("href") or "")[1:] for tag, found in parsed.tags if tag == "a"} <= set(parsed.ids)
    assert "k7_small_k" in parsed.ids
    assert {attributes.get("scope") for tag, attributes in parsed.tags if tag == "th"} == {"col", "row"}


def test_whatever_comes_from_files_is_only_text() -> None:
    recording = page_support.renamed(page_support.measured(), {"k1_square": NASTY, "sq1024_fp32": "page-cases"})
    extras = Extras(
        counters={NASTY: (Counter(name=NASTY, before=NASTY, after=NASTY, moved=True),)},
        moved_with_it={NASTY: (NASTY,)},
        history={NASTY: [Step(commit=NASTY, date=NASTY, reason=NASTY, time_s=1.0)]},
    )
    made = document(of_run(page_support.run_of(recording), recording, None), extras)
    found = Parsed(made)
    assert not [tag for tag, _ in found.tags if tag == "img"]
    assert len(found.ids) == len(set(found.ids))
    assert "\x1b" not in made
    assert "\u202e" not in made
    assert made.count("&lt;img src=x onerror=alert(1)&gt;&#34;&#39;&amp;?[31m?") > 12
