"""What was found of accuracy, as sentences and a page, and the exit code. Measures nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from perfgate.text import duration, percent, pipes
from studies.accuracy.arms import FULL, KERNEL, KERNEL_SUMS, TOLERANCE, TORCH, TORCH_SUMS, Arm, Check, Problem
from studies.accuracy.errors import ALARM, FLOOR, TELLING, Bias, Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from studies.accuracy.cost import Cost
    from studies.accuracy.errors import Distribution, Mean
    from studies.table.cases import Launched

_INTERPRETED = """\
**Not a card's numbers.** There is none here ({why}), so the kernel ran in Triton's interpreter, which rounds operands as the
kernel does but adds in IEEE FP32: what a tensor core's additions do is not seen, and `tf32x3` and `bf16x3` are plain FP32."""
_BIAS = """\
How much too large results are on average, relative to them; below zero is toward zero, as truncation goes. A draw's
*rounding shift* is the mean signed error Σ (c − r) sign(r) / Σ |r| of the product less that of the same operands rounded to
nearest TF32 beforehand; so what a tensor core does as it adds, which rounding of operands cannot mend, is in the last columns
and not in the shift. Means are over {draws} independent draws, ± half the interval of Student's t which all together leave
{alarm:g} to chance. Biased is a shift beyond 2⁻²³ = {floor:.2g}, one FP32 rounding, by more than that; no bias means besides
that {telling:.0%} of truncation's shift is ruled out. Half a TF32 step is 2⁻¹¹ = 4.9e-04."""
_CHECK = """\
`torch.allclose(reference, result, atol={tolerance:g}, rtol={tolerance:g})` on [0, 1) inputs, reference in FP32 by torch; one
element that fails is a wrong result. The modes of full accuracy have to pass; TF32 cannot promise to."""
_COST = """\
GPU time of a launch, median over processes, L2 flushed, stream held, arms in random order each round; the ratio is to the
kernel's own TF32 within a process, with the range over processes."""
_ERRORS = """\
Against float64, {draws} draws each, ± one standard error. *To the result*: Σ (c − r) sign(r) / Σ |r| and √(Σ (c − r)² / Σ r²).
*To |A| |B|*: of (c − r) sign(r) / (|A| |B|), element by element, what error bounds speak of. Torch has no `tf32x3` or
`bf16x3`; its row at `ieee` stands beside them. Its other settings are as it has them by default."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that was found."""

    environment: Mapping[str, str]
    interpreted: bool
    command: str
    date: str
    draws: int
    errors: Mapping[Problem, Mapping[Arm, Distribution]]
    rounding: Mapping[str, Mapping[Problem, Bias]]
    """By whose; ``kernel`` is judged, ``torch`` stands beside it."""
    checks: Sequence[Check]
    costs: Sequence[Cost] = ()
    not_timed: str = ""
    """Why there are no costs, where there are none."""
    launches: Sequence[Launched] = field(default=())
    """What each timing process recorded."""

    @property
    def exit_code(self) -> int:
        """1 for a biased rounding or a broken promise, 2 where a bias could not be told, else 0."""
        findings = {bias.finding for bias in self.rounding[KERNEL].values()}
        if Finding.BIASED in findings or self.broken:
            return 1
        return 2 if Finding.UNSURE in findings or not findings else 0

    @property
    def broken(self) -> list[Check]:
        """Modes of full accuracy that fail KernelBench's check."""
        return [check for check in self.checks if check.promised and check.failing]


def sentences(report: Report) -> list[str]:
    """One on each question: is TF32 biased, is full accuracy full, what does it cost."""
    return [_bias_sentence(report.rounding[KERNEL]), _check_sentence(report), _cost_sentence(report)]


def _bias_sentence(found: Mapping[Problem, Bias]) -> str:
    worst = max(found.items(), key=lambda one: abs(one[1].shift.value))
    for finding, what in (
        (Finding.BIASED, f"expected at most {FLOOR:.2g} beyond chance; see how operands are rounded to TF32"),
        (Finding.UNSURE, "expected an interval that tells it from truncation; take more --draws or a larger --size"),
    ):
        named = {problem: bias for problem, bias in found.items() if bias.finding is finding}
        if named:
            problem, bias = max(named.items(), key=lambda one: abs(one[1].shift.value) + one[1].reach)
            return (
                f"tf32: {finding} in {len(named)} of {len(found)}: on {problem} rounding operands shifts results by "
                f"{bias.shift.value:+.2e} ± {bias.reach:.1e} (truncation: {bias.truncation:+.2e}), {what}."
            )
    problem, bias = worst
    return (
        f"tf32: no bias in {len(found)} of {len(found)}: rounding operands shifts results by {bias.shift.value:+.2e} ± "
        f"{bias.reach:.1e} at most ({problem}), where truncation shifts them by {bias.truncation:+.2e}."
    )


def _check_sentence(report: Report) -> str:
    for check in report.broken:
        return (
            f"{check.precision}: {check.failing} of {check.elements} elements of {check.case} fail KernelBench's "
            f"{TOLERANCE:g} (worst {check.worst:.3g} times what is allowed), expected none; see how products are split and summed."
        )
    promised = [check for check in report.checks if check.promised]
    worst = max(check.worst for check in promised)
    cut = "" if all(check.whole for check in promised) else " (M and N cut to what fits here)"
    return (
        f"{', '.join(FULL)}: no element of {', '.join(dict.fromkeys(check.case for check in promised))}{cut} fails "
        f"KernelBench's {TOLERANCE:g} on [0, 1); the worst takes {worst:.2g} of it."
    )


