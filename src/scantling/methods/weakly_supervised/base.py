"""What learns from scribbles shares: the plan of `unet` without thickness, its loss, a stream with scribbles."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from scantling.contract.stage import Player
from scantling.contract.step import Step, Total
from scantling.core.errors import SettingsError
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch, Traits
from scantling.core.streams import Stream
from scantling.losses.overlap import batch_dice_loss, overlap_sums
from scantling.methods.supervised.unet import UNetSegmenter
from scantling.methods.supervised.unet_settings import UNetSettings


class ScribbleSettings(UNetSettings):
    """Settings of `unet`, its plan and presets included, for labels that are scribbles.

    Scribbles do not tell how thick objects are, so that the grid is not chosen by it. Few pixels of a patch are drawn:
    all patches of a step are one in the Dice loss, unless `dice_over` says otherwise (ours).
    """

    def resolve(self, traits: Traits) -> Self:
        """As of `unet`, from what scribbles tell."""
        if traits.labels is not None and not traits.labels.exclusive:
            raise SettingsError(
                f"scribbles say one class of a pixel, and the classes ({', '.join(traits.classes)}) may overlap; "
                "expected classes that exclude one another; give each a value of its own in the manifest"
            )
        resolved = super().resolve(traits)
        return resolved if self.dice_over else resolved.model_copy(update={"dice_over": "batch"})

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """As of `unet`, and what scribbles do not tell."""
        return (
            *super().explain(traits),
            "scribbles do not tell how thick objects are, and the grid is not chosen by it (--settings.spacing chooses "
            "one); they choose no weights and no thresholds, and no subject is held out",
        )


class ScribbleSegmenter(UNetSegmenter):
    """A U-Net with a stream of images with scribbles."""

    settings: ScribbleSettings

    @property
    def scribbled(self) -> Stream:
        """The stream of `unet`, with scribbles instead of masks: patches have a drawn pixel somewhere."""
        return replace(UNetSegmenter.stages(self)[0].streams[0], name="scribbled", reads=("image", "scribbles"))

    def player(self, *networks: nn.Module, **changes: Any) -> Player:
        """The player of `unet` with these networks."""
        return replace(UNetSegmenter.stages(self)[0].players[0], modules=networks, **changes)

    def likely_labels(self, probabilities: Tensor, batch: Batch, *, above: float = 0.0) -> Tensor:
        """The most likely classes (B, 1, *S) of probabilities (B, K, *S), background included, as scribbles are.

        Unknown beyond the image and its region, and where they are no more likely than `above`.
        """
        background = 1 - probabilities.sum(1, keepdim=True)
        likely, labels = torch.cat([background, probabilities], 1).max(1, keepdim=True)
        return labels.to(torch.uint8).masked_fill(~batch.region | (likely <= above), IGNORE)

    def overlap_with(self, logits: Tensor, labels: Tensor, step: Step) -> Generator[Total, Tensor, Tensor]:
        """The Dice loss against labels (B, 1, *S), the background a class too, over all patches of the step as one."""
        probabilities = self.probabilities(logits)
        every = torch.cat([1 - probabilities.sum(1, keepdim=True), probabilities], 1)
        counted = torch.where(labels == IGNORE, labels, labels + 1)
        sums = overlap_sums(every, counted, ignore_index=IGNORE).sum(1)  # (3, 1 + K)
        return batch_dice_loss(sums, total=(yield Total(sums)), parts=step.slots)
