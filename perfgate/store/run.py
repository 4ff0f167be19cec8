"""A whole run as one file, and the cases that it has to hold: the machine, every stage, every verdict. Pure.

Samples lie in a file of their own (``current.json``); ``run.json`` holds what was said of them and of everything else.
``cases.json`` lists the ids of the suite's cases for a reader without torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct

from perfgate.records import SCHEMA, Recording, Status, Verdict, exit_code
from perfgate.store import codec
from perfgate.store.codec import Name, Sentence

if TYPE_CHECKING:
    from perfgate.project import Suite

CASES_FILE = "cases.json"
"""In the folder of baselines; ``python -m perfgate cases`` writes it."""
_REMEDY = "run again"
_MOST = Meta(max_length=2000)
"""Of verdicts, stages, cases: a suite has some dozen."""
_Ratio = Annotated[float, Meta(ge=-1e9, le=1e9)]
"""A kernel that takes seconds in place of nanoseconds has the largest."""
_Texts = Annotated[Mapping[Sentence, Sentence], _MOST]
Sentences = Annotated[tuple[Sentence, ...], _MOST]


@dataclass(kw_only=True)
class StageResult:
    """One stage of a run: what it came to, and, while the run goes on, what later stages need of it."""

    name: str
    """``correctness``, ``compiled`` or ``throughput``."""
    done: str = ""
    """What was judged, in a few words; empty where nothing was."""
    left_out: str = ""
    """Why it was not, where it was not."""
    note: str = ""
    """What the reader has to know of the baseline that judged."""
    passed: tuple[str, ...] = ()
    """Cases that simply passed, where the stage has no verdicts on those."""
    verdicts: tuple[Verdict, ...] = ()
    why: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By case id, what moved with the time of one that is slower or faster."""

    # What follows is of the run at hand and is not stored.
    recording: Recording | None = None
    sha256: str = ""
    """Of the file that the recording was written to."""
    baseline: str = ""
    """The stored file that the recording was compared with, where there is one."""
    again: str = ""
    """The command that judges the saved files to the same verdicts."""
    spent: str = ""
    """Where its seconds went."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run on one machine."""

    environment: Mapping[str, str]
    """Card, UUID, driver, versions (see ``machine.look``)."""
    exit: int
    partial: bool = False
    """Cases were chosen on purpose."""
    stages: tuple[StageResult, ...] = ()
    run: Mapping[str, str] = field(default_factory=dict)
    """What binds it to its samples and to GitHub's run (see `measurement.session`), and its end; empty where not recorded."""

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Of all stages."""
        return tuple(verdict for stage in self.stages for verdict in stage.verdicts)


@dataclass(frozen=True, kw_only=True)
class Cases:
    """Ids by stage."""

    checked: tuple[str, ...]
    compiled: tuple[str, ...]
    timed: tuple[str, ...]
    whole: bool = True
    """These are all there are; ids that were taken from a baseline may lack a new case."""


class _Aside(Struct, frozen=True, kw_only=True):
    """An `Aside` as files have it."""

    text: Sentence
    ratio: _Ratio | None = None
    matters: bool


class StoredVerdict(Struct, frozen=True, kw_only=True):
    """All of a `Verdict` as files have it, so that it can be put before a reader again elsewhere."""

    case: Sentence
    status: Status
    reason: Sentence
    text: Sentence
    ratio: _Ratio | None = None
    low: _Ratio | None = None
    high: _Ratio | None = None
    limit: _Ratio | None = None
    wrong: bool
    asides: Annotated[tuple[_Aside, ...], _MOST]


StoredVerdicts = Annotated[tuple[StoredVerdict, ...], _MOST]


class _Stage(Struct, frozen=True, kw_only=True):
    """A `StageResult` as the file has it."""

    name: Sentence
    done: Sentence
    left_out: Sentence
    note: Sentence
    passed: Sentences
    verdicts: StoredVerdicts
    why: Annotated[Mapping[Sentence, Sentences], _MOST] = {}
    """Not in a run of a gate that did not say it yet."""


class _Run(Struct, frozen=True, kw_only=True):
    """A `RunRecord` as the file has it."""

    schema: int = SCHEMA
    environment: _Texts
    exit: Literal[0, 1, 2, 3]
    partial: bool
    run: _Texts = {}
    stages: Annotated[tuple[_Stage, ...], _MOST]

    def __post_init__(self) -> None:
        verdicts = tuple(codec.as_record(verdict, Verdict) for stage in self.stages for verdict in stage.verdicts)
        if verdicts and exit_code(verdicts) != self.exit:
            raise ValueError(
                f"it has the exit code {self.exit}, expected {exit_code(verdicts)}, which its verdicts give"
            )


_Ids = Annotated[tuple[Name, ...], Meta(min_length=1, max_length=2000)]


class _Cases(Struct, frozen=True, kw_only=True):
    """`Cases` as the file has them."""

    schema: int = SCHEMA
    checked: _Ids
    compiled: _Ids
    timed: _Ids

    def __post_init__(self) -> None:
        if any(len(set(stage)) < len(stage) for stage in (self.checked, self.compiled, self.timed)):
            raise ValueError("a list names a case twice, expected every case once")


def run_to_json(run: RunRecord) -> Any:  # noqa: ANN401 - any JSON
    """The object that `read_run` reads back."""
    return codec.encode(codec.as_record(run, _Run))


def read_run(text: str | bytes, *, source: str) -> RunRecord:
    """Read a run; its texts are to be escaped by whoever shows them.

    Raises:
        GateError: ``not-json``, ``other-schema`` or ``malformed``; also for an exit code that its verdicts do not give.
    """
    return codec.as_record(codec.decode(text, _Run, source=source, remedy=_REMEDY, versioned=True), RunRecord)


def of_suite(suite: Suite) -> Cases:
    """The ids of a suite: all are checked, and those to be timed are compiled as well."""
    timed = tuple(case.id for case in suite.CASES)
    return Cases(checked=tuple(case.id for case in suite.CHECKED), compiled=timed, timed=timed)


def cases_to_json(cases: Cases) -> Any:  # noqa: ANN401 - any JSON
    """The object that `read_cases` reads back."""
    return codec.encode(codec.as_record(cases, _Cases))


def read_cases(text: str | bytes, *, source: str) -> Cases:
    """Read the file of cases.

    Raises:
        GateError: ``not-json``, ``other-schema`` or ``malformed``; also for a list that is empty or names a case twice.
    """
    return codec.as_record(codec.decode(text, _Cases, source=source, remedy=_REMEDY, versioned=True), Cases)
