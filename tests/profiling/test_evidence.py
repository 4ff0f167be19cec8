"""What is gathered for a case that moved: both kernels compiled for its card, and counters of the very code that was timed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from counters_support import counted, counters_store
from facts_support import BASELINE, BEFORE, changed
from perfgate.codegen import build
from perfgate.codegen.build import Built, Source
from perfgate.gate import throughput
from perfgate.profiling import evidence
from perfgate.profiling.store import write_store
from perfgate.records import GateError
from perfgate.store.compiled import CompiledCase, write_compiled
from throughput_support import FOLDER, Gate

if TYPE_CHECKING:
    from pathlib import Path

    from perfgate.config import Settings

CODE = {"kernel": "new", "other": "old"}
CARD = "NVIDIA H100 80GB HBM3"


class Compiler:
    """Plays the builds of both sides."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, ...], str, str]] = []
        self.error = ""

    def build(self, project: Settings, _: Path, cases: tuple[str, ...], *, source: Source | None) -> Built:
        self.asked.append((tuple(cases), source.kernel.read_text(encoding="utf-8") if source else "", project.target))
        if self.error:
            raise GateError("not-compiled", self.error)
        facts = BEFORE if source else changed(registers=100)
        return Built(cases={case: CompiledCase(contract={}, kernels=(facts,)) for case in cases}, versions={})


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    made = Compiler()
    monkeypatch.setattr(build, "build_apart", made.build)
    return made


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: Compiler) -> Gate:
    """A gate on a branch whose kernel is 5 % slower in one case than the default branch's, by recorded launches."""
    assert compiler
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.delenv("GITHUB_REF_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    made = Gate(root=tmp_path, scale={"k7_small_k": 1.05}, code=CODE)
    made.git("init", "--quiet", "--initial-branch=main")
    (tmp_path / ".git/info/exclude").write_text(".perfgate\n")
    made.commit("base")
    made.git("switch", "--quiet", "--create", "change")
    made.commit("mine")
    monkeypatch.setattr(throughput, "measure", made.measure)
    return made


def store(path: Path, **codes: Any) -> None:
    """Counters of case 7 by the hash of their code, in one file."""
    ((code, found),) = codes.items()
    write_store(path, counters_store(k7_small_k=structs.replace(found, code=code)))


def test_a_case_that_moved_has_sentences_and_one_that_did_not_has_none(gate: Gate, compiler: Compiler) -> None:
    stage = gate.run()
    assert [str(verdict.status) for verdict in stage.verdicts] == ["SAME", "SLOWER"]
    assert stage.why == {"k7_small_k": ("machine code for sm_90: registers 118 → 100",)}
    assert sorted(compiler.asked) == [(("k7_small_k",), "", "sm_90"), (("k7_small_k",), "base", "sm_90")]
    document = json.loads((gate.root / ".perfgate/moved.json").read_text(encoding="utf-8"))
    assert document["moved_with_it"] == {"k7_small_k": list(stage.why["k7_small_k"])}


def test_nothing_is_compiled_where_nothing_moved_and_no_earlier_file_is_left(gate: Gate, compiler: Compiler) -> None:
    gate.run()
    compiler.asked.clear()
    gate.scale = 1.0
    stage = gate.run()
    assert (stage.why, compiler.asked) == ({}, [])
    assert not (gate.root / ".perfgate/moved.json").exists()


def test_counters_are_taken_where_they_are_of_the_very_code_that_was_timed(gate: Gate) -> None:
    store(gate.root / FOLDER / "counters.json", old=counted())
    store(gate.root / ".perfgate/counters.json", new=counted(DRAM_share=40.0))
    first, second = gate.run().why["k7_small_k"]
    assert first.startswith("counters of hopper_kernel: DRAM share 58.40 → 40.00 %")
    assert second.startswith("machine code")
    document = json.loads((gate.root / ".perfgate/moved.json").read_text(encoding="utf-8"))
    assert {"name": "hopper_kernel: DRAM share", "before": "58.40 %", "after": "40.00 %", "moved": True} in document[
        "counters"
    ]["k7_small_k"]
    store(gate.root / ".perfgate/counters.json", newer=counted(DRAM_share=40.0))
    assert "counters" not in " ".join(gate.run().why["k7_small_k"])


def test_counters_of_unknown_code_of_another_card_or_in_a_broken_file_are_left_out(gate: Gate) -> None:
    store(gate.root / FOLDER / "counters.json", old=counted())
    path = gate.root / ".perfgate/counters-other.json"
    store(path, new=counted(DRAM_share=40.0))
    path.write_text(path.read_text(encoding="utf-8").replace(CARD, "NVIDIA L4"), encoding="utf-8")
    assert len(gate.run().why["k7_small_k"]) == 1
    path.write_text("{", encoding="utf-8")
    assert len(gate.run().why["k7_small_k"]) == 1
    write_store(gate.root / FOLDER / "counters.json", counters_store(k7_small_k=counted()))
    store(gate.root / ".perfgate/counters.json", new=counted(DRAM_share=40.0))
    gate.code = {"kernel": "new"}
    assert len(gate.run().why["k7_small_k"]) == 1


def test_equal_code_is_not_compiled_and_a_build_that_fails_leaves_its_sentence_out(
    gate: Gate, compiler: Compiler
) -> None:
    compiler.error = "no"
    (text,) = gate.run(against="main").why["k7_small_k"]
    assert text.startswith(
        "nothing that is recorded moved with it: nothing could be looked at; not recorded: machine code"
    )
    assert "(nox -s counters -- --case k7_small_k --against main)" in text
    compiler.asked.clear()
    gate.code = {"kernel": "one", "other": "one"}
    found = gate.run().why
    assert compiler.asked == []
    assert all("the code that both sides launched (equal)" in texts[0] for texts in found.values())


def test_a_stored_number_alone_is_explained_by_the_stored_facts(gate: Gate, compiler: Compiler) -> None:
    gate.store(commit="0" * 40, scale=1 / 1.05)
    gate.scale = 1.05
    stored = replace(BASELINE, cases={"k7_small_k": CompiledCase(contract={}, kernels=(BEFORE,))})
    write_compiled(gate.root / "baselines/sm_89/compiled.json", stored)
    # Counters of the merge base, which ran beside it, are not those of the baseline.
    store(gate.root / FOLDER / "counters.json", old=counted())
    store(gate.root / ".perfgate/counters.json", new=counted(DRAM_share=40.0))
    found = gate.run().why
    assert found["k7_small_k"] == ("machine code for sm_89: registers 118 → 100",)
    assert [target for _, _, target in compiler.asked] == ["sm_89"]
    assert evidence.MOVED_FILE == "moved.json"