def _cost_sentence(report: Report) -> str:
    if report.not_timed:
        return f"cost of full accuracy: NOT measured, {report.not_timed}."
    parts = []
    for case in dict.fromkeys(cost.case for cost in report.costs):
        cheapest = min((c for c in report.costs if c.case == case and c.arm in FULL), key=lambda c: c.ratio)
        parts.append(f"{case} {cheapest.arm} {percent(cheapest.ratio)}")
    return f"cost of full accuracy over tf32, cheapest mode: {'; '.join(parts)}."


def markdown(report: Report) -> str:
    """The page."""
    about = report.environment
    if report.interpreted:
        where = "Triton's interpreter, no card"
    else:
        where = f"{about['gpu']}, {about['code_path']} code path, driver {about['driver']}, CUDA {about['cuda']}"
    cost = _table(("case", "arm", "time", "over tf32", "range"), [_cost_row(cost) for cost in report.costs])
    paragraphs = [
        "# Accuracy",
        f"{where}; torch {about['torch']}, Triton {about['triton']}; {report.date}; `{report.command}`.",
        *([_INTERPRETED.format(why=about["why"] or "TRITON_INTERPRET is set")] if report.interpreted else []),
        "\n".join(f"- {sentence}" for sentence in sentences(report)),
        "## Bias of TF32",
        _BIAS.format(draws=report.draws, alarm=ALARM, floor=FLOOR, telling=TELLING),
        _table(
            ("inputs", "M×N×K", "whose", "rounding shift", "", "truncation", "sums in the tensor core", "all together"),
            [
                _bias_row(report.errors, problem, by, bias)
                for by, found in report.rounding.items()
                for problem, bias in found.items()
            ],
        ),
        "## KernelBench's check",
        _CHECK.format(tolerance=TOLERANCE),
        _table(("case", "M×N×K", "precision", "by", "failing", "worst / allowed"), map(_check_row, report.checks)),
        "## What full accuracy costs",
        f"Not measured: {report.not_timed}." if report.not_timed else f"{_COST}\n\n{cost}{_noticed(report)}",
        "## All errors",
        _ERRORS.format(draws=report.draws),
        *(
            f"### {problem.inputs}, {_shape(problem.m, problem.n, problem.k)}\n\n{_error_table(by_arm)}"
            for problem, by_arm in report.errors.items()
        ),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _bias_row(
    errors: Mapping[Problem, Mapping[Arm, Distribution]], problem: Problem, by: str, bias: Bias
) -> tuple[str, ...]:
    sums = errors[problem][Arm("tf32", {KERNEL: KERNEL_SUMS, TORCH: TORCH_SUMS}[by])]
    return (
        problem.inputs,
        _shape(problem.m, problem.n, problem.k),
        by,
        f"{bias.shift.value:+.2e} ± {bias.reach:.1e}",
        str(bias.finding),
        f"{bias.truncation:+.2e}",
        f"{sums.mean.value:+.2e}",
        f"{errors[problem][Arm('tf32', by)].mean.value:+.2e}",
    )


def _check_row(check: Check) -> tuple[str, ...]:
    failing = f"{check.failing:,} of {check.elements:,}"
    shape = _shape(*check.shape) + ("" if check.whole else " (cut)")
    return check.case, shape, check.precision, check.by, failing, f"{check.worst:.3g}"


def _cost_row(cost: Cost) -> tuple[str, ...]:
    span = f"{percent(min(cost.ratios))} to {percent(max(cost.ratios))}"
    return cost.case, cost.arm, duration(cost.seconds), percent(cost.ratio), span


def _noticed(report: Report) -> str:
    """What the card said while it was timed that makes a time doubtful."""
    states = [entry.state for launch in report.launches for entry in launch.cases.values()]
    noticed = sorted({reason for state in states for reason in state["throttle_reasons"]})
    # The process that starts the timing ones is on the card as well, and idle.
    noticed += ["another process was on the card"] if any(state["foreign_processes"] > 1 for state in states) else []
    noticed += [f"{n} launches were not held" for n in [sum(state["unheld"] for state in states)] if n]
    return f"\n\n**Doubtful**: {', '.join(noticed)}." if noticed else ""


def _error_table(by_arm: Mapping[Arm, Distribution]) -> str:
    head = ("precision", "by", "mean to the result", "RMS", "mean to \\|A\\| \\|B\\|", "RMS", "largest")
    rows = [
        (
            *(arm.precision, arm.by, _mean(found.mean), f"{found.rms:.2e}"),
            *(_mean(found.scaled_mean), f"{found.scaled_rms:.2e}", f"{found.scaled_largest:.2e}"),
        )
        for arm, found in by_arm.items()
    ]
    return _table(head, rows)


def _mean(mean: Mean) -> str:
    return f"{mean.value:+.2e} ± {mean.error:.1e}"


def _shape(*sizes: int) -> str:
    return "×".join(map(str, sizes))


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    return "\n".join(pipes(head, rows))
