"""The plain way to single objects: a U-Net that also says where the middle of objects is, and a watershed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from scantling.contract.stage import Game, Stage
from scantling.contract.step import Step
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch, Traits
from scantling.diffusion.chain import exact
from scantling.losses.overlap import cross_entropy, dice_loss
from scantling.methods.catalogue import CARDS
from scantling.methods.supervised.instances import (
    InstanceOptions,
    InstanceSegmenter,
    Map,
    anywhere,
    check_traits,
    objects_in,
)
from scantling.methods.supervised.unet import UNetSegmenter
from scantling.methods.supervised.unet_settings import UNetSettings
from scantling.objects.seeded import between_map, distance_map, rim_map, seeded_instances


class UNetWatershedSettings(UNetSettings):
    """Settings of `unet-watershed`: those of `unet`, and what says where the middle of an object is (ours).

    Attributes:
        seeds: "border" learns the rim of each object, the rest of which is its seed; "distance" learns how far inside
            its object a pixel is, as a share of the greatest distance.
        rim: pixels that the rim is wide.
        between: how much more the cross-entropy of the rim counts within two pixels of two objects, where rims part
            them; after the weights of Ronneberger et al., 2015 (10 there, falling with the distance). 0: as elsewhere.
        seeds_weight: of what is learnt of the seeds beside the loss of `unet`.
    """

    seeds: Literal["border", "distance"] = "border"
    rim: Annotated[int, Field(ge=1)] = 1
    between: Annotated[float, Field(ge=0)] = 0.0
    seeds_weight: Annotated[float, Field(gt=0)] = 1.0

    architecture: ClassVar[tuple[str, ...]] = (*UNetSettings.architecture, "seeds")

    def resolve(self, traits: Traits) -> Self:
        """Plan what is None as for `unet`, and refuse what has no single objects.

        Raises:
            SettingsError: volumes, no classes, or several classes that overlap; or as of `unet`.
        """
        check_traits(traits, "unet-watershed")
        free = self.spacing is None and self.size is None and self.longest is None
        own = self.model_copy(update={"spacing": traits.spacing}) if free else self  # objects touch on the finest grid
        return super(UNetWatershedSettings, own).resolve(traits)


REACH = 2
"""Pixels from two objects within which a pixel lies between them."""
LEVELS = {"border": 0.9, "distance": 0.5}
"""See `UNetWatershedOptions.level`."""


class UNetWatershedOptions(InstanceOptions):
    """How objects are found: see `objects.seeded_instances`.

    Attributes:
        level: above which a pixel is part of a seed, in [0, 1]: one minus the probability of a rim, or the distance.
            None: 0.9 of rims, which are a pixel wide and never sure where objects touch (chosen on training images of
            DSB2018, where it parts more of them than 0.5), 0.5 of distances.
        smallest_seed: pixels that a seed has at least, unless its piece of the foreground has no other.
    """

    level: Annotated[float, Field(ge=0, lt=1)] | None = None
    smallest_seed: Annotated[int, Field(ge=1)] = 3


class UNetWatershed(InstanceSegmenter, UNetSegmenter):
    """`unet` with one channel more, on the grid of the files: the rim of objects, or how far inside a pixel is.

    After the border class of Caicedo et al., 2019, and the distance of Naylor et al., 2019; all numbers are ours. The
    control of `hover-net` and of what makes nuclei.
    """

    card = CARDS["unet-watershed"]
    Settings = UNetWatershedSettings
    settings: UNetWatershedSettings
    segment_with = UNetWatershedOptions
    further_outputs = 1

    def stages(self) -> Sequence[Stage]:
        """That of `unet`, which reads instance maps too."""
        (stage,) = super().stages()
        (stream,) = stage.streams
        return (replace(stage, streams=(replace(stream, reads=("image", "mask", "instances")),)),)

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The loss of `unet`, and that of the seeds. Of one class the objects themselves are the mask."""
        labelled, of = batch["labelled"], self.settings
        truth = anywhere(labelled)
        mask = truth if len(self.traits.classes) == 1 else labelled.mask
        draw = partial(rim_map, width=of.rim) if of.seeds == "border" else distance_map
        objects = objects_in(labelled)
        target = torch.from_numpy(np.stack([draw(each) for each in objects]))[:, None].to(truth.device)
        logits = self.network(labelled.image)
        terms = yield from self.loss_terms(logits[:, :-1], mask, step)
        known, last = truth != IGNORE, exact(logits[:, -1:])
        if of.seeds == "border":
            rim = target.to(torch.uint8).masked_fill(~known, IGNORE)
            wrong = cross_entropy(last, rim, ignore_index=IGNORE)
            if of.between:
                near = torch.from_numpy(np.stack([between_map(each, reach=REACH) for each in objects]))[:, None]
                weight = (1 + of.between * near.to(last.device)) * known
                each = F.binary_cross_entropy_with_logits(last, target.to(last.dtype), reduction="none") * weight
                wrong = (each.flatten(1).sum(1) / weight.flatten(1).sum(1).clamp(min=1)).mean()
            seeds = wrong + of.dice * dice_loss(last.sigmoid(), rim, ignore_index=IGNORE)
        else:
            error = (last.sigmoid() - target).square() * known
            seeds = error.flatten(1).sum(1).div(known.flatten(1).sum(1).clamp(min=1)).mean()
        yield "unet", {**terms, "seeds": of.seeds_weight * seeds}

    def maps(self, image: Tensor) -> Tensor:
        """(B, K + 1, H, W): the probabilities of the classes, and how surely a pixel is in the middle of an object."""
        logits = self.network(image)
        last = exact(logits[:, -1:]).sigmoid()
        middle = 1 - last if self.settings.seeds == "border" else last
        found = self.probabilities(logits[:, :-1])
        return torch.cat([found, middle.to(found.dtype)], 1)

    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The last feature map (B, widths[0], H, W) and the probabilities (B, K, H, W)."""
        last = self.network.features(image)
        return last, self.probabilities(self.network.head(last)[:, :-1])

    def instances_in(
        self, inside: NDArray[np.float32], maps: NDArray[np.float32], options: UNetWatershedOptions
    ) -> Map:
        """The watershed from the seeds."""
        level = LEVELS[self.settings.seeds] if options.level is None else options.level
        return seeded_instances(
            inside, maps[0], threshold=options.threshold, level=level, smallest=options.smallest,
            smallest_seed=options.smallest_seed, keep_unmarked=options.keep_unmarked,
        )  # fmt: skip
