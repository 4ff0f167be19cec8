"""What the doctor knows of a machine (facts) and says of it (checks): frozen records. Pure, computes nothing.

A fact that could not be asked for, or that the driver does not tell, is None and never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Outcome(StrEnum):
    """What a check can come to."""

    OK = "ok"
    FAULT = "FAULT"
    """The gate cannot work here, or not measure rightly, or the machine is not safe."""
    NOTE = "note"
    """It works, but is worth knowing; or it could not be told."""
    UNCHECKED = "-"
    """Not checked, because of another fault."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check came to; expected and remedy are empty where nothing is to be done."""

    outcome: Outcome
    found: str
    expected: str = ""
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Check(Finding):
    """A finding and what was checked."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Disk:
    """Room in the file system of one folder."""

    what: str
    path: str
    free_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder that runs have to write to."""

    path: str
    writable: bool


@dataclass(frozen=True, kw_only=True)
class Host:
    """The machine without its card."""

    python: tuple[int, int]
    git: bool
    shallow: bool | None
    """None: this is no git checkout, or git refuses to say."""
    settings_problem: str
    """Why the project's settings cannot be read; empty where they can."""
    compiler: str
    """The C compiler that Triton would call; empty where there is none."""
    headers: bool
    """Python's own C headers are there."""
    memory_bytes: int | None
    disks: tuple[Disk, ...]
    cache: Folder
    locks: Folder
    environment: Mapping[str, str]
    """Those variables that are set and named by `perfgate.doctor_host.VARIABLES`."""
    governors: tuple[str, ...] | None
    uid: int
    user: str
    sudo: bool | None
    """Root's rights without a password."""
    groups: tuple[str, ...]
    """The user's groups, by name."""


@dataclass(frozen=True, kw_only=True)
class Driver:
    """NVIDIA's driver and how many cards it has."""

    library: bool
    """The Python package ``nvidia-ml-py`` is installed."""
    error: str
    """Why the driver's library does not load; empty where it does."""
    version: str
    nouveau: bool | None
    pci: int | None
    """NVIDIA's display devices on the PCI bus, with or without a driver."""
    counters_for_root_only: bool | None
    cards: tuple[str, ...] = ()
    """Names of all cards, in the driver's order."""
    visible: tuple[int, ...] = ()
    """Those that CUDA may use, in its order."""
    by_number: bool = False
    """CUDA_VISIBLE_DEVICES names them by number, which CUDA may count in another order than the driver."""


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """What the last run in this checkout saw of the clocks."""

    problem: str = ""
    """Why it says nothing; empty where it does."""
    sm_clocks_mhz: tuple[int, int] | None = None
    """Lowest and highest median of a launch."""
    sm_spread: float | None = None
    """By how much the median moved between launches of one case, as a ratio; the worst case's."""
    memory_clock_mhz: int | None = None


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process that uses the card."""

    pid: int
    name: str
    kind: str
    """``compute`` or ``graphics``."""


@dataclass(frozen=True, kw_only=True)
class CardState:
    """The card that a run would measure."""

    name: str
    uuid: str
    slug: str
    baseline: str
    """Path of its throughput baseline, seen from the checkout; empty where there is none."""
    baseline_commit: bool | None
    """Whether the commit of that baseline is in the history; None where the file does not say or cannot be read."""
    persistence: bool | None
    compute_mode: str | None
    mig: str | None
    """``on``, ``off``, or ``none`` for a card that cannot be sliced."""
    display_active: bool | None
    display_attached: bool | None
    processes: tuple[Process, ...] | None
    utilization_percent: int | None
    throttle_reasons: tuple[str, ...] | None
    temperature_c: int | None
    power_limit_mw: int | None
    power_default_mw: int | None
    max_sm_clock_mhz: int | None
    max_memory_clock_mhz: int | None
    pcie_width: int | None
    pcie_max_width: int | None
    last_run: LastRun | None
    watch_error: str = ""
    """Why the card could not be watched; empty where it could."""


@dataclass(frozen=True, kw_only=True)
class Owned:
    """Who may change a file or folder."""

    path: str
    uid: int
    gid: int
    mode: int


@dataclass(frozen=True, kw_only=True)
class Runner:
    """GitHub's runner application on this machine."""

    folder: str
    user: str
    uid: int
    gids: frozenset[int]
    registered: bool
    """Its file ``.runner`` is there: one that takes a single job has none between two jobs."""
    ephemeral: bool | None
    agent: str
    hook: str
    """What ``ACTIONS_RUNNER_HOOK_JOB_STARTED`` names; empty where it is not set."""
    hook_exists: bool
    hook_executable: bool
    hook_paths: tuple[Owned, ...]
    """The script, the folders it lies in, up to the root, and the code that it runs."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that is known of a machine."""

    host: Host
    driver: Driver
    card: CardState | None
    runner: Runner | None
    labels: Mapping[str, str] = field(default_factory=dict)
    """Runner label to card, of ``[tool.perfgate.cards]``."""
