"""The cases of a page as panels: image, contours and errors at the resolution of the file, with a scale bar."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from scantling.core.case import Geometry, Unit
from scantling.data.pictures import View, class_colours
from scantling.records.evaluation import CaseRecord
from scantling.report.case_files import CaseArrays, Layer, Mask, read_case
from scantling.report.panels import canvas_of, outlined, scaled
from scantling.report.pictures import ERROR_COLOURS, errors, paint
from scantling.report.targets import EvaluationFile

DIM = 0.5
"""How bright the image stays under the errors."""


def panels_of(case: CaseRecord, evaluation: EvaluationFile) -> Iterator[tuple[str, np.ndarray]]:
    """The panels of a scored case as (name, picture (h, w, 3) uint8); none of what cannot be read.

    The truth is a solid contour, the mask a dashed one; errors are missed, added or of the wrong class.
    """
    found = read_case(case, evaluation)
    view = view_of(found.image, found.truth, found.mask)
    if view is None:
        return
    unit = unit_of(found.image, found.truth, found.mask)
    if found.image is not None:
        picture, scale = canvas_of(view(found.image.array), view)
        yield "image", scaled(picture, view, scale, unit)
    if found.truth is not None or found.mask is not None:
        picture, scale = contoured(found.image, found.truth, found.mask, view, len(found.classes))
        yield "contours", scaled(picture, view, scale, unit)
    if found.truth is not None and found.mask is not None:
        yield "errors", scaled(*_errors(found, found.truth, found.mask, view), unit)


def view_of(image: Layer | None, truth: Mask | None, mask: Mask | None) -> View | None:
    """How the arrays of a case are shown: the slice with most of the labels; None where there are none."""
    geometry = _grid(image, truth, mask)
    shown = truth if truth is not None and truth.labelled.any() else mask if mask is not None else truth
    return None if geometry is None else View.of(geometry, shown.labelled if shown is not None else None)


def unit_of(*layers: Layer | Mask | None) -> Unit:
    """The unit of the steps of `view_of` the same layers."""
    geometry = _grid(*layers)
    return "pixel" if geometry is None else geometry.unit


def _grid(*layers: Layer | Mask | None) -> Geometry | None:
    """That of the layer that says most of how it lies in the world: its directions first, then its spacing in mm."""
    grids = [one.geometry for one in layers if one is not None]
    return max(grids, key=lambda grid: (grid.affine is not None, grid.unit == "mm"), default=None)


def contoured(
    image: Layer | None, truth: Mask | None, mask: Mask | None, view: View, classes: int, *, most: int | None = None
) -> tuple[np.ndarray, tuple[float, float]]:
    """The image, or black, with the contours of both masks in the colours of their classes, and its scale.

    Args:
        most: pixels of the longer side; None leaves the picture as large as the file has it.
    """
    first = truth or mask
    if image is not None:
        plane = view(image.array)
    else:
        plane = np.zeros(view(first.classes[0]).shape if first is not None else (1, 1), np.uint8)
    picture, scale = canvas_of(plane, view, most=most)
    colours = class_colours(classes)
    for one, dashed in ((truth, False), (mask, True)):
        if one is not None:
            layers = [(view(layer), colours[number]) for number, layer in enumerate(one.classes, start=1)]
            picture = outlined(picture, layers, scale, dashed=dashed and truth is not None)
    return picture, scale


def _errors(found: CaseArrays, truth: Mask, mask: Mask, view: View) -> tuple[np.ndarray, View, tuple[float, float]]:
    """The dimmed image with the errors in their colours."""
    true, predicted, known = (
        np.stack([view(layer) for layer in layers]) for layers in (truth.classes, mask.classes, truth.known)
    )
    region = None if found.region is None else view(found.region.array) > 0
    codes = errors(true, predicted, judged=known if region is None else known & region)
    plane = view(found.image.array) if found.image is not None else np.zeros(codes.shape, np.uint8)
    picture, scale = canvas_of(plane, view)
    colours = paint(codes, ERROR_COLOURS)
    rows = np.minimum((np.arange(picture.shape[0]) / scale[0]).astype(int), codes.shape[0] - 1)
    columns = np.minimum((np.arange(picture.shape[1]) / scale[1]).astype(int), codes.shape[1] - 1)
    layer = colours[rows[:, None], columns[None]]
    alpha = layer[..., 3:].astype(np.float64) / 255
    mixed = picture * DIM * (1 - alpha) + layer[..., :3] * alpha
    return np.asarray(mixed.round(), np.uint8), view, scale
