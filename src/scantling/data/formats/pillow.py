"""GIF, BMP and WebP as Pillow decodes them, and the checks of their size that it does not make.

None has a checksum. A GIF writes its size twice; the length of an uncompressed BMP must be what its size asks for (a
width that grows within the padding of its rows is not detectable); a WebP says how long it is, no more. Transparency
is dropped, palettes are expanded. An animation is refused: to read only its first frame would be a silent loss.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, WebPImagePlugin
from PIL.Image import Image
from PIL.ImageFile import ImageFile

from scantling.data.formats.common import COLOUR, GREY, Array, Plan, Source, channels_first, palette_is_grey, raster
from scantling.data.formats.exif import orientation

ROWS = 1 << 22
"""Pixels that are converted at a time."""
DAMAGED = "it is damaged: copy it again from its source"


def inspect(source: Source, *, format: str) -> Plan:
    """Judge the size, the frames and the palette."""
    plugin, judge = KINDS[format]
    source.file.seek(0)
    image = plugin(source.file)
    if getattr(image, "is_animated", False):
        raise source.error(
            "is an animation of several frames", expected="one image", remedy="save its frames one by one"
        )
    judge(source, image)
    if image.mode not in ("1", "L", "P", "RGB", "RGBA", "RGBX"):
        raise source.error(
            f"holds pixels of the kind {image.mode}", expected="greys or colours", remedy="save it as PNG"
        )
    palette = _palette(image) if image.mode == "P" else None
    grey = image.mode in ("1", "L") or (palette is not None and palette_is_grey(source, palette, protected=False))
    channels = GREY if grey or (palette is not None and source.labels) else COLOUR
    exif = orientation(image.info.get("exif", b""))
    width, height = image.size
    header = raster(format, (height, width), channels, np.uint8, exif=exif)

    def decode() -> Array:
        pixels = pixels_of(image)
        if palette is not None:
            if int(pixels.max()) >= len(palette):
                raise source.error("a pixel has a colour that its palette lacks", remedy="it is damaged")
            if grey or not source.labels:
                pixels = palette[:, 0][pixels] if grey else palette[pixels]
        return channels_first(pixels[:, :, : len(channels)] if pixels.ndim == 3 else pixels)

    return Plan(header, decode, height * width * len(image.getbands()), source.size)


def pixels_of(image: Image) -> Array:
    """The decoded pixels `(H, W)` or `(H, W, bands)` as uint8, converted in bands of rows; 1 bit becomes 0 or 255."""
    image.load()
    width, height = image.size
    bands = len(image.getbands())
    pixels = np.empty((height, width) if bands == 1 else (height, width, bands), np.uint8)
    step = max(1, ROWS // width)
    for top in range(0, height, step):
        pixels[top : top + step] = np.asarray(image.crop((0, top, width, min(height, top + step))))
    if image.mode == "1":
        pixels *= 255
    return pixels


def _palette(image: Image) -> Array:
    """The colours `(N, 3)`, before anything is decoded."""
    if image.palette is None:
        return np.zeros((0, 3), np.uint8)
    order = image.palette.rawmode or image.palette.mode
    colours = np.frombuffer(bytes(image.palette.palette), np.uint8)
    colours = colours[: len(colours) // len(order) * len(order)].reshape(-1, len(order))
    return colours[:, 2::-1] if order.startswith("BGR") else colours[:, :3]


def _judge_gif(source: Source, image: ImageFile) -> None:
    """One frame that fills the screen, and the mark of the end."""
    tail = source.at(max(0, source.size - 1024), min(1024, source.size)).rstrip(b"\0")
    if not tail.endswith(b";"):
        raise source.error("has no mark of its end", remedy="it is truncated: copy it again from its source")
    boxes = [tile.extents or (0, 0, 0, 0) for tile in image.tile]
    if boxes != [(0, 0, *image.size)]:
        size = (
            " x ".join(str(end - start) for start, end in zip(boxes[0][:2], boxes[0][2:], strict=True))
            if boxes
            else "0"
        )
        raise source.error(
            f"its frame of {size} pixels does not fill its screen of {image.width} x {image.height}",
            expected="one frame of that size",
            remedy="it may be damaged; if not, save it as PNG",
        )


def _judge_bmp(source: Source, image: ImageFile) -> None:
    """No coding, and a length that is exactly what the size asks for."""
    start, extent = struct.unpack("<II", source.at(10, 8))
    bits, compression = struct.unpack("<HI", source.at(28, 6)) if extent >= 40 else (0, 0)
    if compression not in (0, 3) or bits not in (1, 4, 8, 16, 24, 32):
        raise source.error(
            f"holds {bits} bits a pixel in coding {compression}", expected="no coding", remedy="save it as PNG"
        )
    end = start + (image.width * bits + 31) // 32 * 4 * image.height
    profile = struct.unpack("<II", source.at(14 + 112, 8)) if extent == 124 else (0, 0)
    expected = max(end, 14 + sum(profile)) if profile[1] else end
    if not expected <= source.size <= expected + 3:
        raise source.error(
            f"holds {source.size:,} bytes",
            expected=f"{expected:,} for {image.width} x {image.height} pixels",
            remedy=DAMAGED,
        )


def _judge_webp(source: Source, image: ImageFile) -> None:
    """As long as it says."""
    length = 8 + int.from_bytes(source.at(4, 4), "little")
    if length + length % 2 != source.size + source.size % 2:
        raise source.error(f"holds {source.size:,} bytes", expected=f"{length:,} as it says", remedy=DAMAGED)


KINDS: dict[str, tuple[Callable[..., ImageFile], Callable[[Source, ImageFile], None]]] = {
    "GIF": (GifImagePlugin.GifImageFile, _judge_gif),
    "BMP": (BmpImagePlugin.BmpImageFile, _judge_bmp),
    "WebP": (WebPImagePlugin.WebPImageFile, _judge_webp),
}
inspect_gif, inspect_bmp, inspect_webp = (partial(inspect, format=format) for format in KINDS)
