"""The brief of a case: six parts, the code as it is, valid JSON, and no number that nobody measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from markdown_it import MarkdownIt

from git_support import Project
from perfgate.cli.brief import main
from perfgate.config import Settings
from perfgate.project import load_suite
from perfgate.records import Launch, Recording, Samples
from perfgate.report.brief import STAGES
from perfgate.store.recording import write_recording

if TYPE_CHECKING:
    from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
COUNTERS = "tests/data/starting-counters.json"
STARTING = "studies/table/starting.py"
H100 = "nvidia-h100-80gb-hbm3"
PARTS = [
    "1. The card",
    "2. The stage: block sizes",
    "3. The code as it is",
    "4. Its measured counters",
    "5. The task",
    "6. Rules of the kernel file",
]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def tokens(text: str) -> list[Token]:
    return MarkdownIt("commonmark").parse(text)


def headings(text: str) -> list[str]:
    found = tokens(text)
    return [found[n + 1].content for n, token in enumerate(found) if token.type == "heading_open" and token.tag == "h2"]


def fence(text: str, language: str) -> str:
    (found,) = [token.content for token in tokens(text) if token.type == "fence" and token.info == language]
    return found


def written(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(list(argv)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(list(argv)) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    return shown.err


def test_the_brief_of_the_starting_kernel_reads_as_the_work_it_asks_for(capsys: pytest.CaptureFixture[str]) -> None:
    text = written(capsys, "k7_small_k", "--counters", COUNTERS, "--kernel", STARTING, "--time", "4.71e-3")
    assert headings(text) == PARTS
    assert fence(text, "python") == (ROOT / STARTING).read_text()
    metrics = json.loads(fence(text, "json"))["kernels"][0]["metrics"]
    assert list(metrics.values()) == [19.62, 65536, 8.31, 92.11, 99.22]
    for said in (
        "| the limit | 4.278 ms: writing the result |",
        "4.0 of 48: below the guideline of over 50 %",
        "512.0 for each of the 128 multiprocessors",
        "nox -s perf -- --case k7_small_k --against HEAD",
        "9.2 % of the time. It takes 4.710 ms (as given with --time), 1.101 times the limit of 4.278 ms",
        "took at least 4.644 ms (the least traffic at the share of the memory's peak that was in use), of which 7.9 %",
    ):
        assert said in text


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("case", ["k1_square", "k6_large_k", "k7_small_k", "sq512_bf16"])
def test_every_stage_of_every_kind_of_case_has_six_parts_and_advice_with_its_source(
    stage: str, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = written(capsys, case, "--stage", stage)
    assert len(headings(text)) == 6
    advice = [line for line in text.split("## 3.")[0].split("## 2.")[1].splitlines() if line.startswith("- ")]
    assert len(advice) >= 3
    assert all(line.endswith(")") for line in advice)
    assert ("on case 7" in "".join(advice)) <= (
        case == "k7_small_k"
    )  # what is known of stores is told where they are the limit


def test_no_piece_of_advice_is_given_twice() -> None:
    texts = [one.text for stage in STAGES.values() for one in stage.advice]
    assert len(set(texts)) == len(texts) > 20


# The time, and what is still to be had.


def test_where_no_time_is_known_it_is_said_and_no_share_is_made_up(capsys: pytest.CaptureFixture[str]) -> None:
    text = written(capsys, "k7_small_k")
    assert "| time | not known |" in text
    assert "there is no baseline of this card" in text
    assert "% of the time. It takes" not in text
    assert json.loads(fence(text, "json")) == {"case": "k7_small_k", "kernels": []}


def stored(root: Path, *, commit: str, case: str = "k7_small_k", **contract: Any) -> None:
    known = {one.id: one for one in load_suite(Settings(root=ROOT)).CASES}["k7_small_k"].contract()
    one = Samples(case=case, launches=(Launch(arms={"kernel": (2e-3,) * 5}),), contract=known | contract)
    recording = Recording(
        samples={case: one},
        environment={"gpu": "NVIDIA H100 80GB HBM3"},
        settings={},
        commit=commit,
        recorded_at="2026-11-24",
    )
    write_recording(root / f"baselines/{H100}/matmul.json", recording)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose kernel and baseline a test writes."""
    made = Project.begin(tmp_path / "project")
    shutil.copytree(ROOT / "perf_tests", made.root / "perf_tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", made.root)
    monkeypatch.chdir(made.root)
    return made


