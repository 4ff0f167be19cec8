"""The scenarios: which files, which commands on them. Files are recorded launches (``tests/data``), whole or spoilt.

They reach the project through its command line alone, and through the builders of ``tests/support``.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.golden.playing import INPUTS, Scenario, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

FEW = ("k7_small_k", "k1_sq4096", "tiny512")
THEN_NOW = ("--baseline", "then.json", "--current", "now.json")
FORMATS = ("text", "markdown", "json")
STORED = "baselines/nvidia-h100-80gb-hbm3"


def in_formats(*words: str, formats: Iterable[str] = FORMATS) -> list[list[str]]:
    """One command in each of its formats."""
    return [[*words, "--format", form] for form in formats]


def _keep(world: World, name: str, launches: Sequence[int], spoil: Callable[[str], str] = str, **options: Any) -> None:
    """Recorded launches as a file."""
    from recorded import document

    made = document(launches, **{"cases": FEW, **options})
    world.write(name, spoil(json.dumps(made, sort_keys=True)))


def files(then: dict[str, Any] | None, now: dict[str, Any], **more: dict[str, Any]) -> Callable[[World], None]:
    """A builder of ``now.json``, of ``then.json`` where there is one, and of others by name."""

    def build(world: World) -> None:
        for name, options in {"then": then, "now": now, **more}.items():
            if options is not None:
                _keep(world, f"{name}.json", **options)

    return build


def _card(gpu: str, uuid: str = "GPU-1") -> dict[str, str]:
    from recorded import ENVIRONMENT

    return {**ENVIRONMENT, "gpu": gpu, "uuid": uuid}


RTX_4090 = "NVIDIA GeForce RTX 4090"
FIRST = {"launches": range(6)}
"""Launches of the first card, as a baseline."""


def judging(name: str, build: Callable[[World], None], *words: str, formats: Iterable[str] = FORMATS) -> Scenario:
    """One pair of files, judged in each format."""
    return Scenario(name=f"judge-{name}", build=build, commands=in_formats("judge", *words, formats=formats))


def _several_cards(world: World) -> None:
    for name, gpu, scale in (("h100", "NVIDIA H100 80GB HBM3", 1.0), ("rtx-4090", RTX_4090, 1.05)):
        _keep(world, f"then-{name}.json", range(6), environment=_card(gpu))
        _keep(world, f"now-{name}.json", range(6, 11), environment=_card(gpu), scale=scale)


def _several_launches(world: World) -> None:
    for number in range(4):
        _keep(world, f"launch-{number}.json", [number], kernel="B1", other="A")


def _halves(world: World) -> None:
    """The H100's own baseline: its first four launches, and its last four as if they were measured later."""
    whole = json.loads((world.tree / STORED / "matmul.json").read_text(encoding="utf-8"))
    cases = whole["benchmarks"]
    for name, part in (("then", slice(0, 4)), ("now", slice(4, 8))):
        benchmarks = []
        for case in cases:
            ours = case["extra_info"]["perfgate"]
            ours = {**ours, "launches": ours["launches"][part]}
            benchmarks.append({**case, "extra_info": {"perfgate": ours}})
        world.write(f"{name}.json", json.dumps({**whole, "benchmarks": benchmarks}))
    contract = cases[0]["extra_info"]["perfgate"]["contract"]
    text = (world.folder / "now.json").read_text(encoding="utf-8")
    world.write("other-work.json", text.replace(json.dumps(contract), json.dumps({**contract, "flops": 1}), 1))
    world.write("other-code.json", text.replace('"code": {"kernel": "', '"code": {"kernel": "0'))
    world.write("wrong-settings.json", text.replace('"rounds": 80, "warmup', '"rounds": 60, "warmup'))


