"""Masks that are colours or transparency: the whole numbers that they become, and what colours are called.

A grey pixel (r, g, b equal) is its grey, so that masks of grey in three channels are those of one channel; any other
colour is `COLOURED` + 0xRRGGBB.
"""

from __future__ import annotations

import numpy as np

from scantling.core.case import COLOURED, Address
from scantling.core.errors import FileError
from scantling.core.pieces import slabs, spans
from scantling.data.formats.common import COLOUR, Array, Picture

WHOLE = 1e-3
"""How far a label may be from a whole number (scaled label maps hold 0.99999997)."""
FEW = 64
"""More colours than this in the visible pixels of a file are those of a picture."""
CLOSE = 40
"""A colour is called like another that differs by so much in no channel."""
DAMAGE = 8
"""How far JPEG moves a plain colour in each channel."""
NAMES = {
    "black": 0x000000, "white": 0xFFFFFF, "grey": 0x808080, "red": 0xFF0000, "green": 0x00FF00, "blue": 0x0000FF,
    "yellow": 0xFFFF00, "magenta": 0xFF00FF, "cyan": 0x00FFFF, "orange": 0xFFA500, "purple": 0x800080,
    "maroon": 0x800000, "dark green": 0x008000, "navy": 0x000080, "olive": 0x808000, "teal": 0x008080,
    "pink": 0xFFC0CB,
}  # fmt: skip


def colour_value(red: int, green: int, blue: int) -> int:
    """The number of a colour in a label map; channels from 0 to 255."""
    return red if red == green == blue else COLOURED + (red << 16 | green << 8 | blue)


def is_colour(value: int) -> bool:
    """Whether a value of a label map is a colour that is no grey."""
    return COLOURED <= value < 2 * COLOURED


def channels_of(values: Array) -> Array:
    """(N, 3) int64, red, green and blue of (N,) values of a label map; of a value that is no colour its grey."""
    values = np.asarray(values, np.int64)
    coloured = (values >= COLOURED)[:, None]
    return np.where(coloured, values[:, None] >> np.array((16, 8, 0)) & 255, values[:, None])


def shown(value: int) -> str:
    """A value for people: "255", or "#ff0000" for a colour."""
    return f"#{value - COLOURED:06x}" if is_colour(value) else str(value)


def written(value: int) -> str:
    """A value as a manifest has it."""
    return f'"{shown(value)}"' if is_colour(value) else str(value)


def colour_name(value: int) -> str:
    """What a colour is called: "red" for what is close to it, else "#12ab34"."""
    channels = channels_of(np.array([value]))[0]
    apart = {name: int(np.abs(channels - (one >> np.array((16, 8, 0)) & 255)).max()) for name, one in NAMES.items()}
    name = min(apart, key=apart.__getitem__)
    return name if apart[name] <= CLOSE else "#" + "".join(f"{channel:02x}" for channel in channels)


def usual(value: int) -> int:
    """The plain colour that a damaged one was (#fe0000: #ff0000), or the value itself."""
    channels = channels_of(np.array([value]))[0]
    plain = (colour_value(*(one >> 16, one >> 8 & 255, one & 255)) for one in NAMES.values())
    return next((one for one in plain if np.abs(channels_of(np.array([one]))[0] - channels).max() <= DAMAGE), value)


def nearest(array: Array, values: Array) -> Array:
    """The array (*S) with each value replaced by the nearest of `values` (N,) in red, green and blue."""
    found, inverse = np.unique(array, return_inverse=True)
    apart = ((channels_of(found)[:, None] - channels_of(values)[None]) ** 2).sum(axis=2)
    return np.asarray(values)[apart.argmin(axis=1)][inverse].reshape(array.shape)


class FractionError(FileError):
    """A label map holds a value that is no whole number."""


