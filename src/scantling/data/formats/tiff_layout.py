"""What the pages of a TIFF are: slices, or channels where ImageJ, OME or tifffile wrote so into the description.

Whoever writes such a description writes the number of pages too, so that a damaged one contradicts the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from scantling.data.formats.common import SPACING, Array, Source
from scantling.data.formats.tiff_pages import DAMAGED, Page

UNITS = {"nm": 1e-6, "um": 1e-3, "micron": 1e-3, "microns": 1e-3, "mm": 1.0, "cm": 10.0, "m": 1000.0, "inch": 25.4}
IMAGEJ = re.compile(r"^(?:ImageJ|images|channels|slices|frames|hyperstack)=", re.MULTILINE)
AXES = "[CZTIQYXS]{2,}"
US = "Scantling"
PRINT = (1, 72, 90, 96, 100, 150, 200, 240, 300, 360, 400, 600, 720, 1200, 2400)
"""Pixels for each inch that say how large an image is printed, not how large its object is."""


@dataclass(frozen=True)
class Layout:
    """How pages follow each other.

    Attributes:
        channels_last: whether the channels of one slice follow each other (ImageJ), or the slices of one channel.
        spacing: mm between slices, rows and columns; None where the file does not say.
    """

    channels: int = 1
    slices: int = 1
    channels_last: bool = True
    spacing: tuple[float, float, float] | None = None

    def sorted(self, pages: Array) -> Array:
        """`(pages, H, W, samples)` to `(channels, slices, H, W, samples)`."""
        if self.channels_last:
            return np.moveaxis(pages.reshape(self.slices, self.channels, *pages.shape[1:]), 1, 0)
        return pages.reshape(self.channels, self.slices, *pages.shape[1:])


def read_layout(source: Source, page: Page, count: int) -> Layout:
    """The layout of `count` pages like the first one, `page`."""
    text = page.description
    astray = US in page.notes or IMAGEJ.search(page.notes) or '"shape"' in page.notes or "<OME" in page.notes
    if count > 1 and (not page.described or (astray and not text)):
        raise source.error("the description of its pages is damaged or lost", remedy=DAMAGED)
    if IMAGEJ.search(text):
        return _imagej(source, page, text)
    if "<Pixels" in text or "<OME" in text:
        return _ome(source, page, text)
    known = text.startswith("{") or text.endswith("}") or '"shape"' in text or '"axes"' in text
    if known or (count > 1 and US in page.notes):
        return _tifffile(source, page, text, count)
    return Layout(slices=count, spacing=_density(page) if count == 1 else None)


def _density(page: Page) -> tuple[float, float, float] | None:
    """The spacing that a resolution with a unit gives, unless it is a density of print."""
    unit = {2: 25.4, 3: 10.0}.get(page.unit, 0.0)
    across, down = page.resolution
    if not unit or min(across, down) <= 0:
        return None
    inches = [density * 25.4 / unit for density in (across, down)]
    if all(min(abs(inch - print_) for print_ in PRINT) < 0.51 for inch in inches):
        return None
    steps = (unit / down, unit / across)
    return (1.0, *steps) if all(SPACING[0] < step < SPACING[1] for step in steps) else None


def _imagej(source: Source, page: Page, text: str) -> Layout:
    values = dict(re.findall(r"^(\w+)=(.*?)\s*$", text, re.MULTILINE))
    numbers = {name: values.get(name, "1") for name in ("images", "channels", "slices", "frames")}
    if not all(re.fullmatch(r"[1-9]\d{0,8}", number) for number in numbers.values()):
        raise source.error("its ImageJ description makes no sense", remedy=DAMAGED)
    images, channels, slices, frames = (int(number) for number in numbers.values())
    if images != channels * slices * frames:
        raise source.error(
            f"its description counts {images} images",
            expected=f"{channels} channels x {slices} slices x {frames} frames",
            remedy=DAMAGED,
        )
    if page.samples > 1:  # the channels of colour images are samples, whatever the description calls its pages
        channels, slices = 1, channels * slices
    unit = _millimetres(values.get("unit", ""))
    across, down = page.resolution
    spacing = None
    if unit and across > 0 and down > 0:
        spacing = (float(values.get("spacing", "1")) * unit, unit / down, unit / across)
    return _checked(source, channels, slices, frames, True, spacing)


def _ome(source: Source, page: Page, text: str) -> Layout:
    tag = re.search(r"<Pixels\b[^>]*>", text)
    if tag is None or text.count("<Pixels") != 1:
        raise source.error("its OME description is of several images, or damaged", expected="one image")
    values: dict[str, str] = dict(re.findall(r'(\w+)="([^"]*)"', tag.group()))
    names = ("SizeX", "SizeY", "SizeC", "SizeZ", "SizeT")
    if not all(re.fullmatch(r"[1-9]\d{0,8}", values.get(name, "")) for name in names):
        raise source.error("its OME description makes no sense", remedy=DAMAGED)
    width, height, channels, slices, frames = (int(values[name]) for name in names)
    if (width, height) != (page.width, page.height) or (page.samples > 1 and channels != page.samples):
        raise source.error(
            f"its description is of {width} x {height} pixels of {channels} channels",
            expected=f"{page.width} x {page.height} of {page.samples}",
            remedy=DAMAGED,
        )
    steps = [
        float(values.get(f"PhysicalSize{axis}", "0")) * _millimetres(values.get(f"PhysicalSize{axis}Unit", "um"))
        for axis in "ZYX"
    ]
    known = steps[1] > 0 and steps[2] > 0
    order = values.get("DimensionOrder", "XYCZT")
    inner = order.find("C") < order.find("Z" if slices > 1 else "T")
    return _checked(
        source,
        1 if page.samples > 1 else channels,
        slices,
        frames,
        inner,
        [step or 1.0 for step in steps] if known else None,
    )


def _tifffile(source: Source, page: Page, text: str, count: int) -> Layout:
    try:
        values = json.loads(text)
        shape = [int(length) for length in values["shape"]]
        axes = str(values.get("axes", ""))
        lost = not axes and any(re.fullmatch(AXES, str(value)) for value in values.values())
    except (ValueError, KeyError, TypeError) as error:
        raise source.error("its description cannot be read", expected="that of tifffile", remedy=DAMAGED) from error
    size = count * page.height * page.width * page.samples
    if lost or min(shape, default=0) < 1 or prod(shape) != size or (axes and len(axes) != len(shape)):
        raise source.error(
            f"its description is of {' x '.join(map(str, shape))} values",
            expected=f"{count} pages of {page.width} x {page.height}",
            remedy=DAMAGED,
        )
    if count == 1:
        return Layout(spacing=_density(page))
    leading: list[tuple[str, int]] = []  # the axes that run over pages, with their lengths
    taken = 1
    for number, length in enumerate(shape):
        if taken < count and length > 1:
            leading.append((axes[number] if axes else "?", length))
            taken *= length
    if not axes and len(leading) <= 2:
        leading = [(name, length) for name, (_, length) in zip("CZ"[-len(leading) :], leading, strict=True)]
    names = "".join(name for name, _ in leading)
    if taken != count or re.fullmatch("C?[ZTIQ]?|[ZTIQ]C", names) is None:
        raise source.error(
            f"its pages have the axes {axes or ' x '.join(map(str, shape))}",
            expected="slices, channels, or both",
            remedy="split it into files",
        )
    channels = dict(leading).get("C", 1)
    return Layout(channels, count // channels, channels_last=names.endswith("C"))


def _millimetres(unit: str) -> float:
    """A unit of length in mm; 0 where it is none ("pixel")."""
    return UNITS.get(unit.replace("\\u00B5", "u").replace("\u00b5", "u").replace("\u03bc", "u"), 0.0)


def _checked(
    source: Source, channels: int, slices: int, frames: int, channels_last: bool, spacing: Sequence[float] | None
) -> Layout:
    if slices > 1 and frames > 1:
        raise source.error(
            f"holds {slices} slices at {frames} points in time", expected="a volume", remedy="save each point apart"
        )
    return Layout(channels, slices * frames, channels_last, (spacing[0], spacing[1], spacing[2]) if spacing else None)
