"""The gate's own tests run anywhere: without a GPU, kernels go through Triton's interpreter.

Owns which tests need torch and Triton. They have the marker ``torch``, and are left out where torch is not installed, as in
the first half of ``nox -s tests``.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from hypothesis import settings

HAS_TORCH = importlib.util.find_spec("torch") is not None
_HERE = Path(__file__).parent
NEEDS_TORCH = (
    "calibration/test_processes.py",
    "calibration/test_session.py",
    "codegen/test_cache.py",
    "codegen/test_extract.py",
    "codegen/test_main_loop.py",
    "codegen/test_slow_mutants.py",
    "codegen/test_worker.py",
    "gate",
    "hardware/test_model_profiles.py",
    "harness",
    "kernel",
    "measurement/test_gpu_lock.py",
    "measurement/test_pytest_runs.py",
    "measurement/test_worker_environment.py",
    "profiling/test_worker.py",
    "studies",
    "suite",
    "test_golden.py",
    "tuning/test_compiling.py",
    "tuning/test_worker.py",
)
"""Files, and folders, from here."""
collect_ignore = [] if HAS_TORCH else [*NEEDS_TORCH]

if HAS_TORCH:
    import torch

    if not torch.cuda.is_available():
        os.environ["TRITON_INTERPRET"] = "1"  # before any kernel file is imported

# The same examples in every run, however slow the machine is, and nothing left on disk.
settings.register_profile("repeatable", database=None, derandomize=True, deadline=None)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs torch."""
    for item in items:
        if any(item.path.is_relative_to(_HERE / name) for name in NEEDS_TORCH):
            item.add_marker(pytest.mark.torch)
