"""The throughput stage on a card, with recorded launches in place of the card."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.gate import throughput
from perfgate.measurement.processes import Measured, Plan
from perfgate.measurement.session import Request, Session, Stage
from perfgate.records import Recording, Status, Verdict, exit_code
from perfgate.settings import Settings
from perfgate.store.recording import write_recording
from recorded import recording

if TYPE_CHECKING:
    from collections.abc import Callable

ENVIRONMENT = {"gpu": "NVIDIA H100 80GB HBM3", "uuid": "GPU-1", "driver": "580", "code_path": "native", "why": ""}
CASES = ("k1_sq4096", "k7_small_k")


def recorded(launches: list[int], **changes: Any) -> Recording:
    found = recording(launches, cases=CASES)
    return dataclasses.replace(
        found, **{"environment": ENVIRONMENT, "settings": Settings(root=Path()).measurement(), **changes}
    )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stage]:
    """Run the stage with launches that were recorded and a baseline that a test makes."""

    def stage(  # noqa: PLR0913 - each is one independent choice, all by name
        baseline: Recording | str | None,
        *,
        failed: tuple[Verdict, ...] = (),
        now: Recording | None = None,
        chosen: tuple[str, ...] = CASES,
        asked: tuple[str, ...] = (),
        wrong: bool = False,
    ) -> Stage:
        path = tmp_path / "baselines/nvidia-h100-80gb-hbm3/matmul.json"
        if isinstance(baseline, str):
            path.parent.mkdir(parents=True)
            path.write_text(baseline, encoding="utf-8")
        elif baseline:
            write_recording(path, baseline)
        found = now or recorded([5, 6, 7, 8, 9])

        def measure(_settings: Settings, _output: Path, plan: Plan) -> Measured:
            return Measured(recording=found, failed=failed, launches=plan.launches)

        monkeypatch.setattr(throughput, "measure", measure)
        session = Session(
            settings=Settings(root=tmp_path),
            request=Request(launches=5, cases=asked),
            environment=ENVIRONMENT,
            output=tmp_path,
            checked=CASES,
            timed=CASES,
        )
        return throughput.throughput(session, chosen, wrong=wrong)

    return stage


def judged(stage: Stage) -> list[tuple[str, str]]:
    return [(verdict.case, verdict.reason) for verdict in stage.verdicts]


def test_the_same_code_against_its_baseline_passes(run: Callable[..., Stage]) -> None:
    stage = run(recorded([0, 1, 2, 3, 4]))
    assert judged(stage) == [("k1_sq4096", "same"), ("k7_small_k", "same")]
    assert stage.done == "2 cases in 5 launches against baselines/nvidia-h100-80gb-hbm3/matmul.json"


def test_a_card_without_a_baseline_is_measured_shown_and_exit_2(run: Callable[..., Stage]) -> None:
    stage = run(None)
    assert judged(stage) == [("k1_sq4096", "no-baseline"), ("k7_small_k", "no-baseline")]
    assert exit_code(stage.verdicts) == 2
    assert stage.recording is not None
    assert not stage.done
    assert "NVIDIA H100 80GB HBM3 has no throughput baseline" in stage.verdicts[0].text


@pytest.mark.parametrize(
    ("baseline", "reason"),
    [
        ('{"benchmarks": [', "not-json"),
        ('{"benchmarks": []}', "zero-cases"),
        ('{"perfgate": {"schema": 2}, "benchmarks": []}', "other-schema"),
    ],
)
def test_a_broken_baseline_is_exit_2_before_anything_is_measured(
    run: Callable[..., Stage], baseline: str, reason: str
) -> None:
    stage = run(baseline)
    assert judged(stage) == [("*", reason)]
    assert stage.recording is None


def test_the_baseline_of_another_card_is_exit_2(run: Callable[..., Stage]) -> None:
    stage = run(recorded([0, 1, 2], environment={**ENVIRONMENT, "gpu": "NVIDIA H200"}))
    assert {reason for _, reason in judged(stage)} == {"other-card"}
    assert exit_code(stage.verdicts) == 2


def test_a_case_that_only_the_baseline_has_is_exit_2_in_a_whole_run(run: Callable[..., Stage]) -> None:
    now = recorded([5, 6, 7])
    less = dataclasses.replace(now, samples={"k1_sq4096": now.samples["k1_sq4096"]})
    assert ("k7_small_k", "case-not-measured") in judged(run(recorded([0, 1, 2]), now=less))


def test_a_case_that_the_baseline_lacks_is_exit_2(run: Callable[..., Stage]) -> None:
    then = recorded([0, 1, 2])
    less = dataclasses.replace(then, samples={"k1_sq4096": then.samples["k1_sq4096"]})
    assert ("k7_small_k", "case-not-in-baseline") in judged(run(less))


def test_a_case_that_gave_no_times_keeps_its_own_verdict_and_the_others_are_judged(
    run: Callable[..., Stage],
) -> None:
    now = recorded([5, 6, 7, 8, 9])
    less = dataclasses.replace(now, samples={"k1_sq4096": now.samples["k1_sq4096"]})
    big = Verdict(case="k7_small_k", status=Status.INVALID, reason="does-not-fit", text="k7_small_k: needs 15 GB.")
    stage = run(recorded([0, 1, 2, 3, 4]), now=less, failed=(big,))
    assert judged(stage) == [("k7_small_k", "does-not-fit"), ("k1_sq4096", "same")]


def test_a_case_chosen_on_purpose_is_judged_alone(run: Callable[..., Stage]) -> None:
    now = recorded([5, 6, 7, 8, 9])
    less = dataclasses.replace(now, samples={"k1_sq4096": now.samples["k1_sq4096"]})
    stage = run(recorded([0, 1, 2, 3, 4]), now=less, chosen=("k1_sq4096",), asked=("k1_sq4096",))
    assert judged(stage) == [("k1_sq4096", "same")]


def test_a_wrong_kernel_gets_no_speed_number(run: Callable[..., Stage]) -> None:
    stage = run(recorded([0, 1, 2]), wrong=True)
    assert (stage.verdicts, stage.recording) == ((), None)
    assert stage.left_out == "a wrong kernel gets no speed number"
