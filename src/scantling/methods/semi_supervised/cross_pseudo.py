"""Cross pseudo supervision: two networks, each of which learns from what the other one says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor

from scantling.contract.method import Method
from scantling.contract.schedules import sigmoid_rise
from scantling.contract.stage import Game, Stage
from scantling.contract.step import Step
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch, Traits
from scantling.losses.overlap import cross_entropy
from scantling.methods.catalogue import CARDS
from scantling.methods.semi_supervised.base import (
    SemiSupervisedSegmenter,
    SemiSupervisedSettings,
    in_one_pass,
    known_pixels,
)


class CrossPseudoSettings(SemiSupervisedSettings):
    """Settings of `cross-pseudo`.

    The paper's weight is constant, 1.5 on PASCAL VOC and 6 on Cityscapes, for networks that begin with weights from
    ImageNet. For networks that begin anew the defaults are those of its repetition on medical images (SSL4MIS).

    Attributes:
        weight: of the cross supervision, at its highest.
        rise: the share of the training at which it is reached, by `sigmoid_rise`; 0 for a constant weight.
    """

    weight: Annotated[float, Field(ge=0)] = 0.1
    rise: Annotated[float, Field(ge=0, le=1)] = 1.0


class CrossPseudo(SemiSupervisedSegmenter):
    """Cross pseudo supervision (Chen, Yuan, Zeng, Wang, CVPR 2021).

    The most likely labels that one network gives are the truth of a cross-entropy for the other, on labelled and on
    unlabelled patches, as in the paper (SSL4MIS: on unlabelled ones alone). The first network answers.
    """

    card = CARDS["cross-pseudo"]
    Settings = CrossPseudoSettings
    settings: CrossPseudoSettings

    def __init__(
        self, settings: CrossPseudoSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None
    ) -> None:
        super().__init__(settings, traits, uses=uses)
        self.second = self.another_network()

    def stages(self) -> Sequence[Stage]:
        """One stage, a player for each network."""
        return (
            Stage(
                name="train",
                players=(self.player(self.network), self.player(self.second, name="second")),
                streams=(self.labelled, self.unlabelled),
                steps=self.settings.steps,
                objectives=self.objectives,
            ),
        )

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """Both networks see the same patches; each is given the other's labels."""
        those = [batch[name] for name in ("labelled", "unlabelled") if name in batch]
        images = [one.image for one in those]
        logits = [in_one_pass(network, *images) for network in (self.network, self.second)]
        labels = [
            [known_pixels(one, self.pseudo_labels(found.detach())[0]) for one, found in zip(those, own, strict=True)]
            for own in logits
        ]
        weight = self.settings.weight
        weight *= sigmoid_rise(step.progress, until=self.settings.rise) if self.settings.rise else 1.0
        for name, own, others in (("unet", logits[0], labels[1]), ("second", logits[1], labels[0])):
            terms = yield from self.loss_terms(own[0], those[0].mask, step)
            crossed: list[Tensor] = [
                cross_entropy(one, label, ignore_index=IGNORE) for one, label in zip(own, others, strict=True)
            ]
            yield name, {**terms, "cross": weight * sum(crossed[1:], crossed[0])}
