"""The case viewer in a real browser: what is drawn, by mouse and by keyboard, at both widths, dark and light."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser import Pages, serious, until
from viewed import decoded, payloads, photo_page, volume_page

PIXELS = """([x, y]) => {
  const canvas = document.querySelector(".v-canvas");
  return [...canvas.getContext("2d").getImageData(x * canvas.width, y * canvas.height, 1, 1).data].slice(0, 3);
}"""


@pytest.fixture(scope="module", name="volume")
def a_volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return volume_page(tmp_path_factory.mktemp("volume"))


@pytest.fixture(scope="module", name="photo")
def a_photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo_page(tmp_path_factory.mktemp("photo"), cases=5)


def opened(page: Any, path: Path) -> Any:
    """The page with its first case drawn."""
    page.goto(path.as_uri())
    until(page, "document.querySelector('.viewer').scantling?.current?.image")
    return page


def current(page: Any, what: str) -> Any:
    """A property of the open case."""
    return page.evaluate(f"document.querySelector('.viewer').scantling.current.{what}")


def says(page: Any, text: str) -> None:
    """Wait for a text in the caption, which is written when the image of the case is there."""
    until(page, f"document.querySelector('.v-caption').innerText.includes({json.dumps(text)})")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (420, True)])
def test_the_page_is_accessible_and_nothing_is_cut(volume: Path, browser: Pages, width: int, dark: bool) -> None:
    page = opened(browser(width=width, dark=dark), volume)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".figures").bounding_box()["y"] < 400
    assert page.locator(".v-canvas").bounding_box()["y"] < 800, "the picture stands in the first screen"
    assert not serious(page)
    page.locator(".v-stage").press("f")
    assert not serious(page)


def test_the_keyboard_does_all_that_the_mouse_does(volume: Path, browser: Pages) -> None:
    page = opened(browser(), volume)
    start = payloads(volume)["case-00"]["planes"][0]["start"]
    assert current(page, "slice") == start
    says(page, "1 wrong voxels")
    stage = page.locator(".v-stage")
    for key, slice_ in (("ArrowRight", start + 1), ("ArrowUp", start), ("End", 5), ("ArrowDown", 5), ("Home", 0)):
        stage.press(key)
        assert current(page, "slice") == slice_, key
    for key, mode in (("e", "errors"), ("i", "image"), ("c", "contours"), ("u", "contours")):
        stage.press(key)
        assert current(page, "mode") == mode, "there is no uncertainty to show"
    for marks in (["R", "L", "S", "I"], ["A", "P", "S", "I"], ["R", "L", "A", "P"]):
        stage.press("p")
        assert page.locator(".v-letter").all_inner_texts() == marks
    stage.press("]")
    assert current(page, "contrast") == pytest.approx(1.1)
    stage.press("n")
    until(page, "document.querySelector('.viewer').scantling.current.id === 'case-01'")
    stage.press("f")
    assert page.locator("dialog.v-window .v-canvas").is_visible()
    page.keyboard.press("Escape")
    assert page.locator(".viewer > .v-body .v-canvas").is_visible()
    page.locator("svg.dots a").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('.viewer').scantling.current.id === 'case-02'")


def test_the_mouse_opens_cases_turns_slices_and_enlarges(volume: Path, browser: Pages) -> None:
    page = opened(browser(), volume)
    page.locator("td + td, th button.opener").filter(has_text="case-02").first.click()
    until(page, "document.querySelector('.viewer').scantling.current.id === 'case-02'")
    axial = payloads(volume)["case-02"]["planes"][0]
    says(page, "3 wrong voxels")
    strip = page.locator(".v-strip")
    box = strip.bounding_box()
    strip.click(position={"x": box["width"] * 1.5 / 6, "y": 10})
    assert current(page, "slice") == 1
    says(page, f"{axial['errors'][1]} wrong voxels")
    page.wait_for_timeout(300)  # a wheel that scrolls the page past the picture is left to the page
    page.locator(".v-stage").hover()
    page.mouse.wheel(0, 40)
    until(page, "document.querySelector('.viewer').scantling.current.slice === 2")
    page.locator(".v-slider input[aria-label=Slice]").fill("4")
    assert current(page, "slice") == 4
    page.get_by_role("button", name="Coronal").click()
    says(page, "Coronal")
    page.locator(".v-stage").click()
    assert page.locator("dialog.v-window").is_visible()
    page.get_by_role("button", name="Close").click()
    assert not page.locator("dialog.v-window").is_visible()


def test_contours_run_along_the_edges_of_masks(volume: Path, browser: Pages) -> None:
    page = opened(browser(), volume)
    loops = page.evaluate(
        "contourLoops({width: 4, height: 3, bytes: [0,1,1,0, 0,1,0,0, 1,0,0,1]})"
        ".map((loop) => [loop, Math.abs(loop.reduce((sum, _, n) => n % 2 ? sum :"
        " sum + loop[n] * loop[(n + 3) % loop.length] - loop[n + 1] * loop[(n + 2) % loop.length], 0)) / 2])"
    )
    assert [area for _, area in loops] == [3, 1, 1], "pixels that touch at a corner have lines of their own"
    assert loops[0][0] == [1, 0, 3, 0, 3, 1, 2, 1, 2, 2, 1, 2]


def test_a_photograph_is_shown_in_its_own_colours_at_full_brightness(photo: Path, browser: Pages) -> None:
    payload = next(iter(payloads(photo).values()))
    # random colours point all around, so that they count as three sequences
    assert [one["name"] for one in payload["channels"]] == ["red", "green", "blue"]
    page = opened(browser(), photo)
    page.locator(".v-stage").press("i")
    _, height, width = payload["shape"]
    for number, channel in enumerate(payload["channels"], start=1):
        page.locator(".v-stage").press(str(number))
        until(page, f"document.querySelector('.v-select select').value === '{number - 1}'")
        values = decoded(channel)[0]
        for row, column in ((2, 3), (height - 2, width - 4)):
            shown = page.evaluate(PIXELS, [(column + 0.5) / width, (row + 0.5) / height])
            assert shown == [int(values[row, column])] * 3


def test_errors_are_painted_where_they_are_and_counted(photo: Path, browser: Pages) -> None:
    payload = payloads(photo)[(case := "case-02")]
    codes = decoded(payload["errors"])[0]
    page = opened(browser(), photo)
    page.locator(f"[data-opens={case}]").last.click()
    until(page, f"document.querySelector('.viewer').scantling.current.id === '{case}'")
    page.get_by_role("button", name="Errors").click()
    numbers = [int(text) for text in page.locator(".v-codes b").all_inner_texts()]
    assert numbers == [int((codes == one["code"]).sum()) for one in payload["codes"]]
    page.locator(".v-slider input[aria-label=Opacity]").fill("0")
    row, column = np.argwhere(codes == 3)[0]
    spot = [(column + 0.5) / codes.shape[1], (row + 0.5) / codes.shape[0]]
    plain = page.evaluate(PIXELS, spot)
    page.locator(".v-slider input[aria-label=Opacity]").fill("1")
    painted = page.evaluate(PIXELS, spot)
    assert painted[2] - painted[0] > plain[2] - plain[0] + 20, "bluer: what is missed is sky blue"
    assert plain == page.evaluate(PIXELS, spot) or painted != plain


def test_only_the_open_case_is_decoded(photo: Path, browser: Pages) -> None:
    page = browser()
    page.add_init_script(
        "window.inflated = 0; const whole = DecompressionStream;"
        "window.DecompressionStream = class extends whole { constructor(form) { super(form); window.inflated += 1; } };"
    )
    opened(page, photo)
    first = next(iter(payloads(photo).values()))
    arrays = [*first["truth"]["layers"], *first["mask"]["layers"], first["errors"], first["channels"][0]]
    assert page.evaluate("window.inflated") == len(arrays)
