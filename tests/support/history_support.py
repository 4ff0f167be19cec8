"""Repositories whose baselines have a past, for tests of what is read out of it."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import facts_support
from git_support import Project
from perfgate.store.compiled import CompiledBaseline, CompiledCase, write_compiled
from perfgate.store.recording import write_recording
from recorded import FIRST_CARD, recording

if TYPE_CHECKING:
    from pathlib import Path

    from perfgate.records import Recording
    from perfgate.store.compiled import KernelFacts

CASES = ("sq2048", "k8_irregular")
CARD = "nvidia-h100-80gb-hbm3"
COMPILED = "sm_89/compiled.json"


def facts(registers: int = 162, *, spills: int = 0, name: str = "matmul_kernel") -> KernelFacts:
    return facts_support.facts(
        name=name,
        config={"BLOCK_M": 64, "num_warps": 4},
        code_hash=f"{registers:064x}",
        normal_hash=f"{registers:064x}",
        registers=registers,
        stack_bytes=8 * spills,
        spill_instructions=spills,
        shared_bytes=49152,
        blocks_per_sm=2,
        occupancy_percent=16.67,
        instructions={"tensor_core": 64, "integer": 100},
        main_loop={},
    )


def measured(scale: float = 1.0, *, launch: int = 0, **options: Any) -> Recording:
    """Four launches of the first card, slowed by a factor."""
    numbers = [FIRST_CARD[(launch + n) % len(FIRST_CARD)] for n in range(4)]
    return recording(numbers, scale=scale, **{"cases": CASES, **options})


class Past:
    """A project whose baselines are committed one after another."""

    def __init__(self, root: Path) -> None:
        self.project = Project.begin(root)
        self.root = root
        (root / "pyproject.toml").write_text("[tool.perfgate]\n", encoding="utf-8")
        self.commit("the project")

    def path(self, name: str = f"{CARD}/matmul.json") -> Path:
        found = self.root / "baselines" / name
        found.parent.mkdir(parents=True, exist_ok=True)
        return found

    def commit(self, message: str = "a commit") -> str:
        self.project.git("add", "--all")
        self.project.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.project.git("rev-parse", "HEAD")

    def store(self, found: Recording, reason: str = "why", name: str = f"{CARD}/matmul.json") -> None:
        write_recording(self.path(name), dataclasses.replace(found, reason=reason, commit="c" * 40))

    def baseline(self, scale: float, reason: str = "why", *, anchor: bool = False, **options: Any) -> str:
        """Commit times, and where they are the first, the anchor."""
        found = measured(scale, **options)
        self.store(found, reason)
        if anchor:
            self.store(found, reason, f"{CARD}/anchor.json")
        return self.commit(f"Baseline: {reason}")

    def compiled(self, *kernels: KernelFacts, reason: str = "why", name: str = COMPILED) -> str:
        """Commit the machine code of both cases."""
        case = CompiledCase(contract={"flops": 1}, kernels=kernels)
        write_compiled(
            self.path(name),
            CompiledBaseline(
                target="sm_89",
                versions={"triton": "3.8.0", "torch": "2.14.1", "ptxas": "12.9"},
                recorded_at="2026-11-24T10:00:00+00:00",
                commit="c" * 40,
                reason=reason,
                cases=dict.fromkeys(CASES, case),
            ),
        )
        return self.commit(f"Baseline: {reason}")

    def spoil(self, name: str, held: bytes) -> str:
        """Commit a file that holds something else."""
        self.path(name).write_bytes(held)
        return self.commit("spoilt")

    def edit(self, name: str, **top: Any) -> str:
        """Commit a file with some of our own keys changed."""
        document = json.loads(self.path(name).read_text(encoding="utf-8"))
        document["perfgate"] |= top
        return self.spoil(name, json.dumps(document).encode())
