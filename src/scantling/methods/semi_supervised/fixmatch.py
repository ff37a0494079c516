"""FixMatch for segmentation: what a network is sure of in a patch, it is to find in the patch made hard to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from scantling.contract.schedules import sigmoid_rise
from scantling.contract.stage import Game, Stage, frozen
from scantling.contract.step import Step, Total
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch
from scantling.core.streams import Augmentation, Stream, View
from scantling.losses.overlap import batch_dice_loss, overlap_sums
from scantling.methods.catalogue import CARDS
from scantling.methods.semi_supervised.base import (
    SemiSupervisedSegmenter,
    SemiSupervisedSettings,
    apart,
    in_one_pass,
    interleaved,
    known_pixels,
    without_channels,
)
from scantling.mixing import cutmix

WEAK, STRONG = "weak", ("strong", "strong too")
"""The names of the views of an unlabelled patch."""


class FixMatchSettings(SemiSupervisedSettings):
    """Settings of `fixmatch`; the defaults are those of UniMatch on ACDC.

    Attributes:
        confidence: the least probability with which a pixel of the weak view labels the others.
        weight: of the loss on unlabelled patches: a half of it for both strong views, a half for dropped features.
        rise: the share of the training at which it is reached, by `sigmoid_rise`; 0 for a constant weight, as in the
            paper, whose network is trained for long or begins with weights from ImageNet. `quick` takes a half (ours):
            one that begins anew is first sure of the background alone, and a short training does not recover.
        cutmix: the probability that a strong view has a block of another unlabelled image.
        block: the least and the greatest share of its pixels.
        dropped: the share of the channels that are dropped on all levels of the encoder.
        shades: brightness and contrast of the strong views (`Augmentation`).
        blur: the greatest deviation of their blur, in pixels; half of them are blurred.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **SemiSupervisedSettings.presets,
        "quick": {**SemiSupervisedSettings.presets["quick"], "rise": 0.5},
    }
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    weight: Annotated[float, Field(ge=0)] = 1.0
    rise: Annotated[float, Field(ge=0, le=1)] = 0.0
    cutmix: Annotated[float, Field(ge=0, le=1)] = 0.5
    block: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]] = (0.02, 0.4)
    dropped: Annotated[float, Field(ge=0, lt=1)] = 0.5
    shades: Annotated[float, Field(ge=0)] = 0.5
    blur: Annotated[float, Field(ge=0)] = 2.0


class FixMatch(SemiSupervisedSegmenter):
    """FixMatch (Sohn et al., 2020) as UniMatch does it for segmentation (Yang et al., CVPR 2023).

    The weak view of an unlabelled patch is mirrored, turned and scaled as the labelled ones are, its values as they
    are. What the network is sure of there is what it is to find in two strong views, with blocks of other images
    (CutMix), and from the features of the weak view with half of the channels dropped. There is no teacher.

    The unlabelled loss is the Dice loss of the foreground classes over the confident pixels of all patches of a step,
    as in the authors' code for ACDC (which counts the background as a class, and takes cross-entropy on pictures).
    Blocks have the proportions of the patch, theirs from 0.3 to 3.3 times as long as wide.
    """

    card = CARDS["fixmatch"]
    Settings = FixMatchSettings
    settings: FixMatchSettings

    def stages(self) -> Sequence[Stage]:
        """One stage, one player; a third stream has the images whose blocks are pasted."""
        of = self.settings
        hard = Augmentation(brightness=of.shades, contrast=of.shades, blur=of.blur, degraded=0.5)
        views = (View(WEAK), *(View(name, hard) for name in STRONG))
        unlabelled = replace(self.unlabelled, companions=views)
        streams: tuple[Stream, ...] = (self.labelled, unlabelled, replace(unlabelled, name="blocks"))
        return (
            Stage(
                name="train",
                players=(self.player(self.network),),
                streams=streams,
                steps=of.steps,
                objectives=self.objectives,
            ),
        )

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The loss on labelled patches, and that on the strong views and dropped features of the others."""
        labelled = batch["labelled"]
        if "unlabelled" not in batch:
            yield "unet", (yield from self.loss_terms(self.network(labelled.image), labelled.mask, step))
            return
        unlabelled, blocks = batch["unlabelled"], batch["blocks"]
        # 1. the labels of the blocks, in evaluation mode
        with frozen(self.network), torch.no_grad():
            pasted = self.confident(blocks, self.network(blocks.companions[WEAK].image))
        # 2. labelled patches and weak views in one pass; the features of the weak views once more, with fewer channels
        weak = unlabelled.companions[WEAK].image
        maps = self.network.encode(interleaved(labelled.image, weak))
        logits, found = apart(self.network.head(self.network.decode(maps, weak.shape[2:])), 2)
        fewer = without_channels([apart(one, 2)[1] for one in maps], step, self.settings.dropped)
        perturbed = self.network.head(self.network.decode(fewer, weak.shape[2:]))
        labels = self.confident(unlabelled, found.detach())
        # 3. the strong views, each with a block of the other image in the same view
        mixed = [
            cutmix(
                {"image": unlabelled.companions[name].image, "labels": labels},
                {"image": blocks.companions[name].image, "labels": pasted},
                step, share=self.settings.block, probability=self.settings.cutmix, purpose=name,
            )[0]
            for name in STRONG
        ]  # fmt: skip
        strong = in_one_pass(self.network, *(one["image"] for one in mixed))
        # 4. the losses
        terms = yield from self.loss_terms(logits, labelled.mask, step)
        pairs = [(found, one["labels"]) for found, one in zip(strong, mixed, strict=True)] + [(perturbed, labels)]
        sums = torch.stack(
            [overlap_sums(self.probabilities(one), label, ignore_index=IGNORE).sum(1) for one, label in pairs]
        )  # (3, 3, K)
        totals = yield Total(sums)
        first, second, dropped = (
            batch_dice_loss(own, total=total, parts=step.slots) for own, total in zip(sums, totals, strict=True)
        )
        weight = self.settings.weight
        weight *= sigmoid_rise(step.progress, until=self.settings.rise) if self.settings.rise else 1.0
        terms["strong"] = weight * (first + second) / 4
        terms["dropped"] = weight * dropped / 2
        yield "unet", terms

    def confident(self, batch: Batch, logits: Tensor) -> Tensor:
        """Pseudo-labels (B, 1 or K, *S), unknown where they are not confident and beyond the image."""
        labels, confidence = self.pseudo_labels(logits)
        return known_pixels(batch, labels.masked_fill(confidence < self.settings.confidence, IGNORE))
