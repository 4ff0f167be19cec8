"""Verdicts on recorded launches: which comparison, which status, and what forbids one."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from perfgate.compare.judge import judge
from perfgate.config import Limits
from perfgate.records import Launch, Recording, Samples, Status, Verdict, exit_code
from recorded import CASES, ENVIRONMENT, FIRST_CARD, SECOND_CARD, changed, recording

LIMITS = Limits()
THEN, NOW = FIRST_CARD[:5], FIRST_CARD[5:10]
ONE = ("k1_sq4096",)


def _only(verdicts: tuple[Verdict, ...]) -> Verdict:
    assert len(verdicts) == 1
    return verdicts[0]


def _judged(now: Recording, then: Recording | None = None) -> Verdict:
    return _only(judge(then, now, LIMITS))


def test_unchanged_code_is_same_in_every_case() -> None:
    found = judge(recording(THEN), recording(NOW, kernel="A2"), LIMITS)
    assert [verdict.case for verdict in found] == list(CASES)
    assert {verdict.status for verdict in found} == {Status.SAME}
    assert exit_code(found) == 0


def test_unchanged_code_on_another_card_of_the_model_is_same_both_ways() -> None:
    first, second = recording(FIRST_CARD[:5]), recording(SECOND_CARD[:5], kernel="A2")
    assert {verdict.status for verdict in judge(first, second, LIMITS)} == {Status.SAME}
    assert {verdict.status for verdict in judge(second, first, LIMITS)} == {Status.SAME}


def test_five_percent_against_a_stored_number_is_slower_with_its_size() -> None:
    found = _judged(recording(NOW, scale=1.05, cases=ONE), recording(THEN, cases=ONE))
    assert (found.status, found.reason, found.exit_code) == (Status.SLOWER, "slower", 1)
    assert found.ratio == pytest.approx(1.05, abs=0.01)
    assert found.low is not None
    assert found.low > 1
    assert found.limit == pytest.approx(1.0165, abs=0.002)
    assert "slower than the stored 1.65" in found.text
    assert "nox -s perf -- --case k1_sq4096" in found.text


def test_faster_is_a_pass_that_says_how_to_keep_it() -> None:
    found = _judged(recording(NOW, scale=0.95, cases=ONE), recording(THEN, cases=ONE))
    assert (found.status, found.exit_code) == (Status.FASTER, 0)
    assert "nox -s update-baselines" in found.text


@pytest.mark.parametrize("case", CASES)
def test_one_percent_more_work_beside_the_old_code_is_slower(case: str) -> None:
    found = _judged(recording(range(8), kernel="B1", other="A", cases=(case,)))
    assert found.status is Status.SLOWER
    assert "than ref main" in found.text


@pytest.mark.parametrize("case", CASES)
def test_the_same_code_beside_itself_is_same(case: str) -> None:
    assert _judged(recording(range(8), kernel="A2", other="A", cases=(case,))).status is Status.SAME


def test_a_change_that_too_few_launches_cannot_settle_is_unsure() -> None:
    found = _judged(recording(range(2), kernel="B1", other="A", cases=("k9_8k",)))
    assert (found.status, found.exit_code) == (Status.UNSURE, 3)


def test_launches_that_disagree_are_not_averaged_into_an_answer() -> None:
    two_modes = tuple(
        Launch(arms={"kernel": (1e-3 * factor,) * 40, "other": (1e-3,) * 40}) for factor in (1.02, 1.0, 1.02, 1.0)
    )
    samples = Samples(case="x", launches=two_modes, other={"kind": "ref", "name": "main"})
    found = _judged(Recording(samples={"x": samples}, environment={}, settings={}))
    assert (found.status, found.limit) == (Status.UNSURE, 1.005)
    assert "launches disagree" in found.text


def test_a_name_with_braces_is_only_a_name() -> None:
    now = changed(recording(range(4), other="A2", cases=ONE), other={"kind": "ref", "name": "HEAD@{1}"})
    assert "HEAD@{1}" in _judged(now).text


def test_a_coarse_clock_widens_the_limit_and_says_so() -> None:
    ticks = tuple(1e-4 + 1e-6 * (i % 2) for i in range(40))
    samples = Samples(
        case="x", launches=(Launch(arms={"kernel": ticks, "other": ticks}),) * 8, other={"kind": "ref", "name": "main"}
    )
    found = _judged(Recording(samples={"x": samples}, environment={}, settings={}))
    assert found.limit == pytest.approx(1.00995, abs=1e-4)
    assert "as fine as its clock allows" in found.text


# Re-anchored: the baseline's code was measured again beside today's.


def test_re_anchored_one_percent_is_found_although_the_baseline_is_of_another_card() -> None:
    now = recording(SECOND_CARD, kernel="B1", other="A", other_kind="baseline-commit", cases=ONE)
    found = _judged(now, recording(FIRST_CARD, cases=ONE))
    assert found.status is Status.SLOWER
    assert found.ratio == pytest.approx(1.007, abs=0.002)
    assert "that code itself is 1.3" in found.asides[0].text
    assert "within other days and cards" in found.asides[0].text


def _drifted(factor: float, **versions: str) -> Verdict:
    then = recording(FIRST_CARD, cases=ONE, scale=1 / factor)
    environment = {**ENVIRONMENT, **versions}
    return _judged(
        recording(FIRST_CARD, kernel="A2", other="A", other_kind="baseline-commit", cases=ONE, environment=environment),
        then,
    )


def test_old_code_that_slowed_with_the_same_versions_is_the_machine() -> None:
    found = _drifted(1.05)
    assert found.status is Status.SAME
    assert found.asides[0].text.startswith("machine: that code itself is 5.00 % slower than when it was recorded (")
    assert "more than days and cards explain" in found.asides[0].text


def test_old_code_that_slowed_with_another_triton_is_slower_and_names_the_toolchain() -> None:
    found = _drifted(1.05, triton="3.9.0")
    assert (found.status, found.reason) == (Status.SLOWER, "slower-toolchain")
    assert found.ratio == pytest.approx(1.05, abs=0.001)
    assert "triton 3.9.0 (baseline 3.6.0)" in found.asides[0].text


def test_another_triton_that_slows_nothing_passes_and_is_said() -> None:
    found = _drifted(1.0001, triton="3.9.0")
    assert found.status is Status.SAME
    assert "triton 3.9.0 (baseline 3.6.0)" in found.asides[0].text


def test_another_commit_than_the_baselines_is_no_anchor() -> None:
    then = dataclasses.replace(recording(THEN, cases=ONE), commit="0123abcdef")
    now = recording(NOW, other="A2", cases=ONE)
    for name, reason in (("0123abc", "same"), ("fffffff", "other-anchor"), ("v1.0", "same")):
        anchored = changed(now, other={"kind": "baseline-commit", "name": name})
        assert _judged(anchored, then).reason == reason


# What forbids a comparison. Each of these would pass in silence if its guard were missing.


def test_a_case_missing_from_the_baseline_is_invalid() -> None:
    found = judge(recording(THEN, cases=CASES[1:]), recording(NOW), LIMITS)
    assert (found[0].reason, exit_code(found)) == ("case-not-in-baseline", 2)


def test_a_case_only_in_the_baseline_is_invalid() -> None:
    found = judge(recording(THEN), recording(NOW, cases=CASES[1:]), LIMITS)
    assert (found[-1].case, found[-1].reason, exit_code(found)) == (CASES[0], "case-not-measured", 2)


def test_a_renamed_case_is_invalid_under_both_names() -> None:
    now = recording(NOW, cases=ONE)
    renamed = dataclasses.replace(now, samples={"new": dataclasses.replace(now.samples[ONE[0]], case="new")})
    found = judge(recording(THEN, cases=ONE), renamed, LIMITS)
    assert {verdict.case: verdict.reason for verdict in found} == {
        "new": "case-not-in-baseline",
        ONE[0]: "case-not-measured",
    }


def test_cases_left_out_on_purpose_get_no_verdict_but_a_missing_one_of_the_chosen_does() -> None:
    found = judge(recording(THEN), recording(NOW, cases=ONE), LIMITS, selected=[*ONE, "sq2048"])
    assert [(verdict.case, verdict.status) for verdict in found] == [
        (ONE[0], Status.SAME),
        ("sq2048", Status.INVALID),
    ]


def test_a_chosen_case_that_nobody_knows_is_invalid() -> None:
    found = _only(judge(None, recording(NOW, other="A2", cases=ONE), LIMITS, selected=["typo"]))
    assert (found.case, found.reason) == ("typo", "case-not-measured")


@pytest.mark.parametrize("then_gpu", ["NVIDIA GeForce RTX 4090", ""])
def test_the_baseline_of_another_or_an_unnamed_card_is_invalid(then_gpu: str) -> None:
    then = recording(THEN, cases=ONE, environment={**ENVIRONMENT, "gpu": then_gpu})
    assert _judged(recording(NOW, cases=ONE), then).reason == "other-card"


def test_two_recordings_that_name_no_card_are_compared_and_it_is_said() -> None:
    found = _judged(recording(NOW, cases=ONE, environment={}), recording(THEN, cases=ONE, environment={}))
    assert found.status is Status.SAME
    assert "card not recorded" in found.text


def test_another_card_of_the_same_model_is_said() -> None:
    then = recording(THEN, cases=ONE, environment={**ENVIRONMENT, "uuid": "GPU-1"})
    now = recording(NOW, cases=ONE, environment={**ENVIRONMENT, "uuid": "GPU-2"})
    assert "another card of the same model" in _judged(now, then).text


def test_another_code_path_is_invalid() -> None:
    now = recording(NOW, cases=ONE, environment={**ENVIRONMENT, "code_path": "sm89"})
    assert _judged(now, recording(THEN, cases=ONE)).reason == "other-code-path"


def test_other_settings_are_invalid_but_more_launches_are_not() -> None:
    then = recording(THEN, cases=ONE)
    assert _judged(recording(NOW, cases=ONE, settings={"rounds": 10}), then).reason == "other-settings"
    more = recording(NOW, cases=ONE, settings={"rounds": 40, "launches": 8})
    assert _judged(more, then).status is Status.SAME


def test_a_changed_contract_is_invalid_and_named() -> None:
    then, now = (changed(recording(part, cases=ONE), contract={"flops": 8}) for part in (THEN, NOW))
    assert _judged(now, then).status is Status.SAME
    found = _judged(changed(now, contract={"flops": 9}), then)
    assert found.reason == "contract-changed"
    assert "flops 9 (baseline 8)" in found.text


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"throttle_reasons": ["hardware slowdown"]}, "throttled"),
        ({"foreign_processes": 1}, "busy"),
        ({"unheld": 60}, "unheld"),
    ],
)
def test_a_disturbed_measurement_is_invalid_never_slower(state: dict[str, Any], reason: str) -> None:
    then = recording(THEN, cases=ONE)
    assert _judged(recording(NOW, cases=ONE, scale=1.3, state=state), then).reason == reason
    assert _judged(recording(NOW, cases=ONE, other="A", scale=1.3, state=state)).reason == reason
    assert _judged(then, recording(NOW, cases=ONE, scale=1.3, state=state)).reason == f"baseline-{reason}"


def test_a_calm_state_is_no_hindrance() -> None:
    calm = {"throttle_reasons": [], "foreign_processes": 0, "unheld": 1, "correct": True, "sm_clock_mhz": 1980}
    assert _judged(recording(NOW, cases=ONE, state=calm), recording(THEN, cases=ONE)).status is Status.SAME


def test_a_wrong_kernel_gets_no_speed_number_and_fails() -> None:
    now = recording(NOW, cases=ONE, state={"correct": False}, environment={})
    found = _judged(now, recording(THEN, cases=ONE))  # wrong comes before the other card
    assert (found.wrong, found.reason, found.ratio, found.exit_code) == (True, "wrong-result", None, 1)


def test_with_neither_baseline_nor_other_side_there_is_no_verdict_but_invalid() -> None:
    found = _judged(recording(NOW, cases=ONE))
    assert (found.status, found.reason) == (Status.INVALID, "no-baseline")


def test_every_sentence_starts_with_its_case_and_ends_with_a_stop() -> None:
    found = [
        *judge(recording(THEN, cases=CASES[1:]), recording(NOW, scale=1.05, cases=CASES[:-1]), LIMITS),
        *judge(None, recording(range(4), kernel="B1", other="A"), LIMITS),
    ]
    for verdict in found:
        assert verdict.text.startswith(f"{verdict.case}: ")
        assert verdict.text.endswith(".")
        assert "\n" not in verdict.text
