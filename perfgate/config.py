"""The table ``[tool.perfgate]`` of pyproject.toml, read in one place: settings, limits and the cards that are measured.

Each is a frozen record whose fields carry their bounds; an unknown key, a wrong type or a number out of range is an error.
"Learnt" means: from the recorded launches in ``tests/data`` (20 processes, two H100s of one model, seven cases) and held
there by ``tests/compare/test_error_rates.py``.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path  # noqa: TC003 - msgspec reads the annotations
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from perfgate.records import GateError
from perfgate.text import cut

_FILE = "pyproject.toml"
_SETTINGS, _LIMITS, _CARDS = "[tool.perfgate]", "[tool.perfgate.limits]", "[tool.perfgate.cards]"
_OTHER_TABLES = frozenset({"limits", "cards"})
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_Record = TypeVar("_Record")
_Word = Annotated[str, Meta(min_length=1, max_length=500)]
_Count = Annotated[int, Meta(ge=1, le=1_000_000)]
_Seconds = Annotated[float, Meta(ge=1e-6, le=3600)]
_Share = Annotated[float, Meta(ge=1e-6, lt=0.5)]
"""Of one, not percent; less than a millionth is a slip, and too little to compute with."""
_Factor = Annotated[float, Meta(ge=1e-6, le=1000)]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where things are and how a measurement is made."""

    root: Path
    suite: _Word = "perf_tests.cases"
    """Module that lists the cases."""
    tests: _Word = "perf_tests"
    """Folder of the tests that check and time them."""
    kernel: _Word = "kernels/matmul.py"
    """File under test."""
    baselines: _Word = "baselines"
    target: _Word = "sm_89"
    """Architecture that the kernel is compiled for where no card is needed."""
    default_branch: _Word = "main"
    """Where small steps that add up to too much fail the gate instead of being reported."""
    launches: _Count = 4
    """Worker processes before the first look, where the other side runs in the same launches."""
    stored_launches: _Count = 5
    """Worker processes where a stored number is all there is to compare with."""
    baseline_launches: _Count = 8
    """Worker processes when a baseline is recorded."""
    rounds: _Count = 80
    """Most timed runs of each arm in a launch."""
    fewest_rounds: _Count = 10
    arm_s: _Seconds = 0.12
    """Seconds that an arm may take in a launch; a longer case gets fewer rounds."""
    warmup_rounds: _Count = 4
    hold_s: _Seconds = 0.001
    """How long the stream is held before each timed run; longer than the host needs to queue it."""
    flush_factor: _Count = 4
    """Bytes read between runs, as a multiple of the L2 cache."""
    launch_timeout_s: _Count = 900

    def measurement(self) -> dict[str, Any]:
        """What must be equal for two recordings to be compared."""
        return {
            "method": "events, L2 flushed by reading, stream held, arms in random order each round",
            "rounds": self.rounds,
            "fewest_rounds": self.fewest_rounds,
            "arm_s": self.arm_s,
            "warmup_rounds": self.warmup_rounds,
            "hold_s": self.hold_s,
            "flush_factor": self.flush_factor,
        }


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What counts as a change, and how often the gate may be wrong. Shares, not percent: 0.005 is 0.5 %."""

    against_tolerance: _Share = 0.005
    """Smallest change worth reporting when both sides ran in the same launches. Half of the 1 % that has to be found,
    so that a true 1 % and a true 0 lie equally far from it."""
    stored_tolerance: _Share = 0.016
    """The same for a number stored on another day or card. Learnt: unchanged code moved by up to 1.6 % between cards of
    one model, and by 0.8 % between two modes of one card."""
    stored_errors: _Factor = 2.75
    """Standard errors of the launches that are added to it in quadrature. Learnt: the noisiest case, which
    moved by 1 % between cards on top of its noise, is called changed in 0.3 % of comparisons; costs quiet cases 0.1 %."""
    suite_tolerance: _Share = 0.002
    """Smallest mean change over the cases that are not called changed themselves, when both sides ran in the same
    launches. Learnt: in 99 of 100 draws of four launches, seven recorded cases of the same code stay within 0.11 % on
    average."""
    drift_tolerance: _Share = 0.02
    """Largest sum of small steps since a card's first baseline. More than `stored_tolerance`, as the steps are summed
    through stored numbers of different days."""
    clock_tolerance: _Share = 0.01
    """How far the SM clock may lie below the baseline's before it counts as a cause."""
    widest_floor: Annotated[float, Meta(ge=1, le=1000)] = 2.0
    """A noisy or coarsely clocked case may widen its tolerance up to this factor, and says so; beyond it is UNSURE."""
    false_alarms_case: _Share = 0.001
    """Share of unchanged cases that may be called FASTER or SLOWER, both ways and all looks together."""
    false_alarms_suite: _Share = 0.01
    """Share of unchanged suites with any such call; divided among the cases that are not called changed (Holm)."""
    missed: _Share = 0.005
    """Share of cases changed by twice the limit that may be called SAME, all looks together."""
    final_launches: _Count = 8
    """Launches after which a comparison in the same launches is not continued; an earlier look spends less."""
    early_share: _Share = 0.125
    """Share of both error rates that the look before the final one spends: its information (half) cubed, in the
    manner of Lan and DeMets (Biometrika 1983), so that the final look keeps most."""
    launch_df: _Count = 15
    """Degrees of freedom that a launch's own error estimate is worth. Learnt: with 40 rounds it varies by a fifth from
    launch to launch, and 1 / (2 x 0.18 x 0.18) is 15."""
    paired_scatter: _Share = 0.0003
    """Least launch-to-launch deviation of a ratio taken within launches. Learnt: 0.02-0.03 % on the quietest cases."""
    stored_scatter: _Share = 0.004
    """Prior launch-to-launch deviation of a case's time. Learnt: 0.27-0.7 % within an occasion."""
    stored_df: _Count = 8
    """Degrees of freedom that this prior is worth beside the launches at hand."""
    disagreement: _Share = 0.001
    """Launches whose ratios scatter more than their own noise explains at this level are judged on their scatter alone."""


