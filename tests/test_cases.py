"""What the suite gives to the gate beside the kernel."""

from __future__ import annotations

import pytest
import torch

from perf_tests import cases


@pytest.mark.parametrize(("precision", "tf32"), [("tf32", True), ("ieee", False)])
def test_the_control_has_the_precision_of_its_case_whatever_ran_before(precision: str, *, tf32: bool) -> None:
    case = cases.matmul_case("any", (8, 4), (4, 6), precision=precision)
    a, b = torch.ones(8, 4), torch.ones(4, 6)
    launch = cases.control(case, a, b)
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = not tf32
        assert torch.equal(launch(), torch.full((8, 6), 4.0))
        assert torch.backends.cuda.matmul.allow_tf32 is tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
