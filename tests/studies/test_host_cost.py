"""The host cost of a call: how it is timed, what it is held against, what the page says, and what is refused."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from perf_tests import cases
from perfgate.harness import machine
from perfgate.harness.correctness import WrongResultError
from studies.host_cost import __main__ as host_cost
from studies.host_cost import calls
from studies.host_cost.calls import Cost, Found, HeldStream, checked_operands, costs, host_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
EMPTY = """
import json, sys
from pathlib import Path
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from kernels import matmul
from studies.host_cost.calls import empty_kernel

def innermost(kernel):
    return kernel if hasattr(kernel, "params") else innermost(kernel.fn)

empty = empty_kernel(matmul.matmul_kernel, Path(sys.argv[1]))
kinds = [[p.is_constexpr for p in innermost(kernel).params] for kernel in (matmul.matmul_kernel, empty)]
constants = {(i,): 64 for i, constant in enumerate(kinds[1]) if constant}
signature = {name: "constexpr" if p.is_constexpr else "i32" for name, p in zip(empty.arg_names, empty.params)}
source = ASTSource(fn=empty, signature=signature, constexprs=constants)
compiled = triton.compile(source, target=GPUTarget("cuda", 89, 32))
print(json.dumps([*kinds, "cubin" in compiled.asm, compiled.asm["ptx"].count("ld.global")]))
"""


class Clock:
    """Time that passes only where something says so."""

    def __init__(self) -> None:
        self.ns = 0
        self.log: list[str] = []

    def arm(self, name: str, ns: int) -> Callable[[], None]:
        """Something that takes so long."""

        def call() -> None:
            self.ns += ns
            self.log.append(name)

        return call

    def now(self) -> int:
        """Nanoseconds since the start."""
        return self.ns


def test_what_is_timed_is_the_calls_alone() -> None:
    clock = Clock()
    arms = {"fast": clock.arm("fast", 2_000), "slow": clock.arm("slow", 7_000)}
    found = host_seconds(
        arms,
        calls=5,
        batches=4,
        seed=0,
        hold=clock.arm("hold", 10**9),
        wait=clock.arm("wait", 10**9),
        now_ns=clock.now,
    )
    assert found["fast"] == pytest.approx([2e-6] * 4)
    assert found["slow"] == pytest.approx([7e-6] * 4)


def test_every_batch_runs_behind_the_held_stream_and_arms_take_turns_in_random_order() -> None:
    clock = Clock()
    names = ("one", "two", "three")
    host_seconds(
        {name: clock.arm(name, 1) for name in names},
        calls=2,
        batches=12,
        seed=0,
        hold=clock.arm("hold", 1),
        wait=clock.arm("wait", 1),
        now_ns=clock.now,
    )
    batches = [clock.log[start : start + 4] for start in range(0, len(clock.log), 4)]
    assert all(batch[0] == "hold" and batch[3] == "wait" and batch[1] == batch[2] for batch in batches)
    rounds = [tuple(batch[1] for batch in batches[start : start + 3]) for start in range(0, 36, 3)]
    assert all(sorted(order) == sorted(names) for order in rounds)
    assert len(set(rounds)) > 3
    assert Counter(clock.log)["two"] == 24


def test_the_collector_is_off_while_calls_are_timed_and_on_again_after() -> None:
    seen = []
    assert gc.isenabled()
    host_seconds({"call": lambda: seen.append(gc.isenabled())}, calls=2, batches=2, seed=0)
    assert seen == [False] * 4
    assert gc.isenabled()


@pytest.mark.parametrize(("let_go", "counted"), [(False, 0), (True, 1)])
def test_a_batch_that_outlasted_the_hold_is_counted(
    monkeypatch: pytest.MonkeyPatch, *, let_go: bool, counted: int
) -> None:
    log: list[str] = []

    class Event:
        def record(self) -> None:
            log.append("record")

        def query(self) -> bool:
            log.append("query")
            return let_go

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: log.append(f"hold {cycles}"), raising=False)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: log.append("synchronize"))
    stream = HeldStream(1000)
    stream.hold()
    stream.wait()
    assert log == ["hold 1000", "record", "query", "synchronize"]
    assert stream.unheld == counted


def test_a_stray_batch_moves_no_median() -> None:
    (found,) = costs({"call": [5e-6, 5e-6, 6e-6, 4e-6, 1.0]})
    assert found == Cost(arm="call", seconds=5e-6, low=5e-6, high=6e-6)


def test_a_wrong_kernel_gets_no_number() -> None:
    class Wrong:
        def triton_matmul(self, a: torch.Tensor, b: torch.Tensor, *, out: torch.Tensor) -> torch.Tensor:
            return torch.add(torch.matmul(a, b), 1, out=out)

    wrong: Any = Wrong()
    with pytest.raises(WrongResultError, match="small: largest error"):
        checked_operands(wrong, cases.matmul_case("small", (16, 16), (16, 16)), device="cpu")


def test_the_empty_kernel_takes_what_the_matmul_takes_and_compiles_to_nothing(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    words = [sys.executable, "-c", EMPTY, str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    of_matmul, of_empty, built, loads = json.loads(done.stdout)
    assert of_empty == of_matmul
    assert len(of_matmul) > 10
    assert built
    assert loads == 0


def report() -> host_cost.Report:
    seconds = {
        calls.TORCH: 5e-6,
        calls.TORCH_ALLOCATING: 6e-6,
        calls.KERNEL: 20e-6,
        calls.KERNEL_ALLOCATING: 25e-6,
        calls.JIT: 10e-6,
        calls.DIRECT: 2e-6,
        calls.LOOP: 5e-8,
    }
    found = [Cost(arm=arm, seconds=value, low=value, high=value) for arm, value in seconds.items()]
    environment = {"gpu": "NVIDIA GeForce RTX 4090", "driver": "580", "torch": "2", "triton": "3", "python": "3.13"}
    return host_cost.Report(
        environment={**environment, "code_path": "sm89", "cpu": "A processor"},
        command="python -m studies.host_cost.__main__ --calls=2000",
        date="2026-01-02",
        found=Found(calls=100, batches=20, unheld=3, shapes={"64^3 float32": found}, profile="where"),
    )


def test_the_page_says_how_many_times_torch_s_and_what_is_triton_s_own() -> None:
    page = host_cost.markdown(report())
    assert "takes the host 20.00 µs, 4.00 times torch.matmul's 5.000 µs" in page
    assert "50% of it (10.00 µs), its launcher alone 10%" in page
    assert "| 64^3 float32 | triton_matmul | 25.00 µs | 25.00 µs to 25.00 µs | 5.00 | 40%, 8% |" in page
    assert "NVIDIA GeForce RTX 4090, sm89 code path, driver 580; host A processor" in page
    assert "**Doubtful**: 3 of 140 batches outlasted the hold." in page
    assert "```text\nwhere\n```" in page


def test_the_file_holds_every_number_with_where_it_is_from() -> None:
    document = json.loads(json.dumps(host_cost.document(report())))
    assert document["schema"] == 1
    assert document["environment"]["cpu"] == "A processor"
    assert document["shapes"]["64^3 float32"][2] == {
        "arm": "triton_matmul(out=)",
        "seconds": 20e-6,
        "low": 20e-6,
        "high": 20e-6,
    }


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--calls", "19"], "INVALID bad-usage: --calls is 19; expected 20 or more."),
        (["--calls", "x"], "INVALID bad-usage: argument --calls: invalid int value: 'x'"),
        (["--output", "pyproject.toml"], "INVALID bad-usage: --output is pyproject.toml, which is no folder"),
        ([], "INVALID no-card: Host cost needs a CUDA card and there is none (hidden)."),
    ],
)
def test_what_it_cannot_do_is_one_line_and_exit_2(
    words: list[str], found: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(machine, "look", lambda: {"gpu": "", "why": "hidden"})
    assert host_cost.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(found)
