"""What is tested: this matmul's cases, and how one is set up, run and checked.

Owns the list of cases and everything that knows it is a matmul; the gate itself does not.
Workload numbers are those of KernelBench level 1 (ScalingIntelligence/KernelBench).
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING, Any

from perfgate.records import Case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    import torch

_ELEMENT_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_PRECISION_UNIT = {"tf32": "tf32", "ieee": "fp32", "tf32x3": "tf32", "bf16x3": "bf16"}
_DTYPE_UNIT = {"float16": "fp16", "bfloat16": "bf16"}

TRIANGLES = {"k14_upper_triangular": "upper", "k15_lower_triangular": "lower"}
"""Cases of which both operands are triangular, which the kernel is told."""

# Workspace of the check beside the operands and results: float64 blocks of the reference and the L2 flush.
_WORKSPACE_BYTES = 2 * 1024**3
_CHECKED_ROWS = 64


def result_shape(case: Case) -> tuple[int, ...]:
    """Shape of ``a @ b`` for the case's operand shapes."""
    a, b = case.shapes
    return (*a[:-1], b[-1])


def matmul_case(  # noqa: PLR0913 - one argument a property of the case, all by name
    case_id: str,
    a: tuple[int, ...],
    b: tuple[int, ...],
    *,
    layouts: tuple[str, str] = ("row", "row"),
    dtype: str = "float32",
    precision: str = "tf32",
    quick: bool = False,
) -> Case:
    """Make a case; FLOPs count one multiply and one add for each term of each dot product, zeros of a triangle too."""
    size = _ELEMENT_BYTES[dtype]
    outputs = prod(a[:-1]) * b[-1]
    operand_bytes = (prod(a) + prod(b)) * size
    if dtype in _DTYPE_UNIT:
        precision = "native"
    return Case(
        id=case_id,
        shapes=(a, b),
        layouts=layouts,
        dtype=dtype,
        precision=precision,
        flops=2 * outputs * a[-1],
        min_bytes=operand_bytes + outputs * size,
        # Operands and their copies in another form, the result, its copy for "same bits again" and the control's result.
        device_bytes=2 * operand_bytes + 3 * outputs * size + _WORKSPACE_BYTES,
        unit=_DTYPE_UNIT.get(dtype) or _PRECISION_UNIT[precision],
        quick=quick,
    )


def _square(n: int, dtype: str, short: str) -> Case:
    return matmul_case(f"sq{n}_{short}", (n, n), (n, n), dtype=dtype, quick=n == 1024)  # noqa: PLR2004 - the middle size


CASES: tuple[Case, ...] = (
    matmul_case("k1_square", (4096, 4096), (4096, 4096), quick=True),
    matmul_case("k2_standard", (2048, 8192), (8192, 4096)),
    matmul_case("k3_batched", (128, 512, 1024), (128, 1024, 2048)),
    matmul_case("k4_matrix_vector", (2048, 1048576), (1048576, 1)),
    matmul_case("k6_large_k", (256, 524288), (524288, 256)),
    matmul_case("k7_small_k", (32768, 64), (64, 32768), quick=True),
    matmul_case("k8_irregular", (8205, 2949), (2949, 5921)),
    matmul_case("k9_tall_skinny", (32768, 32), (32, 32768)),
    matmul_case("k10_3d", (16, 1024, 2048), (2048, 768)),
    matmul_case("k11_4d", (8, 256, 512, 256), (256, 768)),
    matmul_case("k13_symmetric", (4096, 4096), (4096, 4096)),
    matmul_case("k14_upper_triangular", (4096, 4096), (4096, 4096)),
    matmul_case("k15_lower_triangular", (4096, 4096), (4096, 4096)),
    matmul_case("k16_transposed_a", (2048, 8192), (8192, 4096), layouts=("column", "row")),
    matmul_case("k17_transposed_b", (2048, 8192), (8192, 4096), layouts=("row", "column")),
    matmul_case("k18_transposed_both", (2048, 8192), (8192, 4096), layouts=("column", "column")),
    *(
        _square(n, dtype, short)
        for n in (512, 1024, 2048)
        for dtype, short in (("float32", "fp32"), ("float16", "fp16"), ("bfloat16", "bf16"))
    ),
)

