"""The pages of a TIFF as tifffile parses them, checked against each other and the end of the file; their pixels.

tifffile forgives much: it trims lists of pieces, fills what is missing and cuts what is too long. What it reports as
an error is one here, and every strip or tile must have exactly the length that the declared size asks for.
"""

from __future__ import annotations

import io
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from PIL import Jpeg2KImagePlugin, JpegImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile
from tifffile import TIFF, TiffFile, TiffPage

from scantling.data.formats.common import Array, Source

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
NONE, JPEG = 1, 7
FAX = (2, 3, 4)
BYTES = {NONE: "none", 5: "LZW", 8: "deflate", 32946: "deflate", 32773: "PackBits", 34925: "LZMA", 50000: "zstd"}
IMAGES = {2: "CCITT", 3: "CCITT", 4: "CCITT", JPEG: "JPEG", 33005: "JPEG 2000", 34712: "JPEG 2000", 50001: "WebP"}
PROBES: dict[int, Callable[[io.BytesIO], ImageFile]] = {
    JPEG: JpegImagePlugin.JpegImageFile,
    33005: Jpeg2KImagePlugin.Jpeg2KImageFile,
    34712: Jpeg2KImagePlugin.Jpeg2KImageFile,
    50001: WebPImagePlugin.WebPImageFile,
}
"""What tells the size that a piece says itself, before it is decoded."""
DEPTHS = {"u": (8, 16, 32, 64), "i": (8, 16, 32, 64), "f": (16, 32, 64), "b": (1,)}
PRIVATE = 32768
"""The first private tag (TIFF 6.0, section 8)."""
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
DAMAGED = "it is damaged: copy it again from its source"


@dataclass(frozen=True)
class Page:
    """One page as its directory declares it.

    Attributes:
        parsed: by tifffile. Its `compression` is none where only bytes were packed: they are unpacked here, strictly.
        compression: that of the file.
        photometric: what samples mean; -1 where it does not say.
        dtype: of a sample, in the byte order of this machine; uint8 where a sample is 1 bit.
        palette: (3 * colours,), or None.
        description: its text.
        described: whether the description looks sound.
        notes: what other tags say in words.
        resolution: pixels for each unit of length, across and down; 0: not given.
        unit: of the resolution: 1 none, 2 inch, 3 cm.
        orientation: how viewers turn it, from 1 to 8 as in EXIF.
    """

    parsed: TiffPage
    width: int
    height: int
    samples: int
    compression: int
    photometric: int
    dtype: np.dtype[Any]
    palette: Array | None
    description: str
    described: bool
    notes: str
    resolution: tuple[float, float]
    unit: int
    orientation: int

    @property
    def kind(self) -> tuple[object, ...]:
        """What pages of one stack have in common."""
        palette = None if self.palette is None else self.palette.tobytes()
        parsed = self.parsed
        bits = parsed.bitspersample
        return self.width, self.height, self.samples, self.dtype, bits, self.photometric, self.orientation, palette

    @property
    def bytes(self) -> int:
        """The bytes of the page without compression."""
        return sum(_piece_bytes(self.parsed, index) for index in range(len(self.parsed.dataoffsets)))


