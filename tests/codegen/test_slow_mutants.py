"""Kernels that are right and slow: what the facts of their code and the modelled time say, and why where that is too little."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from msgspec import structs

from facts_support import BASELINE, VERSIONS
from kernel_support import DEVICE, integers, python
from perf_tests import cases, modelled
from perfgate.codegen import modelling
from perfgate.codegen.rules import judge_compiled
from perfgate.hardware import cost_model
from perfgate.hardware.parameters import CARD_OF_TARGET, MODEL_CARDS
from perfgate.project import load_kernel
from perfgate.store import codec
from perfgate.store.compiled import CompiledCase

if TYPE_CHECKING:
    from perfgate.hardware.cost_model import Prediction
    from perfgate.records import Verdict

    Built = dict[tuple[str, str, str], CompiledCase]

SOURCE = (Path(__file__).resolve().parents[2] / "kernels/matmul.py").read_text(encoding="utf-8")
BY_ID = {case.id: case for case in cases.CASES}
ADA, HOPPER = "sm_89", "sm_90"
KERNEL = "kernel"
HALF, ONE_STAGE, ORDER, MASKS = "half the steps along K", "one stage", "the group is ignored", "masks everywhere"
COPIES, EIGHT_WARPS, DEFAULT_WARPS = "operands are copied", "eight warps on a small tile", "warps left to the default"
_SMALL = '"BLOCK_K": 64, "GROUP_M": 8}, num_warps=4'
_RESOLVE = "\n    precision = _resolve_precision"
_EVEN = 'lambda args, x=x: args[x] % args[f"BLOCK_{x}"] == 0'
# Edits of the kernel's own text: a pattern, what is put there, and at how many places.
MUTANTS = {
    KERNEL: [],
    HALF: [(r'"BLOCK_K": 32, "G', '"BLOCK_K": 16, "G', 5), (re.escape(_SMALL), _SMALL.replace("64", "32"), 4)],
    ONE_STAGE: [(r"num_stages=\d", "num_stages=1", 13)],
    ORDER: [
        (r"tile_m = first_m \+ tile .*", "tile_m = tile % tiles_m", 1),
        (r"tile_n = tile % \(GROUP_M .*", "tile_n = tile // tiles_m", 1),
    ],
    MASKS: [(re.escape(_EVEN), "lambda args: False", 3)],
    COPIES: [(_RESOLVE, f"\n    a, b = a.contiguous(), b.contiguous(){_RESOLVE}", 1)],
    EIGHT_WARPS: [(r'("BLOCK_N": 32, "BLOCK_K": 64, "GROUP_M": 8\}), num_warps=4', r"\1, num_warps=8", 2)],
    DEFAULT_WARPS: [(r"\}, num_warps=\d,", "},", 13)],
}

# Of a mutant in a case on a 4090: the verdict's reason on the facts alone and what it says, bounds of the modelled time over
# the kernel's, and where it does more of one thing which another hides: the term that grew, and what binds before and after.
SAME, COPIED, CODE = "same-resources", "memory-moved", "the code changed"
TOLD = [
    (HALF, "k1_square", SAME, "BLOCK_K 32 → 16", (0.999, 1.1), {"issue", "latency"}, "tensor cores"),
    (HALF, "k7_small_k", SAME, "BLOCK_K 32 → 16", (0.999, 1.1), {"latency"}, "DRAM"),
    # Its shorter steps leave room for a third block, which makes up for most.
    (HALF, "sq1024_fp16", SAME, "2 → 3 blocks an SM", (0.999, 1.1), {"latency"}, "latency"),
    (ONE_STAGE, "k1_square", SAME, "num_stages 4 → 1", (0.999, 1.1), {"latency"}, "tensor cores"),
    (ONE_STAGE, "k7_small_k", SAME, "num_stages 3 → 1", (0.999, 1.1), {"latency"}, "DRAM"),
    (MASKS, "sq512_fp32", SAME, "EVEN_K True → False", (0.999, 1.1), {"issue"}, "L2"),
    (MASKS, "k7_small_k", SAME, "EVEN_K True → False", (0.999, 1.1), {"issue"}, "DRAM"),
    (EIGHT_WARPS, "sq512_fp32", SAME, "num_warps 4 → 8", (0.999, 1.1), {"shared memory"}, "L2"),
    (EIGHT_WARPS, "sq512_fp16", SAME, "num_warps 4 → 8", (0.999, 1.1), {"shared memory"}, "L2"),
    # Column after column, which DRAM pays for in the published profiles; the model reads the order from GROUP_M.
    (ORDER, "k1_square", SAME, CODE, (0.999, 1.001), set(), "tensor cores"),
    (ORDER, "k7_small_k", SAME, CODE, (0.999, 1.001), set(), "DRAM"),
    (ONE_STAGE, "sq1024_fp16", SAME, "2 → 3 blocks an SM", (1.1, 9), {"latency"}, "latency"),
    # A copied A needs no launch that looks for the largest of its rows; the copy takes longer than that did.
    (COPIES, "k16_transposed_a", COPIED, "0 bytes → 134.2 MB a call (nothing → clone)", (1.03, 1.1), set(), ""),
    (COPIES, "k17_transposed_b", COPIED, "0 bytes → 268.4 MB a call (nothing → clone)", (1.1, 9), set(), ""),
    (COPIES, "k18_transposed_both", COPIED, "0 bytes → 402.7 MB a call (nothing → clone)", (1.1, 9), set(), ""),
    # The time of a launch that only passes over memory is its bytes over the rate, whatever its code.
    (DEFAULT_WARPS, "k4_matrix_vector", SAME, "num_warps 8 → 4", (1, 1), set(), "DRAM"),
    # What lies in order is not copied, and where the default is the number it is the same.
    (COPIES, "k1_square", "same-code", "", (1, 1), set(), "tensor cores"),
    (DEFAULT_WARPS, "k1_square", "same-code", "", (1, 1), set(), "tensor cores"),
    (DEFAULT_WARPS, "sq512_fp32", "same-code", "", (1, 1), set(), "L2"),
]
ON_HOPPER = (DEFAULT_WARPS, "sq2048_fp16", HOPPER)

# One process compiles all, so that kernels that no edit reached are read once.
_COMPILE = """
import json, sys
from pathlib import Path
from perf_tests import cases
from perfgate.project import load_kernel
from perfgate.codegen import extract
from perfgate.store import codec