# The shape that stands for a case under the interpreter, which runs one program at a time on a CPU:
# as small as still has several tiles and several steps along K in the layout and dtype of the case.
_SMALL: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "k1_square": ((256, 128), (128, 256)),
    "k2_standard": ((128, 256), (256, 256)),
    "k3_batched": ((3, 128, 64), (3, 64, 256)),
    "k4_matrix_vector": ((128, 512), (512, 1)),
    "k6_large_k": ((64, 20480), (20480, 64)),
    "k7_small_k": ((256, 64), (64, 512)),
    "k8_irregular": ((141, 93), (93, 161)),
    "k9_tall_skinny": ((256, 32), (32, 512)),
    "k10_3d": ((2, 128, 128), (128, 256)),
    "k11_4d": ((2, 2, 64, 128), (128, 256)),
    "k13_symmetric": ((192, 192), (192, 192)),
    "k14_upper_triangular": ((192, 192), (192, 192)),
    "k15_lower_triangular": ((192, 192), (192, 192)),
}
_SMALL_SQUARE = ((256, 128), (128, 256))


def small(case: Case) -> Case:
    """The case in a size that the interpreter can run: same id, layouts, dtype and precision."""
    a, b = _SMALL.get(case.id, _SMALL_SQUARE)
    return matmul_case(
        case.id, a, b, layouts=(case.layouts[0], case.layouts[1]), dtype=case.dtype, precision=case.precision
    )


@contextmanager
def chosen_as(module: ModuleType, case: Case) -> Iterator[None]:
    """Within it, the kernel runs what it runs for the case's full size, whatever the shapes of the call.

    So a small shape under the interpreter checks the code that the case really runs: the config, the form that the
    operands are brought into, and the number of parts that sums are added in.
    """
    a, b = case.shapes
    batch = b[0] if len(b) > 2 else 1  # noqa: PLR2004 - a matrix
    m, n, k = a[-2] if len(b) > 2 else prod(a[:-1]), b[-1], a[-1]  # noqa: PLR2004 - the same
    kernel: Any = module  # whose rules are replaced for a while
    rules = {name: getattr(kernel, name) for name in ("choose_config", "choose_form", "choose_splits")}
    full = {"M": m, "N": n, "K": k, "BATCH": batch}
    kernel.choose_config = lambda configs, named: rules["choose_config"](configs, {**named, **full})
    kernel.choose_form = lambda *_sizes, **rest: rules["choose_form"](m, n, k, batch, **rest)
    kernel.choose_splits = lambda *_sizes: rules["choose_splits"](m, n, k, batch)
    kernel.matmul_kernel.cache.clear()
    try:
        yield
    finally:
        for name, rule in rules.items():
            setattr(kernel, name, rule)
        kernel.matmul_kernel.cache.clear()


_FP32, _FP16, _BF16 = "float32", "float16", "bfloat16"
EDGE_CASES: tuple[Case, ...] = (
    matmul_case("edge_one", (1, 1), (1, 1)),
    matmul_case("edge_row_vector", (1, 100), (100, 77)),
    matmul_case("edge_column_vector", (77, 100), (100, 1)),
    matmul_case("edge_vector_long", (5, 2500), (2500, 1)),
    matmul_case("edge_vector_parts", (5, 9000), (9000, 1)),
    matmul_case("edge_outer_product", (65, 1), (1, 129)),
    matmul_case("edge_zero_rows", (0, 33), (33, 17)),
    matmul_case("edge_zero_columns", (33, 17), (17, 0)),
    matmul_case("edge_zero_inner", (33, 0), (0, 17)),
    matmul_case("edge_zero_batch", (0, 33, 17), (0, 17, 9)),
    matmul_case("edge_odd", (129, 131), (131, 257)),
    matmul_case("edge_odd_fp16", (129, 131), (131, 257), dtype=_FP16),
    matmul_case("edge_odd_bf16", (129, 131), (131, 257), dtype=_BF16),
    matmul_case("edge_one_past_tile", (129, 65), (65, 257)),
    matmul_case("edge_one_short_of_tile", (127, 63), (63, 255)),
    matmul_case("edge_ieee", (129, 131), (131, 257), precision="ieee"),
    matmul_case("edge_tf32x3", (129, 131), (131, 257), precision="tf32x3"),
    matmul_case("edge_transposed_a", (131, 97), (97, 140), layouts=("column", "row")),
    matmul_case("edge_transposed_b", (131, 97), (97, 140), layouts=("row", "column")),
    matmul_case("edge_transposed_both_bf16", (131, 97), (97, 140), layouts=("column", "column"), dtype=_BF16),
    matmul_case("edge_sliced", (131, 97), (97, 140), layouts=("sliced", "sliced")),
    matmul_case("edge_sliced_fp16", (131, 97), (97, 140), layouts=("sliced", "sliced"), dtype=_FP16),
    matmul_case("edge_strided", (70, 45), (45, 80), layouts=("strided", "strided")),
    matmul_case("edge_misaligned", (128, 64), (64, 256), layouts=("misaligned", "misaligned")),
    matmul_case("edge_misaligned_bf16", (128, 64), (64, 256), layouts=("misaligned", "misaligned"), dtype=_BF16),
    matmul_case("edge_batched_odd", (3, 33, 47), (3, 47, 65)),
    matmul_case("edge_batched_transposed", (3, 33, 47), (3, 47, 65), layouts=("column", "column")),
    matmul_case("edge_4d_odd", (2, 3, 17, 19), (19, 23)),
)

