"""The error measures: numbers that are known beforehand, whatever the blocks."""

from __future__ import annotations

import math

import pytest
import torch

from perfgate.harness.correctness import WrongResultError, round_to_tf32
from studies.accuracy.errors import distribution, errors_of, mean_of, truncate_to_tf32


def operands(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(37, 50, generator=generator), torch.randn(50, 41, generator=generator)


def exact(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a.double() @ b.double()


def test_a_result_that_is_too_small_by_a_share_has_that_share_as_its_mean_and_as_its_rms() -> None:
    a, b = operands()
    found = errors_of({"small": exact(a, b) * (1 - 2.0**-10)}, a, b)["small"]
    assert found.mean == pytest.approx(-(2.0**-10), rel=1e-9)
    assert found.rms == pytest.approx(2.0**-10, rel=1e-9)


def test_an_error_that_follows_no_sign_has_no_mean() -> None:
    a, b = operands()
    product = exact(a, b)
    found = errors_of({"shifted": product + 1e-3 * product.abs().mean()}, a, b)["shifted"]
    towards = float(product.sign().mean())
    assert found.mean == pytest.approx(1e-3 * towards, rel=1e-9)
    assert abs(found.mean) < found.rms / 2


def test_errors_by_the_size_of_the_terms_do_not_grow_where_a_result_is_near_zero() -> None:
    a, b = torch.tensor([[1.0, -1.0]]), torch.tensor([[1.0], [1.0 + 2.0**-20]])
    found = errors_of({"off": exact(a, b) - 2.0**-20}, a, b)["off"]
    assert found.scaled_largest == pytest.approx(2.0**-21, rel=1e-5)
    assert found.scaled_mean == pytest.approx(2.0**-21, rel=1e-5)  # away from zero: the product is negative
    assert found.scaled_rms == found.scaled_largest


def test_blocks_change_nothing() -> None:
    a, b = operands()
    results = {"fp32": a @ b, "bf16": (a @ b).bfloat16()}
    whole, small = errors_of(results, a, b), errors_of(results, a, b, block=120)
    for name in results:
        for measure in ("mean", "rms", "scaled_mean", "scaled_rms", "scaled_largest"):
            assert getattr(small[name], measure) == pytest.approx(getattr(whole[name], measure), rel=1e-9)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_result_with_nan_or_infinity_is_wrong_and_gets_no_error(value: float) -> None:
    a, b = operands()
    result = a @ b
    result[3, 5] = value
    with pytest.raises(WrongResultError, match="kernel: the result holds NaN or infinity"):
        errors_of({"kernel": result}, a, b)


def test_truncation_keeps_what_tf32_holds_and_never_grows() -> None:
    x = torch.cat([operands()[0].flatten(), torch.tensor([0.0, -0.0, 1.0, -3.0, 1 + 2.0**-10, math.inf])])
    cut = truncate_to_tf32(x)
    assert bool((cut.abs() <= x.abs()).all())
    assert bool(((x - cut).abs().nan_to_num() < x.abs() * 2.0**-10 + 1e-45).all())
    assert torch.equal(truncate_to_tf32(round_to_tf32(x)), round_to_tf32(x))


def test_a_mean_s_error_is_of_draws_and_not_of_elements() -> None:
    found = mean_of([1.0, 2.0, 3.0, 6.0])
    assert found.value == 3.0
    assert found.error == pytest.approx(math.sqrt(14 / 3) / 2)
    assert found.draws == 4


def test_draws_are_joined_by_mean_square_and_largest() -> None:
    a, b = operands()
    draws = [errors_of({"x": exact(a, b) * (1 + share)}, a, b)["x"] for share in (3e-3, -4e-3)]
    found = distribution(draws)
    assert found.mean.value == pytest.approx(-0.5e-3)
    assert found.rms == pytest.approx(math.sqrt((9e-6 + 16e-6) / 2))
    assert found.scaled_largest == max(draw.scaled_largest for draw in draws)
