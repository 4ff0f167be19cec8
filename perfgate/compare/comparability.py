"""Whether two recordings may be compared at all, and what has to be said where they may. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from perfgate.records import Launch, Recording, Samples

VERSIONS = ("driver", "cuda", "torch", "triton")
_HASH = re.compile(r"[0-9a-f]{7,64}")
BUSY_PERCENT = 10
"""Share of its time that a card may work for others: room for a desktop, none for a program that computes."""
_FEWEST_DISTINCT = 3
"""Numbers in a list of samples that may count as a copy; a clock that is coarse gives one or two, again and again."""
_COPY_BITS = 20
"""Equal lists are a copy where chance gives them less than once in two to this: a million."""
_NOT_COMPARED = {"launches"}
"""Settings that may differ: more launches narrow an interval and shift nothing."""


def refusal(baseline: Recording, current: Recording) -> tuple[str, str] | None:
    """Why no case of two recordings may be compared, as reason code and sentence without the case; None if they may.

    A card or settings recorded on one side only cannot be vouched for; recorded on neither side, that is said.
    """
    then, now = baseline.environment, current.environment
    for key, reason, what in (("gpu", "other-card", "card"), ("code_path", "other-code-path", "code path")):
        a, b = then.get(key, ""), now.get(key, "")
        if key == "code_path" and then and now:
            a, b = a or "native", b or "native"
        if a != b:
            return reason, (
                f"measured on {what} {b or 'not recorded'}, expected the baseline's {a or 'not recorded'}; compare with a "
                'baseline of this card, or record one on it: nox -s update-baselines -- --reason "first baseline"'
            )
    a_settings, b_settings = (
        {k: v for k, v in r.settings.items() if k not in _NOT_COMPARED} for r in (baseline, current)
    )
    if a_settings != b_settings:
        keys = sorted(k for k in {*a_settings, *b_settings} if a_settings.get(k) != b_settings.get(k))
        found = ", ".join(
            f"{k} {b_settings.get(k, 'not recorded')} (baseline {a_settings.get(k, 'not recorded')})" for k in keys
        )
        return "other-settings", (
            f"measured with other settings: {found}; expected the baseline's, so measure with those or record anew: "
            'nox -s update-baselines -- --reason "new settings"'
        )
    return None


def notes(baseline: Recording, current: Recording) -> tuple[str, ...]:
    """What differs between two comparable recordings without forbidding the comparison, a phrase each."""
    then, now = baseline.environment, current.environment
    said = []
    if not then.get("gpu") and not now.get("gpu"):
        said.append("card not recorded")
    if then.get("uuid") != now.get("uuid"):
        said.append(
            "another card of the same model"
            if then.get("uuid") and now.get("uuid")
            else "whether it is the same card is not recorded"
        )
    return (*said, *other_versions(baseline, current))


def other_versions(baseline: Recording, current: Recording) -> tuple[str, ...]:
    """Parts of the toolchain that differ, such as ``triton 3.8.0 (baseline 3.7.1)``."""
    then, now = baseline.environment, current.environment
    return tuple(
        f"{key} {now.get(key) or 'not recorded'} (baseline {then.get(key) or 'not recorded'})"
        for key in VERSIONS
        if then.get(key) != now.get(key)
    )


def disturbance(samples: Samples) -> tuple[str, str] | None:
    """What disturbed the measurement so that its times mean nothing: reason code and what was found; None if nothing."""
    for number, launch in enumerate(samples.launches, 1):
        state, where = launch.state, f"launch {number} of {len(samples.launches)}"
        if reasons := state.get("throttle_reasons"):
            return "throttled", f"the card throttled in {where} ({', '.join(map(str, reasons))}), expected full clocks"
        if (foreign := state.get("foreign_processes", 0)) > 0:
            return "busy", f"{foreign} other processes used the card in {where}, expected it idle"
        if (percent := state.get("foreign_utilization_percent") or 0) > BUSY_PERCENT:
            return "busy", f"another process kept the card {percent} % busy in {where}, expected it idle"
        if (unheld := state.get("unheld", 0)) * 2 >= _timed(launch) and unheld:
            return (
                "unheld",
                f"{unheld} timed runs of {where} were queued too late to time the kernel alone, expected few",
            )
    return None


def repeated(now: Samples, then: Samples | None) -> str:
    """Which samples stand twice, number for number and in the same order; empty where all were measured by themselves.

    Two measurements never give the same list of times, so one of the two is a copy and says nothing of the kernel.
    How often chance would give a list again follows from how often each number stands in it. Equal lists of one case
    count together, and a list of fewer than three distinct numbers does not count: a coarse clock may give it again.

    Args:
        now: What was measured; each list of the kernel and of the other side is compared with each other one. The
            control's are not: it judges nothing.
        then: The baseline's, whose kernel's lists are compared too; None where there is none.
    """
    ours = [*_lists(now, ("kernel", "other"))]
    stored = {times: f"{where} of the baseline" for times, where in _lists(then, ("kernel",))} if then else {}
    copies = [(times, where, stored[times]) for times, where in ours if times in stored]
    first: dict[tuple[float, ...], str] = {}
    copies += [(times, where, seen) for times, where in ours if (seen := first.setdefault(times, where)) != where]
    if sum(_bits(times) for times, _, _ in copies) < _COPY_BITS:
        return ""
    return f"those of {copies[0][1]} are those of {copies[0][2]}"


def _lists(samples: Samples, arms: tuple[str, ...]) -> Iterator[tuple[tuple[float, ...], str]]:
    """Each list of samples, and where it stands."""
    for number, launch in enumerate(samples.launches, 1):
        for arm in arms:
            if arm in launch.arms:
                yield launch.arms[arm], f"{arm} in launch {number}"


def _bits(times: tuple[float, ...]) -> float:
    """How surprising it is to measure this very list again: minus the logarithm of the chance, by its own frequencies."""
    counts = Counter(times).values()
    return sum(count * math.log2(len(times) / count) for count in counts) if len(counts) >= _FEWEST_DISTINCT else 0.0


def is_wrong(samples: Samples) -> bool:
    """Whether any launch found the kernel's result wrong."""
    return any(launch.state.get("correct") is False for launch in samples.launches)


def contract_change(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What of a case's contract differs between two sides that both record it; empty where nothing does."""
    if not then or not now:
        return ""
    keys = sorted(k for k in {*then, *now} if then.get(k) != now.get(k))
    return ", ".join(f"{k} {now.get(k)} (baseline {then.get(k)})" for k in keys)


def other_anchor(samples: Samples, commit: str) -> bool:
    """Whether what was measured as the baseline's code names another commit than the baseline does.

    Only commit hashes are held against each other; any other name cannot be.
    """
    name = (samples.other or {}).get("name", "").lower()
    if not (_HASH.fullmatch(name) and _HASH.fullmatch(commit.lower())):
        return False
    return not (name.startswith(commit.lower()) or commit.lower().startswith(name))


def _timed(launch: Launch) -> int:
    return sum(len(samples) for samples in launch.arms.values())
