"""The frame of a proposal of baselines: names, length, reason, and that no file can spoil its words."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

import pytest

from perfgate.github.proposal import MOST_BODY, check_reason
from perfgate.records import GateError, Recording
from proposal_support import CARD, REASON, World, begin, body, found, words

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> World:
    return begin(tmp_path)


def test_branch_title_and_message_name_card_day_run_and_reason(world: World) -> None:
    world.update()
    long = f"{'why ' * 30}it is"
    proposed, said = found(world)
    made = words(proposed, said)
    assert made.branch == f"baselines/{CARD}-2026-11-23-4711"
    assert made.title == f"Baselines of NVIDIA H100 80GB HBM3: {REASON}"
    assert made.message == f"{made.title}\n\n{REASON}\n"
    assert (made.base, made.label) == ("main", "baseline-change")
    asked = dataclasses.replace(proposed.asked, reason=long)
    title = words(dataclasses.replace(proposed, asked=asked), said).title
    assert title.partition(": ")[2] == f"{long[:59]}…"


def test_the_reviewer_is_told_of_label_base_and_every_file(world: World) -> None:
    world.update(scale={"sq2048": 1.05})
    text = body(world)
    assert "carries the label baseline-change" in text
    assert "- [ ] each slower case is meant" in text
    assert [line for line in text.splitlines() if line.startswith("- baselines/")] == [
        f"- baselines/{CARD}/anchor.json",
        f"- baselines/{CARD}/matmul.json",
        "- baselines/sm\\_89/compiled.json",
    ]


def test_a_run_without_a_plain_number_is_refused(world: World) -> None:
    world.update()
    proposed, said = found(world)
    for run in ("", "1/../x", "1 2", "x" * 41):
        with pytest.raises(GateError):
            words(proposed, said, run=run)


EVIL = "x|y</details>@octocat ``` [a](http://b) #1 `c`"


def test_texts_of_files_cannot_become_markup(world: World) -> None:
    world.update()
    proposed, said = found(world)
    asked = dataclasses.replace(proposed.asked, reason=EVIL)
    times = proposed.after.times
    assert times is not None
    spoilt: Recording = dataclasses.replace(times, environment={**times.environment, "driver": EVIL})
    renamed = tuple(dataclasses.replace(change, case=EVIL, status="NEW") for change in said.times)
    proposed = dataclasses.replace(
        proposed,
        asked=asked,
        after=dataclasses.replace(proposed.after, times=spoilt),
        unread=(EVIL,),
        files={EVIL: b""},
    )
    said = dataclasses.replace(said, times=renamed, versions=(EVIL,), restarted=(EVIL,), refused=EVIL)
    text = words(proposed, said).body
    outside, code = re.fullmatch(r"(.*)\n````sh\n(.*)\n````\n(.*)", text, re.DOTALL).group(1, 2)  # type: ignore[union-attr]
    assert "@octocat" in code
    assert "@octocat" not in outside
    assert outside.count("</details>") == 1
    assert not re.search(r"(?<!\\)\]\(|://", outside)
    assert not re.search(r"(?<!\\)`", outside)
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in outside.splitlines() if line.startswith("| ")}
    assert widths == {7}


def test_a_body_too_long_drops_rows_says_so_and_fits(world: World) -> None:
    world.update()
    proposed, said = found(world)
    many = tuple(
        dataclasses.replace(said.times[0], case=f"{'|' * 200}{number}", status="NEW") for number in range(1000)
    )
    said = dataclasses.replace(said, times=many, restarted=tuple(change.case for change in many[1:]))
    asked = dataclasses.replace(proposed.asked, reason="$" * 500)
    text = words(dataclasses.replace(proposed, asked=asked), said).body
    assert len(text) <= MOST_BODY
    assert "more cases, which are in the files." in text
    assert " and 969 more." in text
    assert "### What to check" in text


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("", "no-reason"),
        ("  ", "no-reason"),
        ("a\nb", "bad-reason"),
        ("a\x1b", "bad-reason"),
        ("x" * 501, "bad-reason"),
    ],
)
def test_a_reason_that_is_none_or_no_line_is_refused(reason: str, code: str) -> None:
    with pytest.raises(GateError) as caught:
        check_reason(reason)
    assert caught.value.reason == code


def test_a_reason_of_one_line_is_kept_as_it_is() -> None:
    assert check_reason("x" * 500) == "x" * 500
    assert check_reason("Größere Kacheln; 5 % „schneller“ ") == "Größere Kacheln; 5 % „schneller“ "
