"""What semi-supervised segmenters share: the network, plan and loss of `unet`, and a second stream without masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from scantling.contract.stage import Player
from scantling.contract.step import Step
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch, Traits
from scantling.core.streams import Stream
from scantling.methods.supervised.unet import UNetSegmenter
from scantling.methods.supervised.unet_settings import UNetSettings


class SemiSupervisedSettings(UNetSettings):
    """Settings of `unet`, its plan and presets included, so that a difference to it is the method's.

    A step takes as many patches as one of `unet`: of `batch` half have masks and half have none; all have masks where
    no training image is without.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **UNetSettings.presets,
        "tiny": {**UNetSettings.presets["tiny"], "batch": 4},
    }

    def labelled_patches(self, traits: Traits) -> int:
        """Patches with masks a step."""
        batch = self.batch or 1
        return max(1, batch // 2) if traits.unlabelled else batch

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """As of `unet`, and how many patches have no mask."""
        half = self.labelled_patches(traits)
        if not traits.unlabelled:
            sentence = "no training image is without a mask, so that it learns from masks alone"
        else:
            sentence = f"a step takes {half} patch{'es' * (half > 1)} with masks and as many without"
        return (*super().explain(traits), sentence)


class SemiSupervisedSegmenter(UNetSegmenter):
    """A U-Net with streams of images with and without masks; subclasses say what is learned from the second."""

    settings: SemiSupervisedSettings

    @property
    def labelled(self) -> Stream:
        """The stream of `unet`, with fewer patches where there are images without masks."""
        stream = UNetSegmenter.stages(self)[0].streams[0]
        return replace(stream, batch=self.settings.labelled_patches(self.traits))

    @property
    def unlabelled(self) -> Stream:
        """As many patches of images without masks, anywhere in them, changed in the same way."""
        return replace(
            self.labelled, name="unlabelled", reads=("image",), without=("mask",), foreground=0.0, optional=True
        )

    def player(self, network: nn.Module, **changes: Any) -> Player:
        """The player of `unet` with another network."""
        return replace(UNetSegmenter.stages(self)[0].players[0], modules=(network,), **changes)

    def another_network(self) -> nn.Module:
        """A second network like the first, with first weights of its own."""
        return UNetSegmenter(self.settings, self.traits).network

    def distribution(self, logits: Tensor) -> Tensor:
        """The probabilities of all channels: (B, K + 1, *S) with the background first, or (B, K, *S) that overlap."""
        return logits.sigmoid() if self.overlapping(logits) else logits.softmax(1)

    def overlapping(self, logits: Tensor) -> bool:
        """Whether each channel is a class against all else."""
        return logits.shape[1] == len(self.traits.classes)

    def pseudo_labels(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The most likely labels in the form of `Batch.mask`, and their probability, both (B, 1 or K, *S)."""
        likely = self.distribution(logits.float() if logits.dtype != torch.float64 else logits)
        if self.overlapping(logits):
            return (likely > 0.5).to(torch.uint8), (likely - 0.5).abs() + 0.5
        confidence, labels = likely.max(1, keepdim=True)
        return labels.to(torch.uint8), confidence


def in_one_pass(network: Callable[[Tensor], Tensor], *images: Tensor) -> list[Tensor]:
    """What a network makes of several batches of one shape, which share the statistics of its batch norm.

    They are interleaved, so that a sample keeps its place however the batch of a step is divided (dropout is drawn by
    it).
    """
    return apart(network(interleaved(*images)), len(images))


def interleaved(*images: Tensor) -> Tensor:
    """(n B, C, *S) of n batches (B, C, *S): the first samples of all, then the second ones."""
    return torch.stack(images, 1).flatten(0, 1)


def apart(tensor: Tensor, count: int) -> list[Tensor]:
    """The batches that were interleaved."""
    return list(tensor.unflatten(0, (-1, count)).unbind(1))


def without_channels(maps: Sequence[Tensor], step: Step, share: float) -> list[Tensor]:
    """The maps of all levels (B, C, ...) with a share of the channels 0, drawn for each sample, the others larger by
    as much."""
    found = []
    for level, features in enumerate(maps):
        drawn = step.rand(f"channels of level {level}", like=features.flatten(2)[..., 0])
        kept = (drawn >= share) / (1 - share)
        found.append(features * kept.view(*kept.shape, *[1] * (features.ndim - 2)).to(features.dtype))
    return found


def known_pixels(batch: Batch, labels: Tensor) -> Tensor:
    """Pseudo-labels (B, 1 or K, *S) without what lies beyond the image and its region, or is unknown in a mask."""
    labels = labels.masked_fill(~batch.region, IGNORE)
    if "mask" not in batch.fields:
        return labels
    unknown = batch.mask == IGNORE
    return labels.masked_fill(unknown if unknown.shape == labels.shape else unknown.all(1, keepdim=True), IGNORE)
