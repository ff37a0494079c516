"""Arrays become pictures that a page can carry: painted labels, and errors in colours that all eyes tell apart.

The colours of errors are those of Okabe and Ito (Color Universal Design, 2008) that no class has (`data.pictures`).
"""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from scantling.data.pictures import grey

HIT, EXTRA, MISSED, CONFUSED = 1, 2, 3, 4
"""What a pixel is: foreground found, foreground added, foreground missed, foreground of the wrong class; else 0."""

ERROR_NAMES = {
    HIT: "found",
    EXTRA: "added (false positive)",
    MISSED: "missed (false negative)",
    CONFUSED: "wrong class",
}
ERROR_COLOURS = {HIT: "#F4F1E8C0", EXTRA: "#E69F00", MISSED: "#56B4E9", CONFUSED: "#CC79A7"}
"""What was found stays translucent, so that the image shows through."""
OUTLINE = "#8A80C0"
GLOW = "#F0E442"
"""Of what is uncertain; over a dimmed image it tells in every vision."""


def luminance(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) or (H, W) uint8 as (H, W) uint8, with the weights of ITU-R BT.601."""
    if picture.ndim == 2:
        return picture
    return np.asarray((picture @ np.array([0.299, 0.587, 0.114])).round(), np.uint8)


def errors(truth: np.ndarray, mask: np.ndarray, *, judged: np.ndarray | None = None) -> np.ndarray:
    """What each pixel of a mask is, of all classes together: (H, W) of 0, HIT, EXTRA, MISSED or CONFUSED.

    A pixel of which one class is missed and another added is CONFUSED.

    Args:
        truth, mask: (K, H, W) bool, a layer for each class.
        judged: (K, H, W) bool, the pixels that count; the others are 0.
    """
    counts = np.ones(truth.shape, bool) if judged is None else judged
    added, missed = ((one & ~other & counts).any(axis=0) for one, other in ((mask, truth), (truth, mask)))
    found = np.zeros(truth.shape[1:], np.uint8)
    found[(truth & mask & counts).any(axis=0)] = HIT
    found[added] = EXTRA
    found[missed] = MISSED
    found[added & missed] = CONFUSED
    return found


def paint(codes: np.ndarray, colours: dict[int, str]) -> np.ndarray:
    """(H, W) codes as (H, W, 4) uint8 RGBA.

    Args:
        colours: "#RRGGBB" or "#RRGGBBAA" by code; a code without a colour is transparent.
    """
    painted = np.zeros((*codes.shape, 4), np.uint8)
    for code, colour in colours.items():
        painted[codes == code] = list(bytes.fromhex(colour[1:].ljust(8, "F")))
    return painted


def glow(plane: np.ndarray, *, highest: float, colour: str) -> np.ndarray:
    """A plane (H, W) of numbers as (H, W, 4) uint8 RGBA: one "#RRGGBB", transparent at 0 and opaque at `highest`."""
    alpha = grey(np.asarray(plane, np.float64), limits=(0.0, highest))
    return np.dstack([*(np.full_like(alpha, part) for part in bytes.fromhex(colour[1:])), alpha])


def over_dark(colour: str) -> str:
    """What a translucent "#RRGGBBAA" looks like over the dimmed image: "#RRGGBB" over a dark grey."""
    *parts, alpha = bytes.fromhex(colour[1:].ljust(8, "F"))
    return "#" + "".join(f"{round(part * alpha / 255 + 40 * (1 - alpha / 255)):02X}" for part in parts)


def shrink(picture: np.ndarray, longest: int) -> np.ndarray:
    """The picture with no side over `longest`, each new pixel the mean of those that it covers; never enlarged.

    Means keep thin structures visible where skipped pixels would break them.
    """
    height, width = picture.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def png_uri(picture: np.ndarray) -> str:
    """An uint8 picture (H, W), (H, W, 3) or (H, W, 4) as a PNG data URI; few colours make a small file."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    if picture.ndim == 3 and picture.shape[2] == 4:
        flat = np.ascontiguousarray(picture).view(np.uint32)[..., 0]
        starts = np.flatnonzero(np.diff(flat.ravel(), prepend=~flat.ravel()[:1]))  # of runs of one colour
        colours, places = np.unique(flat.ravel()[starts], return_inverse=True)
        if len(colours) <= 256:
            table = colours.view(np.uint8).reshape(-1, 4)
            lengths = np.diff(starts, append=flat.size)
            image = Image.fromarray(np.repeat(places.astype(np.uint8), lengths).reshape(flat.shape))
            image.putpalette(table[:, :3].tobytes(), "RGB")
            image.info["transparency"] = table[:, 3].tobytes()
    return _uri(image, "PNG", "image/png", optimize=True)


def jpeg_uri(picture: np.ndarray, *, quality: int = 85) -> str:
    """An uint8 picture (H, W) or (H, W, 3) as a JPEG data URI, for photographs."""
    return _uri(Image.fromarray(np.ascontiguousarray(picture)), "JPEG", "image/jpeg", quality=quality)


def _uri(image: Image.Image, form: str, mime: str, **options: int) -> str:
    file = io.BytesIO()
    image.save(file, form, **options)
    return f"data:{mime};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
