"""The gate's own error rates on one GPU: launches with known slowdowns, judged again and again.

Here stands what a user of ``calibrate`` can choose. Light to import: a command's help reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

LAUNCHES = 12
SIZES: Mapping[str, float] = {"+0.5": 0.005, "+1": 0.01, "+2": 0.02, "+3": 0.03, "+5": 0.05}
"""Arms with real extra work, and the slowdown that it was chosen for."""
RUNS = 200
"""Drawn for each case and size; the intervals rest on the launches, not on this."""
