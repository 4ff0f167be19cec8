"""The watching of launches, first ones and kept ones, on compiled kernels that are played: nothing is compiled."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from triton.compiler import CompiledKernel
from triton.runtime.jit import JITFunction

from perfgate.harness.launches import Launched, code_of, launched_by

if TYPE_CHECKING:
    from collections.abc import Callable


def fake(ptx: str, *, name: str = "add", **metadata: int) -> CompiledKernel:
    """A compiled kernel that cannot be launched, only kept."""
    facts = {"num_warps": 4, "num_ctas": 1, "num_stages": 3, "shared": 0, "maxnreg": None, **metadata}
    kernel: Any = object.__new__(CompiledKernel)
    function = SimpleNamespace(arg_names=["x", "BLOCK"], params=[SimpleNamespace(is_constexpr=i > 0) for i in (0, 1)])
    kernel.src = SimpleNamespace(fn=function, constants={(1,): 2})
    kernel.module = None
    kernel.name, kernel.metadata, kernel.asm = name, SimpleNamespace(**facts), {"ptx": ptx}
    compiled: CompiledKernel = kernel
    return compiled


FUNCTION = SimpleNamespace(arg_names=["x", "n", "BLOCK"])


@pytest.fixture
def launching(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The hash of one launch that gives a certain compiled kernel."""

    def code(kernel: CompiledKernel | None, grid: object = (1,)) -> str:
        monkeypatch.setattr(JITFunction, "run", lambda _self, *_a, **_k: kernel)
        return code_of(lambda: JITFunction.run(FUNCTION, 1, 8, grid=grid, warmup=False, num_warps=4, BLOCK=2))

    return code


PTX = """
.version 8.7
.target sm_89
.visible .entry add(.param .u64 x) // the kernel
{
.loc 1 7 0
$L__func_begin0:
  mov.u32 %r1, %tid.x; // kernels/matmul.py:7
  ret;
}
.file 1 "/home/me/kernels/matmul.py"
.section .debug_info { .b32 12 }
"""


def test_debug_information_and_comments_are_no_code(launching: Callable[..., str]) -> None:
    moved = PTX.replace("/home/me/kernels", "/tmp/other").replace(".loc 1 7 0", ".loc 2 31 4").replace(":7", ":31")  # noqa: S108 - no file
    assert moved != PTX
    assert launching(fake(moved)) == launching(fake(PTX))
    assert launching(fake(PTX.replace("%tid.x", "%ctaid.x"))) != launching(fake(PTX))
    assert launching(fake(PTX.replace("sm_89", "sm_90"))) != launching(fake(PTX))


@pytest.mark.parametrize("change", [{"num_warps": 8}, {"num_ctas": 2}, {"shared": 16}, {"name": "copy"}])
def test_the_launch_itself_is_part_of_the_hash(launching: Callable[..., str], change: dict[str, Any]) -> None:
    assert launching(fake(PTX, **change)) != launching(fake(PTX))


def test_a_grid_is_the_same_as_numbers_or_as_a_function_of_all_arguments(launching: Callable[..., str]) -> None:
    assert launching(fake(PTX), lambda chosen: (chosen["n"] // chosen["BLOCK"],)) == launching(fake(PTX), (4,))
    assert launching(fake(PTX), [4]) == launching(fake(PTX), (4,))
    assert launching(fake(PTX), (5,)) != launching(fake(PTX), (4,))


@pytest.mark.parametrize("asks", [True, False], ids=["launch", "warm-up"])
def test_a_grid_is_asked_once_and_with_what_triton_binds(monkeypatch: pytest.MonkeyPatch, *, asks: bool) -> None:
    """The kernel keeps what its grid was asked with, to launch it again."""
    bound, asked = {"x": 1, "n": 8, "BLOCK": 2}, []
    kernel = fake(PTX)

    def run(_self: object, *_args: object, grid: Any, **_options: object) -> CompiledKernel:
        if asks:
            grid(bound)
        return kernel

    def grid(meta: dict[str, int]) -> tuple[int]:
        asked.append(list(meta.items()))
        return (meta["n"] // meta["BLOCK"],)

    monkeypatch.setattr(JITFunction, "run", run)
    code = code_of(lambda: JITFunction.run(FUNCTION, 1, 8, grid=grid, warmup=not asks, num_warps=4, BLOCK=2))
    assert asked == [list(bound.items())]
    monkeypatch.setattr(JITFunction, "run", lambda *_a, **_k: kernel)
    assert code == code_of(lambda: JITFunction.run(FUNCTION, grid=(4,), warmup=False))


def test_a_launch_that_was_kept_is_seen_as_the_first_one_was(
    launching: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[object, ...]] = []

    def again(self: object, grid: object) -> Callable[..., None]:
        return lambda *given: made.append((self, grid, *given))

    monkeypatch.setattr(CompiledKernel, "__getitem__", again)
    kernel, other = fake(PTX), fake(PTX, name="copy", num_warps=8)

    def call() -> None:
        kernel[4, 1, 1](1, 8, 2)
        other[4, 1, 1](3)
        kernel[5, 1, 1](1, 9, 2)

    launched = launched_by(call)
    assert made == [(kernel, (4, 1, 1), 1, 8, 2), (other, (4, 1, 1), 3), (kernel, (5, 1, 1), 1, 9, 2)]
    usual = {"BLOCK": 2, "num_warps": 4, "num_stages": 3}
    assert launched.config == {"add": usual, "copy": {**usual, "num_warps": 8}, "add#2": usual}
    assert launched_by(lambda: kernel[4, 1, 1](1)).code == launching(kernel, (4,)) != launching(kernel, (5,))


def test_nothing_launched_has_neither_code_nor_configuration() -> None:
    assert launched_by(lambda: None) == Launched(code="", config={})


def test_a_launch_that_a_hook_refused_is_none(launching: Callable[..., str]) -> None:
    assert launching(None) == ""


def test_a_call_that_fails_leaves_triton_as_it_was() -> None:
    before, kept = JITFunction.run, CompiledKernel.__getitem__

    def fail() -> None:
        assert JITFunction.run is not before
        assert CompiledKernel.__getitem__ is not kept
        raise LookupError("the wrapper's own")

    with pytest.raises(LookupError, match="own"):
        code_of(fail)
    assert JITFunction.run is before
    assert CompiledKernel.__getitem__ is kept
