"""The host cost of a call: how it is timed, what it is held against, what the page says, and what is refused."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from perf_tests import cases
from perfgate.harness.correctness import WrongResultError
from studies.host_cost import calls, command
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


def test_the_calls_alone_are_timed_batch_by_batch_behind_the_held_stream_in_random_order() -> None:
    clock = Clock()
    found = host_seconds(
        {name: clock.arm(name, ns) for name, ns in (("one", 2_000), ("two", 7_000), ("three", 1))},
        calls=2,
        batches=12,
        seed=0,
        hold=clock.arm("hold", 10**9),
        wait=clock.arm("wait", 10**9),
        now_ns=clock.now,
    )
    assert found["one"] == pytest.approx([2e-6] * 12)
    assert found["two"] == pytest.approx([7e-6] * 12)
    batches = [clock.log[start : start + 4] for start in range(0, len(clock.log), 4)]
    assert all(batch[0] == "hold" and batch[3] == "wait" and batch[1] == batch[2] for batch in batches)
    rounds = [tuple(batch[1] for batch in batches[start : start + 3]) for start in range(0, 36, 3)]
    assert all(sorted(order) == sorted(found) for order in rounds)
    assert len(set(rounds)) > 3


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


def test_the_page_says_how_many_times_torch_s_and_what_is_triton_s_own() -> None:
    times = {calls.TORCH: 5e-6, calls.TORCH_ALLOCATING: 6e-6, calls.KERNEL: 20e-6, calls.KERNEL_ALLOCATING: 25e-6}
    times |= {calls.JIT: 10e-6, calls.DIRECT: 2e-6, calls.LOOP: 5e-8}
    found = [Cost(arm=arm, seconds=value, low=value, high=value) for arm, value in times.items()]
    about = {
        "gpu": "a card",
        "driver": "580",
        "torch": "2",
        "triton": "3",
        "python": "3",
        "code_path": "sm89",
        "cpu": "a host",
    }
    page = command.markdown(
        Found(calls=100, batches=20, unheld=3, shapes={"64^3 float32": found}),
        about,
        date="2026-01-02",
        command="again",
    )
    assert page.startswith("""# Host cost

a card, sm89 code path, driver 580; host a host; Python 3, torch 2, Triton 3; 2026-01-02; `again`.

- 64^3 float32: a call of triton_matmul takes the host 20.00 µs, 4.00 times torch.matmul's 5.000 µs; Triton's own launch of \
a kernel with as many arguments is 50% of it (10.00 µs), its launcher alone 10%.
""")
    assert page.endswith("""
**Doubtful**: 3 of 140 batches outlasted the hold.

| shape | what is called | a call | quartiles | over torch.matmul(out=) | Triton's own |
| --- | --- | --- | --- | --- | --- |
| 64^3 float32 | torch.matmul(out=) | 5.000 µs | 5.000 µs to 5.000 µs | 1.00 |  |
| 64^3 float32 | torch.matmul | 6.000 µs | 6.000 µs to 6.000 µs | 1.20 |  |
| 64^3 float32 | triton_matmul(out=) | 20.00 µs | 20.00 µs to 20.00 µs | 4.00 | 50%, 10% |
| 64^3 float32 | triton_matmul | 25.00 µs | 25.00 µs to 25.00 µs | 5.00 | 40%, 8% |
| 64^3 float32 | empty kernel, @triton.jit | 10.00 µs | 10.00 µs to 10.00 µs | 2.00 |  |
| 64^3 float32 | empty kernel, compiled | 2.000 µs | 2.000 µs to 2.000 µs | 0.40 |  |
| 64^3 float32 | the loop itself | 0.05000 µs | 0.05000 µs to 0.05000 µs | 0.01 |  |
""")
