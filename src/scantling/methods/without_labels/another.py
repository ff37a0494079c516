"""Another segmenter whose answers stand in for phantoms: whether it suits, and what it says of an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from scantling.contract.capabilities import Segmenter
from scantling.contract.step import Inference, Network
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch
from scantling.methods.without_labels.light import in_units


def said_by(other: Segmenter, batch: Batch, *, tile: Callable[[Network, Tensor], Tensor]) -> Tensor:
    """The probability of its only class that another segmenter gives to an image, seen in its units, (1, 1, *S).

    Of one that draws samples it is their mean.

    Args:
        batch: one image (1, C, *S), in units that differ by a factor and an offset of each channel from its own.
        tile: applies a network to a canvas (1, C, *S); a method that draws samples may ask for several at once.

    Raises:
        SettingsError: it answers without probabilities.
    """

    def one_by_one(network: Network, canvas: Tensor) -> Tensor:
        return torch.cat([tile(network, row) for row in canvas.split(1)])

    seen = replace(batch, fields={**batch.fields, "image": in_units(batch, units_of(other))})
    options = other.segment_options(other.segment_with())
    found = other.segment(seen, Inference(seed=0, stage="segmenter", tile=one_by_one, options=options))
    likely = found.probabilities if found.samples is None else found.samples.float().mean(0)
    if likely is None:
        raise SettingsError(f"--use segmenter: {other.card.name} gives no probabilities; expected a model that does")
    return likely.to(batch.image)


def units_of(other: Segmenter) -> Literal["image", "unit"]:
    """In which units another segmenter sees images.

    Raises:
        SettingsError: it does not take them from each image.
    """
    units = other.preprocessing.normalise
    if units not in ("image", "unit"):
        what = "the values of the files" if units == "none" else f"images in units of its training data ({units})"
        way = (
            "train it with --settings.normalise image" if "normalise" in other.settings.model_dump() else "take another"
        )
        raise SettingsError(
            f"--use segmenter: {other.card.name} sees {what}; expected a model that takes its units from each image; "
            f"{way}"
        )
    return units


def check_other(other: Segmenter, own: Segmenter) -> None:
    """Make sure that another segmenter can be asked about the images of `own`, on their grid.

    Raises:
        SettingsError: it is one of other images, of several classes, on another grid or in units of its training data.
    """
    units_of(other)
    recipe, traits = own.preprocessing, own.traits
    traits = traits.slices() if recipe.dimensions == 2 else traits
    facts: dict[str, tuple[Any, Any]] = {
        "channels": (", ".join(other.channels), ", ".join(traits.channels)),
        "dimensions": (other.preprocessing.dimensions, recipe.dimensions),
        "classes": (len(other.traits.classes), 1),
    }
    images = ((traits.shape, traits.spacing), (traits.smallest, traits.fine_spacing or traits.spacing))
    for what, (has, wants) in facts.items():
        if has != wants:
            raise SettingsError(
                f"--use segmenter: {other.card.name} was trained for {what} {has}; expected {wants}, as "
                f"`{own.card.name}` has"
            )
    for shape, spacing in images:
        has, wants = (each.grid(shape, spacing) for each in (other.preprocessing, recipe))
        if has != wants:
            sides = [" x ".join(map(str, each)) for each in (shape, has, wants)]
            raise SettingsError(
                f"--use segmenter: {other.card.name} sees an image of {sides[0]} on a grid of {sides[1]}; expected "
                f"{sides[2]}, as `{own.card.name}` does; train it without resampling, or on the same grid"
            )
