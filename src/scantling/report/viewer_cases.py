"""What the viewer shows of a case, on one grid, and which cases of an evaluation a page holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from scantling.data.formats.common import COLOUR
from scantling.records.evaluation import CaseRecord
from scantling.report.case_files import Layer, Mask, Reader
from scantling.report.exemplars import choose
from scantling.report.targets import EvaluationFile
from scantling.report.words import HEADLINE, in_order

MOST = 24
"""Cases in one page."""
ONE_HUE = 0.7
"""How far the colours of a photograph point into one direction, at least (ours; see `photographs`)."""


@dataclass(frozen=True)
class ViewerCase:
    """What a viewer shows of a case; every part may be missing, and all parts lie on one grid.

    Attributes:
        channels: by name, (*S), or (*S, 3) in colour.
        region: (*S), where pixels count.
        uncertainty: maps (*S) by name.
        exclusive: whether a pixel has one class alone, which says how large an entropy can be.
        facts: names and numbers beside the picture.
        notes: what a reader should know.
        missing: a sentence for each thing that could not be read.
    """

    id: str
    channels: tuple[tuple[str, Layer], ...] = ()
    truth: Mask | None = None
    mask: Mask | None = None
    region: Layer | None = None
    uncertainty: tuple[tuple[str, Layer], ...] = ()
    classes: tuple[str, ...] = ()
    exclusive: bool = True
    facts: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def scored(case: CaseRecord, evaluation: EvaluationFile) -> ViewerCase:
    """Read a case of an evaluation; a file that is missing or broken becomes a sentence, never an error."""
    reader = Reader(case, evaluation)
    truth, mask = next(iter(reader.truths(all=False)), None), reader.mask()
    region, channels = reader.region(), reader.channels()
    exclusive = not isinstance(case.files.prediction, dict)
    maps = [(name, layer) for name in case.files.uncertainty if (layer := reader.map(name)) is not None]
    if not maps and (entropy := reader.entropy(exclusive=exclusive)) is not None:
        maps = [("entropy", entropy)]
    grid = next((one.geometry for one in (truth, mask, *(layer for _, layer in channels)) if one is not None), None)
    if grid is not None:
        mask = reader.on(mask, grid, "The mask and the truth differ in size, so no errors are drawn.")
        region = reader.on(region, grid, "The region and the truth differ in size, so the region is not drawn.")
        channels, maps = (
            [(name, moved) for name, layer in layers if (moved := reader.on(layer, grid, missing)) is not None]
            for layers, missing in (
                (channels, "The image and the truth differ in size, so the image is not drawn."),
                (maps, "An uncertainty map and the truth differ in size, so it is not drawn."),
            )
        )
    values = [one for one in in_order(case.values, units=evaluation.record.units) if one.key in HEADLINE]
    return ViewerCase(
        case.id, tuple(channels), truth, mask, region, tuple(maps), evaluation.record.classes,
        exclusive, tuple((one.short, one.write_of(case)) for one in values),
        missing=tuple(reader.missing),
    )  # fmt: skip


def chosen(evaluation: EvaluationFile, *, most: int = MOST) -> list[tuple[str, CaseRecord]]:
    """At most `most` cases with their rank: the worst, the median, the best, the largest false alarm, then the others.

    The others come from the worst score on, and last those without a score.
    """
    by, first = choose(evaluation)
    ranked = {case.id for _, case in first}
    values = {case.id: by.worth(value) for case, value in evaluation.of(by.key)}
    others = [case for case in evaluation.record.cases if case.id not in ranked]
    others.sort(key=lambda case: (case.id not in values, values.get(case.id, 0.0), case.id))
    return [*first, *(("", case) for case in others)][:most]


def photographs(cases: Iterable[ViewerCase]) -> bool:
    """Whether images of three channels of 8 bits are photographs, not three sequences that a colour file holds.

    The colours of a photograph of tissue have nearly one hue: their chroma vectors add up. Those of three sequences
    point all around. Decided by the median of the cases; pictures without any colour say nothing.
    """
    found = [value for case in cases for _, layer in case.channels if (value := one_hue(layer.array)) is not None]
    return not found or float(np.median(found)) >= ONE_HUE


def one_hue(picture: np.ndarray) -> float | None:
    """The length of the sum of the chroma vectors of (*S, 3), over the sum of their lengths; None without colour."""
    if picture.ndim < 3 or picture.shape[-1] != 3 or picture.dtype != np.uint8:
        return None
    flat = picture.reshape(-1, 3)
    red, green, blue = flat[:: max(1, len(flat) // 100_000)].astype(np.float64).T
    chroma = (red - (green + blue) / 2) + 1j * (green - blue) * np.sqrt(0.75)
    total = np.abs(chroma).sum()
    return float(abs(chroma.sum()) / total) if total > len(chroma) else None


def as_sequences(case: ViewerCase) -> ViewerCase:
    """The case with each image in colour as three greys."""
    channels: list[tuple[str, Layer]] = []
    for name, layer in case.channels:
        if layer.coloured:
            named = COLOUR if name == "colour" else [f"{name} {colour}" for colour in COLOUR]
            greys = np.moveaxis(layer.array, -1, 0)
            channels += [(one, Layer(grey, layer.geometry)) for one, grey in zip(named, greys, strict=True)]
        else:
            channels.append((name, layer))
    return replace(case, channels=tuple(channels))
