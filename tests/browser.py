"""A real browser for tests of pages: one Chromium for all of them, and what axe says of a page.

Tests take the fixture `browser` (see conftest.py): `page = browser(width=420, dark=True)`, `page.goto(path.as_uri())`.
"""

from __future__ import annotations

import shutil
import time
from asyncio import events
from collections.abc import Iterator
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
PATIENCE = 60_000
"""Milliseconds that a step may take on a busy machine."""


def found() -> str | None:
    """The path of a Chromium that is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def started() -> Iterator[Any]:
    """The browser of a session and its event loop; skips where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    path = found()
    if path is None:
        pytest.skip(f"no browser is installed: none of {', '.join(NAMES)} is on the PATH")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        loop = events._get_running_loop()
        yield chromium, loop
        events._set_running_loop(loop)
        chromium.close()


class Pages:
    """Makes pages, each in a context of its own, and keeps what went wrong in them."""

    def __init__(self, chromium: Any, loop: Any) -> None:
        self.chromium = chromium
        events._set_running_loop(loop)
        self.contexts: list[Any] = []
        self.wrong: list[str] = []

    def __call__(self, *, width: int = 1280, height: int = 800, dark: bool = False, **options: Any) -> Any:
        """A page of this size, light or dark; `options` of Playwright's new_context."""
        scheme = "dark" if dark else "light"
        context = self.chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **options)
        context.set_default_timeout(PATIENCE)
        self.contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.wrong.append(message.text))
        return page

    def close(self) -> None:
        """Close all pages; fails if one of them had an error."""
        for context in self.contexts:
            context.close()
        events._set_running_loop(None)  # Playwright's loop stays open between tests, and others use asyncio
        assert not self.wrong, f"errors in the browser: {self.wrong}"


def until(page: Any, expression: str) -> None:
    """Wait until an expression is true; Playwright's own way of waiting needs eval, which the pages forbid."""
    end = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(f"() => Boolean({expression})"):
        assert time.monotonic() < end, f"never true: {expression}"
        page.wait_for_timeout(20)


def serious(page: Any) -> list[str]:
    """What axe finds of serious or critical impact, each as "rule: element"; skips where axe is not installed."""
    module = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is missing")
    found = module.Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
