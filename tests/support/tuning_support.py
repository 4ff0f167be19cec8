"""What the tests of tuning share: candidates, cases and documents by few words, and the process on the card, played."""

from __future__ import annotations

from typing import Any

import facts_support
from perfgate.tuning.document import About, Candidate, Case, Document, Timed

IDS = ("start", "now", "a", "b", "c", "d")
CONFIG = {"BLOCK_M": 64, "num_warps": 4, "num_stages": 3}
ABOUT = About(
    command="python -m perfgate tune",
    recorded_at="",
    commit="",
    kernel_sha256="0",
    target="sm_89",
    limit=6,
    top=4,
    launches=3,
    settings={},
    environment={"gpu": "NVIDIA GeForce RTX 4090", "triton": "3.8.0"},
)


def candidate(config: dict[str, int] | None = None, *, error: str = "", pruned: str = "", **changes: Any) -> Candidate:
    """A candidate whose one kernel has these facts; none where it did not compile."""
    config = config or CONFIG
    later = {key: changes.pop(key) for key in ("failed", "wrong") if key in changes}
    kernels = () if error else (facts_support.facts(**{"config": config} | changes),)
    return Candidate(config=config, kernels=kernels, error=error, pruned=pruned, **later)


def case(**known: Any) -> Case:
    """A case of which no more is known than what is told."""
    return Case(**{"candidates": {}, "left_out": {}, "note": "", "launches": []} | known)


def timed(**seconds: float | list[float]) -> Timed:
    """What a process timed: one run of each, or as many as are told."""
    runs = {name: found if isinstance(found, list) else [found] for name, found in seconds.items()}
    return Timed(seconds=runs, state={})


def document(**cases: Case) -> Document:
    """A document of these cases, as of a card."""
    return Document(about=ABOUT, cases=cases)


WORKER = """
import json, os, sys, time
plan, script = json.load(open(sys.argv[1])), json.load(open("script.json"))
runs = open("runs.jsonl", "a")
print(json.dumps({case: [one["keep"], *one["candidates"]] for case, one in plan["cases"].items()}), file=runs, flush=True)
number = sum(1 for _ in open("runs.jsonl"))
steps = open(sys.argv[2], "a")
def say(step, **rest):
    print(json.dumps({"step": step, **rest}), file=steps, flush=True)
if script.get("no start"):
    sys.exit("no driver")
for case, one in plan["cases"].items():
    say("case", case=case)
    seconds = {}
    for name in one["candidates"]:
        say("checking", case=case, id=name)
        does = script[case][name]
        if does == "crash":
            os.abort()
        if does == "hang":
            time.sleep(60)
        if does == "wrong":
            say("failed", case=case, id=name, why="wrong result: largest error 3", wrong=True)
            continue
        say("checked", case=case, id=name)
        seconds[name] = [does * 1e-3] * 4
    say("timing", case=case)
    if script.get("dies timing") == [case, number]:
        sys.exit("CUDA error: unspecified launch failure")
    busy = {"foreign_processes": 1} if number in script.get("busy", {}).get(case, []) else {}
    say("timed", case=case, seconds=seconds, state={"unheld": 0, **busy})
"""
"""In place of `perfgate.tuning.worker`: plays the seconds that script.json has for each case and candidate."""


def times(**changed: Any) -> dict[str, Any]:
    """Milliseconds of every candidate of `IDS` for the script."""
    return {"start": 9, "now": 5, "a": 1, "b": 2, "c": 3, "d": 4} | changed
