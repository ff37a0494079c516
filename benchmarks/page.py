"""How long a page with 24 cases, each nearly as large as a page holds, takes to open in a browser.

The page is written by `scantling report` from volumes of noise, which compresses worst. "Interactive" is when the first
case is drawn and its slices can be turned. The least of several openings counts: a busy machine only adds to it; the
time of the page's thread on the processor stands beside it.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from scantling.core.case import Geometry
from scantling.data.files import write_image, write_labels
from scantling.report import report

TARGET = 1.0
"""Seconds until it is interactive."""
CASES = 24
SHAPE = (12, 192, 192)
REPEATS = 5
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DRAWN = "() => Boolean(document.querySelector('.viewer')?.scantling?.current?.image)"


def main() -> int:
    """Print the times; 1 if the page takes longer than the target, 0 without a browser."""
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        print("not measured: this takes playwright and an installed Chromium")
        return 0
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = report([evaluation(Path(folder))])
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        times = [opened(browser, page) for _ in range(REPEATS)]
        browser.close()
        size = page.stat().st_size / 1e6
    paint, interactive, busy = (min(column) for column in zip(*times, strict=True))
    name = f"{CASES} cases, {size:.1f} MB"
    print(f"{'page':<24} {'first paint':>12} {'interactive':>12} {'processor':>12} {'target':>8}")
    print(f"{name:<24} {paint:>10.2f} s {interactive:>10.2f} s {busy:>10.2f} s {TARGET:>6.1f} s")
    return 0 if interactive <= TARGET else 1


def opened(browser: Any, page: Path) -> tuple[float, float, float]:
    """Seconds from the address to the first paint and to the first case drawn, and of the processor."""
    tab = browser.new_page(viewport={"width": 1280, "height": 800})
    tab.add_init_script(
        "window.addEventListener('viewer:case', () => (window.drawn ??= performance.now()), {capture: true})"
    )
    session = tab.context.new_cdp_session(tab)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    tab.goto(page.as_uri())
    while not tab.evaluate(DRAWN) or not tab.evaluate("() => performance.getEntriesByType('paint').length"):
        tab.wait_for_timeout(20)
    tab.wait_for_timeout(100)
    paint, interactive = tab.evaluate(
        "() => [performance.getEntriesByType('paint')[0].startTime, window.drawn].map((one) => one / 1000)"
    )
    metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    tab.close()
    return paint, interactive, metrics["TaskDuration"]


def evaluation(folder: Path) -> Path:
    """The scores of 24 volumes with their files."""
    draws = np.random.default_rng(0)
    geometry = Geometry(SHAPE, (1.0,) * 3, affine=np.diag([1.0, 1.0, 1.0, 1.0]), container="volume")
    cases = []
    for number in range(CASES):
        truth = np.zeros(SHAPE, np.uint8)
        truth[2:10, 40:150, 50:140] = 1
        mask = np.where(draws.random(SHAPE) < 0.002, 1 - truth, truth)
        image = draws.integers(0, 1000, (1, *SHAPE), dtype=np.int16)
        id = f"{number:02d}"
        files = {
            "image": [str(write_image(folder / "images", id, image, geometry))],
            "truth": str(write_labels(folder / "truth", id, truth, geometry)),
            "prediction": str(write_labels(folder / "masks", id, mask, geometry)),
        }
        cases.append({"id": id, "dice": 0.9 + number / 1000, "files": files})
    labels = {"names": ["object"], "values": [[1]], "ignore": None, "background": [0]}
    facts = {
        "prediction": str(folder / "masks"), "truth": str(folder / "truth"), "classes": ["object"],
        "labels": {"truth": labels, "prediction": labels, "order": [0]}, "mean": {"dice": 0.9}, "cases": cases,
    }  # fmt: skip
    (folder / "scores.json").write_text(json.dumps(facts))
    return folder / "scores.json"


if __name__ == "__main__":
    sys.exit(main())