folder, jobs = Path(sys.argv[1]), json.loads(sys.argv[2])
by_id = {case.id: case for case in cases.CASES}
modules = {}
for number, (name, case, target) in enumerate(jobs):
    if name not in modules:
        modules[name] = load_kernel(folder / f"{name}.py", f"mutant_{number}")
    launch = cases.call_on_meta(modules[name], by_id[case])
    built = extract.compile_case(launch, contract=by_id[case].contract(), target=target)
    print(json.dumps(codec.encode(built)))
"""


def text(mutant: str) -> str:
    """The mutant's kernel file."""
    source = SOURCE
    for pattern, by, wanted in MUTANTS[mutant]:
        source, places = re.subn(pattern, by, source)
        assert places == wanted, f"{mutant}: the kernel has {pattern} {places} times"
    return source


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """What each mutant and the kernel compile to, by case and target."""
    wanted = {*((mutant, case, ADA) for mutant, case, *_ in TOLD), ON_HOPPER}
    jobs = sorted(wanted | {(KERNEL, case, target) for _, case, target in wanted})
    folder = tmp_path_factory.mktemp("mutants")
    for name in MUTANTS:
        (folder / f"{name}.py").write_text(text(name), encoding="utf-8")
    lines = python(_COMPILE, str(folder), json.dumps(jobs), TRITON_INTERPRET="0").splitlines()
    return {job: codec.decode(line, CompiledCase, source=str(job)) for job, line in zip(jobs, lines, strict=True)}


def verdict(built: Built, mutant: str, case: str, target: str = ADA) -> Verdict:
    """On the facts alone, with the kernel itself as the baseline."""
    baseline = replace(BASELINE, target=target, cases={case: built[KERNEL, case, target]})
    (found,) = judge_compiled({case: built[mutant, case, target]}, baseline, versions=VERSIONS, target=target)
    return found


def time(built: Built, name: str, case: str, target: str = ADA) -> Prediction | None:
    card = MODEL_CARDS[CARD_OF_TARGET[target]]
    return modelling.modelled(BY_ID[case], built[name, case, target], works=modelled.works, card=card)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks the interpreter; on a card their speed is what counts")
@pytest.mark.parametrize("mutant", MUTANTS)
def test_every_mutant_is_right(mutant: str, tmp_path: Path) -> None:
    path = tmp_path / "mutant.py"
    path.write_text(text(mutant), encoding="utf-8")
    module = load_kernel(path, "right_mutant")
    a, b = integers(150, 70, seed=1), integers(140, 70, seed=2).T
    assert a.device.type == DEVICE
    with cases.chosen_as(module, BY_ID["k1_square"]):
        assert torch.equal(module.triton_matmul(a, b), a @ b)


@pytest.mark.parametrize(("mutant", "case", "reason", "says", "times", "grew", "bound"), TOLD)
def test_a_mutant_has_its_verdict_and_its_modelled_time(  # noqa: PLR0913, PLR0917 - a table's columns
    built: Built,
    mutant: str,
    case: str,
    reason: str,
    says: str,
    times: tuple[float, float],
    grew: set[str],
    bound: str,
) -> None:
    found, before, after = verdict(built, mutant, case), time(built, KERNEL, case), time(built, mutant, case)
    assert (found.reason, found.exit_code) == (reason, reason == COPIED)
    assert says in found.text
    assert before
    assert after
    assert times[0] <= after.time_s / before.time_s <= times[1]
    assert all(dict(after.terms_s)[term] > 1.03 * dict(before.terms_s)[term] for term in grew)
    assert not bound or (before.bound, after.bound) == (bound, bound)


def test_the_same_order_told_by_the_group_is_seen(built: Built) -> None:
    facts = built[KERNEL, "k7_small_k", ADA].kernels
    by_column = structs.replace(facts[-1], config={**facts[-1].config, "GROUP_M": 1 << 15})
    times_s = []
    for last in (facts[-1], by_column):
        (*_, work) = modelled.works(BY_ID["k7_small_k"], [*facts[:-1], last])
        assert work is not None
        times_s.append(cost_model.predict(facts[-1], work, MODEL_CARDS["rtx-4090"]).time_s)
    assert times_s[1] > 1.07 * times_s[0]


def test_warps_left_to_the_default_spill_on_hopper_which_the_model_refuses_and_the_facts_flag(built: Built) -> None:
    assert time(built, *ON_HOPPER) is None
    found = verdict(built, *ON_HOPPER)
    assert (found.reason, found.exit_code) == ("spills", 1)
    assert "num_warps 8 → 4" in found.text
