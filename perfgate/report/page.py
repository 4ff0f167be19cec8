"""The page of a run: one HTML file, of files that a command names or of what a run has at its end.

Nothing on it is fetched, and nothing runs or colours but what its policy names by hash. Its form is ``page.html.j2``, with
``page.css`` and ``page.js``; the same input gives the same bytes.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate.files import write_whole
from perfgate.hardware.gpus import slug
from perfgate.records import GateError
from perfgate.report import inputs
from perfgate.report.inputs import Extras
from perfgate.report.verdicts import ORDER
from perfgate.report.view import view
from perfgate.store import codec
from perfgate.text import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perfgate.config import Limits
    from perfgate.measurement.session import Session
    from perfgate.report.inputs import Inputs
    from perfgate.store.by_card import Asked
    from perfgate.store.run import RunRecord, StageResult

PAGE = "report.html"
_PARTS = {
    "verdicts": "What needs a look",
    "cases": "Cases",
    "roofline": "How far from the card's limit",
    "vendor": "Beside the vendor's library",
    "each": "Case by case",
    "curves": "How sure: what the gate finds",
    "environment": "Environment",
}


def leave(session: Session, run: RunRecord, timed: StageResult | None) -> str:
    """Leave the page of a run that has ended; whatever becomes of it, the run's exit code stays what it is.

    Args:
        session: Of the run; the page lies in its output folder.
        run: What was judged.
        timed: The stage with samples, if there is one.

    Returns:
        The line that names the page, or says why there is none.
    """
    path = session.output / PAGE
    try:
        write(path, document(*_of_session(session, run, timed)))
    except GateError as error:
        return f"page: none (INVALID {error.reason}: {error.text})"
    except Exception as error:  # noqa: BLE001 - a page is no reason for a run to end otherwise
        return f"page: none ({type(error).__name__}: {plain(str(error))})"
    return f"page: {path}"


def _of_session(session: Session, run: RunRecord, timed: StageResult | None) -> tuple[Inputs, Extras]:
    """What the page is made of, at a run's end."""
    from perfgate.profiling.evidence import MOVED_FILE
    from perfgate.store.recording import read_recording

    if timed is None or timed.recording is None:
        return inputs.of_run(run, None, None), Extras()
    moved = session.output / MOVED_FILE
    extras = inputs.read_counters(str(moved)) if moved.is_file() else Extras()
    environment = session.environment
    own = slug(environment["gpu"], environment.get("code_path") or "native")
    baseline = read_recording(Path(timed.baseline)) if timed.baseline else None
    extras = dataclasses.replace(
        extras,
        history=_history(session, own),
        calibrations=inputs.calibrations(session.settings.root / session.settings.baselines / own),
    )
    return inputs.of_run(run, timed.recording, baseline), extras


def _history(session: Session, own: str) -> dict[str, list[inputs.Step]]:
    """The past of the card's baselines; none where git knows none."""
    from perfgate.history.collect import history
    from perfgate.history.report import format_json

    try:
        found = history(session.settings, gpu=own)
    except GateError:
        return {}
    return inputs.history(format_json(found), "the history")


def from_files(  # noqa: PLR0913 - what the command takes, by name
    files: Sequence[str], asked: Asked, limits: Limits, *, counters: str | None, history: str | None, output: Path
) -> None:
    """Make a page of the files that the user named.

    Args:
        files: As `inputs.read_inputs`.
        asked: The same.
        limits: The same.
        counters: File of counters and of what moved.
        history: File of times of earlier commits.
        output: Where to.

    Raises:
        GateError: A file cannot be read or does not belong to the others, ``no-jinja2``, or ``unwritable``.
    """
    found = inputs.read_inputs(files, asked, limits)
    extras = inputs.read_counters(counters) if counters else Extras()
    past = inputs.history(codec.read_bytes(history, what="a history"), history) if history else {}
    folders = [
        Path(given) / one.group.folder if Path(given).is_dir() else Path(given).parent
        for given in asked.baselines
        for one in found.measured
    ]
    known = [one for folder in dict.fromkeys(folders) for one in inputs.calibrations(folder)]
    extras = dataclasses.replace(extras, history=past, calibrations=tuple(known))
    write(output, document(found, extras))


def document(found: Inputs, extras: Extras) -> str:
    """The page.

    Raises:
        GateError: ``no-jinja2``.
    """
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError:
        raise GateError(
            "no-jinja2",
            "The page needs jinja2 and it is not installed; use nox -s perf, or install the group page of pyproject.toml.",
        ) from None
    from perfgate.report import charts

    template, style, script = (
        resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
        for name in ("page.html.j2", "page.css", "page.js")
    )
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, finalize=_shown)
    return environment.from_string(template).render(
        **view(found, extras),
        parts=_PARTS,
        order=ORDER,
        policy=f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'",
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        case_chart=charts.case_chart,
        roofline=charts.roofline,
        beside_vendor=charts.beside_vendor,
    )


def _shown(value: object) -> object:
    """What is no markup is text from anywhere; the template escapes it afterwards."""
    return plain(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def write(path: Path, text: str) -> None:
    """Write a file of the page.

    Raises:
        GateError: ``unwritable``.
    """
    try:
        write_whole(path, text, make_folder=False)
    except OSError as error:
        raise GateError(
            "unwritable", f"{path} cannot be written ({error}), expected a folder that can be; name another."
        ) from None
