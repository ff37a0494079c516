"""The pixels of a TIFF page: each strip or tile is unpacked to its exact length, then its differences are summed."""

from __future__ import annotations

import zlib

import numpy as np

from scantling.data.formats.common import Array, Source
from scantling.data.formats.tiff_pages import DAMAGED, DEFLATES, LZW, NONE, Page, piece_bytes, piece_shape


def page_pixels(source: Source, page: Page) -> Array:
    """The samples of a page `(H, W, samples)` as stored, in the byte order of this machine; 1 bit becomes 0 or 1."""
    pixels = np.empty((page.height, page.width, page.samples), page.dtype.newbyteorder("="))
    rows, columns = page.piece
    down, across = -(-page.height // rows), -(-page.width // columns)
    for index in range(len(page.offsets)):
        piece = _piece(source, page, index)
        plane, place = divmod(index, down * across)
        top, left = place // across * rows, place % across * columns
        chosen = slice(plane, plane + 1) if page.planar else slice(None)
        target = pixels[top : top + rows, left : left + columns, chosen]
        target[...] = piece[: target.shape[0], : target.shape[1]]
    return pixels


def _piece(source: Source, page: Page, index: int) -> Array:
    shape = piece_shape(page, index)
    expected = piece_bytes(page, index)
    data = _unpacked(page, source.at(int(page.offsets[index]), int(page.counts[index])), expected)
    if len(data) != expected:
        raise source.error(
            f"piece {index + 1} of a page does not unpack to its size",
            expected=f"{expected:,} bytes for {page.width} x {page.height} pixels",
            remedy=DAMAGED,
        )
    if page.bits == 1:
        bits = np.unpackbits(np.frombuffer(data, np.uint8).reshape(shape[0], -1), axis=1)
        return bits[:, : shape[1] * shape[2]].reshape(shape)
    if page.predictor == 3:
        return _from_float_differences(data, page, shape)
    samples = np.frombuffer(data, page.dtype).reshape(shape)
    if page.predictor == 2:
        samples = samples.astype(page.dtype.newbyteorder("="))
        return np.cumsum(samples, axis=1, dtype=samples.dtype)
    return samples


def _unpacked(page: Page, data: bytes, expected: int) -> bytes | Array:
    """The bytes of a piece; one too many, or none, where they are not those expected."""
    if page.compression == NONE:
        return data
    if page.compression in DEFLATES:
        stream = zlib.decompressobj()
        unpacked = stream.decompress(data, expected + 1)
        return unpacked if stream.eof else b""
    from scantling.data.formats import kernels

    out = np.empty(expected, np.uint8)
    expand = kernels.lzw if page.compression == LZW else kernels.packbits
    return out[: max(expand(np.frombuffer(data, np.uint8), out), 0)]


def _from_float_differences(data: bytes | Array, page: Page, shape: tuple[int, int, int]) -> Array:
    """Undo the floating-point predictor: byte planes, highest first, each byte less the one a pixel before."""
    rows, columns, samples = shape
    size = page.dtype.itemsize
    lines = np.frombuffer(data, np.uint8).reshape(rows, size * columns, samples)
    planes = np.cumsum(lines, axis=1, dtype=np.uint8).reshape(rows, size, columns * samples)
    joined = np.ascontiguousarray(planes.transpose(0, 2, 1)).view(f">f{size}")
    return joined.reshape(shape).astype(page.dtype.newbyteorder("="))
