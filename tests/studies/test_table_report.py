"""From recorded launches to a table: what each number is, which are missing, and which design targets hold."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from perf_tests import cases
from perfgate.records import GateError
from studies.table import cases as table_cases
from studies.table.cases import COMPILE, KERNEL, LIMIT, START, TORCH
from studies.table.recording import Failure, Recording, read
from studies.table.report import Row, markdown, rows
from studies.table.targets import TARGETS, acceptance

if TYPE_CHECKING:
    from pathlib import Path

H100 = "NVIDIA H100 80GB HBM3"


def entry(**seconds: float) -> dict[str, Any]:
    return {"seconds": seconds, "rounds": 20, "errors": {KERNEL: 1.0, START: 2.6}, "config": {}, "state": {}}


def recording(
    *launches: dict[str, dict[str, Any]], path: str = "native", gpu: str = H100, failed: tuple[Failure, ...] = ()
) -> Recording:
    known = dict.fromkeys(case for launch in launches for case in launch)
    return Recording(
        about={
            "environment": {"gpu": gpu, "driver": "580.1", "torch": "2.14.1", "triton": "3.8.0", "code_path": path},
            "settings": {},
            "recorded_at": "2026-11-24T10:00",
            "command": "nox -s table -- --launches 2",
            "commit": "0123456789abcdef0123",
            "launches": len(launches),
        },
        cases={case: table_cases.BY_ID[case].contract() for case in known},
        launches=list(launches),
        failed=list(failed),
    )


K7 = "k7_small_k"


def one(found: Recording) -> Row:
    (row,) = rows(found)
    return row


def test_a_time_is_the_median_of_launches_and_a_ratio_that_of_the_same_launch() -> None:
    row = one(
        recording(
            {K7: entry(kernel=2e-3, torch=2e-3)},
            {K7: entry(kernel=4e-3, torch=8e-3)},
            {K7: entry(kernel=3e-3, torch=9e-3)},
        )
    )
    assert row.seconds == 3e-3
    assert row.vs == {TORCH: pytest.approx(2.0)}  # of 1, 2 and 3; medians of each side would give 2.67


def test_the_share_of_a_cases_bound_is_of_the_longer_of_arithmetic_and_traffic_at_the_cards_peaks() -> None:
    stored = one(recording({K7: entry(kernel=2e-3)}))
    contract = table_cases.BY_ID[K7]
    assert stored.bound_share == pytest.approx(contract.min_bytes / 3350e9 / 2e-3)
    assert stored.rate == f"{contract.min_bytes / 2e-3 / 1e9:.0f} GB/s"
    computed = one(recording({"k1_square": entry(kernel=1e-3)}))
    assert computed.bound_share == pytest.approx(2 * 4096**3 / 494.7e12 / 1e-3)
    assert computed.rate == "137.4 TFLOPS"


def test_a_card_that_is_not_listed_has_rates_and_no_share() -> None:
    found = recording({K7: entry(kernel=2e-3)}, gpu="NVIDIA Something")
    assert (one(found).bound_share, one(found).rate[-4:]) == (None, "GB/s")
    assert "none here, as the peaks of NVIDIA Something are not listed" in markdown(found)


@pytest.mark.parametrize("failed", [KERNEL, TORCH])
def test_an_arm_that_failed_in_any_launch_has_no_number(failed: str) -> None:
    complete = {K7: entry(kernel=1e-3, start=2e-3, torch=3e-3)}
    row = one(recording(complete, complete, failed=(Failure(case=K7, arm=failed, why="raced", wrong=True),)))
    assert row.seconds == (None if failed == KERNEL else 1e-3)
    assert set(row.vs) == (set() if failed == KERNEL else {START})


def test_an_arm_or_a_case_that_a_launch_lacks_has_no_number() -> None:
    found = rows(
        recording(
            {K7: entry(kernel=1e-3, start=2e-3, torch=3e-3), "k1_square": entry(kernel=1e-3)},
            {K7: entry(kernel=1e-3, torch=3e-3)},
        )
    )
    assert [(row.case, row.seconds, set(row.vs)) for row in found] == [
        (K7, 1e-3, {TORCH}),
        ("k1_square", None, set()),
    ]


def table(page: str) -> dict[str, list[str]]:
    lines = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| ")]
    return {cells[0].strip().replace("\\", ""): [cell.strip() for cell in cells[1:]] for cells in lines}


def test_the_table_has_a_row_a_case_and_geometric_means_that_say_of_how_many_cases() -> None:
    launch = {
        "k1_square": entry(kernel=1e-3, start=2e-3, torch=0.5e-3, compile=1e-3),
        K7: entry(kernel=2e-3, start=4e-3, torch=4e-3, limit=1.5e-3),
        "k6_large_k": entry(kernel=1e-3, start=16e-3, torch=1e-3),
    }
    page = markdown(recording(launch, launch))
    found = table(page)
    assert list(found) == ["case", ":--", "k1_square", K7, "k6_large_k", "geometric mean of 3"]
    assert found["k1_square"] == ["1.000 ms", "137.4 TFLOPS", "28 %", "2.00×", "0.50×", "1.00×", "–"]
    assert found[K7][3:] == ["2.00×", "2.00×", "–", "75 %"]
    mean = found["geometric mean of 3"]
    assert mean[3:] == ["4.00×", "1.00×", "1.00× (1 cases)", "75 % (1 cases)"]
    header = page.splitlines()[0]
    for part in (H100, "not an RTX 4090", "driver 580.1", "torch 2.14.1", "Triton 3.8.0", "2026-11-24T10:00 (UTC)"):
        assert part in header
    assert "medians of 2 launches, 20 rounds each" in header
    assert header.endswith("Repeat it with `nox -s table -- --launches 2`.")


def test_the_home_card_is_not_said_to_be_another() -> None:
    page = markdown(recording({K7: entry(kernel=2e-3)}, gpu="NVIDIA GeForce RTX 4090"))
    assert "not an RTX 4090" not in page
    assert table(page)[K7][2] != "–"


def test_the_notes_say_what_is_missing_disturbed_or_not_what_it_seems() -> None:
    launch = {"k14_upper_triangular": entry(kernel=1e-3, start=2e-3), K7: entry(kernel=2e-3)}
    launch[K7]["state"] = {"throttle_reasons": ["hardware slowdown"]}
    why = "RuntimeError: no | such <tile>"
    failed = tuple(Failure(case=case, arm=COMPILE, why=why) for case in launch)
    found = recording(launch, path="sm89", failed=failed)
    found.about["launches"] = 3
    notes = [line.replace("\\", "").replace("\u200b", "") for line in markdown(found).splitlines() if line[:2] == "- "]
    text = "\n".join(notes)
    assert "k14_upper_triangular, k7_small_k: no number for compile: RuntimeError: no | such &lt;tile&gt;" in text
    assert "k7_small_k: the card throttled in launch 1 of 1 (hardware slowdown)" in text
    assert "Of triangular operands only what may not be zero counts" in text
    assert "TRITON_OVERRIDE_ARCH=sm89" in text
    assert "start 2.60 (largest 2.60" in text
    assert "1 of 3 launches were made" in text
    plain = "\n".join(markdown(recording({"k1_square": entry(kernel=1e-3)})).splitlines())
    for absent in ("Triangular", "OVERRIDE", "no number", "throttled", "cut short", "memset"):
        assert absent not in plain


# --- the design targets


def row(case: Any, path: str = "sm89", **vs: float) -> Row:
    known = table_cases.BY_ID[case]
    return Row(path=path, case=case, contract=known.contract(), seconds=1e-3, vs=vs)


def native(**vs_torch: float) -> list[str]:
    return acceptance([row(case, "native", torch=ratio) for case, ratio in vs_torch.items()])


def test_every_target_of_the_path_is_judged_and_no_other() -> None:
    lines = acceptance([row(K7, start=2.0, torch=1.1)])
    assert len(lines) == len([target for target in TARGETS if target.path == "sm89"]) == 4
    assert all(line.startswith("sm89: ") for line in lines)
    assert acceptance([row(K7, "sm90a", start=2.0)]) == []


def test_each_target_holds_at_its_number_and_does_not_just_below() -> None:
    at = [row(K7, start=0.995, torch=1.0), row("k9_tall_skinny", start=0.995, torch=1.0), row("k6_large_k", start=15.0)]
    words = [line.split(": ")[1] for line in acceptance(at)]
    assert words == ["holds", "holds", "holds", "holds"]
    below = [
        row(K7, start=0.994, torch=0.999),
        row("k9_tall_skinny", start=0.5, torch=1.0),
        row("k6_large_k", start=6.7),
    ]
    lines = acceptance(below)
    assert [line.split(": ")[1] for line in lines] == ["does not hold"] * 4
    assert "2 of 3 cases below: k9_tall_skinny 0.500, k7_small_k 0.994" in lines[0]
    assert "it is 1.493 over 3 cases" in lines[1]
    assert lines[3] == "sm89: does not hold: #6 at least 15 × start; 1 of 1 case below: k6_large_k 6.700."


def test_native_targets_part_the_cases_by_kind() -> None:
    lines = native(
        k7_small_k=1.0,
        k9_tall_skinny=1.0,
        k6_large_k=0.9,
        k1_square=0.8,
        sq2048_fp16=0.95,
        sq1024_fp16=0.1,
        sq8192_bf16=1,
    )
    assert [line.split(": ")[1] for line in lines] == ["holds"] * 4
    assert "the least of 1 case is k1_square 0.800." in lines[1]
    lines = native(
        k7_small_k=1.0, k9_tall_skinny=0.99, k6_large_k=0.89, k1_square=0.79, sq2048_fp16=0.95, sq8192_bf16=0.94
    )
    assert [line.split(": ")[1] for line in lines] == ["does not hold"] * 4


def test_a_target_without_a_number_is_not_measured_and_never_holds() -> None:
    lines = acceptance([row(K7, start=2.0), row("k9_tall_skinny", torch=2.0)])
    assert [line.split(": ")[1] for line in lines] == ["not measured"] * 4
    assert "no number for k9_tall_skinny" in lines[0]
    assert "no number for k7_small_k" in lines[2]
    assert "none of its cases is in the table" in lines[3]


# --- the file


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = recording({K7: entry(kernel=1e-3)}, failed=(Failure(case=K7, arm=TORCH, why="no", wrong=True),))
    written.write(tmp_path / "deep" / "native.json")
    assert read(tmp_path / "deep" / "native.json") == written
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["native.json"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda document: document.update(schema=9), "has schema 9, expected 1"),
        (lambda document: document.pop("launches"), "KeyError: 'launches'"),
        (lambda document: document["about"].pop("command"), "KeyError: 'command'"),
        (lambda document: document["launches"][0]["cases"].update(other=entry()), "KeyError: 'other'"),
        (lambda document: document["launches"][0]["cases"][K7].pop("errors"), "KeyError: 'errors'"),
        (lambda document: document["launches"][0]["cases"][K7]["seconds"].update(kernel=-1.0), "kernel = -1.0"),
        (lambda document: document["launches"][0]["cases"][K7]["seconds"].update(kernel="1"), "kernel = '1'"),
        (lambda document: document["launches"][0]["cases"][K7]["seconds"].update(cublas=1.0), "cublas = 1.0"),
        (lambda document: document["cases"][K7].update(flops=0), "a case without work"),
        (lambda document: document.update(failed=[{"case": K7}]), "TypeError"),
        (lambda document: document.update(about=3), "TypeError"),
    ],
)
def test_a_file_of_another_form_is_refused_in_one_line(tmp_path: Path, spoil: Any, said: str) -> None:
    path = tmp_path / "native.json"
    recording({K7: entry(kernel=1e-3)}).write(path)
    document = json.loads(path.read_text(encoding="utf-8"))
    spoil(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(GateError, match=re.escape(said)) as refused:
        read(path)
    assert refused.value.reason == "malformed"
    assert "expected" in refused.value.text
    assert "\n" not in refused.value.text


@pytest.mark.parametrize("text", ["", "{", None])
def test_a_file_that_is_not_there_or_cut_is_refused(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "native.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(GateError, match=r"native.json cannot be read as JSON .*; measure again") as refused:
        read(path)
    assert refused.value.reason == "unreadable"


# --- the cases


def test_all_cases_are_chosen_where_none_is_named_and_the_large_ones_only_when_asked_for() -> None:
    every = [case.id for case in table_cases.choose([])]
    assert every == [case.id for case in cases.CASES]
    assert [case.id for case in table_cases.choose([], large=True)] == [*every, *(c.id for c in table_cases.LARGE)]
    assert {case.id for case in table_cases.choose([], quick=True)} == {case.id for case in cases.CASES if case.quick}
    assert [case.id for case in table_cases.choose(["sq8192_fp16", "k1_square"])] == ["k1_square", "sq8192_fp16"]


def test_an_unknown_case_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(GateError, match="no case 'k99' in the table; known are k1_square"):
        table_cases.choose(["k99"])


def test_only_cases_bound_by_storing_or_reading_alone_have_a_limit_that_can_be_run() -> None:
    limits = {case.id: limit for case in table_cases.BY_ID.values() if (limit := table_cases.limit_of(case))}
    assert limits == {
        "k4_matrix_vector": "read",
        "k6_large_k": "read",
        K7: "store",
        "k9_tall_skinny": "store",
        "k11_4d": "store",
    }
    assert LIMIT in table_cases.arms_of(table_cases.BY_ID[K7])
    assert table_cases.arms_of(table_cases.BY_ID["k1_square"], without=[COMPILE]) == (KERNEL, START, TORCH)
