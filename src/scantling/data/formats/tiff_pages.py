"""The directories of a TIFF: each page's size, numbers and pieces, checked against each other and the file's end.

Follows TIFF 6.0 (Adobe, 1992) and BigTIFF (64-bit offsets); reads only the tags that make pixels.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from scantling.data.formats.common import Array, Source

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE = range(4)
NONE, LZW, DEFLATE, PACKBITS = 1, 5, 8, 32773
DEFLATES = (8, 32946)
COMPRESSIONS = {1: "none", 5: "LZW", 8: "deflate", 32946: "deflate", 32773: "PackBits"}
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
INTEGERS = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
KINDS = {1: "u", 2: "i", 3: "f", 4: "u"}
DEPTHS = {"u": (1, 8, 16, 32, 64), "i": (8, 16, 32, 64), "f": (16, 32, 64)}
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
LONGEST_TEXT = 1 << 24
DAMAGED = "it is damaged: copy it again from its source"


@dataclass(frozen=True)
class Page:
    """One page as its directory declares it.

    Attributes:
        dtype: of a sample, in the byte order of the file; uint8 where `bits` is 1.
        planar: whether samples lie in planes of their own.
        offsets, counts: where the pieces (strips or tiles) lie, and their bytes in the file.
        piece: rows and columns of a full piece.
        tiled: whether pieces at the edge are full all the same.
        described: whether the description looks sound.
        notes: what other tags say in words.
        resolution: pixels for each unit of length, across and down.
    """

    width: int
    height: int
    bits: int
    samples: int
    dtype: np.dtype[Any]
    compression: int
    predictor: int
    photometric: int
    planar: bool
    offsets: Array
    counts: Array
    piece: tuple[int, int]
    tiled: bool
    reduced: bool
    extra: tuple[int, ...]
    palette: Array | None
    description: str
    described: bool
    notes: str
    resolution: tuple[float, float]

    @property
    def kind(self) -> tuple[object, ...]:
        """What pages of one stack have in common."""
        palette = None if self.palette is None else self.palette.tobytes()
        return self.width, self.height, self.samples, self.dtype, self.bits, self.photometric, palette

    @property
    def bytes(self) -> int:
        """The bytes of the page without compression."""
        line = (self.width * self.bits + 7) // 8 if self.planar else (self.width * self.samples * self.bits + 7) // 8
        return self.height * line * (self.samples if self.planar else 1)


class Directory:
    """The tags of one page, read when asked for."""

    def __init__(self, source: Source, offset: int, order: str, big: bool) -> None:
        self.source, self.order = source, order
        head, entry, place = (8, 20, 8) if big else (2, 12, 4)
        self.count = int.from_bytes(source.at(offset, head), "little" if order == "<" else "big")
        if not 0 < self.count <= 4096:
            raise source.error(f"a directory claims {self.count} tags", remedy=DAMAGED)
        body = source.at(offset + head, self.count * entry + place)
        numbers = "Q" if big else "I"
        self.tags: dict[int, tuple[int, int, bytes | int]] = {}
        for at in range(0, self.count * entry, entry):
            tag, kind, count = struct.unpack_from(f"{order}HH{numbers}", body, at)
            inside = body[at + entry - place : at + entry]
            fits = count * SIZES.get(kind, 1) <= place
            if tag in self.tags and tag != 270:  # of several descriptions the last is tifffile's own
                raise source.error(f"tag {tag} stands twice in a directory", remedy=DAMAGED)
            self.tags[tag] = (kind, count, inside if fits else int(struct.unpack(f"{order}{numbers}", inside)[0]))
        self.next = int(struct.unpack_from(f"{order}{numbers}", body, self.count * entry)[0])

    def numbers(self, tag: int) -> Array:
        """The whole numbers of a tag; empty if it is not there."""
        if tag not in self.tags:
            return np.zeros(0, np.int64)
        kind = self.tags[tag][0]
        if kind not in INTEGERS:
            raise self.source.error(f"tag {tag} holds no whole numbers", remedy=DAMAGED)
        values = np.frombuffer(self.raw(tag), self.order + INTEGERS[kind])
        if values.dtype.itemsize == 8 and values.size and int(values.max()) > 1 << 62:
            raise self.source.error(f"tag {tag} holds a number beyond reason", remedy=DAMAGED)
        return values.astype(np.int64)

    def number(self, tag: int, default: int) -> int:
        """The only whole number of a tag."""
        values = self.numbers(tag)
        if values.size > 1 or (values.size == 0 and tag in self.tags):
            raise self.source.error(f"tag {tag} holds {values.size} numbers", expected="one", remedy=DAMAGED)
        return int(values[0]) if values.size else default

    def text(self, tag: int) -> str:
        """The text of a tag; empty if it is not there."""
        if tag not in self.tags:
            return ""
        return self.raw(tag, LONGEST_TEXT).split(b"\0", 1)[0].decode("utf-8", "replace").strip()

    def sound(self, tag: int) -> bool:
        """Whether tags rise, and a text, if it is there, is one that ends where it should."""
        if list(self.tags) != sorted(self.tags):
            return False
        whole = tag not in self.tags or (self.tags[tag][0] == 2 and self.raw(tag, LONGEST_TEXT)[-1:] == b"\0")
        return whole and not CONTROL.search(self.text(tag))

    def ratio(self, tag: int) -> float:
        """The only fraction of a tag; 0 if it is not there."""
        if tag not in self.tags or self.tags[tag][:2] != (5, 1):
            return 0.0
        above, below = struct.unpack(f"{self.order}II", self.raw(tag))
        return float(above) / below if below else 0.0

    def raw(self, tag: int, longest: int = 1 << 30) -> bytes:
        """The bytes of a tag."""
        kind, count, place = self.tags[tag]
        length = count * SIZES.get(kind, 1)
        if length > longest:
            raise self.source.error(f"tag {tag} holds {length:,} bytes", remedy=DAMAGED)
        return place[:length] if isinstance(place, bytes) else self.source.at(place, length)


def read_pages(source: Source) -> list[Page]:
    """Every page; smaller copies of the image (thumbnails, pyramids) are left out."""
    start = source.at(0, 16)
    order = "<" if start[:2] == b"II" else ">"
    version, size, zero, big_offset = struct.unpack(f"{order}HHHQ", start[2:])
    big = version == 43
    if big and (size, zero) != (8, 0):
        raise source.error("its BigTIFF header makes no sense", remedy=DAMAGED)
    offset = big_offset if big else int(struct.unpack(f"{order}I", start[4:8])[0])
    pages: list[Page] = []
    seen: set[int] = set()
    while offset:
        if offset in seen:
            raise source.error("its pages follow each other in a circle", remedy=DAMAGED)
        seen.add(offset)
        directory = Directory(source, offset, order, big)
        page = _page(source, directory)
        if not pages or not page.reduced or page.kind == pages[0].kind:
            pages.append(page)
        offset = directory.next
    if not pages:
        raise source.error("holds no page", remedy=DAMAGED)
    return pages


def _page(source: Source, tags: Directory) -> Page:
    width, height, samples = tags.number(256, 0), tags.number(257, 0), tags.number(277, 1)
    if min(width, height, samples) < 1 or samples > 65535:
        raise source.error(f"a page is {width} x {height} pixels of {samples} samples", remedy=DAMAGED)
    depths, formats = set(tags.numbers(258).tolist() or [1]), set(tags.numbers(339).tolist() or [1])
    if len(depths) > 1 or len(formats) > 1 or tags.numbers(258).size not in (0, 1, samples):
        raise source.error("its samples are of different kinds", expected="one kind", remedy="save them apart")
    bits, kind = depths.pop(), KINDS.get(formats.pop(), "")
    if bits not in DEPTHS.get(kind, ()):
        raise source.error(f"holds samples of {bits} bits", expected="whole or real numbers of 1, 8, 16, 32 or 64 bits")
    compression, predictor = tags.number(259, 1), tags.number(317, 1)
    if compression not in COMPRESSIONS or tags.number(266, 1) != 1:
        raise source.error(
            f"is compressed in way {compression}",
            expected=f"{', '.join(dict.fromkeys(COMPRESSIONS.values()))}",
            remedy="save it again with one of these",
        )
    if predictor not in (1, 3 if kind == "f" else 2) or (predictor > 1 and bits == 1):
        raise source.error(f"its predictor {predictor} does not fit its numbers", remedy=DAMAGED)
    tiled = 322 in tags.tags or 324 in tags.tags
    piece = (tags.number(323, 0), tags.number(322, 0)) if tiled else (min(tags.number(278, height), height), width)
    page = Page(
        width=width,
        height=height,
        bits=bits,
        samples=samples,
        dtype=np.dtype(np.uint8) if bits == 1 else np.dtype(f"{tags.order}{kind}{bits // 8}"),
        compression=compression,
        predictor=predictor if compression != NONE else 1,
        photometric=tags.number(262, -1),
        planar=tags.number(284, 1) == 2 and samples > 1,
        offsets=tags.numbers(324 if tiled else 273),
        counts=tags.numbers(325 if tiled else 279),
        piece=piece,
        tiled=tiled,
        reduced=bool(tags.number(254, 0) & 5),
        extra=tuple(tags.numbers(338).tolist()),
        palette=tags.numbers(320) if 320 in tags.tags else None,
        description=tags.text(270),
        described=tags.sound(270),
        notes="\n".join(tags.text(tag) for tag, (kind, _, _) in tags.tags.items() if kind == 2 and tag != 270),
        resolution=(tags.ratio(282), tags.ratio(283)),
    )
    _check_pieces(source, page)
    return page


def _check_pieces(source: Source, page: Page) -> None:
    """There are as many pieces as the size asks for, all within the file, and of the right length if uncompressed."""
    rows, columns = page.piece
    if rows < 1 or columns < 1 or (page.tiled and max(rows, columns) > 1 << 20):
        raise source.error(f"its pieces are {columns} x {rows} pixels", remedy=DAMAGED)
    expected = -(-page.height // rows) * -(-page.width // columns) * (page.samples if page.planar else 1)
    if not len(page.offsets) == len(page.counts) == expected:
        raise source.error(
            f"a page lies in {len(page.offsets)} pieces of {len(page.counts)} lengths",
            expected=f"{expected} for {page.width} x {page.height} pixels",
            remedy=DAMAGED,
        )
    ends = page.offsets + page.counts
    if int(page.counts.min()) < 1 or int(ends.max()) > source.size:
        raise source.error(
            f"the file ends after {source.size:,} bytes but its pixels at {int(ends.max()):,}", remedy=DAMAGED
        )
    if page.compression == NONE:
        lengths = np.array([piece_bytes(page, index) for index in range(expected)])
        if (page.counts != lengths).any():
            raise source.error(
                f"its pixels take {int(page.counts.sum()):,} bytes",
                expected=f"{int(lengths.sum()):,} for {page.width} x {page.height} pixels",
                remedy=DAMAGED,
            )


def piece_shape(page: Page, index: int) -> tuple[int, int, int]:
    """Rows, columns and samples of a piece in the file; the last strip is shorter, the last tile is not."""
    samples = 1 if page.planar else page.samples
    if page.tiled:
        return (*page.piece, samples)
    strips = -(-page.height // page.piece[0])
    return min(page.piece[0], page.height - index % strips * page.piece[0]), page.width, samples


def piece_bytes(page: Page, index: int) -> int:
    """The bytes of a piece without compression."""
    rows, columns, samples = piece_shape(page, index)
    return rows * ((columns * samples * page.bits + 7) // 8)
