"""A real browser for the page's tests: the Chromium or Chrome that the machine has. Nothing is downloaded."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


def browser_path() -> str:
    """The browser's program; a machine without one fails the test with the remedy."""
    named = os.environ.get("PERFGATE_BROWSER")
    found = named or next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None or not shutil.which(found):
        pytest.fail(
            f"No browser was found ({named or ', '.join(_NAMES)}), expected one; install it (apt-get install -y chromium) or name its "
            "program in PERFGATE_BROWSER.",
            pytrace=False,
        )
    return found


@dataclass(kw_only=True)
class Seen:
    """What a page did besides showing itself."""

    console: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    """Of anything but the page's own file."""


@contextmanager
def browser() -> Iterator[Any]:
    """One browser for many pages."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # as root, Chromium starts in no other way
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=browser_path(), args=arguments)
        try:
            yield started
        finally:
            started.close()


@contextmanager
def opened(started: Any, path: Path, fragment: str = "", **options: Any) -> Iterator[tuple[Any, Seen]]:
    """A page in a context of its own; options are those of Playwright's contexts."""
    context = started.new_context(**options)
    try:
        page, seen = context.new_page(), Seen()
        page.on("console", lambda message: seen.console.append(message.text))
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        page.on("request", lambda request: seen.requests.append(request.url))
        page.goto(f"{path.as_uri()}{fragment}")
        seen.requests = [url for url in seen.requests if url.partition("#")[0] != path.as_uri()]
        yield page, seen
    finally:
        context.close()
