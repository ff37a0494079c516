"""From some drawn slices of a volume to all of them, without training, with an uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from scantling.contract.capabilities import Annotator
from scantling.contract.results import Annotation
from scantling.contract.settings import Settings
from scantling.core.case import Labels, Sample
from scantling.core.errors import DataError
from scantling.core.fields import IGNORE
from scantling.mending.between_slices import between_by_distance, between_by_walk
from scantling.methods.catalogue import CARDS


class SliceFillingSettings(Settings):
    """Settings of `slice-filling`; the values are ours.

    Attributes:
        rule: "walk", a random walker along the image, or its control "distance", signed distances alone.
        edges: how much a difference of the image stops the walker, in units of the mean one in the planes.
        pull: of the signed distances on the walker.
        certain: pixels that are no more likely than this of their class are unknown; 0 leaves none.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {}}
    rule: Literal["walk", "distance"] = "walk"
    edges: Annotated[float, Field(ge=0)] = 1.0
    pull: Annotated[float, Field(gt=0)] = 0.02
    certain: Annotated[float, Field(ge=0, lt=1)] = 0.0


class SliceFilling(Annotator):
    """A random walker with priors (Grady, 2005, 2006), or signed distances (Raya and Udupa, 1990), between slices.

    Slices that lie farther beyond the outermost drawn ones than drawn ones lie apart stay unknown.
    """

    card = CARDS["slice-filling"]
    completes = True
    Settings = SliceFillingSettings
    settings: SliceFillingSettings

    def annotate(self, sample: Sample, labels: Labels, generator: np.random.Generator) -> Annotation:
        """A mask of all slices, and how unlikely its classes are: 1 - the greatest probability."""
        del generator
        axis, (mask, drawn) = sample.geometry.slice_axis, drawn_slices(sample)
        order = [axis, *(other for other in range(3) if other != axis)]
        spacing = [sample.geometry.spacing[n] for n in order]
        image = sample.image.transpose(0, *(1 + n for n in order))
        layers = []
        for layer in mask:
            turned = layer.transpose(order)
            likely = between_by_distance(turned, drawn, spacing=spacing)
            if self.settings.rule == "walk":
                likely = between_by_walk(
                    image, turned, drawn, spacing=spacing, prior=likely, edges=self.settings.edges,
                    pull=self.settings.pull,
                )  # fmt: skip
            layers.append(self._decided(turned, drawn, likely))
        back = np.argsort(order)
        filled, doubt = (np.stack([part[which].transpose(back) for part in layers]) for which in (0, 1))
        return Annotation(mask=filled, uncertainty={"filling": doubt.max(0)}, effort={"slices": len(drawn)})

    def _decided(self, drawn: np.ndarray, slices: list[int], likely: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The labels (Z, *P), and how uncertain they are; as drawn in the drawn slices."""
        found, doubt = likely.argmax(0).astype(np.uint8), 1 - likely.max(0)
        found[doubt >= 1 - self.settings.certain] = IGNORE
        gap = max(np.diff(slices))
        every = np.arange(len(drawn))
        beyond = (every < slices[0] - gap) | (every > slices[-1] + gap)
        found[beyond], doubt[beyond] = IGNORE, 1
        found[slices], doubt[slices] = drawn[slices], 0
        return found, doubt.astype(np.float32)


def drawn_slices(sample: Sample) -> tuple[np.ndarray, list[int]]:
    """The first mask (1 or K, *S) of a volume, and which of its slices are drawn: those that are known as a whole.

    Raises:
        DataError: it is a picture, all slices are drawn, or fewer than two.
    """
    mask, where = sample.masks[0], f"case {sample.case.id}"
    if mask.ndim != 4:
        raise DataError(f"{where}: found a picture; slices are filled of volumes; leave it out")
    axis = 1 + sample.geometry.slice_axis
    known = (mask != IGNORE).all(axis=tuple(n for n in range(4) if n != axis))
    drawn = np.flatnonzero(known).tolist()
    if len(drawn) == len(known):
        raise DataError(
            f"{where}: all {len(known)} slices are drawn, and none is left to fill; say with 'drawn_slices' in a "
            "manifest which are, or draw some with `scantling synthesize slices`"
        )
    if len(drawn) < 2:
        raise DataError(
            f"{where}: found {len(drawn) or 'no'} drawn slice{'s' * (not drawn)} of {len(known)} along the slices of "
            "its image; expected at least two, to fill what lies between; draw another"
        )
    return mask, drawn
