"""One page of thumbnails: every case with the outline of its mask and its name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from scantling.atomic import replacing
from scantling.data.duplicates import middle_slice
from scantling.data.loading import load_apart
from scantling.data.splits import SPLITS
from scantling.data.traits import in_order
from scantling.data.types import IGNORE, Case, Geometry, Labels
from scantling.errors import DataError, ScantlingError

if TYPE_CHECKING:
    from scantling.data.dataset import Dataset

SIDE, GAP, CAPTION, TITLE, COLUMNS = 176, 10, 18, 30, 8
"""Pixels: of a thumbnail, between thumbnails, of a caption and of a heading; thumbnails in a row."""
OUTLINES = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167), (213, 94, 0), (0, 114, 178))
"""Colours that most people can tell apart (Okabe and Ito, 2008), one for each class, then again from the first."""
_PAPER, _INK, _FAINT = (250, 250, 248), (32, 32, 32), (128, 128, 128)


def contact_sheet(dataset: Dataset, out: Path, *, most: int = 64, untrusted: bool = False) -> Path:
    """Draw up to `most` cases as a PNG, volumes by their middle slice, split by split; return the file.

    More cases than that are thinned out evenly in each split. A case that cannot be read leaves a grey tile.

    Args:
        dataset: what to draw.
        out: the PNG to write.
        most: how many cases are drawn at most.
        untrusted: decode in a process with limits on time and memory.

    Raises:
        DataError: the dataset is empty.
    """
    chosen = {name: _thinned(dataset.split(name), most, len(dataset.cases)) for name in SPLITS}
    drawn = [case for cases in chosen.values() for case in cases]
    if not drawn:
        raise DataError(f"{dataset.name}: there is no case to draw")
    try:
        labels = dataset.label_source.find(untrusted=untrusted)
    except ScantlingError:
        labels = None
    tiles = in_order(lambda case: _tile(case, labels, untrusted=untrusted), drawn)
    rows = sum(-(-len(cases) // COLUMNS) for cases in chosen.values())
    width = GAP + min(COLUMNS, max(map(len, chosen.values()))) * (SIDE + GAP)
    height = GAP + sum(map(bool, chosen.values())) * TITLE + rows * (SIDE + CAPTION + GAP)
    sheet = Image.new("RGB", (max(width, 4 * SIDE), height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    top = GAP
    for name, cases in chosen.items():
        if not cases:
            continue
        total = len(dataset.split(name))
        shown = f"{len(cases)} of {total}" if len(cases) < total else str(total)
        pen.text((GAP, top), f"{dataset.name}: {name} ({shown})", fill=_INK, font=ImageFont.load_default(16))
        top += TITLE
        for number, case in enumerate(cases):
            left, below = GAP + number % COLUMNS * (SIDE + GAP), top + number // COLUMNS * (SIDE + CAPTION + GAP)
            tile = next(tiles)
            sheet.paste(tile, (left + (SIDE - tile.width) // 2, below + (SIDE - tile.height) // 2))
            pen.text((left, below + SIDE + 2), _fitted(case.id, pen), fill=_INK, font=ImageFont.load_default(11))
        top += -(-len(cases) // COLUMNS) * (SIDE + CAPTION + GAP)
    with replacing(out) as aside:
        sheet.save(aside, format="PNG")
    return out


def _thinned(cases: tuple[Case, ...], most: int, total: int) -> list[Case]:
    room = max(1, most * len(cases) // max(total, 1)) if total > most else len(cases)
    return [cases[index * len(cases) // room] for index in range(min(room, len(cases)))]


def _fitted(text: str, pen: ImageDraw.ImageDraw) -> str:
    font = ImageFont.load_default(11)
    if pen.textlength(text, font=font) <= SIDE:
        return text
    while text and pen.textlength(text + "...", font=font) > SIDE:
        text = text[:-1]
    return text + "..."


def _tile(case: Case, labels: Labels | None, *, untrusted: bool) -> Image.Image:
    """The thumbnail of one case."""
    try:
        reads = ("image",) if case.images else ("mask",)
        pictures, sample = load_apart(case, labels=labels, reads=reads, untrusted=untrusted)
        plane = _upright(
            _shown(next(iter(pictures.values())).array, sample.geometry)
            if pictures
            else np.zeros((1, *_shown(sample.masks[0], sample.geometry).shape[1:]), np.float32),
            sample.geometry,
        )
    except ScantlingError:
        tile = Image.new("RGB", (SIDE, SIDE), (224, 224, 224))
        ImageDraw.Draw(tile).text(
            (SIDE // 2, SIDE // 2), "unreadable", fill=_FAINT, anchor="mm", font=ImageFont.load_default(12)
        )
        return tile
    height, width = plane.shape[1:]
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    tile = Image.fromarray(_bytes(plane)).resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR)
    pixels = np.asarray(tile).copy()
    for colour, outline in _outlines(case, labels, size, untrusted=untrusted):
        pixels[outline] = colour
    return Image.fromarray(pixels)


def _outlines(
    case: Case, labels: Labels | None, size: tuple[int, int], *, untrusted: bool
) -> Iterator[tuple[tuple[int, int, int], np.ndarray]]:
    """The colour of each class and where its outline lies in a thumbnail of (width, height) `size`."""
    if not case.masks or labels is None:
        return
    try:
        _, sample = load_apart(case, labels=labels, reads=("mask",), untrusted=untrusted)
    except ScantlingError:
        return
    mask = _upright(_shown(sample.masks[0], sample.geometry), sample.geometry)
    layers = mask if len(mask) > 1 else [mask[0] == number for number in range(1, len(labels.names) + 1)]
    for number, layer in enumerate(layers):
        inside = np.asarray((np.asarray(layer) != 0) & (np.asarray(layer) != IGNORE), dtype=np.uint8) * 255
        # The share of class in every thumbnail pixel; its outline is where more than half meets less.
        small = np.asarray(Image.fromarray(inside).resize(size, Image.Resampling.BOX)) >= 128
        padded = np.pad(small, 1)
        inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        yield OUTLINES[number % len(OUTLINES)], small & ~inner


def _shown(array: np.ndarray, geometry: Geometry) -> np.ndarray:
    return middle_slice(array, geometry)


def _upright(plane: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Slices of NIfTI and DICOM (x, y) turned so that y points up; pictures as they are."""
    volume = len(geometry.shape) == 3 and geometry.slice_axis == 2
    return np.rot90(plane, axes=(1, 2)) if volume else plane


def _bytes(plane: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: colour as it is, anything else stretched between its 0.5th and 99.5th percentile."""
    values = np.nan_to_num(plane.astype(np.float32))
    if len(values) != 3 or plane.dtype != np.uint8:
        values = values[:1]
        low, high = np.percentile(values, (0.5, 99.5))
        values = (values - low) * (255 / (high - low) if high > low else 0)
    values = np.clip(values, 0, 255)
    return np.ascontiguousarray(np.broadcast_to(values, (3, *values.shape[1:])).transpose(1, 2, 0)).astype(np.uint8)
