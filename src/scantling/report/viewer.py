"""A case as the viewer in a page takes it: image, contours, errors and uncertainty as JSON of less than a megabyte.

The viewer is `viewer.js`, where this JSON is described. Masks and errors are exact, up to sizes that a browser holds;
what has to be made smaller for the page is said in the notes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from scantling.data.pictures import class_colours, grey
from scantling.report.pictures import CONFUSED, ERROR_COLOURS, ERROR_NAMES, EXTRA, GLOW, HIT, MISSED, errors
from scantling.report.uncertainty import scale_of
from scantling.report.viewer_arrays import FAST, SMALL, Bytes, exact, fitted, shrunk
from scantling.report.viewer_cases import ViewerCase
from scantling.report.viewer_planes import Plane, Upright

LIMIT = 1_000_000
"""Characters of a case, at most."""
LONGEST = 1280
"""Pixels of the longer side of a picture that a page holds."""
VOXELS = 16_000_000
"""Of a volume that a page holds."""
DRAWN = (MISSED, EXTRA, CONFUSED)
"""The codes that are errors."""
SAMPLED = 500_000
"""Values from which the window of an image is taken, spread evenly."""


def case_payload(case: ViewerCase, *, limit: float = LIMIT) -> dict[str, Any]:
    """What the viewer shows of a case, ready for JSON.

    Args:
        limit: characters of the JSON, at most; images and uncertainty maps are made coarser until they fit. Where it
            is infinite they are packed as fast as can be.
    """
    level = FAST if math.isinf(limit) else SMALL
    colours = class_colours(len(case.classes))
    found: dict[str, Any] = {
        "version": 1, "id": case.id, "facts": [list(pair) for pair in case.facts], "missing": list(case.missing),
        "codes": [{"code": code, "name": ERROR_NAMES[code], "colour": ERROR_COLOURS[code]} for code in DRAWN],
        "glow": GLOW,
        "classes": [{"name": name, "colour": colours[number]} for number, name in enumerate(case.classes, start=1)],
    }  # fmt: skip
    geometry = next((one.geometry for one in (case.truth, case.mask, *_layers(case)) if one is not None), None)
    if geometry is None:
        return (
            found
            | {"shape": None, "notes": list(case.notes), "planes": [], "channels": [], "uncertainty": []}
            | (dict.fromkeys(("truth", "mask", "errors", "counted")))
        )
    upright = Upright.of(geometry)
    notes = [*case.notes, *([upright.note] if upright.note else [])]
    shape = upright(np.empty(geometry.shape, bool)).shape
    size = _size(shape)
    if size != shape[1:]:
        notes.append(
            f"Shown with {size[1]} × {size[0]} of its {shape[2]} × {shape[1]} pixels; single pixels may not be seen."
        )

    def layer(array: np.ndarray) -> Bytes:
        whole = upright(array)
        if size == shape[1:]:
            return np.asarray(whole, np.uint8)
        return np.asarray(shrunk(np.where(whole, np.uint8(255), np.uint8(0)), size) >= 128, np.uint8)

    truth, mask = (None if one is None else [layer(each) for each in one.classes] for one in (case.truth, case.mask))
    counted = _counted(case)
    wrong = None
    if case.truth is not None and case.mask is not None:
        judged = case.truth.known if counted is None else case.truth.known & counted
        wrong = errors(case.truth.classes, case.mask.classes, judged=judged)
    spacing = (upright.spacing[0], *(upright.spacing[n] * shape[n] / size[n - 1] for n in (1, 2)))
    found |= {
        "shape": [shape[0], *size], "spacing": list(spacing), "unit": geometry.unit,
        "planes": _planes(upright, case, wrong),
        "truth": None if truth is None else {"layers": [exact(one, level=level) for one in truth]},
        "mask": None if mask is None else {"layers": [exact(one, level=level) for one in mask]},
        "errors": None if wrong is None else exact(_codes(wrong, upright, truth, mask, size), level=level),
        "counted": None if counted is None else exact(layer(counted), level=level),
    }  # fmt: skip
    planes: list[tuple[dict[str, Any], Bytes]] = []
    for name, one in case.channels:
        low, high = _window(one.array)
        drawn = upright(grey(one.array, limits=(low, high)) if (low, high) != (0, 255) else _bytes(one.array))
        planes.append(({"name": name, "colour": one.coloured, "low": low, "high": high}, _shown(drawn, size)))
    for name, one in case.uncertainty:
        scale = scale_of(
            name, classes=len(case.classes), exclusive=case.exclusive, values=[float(np.nanmax(one.array, initial=0))]
        )
        drawn = upright(grey(one.array, limits=(0.0, scale.highest)))
        facts = {"highest": scale.highest, "unit": scale.unit, "said": scale.sentence(name)}
        planes.append(({"name": name, **facts}, _shown(drawn, size)))
    room = limit - _length(found) - 2000 - sum(map(len, notes))
    written = _within(planes, room, level)
    if any(one["shape"][1:3] != list(size) for one in written):
        least = min(one["shape"][2] for one in written)
        notes.append(f"For the page the image is shown {least} pixels wide in place of {shape[2]}; masks are exact.")
    elif any(one["codec"] == "picture" for one in written):
        notes.append("For the page the image is compressed as a JPEG; masks are exact.")
    return found | {
        "channels": written[: len(case.channels)], "uncertainty": written[len(case.channels) :], "notes": notes,
    }  # fmt: skip


def _layers(case: ViewerCase) -> list[Any]:
    return [layer for _, layer in (*case.channels, *case.uncertainty)]


def _size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns that a page holds of (D, H, W)."""
    depth, height, width = shape
    share = LONGEST / max(height, width) if depth == 1 else math.sqrt(VOXELS / (depth * height * width))
    return (height, width) if share >= 1 else (max(1, round(height * share)), max(1, round(width * share)))


