"""A whole run as one file: the machine, every stage, every verdict. Strict to read, so that it may come from anywhere. Pure.

Samples lie in a file of their own (``current.json``); this one holds what was said of them and of everything else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from perfgate.records import SCHEMA, Aside, GateError, Status, Verdict, exit_code

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_TEXT = 4000
"""Characters of one text; the longest sentence of the gate has some hundred."""
_MOST_ITEMS = 2000
"""Of verdicts, stages, cases: a suite has some dozen."""
_MOST_NUMBER = 1e9
"""Of a ratio: a kernel that takes seconds in place of nanoseconds."""
_EXIT_CODES = (0, 1, 2, 3)


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """One stage of a run."""

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


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run on one machine."""

    environment: Mapping[str, str]
    """Card, UUID, driver, versions (see ``machine.look``)."""
    exit: int
    partial: bool = False
    """Cases were chosen on purpose."""
    stages: tuple[StageRecord, ...] = field(default_factory=tuple)
    run: Mapping[str, str] = field(default_factory=dict)
    """What binds it to its samples and to GitHub's run (see `binding`), and its end; empty where not recorded."""

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Of all stages."""
        return tuple(verdict for stage in self.stages for verdict in stage.verdicts)


def run_to_json(run: RunRecord) -> dict[str, Any]:
    """The object that `read_run` reads back."""
    return {
        "schema": SCHEMA,
        "environment": dict(run.environment),
        "exit": run.exit,
        "partial": run.partial,
        "run": dict(run.run),
        "stages": [
            {
                "name": stage.name,
                "done": stage.done,
                "left_out": stage.left_out,
                "note": stage.note,
                "passed": list(stage.passed),
                "verdicts": [verdict_to_json(verdict) for verdict in stage.verdicts],
                "why": {case: list(sentences) for case, sentences in stage.why.items()},
            }
            for stage in run.stages
        ],
    }


def verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    """All of a verdict, so that it can be put before a reader again elsewhere."""
    return {
        "case": verdict.case,
        "status": str(verdict.status),
        "reason": verdict.reason,
        "text": verdict.text,
        "ratio": verdict.ratio,
        "low": verdict.low,
        "high": verdict.high,
        "limit": verdict.limit,
        "wrong": verdict.wrong,
        "asides": [{"text": aside.text, "ratio": aside.ratio, "matters": aside.matters} for aside in verdict.asides],
    }


def read_run(text: str | bytes, *, source: str) -> RunRecord:
    """Read a run.

    Args:
        text: The file's content.
        source: Where it came from, for sentences.

    Raises:
        GateError: ``not-json``, ``other-schema`` or ``malformed``; also for an exit code that its verdicts do not give.
    """
    read = Reader(source)
    root = read.document(text)
    environment = read.object(root, "environment")
    told = read.object(root, "run") if "run" in root else {}
    for texts in (environment, told):
        for key in texts:
            read.text(texts, key)
    run = RunRecord(
        environment=environment,
        exit=read.exit_code(root),
        partial=read.truth(root, "partial"),
        stages=tuple(_stage(read, entry) for entry in read.objects(root, "stages")),
        run=told,
    )
    if run.verdicts and exit_code(run.verdicts) != run.exit:
        read.refuse(f"has the exit code {run.exit}", f"{exit_code(run.verdicts)}, which its verdicts give")
    return run


def _stage(read: Reader, entry: dict[str, Any]) -> StageRecord:
    return StageRecord(
        name=read.text(entry, "name"),
        done=read.text(entry, "done"),
        left_out=read.text(entry, "left_out"),
        note=read.text(entry, "note"),
        passed=read.texts(entry, "passed"),
        verdicts=read.verdicts(entry, "verdicts"),
        why=_why(read, entry),
    )


def _why(read: Reader, entry: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """What moved with each case; none in a run of a gate that did not say it yet."""
    if "why" not in entry:
        return {}
    by_case = read.object(entry, "why")
    return {case: read.texts(by_case, case) for case in by_case}


class Reader:
    """Takes a parsed document apart and refuses what is not as the schema says, in one sentence."""

    def __init__(self, source: str) -> None:
        self._source = source

    def refuse(self, found: str, expected: str, reason: str = "malformed") -> NoReturn:
        """Raise a GateError that says what was found and what was expected."""
        raise GateError(reason, f"{self._source} {found}, expected {expected}; run again.")

    def document(self, text: str | bytes) -> dict[str, Any]:
        """Parse JSON with an object of this schema at its root."""
        try:
            root: object = json.loads(text)
        except (ValueError, RecursionError):
            self.refuse("is not valid JSON", "a whole file; it may be truncated", "not-json")
        if not isinstance(root, dict):
            self.refuse(f"holds a {type(root).__name__}", "an object")
        if type(root.get("schema")) is not int or root["schema"] != SCHEMA:
            self.refuse(f"has schema {str(root.get('schema'))[:40]!r}", f"version {SCHEMA}", "other-schema")
        return root

    def object(self, parent: Mapping[str, Any], key: str) -> dict[str, Any]:
        """An object."""
        value = parent.get(key)
        if not isinstance(value, dict) or len(value) > _MOST_ITEMS:
            self.refuse(f"has no usable {key}", "an object")
        return value

    def objects(self, parent: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
        """A list of objects, of bearable length."""
        value = parent.get(key)
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            self.refuse(f"has no usable {key}", "a list of objects")
        if len(value) > _MOST_ITEMS:
            self.refuse(f"has {len(value)} entries in {key}", f"at most {_MOST_ITEMS}")
        return value

    def text(self, parent: Mapping[str, Any], key: str) -> str:
        """A text, of bearable length."""
        value = parent.get(key)
        if not isinstance(value, str):
            self.refuse(f"has no usable {key[:80]!r}", "text")
        if len(value) > _MOST_TEXT:
            self.refuse(f"has {len(value)} characters in {key[:80]!r}", f"at most {_MOST_TEXT}")
        return value

    def texts(self, parent: Mapping[str, Any], key: str) -> tuple[str, ...]:
        """A list of texts."""
        value = parent.get(key)
        if not isinstance(value, list) or len(value) > _MOST_ITEMS:
            self.refuse(f"has no usable {key}", f"a list of at most {_MOST_ITEMS} texts")
        return tuple(self.text({key: entry}, key) for entry in value)

    def truth(self, parent: Mapping[str, Any], key: str) -> bool:
        """True or false."""
        value = parent.get(key)
        if not isinstance(value, bool):
            self.refuse(f"has no usable {key}", "true or false")
        return value

    def exit_code(self, parent: Mapping[str, Any], key: str = "exit") -> int:
        """One of the gate's exit codes."""
        value = parent.get(key)
        if type(value) is not int or value not in _EXIT_CODES:
            self.refuse(f"has no usable {key}", "0, 1, 2 or 3")
        return value

    def number(self, parent: Mapping[str, Any], key: str) -> float | None:
        """A finite number or null."""
        value = parent.get(key)
        if value is None:
            return None
        if type(value) not in {int, float} or not abs(value) <= _MOST_NUMBER:  # NaN compares false
            self.refuse(f"has no usable {key}", "a number or null")
        return float(value)

    def verdicts(self, parent: Mapping[str, Any], key: str) -> tuple[Verdict, ...]:
        """Verdicts as `verdict_to_json` writes them."""
        return tuple(self._verdict(entry) for entry in self.objects(parent, key))

    def _verdict(self, entry: dict[str, Any]) -> Verdict:
        status = self.text(entry, "status")
        if status not in set(Status):
            self.refuse(f"has the status {status[:40]!r}", f"one of {', '.join(Status)}")
        return Verdict(
            case=self.text(entry, "case"),
            status=Status(status),
            reason=self.text(entry, "reason"),
            text=self.text(entry, "text"),
            ratio=self.number(entry, "ratio"),
            low=self.number(entry, "low"),
            high=self.number(entry, "high"),
            limit=self.number(entry, "limit"),
            wrong=self.truth(entry, "wrong"),
            asides=tuple(
                Aside(
                    text=self.text(aside, "text"),
                    ratio=self.number(aside, "ratio"),
                    matters=self.truth(aside, "matters"),
                )
                for aside in self.objects(entry, "asides")
            ),
        )
