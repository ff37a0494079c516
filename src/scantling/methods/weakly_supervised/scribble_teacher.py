"""Scribbles and a mean teacher: whichever of the two fits the scribbles better labels the other pixels."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field

from scantling.contract.method import Method
from scantling.contract.schedules import sigmoid_rise
from scantling.contract.stage import Game, Stage, Teacher
from scantling.contract.step import Step, Total
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch, Traits
from scantling.losses.overlap import cross_entropy
from scantling.methods.catalogue import CARDS
from scantling.methods.weakly_supervised.base import ScribbleSegmenter, ScribbleSettings


class ScribbleTeacherSettings(ScribbleSettings):
    """Settings of `scribble-teacher`; lengths are shares of the 60,000 iterations of the authors' code.

    Attributes:
        weight: of the loss on pseudo-labels, at its highest.
        rise: the share of the training at which it is reached, by `sigmoid_rise`.
        confidence: pseudo-labels are the classes that are more likely than this; other pixels stay unknown.
        decay: of the teacher.
    """

    weight: Annotated[float, Field(ge=0)] = 1.0
    rise: Annotated[float, Field(gt=0, le=1)] = 0.2
    confidence: Annotated[float, Field(ge=0, lt=1)] = 0.5
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.99


class ScribbleTeacher(ScribbleSegmenter):
    """ScribbleVS, from its authors' code (Wang et al., 2024); the network answers, not its teacher.

    At each step the teacher or the network itself gives the pseudo-labels, whichever has the lower cross-entropy on
    the scribbles. They teach by cross-entropy and Dice, half each, with a weight that rises.
    """

    card = CARDS["scribble-teacher"]
    Settings = ScribbleTeacherSettings
    settings: ScribbleTeacherSettings
    answering = ("network",)

    def __init__(
        self, settings: ScribbleTeacherSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None
    ) -> None:
        super().__init__(settings, traits, uses=uses)
        self.teacher = copy.deepcopy(self.network)

    def stages(self) -> Sequence[Stage]:
        """One stage, one player and its teacher."""
        return (
            Stage(
                name="train",
                players=(self.player(self.network),),
                teachers=(Teacher(module=self.teacher, of=self.network, decay=self.settings.decay),),
                streams=(self.scribbled,),
                steps=self.settings.steps,
                objectives=self.objectives,
            ),
        )

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The loss on scribbles, and on the pseudo-labels of whoever fits them better."""
        scribbled, of = batch["scribbled"], self.settings
        logits = self.network(scribbled.image)
        with torch.no_grad():
            taught = self.teacher(scribbled.image)
            both = [cross_entropy(one, scribbled.scribbles, ignore_index=IGNORE) for one in (logits, taught)]
        own, others = (yield Total(torch.stack(both))).tolist()
        better = taught if own > others else logits.detach()
        labels = self.likely_labels(self.probabilities(better), scribbled, above=of.confidence)
        terms = yield from self.loss_terms(logits, scribbled.scribbles, step)
        weight = of.weight * sigmoid_rise(step.progress, until=of.rise) / 2
        terms["pseudo cross_entropy"] = weight * cross_entropy(logits, labels, ignore_index=IGNORE)
        terms["pseudo overlap"] = weight * (yield from self.overlap_with(logits, labels, step))
        yield "unet", terms
