"""Mean teacher: a network agrees on unlabelled images with a moving average of itself, where that one is certain."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from scantling.contract.method import Method, dropouts
from scantling.contract.schedules import sigmoid_rise
from scantling.contract.stage import Game, Stage, Teacher
from scantling.contract.step import Step, Total
from scantling.core.samples import Batch, Traits
from scantling.methods.catalogue import CARDS
from scantling.methods.semi_supervised.base import SemiSupervisedSegmenter, SemiSupervisedSettings, in_one_pass

STRAY = 2.0
"""Noise is cut off at so many deviations, as in the code of UA-MT."""


class TeacherSettings(SemiSupervisedSettings):
    """Settings of a method whose answers are a teacher's.

    Attributes:
        decay: of the teacher: min(1 - 1 / (t + 1), decay) at step t.
    """

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.99


class MeanTeacherSettings(TeacherSettings):
    """Settings of `mean-teacher`; the defaults are those of UA-MT, lengths as shares of its 30,000 iterations on ACDC.

    Attributes:
        weight: of the consistency, at its highest.
        rise: the share of the training at which it is reached, by `sigmoid_rise`.
        begins: the share of the training before which it is 0.
        noise: deviation of what is added to the images of the teacher, in units of the normalised image.
        uncertainty: only pixels count of which the teacher is certain (UA-MT).
        passes: of the teacher, with noise and dropout, from which its uncertainty is estimated.
    """

    weight: Annotated[float, Field(ge=0)] = 0.1
    rise: Annotated[float, Field(gt=0, le=1)] = 1.0
    begins: Annotated[float, Field(ge=0, le=1)] = 1 / 30
    noise: Annotated[float, Field(ge=0)] = 0.1
    uncertainty: bool = False
    passes: Annotated[int, Field(ge=2)] = 8


class TeacherSegmenter(SemiSupervisedSegmenter):
    """A U-Net whose `network` answers and follows `student`, the one that is trained."""

    settings: TeacherSettings
    answering = ("network",)

    def __init__(self, settings: TeacherSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        self.student = copy.deepcopy(self.network)

    @property
    def teacher(self) -> Teacher:
        """Averages all that the student has learned, the statistics of its batch norm too."""
        return Teacher(
            module=self.network, of=self.student, decay=lambda step: min(1 - 1 / (step + 1), self.settings.decay)
        )


class MeanTeacher(TeacherSegmenter):
    """Mean teacher (Tarvainen and Valpola, 2017), for segmentation as in UA-MT (Yu et al., 2019).

    The student sees the labelled and the unlabelled patches in one pass; the teacher sees the unlabelled ones with
    noise. The loss on them is the mean squared difference of the probabilities of all classes.
    """

    card = CARDS["mean-teacher"]
    Settings = MeanTeacherSettings
    settings: MeanTeacherSettings

    def stages(self) -> Sequence[Stage]:
        """One stage; the average of the player's weights is the teacher."""
        return (
            Stage(
                name="train",
                players=(self.player(self.student, average=0.0),),
                teachers=(self.teacher,),
                streams=(self.labelled, self.unlabelled),
                steps=self.settings.steps,
                objectives=self.objectives,
            ),
        )

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The loss on labelled patches, and consistency on the others."""
        labelled = batch["labelled"]
        if "unlabelled" not in batch:
            yield "unet", (yield from self.loss_terms(self.student(labelled.image), labelled.mask, step))
            return
        unlabelled, of = batch["unlabelled"], self.settings
        target, certain = self.target(unlabelled, step)
        certain = certain & unlabelled.region
        total = yield Total(certain.sum(dtype=target.dtype))
        logits, other = in_one_pass(self.student, labelled.image, unlabelled.image)
        terms = yield from self.loss_terms(logits, labelled.mask, step)
        difference = self.each_label((self.distribution(other.to(target.dtype)) - target).square(), mean=True)
        weight = of.weight * sigmoid_rise(step.progress, until=of.rise) * (step.progress >= of.begins)
        terms["consistency"] = weight * step.mean((difference * certain).sum(), total)
        yield "unet", terms

    @torch.no_grad()
    def target(self, unlabelled: Batch, step: Step) -> tuple[Tensor, Tensor]:
        """The probabilities that the teacher gives, and where it is certain: (B, 1 or K, *S)."""
        image, of = unlabelled.image, self.settings
        target = self.noisy(image, step, "noise")
        if not of.uncertainty:
            return target, torch.ones_like(self.each_label(target), dtype=torch.bool)
        layers = dropouts(self.network)
        for layer in layers:
            layer.train()
        mean = torch.stack([self.noisy(image, step, f"noise {number}") for number in range(of.passes)]).mean(0)
        for layer in layers:
            layer.eval()
        ramp = sigmoid_rise(step.progress, until=of.rise)
        return target, self.entropy(mean) < (0.75 + 0.25 * ramp) * self.most_entropy(mean)

    def noisy(self, image: Tensor, step: Step, purpose: str) -> Tensor:
        """The probabilities of the teacher for an image with noise."""
        noise = self.settings.noise * step.randn(purpose, like=image).clamp(-STRAY, STRAY)
        logits = self.network(image + noise)
        return self.distribution(logits if logits.dtype == torch.float64 else logits.float())

    def entropy(self, likely: Tensor) -> Tensor:
        """The predictive entropy in nats (B, 1 or K, *S): of all classes together, or of each that may overlap."""
        surprise = -torch.special.xlogy(likely, likely)
        if self.overlapping(likely):
            return surprise - torch.special.xlogy(1 - likely, 1 - likely)
        return self.each_label(surprise)

    def most_entropy(self, likely: Tensor) -> float:
        """The entropy of knowing nothing."""
        return math.log(2 if self.overlapping(likely) else likely.shape[1])

    def each_label(self, values: Tensor, *, mean: bool = False) -> Tensor:
        """Values of all channels (B, C, *S) as one for each label map: sums or means over exclusive classes."""
        if self.overlapping(values):
            return values
        return values.mean(1, keepdim=True) if mean else values.sum(1, keepdim=True)
