"""Images of any size on one small grid with values in [0, 1]: what measures of generation compare pixel by pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from scantling.core.case import Case, Sample
from scantling.core.errors import DataError
from scantling.core.randomness import seed_of
from scantling.data.contents import count, some
from scantling.data.interpolation import resample
from scantling.data.loading import load
from scantling.data.opening import OPENING, Opening

LONGEST = {2: 128, 3: 48}
"""The longest side of the grid by the number of axes."""
SMALL = {2: 40, 3: 20}
"""That of the grid on which all flips and shifts are compared."""
LOOKED_AT = 24
"""Images from which the shape and the range of values are taken."""
RANGE = (0.5, 99.5)
"""Percentiles of a channel that become 0 and 1."""
UNLIKE = 4
"""Images whose ranges differ by more (the 90th over the 10th percentile of them) are in no common unit; ours."""

Images = NDArray[np.float32]


@dataclass(frozen=True)
class CommonGrid:
    """One grid and one range of values for all images that are compared.

    Attributes:
        names: of the files of a case; of a single file any name is taken.
        shape: (*S).
        limits: (low, high) of each channel, in units of the files; these become 0 and 1, and values beyond are cut off.
        slice_axis: of volumes.
        own_range: images are in no common unit, such as MR images of several scanners: each has limits of its own.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    limits: tuple[tuple[float, float], ...]
    slice_axis: int = 0
    opening: Opening = OPENING
    own_range: bool = False

    @property
    def small(self) -> tuple[int, ...]:
        """The shape on which flips and shifts are compared."""
        return scaled(self.shape, SMALL[len(self.shape)])

    def sample(self, case: Case) -> Sample:
        """The images of a case as they are in their files.

        Raises:
            DataError: it has other images, another number of axes or of channels.
            FileError: a file cannot be read.
        """
        sample = read_images(case, self.names, self.opening)
        if sample.image.ndim == 3 and len(self.limits) == 3:
            sample = in_colour(sample)
        found, expected = sample.image.shape, (len(self.limits), *self.shape)
        if len(found) != len(expected):
            raise DataError(
                f"case {case.id}: its image has {len(found) - 1} axes; expected {len(self.shape)} as in the real images"
            )
        if found[0] != expected[0]:
            raise DataError(
                f"case {case.id}: its image has {count(found[0], 'channel')}; expected {expected[0]}, as real ones"
            )
        return sample

    def bring(self, image: np.ndarray, shape: Sequence[int] = ()) -> Images:
        """An image (C, *S) in units of the files on the grid, in [0, 1]; or on a smaller grid of this shape."""
        found = self.limits_of(image)
        low, high = (np.array(values).reshape(-1, *[1] * len(self.shape)) for values in zip(*found, strict=True))
        unit = ((image - low) / (high - low)).clip(0, 1).astype(np.float32)
        return resample(torch.from_numpy(unit), tuple(shape or self.shape), linear=True).numpy()

    def limits_of(self, image: np.ndarray) -> tuple[tuple[float, float], ...]:
        """(low, high) of each channel of an image (C, *S) in units of the files."""
        return tuple(_limits([_some_values(channel)]) for channel in image) if self.own_range else self.limits

    def smaller(self, image: Images) -> Images:
        """An image on the grid brought to the small one, on which flips and shifts are compared."""
        return resample(torch.from_numpy(image), self.small, linear=True).numpy()

    def read(self, case: Case) -> Images:
        """(C, *shape) of a case; raises as `sample`."""
        return self.bring(self.sample(case).image)


def common_grid(
    cases: Sequence[Case], *, opening: Opening = OPENING, longest: Mapping[int, int] = LONGEST
) -> CommonGrid:
    """The grid of real images: their median shape, from some of them drawn by hash.

    Args:
        longest: the longest side that it may have, by the number of axes.

    Raises:
        DataError: there are none, they differ in axes or channels, or all are constant.
        FileError: a file cannot be read.
    """
    if not cases:
        raise DataError("found no real image; expected some to hold made ones against")
    drawn = sorted(cases, key=lambda case: seed_of("common grid", case.id))[:LOOKED_AT]
    names = tuple(drawn[0].images)
    samples = [read_images(case, names, opening) for case in drawn]
    if {(sample.image.ndim - 1, len(sample.image)) for sample in samples} == {(2, 1), (2, 3)}:
        samples = [in_colour(sample) for sample in samples]
    kinds = {(sample.image.ndim - 1, len(sample.image)) for sample in samples}
    if len(kinds) > 1:
        found = some(f"{axes} axes and {count(channels, 'channel')}" for axes, channels in sorted(kinds))
        raise DataError(f"the real images differ: found {found}; expected one number of axes and of channels")
    ((axes, channels),) = kinds
    if axes not in longest:
        raise DataError(f"case {drawn[0].id}: its image has {axes} axes; expected 2 or 3")
    values = [[_some_values(sample.image[channel]) for sample in samples] for channel in range(channels)]
    widths = [[high - low for low, high in (_limits([one]) for one in each)] for each in values]
    unlike = any(wide > UNLIKE * narrow for narrow, wide in (np.percentile(each, (10, 90)) for each in widths))
    shape = np.median([sample.image.shape[1:] for sample in samples], axis=0).round().astype(int).tolist()
    axis = samples[0].geometry.slice_axis
    return CommonGrid(
        names, scaled(shape, longest[axes]), tuple(map(_limits, values)), axis, opening, own_range=unlike
    )  # fmt: skip


def in_colour(sample: Sample) -> Sample:
    """A grey picture as one in colour, as the data door reads pictures of which some are in colour; others as is."""
    return replace(sample, image=np.repeat(sample.image, 3, axis=0)) if len(sample.image) == 1 else sample


def read_images(case: Case, names: Sequence[str], opening: Opening) -> Sample:
    """The images of a case, those of these names in their order; a single image may have any name.

    Raises:
        DataError: it has others.
        FileError: a file cannot be read.
    """
    if len(case.images) != len(names) or (len(names) > 1 and set(case.images) != set(names)):
        raise DataError(f"case {case.id}: it has the images {some(case.images)}; expected {some(names)}")
    if len(names) > 1:
        case = replace(case, images={name: case.images[name] for name in names})
    return load(case, reads=("image",), limits=opening.limits, untrusted=opening.untrusted)


def scaled(shape: Sequence[int], longest: int) -> tuple[int, ...]:
    """A shape with no side over `longest`, its proportions kept as far as whole pixels of at least 3 allow."""
    factor = min(1.0, longest / max(shape))
    return tuple(max(min(3, side), round(side * factor)) for side in shape)


def _limits(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """What becomes 0 and 1 of the values of a channel; of equal ones 1 above."""
    low, high = np.percentile(np.concatenate(values), RANGE).tolist()
    return low, high if high > low else low + 1


def _some_values(channel: np.ndarray) -> np.ndarray:
    """At most some 100,000 values of a channel, evenly spread."""
    flat = channel.reshape(-1)
    return flat[:: max(1, flat.size // 100_000)].astype(np.float64)
