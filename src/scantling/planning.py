"""How a segmenter of our own recipe works on its data: from the traits to grid, patch, depth, batch and augmentation.

nnU-Net (Isensee et al., 2021) plans from spacing, shape and memory. This plan, ours, looks first at how thick the
objects are (`Thickness`): what has to be recognised must fit into a patch, and what is drawn must keep some pixels.
Nothing here depends on the name of a data set, on its test cases or on masks outside a label budget.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scantling.core.samples import Thickness, Traits

ACROSS = {2: 4.0, 3: 2.0}
"""How many times the thickest objects (90th percentile) fit into the side of a patch, where the image has more room."""
FINE = {2: 6.0, 3: 8.0}
"""Pixels that the thinnest class keeps of its local thickness when images are shrunk."""
SINGLE = 2.0
"""With no more objects of each class than this an image shows one: it is found from the whole, not from its texture."""
LEAST = {2: 64 * 64, 3: 32 * 32 * 32}
"""Pixels that the median image keeps where it is shrunk beyond what fits a patch (`across`)."""
ANISOTROPIC = 3.0
"""nnU-Net's threshold, of spacings and of numbers of voxels."""
STEP = 1.02
"""The ratio of two grids that are tried one after the other."""
EVEN = 1.1
"""Pictures go by their longest side unless objects spread so many times more relative to it than in pixels."""
COARSE = 2.0
"""An axis is coarse, and waits with its halving, where its spacing is so many times the finest."""
FEW = 300
"""Below so many patches that do not overlap, over all labelled images, augmentation is strong."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """On which grid a method sees its images.

    Attributes:
        spacing: of each axis, in the unit of the traits.
        shape: of the median image on it.
        shrink: how many times smaller than in the file the images are seen along the finest axis; below 1 only where a
            grid that was given enlarges them.
        thick, fine: the thickest objects and the thinnest local thickness, in pixels of this grid; 0 where unknown.
        whole: whether the median image fits into one patch.
    """

    spacing: tuple[float, ...]
    shape: tuple[int, ...]
    shrink: float = 1.0
    thick: float = 0.0
    fine: float = 0.0
    whole: bool = False

    @classmethod
    def of(
        cls,
        traits: Traits,
        pixels: int,
        *,
        spacing: Sequence[float] | None = None,
        across: float | None = None,
    ) -> Grid:
        """The grid for patches of so many pixels: the finest one on which the objects fit, or the whole image does.

        Images are shrunk until the thickest objects fit `ACROSS` times into the side of a patch, or the whole image
        into one patch, and no further than the thinnest class keeps `FINE` pixels. They are never enlarged; an axis
        that is coarser than the grid keeps its own spacing (`target_spacing`).

        Args:
            spacing: a grid that is given; nothing is shrunk beyond it.
            across: pixels of the thinnest class's local thickness that are enough where an image shows one object of a
                class (`SINGLE`): images are shrunk down to them, but to no fewer pixels than `LEAST`.
        """
        dimensions, stored, own, sides = traits.dimensions, traits.spacing, target_spacing(traits), traits.shape
        objects = [each for each in traits.thickness if each is not None]
        thick = max((each.high for each in objects), default=0.0)
        fine = min((each.local for each in objects), default=0.0)

        def at(target: Sequence[float], shrink: float) -> Grid:
            shape = tuple(max(1, round(n * a / b)) for n, a, b in zip(sides, stored, target, strict=True))
            finest = min(target)
            return cls(
                spacing=tuple(target), shape=shape, shrink=shrink, thick=thick / finest, fine=fine / finest,
                whole=math.prod(shape) <= 1.1 * pixels,
            )  # fmt: skip

        if spacing is not None:
            return at(spacing, min(spacing) / min(stored))
        found = at(own, 1.0)

        def coarser(grid: Grid) -> Grid:
            target = min(own) * grid.shrink * STEP
            return at([max(mm, target) for mm in own], grid.shrink * STEP)

        while objects and not found.whole and found.thick * ACROSS[dimensions] > pixels ** (1 / dimensions):
            finer, found = found, coarser(found)
            if found.fine < FINE[dimensions]:
                return finer
        single = bool(objects) and all(0 < each.number <= SINGLE for each in objects)
        while single and across is not None and found.whole:
            finer, found = found, coarser(found)
            if found.fine < across or math.prod(found.shape) < LEAST[dimensions]:
                return finer
        return found


def whole_image(traits: Traits, pixels: int, *, shape: Sequence[int] | None = None) -> Grid:
    """The grid on which a method sees every image whole: of the median image, with so many pixels at most; ours.

    Images are shrunk as far as they must be, and never enlarged; an axis that is coarser than the grid keeps its own
    spacing.

    Args:
        shape: a grid that is given.
    """
    stored, sides = traits.spacing, traits.shape
    if shape is not None:
        spacing = [mm * n / m for mm, n, m in zip(stored, sides, shape, strict=True)]
        return Grid(spacing=tuple(spacing), shape=tuple(shape), shrink=min(spacing) / min(stored), whole=True)
    shrink = 1.0
    while True:
        spacing = [max(mm, min(stored) * shrink) for mm in stored]
        found = tuple(max(1, round(n * a / b)) for n, a, b in zip(sides, stored, spacing, strict=True))
        if math.prod(found) <= pixels or max(found) == 1:
            return Grid(spacing=tuple(spacing), shape=found, shrink=shrink, whole=True)
        shrink *= STEP


def target_spacing(traits: Traits) -> tuple[float, ...]:
    """The spacing of the full-resolution grid: the median, and of a coarse axis of volumes nnU-Net's (2021) finer one.

    An axis whose median spacing is over three times that of the others, and whose images have less than a third of
    their voxels, takes the 10th percentile of its spacings instead, no finer than the others.
    """
    median, fine = traits.spacing, traits.fine_spacing
    if traits.dimensions == 2 or not fine:
        return median
    worst = max(range(3), key=lambda axis: median[axis])
    others = [axis for axis in range(3) if axis != worst]
    widest = max(median[axis] for axis in others)
    coarse = median[worst] > ANISOTROPIC * widest
    if not coarse or traits.shape[worst] * ANISOTROPIC >= min(traits.shape[axis] for axis in others):
        return median
    return tuple(max(widest, fine[axis]) if axis == worst else mm for axis, mm in enumerate(median))


def patch_of(shape: Sequence[int], pixels: int) -> tuple[int, ...]:
    """A patch of about `pixels` pixels in an image of this shape, each side 4 to 7 times a power of two.

    In the proportions of the image; of a picture that is larger a square, which quarter turns waste nothing of.
    """
    scale = min(1.0, (pixels / math.prod(shape)) ** (1 / len(shape)))
    wanted = [n * scale for n in shape]
    if len(shape) == 2 and math.prod(shape) > 1.1 * pixels:
        wanted = [min(math.sqrt(pixels), *shape)] * 2
    return tuple(halvable(n) for n in wanted)


def halvable(length: float, *, least: int = 4) -> int:
    """The number nearest to a length that can be halved until it is 4 to 7 (a smaller length is rounded)."""
    unit = 2 ** max(0, math.floor(math.log2(max(length, 1) / least)))
    return max(1, round(length / unit) * unit)


def levels_of(
    patch: Sequence[int], spacing: Sequence[float], *, most: int | None = None
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """The strides between the levels of a U-Net and the kernels of each level.

    At each level the axes are halved that have 8 pixels or more and are not coarse (twice the spacing of the finest),
    until none is left, so that the deepest map is 4 to 7 wide; kernels are flat along coarse axes (as in nnU-Net).

    Args:
        most: levels below the first.
    """
    size, mm = list(patch), list(spacing)
    strides: list[tuple[int, ...]] = []
    kernels = [_kernel(mm)]
    while most is None or len(strides) < most:
        finest = min((m for m, n in zip(mm, size, strict=True) if n >= 8), default=math.inf)
        stride = tuple(2 if n >= 8 and m < COARSE * finest else 1 for n, m in zip(size, mm, strict=True))
        if max(stride) == 1:
            break
        size = [n // s for n, s in zip(size, stride, strict=True)]
        mm = [m * s for m, s in zip(mm, stride, strict=True)]
        strides.append(stride)
        kernels.append(tuple(max(a, b) for a, b in zip(kernels[-1], _kernel(mm), strict=True)))  # once wide, wide
    return (strides, kernels) if strides else ([(1,) * len(patch)], kernels * 2)


def _kernel(spacing: Sequence[float]) -> tuple[int, ...]:
    return tuple(1 if mm >= COARSE * min(spacing) else 3 for mm in spacing)


def scarce(traits: Traits, grid: Grid, patch: Sequence[int]) -> bool:
    """Whether the labelled images hold so few patches that augmentation must be strong."""
    return traits.labelled * max(1.0, math.prod(grid.shape) / math.prod(patch)) < FEW


def rare(traits: Traits, grid: Grid, patch: Sequence[int]) -> tuple[str, ...]:
    """The classes that most patches lack, drawn anywhere.

    Some of the images hold the class, all of them where that is not known. In these an object is a circle or ball of
    the median thickness, objects are spread by Poisson's law, and a patch covers as much of an image as its pixels are
    of the image's; one that covers the whole of it holds what is there; ours.
    """
    whole = all(n >= side for n, side in zip(patch, grid.shape, strict=True))
    ball = {2: math.pi / 4, 3: math.pi / 6}[len(patch)]
    seen = math.prod(n * mm for n, mm in zip(patch, grid.spacing, strict=True))

    def held(share: float, thickness: Thickness) -> float:
        if whole and thickness.present is not None:
            return thickness.present
        present = 1.0 if thickness.present is None else thickness.present
        return present * -math.expm1(-share * seen / (present * ball * thickness.median ** len(patch)))

    known = zip(traits.classes, traits.foreground, traits.thickness, strict=False)
    return tuple(name for name, share, each in known if each and held(share, each) < 0.5)


def relative(traits: Traits) -> bool:
    """Whether shrunk pictures are brought to one longest side, and not shrunk by one factor; never volumes.

    Another camera has another number of pixels; only where objects are clearly more even in pixels than relative to
    their images (crops of one magnification) pixels are what they are measured in.
    """
    objects = [each for each in traits.thickness if each is not None and each.spread > 0]
    if traits.dimensions == 3 or traits.unit == "mm" or not objects:
        return False
    return sum(each.relative_spread for each in objects) <= EVEN * sum(each.spread for each in objects)


def sentences(traits: Traits, grid: Grid, patch: Sequence[int]) -> tuple[str, ...]:
    """What the grid and the patch are, and why."""
    unit = "mm" if traits.unit == "mm" else "pixels"
    objects = [each for each in traits.thickness if each is not None]
    size = " x ".join(map(str, patch))
    parts = []
    if grid.shrink > 1.01:
        fit = grid.thick * ACROSS[len(patch)] <= 1.05 * math.prod(patch) ** (1 / len(patch))
        why = f"so that objects fit the patch of {size}" if fit and objects else f"in patches of {size}"
        why = f"so that the whole image fits one patch of {size}" if grid.whole else why
        parts.append(f"images shrunk {grid.shrink:.1f}x, {why}")
    else:
        seen = "at full resolution" if grid.shrink > 0.99 else f"enlarged {1 / grid.shrink:.1f}x"
        fits = f"; the whole image fits one patch of {size}" if grid.whole else f", in patches of {size}"
        parts.append(f"images {seen}{fits}")
    if objects:
        thick, fine = max(each.high for each in objects), min(each.local for each in objects)
        parts.append(
            f"objects are up to about {thick:.3g} {unit} thick"
            + (f", and locally {fine:.2g}" if fine < 0.4 * thick else "")
            + (f" ({grid.fine:.2g} pixels of the grid)" if grid.shrink > 1.01 else "")
        )
    return ("; ".join(parts),)
