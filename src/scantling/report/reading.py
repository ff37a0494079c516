"""The reading page: real and made images mixed blindly in one HTML file that saves a reader's grades as CSV."""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scantling.core import atomic
from scantling.core.case import Case
from scantling.core.errors import ScantlingError, SettingsError
from scantling.core.outputs import check_file
from scantling.core.randomness import numpy_generator, seed_of
from scantling.data.dataset import Dataset
from scantling.data.opening import OPENING, Opening
from scantling.evaluation.made_and_real import Progress, made_cases, real_cases
from scantling.evaluation.readings import GRADES, KEY_COLUMNS, MADE, QUESTIONS, REAL
from scantling.inference.common_grid import CommonGrid, common_grid
from scantling.report.generated import check_page
from scantling.report.pictures import png_uri
from scantling.report.rendering import rendered

TEMPLATE, SCRIPT = "reading.html.j2", "reading.js"
EACH = 20
"""Images of each source unless said."""
LONGEST = {2: 512, 3: 96}
"""Pixels of the longest side, by the number of axes."""


@dataclass(frozen=True)
class Shown:
    """An image on the page: its number, and its slices as data URIs, one of a picture."""

    number: int
    slices: tuple[str, ...]


def write_reading(
    made: Path | Dataset,
    real: Path | Dataset,
    page: Path,
    *,
    split: str = "train",
    each: int = EACH,
    opening: Opening = OPENING,
    progress: Progress | None = None,
) -> tuple[Path, Path, list[str]]:
    """Write the page and, apart, its key; returns both, and sentences on images that could not be read.

    All images are on one grid with one range of values and stored alike, and nothing on the page tells their source.

    Args:
        made, real, split, opening: as of `evaluation.generated.assess`.
        page: an HTML file; the key is NAME-key.csv beside it, for whoever scores the answers.
        each: images of each source, drawn by a hash of their ids; as many of both.
        progress: called with (done, total, id) after each image.

    Raises:
        SettingsError: `each` is not positive, or a file stands where one would be written.
        ScantlingError: there are no such images.
    """
    if each < 1:
        raise SettingsError(f"--most {each}: expected 1 or more")
    check_page(page)
    key = page.with_name(f"{page.stem}-key.csv")
    check_file(key, suffix=".csv")
    own = Opening(untrusted=opening.untrusted, limits=opening.limits)
    sets = {MADE: made_cases(own.open(made)), REAL: real_cases(opening.open(real), split)}
    grid = common_grid(sets[REAL], opening=own, longest=LONGEST)
    each = min(each, *map(len, sets.values()))
    drawn = [
        (source, case)
        for source, cases in sets.items()
        for case in sorted(cases, key=lambda case: seed_of("reading", case.id))[:each]
    ]
    token = hashlib.sha256(repr([(source, case.id) for source, case in drawn]).encode()).hexdigest()[:12]
    order = numpy_generator("reading", token).permutation(len(drawn))
    shown, rows, failed = list[Shown](), list[tuple[str, str, str, str]](), list[str]()
    for done, place in enumerate(order.tolist(), start=1):
        source, case = drawn[place]
        try:
            slices = _slices(case, grid)
        except ScantlingError as error:
            failed.append(f"{case.id}: {error}")
        else:
            shown.append(Shown(len(shown) + 1, slices))
            rows.append((token, str(len(shown)), source, case.id))
        if progress is not None:
            progress(done, len(drawn), case.id)
    if len({row[2] for row in rows}) < len(sets):
        raise SettingsError(f"no image of one of the two sets can be read: {failed[0]}")
    volumes = len(grid.shape) == 3
    questions = {name: text for name, text in QUESTIONS.items() if volumes or name != "slices"}
    aspect = _aspect(grid)
    text = rendered(
        TEMPLATE, script=SCRIPT, page=token, shown=shown, questions=questions, grades=GRADES, volumes=volumes,
        aspect=aspect,
    )  # fmt: skip
    atomic.write_text(atomic.named(page), text)
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([KEY_COLUMNS, *rows])
    atomic.write_text(atomic.named(key), table.getvalue())
    return page, key, failed


def _slices(case: Case, grid: CommonGrid) -> tuple[str, ...]:
    image = grid.read(case)
    slices = [image] if image.ndim == 3 else list(np.moveaxis(image, 1 + grid.slice_axis, 0))
    found = []
    for one in slices:
        grey = (one * 255).round().astype(np.uint8)
        found.append(png_uri(np.moveaxis(grey, 0, -1) if len(grey) == 3 else grey[0]))
    return tuple(found)


def _aspect(grid: CommonGrid) -> float:
    sides = [side for axis, side in enumerate(grid.shape) if len(grid.shape) == 2 or axis != grid.slice_axis]
    return sides[1] / sides[0]
