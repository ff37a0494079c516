"""One page of thumbnails: every case, the right way up, with the outline of its mask in the colours of a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from scantling.core.atomic import named, replacing
from scantling.core.case import IGNORE, Case, Labels
from scantling.core.errors import DataError, ScantlingError
from scantling.data.files import Limits
from scantling.data.loading import load_apart
from scantling.data.pictures import View, outlined
from scantling.data.splits import SPLITS
from scantling.data.traits import in_order

if TYPE_CHECKING:
    from scantling.data.dataset import Dataset

SIDE, GAP, CAPTION, TITLE, COLUMNS = 176, 10, 18, 30, 8
"""Pixels: of a thumbnail, between thumbnails, of a caption and of a heading; thumbnails in a row."""
_PAPER, _INK, _FAINT = (250, 250, 248), (32, 32, 32), (128, 128, 128)


def contact_sheet(
    dataset: Dataset, out: Path, *, most: int = 64, limits: Limits | None = None, untrusted: bool = False
) -> Path:
    """Draw up to `most` cases as a PNG, volumes by one slice (see `pictures.View`), split by split; return the file.

    More cases than that are thinned out evenly in each split. A case that cannot be read leaves a grey tile.

    Args:
        dataset: what to draw.
        out: the PNG to write.
        most: how many cases are drawn at most.
        limits: bounds on what is decoded.
        untrusted: decode in a process with limits on time and memory.

    Raises:
        DataError: the dataset is empty.
    """
    if not dataset.cases:
        raise DataError(f"{dataset.name}: there is no case to draw")
    return _save(sheet_of(dataset, most=most, limits=limits, untrusted=untrusted), out)


def sheet_of(dataset: Dataset, *, most: int, limits: Limits | None = None, untrusted: bool = False) -> Image.Image:
    """The picture that `contact_sheet` writes, of a dataset with cases."""
    chosen = {name: _thinned(dataset.split(name), most, len(dataset.cases)) for name in SPLITS}
    drawn = [case for cases in chosen.values() for case in cases]
    try:
        labels = dataset.label_source.find(untrusted=True).labels if untrusted else dataset.labels
    except ScantlingError:
        labels = None
    tiles = in_order(lambda case: picture_of(case, labels, limits=limits, untrusted=untrusted), drawn)
    sections = []
    for name, cases in chosen.items():
        total = len(dataset.split(name))
        shown = f"{len(cases)} of {total}" if len(cases) < total else str(total)
        sections.append((f"{dataset.name}: {name} ({shown})", [(case.id, next(tiles)) for case in cases]))
    return _page([section for section in sections if section[1]], COLUMNS)


def beside_answers(
    title: str, rows: Sequence[tuple[Case, str, np.ndarray]], labels: Labels, out: Path, *, untrusted: bool = False
) -> Path:
    """Draw cases with their masks, and beside each the same image with a model's answer, as a PNG; return the file.

    Args:
        rows: cases, what is said of each, and the answers (K, *S) bool.
    """
    tiles = []
    for case, sentence, answer in rows:
        for caption, mask in ((case.id, None), (sentence, answer)):
            tiles.append((caption, picture_of(case, labels, untrusted=untrusted, answer=mask)))
    return _save(_page([(f"{title}: mask on the left, model on the right", tiles)], 4), out)


def _page(sections: Sequence[tuple[str, Sequence[tuple[str, Image.Image]]]], columns: int) -> Image.Image:
    """Tiles with captions under headings."""
    rows = sum(-(-len(tiles) // columns) for _, tiles in sections)
    width = GAP + min(columns, max(len(tiles) for _, tiles in sections)) * (SIDE + GAP)
    height = GAP + len(sections) * TITLE + rows * (SIDE + CAPTION + GAP)
    sheet = Image.new("RGB", (max(width, 4 * SIDE), height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    top = GAP
    for title, tiles in sections:
        pen.text((GAP, top), title, fill=_INK, font=ImageFont.load_default(16))
        top += TITLE
        for number, (caption, tile) in enumerate(tiles):
            left, below = GAP + number % columns * (SIDE + GAP), top + number // columns * (SIDE + CAPTION + GAP)
            sheet.paste(tile, (left + (SIDE - tile.width) // 2, below + (SIDE - tile.height) // 2))
            pen.text((left, below + SIDE + 2), _fitted(caption, pen), fill=_INK, font=ImageFont.load_default(11))
        top += -(-len(tiles) // columns) * (SIDE + CAPTION + GAP)
    return sheet


def _save(sheet: Image.Image, out: Path) -> Path:
    with replacing(named(out)) as aside:
        sheet.save(aside, format="PNG", pnginfo=_signed())
    return out


def _signed() -> PngInfo:
    """What says that a PNG is a sheet of ours, which a later one may replace (`outputs.check_file`)."""
    info = PngInfo()
    info.add_text("Software", "Scantling")
    return info


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


def picture_of(
    case: Case,
    labels: Labels | None,
    *,
    side: int = SIDE,
    limits: Limits | None = None,
    untrusted: bool = False,
    answer: np.ndarray | None = None,
) -> Image.Image:
    """A picture of one case, with its mask or with an answer (K, *S); both show the slice of the mask.

    A case that cannot be read is a grey tile that says so.

    Args:
        labels: what the values of its mask mean; None: it is not read.
        side: of the longer side, in pixels.
    """
    reads, lost = ("image", "mask") if labels is not None else ("image",), bool(case.masks) and labels is None
    try:
        pictures, sample = load_apart(case, labels=labels, reads=reads, limits=limits, untrusted=untrusted)
    except ScantlingError:
        lost = True  # an image without its mask is better than none
        try:
            pictures, sample = load_apart(case, reads=("image",), limits=limits, untrusted=untrusted)
        except ScantlingError:
            return _unreadable(side)
    layers = _layers(sample.masks[0], labels) if sample.masks and labels is not None else []
    shown = np.asarray(np.any(layers, axis=0)) if layers else None
    if answer is not None and shown is not None and not shown.any():
        shown = np.asarray(answer.any(axis=0))
    view = View.of(sample.geometry, shown)
    layers = layers if answer is None else list(answer)
    image = next((picture.array for picture in pictures.values()), None)
    tile = Image.fromarray(outlined(image, layers, view, longest=side))
    if lost:
        ImageDraw.Draw(tile).text((3, 3), "mask unreadable", fill="white", stroke_width=1, stroke_fill="black")
    return tile


def _layers(mask: np.ndarray, labels: Labels) -> list[np.ndarray]:
    """Where each class is: (*S) bool."""
    if len(mask) > 1:
        return [np.asarray((layer != 0) & (layer != IGNORE)) for layer in mask]
    return [np.asarray(mask[0] == number) for number in range(1, len(labels.names) + 1)]


def _unreadable(side: int) -> Image.Image:
    tile = Image.new("RGB", (side, side), (224, 224, 224))
    ImageDraw.Draw(tile).text(
        (side // 2, side // 2), "unreadable", fill=_FAINT, anchor="mm", font=ImageFont.load_default(12)
    )
    return tile
