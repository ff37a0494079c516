"""At which scale a picture is answered: that of the training images, where there is clear evidence of another one.

Evidence proposes (the spacing, the width of the field of view, larger sides), and the model decides: of the answers at
both scales that one stands of which it expects the higher Dice itself. Both rules, and their limits, are
ours; they were chosen on training images that were resized on purpose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from scantling.contract.method import Method
from scantling.core.case import Sample
from scantling.data.contents import count
from scantling.data.interpolation import interpolate, resample
from scantling.inference.bands import Decided
from scantling.mending.dark_border import inside_dark_border
from scantling.metrics.confidence import dice_confidence
from scantling.records.expectations import AppearanceRecord

FIELD, SIDES = "scale field of view in pixels", ("scale side 1 in pixels", "scale side 2 in pixels")
SPACINGS = ("scale spacing 1 in mm", "scale spacing 2 in mm")
"""Features of `AppearanceRecord`, logarithms all."""
ALIKE, LEAST, MOST = math.log(1.05), math.log(1.1), math.log(4)
"""What the training images may differ among each other, and an image at least and at most from them."""
LONGEST = 1024
"""Pixels of the longer side at which the dark frame of a picture is looked for."""
FEWEST = 3
"""Of fewer training subjects nobody knows whether they agree."""
PIXELS = 1 << 26
"""A picture that would have more at the scale of the training images is answered as it is."""
GIVEN = "given"
"""What says a scale that was asked for."""
THIN = 0.02
"""The width of a frame, as a share of the longer side, below which it is none."""


def field_of_view(sample: Sample) -> dict[str, float]:
    """The feature `FIELD` of a picture: the logarithm of the greatest extent of its region, or of what a dark frame
    leaves.

    None where it reaches the border of the picture along that axis: it may be cut there.
    """
    shape = sample.geometry.shape
    if len(shape) != 2 or not sample.image.size:
        return {}
    step = max(1, math.ceil(max(shape) / LONGEST))
    thin = (slice(None, None, step),) * 2
    if sample.region is not None:
        inside = sample.region[thin]
    else:
        picture = sample.image[(slice(None), *thin)].astype(np.float32).max(axis=0)
        if not np.isfinite(picture).all():
            return {}
        inside = inside_dark_border(picture, thin=THIN * max(picture.shape))
    along = [np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0)]
    if not inside.any():
        return {}
    longest = max((0, 1), key=lambda axis: int(np.ptp(along[axis])))
    first, last = int(along[longest][0]), int(along[longest][-1])
    cut = first == 0 or last == inside.shape[longest] - 1
    return {} if cut else {FIELD: math.log(step * (last - first + 1))}


def proposed(sample: Sample, known: AppearanceRecord | None) -> tuple[float, str] | None:
    """How many times as large as the training images a picture is, in pixels for the same thing, and what says so.

    The first evidence that can be had counts: the spacing in mm, the field of view, the sides. Sides say no more than
    that a picture is larger: a smaller one is as likely a part of one. None where there is no evidence, where the
    training images are of fewer than `FEWEST` subjects or differ among each other, and where the picture is of their
    scale or far from it.
    """
    if known is None or known.subjects < FEWEST or len(sample.geometry.shape) != 2:
        return None
    geometry = sample.geometry
    here = dict(zip(SIDES, map(math.log, sorted(geometry.shape, reverse=True)), strict=True)) | field_of_view(sample)
    if geometry.unit == "mm":
        here |= dict(zip(SPACINGS, map(math.log, geometry.spacing), strict=True))
    for names, sign, words in ((SPACINGS, -1, "spacing"), ((FIELD,), 1, "field of view"), (SIDES, 1, "sides")):
        there = [_usual(known, name) for name in names]
        if any(name not in here for name in names) or None in there:
            continue
        apart = [sign * (here[name] - usual) for name, usual in zip(names, there, strict=True) if usual is not None]
        factor = sum(apart) / len(apart)
        clear = max(apart) - min(apart) <= ALIKE and LEAST <= abs(factor) <= MOST
        return (math.exp(factor), words) if clear and (factor > 0 or names != SIDES) else None
    return None


def _usual(known: AppearanceRecord, name: str) -> float | None:
    """The median of a feature over the training images; None where one lacks it, or they differ."""
    if name not in known.features:
        return None
    values = [row[known.features.index(name)] for row in known.images]
    there = [value for value in values if value is not None]
    if not there or len(there) < len(values) or max(there) - min(there) > 2 * ALIKE:
        return None
    return float(np.median(there))


def keeps_scale(method: Method, sample: Sample) -> bool:
    """Whether a method sees a picture at its own scale: not at one size for all, nor at a spacing in mm."""
    recipe, unit = method.preprocessing, sample.geometry.unit
    by_spacing = recipe.spacing is not None and unit == "mm" == method.traits.unit
    return len(sample.geometry.shape) == 2 and recipe.size is None and recipe.longest is None and not by_spacing


def answer_at_scale(
    answer: Callable[[Sample], Decided],
    sample: Sample,
    methods: Sequence[Method],
    *,
    scale: float | None,
    known: AppearanceRecord | None,
) -> tuple[Decided, dict[str, Any]]:
    """Answer a sample, at the scale of the training images where it has clearly another one.

    Args:
        methods: all that answer; where one does not keep the scale of the picture, nothing is changed.
        scale: how many times as large as the training images it is; None: as the evidence says.
        known: what the training images of the first of them look like.

    Returns:
        The answer; "scale" and "scale_by", the evidence, where the picture was answered at another scale.
    """
    if scale == 1 or not all(keeps_scale(method, sample) for method in methods):
        return answer(sample), {}
    if scale is not None:
        return answer(replace(sample, scale=scale)), {"scale": scale, "scale_by": GIVEN}
    if (found := proposed(sample, known)) is None:
        return answer(sample), {}
    factor, words = found
    as_it_is = answer(sample)
    if math.prod(sample.geometry.shape) > PIXELS * factor**2:
        return as_it_is, {}
    if _confidence(answer(_resized(sample, factor))) > _confidence(as_it_is):
        return answer(replace(sample, scale=factor)), {"scale": round(factor, 4), "scale_by": words}
    return as_it_is, {}


def _resized(sample: Sample, factor: float) -> Sample:
    """The picture as if it had been taken at the scale of the training: what a model expects depends on the grid."""
    geometry = sample.geometry
    shape = tuple(max(1, round(n / factor)) for n in geometry.shape)

    def read(part: slice) -> Tensor:
        return torch.from_numpy(sample.image[:, part].astype(np.float32))

    def nearest(array: np.ndarray | None) -> np.ndarray | None:
        if array is None:
            return None
        return resample(torch.from_numpy(array[None].astype(np.uint8)), shape, linear=False)[0].bool().numpy()

    return replace(
        sample,
        image=interpolate(read, geometry.shape, shape).numpy(),
        region=nearest(sample.region),
        outside=nearest(sample.outside),
        geometry=replace(geometry, shape=shape, stored=None),  # the spacing stays: its pixels are those of the training
    )


def _confidence(decided: Decided) -> float:
    sums = decided.confidence_sums
    found = None if sums is None else dice_confidence(sums)
    return -1.0 if found is None else found


class Scaled(Protocol):
    """What a record says of a case: `scale` and `scale_by`."""

    @property
    def scale(self) -> float | None:
        """How many times as large as the training images it was answered; None: as it is."""

    @property
    def scale_by(self) -> str:
        """What said so."""


def sentences_on_scale(cases: Sequence[Scaled], *, given: float | None = None) -> list[str]:
    """What a command says of the cases that were answered at another scale by themselves, and of a scale in vain.

    Args:
        given: the scale that was asked for.
    """
    if given not in (None, 1) and cases and all(one.scale is None for one in cases):
        return [
            f"--scale {given:g} changed nothing: it is for pictures, and for models that do not bring all of them to "
            "one size or spacing"
        ]
    those = [(one.scale, one.scale_by) for one in cases if one.scale is not None and one.scale_by != GIVEN]
    if not those:
        return []
    least, most = (choose(scale for scale, _ in those) for choose in (min, max))
    times = f"{least:.2g}" if most < 1.1 * least else f"{least:.2g} to {most:.2g}"
    shows, was = ("shows", "was") if len(those) == 1 else ("show", "were")
    return [
        f"{len(those)} of {count(len(cases), 'image')} {shows} things {times} times as large as the training images, "
        f"by {' and '.join(sorted({words for _, words in those}))}, and {was} answered at the scale of these; "
        "--scale 1 answers images as they are"
    ]