def _counted(case: ViewerCase) -> np.ndarray | None:
    """(*S) bool, where errors are counted, if not everywhere: in the region, and where any class is known."""
    parts: list[np.ndarray] = [] if case.region is None else [np.asarray(case.region.array) > 0]
    if case.truth is not None:
        parts.append(np.asarray(case.truth.known.any(axis=0)))
    inside = np.logical_and.reduce(parts) if parts else None
    return None if inside is None or inside.all() else inside


def _codes(
    wrong: np.ndarray, upright: Upright, truth: list[Bytes] | None, mask: list[Bytes] | None, size: tuple[int, int]
) -> Bytes:
    """The codes of errors (D, H, W), of smaller masks counted anew."""
    codes = upright(wrong)
    if codes.shape[1:] == size or truth is None or mask is None:
        return codes
    return np.asarray(errors(np.stack(truth) > 0, np.stack(mask) > 0), np.uint8)


def _planes(upright: Upright, case: ViewerCase, wrong: np.ndarray | None) -> list[dict[str, Any]]:
    """Each plane with the wrong voxels of every slice, and the slice to begin with: the one with most of them."""
    errors_in = None if wrong is None else _by_slice(upright(wrong > HIT))
    marked = case.truth or case.mask
    labels_in = None if marked is None else _by_slice(upright(marked.labelled))
    return [_plane(plane, errors_in, labels_in) for plane in upright.planes]


def _by_slice(inside: np.ndarray) -> list[np.ndarray]:
    """Along each axis of (D, H, W) bool how many voxels each slice holds."""
    places = np.unravel_index(np.flatnonzero(inside), inside.shape)
    return [np.bincount(one, minlength=length) for one, length in zip(places, inside.shape, strict=True)]


def _plane(plane: Plane, errors_in: list[np.ndarray] | None, labels_in: list[np.ndarray] | None) -> dict[str, Any]:
    axis = plane.axes[0]
    counts = None if errors_in is None else errors_in[axis]
    listed = [each[axis] for each in (errors_in, labels_in) if each is not None and each[axis].any()]
    return {
        "name": plane.name, "axes": list(plane.axes), "marks": None if plane.marks is None else list(plane.marks),
        "numbers": list(plane.numbers), "errors": None if counts is None else [int(one) for one in counts],
        "start": int(np.argmax(listed[0])) if listed else len(plane.numbers) // 2,
    }  # fmt: skip


def _bytes(array: np.ndarray) -> Bytes:
    return np.asarray(array, np.uint8)


def _window(array: np.ndarray) -> tuple[float, float]:
    """The values that become black and white: those of 8 bits as they are, else the 0.5th and the 99.5th percentile."""
    if array.dtype == np.uint8 or array.dtype == np.bool_:
        return (0.0, 255.0) if array.dtype == np.uint8 else (0.0, 1.0)
    step = max(1, array.size // SAMPLED)
    while any(math.gcd(step, length) > 1 for length in array.shape):  # else it may see a few rows or slices alone
        step += 1
    values = array.reshape(-1)[::step].astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(one) for one in np.percentile(values, (0.5, 99.5)))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low, low + 1)


def _shown(array: Bytes, size: tuple[int, int]) -> Bytes:
    """(D, H, W[, 3]) no larger than the masks on the page."""
    return array if array.shape[1:3] == size else shrunk(array, size)


def _within(planes: Sequence[tuple[dict[str, Any], Bytes]], room: float, level: int) -> list[dict[str, Any]]:
    """Each array with its facts; the room that a small one leaves goes to the others."""
    order = sorted(range(len(planes)), key=lambda place: planes[place][1].size)
    written: dict[int, dict[str, Any]] = {}
    for number, place in enumerate(order):
        facts, array = planes[place]
        written[place] = facts | fitted(array, max(1, room / (len(order) - number)), level=level)
        room -= len(written[place]["data"])
    return [written[place] for place in range(len(planes))]


def _length(value: Any) -> int:
    """Characters of JSON, nearly."""
    if isinstance(value, dict):
        return sum(len(key) + 4 + _length(each) for key, each in value.items()) + 2
    if isinstance(value, list):
        return sum(_length(each) + 1 for each in value) + 2
    return len(str(value)) + 2
