"""Bidirectional copy-paste: blocks of labelled images in unlabelled ones and the reverse, beside a mean teacher."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from pydantic import Field
from scipy import ndimage
from torch import Tensor

from scantling.contract.stage import Game, Stage
from scantling.contract.step import Step, Total
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch, Traits
from scantling.methods.catalogue import CARDS
from scantling.methods.semi_supervised.base import in_one_pass, known_pixels
from scantling.methods.semi_supervised.mean_teacher import TeacherSegmenter, TeacherSettings
from scantling.mixing import cutmix


class CopyPasteSettings(TeacherSettings):
    """Settings of `copy-paste`; lengths are shares of the paper's 40,000 iterations.

    Attributes:
        pretraining: the share of the steps in which labelled images are pasted into labelled ones.
        block: the sides of the block that is pasted, as a share of the patch's.
        weight: of pseudo-labels, beside 1 of masks.
        largest: pseudo-labels keep the largest component of each class, as the paper's do; None: unless the masks are
            of single objects (ours).
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **TeacherSettings.presets,
        "tiny": {**TeacherSettings.presets["tiny"], "pretraining": 0.5},
    }
    pretraining: Annotated[float, Field(gt=0, lt=1)] = 0.25
    block: Annotated[float, Field(gt=0, lt=1)] = 2 / 3
    weight: Annotated[float, Field(ge=0)] = 0.5
    largest: bool | None = None

    def resolve(self, traits: Traits) -> Self:
        """As of `unet`, and whether objects come one a class."""
        single = traits.labels is not None and traits.labels.others == "object"
        largest = not single if self.largest is None else self.largest
        return super().resolve(traits).model_copy(update={"largest": largest})


class CopyPaste(TeacherSegmenter):
    """Bidirectional copy-paste (BCP; Bai et al., CVPR 2023).

    First a block of each labelled patch is that of another one. Then blocks of labelled patches are pasted into
    unlabelled ones and the reverse, between different images as in the paper; the teacher labels the unlabelled ones.
    Inside and outside of a block the loss is that of `unet`, once each.

    As many pasted patches pass the network in a step as patches do with `unet`; they are made of twice as many. Each
    has a block of its own, where the authors' code draws one a step, and the teacher is in evaluation mode.
    """

    card = CARDS["copy-paste"]
    Settings = CopyPasteSettings
    settings: CopyPasteSettings

    def stages(self) -> Sequence[Stage]:
        """The pre-training, and the teacher's."""
        of = self.settings
        first = max(1, round(of.pretraining * of.steps))
        whole = replace(self.labelled, batch=of.batch or 1)
        streams = [(each, replace(each, name=f"{each.name} blocks")) for each in (self.labelled, self.unlabelled)]
        if not self.traits.unlabelled:
            streams = [(whole, replace(whole, name="labelled blocks"))]
        return (
            Stage(
                name="pre-training",
                players=(self.player(self.student),),
                streams=(whole, replace(whole, name="labelled blocks")),
                steps=first,
                objectives=self.objectives,
            ),
            Stage(
                name="train",
                players=(self.player(self.student, average=0.0),),
                teachers=(self.teacher,),
                streams=tuple(each for pair in streams for each in pair),
                steps=max(1, of.steps - first),
                objectives=self.objectives,
            ),
        )

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The loss on pasted patches: of labelled ones alone, or of labelled and unlabelled ones in both directions."""
        labelled, blocks = batch["labelled"], batch["labelled blocks"]
        if "unlabelled" not in batch:
            image, inside = self.pasted(labelled, blocks, step, "labelled")
            masks = (labelled.mask, blocks.mask)
            yield "unet", (yield from self.terms_of(self.student(image), masks, inside, (1.0, 1.0), step))
            return
        unlabelled, others = batch["unlabelled"], batch["unlabelled blocks"]
        label, other = (self.teacher_labels(each) for each in (unlabelled, others))
        weight = self.settings.weight
        inward, inside = self.pasted(labelled, others, step, "inward")  # unlabelled blocks in labelled patches
        outward, within = self.pasted(unlabelled, blocks, step, "outward")
        one, two = in_one_pass(self.student, inward, outward)
        terms = yield from self.terms_of(one, (labelled.mask, other), inside, (1.0, weight), step)
        more = yield from self.terms_of(two, (label, blocks.mask), within, (weight, 1.0), step)
        yield "unet", {**terms, **{f"{name} outward": value for name, value in more.items()}}

    def pasted(self, patches: Batch, blocks: Batch, step: Step, purpose: str) -> tuple[Tensor, Tensor]:
        """The patches with a block of the others (B, C, *S), and where it lies (B, 1, *S)."""
        share = self.settings.block ** (patches.image.ndim - 2)
        mixed, inside = cutmix(
            {"image": patches.image}, {"image": blocks.image}, step, share=(share, share), purpose=purpose
        )
        return mixed["image"], inside

    def terms_of(
        self,
        logits: Tensor,
        masks: tuple[Tensor, Tensor],
        inside: Tensor,
        weights: tuple[float, float],
        step: Step,
    ) -> Generator[Total, Tensor, dict[str, Tensor]]:
        """The loss of `unet` by its terms, outside of the blocks and inside, each by its own mask and weight."""
        terms = dict[str, Tensor]()
        for mask, unseen, weight in zip(masks, (inside, ~inside), weights, strict=True):
            found = yield from self.loss_terms(logits, mask.masked_fill(unseen, IGNORE), step)
            for name, value in found.items():
                terms[name] = terms.get(name, 0) + weight * value
        return terms

    @torch.no_grad()
    def teacher_labels(self, unlabelled: Batch) -> Tensor:
        """What the teacher makes of unlabelled patches, in the form of `Batch.mask`."""
        labels = self.pseudo_labels(self.network(unlabelled.image))[0]
        if self.settings.largest:
            labels = largest_components(labels, len(self.traits.classes))
        return known_pixels(unlabelled, labels)


def largest_components(labels: Tensor, classes: int) -> Tensor:
    """Label maps (B, 1 or K, *S) with the largest component of each class alone; the rest is background.

    Pixels that touch at a corner are of one component, as in the authors' code.
    """
    found = labels.cpu().numpy()
    kept = np.zeros_like(found)
    touching = np.ones((3,) * (found.ndim - 2))
    for channels, own in zip(found, kept, strict=True):
        for channel, other in zip(channels, own, strict=True):
            for number in range(1, classes + 1 if len(channels) == 1 else 2):
                numbers, count = ndimage.label(channel == number, structure=touching)
                if count:
                    sizes = np.bincount(numbers.ravel())[1:]
                    other[numbers == 1 + sizes.argmax()] = number
    return torch.from_numpy(kept).to(labels.device)
