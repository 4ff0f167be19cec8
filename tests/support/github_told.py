"""What a run of this moment says of itself, and the base of its cases: the parts of `github_world` that bind results."""

from __future__ import annotations

import dataclasses
import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from perfgate.store.manifest import Cases, cases_to_json

if TYPE_CHECKING:
    from perfgate.records import Recording

RUN_ID = "42"


def told(base: str, candidate: str) -> dict[str, str]:
    """What the gate writes of a run that ends now."""
    now = datetime.now(UTC).replace(microsecond=0)
    return {
        "nonce": secrets.token_hex(16),
        "base": base,
        "candidate": candidate,
        "began_at": (now - timedelta(minutes=8)).isoformat(),
        "ended_at": now.isoformat(),
        "run_id": RUN_ID,
        "attempt": "1",
    }


def listed(cases: tuple[str, ...]) -> str:
    """The base's file of cases."""
    return json.dumps(cases_to_json(Cases(checked=cases, compiled=cases, timed=cases)))


def beside(found: Recording, reference: str) -> Recording:
    """The same, with a commit as what the other side was."""
    other = {"kind": "ref", "name": reference}
    return dataclasses.replace(
        found, samples={case: dataclasses.replace(one, other=other) for case, one in found.samples.items()}
    )
