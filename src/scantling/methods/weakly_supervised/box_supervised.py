"""From boxes to masks: the projections of a mask are those of its box, and what looks alike has one label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Self

import torch
from pydantic import Field
from torch import Tensor

from scantling.contract.schedules import linear_rise
from scantling.contract.stage import Game, Stage
from scantling.contract.step import Step
from scantling.core.errors import SettingsError
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch, Traits
from scantling.losses.boxes import pairwise_loss, pixels_of, projection_loss
from scantling.losses.overlap import cross_entropy
from scantling.methods.catalogue import CARDS
from scantling.methods.supervised.unet import UNetSegmenter
from scantling.methods.supervised.unet_settings import UNetSettings


class BoxSettings(UNetSettings):
    """Settings of `box-supervised`: those of `unet`, and

    Attributes:
        weight: of the pairwise term, beside 1 of the projections and of the background.
        rise: the share of the training over which it rises from 0: 10,000 of 90,000 iterations.
        alike: the greatest difference of two pixels that look alike, in deviations of the normalised image; ours, since
            the paper's is in the colours of photographs.
    """

    weight: Annotated[float, Field(ge=0)] = 1.0
    rise: Annotated[float, Field(gt=0, le=1)] = 1 / 9
    alike: Annotated[float, Field(gt=0)] = 0.3

    def resolve(self, traits: Traits) -> Self:
        """As of `unet`; boxes stay tight where images are mirrored, turned and zoomed, and not where they rotate."""
        if traits.labels is not None and not traits.labels.exclusive:
            raise SettingsError(
                f"box-supervised gives each pixel one class, and the classes {', '.join(traits.classes)} may overlap; "
                "expected classes that exclude one another; give each a value of its own in the manifest"
            )
        return super().resolve(traits).model_copy(update={"rotation": 0.0})

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """As of `unet`, and what boxes do not tell."""
        return (
            *super().explain(traits),
            "boxes choose no grid (--settings.spacing chooses one), no weights and no thresholds, and no subject is "
            "held out",
        )


class BoxSupervised(UNetSegmenter):
    """The losses of BoxInst (Tian, Shen, Wang, Chen, CVPR 2021) on the U-Net of the plan, class by class.

    Outside of all boxes is background, by cross-entropy (ours: the paper's network has one mask for each object, whose
    projections cover the whole image).
    """

    card = CARDS["box-supervised"]
    Settings = BoxSettings
    settings: BoxSettings

    def stages(self) -> Sequence[Stage]:
        """One stage, one player."""
        stage = UNetSegmenter.stages(self)[0]
        stream = replace(stage.streams[0], name="boxed", reads=("image", "boxes"))
        return (replace(stage, streams=(stream,), objectives=self.objectives),)

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """Background, projections and pairs, each the mean over patches."""
        boxed, of = batch["boxed"], self.settings
        logits = self.network(boxed.image)
        likely = self.probabilities(logits)
        every = torch.cat([1 - likely.sum(1, keepdim=True), likely], 1)
        inside = inside_of(boxed)
        labels = torch.full_like(inside, IGNORE, dtype=torch.uint8).masked_fill(~inside & boxed.region, 0)
        rows = range(len(likely))
        terms = {"background": cross_entropy(logits, labels, ignore_index=IGNORE)}
        terms["projection"] = torch.stack([self.projections(likely[row], boxed, row) for row in rows]).mean()
        pairs = [pairwise_loss(every[row], boxed.image[row], inside[row, 0], alike=of.alike) for row in rows]
        terms["pairwise"] = linear_rise(step.progress, of.weight, until=of.rise) * torch.stack(pairs).mean()
        yield "unet", terms

    def projections(self, likely: Tensor, boxed: Batch, row: int) -> Tensor:
        """The mean over the boxes of a patch; 0 where it has none."""
        count = int(boxed.counts["boxes"][row])
        losses = [
            projection_loss(likely[int(boxed.classes["boxes"][row, number])], boxed.boxes[row, number])
            for number in range(count)
        ]
        return torch.stack(losses).mean() if losses else 0 * likely.sum()


def inside_of(boxed: Batch) -> Tensor:
    """(B, 1, *S) bool, the inside of all boxes."""
    found = torch.zeros_like(boxed.region)
    for row, count in enumerate(boxed.counts["boxes"].tolist()):
        for box in boxed.boxes[row, :count]:
            found[row, 0][pixels_of(box)] = True
    return found