class Listener(logging.Handler):
    """Collects what tifffile logs as an error while this thread listens; with it, nothing goes to standard error."""

    heard = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep an error, unless it is about a private tag, which makes no pixels."""
        errors: list[str] | None = getattr(self.heard, "errors", None)
        if errors is not None and record.levelno >= logging.ERROR:
            text = record.getMessage()
            tag = re.search(r"TiffTag (\d+)", text)
            errors += [text] if tag is None or int(tag[1]) < PRIVATE else []


LISTENER = Listener()


@contextmanager
def strictly(source: Source) -> Iterator[None]:
    """Raise what tifffile logs as an error inside."""
    logging.getLogger("tifffile").addHandler(LISTENER)  # once, however often it is added
    errors: list[str] = []
    LISTENER.heard.errors = errors
    try:
        yield
    finally:
        LISTENER.heard.errors = None
    if errors:
        raise source.error(f"its tags contradict each other ({' '.join(errors[0].split())[:120]})", remedy=DAMAGED)


def read_pages(source: Source) -> list[Page]:
    """Every page; smaller copies of the image (thumbnails, levels of a pyramid) are left out."""
    pages: list[Page] = []
    with strictly(source):
        source.file.seek(0)
        file = TiffFile(source.file, is_lsm=False, is_scanimage=False, is_ndpi=False)
        for number in range(len(file.pages)):
            parsed = file.pages.get(number, aspage=True)
            if not isinstance(parsed, TiffPage):
                raise source.error("its pages follow each other in a circle", remedy=DAMAGED)
            page = _page(source, parsed)
            if pages:
                first = pages[0]
                smaller = page.width < first.width and page.height < first.height
                reduced = bool(parsed.subfiletype & 5) or (first.parsed.is_tiled and smaller)
                if reduced and page.kind != first.kind:
                    continue
            pages.append(page)
    if not pages:
        raise source.error("holds no page", remedy=DAMAGED)
    return pages


def page_pixels(source: Source, page: Page, out: Array) -> None:
    """Fill `out` (H, W, samples) with the samples of a page; 1 bit becomes 0 or 1."""
    parsed = page.parsed
    unpack = TIFF.DECOMPRESSORS[page.compression] if page.compression in BYTES and page.compression != NONE else None
    options = {"jpegtables": parsed.jpegtables, "jpegheader": parsed.jpegheader} if page.compression == JPEG else {}
    rows, columns = _piece(parsed)
    for index, (offset, count) in enumerate(zip(parsed.dataoffsets, parsed.databytecounts, strict=True)):
        data = source.at(int(offset), int(count))
        if unpack is not None:
            expected = _piece_bytes(parsed, index)
            data = unpack(data, out=expected + 1)
            if len(data) != expected:
                raise source.error(
                    f"piece {index + 1} of a page does not unpack to its size",
                    expected=f"{expected:,} bytes for {page.width} x {page.height} pixels",
                    remedy=DAMAGED,
                )
        elif page.compression in PROBES:
            wide, high = PROBES[page.compression](io.BytesIO(data)).size
            if wide > columns or high > rows:
                raise source.error(
                    f"piece {index + 1} of a page is {wide} x {high} pixels",
                    expected=f"at most {columns} x {rows}",
                    remedy=DAMAGED,
                )
        with strictly(source):
            piece, (plane, _, top, left, _), _ = parsed.decode(data, index, **options)
        chosen = slice(plane, plane + 1) if _planar(parsed) else slice(None)
        target = out[top : top + rows, left : left + columns, chosen]
        found = np.asarray(piece)
        if found.dtype != out.dtype and parsed.bitspersample != 1:
            raise source.error(f"piece {index + 1} holds {found.dtype}", expected=f"{out.dtype}", remedy=DAMAGED)
        target[...] = found[0, : target.shape[0], : target.shape[1]]


def _page(source: Source, parsed: TiffPage) -> Page:
    width, height, samples = parsed.imagewidth, parsed.imagelength, parsed.samplesperpixel
    if min(width, height, samples) < 1 or samples > 65535 or parsed.imagedepth != 1:
        raise source.error(f"a page is {width} x {height} pixels of {samples} samples", remedy=DAMAGED)
    bits, dtype, tags = parsed.bitspersample, parsed.dtype, parsed.tags
    kind = "" if dtype is None else dtype.kind
    counts = {258: tags.valueof(258, 1), 339: tags.valueof(339, 1)}
    if any(isinstance(values, tuple) and len(set(values)) > 1 for values in counts.values()):
        raise source.error("its samples are of different kinds", expected="one kind", remedy="save them apart")
    if dtype is None or bits not in DEPTHS.get(kind, ()):
        raise source.error(f"holds samples of {bits} bits", expected="whole or real numbers of 1, 8, 16, 32 or 64 bits")
    compression, predictor = int(parsed.compression), int(parsed.predictor)
    if compression not in BYTES | IMAGES or (parsed.fillorder != 1 and compression not in FAX):
        names = ", ".join(dict.fromkeys((*BYTES.values(), *IMAGES.values())))
        raise source.error(
            f"has the unsupported TIFF compression {compression}",
            expected=names,
            remedy="save it again with one of these",
        )
    if compression in BYTES and (predictor not in (1, 3 if kind == "f" else 2) or (predictor > 1 and bits == 1)):
        raise source.error(f"its predictor {predictor} does not fit its numbers", remedy=DAMAGED)
    if compression in FAX and bits != 1:
        raise source.error(f"holds samples of {bits} bits in CCITT compression", expected="1 bit", remedy=DAMAGED)
    palette = tags.valueof(320)
    texts = [tag for tag in tags.values() if tag.dtype == 2]
    described = [tag for tag in texts if tag.code == 270]
    text = str(described[-1].value).strip() if described else ""
    page = Page(
        parsed=parsed,
        width=width,
        height=height,
        samples=samples,
        compression=compression,
        photometric=int(tags.valueof(262, -1)),
        dtype=np.dtype(np.uint8) if bits == 1 else dtype,
        palette=None if palette is None else np.asarray(palette, np.int64).ravel(),
        description=text,
        described=_sound(source, parsed, described[-1] if described else None),
        notes="\n".join(str(tag.value) for tag in texts if tag.code != 270),
        resolution=(_ratio(tags.valueof(282)), _ratio(tags.valueof(283))),
        unit=int(tags.valueof(296, 2)),
        orientation=turn if (turn := tags.valueof(274, 1)) in range(1, 9) else 1,
    )
    _check_pieces(source, parsed)
    if compression in BYTES:
        parsed.compression = NONE
    return page


def _sound(source: Source, parsed: TiffPage, description: Any) -> bool:
    """Whether tags rise, and the description, if there is one, ends where it should and holds no control character."""
    entries = sorted(parsed.tags.values(), key=lambda tag: tag.offset)
    if [tag.code for tag in entries] != sorted(tag.code for tag in entries):
        return False
    if description is None:
        return 270 not in parsed.tags
    last = source.at(description.valueoffset + description.count - 1, 1)
    return last == b"\0" and not CONTROL.search(str(description.value))


def _ratio(value: Any) -> float:
    """A fraction of two whole numbers; 0 if there is none."""
    valid = isinstance(value, tuple) and len(value) == 2 and value[1]
    return float(value[0]) / value[1] if valid else 0.0


def _planar(parsed: TiffPage) -> bool:
    return bool(parsed.planarconfig == 2 and parsed.samplesperpixel > 1)


def _piece(parsed: TiffPage) -> tuple[int, int]:
    """Rows and columns of a full piece."""
    if parsed.is_tiled:
        return parsed.tilelength, parsed.tilewidth
    return parsed.rowsperstrip, parsed.imagewidth


def _piece_bytes(parsed: TiffPage, index: int) -> int:
    """The bytes of a piece without compression; the last strip is shorter, the last tile is not."""
    rows, columns = _piece(parsed)
    if not parsed.is_tiled:
        rows = min(rows, parsed.imagelength - index % ceil(parsed.imagelength / rows) * rows)
    return rows * ceil(columns * (1 if _planar(parsed) else parsed.samplesperpixel) * parsed.bitspersample / 8)


def _check_pieces(source: Source, parsed: TiffPage) -> None:
    """There are as many pieces as the size asks for, all within the file, and of the right length if uncompressed."""
    rows, columns = _piece(parsed)
    size = f"{parsed.imagewidth} x {parsed.imagelength} pixels"
    if rows < 1 or columns < 1 or (parsed.is_tiled and (max(rows, columns) > 1 << 20 or parsed.tiledepth != 1)):
        raise source.error(f"its pieces are {columns} x {rows} pixels", remedy=DAMAGED)
    planes = parsed.samplesperpixel if _planar(parsed) else 1
    expected = ceil(parsed.imagelength / rows) * ceil(parsed.imagewidth / columns) * planes
    offsets, counts = np.asarray(parsed.dataoffsets, np.float64), np.asarray(parsed.databytecounts, np.float64)
    if not len(offsets) == len(counts) == expected:
        raise source.error(
            f"a page lies in {len(offsets)} pieces of {len(counts)} lengths",
            expected=f"{expected} for {size}",
            remedy=DAMAGED,
        )
    end = int((offsets + counts).max())
    if counts.min() < 1 or end > source.size:
        raise source.error(f"the file ends after {source.size:,} bytes but its pixels at {end:,}", remedy=DAMAGED)
    if parsed.compression == NONE:
        lengths = [_piece_bytes(parsed, index) for index in range(expected)]
        if (counts != lengths).any():
            raise source.error(
                f"its pixels take {int(counts.sum()):,} bytes", expected=f"{sum(lengths):,} for {size}", remedy=DAMAGED
            )
