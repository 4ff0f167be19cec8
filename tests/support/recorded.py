"""Launches recorded on real cards (see ``tests/data/README.md``), as this project's records."""

from __future__ import annotations

import dataclasses
import gzip
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate.records import Launch, Recording, Samples
from perfgate.store.recording import recording_to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CASES = ("k7_small_k", "k1_sq4096", "sq2048", "sq1024", "k9_8k", "k8_irregular", "tiny512")
LONG_CASES = CASES[:-1]
"""Those of 50 microseconds and more."""
FIRST_CARD, SECOND_CARD = range(12), range(12, 20)
"""Numbers of the launches of each card."""
ENVIRONMENT = {"gpu": "NVIDIA H100 80GB HBM3", "driver": "580.159.04", "torch": "2.11.0+cu130", "triton": "3.6.0"}
SETTINGS = {"rounds": 40}


@cache
def _launches() -> list[dict[str, Any]]:
    path = Path(__file__).parents[1] / "data" / "h100-launches.json.gz"
    found: list[dict[str, Any]] = json.loads(gzip.decompress(path.read_bytes()))["launches"]
    return found


def arm(case: str, name: str, launch: int) -> tuple[float, ...]:
    """Seconds of one arm (``A``, ``A2``, ``B1``, ``B3``, ``control``) in one of the 20 launches."""
    return tuple(_launches()[launch]["samples"][case][name])


def recording(  # noqa: PLR0913 - each is one independent choice, all by name
    launches: Sequence[int],
    *,
    kernel: str = "A",
    other: str | None = None,
    other_kind: str = "ref",
    scale: Mapping[str, float] | float = 1.0,
    cases: Sequence[str] = CASES,
    environment: Mapping[str, str] = ENVIRONMENT,
    settings: Mapping[str, Any] = SETTINGS,
    state: Mapping[str, Any] | None = None,
    source: str = "recorded.json",
) -> Recording:
    """Some recorded launches as one recording; ``scale`` slows the kernel arm, of all cases or by case."""
    samples = {}
    for case in cases:
        factor = scale if isinstance(scale, float) else scale.get(case, 1.0)
        made = []
        for number in launches:
            arms = {
                "kernel": tuple(s * factor for s in arm(case, kernel, number)),
                "control": arm(case, "control", number),
            }
            if other:
                arms["other"] = arm(case, other, number)
            made.append(Launch(arms=arms, state=state or {}))
        samples[case] = Samples(
            case=case, launches=tuple(made), other={"kind": other_kind, "name": "main"} if other else None
        )
    return Recording(samples=samples, environment=environment, settings=settings, source=source)


def document(launches: Sequence[int], **options: Any) -> dict[str, Any]:
    """The same as the JSON object of a file, for tests to spoil."""
    made: dict[str, Any] = json.loads(json.dumps(recording_to_json(recording(launches, **options))))
    return made


def changed(found: Recording, **fields: Any) -> Recording:
    """A recording with other fields in the samples of every case, such as its code."""
    samples = {case: dataclasses.replace(one, **fields) for case, one in found.samples.items()}
    return dataclasses.replace(found, samples=samples)


def with_launches(found: Recording, change: Callable[[int, Launch], Launch]) -> Recording:
    """A recording with every launch of every case changed, by its number."""
    samples = {
        case: dataclasses.replace(one, launches=tuple(change(n, launch) for n, launch in enumerate(one.launches)))
        for case, one in found.samples.items()
    }
    return dataclasses.replace(found, samples=samples)
