"""Fixtures that several test files share."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import Pages, started


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Import all libraries and tests without the garbage collector, and never search them for garbage: a fifth less."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse tests named by a set: its order, and with it the name, differs between two workers."""
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            spec = item.callspec
            if any(isinstance(value, set | frozenset) and str(value) in spec.id for value in spec.params.values()):
                raise pytest.UsageError(f"{item.nodeid} is named by a set, whose order is not fixed; give a list")


@pytest.fixture(scope="session", autouse=True)
def _quickly() -> Iterator[None]:
    """What tests need not wait for: more than one step from which the speed of a training is told, and the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scantling.training.trainer.REHEARSED", 1)
        patch.setattr("os.fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public sample data beside the project; tests that need it skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the sample data are not here: no folder ../shared/data beside the project")
    return folder


@pytest.fixture(scope="session", name="_chromium")
def the_chromium() -> Iterator[Any]:
    """One browser for the session."""
    yield from started()


@pytest.fixture
def browser(_chromium: Any) -> Iterator[Pages]:
    """Makes pages of a real browser; their errors fail the test. Skips where there is no browser."""
    pages = Pages(*_chromium)
    yield pages
    pages.close()
