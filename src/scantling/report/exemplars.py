"""The best, the median and the worst case as pictures: what the numbers look like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from scantling.data.pictures import Marks, View, class_colours, grey, outline
from scantling.records.evaluation import CaseRecord
from scantling.report.case_files import Mask, read_case
from scantling.report.contours import contours
from scantling.report.pictures import (
    CONFUSED,
    ERROR_NAMES,
    OUTLINE,
    errors,
    jpeg_uri,
    paint,
    png_uri,
    shrink,
)
from scantling.report.targets import EvaluationFile
from scantling.report.words import Metric, in_order, metric

DIM = 0.5
"""How bright the image stays under what is painted over it."""
TITLE = "Truth solid, mask dashed"


@dataclass(frozen=True)
class Picture:
    """A picture on the page: layers of data URIs, the first at the bottom.

    Attributes:
        aspect: width over height in the world, where pixels may not be square.
        coarse: whether pixels should stay visible when the page enlarges it.
        marks: letters for its borders, where it is known how it lies in the body.
    """

    title: str
    alt: str
    layers: tuple[str, ...]
    aspect: float
    coarse: bool
    marks: Marks | None


@dataclass(frozen=True)
class Exemplar:
    """A case with its pictures; what could not be drawn is said in `missing`."""

    rank: str
    case: CaseRecord
    overlay: Picture | None
    thumbnails: tuple[Picture, ...]
    legend: tuple[tuple[str, str], ...]
    """Colours of lines that are no class, by name."""
    classes: tuple[tuple[str, str], ...]
    """Colours of the classes by name, where there are several."""
    notes: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def columns(self) -> tuple[int, int, int]:
        """Widths of the small pictures, the large one and the text, so that three small ones are as tall as it."""
        shown = self.overlay or next(iter(self.thumbnails), None)
        aspect = shown.aspect if shown is not None else 1.0
        large = min(546.0, 560.0 * aspect)
        small = max(90.0, (large - 92.0 * aspect) / 3)
        if self.overlay is None:
            large = 0.0 if shown is None else 0.5
        return round(small), round(large), round(992 - small - large)


def choose(evaluation: EvaluationFile) -> tuple[Metric, list[tuple[str, CaseRecord]]]:
    """The metric that orders the cases (Dice if it is there), and the worst, the median and the best by it.

    Equal values go by id. Of two cases there is a best and a worst, of one only itself, of none nothing. What is marked
    where the truth is empty has no score that could be the worst: the largest of these false alarms comes last.
    """
    defined = [
        one
        for one in in_order(evaluation.record.mean, units=evaluation.record.units)
        if one.direction and evaluation.of(one.key)
    ]
    by = next((one for one in defined if one.key == "dice"), defined[0] if defined else metric("dice"))
    ordered = [case for case, _ in sorted(evaluation.of(by.key), key=lambda pair: (by.worth(pair[1]), pair[0].id))]
    alarms = [case for case, value in evaluation.of("false_alarm") if value > 0]
    extra = {case.id: (case.marked.get("prediction") or 0) - (case.marked.get("truth") or 0) for case in alarms}
    alarm = [("False alarm", case) for case in sorted(alarms, key=lambda case: (-extra[case.id], case.id))[:1]]
    if len(ordered) < 2:
        return by, [("Only case", case) for case in ordered] + alarm
    middle = [("Median", ordered[(len(ordered) - 1) // 2])] if len(ordered) > 2 else []
    return by, [("Worst", ordered[0]), *middle, ("Best", ordered[-1]), *alarm]


def draw(rank: str, case: CaseRecord, evaluation: EvaluationFile, *, longest: int = 512) -> Exemplar:
    """Draw a case; a file that is missing or broken becomes a sentence, never an error.

    Args:
        longest: pixels of the longer side of a picture, at most.
    """
    found = read_case(case, evaluation)
    grids = [layer.geometry for layer in (found.image, found.truth, found.mask) if layer is not None]
    geometry = next((grid for grid in grids if grid.affine is not None), next(iter(grids), None))
    if geometry is None:
        return Exemplar(rank, case, None, (), (), (), (), found.missing)
    shown = found.truth or found.mask
    view = View.of(geometry, shown.labelled if shown is not None else None)
    notes = [*found.notes, *([view.note] if view.note else [])]
    photo = grey(view(found.image.array)) if found.image is not None else None
    colours = class_colours(len(found.classes))
    masks = {name: mask for name, mask in (("truth", found.truth), ("mask", found.mask)) if mask is not None}
    thumbnails = []
    if photo is not None:
        thumbnails.append(picture("Image", f"Image of case {case.id}", [photo], view, longest * 3 // 4))
    for name, mask in masks.items():
        plane = mask.numbers(view)
        alt = f"{name.capitalize()} of case {case.id}, {np.mean(plane > 0):.1%} of the pixels labelled"
        thumbnails.append(picture(name.capitalize(), alt, [paint(plane, colours)], view, longest))
    overlay: Picture | None = None
    legend: tuple[tuple[str, str], ...] = ()
    if len(masks) == 2:
        region = view(found.region.array) > 0 if found.region is not None else None
        overlay, legend = _overlay(case, masks, photo, region, view, longest, colours)
    names = [(name, colours[number]) for number, name in enumerate(found.classes, start=1)]
    classes = tuple(names) if len(names) > 1 else ()
    return Exemplar(rank, case, overlay, tuple(thumbnails), legend, classes, tuple(notes), found.missing)


def _overlay(
    case: CaseRecord,
    masks: Mapping[str, Mask],
    photo: np.ndarray | None,
    region: np.ndarray | None,
    view: View,
    longest: int,
    colours: Mapping[int, str],
) -> tuple[Picture, tuple[tuple[str, str], ...]]:
    truth, mask, known = (
        np.stack([view(layer) for layer in layers])
        for layers in (masks["truth"].classes, masks["mask"].classes, masks["truth"].known)
    )
    codes = errors(truth, mask, judged=known if region is None else known & region)
    used = [code for code in ERROR_NAMES if code != CONFUSED or (codes == code).any()]
    alt = ", ".join(f"{int((codes == code).sum()):,} pixels {ERROR_NAMES[code]}" for code in used)
    legend: list[tuple[str, str]] = []
    layers = [np.zeros(codes.shape, np.uint8) if photo is None else photo]
    if region is not None and not region.all():
        layers.append(paint(np.asarray(outline(~region), np.uint8), {1: OUTLINE}))  # outside, where it hides nothing
        legend.append(("edge of the region that counts", OUTLINE))
    drawn = picture(TITLE, f"Contours of case {case.id}: {alt}", layers, view, longest)
    lines = contours([([*truth], False), ([*mask], True)], colours, view, longest=min(1024, 2 * longest))
    return replace(drawn, layers=(*drawn.layers, png_uri(lines))), tuple(legend)


def picture(title: str, alt: str, layers: list[np.ndarray], view: View, longest: int) -> Picture:
    """Layers (H, W), (H, W, 3) or (H, W, 4) uint8 of a view as a picture, no side over `longest` pixels."""
    height, width = layers[0].shape[:2]
    small = [shrink(layer, longest) for layer in layers]
    exact = max(height, width) <= 128  # a photograph this small is better without the blocks of JPEG
    painted = tuple(png_uri(one) if exact or one.shape[-1] == 4 else jpeg_uri(one) for one in small)
    aspect = width * view.pixel[1] / (height * view.pixel[0])
    return Picture(title, alt, painted, aspect, max(height, width) < 200, view.marks)
