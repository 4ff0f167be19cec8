"""The project's workflows, run for real under ``act``: what ``nox -s workflows`` calls (``python -m tests.workflows``)."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))  # which is not a package
