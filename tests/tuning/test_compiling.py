"""One compiling process: what it answers for a case and for a candidate, with a stand-in for the compiler."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import pytest

from facts_support import facts
from perf_tests import candidates
from perfgate import workers
from perfgate.codegen import extract
from perfgate.config import Settings
from perfgate.records import GateError
from perfgate.store import codec
from perfgate.store.compiled import CompiledCase
from perfgate.tuning import compiling
from tuning_support import candidate
from tuning_support import case as known

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfgate.tuning.document import Case

TILE = {"BLOCK_M": 64, "BLOCK_N": 128, "BLOCK_K": 32, "GROUP_M": 1}
CONFIG = {**TILE, "num_warps": 4, "num_stages": 3}
PROJECT = Settings(root=Path())
JOB = {"case": "k", "target": "sm_89", "limit": 5}
DEAD = {workers.CRASHED: "killed by signal 11"}


class Compiler:
    """A project whose kernel file does in a call what the test says, and whose compiler says what was chosen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        listed = [SimpleNamespace(kwargs={**TILE, "BLOCK_M": m}, num_warps=4, num_stages=3) for m in (64, 128)]
        self.file: Any = SimpleNamespace(matmul_kernel=SimpleNamespace(configs=listed, cache={}))
        self.file.choose_config = lambda configs, _: configs[1]
        self.call: Callable[[], object] = self.ask
        self.names: tuple[str, ...] = ("matmul_kernel",)
        self.changed: dict[str, int] = {}
        self.ran: dict[str, Any] = {}
        suite: Any = SimpleNamespace(CASES=[SimpleNamespace(id="k", shapes=((256, 64), (64, 512)), dtype="float32")])
        suite.call_on_meta = lambda *_: self.call
        monkeypatch.setattr(compiling, "load_suite", lambda _: suite)
        monkeypatch.setattr(compiling, "load_kernel", lambda *_: self.file)
        monkeypatch.setattr(compiling, "load_candidates", lambda _: candidates)
        monkeypatch.setattr(extract, "compile_case", self._compile)

    def ask(self) -> None:
        one = self.file.choose_config(self.file.matmul_kernel.configs, {})
        self.ran = {**one.kwargs, "EVEN": True, "num_warps": one.num_warps, "num_stages": one.num_stages}

    def _compile(self, launch: Callable[[], object], *, contract: object, target: str) -> CompiledCase:
        assert (contract, target) == ({}, "sm_89")
        launch()
        config = {**self.ran, **self.changed}
        return CompiledCase(contract={}, kernels=tuple(facts(name=name, config=config) for name in self.names))

    def answer(self, **job: Any) -> dict[str, Any]:
        answered: dict[str, Any] = json.loads(json.dumps(compiling.answers(PROJECT)({**JOB, **job})))
        return answered


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    return Compiler(monkeypatch)


def test_a_case_has_its_present_choice_its_kept_configs_and_what_else_it_may_run(compiler: Compiler) -> None:
    found = compiler.answer(do="survey")
    assert (found["note"], found["current"], found["start"]) == ("", "128x128x32 w4 s3 g1", "64x256x32 w4 s3 g8")
    assert found["kept"] == ["64x256x32 w4 s3 g8", "64x128x32 w4 s3 g1", "128x128x32 w4 s3 g1"]
    assert len(found["candidates"]) == 5
    assert found["candidates"]["64x128x32 w4 s3 g1"]["config"] == CONFIG
    assert found["allowed"] == 1152


def test_a_choice_that_is_not_among_the_configs_is_compiled_too_and_kept(compiler: Compiler) -> None:
    odd = SimpleNamespace(kwargs={**TILE, "BLOCK_M": 512, "GROUP_M": 3}, num_warps=1, num_stages=1)
    compiler.file.choose_config = lambda *_: odd
    found = compiler.answer(do="survey")
    assert found["current"] == found["kept"][-1] == list(found["candidates"])[-1] == "512x128x32 w1 s1 g3"


def test_a_case_whose_call_launches_another_kernel_is_not_tuned(compiler: Compiler) -> None:
    compiler.call, compiler.names = (lambda: None), ("vector_kernel", "sum_kernel")
    assert compiler.answer(do="survey") == {
        "candidates": {},
        "left_out": {},
        "launches": [],
        "note": "not tuned: runs another kernel (sum_kernel, vector_kernel)",
    }


