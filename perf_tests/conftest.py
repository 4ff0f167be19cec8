"""Sets up the tests of this kernel: the gate's plugin, and Triton's interpreter where there is no card."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ("perfgate.harness.plugin",)

if not torch.cuda.is_available():
    # Triton reads this when a kernel is decorated, so it is set before any kernel file is imported.
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture
def free_memory() -> Iterator[None]:
    """Give the card's memory back between cases; the largest fill most of it."""
    yield
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
