"""Worker processes of the table as their parent sees them: started with a code path, let go, read, ended.

Owns environment and lifetime of a process. The compilers that a worker starts end with it (see `perfgate.workers`), so
that none of them is left on the card.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from perfgate import workers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

COMMAND = (sys.executable, "-m", "studies.table.worker")
NATIVE = "native"
_POLL_S = 0.1


@dataclass(kw_only=True)
class Worker:
    """One process, started; it waits until `begin`."""

    name: str
    job: Mapping[str, Any]
    process: subprocess.Popen[bytes]
    events: Path
    log: Path
    _read: int = 0
    doing: dict[str, str] = field(default_factory=dict)
    """What it said last that it begins: ``case``, ``arm``, ``doing``."""
    ended: bool = False
    """It said that it has done its job."""
    _gone: bool = False
    _because: str = ""

    def begin(self) -> None:
        """Let it work."""
        if self.process.stdin and not self.process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):  # it ended before; the log says why
                self.process.stdin.write(b"go\n")
                self.process.stdin.close()

    def news(self) -> Iterator[dict[str, Any]]:
        """What it has said since it was asked last; a line that is not whole yet is left for the next time."""
        text = self.events.read_bytes() if self.events.is_file() else b""
        whole = text.rfind(b"\n") + 1
        lines, self._read = text[self._read : whole].splitlines(), whole
        for line in lines:
            event = json.loads(line)
            if event["event"] == "begin":
                self.doing = event
            self.ended |= event["event"] == "end"
            yield event

    def runs(self) -> bool:
        """Whether it has not ended yet; waits a moment."""
        try:
            self.process.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            return True
        return False

    def kill(self, because: str = "") -> None:
        """End it and all that it started, finished or not; what it is ended for is said once."""
        if self._gone:
            return
        self._gone, self._because = True, because
        workers.end(self.process)
        if self.process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()

    def why(self) -> str:
        """Why it ended, in a few words."""
        if self._because:
            return self._because
        code = self.process.returncode
        if code is not None and code < 0:
            return f"killed by signal {-code}"
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"exit {code}: {lines[-1].strip() if lines else 'no output'}"


def start(  # noqa: PLR0913 - each is one independent choice, all by name
    name: str, job: Mapping[str, Any], *, path: str, root: Path, output: Path, threads: int
) -> Worker:
    """Start a process that waits to be let go.

    Args:
        name: Of its files in ``output``.
        job: What it is to do.
        path: The code path, ``native`` or an architecture such as ``sm89``.
        root: The project.
        output: Folder of its job, its events and what it prints.
        threads: Processes that torch's compiler may start.
    """
    output.mkdir(parents=True, exist_ok=True)
    events, log = output / f"{name}.jsonl", output / f"{name}.log"
    events.unlink(missing_ok=True)
    file = output / f"{name}.job.json"
    file.write_text(json.dumps({**job, "events": str(events)}) + "\n", encoding="utf-8")
    with log.open("wb") as stream:
        process = workers.start(
            [*COMMAND, str(file)],
            cwd=root,
            environment=environment(path, cache=root / ".perfgate" / "table" / f"cache-{path}", threads=threads),
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    return Worker(name=name, job=job, process=process, events=events, log=log)


def environment(path: str, *, cache: Path, threads: int) -> dict[str, str]:
    """A worker's environment.

    Caches are a code path's own: torch's compiler does not count the architecture that Triton is told to lower for
    among what its cached code depends on. They are kept, so that what has been tuned is never tuned again.
    """
    inherited = {key: value for key, value in workers.environment().items() if key != "TRITON_OVERRIDE_ARCH"}
    return {
        **inherited,
        **({} if path == NATIVE else {"TRITON_OVERRIDE_ARCH": path}),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
        "TORCHINDUCTOR_COMPILE_THREADS": str(threads),
    }
