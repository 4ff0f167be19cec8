"""Several files of one measurement become one recording, or are refused with their reason."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.records import GateError, Recording
from perfgate.store.recording import merge, read_each, recording_to_json, write_recording
from recorded import changed, recording

if TYPE_CHECKING:
    from pathlib import Path

CASES = ("k1_sq4096", "tiny512")


def test_several_files_are_several_launches(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.json" for n in range(3)]
    for n, path in enumerate(paths):
        path.write_text(json.dumps(recording_to_json(recording([n], cases=CASES))))
    whole = recording(range(3), cases=CASES, source=str(paths[0]))
    assert merge(read_each(paths)) == whole


def test_one_file_given_twice_is_not_two_launches(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_recording(path, recording([0], cases=CASES))
    with pytest.raises(GateError, match="given twice") as caught:
        read_each([path, tmp_path / "." / "a.json"])
    assert caught.value.reason == "file-twice"


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (recording([1], cases=CASES[:1]), "case-not-in-every-file"),
        (recording([1], cases=("sq2048", *CASES)), "case-not-in-every-file"),
        (recording([1], cases=CASES, environment={"gpu": "another"}), "files-disagree"),
        (recording([1], cases=CASES, settings={"rounds": 3}), "files-disagree"),
        (recording([1], cases=CASES, other="A2"), "files-disagree"),
        (changed(recording([1], cases=CASES), code={"kernel": "abc"}), "files-disagree"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(second: Any, reason: str) -> None:
    with pytest.raises(GateError) as caught:
        merge([recording([0], cases=CASES), second])
    assert caught.value.reason == reason
    assert caught.value.text.endswith(".")


def _selection(launch: int, cases: tuple[str, ...] = ("tiny512",), **options: Any) -> Recording:
    """A launch that measured some cases on purpose."""
    return dataclasses.replace(recording([launch], cases=cases, **options), selected=cases)


def _counts(merged: Recording) -> dict[str, int]:
    return {case: len(samples.launches) for case, samples in merged.samples.items()}


def test_a_launch_of_selected_cases_continues_those_alone() -> None:
    whole = [recording([n], cases=CASES) for n in range(2)]
    merged = merge([*whole, _selection(2), _selection(3)])
    assert _counts(merged) == {"k1_sq4096": 2, "tiny512": 4}
    assert merged.selected == ()
    assert merged.samples["tiny512"] == recording(range(4), cases=CASES).samples["tiny512"]


def test_a_selection_may_be_named_before_the_whole() -> None:
    merged = merge([_selection(0), recording([1], cases=CASES)])
    assert list(_counts(merged).items()) == [("k1_sq4096", 1), ("tiny512", 2)]
    assert merged.samples["tiny512"] == recording(range(2), cases=CASES).samples["tiny512"]


def test_selections_may_differ_beside_a_whole() -> None:
    merged = merge([recording([0], cases=CASES), _selection(1), _selection(2, CASES[:1]), _selection(3, CASES)])
    assert _counts(merged) == {"k1_sq4096": 3, "tiny512": 3}


def test_launches_of_one_selection_stay_a_selection() -> None:
    merged = merge([_selection(0, CASES), _selection(1, CASES[::-1])])
    assert (_counts(merged), merged.selected) == ({"k1_sq4096": 2, "tiny512": 2}, CASES)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ([_selection(0), _selection(1, CASES[:1])], "only-selections"),
        ([_selection(0, CASES), _selection(1)], "only-selections"),
        ([_selection(0), recording([1], cases=CASES[:1])], "case-not-in-every-file"),
        ([recording([0], cases=CASES), _selection(1, ("sq2048",))], "case-not-in-every-file"),
        ([recording([0], cases=CASES), recording([1], cases=CASES[1:]), _selection(2)], "case-not-in-every-file"),
        ([dataclasses.replace(recording([0], cases=CASES[:1]), selected=CASES)], "case-not-in-every-file"),
        ([dataclasses.replace(recording([0], cases=CASES), selected=CASES[:1])], "case-not-selected"),
        ([recording([0], cases=CASES), _selection(1, environment={"gpu": "another"})], "files-disagree"),
        ([recording([0], cases=CASES), _selection(1, other="A2")], "files-disagree"),
    ],
)
def test_selections_that_do_not_belong_together_are_refused(files: list[Recording], reason: str) -> None:
    with pytest.raises(GateError) as caught:
        merge(files)
    assert caught.value.reason == reason
    assert ", expected " in caught.value.text
    assert caught.value.text.endswith(".")


def test_no_file_at_all_is_refused() -> None:
    with pytest.raises(GateError):
        merge([])


def _apart(found: Recording) -> list[Recording]:
    """Each launch of a recording as a file of its own."""
    count = len(next(iter(found.samples.values())).launches)
    return [
        dataclasses.replace(
            found,
            samples={
                case: dataclasses.replace(one, launches=one.launches[n : n + 1]) for case, one in found.samples.items()
            },
        )
        for n in range(count)
    ]


@given(st.lists(st.integers(0, 19), min_size=1, max_size=6, unique=True), st.data())
def test_launches_put_together_in_any_groups_are_the_whole(launches: list[int], data: st.DataObject) -> None:
    whole = recording(launches, cases=CASES)
    apart = _apart(whole)
    assert merge(apart) == whole
    cut = data.draw(st.integers(0, len(apart)))
    groups = [merge(part) for part in (apart[:cut], apart[cut:]) if part]
    assert merge(groups) == whole
    shuffled = merge(data.draw(st.permutations(apart)))
    for case, samples in shuffled.samples.items():
        assert sorted(one.arms["kernel"] for one in samples.launches) == sorted(
            one.arms["kernel"] for one in whole.samples[case].launches
        )