@dataclass(frozen=True, kw_only=True)
class Runner:
    """One line of ``[tool.perfgate.cards]``: where a card is measured."""

    label: str
    slug: str


def read_settings(root: Path) -> Settings:
    """Settings of the project at ``root``.

    Raises:
        GateError: ``no-project`` where there is no pyproject.toml, or ``bad-settings``.
    """
    text = _text(root, "bad-settings")
    if text is None:
        raise GateError("no-project", f"No {_FILE} in {root}; run this from the project's root.")
    table = _table(text, "perfgate", reason="bad-settings")
    mine = {key: value for key, value in table.items() if key not in _OTHER_TABLES}
    return _record(Settings, mine, _SETTINGS, reason="bad-settings", root=root)


def read_limits(root: Path) -> Limits:
    """Limits of the project at ``root``; the defaults where there is no pyproject.toml or no such table.

    Raises:
        GateError: ``bad-limits`` for a file or a table that cannot be understood.
    """
    text = _text(root, "bad-limits")
    return Limits() if text is None else parse_limits(_table(text, "perfgate", "limits", reason="bad-limits"))


def parse_limits(table: dict[str, Any]) -> Limits:
    """Limits from the keys of ``[tool.perfgate.limits]``; the rest keeps its default.

    Raises:
        GateError: ``bad-limits`` for an unknown key, a wrong type or a value out of range.
    """
    return _record(Limits, table, _LIMITS, reason="bad-limits")


def runners(project_file: str) -> tuple[Runner, ...]:
    """The cards that are measured, from the text of a project file.

    Raises:
        GateError: ``no-cards`` where none is listed or a line is not a label and a slug.
    """
    table = _table(project_file, "perfgate", "cards", reason="no-cards")
    if not table:
        raise GateError("no-cards", f"{_FILE} lists no card in {_CARDS}, expected one line a card; add it.")
    for name in (name for line in table.items() for name in line):
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise GateError(
                "no-cards",
                f"{_CARDS} has {cut(repr(name))}, expected a runner's label and a slug in lower case; mend it.",
            )
    if len(set(table.values())) < len(table):
        raise GateError("no-cards", f"{_CARDS} names a slug twice, expected each card once; mend it.")
    return tuple(Runner(label=label, slug=slug) for label, slug in table.items())


def picked(label: str, project_file: str) -> Runner:
    """The runner of that label.

    Raises:
        GateError: ``no-cards`` when it is not listed.
    """
    every = {runner.label: runner for runner in runners(project_file)}
    if label not in every:
        raise GateError("no-cards", f"The card {label[:64]!r} is not in {_CARDS}, expected one of {', '.join(every)}.")
    return every[label]


def _text(root: Path, reason: str) -> str | None:
    """The project file; None where there is none."""
    try:
        return (root / _FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise GateError(reason, f"{_FILE} cannot be read ({cut(str(error))}), expected UTF-8 text; mend it.") from None


def _table(text: str, *keys: str, reason: str) -> dict[str, Any]:
    """A table below ``tool``; empty where it is not there."""
    try:
        found: Any = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of too many digits is a ValueError as well
        raise GateError(reason, f"{_FILE} is not valid TOML ({cut(str(error))}); mend it.") from None
    name = ""
    for key in ("tool", *keys):
        found, name = found.get(key, {}), f"{name}.{key}".lstrip(".")
        if not isinstance(found, dict):
            raise GateError(reason, f"{_FILE} has {cut(repr(found))} as {name}, expected a table; mend it.")
    table: dict[str, Any] = found
    return table


def _record(kind: type[_Record], table: dict[str, Any], name: str, *, reason: str, **given: Any) -> _Record:  # noqa: ANN401 - passed on
    """The record that a table holds."""
    known = {field.name for field in fields(kind)} - set(given)  # type: ignore[arg-type]  # always a dataclass
    for key, value in table.items():
        if key not in known:
            raise GateError(
                reason, f"{name} has the unknown key {cut(repr(key))}; known are {', '.join(sorted(known))}."
            )
        try:
            # One by one, so that the sentence can name what was found.
            msgspec.convert({**given, key: value}, kind)
        except msgspec.ValidationError as error:
            expected = str(error).partition(" - at ")[0]
            expected = expected[:1].lower() + expected[1:]
            raise GateError(reason, f"{name} {key} is {cut(repr(value))}: {expected}; mend {_FILE}.") from None
    return kind(**given, **table)
