"""From a map of evidence for a class of images to a mask: which class that is, Otsu's threshold, one component."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from skimage.measure import label
from torch import Tensor

from scantling.contract.options import SegmentOptions
from scantling.core.case import Labels
from scantling.core.errors import SettingsError
from scantling.core.samples import Traits
from scantling.mending import otsu

OBJECT = "object"
"""The class of the masks where neither the data nor a single image class name it."""
WITHOUT = re.compile(
    r"(no|non|not|without|normal|negative|healthy|absent|none|empty|background|control|0|false)(?![a-z0-9])",
    re.IGNORECASE,
)
"""How a class of images without the object is called; ours."""


class ClassMapOptions(SegmentOptions):
    """How a map is cut; None is as in the settings.

    Attributes:
        largest: keep the largest component alone.
        gate: the least probability of a class with the object, by the classifier, below which an image has an empty
            mask; 0 marks something in every image (ours).
    """

    largest: bool | None = None
    gate: Annotated[float, Field(ge=0, le=1)] | None = None


def classes_with_object(name: str, given: Sequence[str], traits: Traits) -> tuple[str, ...]:
    """The image classes that show the object: those that are given, or all but the one that is called after nothing.

    Args:
        name: of the method.
        given: by `--settings.shown`.

    Raises:
        SettingsError: there is one class, two names are one but for their capitals, a class is unknown, or the names do
            not tell.
    """
    classes = traits.image_classes
    if len(classes) < 2:
        raise SettingsError(
            f"{name}: found the image classes {list(classes)}; expected two or more, one of them of images without the "
            "object (labels.csv, or 'class' in a manifest; check --write-manifest FILE --classes-of-masks derives them)"
        )
    lower = [each.lower() for each in classes]
    if twice := [each for each in classes if lower.count(each.lower()) > 1]:
        raise SettingsError(
            f"{name}: the image classes {' and '.join(map(repr, twice))} differ by capitals only; expected names that "
            "differ otherwise; mend them in labels.csv or the manifest"
        )
    if given:
        if unknown := [each for each in given if each not in classes]:
            raise SettingsError(f"--settings.shown: found {unknown[0]!r}; the image classes are {', '.join(classes)}")
        if len({*given}) == len(classes):
            raise SettingsError("--settings.shown: names all image classes; one must be of images without the object")
        return tuple(each for each in classes if each in given)
    without = [each for each in classes if WITHOUT.match(each)]
    if len(without) != 1:
        raise SettingsError(
            f"{name}: the image classes {', '.join(classes)} do not tell which of them are of images that show the "
            "object; name these with --settings.shown"
        )
    return tuple(each for each in classes if each not in without)


def shown_and_not(shown: Sequence[str], traits: Traits) -> str:
    """In words, which image classes show the object."""
    rest = [each for each in traits.image_classes if each not in shown]
    return f"images of {', '.join(shown)} show the object, those of {', '.join(rest)} do not"


def traits_of_object(shown: Sequence[str], traits: Traits) -> Traits:
    """With one class of masks: that of the data where they name one, else the image class that shows it."""
    if len(traits.classes) == 1:
        return traits
    name = shown[0] if len(shown) == 1 else OBJECT
    return traits.model_copy(update={"labels": Labels(names=(name,), values=((255, 1),))})


def cut(evidence: Tensor, region: Tensor, *, largest: bool) -> Tensor:
    """Where a map (B, 1, H, W) lies above the threshold of Otsu (1979) of its region: (B, 1, H, W) bool.

    Every image has its own threshold; a level map is cut to nothing.

    Args:
        region: (B, 1, H, W) bool.
        largest: keep the largest component of each mask (of 8 neighbours).
    """
    masks = []
    for values, inside in zip(evidence[:, 0].cpu().numpy(), region[:, 0].cpu().numpy(), strict=True):
        mask = otsu(values.astype(np.float64), region=inside)
        masks.append(_largest(mask) if largest and mask.any() else mask)
    return torch.from_numpy(np.stack(masks))[:, None].to(evidence.device)


def _largest(mask: np.ndarray) -> np.ndarray:
    numbers = label(mask, connectivity=mask.ndim)
    found: np.ndarray = numbers == 1 + int(np.argmax(np.bincount(numbers.ravel())[1:]))
    return found


def as_probabilities(evidence: Tensor, mask: Tensor, region: Tensor) -> Tensor:
    """A map (B, 1, H, W) as numbers in [0, 1] that exceed one half in its mask alone, and 0 outside the region.

    They rise with the map and say which pixel is likelier than which, not how often that is right.
    """
    flat = evidence.float().masked_fill(~region, 0).flatten(1)
    low = torch.where(region.flatten(1), flat, torch.inf).amin(1)
    high = torch.where(region.flatten(1), flat, -torch.inf).amax(1)
    least = torch.where(mask.flatten(1), flat, torch.inf).amin(1)  # ∞ of an empty mask
    low, high, least = (each.view(-1, 1, 1, 1) for each in (low, high, least))
    values = evidence.float()
    below = 0.5 * (values - low) / (least - low).clamp(min=1e-12)
    above = 0.5 + 0.5 * (values - least + 1e-3 * (high - least)) / (high - least).clamp(min=1e-12)
    likely = torch.where(mask, above.clamp(min=0.5 + 1e-3), below.clamp(max=0.5)).nan_to_num(0)
    return likely.clamp(0, 1).masked_fill(~region, 0)
