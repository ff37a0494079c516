"""Curves that an L-system draws, and the look of a real image by its spectrum: the two parts of FreeCOS' synthesis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from skimage.morphology import skeletonize

from scantling.core.errors import ArrayError
from scantling.phantoms.phantom import Phantom, check_generator, check_size

CANVAS = 800
"""The side of the canvas that all lengths below refer to."""
AXIOMS = ("F", "[+F-F][-F]")
GRAMMARS = (
    ("F-F[+F-F][-F+F]", "F+F[+F[+F]-F]-F+F[+F-F[+F]-F]"),
    ("F-F-F[+F-F][-F-F]F+F", "F[+F]+F[+F]+F[+F]"),
)
"""What F becomes, of which one is drawn: the first, or with the probability 0.4 the second."""
SECOND = 0.4
LUMA = (0.299, 0.587, 0.114)
BLUR, NOISE = 1.4, 10 / 255
"""What a curve with the look of an image is blurred by, in pixels, and the noise that is added: uniform, up to this."""
BAND = 0.3
"""The lowest frequencies whose strength is taken: so many, as a share of the shorter side, on either side of 0."""


@dataclass(frozen=True)
class Curves:
    """How curves are drawn: Shi et al., "FreeCOS: self-supervised learning from fractals and unlabeled images for
    curvilinear object segmentation", 2023, as their code draws those of DRIVE. A pair is the bounds of a uniform draw.

    Attributes:
        systems: how many are drawn on a picture.
        iterations: how often F is rewritten.
        width: of the first strokes in pixels of the canvas; no stroke is thinner than `thinnest`.
        length: of a stroke.
        ratio: what width and length are multiplied by at a turn, drawn once for turns to the left and to the right.
        turn: degrees of a turn.
    """

    systems: tuple[int, int] = (1, 1)
    iterations: tuple[int, int] = (1, 2)
    width: tuple[int, int] = (2, 6)
    thinnest: float = 2.0
    length: tuple[int, int] = (90, 150)
    ratio: tuple[float, float] = (0.7, 1.0)
    turn: tuple[int, int] = (10, 39)


FREECOS = Curves()


def fractal_curves(shape: tuple[int, int], *, generator: np.random.Generator, curves: Curves = FREECOS) -> Phantom:
    """Dark curves of random grey, stroke by stroke, on white: (1, H, W) in [0, 1].

    Of the three rules of each grammar the authors' code never takes the third; here there are two.

    Args:
        shape: height and width in pixels, 64 at least.
        generator: where all chance comes from; the same state gives the same phantom.

    Raises:
        SettingsError: a side is shorter than 64 pixels, or `generator` is none of NumPy.
    """
    check_size(shape)
    check_generator(generator)
    size = (shape[1], shape[0])
    picture, mask = Image.new("L", size, 255), Image.new("L", size, 0)
    on_picture, on_mask, scale = ImageDraw.Draw(picture), ImageDraw.Draw(mask), max(shape) / CANVAS
    for _ in range(generator.integers(*curves.systems, endpoint=True)):
        for begin, end, width in strokes(generator, curves):
            line = [(size[0] / 2 + scale * float(x), size[1] / 2 - scale * float(y)) for x, y in (begin, end)]
            grey = float(np.dot(LUMA, generator.integers(0, 255, 3)))
            pixels = max(1, round(scale * max(width, curves.thinnest)))
            on_picture.line(line, fill=min(254, round(grey)), width=pixels)
            on_mask.line(line, fill=1, width=pixels)
    drawn = np.asarray(mask) > 0
    image = (np.array(picture, np.float32) / np.float32(255))[None].astype(np.float32)
    return Phantom(image, drawn, skeletonize(drawn), np.ones(shape, np.bool_), ())


def strokes(
    generator: np.random.Generator, curves: Curves = FREECOS
) -> list[tuple[tuple[float, float], tuple[float, float], float]]:
    """The strokes of one system: beginning and end as (x, y) from the middle of the canvas, upwards, and width."""
    uniform, integers = generator.uniform, generator.integers
    sentence, grammar = AXIOMS[integers(2)], GRAMMARS[integers(2)]
    for _ in range(integers(*curves.iterations, endpoint=True)):
        sentence = "".join(grammar[int(uniform() < SECOND)] if each == "F" else each for each in sentence)
    left = bool(integers(2))
    x, y = float(integers(-350, -149) if left else integers(150, 351)), -100.0
    heading = float(uniform(-80, 20) if left else uniform(170, 210))
    width, length = float(integers(*curves.width, endpoint=True)), float(integers(*curves.length, endpoint=True))
    ratios = uniform(*curves.ratio, size=2)
    kept, branching = list[tuple[float, float, float, float]](), False
    found = []
    for each in sentence:
        if each == "F":
            step = length * float(ratios[0 if branching else 1])
            end = (x + step * math.cos(math.radians(heading)), y + step * math.sin(math.radians(heading)))
            found.append(((x, y), end, width))
            x, y = end
        elif each in "+-":
            sign = 1 if each == "+" else -1
            heading += sign * int(integers(*curves.turn, endpoint=True))
            width *= float(ratios[0 if sign > 0 else 1])
        elif each == "[":
            kept.append((x, y, heading, width))
            branching = True
        else:
            x, y, heading, width = kept.pop()
            branching = False
    return found


def with_look_of(
    image: ArrayLike, other: ArrayLike, *, generator: np.random.Generator, band: float = BAND
) -> NDArray[np.float32]:
    """An image (C, H, W) in [0, 1] whose low frequencies are as strong as those of another, blurred and made noisy.

    Fourier domain adaptation (Yang and Soatto, 2020, eq. 3) as FreeCOS has it: amplitudes come from `other`, phases,
    and so the place of every edge, stay.

    Args:
        image, other: (C, H, W), both in [0, 1].
        band: the half of the side of the square of frequencies that is taken, as a share of the shorter side.

    Raises:
        ArrayError: the shapes differ.
    """
    source, target = np.asarray(image, np.float64), np.asarray(other, np.float64)
    if source.shape != target.shape or source.ndim != 3:
        raise ArrayError(f"found shapes {source.shape} and {target.shape}; expected the same (C, H, W)")
    spectra = [np.fft.fft2(each, axes=(-2, -1)) for each in (source, target)]
    reach = int(min(source.shape[1:]) * band)
    rows, columns = (np.abs(np.fft.fftfreq(side, 1 / side)) <= reach for side in source.shape[1:])
    low = rows[:, None] & columns
    amplitude: NDArray[Any] = np.where(low, np.abs(spectra[1]), np.abs(spectra[0]))
    made = np.fft.ifft2(amplitude * np.exp(1j * np.angle(spectra[0])), axes=(-2, -1)).real
    blurred = ndimage.gaussian_filter(made.clip(0, 1), (0, BLUR, BLUR))
    return (blurred + generator.uniform(-NOISE, NOISE, blurred.shape)).clip(0, 1).astype(np.float32)