SPOILT: dict[str, Callable[[str], str]] = {
    "truncated": lambda text: text[: len(text) // 2],
    "empty": lambda _: "",
    "array": lambda _: "[]",
    "no-cases": lambda _: '{"benchmarks": []}',
    "other-schema": lambda text: text.replace('"schema": 1', '"schema": 2'),
    "nan": lambda text: text.replace('"kernel": [', '"kernel": [NaN, ', 1),
    "negative": lambda text: text.replace('"kernel": [', '"kernel": [-1.0, ', 1),
    "words": lambda text: text.replace('"kernel": [', '"kernel": ["fast", ', 1),
    "no-samples": lambda text: text.replace('"kernel": [', '"kernel": [], "ignored": [', 1),
    "renamed": lambda text: text.replace('"case": "k1_sq4096"', '"case": "square4096"'),
    "twice": lambda text: text.replace('"case": "k1_sq4096"', '"case": "tiny512"'),
    "no-settings": lambda text: text.replace('"settings": {"rounds": 40}', '"settings": {}'),
    "other-settings": lambda text: text.replace('"rounds": 40}', '"rounds": 20}'),
    "other-driver": lambda text: text.replace("580.159.04", "590.1"),
    "other-card": lambda text: text.replace("H100", "H200"),
    "markup": lambda text: text.replace('"case": "k1_sq4096"', '"case": "<b>|k1`"'),
}


def _spoilt(world: World) -> None:
    _keep(world, "then.json", range(5))
    for name, spoil in SPOILT.items():
        _keep(world, f"{name}.json", range(5, 10), spoil)


def judge_scenarios() -> list[Scenario]:
    """Pairs of files that end in every way there is."""
    slower = {"k7_small_k": 1.05, "tiny512": 1.02}
    later = {"launches": range(6, 11)}
    drifted = files({**FIRST, "scale": 1.011}, {**later, "scale": 1.022}, anchor=FIRST)
    halves, one = ("judge", "--baseline", "then.json", "--current"), ("--case", "k1_square")
    return [
        judging("same", files(FIRST, {"launches": range(12, 17)}), *THEN_NOW),
        judging("slower", files(FIRST, {**later, "scale": slower}), *THEN_NOW),
        judging("faster", files(FIRST, {**later, "scale": 0.93}), *THEN_NOW),
        judging("beside", files(None, {"launches": range(8), "kernel": "B1", "other": "A"}), "--current", "now.json"),
        judging(
            "beside-baseline-commit",
            files(FIRST, {**later, "kernel": "B3", "other": "A2", "other_kind": "baseline-commit"}),
            *THEN_NOW,
        ),
        judging(
            "unsure",
            files(None, {"launches": range(2), "kernel": "B1", "other": "A", "cases": ("k9_8k", "k1_sq4096")}),
            "--current",
            "now.json",
        ),
        judging("one-launch", files({"launches": [0]}, {"launches": [1]}), *THEN_NOW),
        judging("missing-case", files(FIRST, {**later, "cases": FEW[1:]}), *THEN_NOW),
        judging("new-case", files({**FIRST, "cases": FEW[1:]}, later), *THEN_NOW),
        judging("no-baseline", files(None, later), "--current", "now.json"),
        judging(
            "partial", files(FIRST, {**later, "scale": slower}), *THEN_NOW, "--case", "k1_sq4096", "--case", "tiny512"
        ),
        judging("unknown-case", files(FIRST, later), *THEN_NOW, "--case", "no-such"),
        judging("drift", drifted, *THEN_NOW, "--anchor", "anchor.json"),
        judging("drift-fails", drifted, *THEN_NOW, "--anchor", "anchor.json", "--fail-on-drift"),
        judging(
            "several-cards",
            _several_cards,
            *("--baseline", "then-h100.json", "--baseline", "then-rtx-4090.json"),
            *("--current", "now-h100.json", "now-rtx-4090.json"),
        ),
        judging("several-launches", _several_launches, "--current", *(f"launch-{number}.json" for number in range(4))),
        judging(
            "other-uuid",
            files(FIRST | {"environment": _H100_1}, later | {"environment": _H100_1 | {"uuid": "GPU-2"}}),
            *THEN_NOW,
        ),
        Scenario(
            name="judge-doubled",
            build=files(FIRST, later),
            commands=[
                ["judge", "--baseline", "then.json", "--current", "now.json", "now.json"],
                ["judge", "--baseline", "then.json", "--baseline", "then.json", "--current", "now.json"],
                ["judge", "--baseline", "now.json", "--current", "now.json"],
            ],
        ),
        Scenario(
            name="judge-spoilt",
            build=_spoilt,
            commands=[
                command
                for name in SPOILT
                for command in (
                    ["judge", "--baseline", "then.json", "--current", f"{name}.json"],
                    ["judge", "--baseline", f"{name}.json", "--current", "then.json", "--format", "json"],
                )
            ],
        ),
        Scenario(
            name="judge-usage",
            build=files(FIRST, later),
            commands=[
                ["judge"],
                ["judge", "--baseline", "x"],
                ["judge", "--current"],
                ["judge", "--current", "now.json", "--format", "xml"],
                ["judge", "--current", "now.json", "--curent", "y"],
                *in_formats("judge", "--current", "none.json"),
                ["judge", "--baseline", "none.json", "--current", "now.json"],
            ],
        ),
        Scenario(
            name="judge-limits",
            build=_limits,
            commands=[["judge", *THEN_NOW]],
        ),
        Scenario(
            name="judge-whole-baseline",
            build=_halves,
            commands=[
                *in_formats(*halves, "now.json"),
                *([*halves, f"{name}.json", *one] for name in ("other-work", "other-code", "wrong-settings")),
            ],
        ),
    ]


_H100_1 = {
    "gpu": "NVIDIA H100 80GB HBM3",
    "driver": "580.159.04",
    "torch": "2.11.0+cu130",
    "triton": "3.6.0",
    "uuid": "GPU-1",
}


def _limits(world: World) -> None:
    files(FIRST, {"launches": range(6, 11), "scale": 1.05})(world)
    world.write("pyproject.toml", "[tool.perfgate.limits]\nstored_tolerence = 0.1\n")


def _pages(world: World) -> None:
    shutil.copy(INPUTS / "run.json", world.folder)
    _keep(world, "current.json", range(6, 11), kernel="B3", other="A2", other_kind="baseline-commit")
    _halves(world)
    _several_cards(world)
    counter = {"name": "L2 hit rate", "before": "99.2 %", "after": "91.0 %", "moved": True}
    case = "k1_square"
    extra = {"schema": 1, "counters": {case: [counter]}, "moved_with_it": {case: ["L2 hits fell."]}}
    step = {"commit": "c" * 40, "date": "2026-11-20T10:00:00+00:00", "reason": "first", "time_s": 0.0003}
    world.write("counters.json", json.dumps(extra))
    world.write("history.json", json.dumps({"schema": 1, "history": {case: [step]}}))


def report_scenarios() -> list[Scenario]:
    """Pages; only their words are held, as their markup is nobody's contract."""
    two = ("--case", "k1_square", "--case", "k7_small_k")
    cards = ("now-h100.json", "now-rtx-4090.json", "--baseline", "then-h100.json", "--baseline", "then-rtx-4090.json")
    pages = {
        "run": ("run.json", "current.json"),
        "stored": ("now.json", "--baseline", "then.json", *two),
        "cards": cards,
    }
    return [
        Scenario(
            name="report",
            build=_pages,
            commands=[
                *(["report", *words, "--output", f"{name}.html"] for name, words in pages.items()),
                ["report", "none.json"],
                ["report", "now.json", "--counters", "history.json"],
                ["report", "now.json", "--output", "none/page.html"],
            ],
            pages=[f"{name}.html" for name in pages],
            taken_out=[(r"\.page\.html\.\w+\.tmp", ".page.html.<n>.tmp")],
        ),
        Scenario(
            name="report-extras",
            build=_pages,
            commands=[
                ["report", "now.json", *two[:2], f"--{extra}", f"{extra}.json", "--output", f"{extra}.html"]
                for extra in ("counters", "history")
            ],
            pages=["counters.html", "history.html"],
        ),
    ]


def _past(world: World) -> None:
    from history_support import CARD, Past, facts, measured

    past = Past(world.folder / "project")
    past.baseline(1.0, "first baseline", anchor=True)
    past.compiled(facts(162), reason="first machine code")
    past.baseline(0.95, "larger tiles")
    past.compiled(facts(200, spills=2), reason="larger tiles")
    past.baseline(0.98, "a raster order that costs")
    past.spoil(f"{CARD}/matmul.json", b"{")
    past.baseline(0.981, "mended")
    past.store(measured(1.04, launch=4), "", "../now.json")
    world.patched.chdir(past.root)


def _briefed(world: World) -> None:
    for part in ("baselines/sm_89/compiled.json", f"{STORED}/counters.json", "pyproject.toml"):
        (world.folder / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(world.tree / part, world.folder / part)
    shutil.copytree(world.tree / "kernels", world.folder / "kernels")
    shutil.copy(world.tree / "tests/data/starting-counters.json", world.folder)


def _examined(world: World, differs: Callable[[], Mapping[str, Any]]) -> None:
    from doctor_support import RTX_4090_RUNNER, PlayedProbe

    probe = PlayedProbe({**RTX_4090_RUNNER, **differs()})
    world.patched.setattr("perfgate.doctor.probe.Probe", lambda *_, **__: probe)


def _faulty() -> dict[str, Any]:
    """A machine with a fault of each kind."""
    from doctor_support import BASELINE, GOVERNOR, HEADER, HOOK, PARAMETERS, RUNNER, baseline_of

    return {
        "python": (3, 10),
        "run git": (0, "true\n"),
        "run gcc": False,
        "run sudo": (0, ""),
        HEADER: None,
        GOVERNOR: "powersave\n",
        PARAMETERS: "RmProfilingAdminOnly: 1\n",
        "PersistenceMode": 0,
        "DisplayActive": 1,
        f"read {BASELINE}": baseline_of("0" * 40),
        "temperature_c": 80,
        f"{RUNNER}/.runner": '{"agentName": "box-1", "ephemeral": false}',
        f"owned {HOOK}": (0, 0, 0o644),
    }


def _bare() -> dict[str, Any]:
    """A machine without driver, card and runner."""
    from doctor_support import LAPTOP

    return LAPTOP


def _profiled(world: World) -> None:
    from counters_support import on_the_path, project_with_a_card

    on_the_path(project_with_a_card(world.folder, world.patched), world.patched)
    for name, module in list(sys.modules.items()):
        if name.startswith("perfgate.") and hasattr(module, "check_idle"):  # there is no card to watch
            world.patched.setattr(module, "check_idle", lambda _: None)


def _calibrated(world: World) -> None:
    world.write("pyproject.toml", "[tool.perfgate]\n")
    shutil.copy(world.tree / STORED / "calibration-quick.json.gz", world.folder / "quick.json.gz")
    for name in ("perfgate.calibration_report", "perfgate.calibration.report"):  # before the redesign, and since
        with contextlib.suppress(ImportError):
            world.patched.setattr(f"{name}.draw", lambda *_, **__: None)


def _slower_memory(world: World) -> None:
    from counters_support import CALL, Ncu, with_counters

    Ncu(world.folder / "bin", world.folder).play(calls={"kernel": with_counters(L2_hit_rate=81.0), "other": CALL})


def other_scenarios() -> list[Scenario]:
    """Commands that need no card, or a played one."""
    counted = ("counters", "--case", "k7_small_k")
    examined = in_formats("doctor", formats=("text", "json"))
    return [
        Scenario(
            name="history",
            build=_past,
            commands=[
                *in_formats("history", formats=("text", "json")),
                *in_formats("history", "--case", "sq2048", "--", "now.json", formats=("text",)),
                ["history", "now.json", "--case", "k8_irregular", "--format", "json"],
                ["history", "--case", "none"],
                ["history", "--gpu", "none"],
            ],
            taken_out=[(r"\b([0-9a-f]{40}|[0-9a-f]{12}|[0-9a-f]{8})\b", "<commit>")],
        ),
        Scenario(
            name="brief",
            build=_briefed,
            commands=[
                ["brief", "k7_small_k", "--counters", "starting-counters.json", "--time", "0.00231"],
                ["brief", "k1_square", "--stage", "blocks"],
                ["brief", "none"],
            ],
            taken_out=[
                (r"```python\n(.*\n)*?```\n", "```python\n<the kernel>\n```\n"),
                (r"`perfgate/[\w/]+\.py`", "`<module>`"),
            ],
        ),
        *(
            Scenario(name=f"doctor-{name}", build=partial(_examined, differs=differs), commands=examined)
            for name, differs in (("good", dict), ("faulty", _faulty), ("bare", _bare))
        ),
        Scenario(
            name="calibrate",
            build=_calibrated,
            commands=[["calibrate", "--from", "quick.json.gz", "--runs", "5"], ["calibrate", "--from", "none.json"]],
        ),
        Scenario(
            name="counters",
            build=_profiled,
            commands=[
                counted,
                [*counted, "--record"],
                [*counted, "--record", "--reason", "first"],
                _slower_memory,
                counted,
                ["counters", "--calls", "1"],
            ],
            files=[f"{STORED}/counters.json"],
            taken_out=[
                (r"\d{4}-\d\d-\d\dT[\d:+.]+", "<date>"),
                ('"(cuda|python|torch|triton)": ".*"', r'"\1": "<version>"'),
            ],
        ),
    ]


_DOUBLED = """

_right = triton_matmul


def triton_matmul(*operands, **options):
    return _right(*operands, **options) * 2
"""


def _two_kernels(world: World) -> None:
    world.project()
    kernel = (world.folder / "kernels/matmul.py").read_text(encoding="utf-8")
    world.write("doubled.py", kernel + _DOUBLED)


def _wrong(world: World) -> None:
    world.project()
    with (world.folder / "kernels/matmul.py").open("a", encoding="utf-8") as kernel:
        kernel.write(_DOUBLED.replace(" * 2", ".mul_(2)"))


def apart_scenarios() -> list[Scenario]:
    """What compiles and runs the kernel; each costs seconds, so these are few."""
    return [
        Scenario(
            name="run",
            build=_two_kernels,
            apart=True,
            commands=[
                ["run"],
                *in_formats("compiled", formats=("text", "json")),
                ["compiled", "--case", "k4_matrix_vector"],
                ["compiled", "--against", "doubled.py"],
                ["compiled", "--case", "none"],
                ["compiled", "--base", "main", "--against", "main"],
            ],
            files=[".perfgate/run.json", ".perfgate/junit.xml", ".perfgate/compiled.json"],
            pages=[".perfgate/report.html"],
        ),
        Scenario(
            name="run-wrong",
            build=_wrong,
            apart=True,
            commands=[["run", "--launches", "0"], ["run", "--case", "none"], ["run", "--case", "edge_one"]],
            files=[".perfgate/run.json", ".perfgate/junit.xml"],
        ),
        Scenario(
            name="update-baselines",
            build=World.project,
            apart=True,
            commands=[
                ["update-baselines"],
                ["update-baselines", "--only", "compiled", "--reason", "smaller tiles", "--dry-run", "out"],
                ["update-baselines", "--only", "compiled", "--reason", "smaller tiles", "--dry-run", "out"],
            ],
            files=["out/body.md", "out/pull-request.json", "out/branch/baselines/sm_89/compiled.json"],
        ),
        Scenario(
            name="without-a-card",
            build=World.project,
            apart=True,
            commands=[
                ["counters", "--case", "k4_matrix_vector"],
                ["calibrate", "--case", "k4_matrix_vector"],
                ["tune", "--case", "k4_matrix_vector"],
                ["run", "--require-gpu", "--quiet"],
            ],
        ),
    ]


SLOWER = {"k1_sq4096": 1.03}
_ENDS: dict[str, dict[str, Any]] = {
    "passes": {},
    "slower": {"scale": SLOWER, "measure": "failure"},
    "faster": {"scale": {"k1_sq4096": 0.95}},
    "wrong": {"wrong": ["sq2048"], "measure": "failure"},
    "hidden": {"scale": SLOWER},
    "partial": {"run": {"partial": True}},
    "nothing-left": {"left": False},
    "refused": {"left": False, "measure": "skipped", "approve": {"result": "failure"}},
    "edited": {"scale": SLOWER, "own": True, "measure": "failure"},
    "meant": {"scale": SLOWER, "own": True, "labels": ["baseline-change"], "measure": "failure"},
}
"""How pull requests end: what was measured, and how the jobs with the card ended."""


def _checked(world: World) -> None:
    """The required check of a pull request of each kind: what it prints, its page, and its report."""
    from github_world import KERNEL, SLUG
    from github_world import World as Repository

    for name, options in _ENDS.items():
        given = dict(options)
        made = Repository.begin(world.folder / name)
        own, labels = given.pop("own", False), given.pop("labels", ())
        changed = {f"baselines/{SLUG}/matmul.json": "{}"} if own else {}
        made.pull_request({"kernels/matmul.py": KERNEL.replace("pass", "return"), **changed})
        made.event("pull_request", labels=labels)
        measured = {key: given.pop(key) for key in ("scale",) if key in given}
        left = {key: given.pop(key) for key in ("wrong", "run") if key in given}
        if given.pop("left", True):
            made.leave(made.measured(**measured), **left)
        if own:
            made.leave(made.measured(), own=True)
        ended = made.check(**given)
        report = (made.root / "report.json").read_text(encoding="utf-8")
        said = f"{ended.said}{ended.errors}[exit {ended.code}]\n[summary]\n{ended.summary}[report.json]\n{report}"
        world.write(f"{name}.txt", said)


def _commented(world: World) -> None:
    """The comment on each of those pull requests, as GitHub is sent it."""
    import github_support as github

    _checked(world)
    for name in _ENDS:
        report = json.loads((world.folder / name / "report.json").read_text(encoding="utf-8"))
        with github.serving() as server:
            github.prepare(server)
            github.has_jobs(server, github.jobs("failure" if report["exit"] else "success"))
            github.offer(server, github.zipped(report | {"head": github.HEAD}))
            with contextlib.redirect_stdout(None):
                code = github.run_comment(server, world.folder, github.fork())
            world.write(f"{name}.md", f"[exit {code}]\n{github.written_body(server)}\n")


def _shown(world: World) -> None:
    """The page of one run by itself."""
    from github_world import World as Repository

    made = Repository.begin(world.folder / "one")
    made.event("push")
    folder = made.leave(made.measured(scale=SLOWER))
    ended = made.run("show", str(folder))
    world.write("page.md", f"{ended.said}{ended.errors}[exit {ended.code}]\n{ended.summary}")


def _proposed(world: World) -> None:
    """The body of a pull request with new baselines: of a card that has some, of one that has none, and of code alone."""
    import dataclasses

    import proposal_support as proposing
    from perfgate.store.compiled import write_compiled

    for name, scale in (("changed", {"sq2048": 1.05, "k7_small_k": 0.97}), ("first", 1.0), ("code", 1.0)):
        made = proposing.begin(world.folder / name, first=name == "first")
        if name == "code":
            write_compiled(
                made.artifact / proposing.COMPILED,
                proposing.facts(commit=made.head, reason=proposing.REASON, cases=proposing.other_code()),
            )
            made = dataclasses.replace(made, only="compiled")
        else:
            made.update(scale=scale)
        words = proposing.words(made)
        world.write(f"{name}.md", f"{words.branch}\n{words.message}\n{words.body}")


def github_scenarios() -> list[Scenario]:
    """What the required check says, shows and reports, the comment that is made of it, and what new baselines are said to be."""
    commits = [(r"\b([0-9a-f]{40}|[0-9a-f]{12})\b", "<commit>")]
    return [
        Scenario(
            name="github-check", build=_checked, commands=[], files=[f"{name}.txt" for name in _ENDS], taken_out=commits
        ),
        Scenario(
            name="github-comment",
            build=_commented,
            commands=[],
            files=[f"{name}.md" for name in _ENDS],
            taken_out=commits,
        ),
        Scenario(
            name="github-propose",
            build=_proposed,
            commands=[],
            files=[f"{name}.md" for name in ("changed", "first", "code")],
            taken_out=commits,
        ),
        Scenario(name="github-show", build=_shown, commands=[], files=["page.md"], taken_out=commits),
    ]


SCENARIOS = [
    *judge_scenarios(),
    *report_scenarios(),
    *other_scenarios(),
    *apart_scenarios(),
    *github_scenarios(),
]
