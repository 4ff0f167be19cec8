"""From recorded launches to a table: what each number is and which are missing, the file, the cases, and the command."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from perf_tests import cases
from perfgate.measurement import gpu_lock, session
from perfgate.records import GateError
from studies.table import cases as table_cases
from studies.table import command, processes
from studies.table.cases import COMPILE, KERNEL, LIMIT, START, TORCH, About, Entry, Failure, Launched, Recording, read
from studies.table.report import Row, markdown, rows

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
BASELINES = ROOT / "baselines/nvidia-h100-80gb-hbm3"
H100 = "NVIDIA H100 80GB HBM3"
ENVIRONMENT = {"gpu": H100, "why": "", "uuid": "GPU-1", "memory_bytes": "85000000000", "driver": "580.1"}
ENVIRONMENT |= {"torch": "2.14.1", "triton": "3.8.0", "code_path": "native"}
K7 = "k7_small_k"


def entry(**seconds: float) -> Entry:
    return Entry(seconds=seconds, rounds=20, errors={KERNEL: 1.0, START: 2.6}, config={}, state={})


def recording(*launches: dict[str, Entry], path: str = "native", gpu: str = H100, failed: Any = ()) -> Recording:
    known = dict.fromkeys(case for launch in launches for case in launch)
    return Recording(
        about=About(
            environment={**ENVIRONMENT, "gpu": gpu, "code_path": path},
            settings={},
            recorded_at="2026-11-24T10:00",
            command="nox -s study -- table --launches 2",
            commit="0123456789abcdef0123",
            launches=len(launches),
        ),
        cases={case: table_cases.BY_ID[case].contract() for case in known},
        launches=[Launched(launch) for launch in launches],
        failed=list(failed),
    )


def one(found: Recording) -> Row:
    (row,) = rows(found)
    return row


@pytest.mark.parametrize("path", ["native", "sm89"])
def test_the_pages_that_are_kept_are_what_is_said_of_the_launches_that_are_kept(path: str, tmp_path: Path) -> None:
    kept = BASELINES / f"table-{path}.json"
    found = read(kept)
    assert markdown(found) + "\n" == (BASELINES / f"table-{path}.md").read_text(encoding="utf-8")
    found.write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == kept.read_bytes()


def test_a_time_is_the_median_of_launches_and_a_ratio_that_of_the_same_launch() -> None:
    times = ((2e-3, 2e-3), (4e-3, 8e-3), (3e-3, 9e-3))
    row = one(recording(*({K7: entry(kernel=kernel, torch=torch)} for kernel, torch in times)))
    assert row.seconds == 3e-3
    assert row.vs == {TORCH: pytest.approx(2.0)}  # of 1, 2 and 3; medians of each side would give 2.67


def test_a_card_that_is_not_listed_has_rates_and_no_share() -> None:
    found = recording({K7: entry(kernel=2e-3)}, gpu="NVIDIA Something")
    assert (one(found).bound_share, one(found).rate[-4:]) == (None, "GB/s")
    assert "none here, as the peaks of NVIDIA Something are not listed" in markdown(found)


@pytest.mark.parametrize("failed", [KERNEL, TORCH])
def test_an_arm_that_failed_in_any_launch_has_no_number(failed: str) -> None:
    complete = {K7: entry(kernel=1e-3, start=2e-3, torch=3e-3)}
    row = one(recording(complete, complete, failed=[Failure(case=K7, arm=failed, why="raced", wrong=True)]))
    assert row.seconds == (None if failed == KERNEL else 1e-3)
    assert set(row.vs) == (set() if failed == KERNEL else {START})


def test_an_arm_or_a_case_that_a_launch_lacks_has_no_number() -> None:
    first = {K7: entry(kernel=1e-3, start=2e-3, torch=3e-3), "k1_square": entry(kernel=1e-3)}
    found = rows(recording(first, {K7: entry(kernel=1e-3, torch=3e-3)}))
    assert [(row.seconds, set(row.vs)) for row in found] == [(1e-3, {TORCH}), (None, set())]


def test_the_notes_say_what_is_missing_disturbed_or_not_what_it_seems() -> None:
    launch = {"k14_upper_triangular": entry(kernel=1e-3, start=2e-3), K7: entry(kernel=2e-3)}
    launch[K7].state = {"throttle_reasons": ["hardware slowdown"]}
    failed = [Failure(case=case, arm=COMPILE, why="RuntimeError: no | such <tile>") for case in launch]
    found = recording(launch, path="sm89", failed=failed)
    found.about.launches = 3
    text = markdown(found).replace("\\", "").replace("\u200b", "")
    for part in (
        "k14_upper_triangular, k7_small_k: no number for compile: RuntimeError: no | such &lt;tile&gt;",
        "k7_small_k: the card throttled in launch 1 of 1 (hardware slowdown)",
        "Of triangular operands only what may not be zero counts",
        "TRITON_OVERRIDE_ARCH=sm89",
        "1 of 3 launches were made",
    ):
        assert part in text
    plain = markdown(recording({"k1_square": entry(kernel=1e-3)}))
    for absent in ("Triangular", "OVERRIDE", "no number", "throttled", "cut short", "memset"):
        assert absent not in plain


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda document: document.update(schema=9), "has schema 9, expected version 1"),
        (lambda document: document.pop("launches"), "`launches`"),
        (lambda document: document["about"].pop("command"), "`command`"),
        (
            lambda document: document["launches"][0]["cases"].update(other=document["launches"][0]["cases"][K7]),
            "other was",
        ),
        (lambda document: document["launches"][0]["cases"][K7].pop("errors"), "`errors`"),
        (lambda document: document["launches"][0]["cases"][K7]["seconds"].update(kernel=-1.0), "seconds"),
        (lambda document: document["launches"][0]["cases"][K7]["seconds"].update(kernel="1"), "seconds"),
        (lambda document: document["launches"][0]["cases"][K7]["seconds"].pop("kernel"), "without the kernel"),
        (lambda document: document["cases"][K7].update(flops=0), "a case without work"),
        (lambda document: document.update(failed=[{"case": K7}]), "`arm`"),
    ],
)
def test_a_file_of_another_form_is_refused_in_one_line(tmp_path: Path, spoil: Any, said: str) -> None:
    path = tmp_path / "native.json"
    recording({K7: entry(kernel=1e-3)}).write(path)
    document = json.loads(path.read_text(encoding="utf-8"))
    spoil(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(GateError) as refused:
        read(path)
    assert said in refused.value.text
    assert "measure again (nox -s study -- table)" in refused.value.text
    assert "\n" not in refused.value.text


def test_all_cases_are_chosen_where_none_is_named_and_the_large_ones_only_when_asked_for() -> None:
    every = [case.id for case in table_cases.choose([])]
    assert every == [case.id for case in cases.CASES]
    assert [case.id for case in table_cases.choose([], large=True)] == [*every, *(c.id for c in table_cases.LARGE)]
    assert {case.id for case in table_cases.choose([], quick=True)} == {case.id for case in cases.CASES if case.quick}
    assert [case.id for case in table_cases.choose(["sq8192_fp16", "k1_square"])] == ["k1_square", "sq8192_fp16"]


def test_only_cases_bound_by_storing_or_reading_alone_have_a_limit_that_can_be_run() -> None:
    limits = {case.id: limit for case in table_cases.BY_ID.values() if (limit := table_cases.limit_of(case))}
    read_bound, stored = ("k4_matrix_vector", "k6_large_k"), (K7, "k9_tall_skinny", "k11_4d")
    assert limits == {**dict.fromkeys(read_bound, "read"), **dict.fromkeys(stored, "store")}
    assert LIMIT in table_cases.arms_of(table_cases.BY_ID[K7])
    assert table_cases.arms_of(table_cases.BY_ID["k1_square"], without=[COMPILE]) == (KERNEL, START, TORCH)


# --- the command


class Work:
    """Plays the processes: every arm takes as long as it is named here; what fails is told."""

    failed: tuple[Failure, ...] = ()
    cut_after = 99

    def __init__(self, run: processes.Run) -> None:
        self.run = run

    def tune(self) -> None:
        print(f"tuning for {self.run.plan.tune_s:.0f} s")

    def launch(self, write: Callable[[str], None]) -> None:
        wrong = {failure.case for failure in self.failed if failure.arm == KERNEL and failure.wrong}
        for number in range(self.run.plan.launches):
            for path, found in self.run.recordings.items():
                if number >= self.cut_after:
                    raise GateError("busy", "someone came")
                found.failed[:] = self.failed
                arms = {case: given for case, given in self.run.plan.arms.items() if case not in wrong}
                taken = {case: entry(**dict.fromkeys(given, 1e-3)) for case, given in arms.items()}
                found.launches.append(Launched(taken))
                write(path)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card, idle and ours, whose processes are played."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(session, "look_at_machine", lambda _: dict(ENVIRONMENT))
    monkeypatch.setattr(command, "check_idle", lambda _: None)
    monkeypatch.setattr(gpu_lock, "hold", lambda _: nullcontext())
    monkeypatch.setattr(command, "Run", lambda **parts: Work(processes.Run(**parts)))


@pytest.mark.usefixtures("played")
def test_a_run_writes_recording_and_table_of_each_path_and_saved_ones_give_the_same_without_a_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--case", K7, "--case", "k6_large_k", "--launches", "2", "--without", "compile", "--output", str(tmp_path)]
    assert command.main(words) == 0
    out = capsys.readouterr().out
    assert "tuning for 300 s" in out
    for path in ("native", "sm89"):
        kept = read(tmp_path / f"{path}.json")
        assert (kept.path, len(kept.launches), list(kept.cases)) == (path, 2, ["k6_large_k", K7])
        assert COMPILE not in kept.launches[0].cases[K7].seconds
        assert kept.about.command == f"nox -s study -- table {' '.join(words)}"
        assert kept.about.settings["warmup_rounds"] > 0
        page = (tmp_path / f"{path}.md").read_text(encoding="utf-8")
        assert page in out
        assert command.main(["--from", str(tmp_path / f"{path}.json")]) == 0
        assert page in capsys.readouterr().out


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize(
    ("failed", "code"),
    [
        (Failure(case=K7, arm=TORCH, why="out of memory"), 0),
        (Failure(case=K7, arm=KERNEL, why="wrong", wrong=True), 1),
        (Failure(case=K7, arm=KERNEL, why="does not fit"), 2),
    ],
    ids=["contender", "wrong kernel", "no room"],
)
def test_a_contender_may_fail_and_the_kernel_may_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, failed: Failure, code: int
) -> None:
    monkeypatch.setattr(Work, "failed", (failed,))
    words = ["--case", K7, "--case", "k9_tall_skinny", "--paths", "native", "--output", str(tmp_path)]
    assert command.main(words) == code
    assert command.main(["--from", str(tmp_path / "native.json")]) == code


@pytest.mark.usefixtures("played")
def test_a_run_that_is_cut_short_keeps_its_launches_and_no_earlier_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--case", K7, "--paths", "native", "--output", str(tmp_path)]
    command.main(words)
    monkeypatch.setattr(Work, "cut_after", 1)
    assert command.main(words) == 2
    assert capsys.readouterr().err == "INVALID busy: someone came\n"
    assert [path.name for path in tmp_path.iterdir()] == ["native.json"]
    command.main(["--from", str(tmp_path / "native.json")])
    assert "1 of 3 launches were made before the run was cut short" in capsys.readouterr().out


@pytest.mark.usefixtures("played")
def test_a_busy_card_is_refused_before_anything_is_tuned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def busy(_: object) -> None:
        raise GateError("busy", "99 % busy")

    monkeypatch.setattr(command, "check_idle", busy)
    assert command.main(["--output", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.err == "INVALID busy: 99 % busy\n"
    assert "tuning" not in said.out
