"""What each of this kernel's launches computes, for the model of its time (`perfgate.hardware.cost_model`).

Owns what is known of the kernels by name: which arguments and constexprs say how much is multiplied or moved.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from perfgate.hardware.cost_model import Product, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from perfgate.records import Case
    from perfgate.store.compiled import KernelFacts

_SIZES = {"float32": 4, "float16": 2, "bfloat16": 2}
_PARTS_OF_SHARE = {0: 1, 1: 2, 2: 6}
"""One over the share of all steps that are left where no, one, or both operands are triangles of the same side."""


def works(case: Case, kernels: Sequence[KernelFacts]) -> tuple[Product | Stream | None, ...]:
    """What each launch of a case computes, in their order; None for one that is not known here."""
    found: list[Product | Stream | None] = []
    for facts in kernels:
        known = _KERNELS.get(facts.name)
        try:
            found.append(known(case, facts) if known else None)
        except KeyError:  # a kernel of that name that takes other arguments: an older one
            found.append(None)
    return tuple(found)


def _product(case: Case, facts: KernelFacts) -> Product:
    config, given = facts.config, facts.arguments
    prepared = config["PRECISION"] in {"scaled", "split"}
    parts = given.get("SPLITS", 1)
    sides = [config[name] for name in ("A_TRIANGLE", "B_TRIANGLE") if config[name]]
    share = 1 / (_PARTS_OF_SHARE[len(sides)] if len(set(sides)) <= 1 else 3)
    products = 3 if config["PRECISION"] == "split" else 1
    return Product(
        m=given["M"],
        n=given["N"],
        k=-(-given["K"] // parts) * products,
        batch=given.get("BATCH", prod(case.shapes[1][:-2])) * parts,
        block_m=config["BLOCK_M"],
        block_n=config["BLOCK_N"],
        block_k=config["BLOCK_K"],
        group=config["GROUP_M"],
        operand_bytes=2 if prepared else _SIZES[case.dtype],
        result_bytes=4 if parts > 1 else _SIZES[case.dtype],
        stages=config["num_stages"],
        warm=prepared,
        share=share,
    )


def _operand_elements(case: Case, facts: KernelFacts) -> int:
    """Of the operand that a launch prepares: that with as many rows (or columns) as it was given."""
    a, b = case.shapes
    of_a, of_b = prod(a[:-1]) if len(b) == 2 else a[-2], b[-1]  # noqa: PLR2004 - a matrix
    elements = {of_b: prod(b), of_a: prod(a)}
    return elements[facts.arguments["R"]]


def _prepared(case: Case, facts: KernelFacts) -> Stream:
    elements = _operand_elements(case, facts)
    copies = 2 if facts.config["FORM"] == "split" else 1
    return Stream(read_bytes=4.0 * elements, written_bytes=2.0 * elements * copies)


def _magnitude(case: Case, facts: KernelFacts) -> Stream:
    return Stream(read_bytes=4.0 * _operand_elements(case, facts), written_bytes=0.0)


def _vector(case: Case, _facts: KernelFacts) -> Stream:
    size, (a, b) = _SIZES[case.dtype], case.shapes
    return Stream(read_bytes=float(prod(a) + prod(b)) * size, written_bytes=float(prod(a[:-1]) * b[-1]) * size)


def _sum(case: Case, facts: KernelFacts) -> Stream:
    outputs = facts.arguments["TOTAL"]
    return Stream(
        read_bytes=4.0 * outputs * facts.arguments["PARTS"], written_bytes=float(outputs * _SIZES[case.dtype])
    )


_KERNELS: dict[str, Callable[[Case, KernelFacts], Any]] = {
    "matmul_kernel": _product,
    "split_kernel": _product,
    "hopper_kernel": _product,
    "prepare_kernel": _prepared,
    "magnitude_kernel": _magnitude,
    "vector_kernel": _vector,
    "sum_kernel": _sum,
}
