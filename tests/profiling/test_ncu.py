"""What ncu prints is read as it is meant, and what is not understood is refused in one sentence."""

from __future__ import annotations

import pytest

from counters_support import COLUMNS, MATMUL, MORE_COLUMNS, UNITS
from perfgate.profiling.metrics import (
    DRAM_READ,
    DRAM_THROUGHPUT,
    DRAM_WRITTEN,
    DURATION,
    GRID_SIZE,
    INSTRUCTIONS,
    L2_HIT_RATE,
)
from perfgate.profiling.ncu import profiled, refuse_errors
from perfgate.records import GateError

HEAD = [*COLUMNS, *MORE_COLUMNS, *MATMUL]
ABOUT = ["0", "1", "python3", "host", "hopper_kernel", "1", "7", "(128, 1, 1)", "(131072, 1, 1)", "0", "9.0"]


def row(*cells: str) -> str:
    return ",".join(f'"{cell}"' for cell in cells)


def table(**instead: tuple[str, str]) -> str:
    """A table of one launch, as ncu prints it; of some counters another unit and number."""
    units, shown = dict(UNITS), {name: f"{value:,.2f}" for name, value in MATMUL.items()}
    for name, (unit, number) in instead.items():
        units[name], shown[name] = unit, number
    return "\n".join(
        [
            "==PROF== Connected to process 7 (/usr/bin/python3.12)",
            '==PROF== Profiling "hopper_kernel" - 0: 0%....50%....100% - 10 passes',
            row(*HEAD),
            row(*[""] * len(ABOUT), *units.values()),
            row(*ABOUT, *shown.values()),
            "==PROF== Disconnected from process 7",
        ]
    )


@pytest.mark.parametrize(
    ("name", "unit", "shown", "value"),
    [
        (GRID_SIZE, "block", "131,072", 131072),
        (INSTRUCTIONS, "inst", "1.5e3", 1500),
        (DRAM_READ, "byte", "75,500,000.00", 75.5e6),
        (DRAM_READ, "Mbyte", "8.40", 8.4e6),
        (DURATION, "nsecond", "6,620", 6.62e-6),
        (DURATION, "ms", "1.5", 1.5e-3),
        (DRAM_THROUGHPUT, "%", "37.99", 37.99),
    ],
)
def test_a_number_is_read_in_si_whatever_its_unit_and_what_parts_thousands(
    name: str, unit: str, shown: str, value: float
) -> None:
    (launch,) = profiled(table(**{name: (unit, shown)}))
    assert launch.metrics == pytest.approx({**MATMUL, DURATION: 2.29e-3, name: value})


def test_launches_keep_their_order_and_columns_that_nobody_asked_for_do_not_matter() -> None:
    lines = table().splitlines()
    more = zip(lines[2:5], ("smsp__cycles.sum", "cycle", "n/a"), strict=True)
    lines[2:5] = [f'{line},"{cell}"' for line, cell in more]
    found = profiled("\n".join([*lines[:5], lines[4].replace("hopper_kernel", "sum_kernel"), *lines[5:]]))
    assert [(one.name, one.grid) for one in found] == [
        (name, (131072, 1, 1)) for name in ("hopper_kernel", "sum_kernel")
    ]


LINES = table().splitlines()
UNKNOWN = f"has {L2_HIT_RATE} in 'cycle', expected one of"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "ncu profiled no kernel"),
        ("==WARNING== No kernels were profiled.", "ncu profiled no kernel"),
        ("\n".join(LINES[:4]), "no launch below it"),
        ("\n".join([*LINES[:3], LINES[4], LINES[4]]), "no row of units"),
        (table().replace("Grid Size", "Size"), "has no column 'Grid Size'"),
        (table().replace(DRAM_READ, "other"), f"has no column '{DRAM_READ}'"),
        ("\n".join([*LINES[:4], LINES[4].rpartition(',"')[0]]), "has a row of"),
        ("\n".join([*LINES[:4], LINES[4][:-5]]), "ends in the middle of a row"),
        (table().replace(DRAM_WRITTEN, DRAM_READ), f"has the column '{DRAM_READ}' twice"),
        (table().replace("(131072, 1, 1)", "(1, 1)"), "has '(1, 1)' as a grid"),
        (table(**{L2_HIT_RATE: ("cycle", "1")}), UNKNOWN),
        *(
            (
                table(**{L2_HIT_RATE: ("%", shown)}),
                f"has {shown!r} as {L2_HIT_RATE} of hopper_kernel, expected a number",
            )
            for shown in ("n/a", "", "nan", "1e999", "1,23", "0x10", "1.2.3")
        ),
    ],
)
def test_a_table_that_is_not_whole_or_holds_no_number_is_refused(text: str, says: str) -> None:
    with pytest.raises(GateError) as caught:
        profiled(text)
    assert caught.value.reason == ("no-counters" if "no kernel" in says else "bad-counters")
    assert says in caught.value.text
    assert "\n" not in caught.value.text


@pytest.mark.parametrize(
    ("message", "reason", "remedy"),
    [
        ("ERR_NVGPUCTRPERM - no permission", "no-counter-permission", "NVreg_RestrictProfilingToAdminUsers=0"),
        ("Profiling is not supported on device 0. To find", "card-not-profiled", "ncu --list-chips"),
        ("Failed to find metric regex:^lts__t(.*)$", "no-such-counter", "ncu --query-metrics"),
        ("Cuda driver is not compatible with Nsight Compute", "ncu-failed", "see its log"),
    ],
)
def test_an_error_of_ncu_is_one_sentence_with_its_remedy(message: str, reason: str, remedy: str) -> None:
    with pytest.raises(GateError, match=remedy) as caught:
        refuse_errors(f"==PROF== Connected\n==ERROR== {message}\n==PROF== Disconnected")
    assert caught.value.reason == reason
    assert "\n" not in caught.value.text


def test_what_ncu_says_of_the_process_is_left_to_the_process() -> None:
    refuse_errors("==ERROR== The application returned an error code (139).\n==WARNING== odd\n==PROF== fine")
