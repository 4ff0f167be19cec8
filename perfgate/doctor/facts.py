"""``python -m perfgate doctor`` (``nox -s doctor``): collects the facts of this machine, and says what is wrong with it.

Owns that command's line and the questions to the machine without its card. Reads, never sets; needs neither torch nor a
card.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from perfgate import git, settings
from perfgate.cli.common import Parser
from perfgate.doctor import checks
from perfgate.doctor.card_facts import PROC, SYS, driver_and_card, text_of
from perfgate.doctor.host import VARIABLES
from perfgate.doctor.records import Disk, Facts, Folder, Host
from perfgate.doctor.runner_facts import find_runner, is_runner, look_at_runner
from perfgate.measurement import gpu_lock
from perfgate.records import GateError
from perfgate.runners import runners

_COULD_NOT = 2
_SUDO_S = 10


def main(argv: list[str]) -> int:
    """Run the command; returns the exit code: 0 without faults, 2 with."""
    parser = Parser(
        prog="python -m perfgate doctor",
        description="Check all that makes a machine a good runner for this gate. Changes nothing.",
        epilog="Exit code: 0 no fault, 2 faults or bad usage.",
        allow_abbrev=False,
    )
    parser.add_argument("--runner", metavar="DIR", type=Path, help="folder of GitHub's runner application")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    try:
        options = parser.parse_args(argv)
        if options.runner is not None and not is_runner(options.runner):
            raise GateError(
                "bad-usage",
                f"--runner is {str(options.runner)!r}; expected a folder with GitHub's runner that can be read.",
            )
    except GateError as error:
        print(f"INVALID {error.reason}: {error.text}", file=sys.stderr)
        return _COULD_NOT
    found = checks.examine(collect(Path.cwd(), runner=options.runner))
    print(checks.format_json(found) if options.format == "json" else checks.format_text(found))
    return checks.exit_code(found)


def collect(root: Path, *, runner: Path | None = None) -> Facts:
    """Ask this machine everything.

    Args:
        root: The checkout.
        runner: The folder of GitHub's runner; None looks in the usual places.
    """
    try:
        project, problem = settings.load(root), ""
    except GateError as error:
        project, problem = None, error.text
    driver, card = driver_and_card(root, project)
    folder = find_runner(runner, Path.home())
    return Facts(
        host=_host(root, problem),
        driver=driver,
        card=card,
        runner=look_at_runner(folder) if folder else None,
        labels=_labels(root),
    )


def _host(root: Path, settings_problem: str) -> Host:
    cache, temporary = _triton_cache(), Path(tempfile.gettempdir())
    shallow = git.ask(root, "rev-parse", "--is-shallow-repository")
    return Host(
        python=sys.version_info[:2],
        git=shutil.which("git") is not None,
        shallow={"true": True, "false": False}.get((shallow or "").strip()),
        settings_problem=settings_problem,
        compiler=_compiler(),
        headers=_headers(),
        memory_bytes=_memory_bytes(),
        disks=tuple(
            Disk(what=what, path=str(path), free_bytes=_free(path))
            for what, path in (("checkout", root), ("temporary files", temporary), ("Triton cache", cache))
        ),
        cache=Folder(path=str(cache), writable=_writable(cache)),
        locks=Folder(path=str(gpu_lock.FOLDER), writable=_writable(gpu_lock.FOLDER)),
        environment={name: os.environ[name] for name in VARIABLES if name in os.environ},
        governors=_governors(),
        uid=os.geteuid(),
        user=_user(),
        sudo=_sudo(),
        groups=_groups(),
    )


def _labels(root: Path) -> dict[str, str]:
    """Runner labels and their cards; empty where the project names none."""
    try:
        listed = runners((root / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError, GateError):
        return {}
    return {runner.label: runner.slug for runner in listed}


def _compiler() -> str:
    """What Triton would call: CC, or else gcc, or clang."""
    named = shlex.split(os.environ.get("CC", ""))
    return next((found for name in (*named[:1], "gcc", "clang") if (found := shutil.which(name))), "")


def _headers() -> bool:
    # Debian's own scheme names a folder for local packages, in which the headers are not.
    scheme = sysconfig.get_default_scheme()
    include = sysconfig.get_path("include", "posix_prefix" if scheme == "posix_local" else scheme)
    return (Path(include) / "Python.h").is_file()


def _memory_bytes() -> int | None:
    found = re.search(r"^MemTotal:\s*(\d+) kB", text_of(PROC / "meminfo") or "", re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None


def _triton_cache() -> Path:
    home = Path(os.environ.get("TRITON_HOME") or Path.home())
    return Path(os.environ.get("TRITON_CACHE_DIR") or home / ".triton/cache")


def _existing(path: Path) -> Path:
    """The folder itself, or the nearest above it that is there: in it the rest would be made."""
    absolute = path.absolute()
    return next(folder for folder in (absolute, *absolute.parents) if os.path.lexists(folder))


def _free(path: Path) -> int | None:
    try:
        return shutil.disk_usage(_existing(path)).free
    except OSError:
        return None


def _writable(path: Path) -> bool:
    folder = _existing(path)
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)  # noqa: PTH112 - Path.is_dir raises where it may not look


def _governors() -> tuple[str, ...] | None:
    found = {text_of(path) for path in SYS.glob("devices/system/cpu/cpu*/cpufreq/scaling_governor")} - {None}
    return tuple(sorted(str(text).strip() for text in found)) or None


def _sudo() -> bool | None:
    """Whether this user gets root's rights without a password; sudo is only asked what it would allow."""
    if not (sudo := shutil.which("sudo")):
        return False
    try:
        done = subprocess.run([sudo, "-n", "-l", "true"], capture_output=True, check=False, timeout=_SUDO_S)  # noqa: S603 - our own words
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.returncode == 0


def _user() -> str:
    import pwd  # not on Windows, where nothing is measured

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _groups() -> tuple[str, ...]:
    import grp

    found = []
    for gid in os.getgroups():
        try:
            found.append(grp.getgrgid(gid).gr_name)
        except KeyError:
            found.append(str(gid))
    return tuple(found)
