"""What the page shows, as frozen records: words as they are to be read, numbers only where a chart or a sort needs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from perfgate.report.extras import Counter

Launches = tuple[tuple[float, ...], ...]
"""Seconds of one side, launch by launch, in order of rounds."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of the table of cases."""

    text: str
    key: float | None = None
    """What it is sorted by; None sorts by the text, and last where the text is a dash."""
    status: str = ""
    """A status as its word in lower case, where the cell is one."""


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """A verdict as it is said, with the lines beside it."""

    stage: str
    status: str
    text: str
    asides: tuple[str, ...] = ()
    name: str = ""
    """Of the case that it is about, where it has to be told; with its anchor."""
    anchor: str = ""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side's samples."""

    role: str
    """``kernel``, ``other`` or ``recorded``: its colour."""
    name: str
    launches: Launches


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A verdict's ratio with its interval and limit, as shares: 1.01 is 1 % slower."""

    ratio: float
    low: float
    high: float
    limit: float
    shifts: tuple[float, ...]
    """The ratio in each launch, where the verdict's is their mean; else empty."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """A case's times."""

    sides: tuple[Side, ...]
    """Of this run's launches: the kernel, and the other side where it ran beside it."""
    recorded: Side | None
    """The baseline's launches."""
    axis_s: tuple[float, float]
    """Lowest and highest time of the chart."""
    above: int
    """Samples beyond it, which are drawn at its edge."""
    interval: Interval | None
    launches_head: tuple[str, ...]
    launches: tuple[tuple[str, ...], ...]
    """A row of words for each launch."""
    caption: str
    """What the chart shows, in a sentence or two."""


@dataclass(frozen=True, kw_only=True)
class CaseView:
    """One case."""

    name: str
    anchor: str
    cells: tuple[Cell, ...]
    status: str
    """The word that stands for the case, by its worst verdict."""
    change: str
    """Beside it in the heading; empty where there is none."""
    sentences: tuple[Sentence, ...]
    attention: bool
    facts: tuple[tuple[str, str], ...]
    """Its shapes, precision, configuration."""
    speed: Speed | None
    counters: tuple[Counter, ...]
    moved_with_it: tuple[str, ...]
    history: tuple[tuple[str, ...], ...]
    """Rows of words: date, commit, time, change since the row before, reason."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A case on the roofline, and beside the vendor's library."""

    name: str
    anchor: str
    unit: str
    intensity: float | None
    """FLOP for each byte of the least traffic."""
    flops_per_s: float | None
    vs_control: float | None
    said: str
    """All of it in words."""


@dataclass(frozen=True, kw_only=True)
class CardView:
    """One card of the page."""

    label: str
    """What tells it from others; empty where it is the only one."""
    gpu: str
    dram_bytes_per_s: float | None
    """Published peak; None for a card that is not listed."""
    peaks: Mapping[str, float]
    """FLOP/s by arithmetic unit, of those that its cases use."""
    points: tuple[Point, ...]
    environment: tuple[tuple[str, str, str], ...]
    """Name, value of this run, value of the baseline."""
    has_baseline: bool


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A calibration: how often a slowdown of which size is found. In percent."""

    gpu: str
    name: str
    limit: float
    cases: tuple[tuple[tuple[float, float], ...], ...]
    whole: tuple[tuple[float, float, float, float], ...]
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A question that a reader comes with."""

    question: str
    text: str
    link: str


@dataclass(frozen=True, kw_only=True)
class View:
    """The whole page."""

    title: str
    outcome: str
    code: int
    answers: tuple[Answer, ...]
    stages: tuple[tuple[str, str, str], ...]
    """Name, what was judged or why not, and what has to be known of the baseline."""
    sentences: tuple[Sentence, ...]
    """What needs attention, the worst first; of one reason the first few."""
    unsaid: tuple[str, ...]
    """How many more of which reason."""
    head: tuple[str, ...]
    cases: tuple[CaseView, ...]
    cards: tuple[CardView, ...]
    curves: tuple[Curve, ...]
