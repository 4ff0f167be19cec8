"""Another Triton beside the installed one, in a folder of its own, for processes that find it first on their path.

Owns how it is installed, once: ``.perfgate/cache/triton/VERSION``, whole or not at all. The installed packages stay as
they are; torch stays the installed one, since tensors without memory need no more of it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate.codegen.cache import cache_folder, triton_version
from perfgate.records import GateError

if TYPE_CHECKING:
    from perfgate.config import Settings

_VERSION = re.compile(r"(?P<numbers>\d+(?:\.\d+)*)(?:(?P<stage>a|b|rc|\.post|\.dev)(?P<count>\d+))?")
_STAGES = (".dev", "a", "b", "rc", None, ".post")
"""In their order."""
_UNREACHED = re.compile(r"connection|timed? ?out|dns|resolve|network|proxy|unreachable", re.IGNORECASE)
_INSTALL_S = 900.0
_OWNER_WRITES = 0o755


def at_hand(settings: Settings, version: str) -> Path:
    """The folder of that Triton, installed now where it is not there yet.

    Raises:
        GateError: ``bad-usage`` for what is no version or the installed one's, ``no-installer``, ``no-registry``,
            ``no-such-triton``.
    """
    order(version)
    if version == triton_version():
        raise GateError("bad-usage", f"--triton {version} is the installed Triton, expected another; name that one.")
    folder = cache_folder(settings) / "triton" / version
    if not folder.is_dir():
        print(f"perfgate: installing Triton {version} into {folder.relative_to(settings.root)} …", file=sys.stderr)
        _install(version, folder)
    if (found := triton_version(folder)) != version:
        raise GateError(
            "no-such-triton",
            f"{folder} holds Triton {found or 'of no version'}, expected {version}; remove the folder.",
        )
    return folder


def order(version: str) -> tuple[tuple[int, ...], int, int]:
    """A key that sorts versions as their releases follow each other.

    Raises:
        GateError: ``bad-usage``: it is no version.
    """
    found = _VERSION.fullmatch(version.partition("+")[0])
    if found is None:
        raise GateError("bad-usage", f"--triton {version!r} is no version, expected one such as 3.6.0.")
    numbers = [int(number) for number in found["numbers"].split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers), _STAGES.index(found["stage"]), int(found["count"] or 0)


def _install(version: str, folder: Path) -> None:
    """Into a temporary folder beside, which is renamed when it is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{version}."))
    try:
        done = _run([*_installer(), "--no-deps", "--target", str(temporary), f"triton=={version}"])
        if done.returncode:
            raise _refused(version, done.stdout + done.stderr)
        temporary.chmod(_OWNER_WRITES)
        try:
            temporary.replace(folder)
        except OSError:
            if not folder.is_dir():  # where it is there, another run was faster
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _installer() -> list[str]:
    """The command that installs for this interpreter: pip, or uv in an environment that has no pip."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--python", sys.executable]
    raise GateError(
        "no-installer", f"{sys.executable} has no pip and there is no uv on the path, expected one; install either."
    )


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - pip or uv, and a version that was matched
            command, capture_output=True, text=True, check=False, timeout=_INSTALL_S, env=os.environ | {"NO_COLOR": "1"}
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"timed out after {_INSTALL_S:.0f} s")


def _refused(version: str, output: str) -> GateError:
    """Why an installer failed, in one sentence."""
    lines = [line.strip(" ×╰─▶│") for line in output.splitlines() if line.strip(" ×╰─▶│")]
    said = next((line for line in reversed(lines) if "error" in line.lower()), (lines or ["no message"])[-1])
    said = said.removeprefix("ERROR: ").removeprefix("error: ").rstrip(".")
    if _UNREACHED.search(output):
        return GateError(
            "no-registry",
            f"Triton {version} is not in the cache and the package registry could not be reached ({said}); mend the network "
            "and run again.",
        )
    return GateError(
        "no-such-triton",
        f"Triton {version} could not be installed for Python {sys.version_info.major}.{sys.version_info.minor} here "
        f"({said}), expected a version that the package registry has; name another.",
    )
