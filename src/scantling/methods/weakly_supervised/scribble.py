"""Dual-branch network with dynamically mixed pseudo-labels: two decoders on one encoder teach each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from scantling.contract.method import Method
from scantling.contract.stage import Game, Stage
from scantling.contract.step import Step
from scantling.core.samples import Batch, Traits
from scantling.methods.catalogue import CARDS
from scantling.methods.semi_supervised.base import without_channels
from scantling.methods.supervised.unet import UNetSegmenter
from scantling.methods.weakly_supervised.base import ScribbleSegmenter, ScribbleSettings


class DualBranchSettings(ScribbleSettings):
    """Settings of `scribble`.

    Attributes:
        weight: of the Dice loss on pseudo-labels, beside 1 of the scribbles.
        dropped: the share of the channels of all maps of the encoder that the second decoder does not see.
    """

    weight: Annotated[float, Field(ge=0)] = 0.5
    dropped: Annotated[float, Field(ge=0, lt=1)] = 0.5


class DualBranch(ScribbleSegmenter):
    """DMPLS (Luo et al., MICCAI 2022).

    Two decoders read one encoder, the second with half of the channels dropped. The loss on scribbles is the mean of
    both decoders'. Both learn by Dice from arg max (beta p1 + (1 - beta) p2), with beta uniform in [0, 1), one a step.
    """

    card = CARDS["scribble"]
    Settings = DualBranchSettings
    settings: DualBranchSettings
    answering = ("network",)

    def __init__(
        self, settings: DualBranchSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None
    ) -> None:
        super().__init__(settings, traits, uses=uses)
        self.second = UNetSegmenter(settings, traits).network
        del self.second.down  # it decodes what the encoder of the first makes

    def stages(self) -> Sequence[Stage]:
        """One stage, one player."""
        return (
            Stage(
                name="train",
                players=(self.player(self.network, self.second),),
                streams=(self.scribbled,),
                steps=self.settings.steps,
                objectives=self.objectives,
            ),
        )

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The loss of both decoders on scribbles, and on what they say together."""
        scribbled = batch["scribbled"]
        size = scribbled.image.shape[2:]
        maps = self.network.encode(scribbled.image)
        fewer = without_channels(maps, step, self.settings.dropped)
        logits = [
            self.network.head(self.network.decode(maps, size)),
            self.second.head(self.second.decode(fewer, size)),
        ]
        beta = float(torch.rand((), generator=step.generator("beta"), dtype=torch.float64))
        labels = self.mixed_labels(logits, beta, scribbled)
        terms = dict[str, Tensor]()
        for one in logits:
            found = yield from self.loss_terms(one, scribbled.scribbles, step)
            found["pseudo"] = self.settings.weight * (yield from self.overlap_with(one, labels, step))
            for name, value in found.items():
                terms[name] = terms.get(name, 0) + value / 2
        yield "unet", terms

    @torch.no_grad()
    def mixed_labels(self, logits: Sequence[Tensor], beta: float, batch: Batch) -> Tensor:
        """The pseudo-labels (B, 1, *S) of two decoders, the first with the weight beta."""
        first, second = (self.probabilities(one) for one in logits)
        return self.likely_labels(beta * first + (1 - beta) * second, batch)
