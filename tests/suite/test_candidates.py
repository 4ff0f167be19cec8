"""What the matmul may run: the allowed tiles, what their numbers rule out, and how one is forced on the kernel file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from perf_tests import candidates
from perf_tests.cases import CASES, matmul_case
from perfgate.hardware.occupancy import architecture

ROOT = Path(__file__).parents[2]
ADA = architecture("sm_89")
BY_ID = {case.id: case for case in CASES}
LARGE = matmul_case("large", (4096, 4096), (4096, 4096))


class File:
    """A kernel file as far as a forced config goes: a tuned kernel, a rule, and launches kept ready."""

    def __init__(self, *configs: dict[str, int], warps: int = 4) -> None:
        listed = [SimpleNamespace(kwargs=kwargs, num_warps=warps, num_stages=3) for kwargs in configs]
        self.matmul_kernel = SimpleNamespace(configs=listed, cache={"a call": "a choice"})
        self.forgotten = 0
        self.choose_config: Any = lambda configs, _named: configs[-1]

    def forget_launches(self) -> None:
        self.forgotten += 1

    def launch(self) -> Any:
        if "a call" not in self.matmul_kernel.cache:
            self.matmul_kernel.cache["a call"] = self.choose_config(self.matmul_kernel.configs, {"M": 1})
        return self.matmul_kernel.cache["a call"]


def tile(m: int, n: int, k: int = 32, **more: int) -> dict[str, int]:
    return {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k, "GROUP_M": 8, **more}


def space(file: File, case: Any = LARGE, *, limit: int = 10_000) -> candidates.Space:
    module: Any = file
    return candidates.space(module, candidates.problem(case, {}), arch=ADA, limit=limit)


def test_a_candidate_has_a_name_that_tells_it_from_every_other() -> None:
    one = candidates.candidate({**tile(128, 64), "num_warps": 4, "num_stages": 3})
    odd = candidates.candidate({**tile(128, 64, ODD=7), "num_warps": 4, "num_stages": 3})
    assert (one.id, odd.id) == ("128x64x32 w4 s3 g8", "128x64x32 w4 s3 g8 ODD=7")
    assert candidates.candidate(odd.config) == odd
    found = space(File(tile(64, 256)), BY_ID["k6_large_k"]).candidates
    assert len({one.id for one in found}) == len(found) > 500


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_every_tile_follows_the_rules_for_kernel_files_and_the_start_is_among_them(case: Any) -> None:
    found = space(File(tile(64, 128)), case)
    edges, depths = (
        ({32, 64, 128, 256}, {16, 32, 64}) if case.dtype == "float32" else ({16, 32, 64, 128, 256}, {16, 32, 64, 128})
    )
    for one in found.candidates:
        assert {one.meta["BLOCK_M"], one.meta["BLOCK_N"]} <= edges
        assert one.meta["BLOCK_K"] in depths
        assert one.num_warps in {2, 4, 8}
        assert one.num_stages in {2, 3, 4, 5}
        assert one.meta["GROUP_M"] in {1, 8}
    assert found.kept == ("64x256x32 w4 s3 g8", "64x128x32 w4 s3 g8")
    assert len(found.candidates) + sum(found.left_out.values()) == found.allowed


def test_the_present_configs_are_kept_whatever_their_numbers_and_however_few_may_be_compiled() -> None:
    found = space(File(tile(512, 512), tile(64, 256, GROUP_M=4)), limit=1)
    assert [one.id for one in found.candidates] == ["64x256x32 w4 s3 g4", "512x512x32 w4 s3 g8"]
    assert found.kept[0] == "64x256x32 w4 s3 g4"


def test_arguments_are_those_of_the_kernels_own_configs() -> None:
    assert {key for one in space(File(tile(64, 256))).candidates for key in one.meta} == set(tile(1, 1))
    odd = space(File(tile(64, 256, FLAVOUR=3), tile(64, 64, FLAVOUR=5)))
    assert {one.meta["FLAVOUR"] for one in odd.candidates} == {3, 5}


@pytest.mark.parametrize(
    ("case", "one", "beside", "why"),
    [
        (LARGE, (256, 256, 16, 8, 8, 2), (128, 256, 16, 8, 8, 2), "over 128 registers"),
        (LARGE, (128, 128, 64, 8, 8, 3), (128, 128, 64, 8, 8, 2), "shared memory"),
        (LARGE, (32, 32, 32, 8, 8, 2), (32, 32, 32, 8, 4, 2), "256 outputs a warp"),
        (BY_ID["k7_small_k"], (64, 64, 32, 1, 4, 4), (64, 64, 32, 1, 4, 3), "stages than steps"),
        (BY_ID["k4_matrix_vector"], (64, 64, 32, 1, 4, 2), (64, 32, 32, 1, 4, 2), "padding"),
        (BY_ID["k6_large_k"], (64, 256, 32, 8, 8, 2), (64, 256, 32, 1, 8, 2), "grouping rows changes nothing"),
    ],
)
def test_a_tile_is_ruled_out_by_its_numbers_with_the_reason_and_the_one_beside_it_is_not(
    case: Any, one: tuple[int, ...], beside: tuple[int, ...], why: str
) -> None:
    found = space(File(tile(64, 128)), case)
    ids = {candidate.id for candidate in found.candidates}
    names = ["{}x{}x{} w{warps} s{stages} g{}".format(*c[:4], warps=c[4], stages=c[5]) for c in (one, beside)]
    assert [name in ids for name in names] == [False, True]
    assert [counted for reason, counted in found.left_out.items() if why in reason] > [0]


def test_few_candidates_are_of_many_tiles_and_the_same_every_time() -> None:
    found = space(File(tile(64, 256)), limit=16).candidates
    tiles = [(one.meta["BLOCK_M"], one.meta["BLOCK_N"]) for one in found]
    assert max(tiles.count(tile) for tile in tiles) <= 3
    assert found == space(File(tile(64, 256)), limit=16).candidates
    assert space(File(tile(64, 256)), limit=16).left_out["behind the 16 most promising by estimate (--limit)"] > 100


def test_within_forced_every_launch_runs_that_config_and_afterwards_the_files_own_choice() -> None:
    file: Any = File(tile(64, 256), tile(64, 64))
    one = candidates.candidate({**tile(128, 128), "num_warps": 8, "num_stages": 4})
    own = file.choose_config
    with candidates.forced(file, one) as asked:
        assert asked.asked == 0
        chosen = file.launch()
        assert (chosen.kwargs, chosen.num_warps, chosen.num_stages) == (dict(one.meta), 8, 4)
        assert asked.asked == 1
    assert file.choose_config is own
    assert file.launch().kwargs == tile(64, 64)
    assert file.forgotten == 2


def test_an_error_within_forced_leaves_nothing_behind() -> None:
    file: Any = SimpleNamespace(**vars(File(tile(64, 256))))  # and a kernel file need not have forget_launches
    own = file.choose_config
    forced = candidates.forced(file, candidates.candidate({**tile(32, 32), "num_warps": 2, "num_stages": 2}))
    with pytest.raises(ZeroDivisionError), forced:
        file.matmul_kernel.cache["a call"] = 1 / 0
    assert file.choose_config is own
    assert file.matmul_kernel.cache == {}


def test_what_the_rule_chooses_is_seen_and_nothing_where_another_kernel_runs() -> None:
    file: Any = File(tile(64, 256), tile(64, 64), warps=8)
    with candidates.watched(file, LARGE) as chosen:
        file.launch()
    assert [one.id for one, _ in chosen] == ["64x64x32 w8 s3 g8"]
    assert chosen[0][1] == (1, 4096, 4096, 1, 4)  # what the kernel was given comes before the case's own
    with candidates.watched(file, LARGE) as chosen:
        pass
    assert chosen == []


def test_what_the_kernel_is_given_decides_what_it_may_run() -> None:
    given = {"M": 4096, "N": 4096, "K": 8192, "BATCH": 2, "SPLITS": 4, "a_ptr": torch.empty(1, dtype=torch.float16)}
    assert candidates.problem(LARGE, given) == (4096, 4096, 2048, 8, 2)
    assert candidates.problem(BY_ID["k3_batched"], {}) == (512, 2048, 1024, 128, 4)
    assert candidates.problem(BY_ID["k11_4d"], {}) == (8 * 256 * 512, 768, 256, 1, 4)
    module: Any = File(tile(64, 256))
    half = candidates.space(module, candidates.problem(LARGE, given), arch=ADA, limit=10_000)
    deep = "128x128x64 w4 s4 g8"  # three buffers of 32 KB in FP16, of 64 KB in FP32
    assert deep in {one.id for one in half.candidates}
    assert deep not in {one.id for one in space(module).candidates}


_ASK = """
import json, sys
from pathlib import Path
from perfgate.config import read_settings
from perfgate.tuning import compiling
answer = compiling.answers(read_settings(Path.cwd()))
job = {"case": "k7_small_k", "target": "sm_89", "limit": 1}
survey = answer({"do": "survey", **job})
config = {**survey["candidates"][survey["current"]]["config"], "BLOCK_M": 64, "BLOCK_N": 32, "num_warps": 2, "num_stages": 2}
built = answer({"do": "compile", **job, "config": config})
refused = answer({"do": "compile", **job, "config": {**config, "BLOCK_N": 48}})
print(json.dumps([survey, config, built, refused]))
"""


def test_the_kernel_file_itself_is_surveyed_and_compiles_what_it_is_told_to() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", _ASK]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    survey, config, built, refused = json.loads(done.stdout)
    assert survey["note"] == ""
    assert {survey["current"], *survey["kept"]} == set(survey["candidates"])
    (facts,) = [one for one in built["kernels"] if one["name"] == survey["kernel"]]
    assert {key: facts["config"].get(key, value) for key, value in config.items()} == config
    assert (built["error"], facts["spill_instructions"]) == ("", 0)
    assert "power of 2" in refused["error"]
