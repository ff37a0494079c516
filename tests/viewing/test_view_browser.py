"""The page of the server in a browser: looking, searching, and a correction there and back, by mouse and by keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser import serious
from scantling.data.dataset import distinct, join, open_dataset
from scantling.viewing.opened import open_shown
from scantling.viewing.server import CaseServer
from served import correcting, masks_of_a_model, pictures, serving

PIXELS = "() => scantling.current.volume.mask.at({}).reduce((sum, one) => sum + one, 0)"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    pictures(tmp_path / "data")
    masks_of_a_model(tmp_path / "masks", ["p2", "p3", "p4"])
    return tmp_path


@pytest.fixture
def correction(root: Path) -> Iterator[CaseServer]:
    with serving(correcting(root, root / "corrections")) as server:
        yield server


def opened(page: Any, server: CaseServer) -> Any:
    page.goto(server.address)
    page.wait_for_selector(".w-list [aria-current=true]")
    return page


def saved(page: Any, root: Path, id: str) -> np.ndarray:
    """The mask that was saved, as a training reads it."""
    page.wait_for_selector(".w-said:has-text('Saved')")
    sample = join(distinct([open_dataset(root / "data"), open_dataset(root / "corrections")]))[id].load(reads=("mask",))
    assert sample.mask is not None
    return sample.mask[0]


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (420, True)])
def test_a_data_set_is_listed_searched_and_shown(browser: Any, root: Path, width: int, dark: bool) -> None:
    with serving(CaseServer(open_shown(root / "data"))) as server:
        page = opened(browser(width=width, dark=dark), server)
        assert page.locator("#cases button").count() == 7
        page.fill("#search", "p3")
        assert page.locator("#cases button").count() == 1
        page.click("#cases button")
        page.wait_for_selector(".w-list [data-id=p3][aria-current=true]")
        assert page.locator(".v-toolbar *").count() == 0, "nothing is corrected here"
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert not serious(page)


def test_brush_undo_eraser_and_outline_by_mouse_come_back_as_a_mask(
    browser: Any, root: Path, correction: CaseServer
) -> None:
    page = opened(browser(), correction)
    box = page.locator(".v-overlay").bounding_box()
    step = box["width"] / 32

    def at(row: float, column: float) -> tuple[float, float]:
        return box["x"] + (column + 0.5) * step, box["y"] + (row + 0.5) * step

    def drag(*places: tuple[float, float]) -> None:
        page.mouse.move(*at(*places[0]))
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*at(*place), steps=4)
        page.mouse.up()

    assert page.evaluate(PIXELS.format(0)) == 16
    page.locator(".v-toolbar input[type=range]").fill("3")
    drag((12, 12), (12, 20))
    brushed = page.evaluate(PIXELS.format(0))
    assert brushed > 30
    page.click("text=Undo")
    assert page.evaluate(PIXELS.format(0)) == 16
    page.click("text=Redo")
    assert page.evaluate(PIXELS.format(0)) == brushed
    page.select_option(".v-toolbar select[aria-label=Class]", label="rim")
    page.click("text=Outline")
    drag((16, 4), (16, 10), (21, 10), (21, 4))
    assert page.evaluate(PIXELS.format(1)) == 6 * 7, "the outline is closed, and its border is inside"
    page.click("text=Eraser")
    drag((5, 5), (6, 6))
    page.click("text=Save >> nth=0")
    mask = saved(page, root, "p2")
    assert (mask[16:22, 4:11] == 2).all()
    assert mask[12, 12] == mask[12, 16] == mask[12, 20] == 1
    assert mask[5, 5] == mask[6, 6] == 0
    assert page.locator("[data-id=p2] .w-state").inner_text() == "corrected"


def test_all_of_it_by_keyboard_and_on_to_the_next_case(browser: Any, root: Path, correction: CaseServer) -> None:
    page = opened(browser(), correction)
    page.locator(".v-stage").focus()
    before = page.evaluate(PIXELS.format(1))
    for key in ("k", ",", ",", ",", ",", ",", ",", ",", "Shift+ArrowUp", " ", *["Shift+ArrowRight"] * 4, " "):
        page.keyboard.press(key)
    assert page.evaluate(PIXELS.format(1)) == before + 5, "a line of one pixel"
    page.keyboard.press("z")
    assert page.evaluate(PIXELS.format(1)) == before
    page.keyboard.press("y")
    page.keyboard.press("s")
    mask = saved(page, root, "p2")
    assert int((mask == 2).sum()) == 5
    page.keyboard.press("n")
    page.wait_for_selector(".w-list [data-id=p3][aria-current=true]")
    assert not serious(page)


def test_what_cannot_be_saved_is_said_and_stays(browser: Any, root: Path, correction: CaseServer) -> None:
    page = opened(browser(), correction)
    page.fill(".v-toolbar input[type=text]", "x" * 150)
    page.evaluate("() => { document.querySelector('.v-toolbar input[type=text]').value = 'a\\u0007b'; }")
    page.locator(".v-stage").focus()
    page.keyboard.press("s")
    page.wait_for_selector(".w-said.wrong:has-text('is no name')")
    browser.wrong.clear()  # the console tells of the refusal, too
    assert not (root / "corrections" / "corrections.json").exists()