def test_a_stored_time_counts_for_the_very_code_that_it_was_measured_with(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    first = project.commit("one = 1\n")
    stored(project.root, commit=first)
    assert "It takes 2.000 ms (stored in " in written(capsys, "k7_small_k", "--card", H100)
    project.commit("two = 2\n")
    text = written(capsys, "k7_small_k", "--card", H100)
    assert f"that is the time of other code ({first[:12]})" in text.replace("\\", "")
    assert "| time | not known |" in text


@pytest.mark.parametrize("commit", ["", "0" * 40, "dirty"])
def test_a_stored_time_whose_code_cannot_be_looked_at_is_no_time_of_this_code(
    commit: str, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    head = project.commit("one = 1\n")
    stored(project.root, commit=f"{head}-dirty" if commit == "dirty" else commit)
    assert "| time | not known |" in written(capsys, "k7_small_k", "--card", H100)


@pytest.mark.parametrize("other", [{"flops": 1}, {"case": "k9_tall_skinny"}])
def test_a_stored_time_of_other_work_is_no_time_of_this_case(
    other: dict[str, Any], project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(project.root, commit=project.commit("one = 1\n"), **other)
    assert "has no time of this case as it is now" in written(capsys, "k7_small_k", "--card", H100)


# Code and names that are hostile.


@pytest.mark.parametrize(
    "code",
    [
        "x = '''\n```\n## 7. More\n````\n'''\n",
        "no newline at the end",
        "a = 1\r\nb = 2\r\n",
        "# `````" + "`" * 40 + "\n",
    ],
)
def test_nothing_in_the_code_ends_its_block(code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "kernel`\n## 8. name.py"
    path.write_bytes(code.encode())
    text = written(capsys, "k7_small_k", "--kernel", str(path))
    assert headings(text) == PARTS
    assert fence(text, "python").rstrip("\n") == code.replace("\r\n", "\n").rstrip("\n")
    assert code in text


def test_names_in_a_counters_file_cannot_break_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "```\n## 7. <img src=x> | @everyone"
    kernels = [{"name": name, "metrics": {"launch__grid_size": 1, evil: 2}} for name in (evil, "b")]
    path = tmp_path / "store.json"
    store = {"schema": 1, "card": "", "recorded_at": evil, "cases": {"k7_small_k": {"kernels": kernels}}}
    path.write_text(json.dumps(store))
    text = written(capsys, "k7_small_k", "--counters", str(path))
    assert headings(text) == PARTS
    assert [one["name"] for one in json.loads(fence(text, "json"))["kernels"]] == [evil, "b"]
    assert "<img" not in text.replace(fence(text, "json"), "")


# Files.


def test_the_output_file_is_written_whole_and_printed_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "brief.md"
    assert written(capsys, "k7_small_k", "--output", str(path)) == ""
    assert headings(path.read_text()) == PARTS
    assert [one.name for one in tmp_path.iterdir()] == ["brief.md"]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["k99"], "INVALID unknown-case: There is no timed case 'k99'; known are k1_square, "),
        (["k7_small_k", "--card", "h200"], "INVALID unknown-card: No limits are stated for a card 'h200'"),
        (["k7_small_k", "--stage", "luck"], "INVALID bad-usage: "),
        (["k7_small_k", "--time", "0"], "INVALID bad-usage: --time is 0, expected seconds above zero"),
        (["k7_small_k", "--time", "nan"], "INVALID bad-usage: --time is nan"),
        (["k7_small_k", "--kernel", "none.py"], "INVALID no-kernel-file: none.py does not exist"),
        (["k7_small_k", "--kernel", "tests"], "INVALID no-kernel-file: tests cannot be read"),
        (["k7_small_k", "--counters", "none.json"], "INVALID no-file: none.json does not exist"),
        (["k9_tall_skinny", "--counters", COUNTERS], "INVALID other-case: "),
        (["k7_small_k", "--counters", COUNTERS, "--card", H100], "INVALID other-card: "),
        (["k7_small_k", "--output", "no/such/folder/x.md"], "INVALID not-written: "),
        ([], "INVALID bad-usage: "),
    ],
)
def test_what_cannot_be_written_is_exit_2_with_one_line(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, *argv).startswith(says)