def label_map(picture: Picture, address: Address, *, rounded: bool = False) -> Array:
    """The label map int32 (*S) of a picture that was read as one.

    Args:
        rounded: fractions become the nearest whole number.

    Raises:
        FractionError: a value is not a whole number within `WHOLE`, and they are not `rounded`.
        FileError: a value is not finite, or there are several channels that are not red, green, blue and alpha.
    """
    array = numbers(picture.array, picture.channels)
    if array is None:
        raise FileError(
            str(address),
            f"has {len(picture.array)} channels ({', '.join(picture.channels[:4])})",
            expected="one label number or colour for each pixel",
            remedy="save one channel of numbers",
        )
    return _whole_numbers(address, array, rounded=rounded)


def numbers(array: Array, channels: tuple[str, ...]) -> Array | None:
    """The label map (*S) in a picture (C, *S); None where its channels are no colours.

    A mask may lie in the alpha channel: a transparent pixel is background, and what is visible has its colour, or its
    alpha where the visible pixels are all black or white, or a picture of many colours.
    """
    alpha = array[-1] if channels[-1:] == ("alpha",) else None
    if alpha is not None:
        array, channels = array[:-1], channels[:-1]
    if len(array) == 1:
        found = array[0]
    elif channels != COLOUR:
        return None
    elif (array == array[:1]).all():
        found = array[0]
    elif array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        found = np.empty(array.shape[1:], np.int32)
        for rows in slabs(found.shape):
            red, green, blue = (array[:, rows] if array.dtype.itemsize == 1 else array[:, rows] >> 8).astype(np.int32)
            coloured = COLOURED + (red << 16 | green << 8 | blue)
            found[rows] = np.where((red == green) & (green == blue), red, coloured)
    else:
        return None
    if alpha is None or (alpha == alpha.flat[0]).all():
        hidden = alpha is not None and alpha.flat[0] == 0 and (found == found.flat[0]).all()
        return np.zeros_like(found) if hidden else found
    return alpha if _in_alpha(found, alpha) else np.where(_visible(alpha), found, 0)


def _visible(alpha: Array) -> Array:
    """(*S) bool: what is at least half as opaque as the most opaque pixel."""
    return np.asarray(alpha >= (int(alpha.max()) + 1) // 2)


def _in_alpha(found: Array, alpha: Array) -> bool:
    """Whether the mask is the alpha channel itself, whatever the colours (*S) are."""
    visible = np.unique(found[_visible(alpha)])
    return len(visible) > FEW or (len(visible) == 1 and int(visible[0]) in (0, np.iinfo(alpha.dtype).max))


def is_alpha(picture: Picture) -> bool:
    """Whether the label map of a picture is its alpha channel."""
    found, alpha = numbers(picture.array, picture.channels), picture.array[-1]
    varied = found is not None and picture.channels[-1] == "alpha" and np.ptp(alpha) > 0
    return varied and bool((found == alpha).all())


def _whole_numbers(address: Address, values: Array, *, rounded: bool) -> Array:
    if values.dtype.kind == "f":
        whole = np.empty(values.shape, values.dtype if values.dtype.itemsize > 4 else np.float32)
        for span in spans(values.size):
            whole.reshape(-1)[span] = _rounded(address, values.reshape(-1)[span], rounded=rounded)
        values = whole
    if values.dtype.itemsize >= 4 and (values.min() < -(2**31) or values.max() >= 2**31):
        raise FileError(str(address), f"has labels up to {values.max()}", expected="numbers within 32 bits")
    return values.astype(np.int32, copy=False)


def _rounded(address: Address, values: Array, *, rounded: bool) -> Array:
    if not np.isfinite(values).all():
        raise FileError(str(address), "has labels that are not finite", expected="whole numbers")
    whole = np.rint(values)
    worst = int(np.abs(values - whole).argmax())
    if not rounded and abs(values[worst] - whole[worst]) > WHOLE:
        raise FractionError(
            str(address),
            f"has a label of {values[worst]:g}",
            expected="whole numbers",
            remedy="name the file of labels, not of intensities or probabilities",
        )
    return whole
