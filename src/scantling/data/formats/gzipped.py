"""Gzipped files: so many bytes of them and no more, whatever they unpack to."""

from __future__ import annotations

import zlib

from scantling.data.formats.common import Source

GZIP = b"\x1f\x8b"
BLOCK = 1 << 14
"""Bytes that are read at a time; what follows the end of a stream in them is copied, and streams may be tiny."""
_EITHER = 47
"""zlib's number for a stream with a header of gzip or of zlib."""


def unpacked(source: Source, count: int, *, whole: bool, begin: int = 0, tail: int = 0) -> bytearray:
    """The first `count` bytes of a gzipped file, or of what is packed in it from `begin` on.

    With `whole` these and at most `tail` more are all that there is, and the checksum holds.
    """
    source.file.seek(begin)
    out = bytearray()
    stream = zlib.decompressobj(_EITHER)
    rest = b""
    most = count + tail
    while len(out) <= most:
        block = rest or source.file.read(BLOCK)
        if not block:
            break
        out += stream.decompress(block, most + 1 - len(out))
        rest = stream.unconsumed_tail
        if stream.eof:
            rest = (stream.unused_data or source.file.read(BLOCK)).lstrip(b"\0")
            if not rest:
                break
            stream = zlib.decompressobj(_EITHER)
        elif not whole and len(out) >= count:
            break
    if whole and (not count <= len(out) <= most or not stream.eof):
        raise source.error(
            f"holds {'more than ' if len(out) > most else ''}{min(len(out), most):,} bytes when unpacked",
            expected=f"{count:,} for the size in its header",
            remedy="it is truncated or damaged: copy it again from its source",
        )
    return out
