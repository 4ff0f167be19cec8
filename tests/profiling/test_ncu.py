"""What ncu prints is read as it is meant, and what is not understood is refused in one sentence."""

from __future__ import annotations

import pytest

from counters_support import COLUMNS, MATMUL, MORE_COLUMNS, UNITS
from perfgate.profiling.metrics import BY_NAME, DRAM_READ, DRAM_WRITTEN, DURATION
from perfgate.profiling.ncu import Profiled, profiled, refuse_errors
from perfgate.records import GateError
from perfgate.report.brief_stages import DRAM_THROUGHPUT, GRID_SIZE, L2_HIT_RATE

NAMES = tuple(MATMUL)
HEAD = [*COLUMNS, *MORE_COLUMNS, *NAMES]
ABOUT = ["0", "1", "python3", "host", "hopper_kernel", "1", "7", "(128, 1, 1)", "(131072, 1, 1)", "0", "9.0"]


def row(cells: list[str]) -> str:
    return ",".join(f'"{cell}"' for cell in cells)


def table(shown: dict[str, str] | None = None, *, units: dict[str, str] | None = None, about: list[str] = ABOUT) -> str:
    """A table of one launch; ``shown`` by name, as ncu prints it."""
    values = {name: f"{MATMUL[name]:,.2f}" for name in NAMES}
    values |= shown or {}
    of_columns = [(UNITS | (units or {}))[name] for name in NAMES]
    return "\n".join(
        [
            "==PROF== Connected to process 7 (/usr/bin/python3.12)",
            '==PROF== Profiling "hopper_kernel" - 0: 0%....50%....100% - 10 passes',
            row(HEAD),
            row([""] * (len(HEAD) - len(NAMES)) + of_columns),
            row([*about, *values.values()]),
            "==PROF== Disconnected from process 7",
        ]
    )


def refused(text: str) -> GateError:
    with pytest.raises(GateError) as caught:
        profiled(text)
    assert len(caught.value.text.splitlines()) == 1
    return caught.value


def test_a_launch_is_read_in_si_whatever_thousands_are_parted_by() -> None:
    (launch,) = profiled(table())
    assert (launch.name, launch.grid) == ("hopper_kernel", (131072, 1, 1))
    assert launch.metrics[DRAM_READ] == 75.5e6
    assert launch.metrics[DURATION] == pytest.approx(2.29e-3)
    assert launch.metrics[GRID_SIZE] == 131072
    assert launch.metrics.keys() == BY_NAME.keys()


@pytest.mark.parametrize(
    ("name", "unit", "shown", "value"),
    [
        (DRAM_READ, "Mbyte", "8.40", 8.4e6),
        (DRAM_WRITTEN, "byte", "256", 256),
        (DRAM_READ, "Gbyte", "4.29", 4.29e9),
        (DURATION, "us", "6.62", 6.62e-6),
        (DURATION, "usecond", "6.62", 6.62e-6),
        (DURATION, "nsecond", "6,620", 6.62e-6),
        (DURATION, "ms", "1.5", 1.5e-3),
        (DRAM_THROUGHPUT, "%", "37.99", 37.99),
    ],
)
def test_scaled_units_and_those_of_older_versions_are_the_same_number(
    name: str, unit: str, shown: str, value: float
) -> None:
    (launch,) = profiled(table({name: shown}, units={name: unit}))
    assert launch.metrics[name] == pytest.approx(value)


def test_launches_keep_their_order_and_columns_that_nobody_asked_for_do_not_matter() -> None:
    lines = table().splitlines()
    lines[2:5] = [
        f'{line},"{more}"' for line, more in zip(lines[2:5], ("smsp__cycles.sum", "cycle", "n/a"), strict=True)
    ]
    found = profiled("\n".join([*lines[:5], lines[4].replace("hopper_kernel", "sum_kernel"), *lines[5:]]))
    assert [one.name for one in found] == ["hopper_kernel", "sum_kernel"]
    assert isinstance(found[0], Profiled)


@pytest.mark.parametrize("shown", ["n/a", "", "nan", "inf", "1,23", "0x10", "1.2.3", "(!) 5"])
def test_what_is_no_number_is_refused_and_named(shown: str) -> None:
    error = refused(table({L2_HIT_RATE: shown}))
    assert error.reason == "bad-counters"
    assert f"has {shown!r} as {L2_HIT_RATE} of hopper_kernel, expected a number" in error.text


@pytest.mark.parametrize(
    ("name", "unit"),
    [(DRAM_READ, "%"), (DURATION, "cycle"), (L2_HIT_RATE, ""), (DRAM_READ, "Kibyte"), (GRID_SIZE, "%")],
)
def test_a_unit_that_is_not_known_is_refused_and_named(name: str, unit: str) -> None:
    error = refused(table(units={name: unit}))
    assert f"has {name} in {unit!r}, expected one of" in error.text


def test_a_table_that_is_not_whole_is_refused() -> None:
    lines = table().splitlines()
    assert refused("").reason == "no-counters"
    assert refused("==WARNING== No kernels were profiled.").reason == "no-counters"
    assert "no launch below it" in refused("\n".join(lines[:4])).text
    assert "no row of units" in refused("\n".join([*lines[:3], lines[4], lines[4]])).text
    assert "has no column 'Grid Size'" in refused(table().replace("Grid Size", "Size")).text
    assert f"has no column '{DRAM_READ}'" in refused(table().replace(DRAM_READ, "other")).text
    assert "has a row of" in refused("\n".join([*lines[:4], lines[4].rpartition(',"')[0]])).text
    assert "ends in the middle of a row" in refused("\n".join([*lines[:4], lines[4][:-5]])).text
    assert f"has the column '{DRAM_READ}' twice" in refused(table().replace(DRAM_WRITTEN, DRAM_READ)).text
    assert "as a grid" in refused(table(about=[*ABOUT[:8], "(1, 1)", *ABOUT[9:]])).text


@pytest.mark.parametrize(
    ("message", "reason", "remedy"),
    [
        (
            "ERR_NVGPUCTRPERM - The user does not have permission to access NVIDIA GPU Performance Counters on the target device 0.",
            "no-counter-permission",
            "NVreg_RestrictProfilingToAdminUsers=0",
        ),
        (
            "Profiling is not supported on device 0. To find out supported GPUs refer --list-chips option.",
            "card-not-profiled",
            "ncu --list-chips",
        ),
        ("Failed to find metric regex:^lts__t(.*)$", "no-such-counter", "ncu --query-metrics"),
        ("Cuda driver is not compatible with Nsight Compute", "ncu-failed", "see its log"),
    ],
)
def test_an_error_of_ncu_is_one_sentence_with_its_remedy(message: str, reason: str, remedy: str) -> None:
    with pytest.raises(GateError) as caught:
        refuse_errors(f"==PROF== Connected\n==ERROR== {message}\n==PROF== Disconnected")
    assert caught.value.reason == reason
    assert remedy in caught.value.text
    assert len(caught.value.text.splitlines()) == 1


def test_what_ncu_says_of_the_process_is_left_to_the_process() -> None:
    refuse_errors("==ERROR== The application returned an error code (139).\n==WARNING== odd\n==PROF== fine")