MODULE_CASE = matmul_case("edge_module", (70, 90), (90, 110))
"""For ``ModelNew``, which takes two operands and nothing else."""

CHECKED: tuple[Case, ...] = (*CASES, *EDGE_CASES, MODULE_CASE)
"""Every case whose result is checked; ``CASES`` are compiled and timed as well."""


def fill(case: Case, a: torch.Tensor, b: torch.Tensor, *, exact: bool, generator: torch.Generator) -> None:
    """Write fresh inputs in place: normal values, or small integers whose products and sums are exact.

    With integers in −2 … 2 every product is exact in TF32, FP16 and BF16 and every partial sum is exact in
    FP32 while ``4·K < 2²⁴``; so the result is known to the last bit and a single missing term shows.
    """
    for tensor in (a, b):
        if exact:
            tensor.random_(-2, 3, generator=generator)
        else:
            tensor.normal_(generator=generator)
    if case.id == "k13_symmetric":
        a.copy_((a + a.mT) / 2 if not exact else a.triu() + a.triu(1).mT)
        b.copy_((b + b.mT) / 2 if not exact else b.triu() + b.triu(1).mT)
    elif case.id in TRIANGLES:
        for tensor in (a, b):
            tensor.triu_() if TRIANGLES[case.id] == "upper" else tensor.tril_()


def operands(case: Case, *, device: str, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random operands in the case's layouts, each between canaries."""
    import torch

    from perfgate.harness.guarded import guarded

    dtype = getattr(torch, case.dtype)
    a, b = (
        guarded(shape, layout=layout, dtype=dtype, device=device).tensor
        for shape, layout in zip(case.shapes, case.layouts, strict=True)
    )
    fill(case, a, b, exact=False, generator=torch.Generator(device).manual_seed(seed))
    return a, b


def call(module: ModuleType, case: Case, a: torch.Tensor, b: torch.Tensor) -> Callable[..., torch.Tensor]:
    """The kernel under test, bound to its operands; call it with ``out=`` or without."""
    options: dict[str, Any] = {} if case.precision == "native" else {"precision": case.precision}
    if case.id in TRIANGLES:
        known = inspect.signature(module.triton_matmul).parameters  # an older kernel's, too
        options |= {told: TRIANGLES[case.id] for told in ("a_triangle", "b_triangle") if told in known}

    def run(**out: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = module.triton_matmul(a, b, **out, **options)
        return result

    return run


def call_on_meta(module: ModuleType, case: Case) -> Callable[[], torch.Tensor]:
    """The same call on tensors without memory: what a launch would compile, on any machine."""
    import torch

    from perfgate.harness.guarded import empty_like_layout

    dtype = getattr(torch, case.dtype)
    a, b = (
        empty_like_layout(shape, layout=layout, dtype=dtype, device="meta")
        for shape, layout in zip(case.shapes, case.layouts, strict=True)
    )
    return call(module, case, a, b)


def some_rows(a: torch.Tensor, *, seed: int) -> torch.Tensor:
    """Numbers of the rows that stand for all of them where a check of the whole result would take too long."""
    import torch

    return torch.randperm(a.shape[-2], generator=torch.Generator().manual_seed(seed))[:_CHECKED_ROWS].to(a.device)


def check_rows(case: Case, a: torch.Tensor, b: torch.Tensor, got: torch.Tensor, *, seed: int) -> None:
    """Check some rows against float64 and all elements for NaN; the correctness tests check everything.

    Raises:
        WrongResultError: The result is wrong.
    """
    import torch

    from perfgate.harness.correctness import WrongResultError, check_close

    if bool(torch.isnan(got).any()):
        raise WrongResultError(f"{case.id}: the result holds NaN (elements never written, or computed from NaN).")
    torch.backends.cuda.matmul.allow_tf32 = False
    rows = some_rows(a, seed=seed)
    check_close(case.id, a[..., rows, :], b, got[..., rows, :], precision=case.precision)


def control(case: Case, a: torch.Tensor, b: torch.Tensor) -> Callable[[], torch.Tensor]:
    """The vendor library at the case's precision, writing to a result of its own."""
    import torch

    result = torch.empty(result_shape(case), dtype=a.dtype, device=a.device)

    def run() -> torch.Tensor:
        # Torch keeps it for the whole process, and checks of results switch it off: without it cuBLAS takes many times as long.
        torch.backends.cuda.matmul.allow_tf32 = case.precision == "tf32"
        return torch.matmul(a, b, out=result)

    return run
