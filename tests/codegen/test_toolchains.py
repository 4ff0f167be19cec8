"""Another Triton beside the installed one; the installer is a stand-in, and nothing is asked of a network."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from perfgate.codegen import cache, toolchains
from perfgate.codegen.toolchains import at_hand, order
from perfgate.config import Settings
from perfgate.records import GateError

if TYPE_CHECKING:
    from pathlib import Path

_INSTALLS = """
import sys
from pathlib import Path
target, wanted = Path(sys.argv[sys.argv.index("--target") + 1]), sys.argv[-1]
Path("asked.txt").open("a").write(" ".join(sys.argv[1:]) + "\\n")
version = wanted.partition("==")[2]
(target / "triton").mkdir()
if version == "4.4.4":
    sys.exit("ERROR: No matching distribution found for triton==4.4.4")
if version == "5.5.5":
    print("WARNING: Retrying after connection broken by 'NewConnectionError'", file=sys.stderr)
    sys.exit("ERROR: No matching distribution found for triton==5.5.5")
info = target / f"triton-{version}.dist-info"
info.mkdir()
(info / "METADATA").write_text(f"Name: triton\\nVersion: {'0.0.1' if version == '6.6.6' else version}\\n")
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    script = tmp_path / "installer.py"
    script.write_text(_INSTALLS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(toolchains, "_installer", lambda: [sys.executable, str(script)])
    of = cache.triton_version
    monkeypatch.setattr(toolchains, "triton_version", lambda folder=None: of(folder) if folder else "9.0.0")
    return Settings(root=tmp_path)


def test_a_version_is_installed_once_and_without_what_it_asks_for(settings: Settings) -> None:
    folder = at_hand(settings, "3.6.0")
    assert folder == settings.root / ".perfgate/cache/triton/3.6.0"
    assert (folder / "triton").is_dir()
    assert at_hand(settings, "3.6.0") == folder
    (asked,) = (settings.root / "asked.txt").read_text(encoding="utf-8").splitlines()
    assert asked.startswith("--no-deps --target ")
    assert asked.endswith("triton==3.6.0")


@pytest.mark.parametrize(
    ("version", "reason", "says"),
    [
        ("4.4.4", "no-such-triton", "No matching distribution found"),
        ("5.5.5", "no-registry", "could not be reached"),
        ("6.6.6", "no-such-triton", r"holds Triton 0\.0\.1, expected 6\.6\.6"),
        ("9.0.0", "bad-usage", "is the installed Triton"),
        *((text, "bad-usage", "is no version") for text in ("", "latest", "3.x", "../3.6.0", "3.6.0; x", "--help")),
    ],
)
def test_a_version_that_cannot_be_had_is_one_line_and_leaves_nothing(
    settings: Settings, version: str, reason: str, says: str
) -> None:
    with pytest.raises(GateError, match=says) as caught:
        at_hand(settings, version)
    assert caught.value.reason == reason
    assert "\n" not in caught.value.text
    assert (settings.root / "asked.txt").exists() == (reason != "bad-usage")
    assert [path.name for path in settings.root.glob(".perfgate/cache/triton/*")] == ["6.6.6"] * (version == "6.6.6")


def test_of_two_runs_that_install_the_same_the_first_wins(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    run = toolchains._run  # noqa: SLF001 - as the other run does

    def overtaken(command: list[str]) -> object:
        done = run(command)
        other = settings.root / ".perfgate/cache/triton/3.6.0"
        if not other.is_dir():
            monkeypatch.setattr(toolchains, "_run", run)
            at_hand(settings, "3.6.0")
            (other / "first").touch()
        return done

    monkeypatch.setattr(toolchains, "_run", overtaken)
    folder = at_hand(settings, "3.6.0")
    assert (folder / "first").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["3.6.0"]


def test_versions_sort_as_their_releases_follow_each_other() -> None:
    ranked = ["3.6.0", "3.8.0.dev2", "3.8.0a1", "3.8.0rc1", "3.8.0rc2", "3.8", "3.8.0.post1", "3.8.1", "3.10.0", "4.0"]
    assert all(order(older) < order(newer) for older, newer in pairwise(ranked))
    assert order("3.8") == order("3.8.0") == order("3.8.0+git1")


def test_an_environment_without_pip_takes_uv_and_one_with_neither_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    monkeypatch.setattr("shutil.which", lambda _: "/bin/uv")
    assert toolchains._installer() == ["/bin/uv", "pip", "install", "--python", sys.executable]  # noqa: SLF001 - what runs
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(GateError, match="no pip and there is no uv"):
        toolchains._installer()  # noqa: SLF001 - the same
