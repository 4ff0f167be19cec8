"""What a whole pull request, merge group or push comes to: every card's verdicts, by the base and by its own gate.

Owns the record and its file, ``report.json``, which other workflows read and do not trust. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from perfgate.records import SCHEMA, Verdict, exit_code
from perfgate.store import codec
from perfgate.store.codec import Sentence
from perfgate.store.run import Sentences, StoredVerdicts

WORKFLOW = "perf.yml"
"""Judges pull requests; its last job is the required check."""
REPORT = "report.json"
"""What that job leaves for the comment."""
LABEL = "baseline-change"
"""Label of a pull request whose change of what judges it is meant."""


@dataclass(frozen=True, kw_only=True)
class CardReport:
    """What one card's job brought."""

    label: str
    """Of its runner."""
    slug: str
    """Its folder among the baselines."""
    machine: str = ""
    """Card, driver and versions, in a few words; empty where nothing ran."""
    problems: tuple[str, ...] = ()
    """Why it could not be judged, one sentence each; empty where it was."""
    notes: tuple[str, ...] = ()
    """What the reader has to know of the baselines that judged."""
    verdicts: tuple[Verdict, ...] = ()
    """By the base: its gate, baselines and limits."""
    proposed: tuple[Verdict, ...] | None = None
    """By the change's own gate, baselines and limits; None where it does not touch them."""

    @property
    def by_base(self) -> int:
        """Exit code by the base; never 0 where something was skipped."""
        return 2 if self.problems else exit_code(self.verdicts)

    @property
    def by_itself(self) -> int | None:
        """Exit code by the change's own gate."""
        return None if self.proposed is None else exit_code(self.proposed)

    @property
    def wrong(self) -> bool:
        """Whether the kernel gives a wrong result or does not build."""
        return any(verdict.wrong for verdict in (*self.verdicts, *(self.proposed or ())))


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """What is put before the author, and how the required check ends."""

    exit: int
    """0 pass; else the lowest non-zero code of all cards, as for verdicts."""
    base: str
    """Commit that judged."""
    head: str
    """Commit that was judged, as its author knows it."""
    target: str
    """Branch that it goes into."""
    edits: tuple[str, ...] = ()
    """What the change edits of the things that judge it: paths, and the limits by name."""
    intended: bool = False
    """The label `LABEL` is set, and counts."""
    label: str = ""
    """Who set it and when, and why it does not count; empty where it is not set or was not asked for."""
    problems: tuple[str, ...] = ()
    """What kept cards from being measured at all, one sentence each."""
    cards: tuple[CardReport, ...] = ()

    @property
    def excused(self) -> bool:
        """Whether it passes only because the label says that the change of what judges it is meant."""
        return not self.exit and any(card.by_base for card in self.cards)


def conclude(
    cards: tuple[CardReport, ...], *, edits: tuple[str, ...], intended: bool, problems: tuple[str, ...]
) -> int:
    """The exit code of the one required check.

    Every card has to pass by the base, and by the change's own gate where it touches that: else the branch would be red
    once it is merged. A change that is meant (the label) need not pass by the base, except that a wrong result is
    wrong and that what was not measured is not judged.
    """
    codes = [2] if problems or not cards else []
    for card in cards:
        meant = intended and bool(edits) and card.by_itself is not None
        if card.problems:
            codes.append(2)
        elif card.wrong:
            codes.append(1)
        elif not meant:
            codes.append(card.by_base)
        if edits:
            codes.append(2 if card.by_itself is None else card.by_itself)
    return min((code for code in codes if code), default=0)


class _Card(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A `CardReport` as the file has it."""

    label: Sentence
    slug: Sentence
    machine: Sentence
    problems: Sentences
    notes: Sentences
    verdicts: StoredVerdicts
    proposed: StoredVerdicts | None = None


class _File(Struct, frozen=True, kw_only=True):
    """A `Conclusion` as the file has it."""

    schema: int = SCHEMA
    exit: Literal[0, 1, 2, 3]
    base: Sentence
    head: Sentence
    target: Sentence
    edits: Sentences
    intended: bool
    label: Sentence = ""
    problems: Sentences
    cards: Annotated[tuple[_Card, ...], Meta(max_length=2000)]

    def __post_init__(self) -> None:
        cards = tuple(codec.as_record(card, CardReport) for card in self.cards)
        given = conclude(cards, edits=self.edits, intended=self.intended, problems=self.problems)
        if given != self.exit:
            raise ValueError(f"it has the exit code {self.exit}, expected {given}, which its cards give")


def to_json(conclusion: Conclusion) -> Any:  # noqa: ANN401 - any JSON
    """The object that `read_conclusion` reads back."""
    return codec.encode(codec.as_record(conclusion, _File))


def read_conclusion(text: str | bytes, *, source: str) -> Conclusion:
    """Read a report; its texts are to be escaped by whoever shows them.

    Raises:
        GateError: ``not-json``, ``other-schema`` or ``malformed``; also for an exit code that its cards do not give.
    """
    return codec.as_record(codec.decode(text, _File, source=source, remedy="run again", versioned=True), Conclusion)
