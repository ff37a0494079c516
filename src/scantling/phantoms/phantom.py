"""What a phantom is: an image made by rule, with its mask, centre line, region and trees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scantling.core.checks import check_count
from scantling.core.errors import SettingsError
from scantling.metrics.topology import betti_numbers
from scantling.phantoms.texture import Image
from scantling.phantoms.trees import Tree

THINNEST = math.sqrt(0.5)
"""Masks draw nothing thinner than this radius in pixels, so that a vessel has no gaps."""


@dataclass(frozen=True)
class Phantom:
    """An image and the truth about it.

    The trees are exact: centre lines, radii and who branched from whom. The mask holds the pixels whose centre lies in
    a vessel (none is drawn thinner than a radius of √½), the centre line the pixels that the trees' lines pass through;
    both end at the region.

    Attributes:
        image: (C, *S) float32 in [0, 1].
        mask: (*S) bool.
        centre_line: (*S) bool, within the mask.
        region: (*S) bool, where there is anything to see.
        trees: in the plane of the image, in pixels; of a volume in cubes of its finest spacing.
    """

    image: NDArray[np.float32]
    mask: NDArray[np.bool_]
    centre_line: NDArray[np.bool_]
    region: NDArray[np.bool_]
    trees: tuple[Tree, ...]

    @property
    def betti(self) -> tuple[int, ...]:
        """Pieces and holes of the mask as it stands on the grid, exactly; crossing vessels enclose holes."""
        return betti_numbers(self.mask)


def check_size(shape: tuple[int, int], *, least: int = 64) -> None:
    """Refuse a frame that is too small to look like anything.

    Raises:
        SettingsError: the shape is not two sides, or one is shorter than `least` pixels.
    """
    if not isinstance(shape, Sequence) or len(shape) != 2:
        raise SettingsError(f"shape: found {shape}; expected (height, width) in pixels")
    for side in shape:
        check_count(side, argument="shape", least=-(2**31))
    if min(shape) < least:
        raise SettingsError(f"a phantom of {shape[0]} x {shape[1]} pixels is too small; ask for {least} a side or more")


def check_generator(generator: object) -> None:
    """Refuse a seed, or a generator of torch.

    Raises:
        SettingsError: it is no generator of NumPy.
    """
    if not isinstance(generator, np.random.Generator):
        raise SettingsError(
            f"generator: found a {type(generator).__name__}; expected one of NumPy: numpy.random.default_rng(seed)"
        )


def exposed(
    light: Image, *, blur: Sequence[float], shot: float, read: float, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Light (C, *S) on a sensor: blur by channel in pixels, then noise, part of which neighbouring pixels share.

    The noise has the deviation √(shot² · light + read²) before half of it is smoothed.
    """
    seen = np.stack([ndimage.gaussian_filter(channel, sigma) for channel, sigma in zip(light, blur, strict=True)])
    seen = np.maximum(seen, 0.0)
    noise = np.sqrt(shot**2 * seen + read**2) * generator.standard_normal(light.shape)
    shared = generator.uniform(0.0, 0.9)
    noise = (1.0 - shared) * noise + 2.0 * shared * ndimage.gaussian_filter(noise, (0.0, *(0.8,) * (light.ndim - 1)))
    return np.clip(seen + noise, 0.0, 1.0).astype(np.float32)
