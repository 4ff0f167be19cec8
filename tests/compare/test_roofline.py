"""What a time means: rates, the roofline, the control."""

from __future__ import annotations

import pytest

from perfgate.compare.roofline import Metrics, metrics
from perfgate.hardware.gpus import card

CONTRACT = {"flops": 2 * 4096**3, "min_bytes": 3 * 4096**2 * 4, "unit": "tf32"}
H100 = card("NVIDIA H100 80GB HBM3")


def test_metrics_follow_from_the_contract() -> None:
    found = metrics(CONTRACT, 1.652e-3, control_seconds=0.345e-3, card=H100)
    assert found.tflops == pytest.approx(83.19, abs=0.01)
    assert found.gb_per_s == pytest.approx(121.9, abs=0.1)
    assert found.roofline_share == pytest.approx(83.19 / 494.7, rel=1e-3)
    assert found.vs_control == pytest.approx(0.345 / 1.652)


def test_a_memory_bound_case_is_held_against_the_memory() -> None:
    found = metrics({"flops": 1, "min_bytes": 3.35e9, "unit": "tf32"}, 2e-3, card=H100)
    assert found.roofline_share == pytest.approx(0.5)


def test_what_is_not_known_is_none() -> None:
    nothing = Metrics(
        seconds=1.0, control_seconds=None, tflops=None, gb_per_s=None, roofline_share=None, vs_control=None
    )
    assert metrics({}, 1.0) == nothing
    assert metrics(CONTRACT, 1.0, card=card("unheard of")).roofline_share is None