def test_a_candidate_has_the_facts_of_the_tuned_kernel_and_not_of_those_launched_beside_it(compiler: Compiler) -> None:
    compiler.names = ("prepare_kernel", "matmul_kernel", "sum_kernel")
    found = compiler.answer(do="compile", config=CONFIG)
    assert (found["error"], [one["name"] for one in found["kernels"]]) == ("", ["matmul_kernel"])
    assert found["kernels"][0]["config"] == {**CONFIG, "EVEN": True}


def test_what_was_compiled_without_asking_or_with_another_config_is_not_the_candidate(compiler: Compiler) -> None:
    compiler.changed = {"BLOCK_K": 16}
    assert "'BLOCK_K': 16" in compiler.answer(do="compile", config=CONFIG)["error"]
    compiler.call = lambda: None
    assert compiler.answer(do="compile", config=CONFIG)["error"] == "matmul_kernel did not ask for its config"


def test_a_config_that_the_kernel_file_refuses_is_an_answer(compiler: Compiler) -> None:
    def refuse() -> None:
        raise ValueError("a grid holds 2**31 - 1 tiles\nand more")

    compiler.call = refuse
    said = "ValueError: a grid holds 2**31 - 1 tiles"
    refused = compiler.answer(do="compile", config=CONFIG)
    assert refused == {"config": CONFIG, "kernels": [], "error": said, "pruned": ""}
    assert compiler.answer(do="survey")["failed"] == said


def test_what_makes_compiling_impossible_here_ends_it_all(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise GateError("compiler-options", "TRITON_DEBUG would change the machine code.")

    compiler.call = refuse
    answer = compiler.answer(do="compile", config=CONFIG)
    assert answer == {"gate_error": ["compiler-options", "TRITON_DEBUG would change the machine code."]}
    with pytest.raises(GateError, match="TRITON_DEBUG") as caught:
        compile_cases(monkeypatch, answer)
    assert caught.value.reason == "compiler-options"


def test_on_the_cards_own_path_a_candidate_is_launched_on_tensors_without_memory(compiler: Compiler) -> None:
    assert compiler.answer(do="warm", config={**CONFIG, "BLOCK_N": 32}) == {}
    assert compiler.ran["BLOCK_N"] == 32


class Answers:
    """A pool that has its answers already."""

    def __init__(self, answers: list[dict[str, Any]]) -> None:
        self._waiting = answers
        self.asked: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def answers(self, jobs: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
        self.asked += jobs
        return [(number, self._waiting.pop(0)) for number in range(len(jobs))]


def compile_cases(monkeypatch: pytest.MonkeyPatch, *answers: dict[str, Any]) -> dict[str, Case]:
    """Two cases, whose surveys and then candidates get those answers."""
    monkeypatch.setattr(compiling, "_pool", lambda *_: Answers(list(answers)))
    return compiling.compile_cases(PROJECT, ("k", "l")[: len(answers)], target="sm_89", limit=5, output=Path())


def test_a_compiler_that_dies_costs_its_candidate_and_a_survey_that_dies_its_case(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    survey = codec.encode(known(current="a", candidates={name: candidate(CONFIG, error="?") for name in ("a", "b")}))
    built = candidate(CONFIG)
    found = compile_cases(monkeypatch, survey, DEAD, codec.encode(built), DEAD)
    assert found["k"].candidates["a"] == built
    assert found["k"].candidates["b"].error == "the compiler was lost: killed by signal 11"
    assert found["l"] == known(failed="its present choice could not be compiled: killed by signal 11")


def test_a_card_told_to_lower_for_another_compiles_every_candidate_where_that_is_still_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool, environments = Answers([{}, DEAD]), list[dict[str, str]]()
    monkeypatch.setenv("TRITON_OVERRIDE_ARCH", "sm89")

    def make(_project: object, _output: object, environment: dict[str, str]) -> Answers:
        environments.append(environment)
        return pool

    monkeypatch.setattr(compiling, "_pool", make)
    compiling.warm(PROJECT, {"k": {"a": CONFIG, "b": CONFIG}}, output=Path("out"))
    assert [(job["do"], job["case"], job["config"]) for job in pool.asked] == [("warm", "k", CONFIG)] * 2
    assert environments[0]["TRITON_OVERRIDE_ARCH"] == "sm89"
    assert environments[0]["TRITON_CACHE_DIR"] == "out/triton-cache"
