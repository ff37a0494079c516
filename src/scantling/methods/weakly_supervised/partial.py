"""The control of all that learns from scribbles: the U-Net of the plan, whose loss counts drawn pixels only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

from torch import Tensor

from scantling.contract.stage import Game, Player, Stage
from scantling.contract.step import Step
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Traits
from scantling.core.streams import Stream
from scantling.methods.catalogue import CARDS
from scantling.methods.supervised.unet import UNetSegmenter, UNetSettings


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

    @property
    def player(self) -> Player:
        """That of `unet`."""
        return UNetSegmenter.stages(self)[0].players[0]


class Partial(ScribbleSegmenter):
    """Cross-entropy over drawn pixels (partial cross-entropy; Tang et al., CVPR 2018), and Dice over the same; ours."""

    card = CARDS["partial"]
    Settings = ScribbleSettings

    def stages(self) -> Sequence[Stage]:
        """One stage, one player."""
        return (
            Stage(
                name="train",
                players=(self.player,),
                streams=(self.scribbled,),
                steps=self.settings.steps,
                objectives=self.objectives,
            ),
        )

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The loss of `unet`, which counts no pixel that is unknown."""
        scribbled = batch["scribbled"]
        logits: Tensor = self.network(scribbled.image)
        yield "unet", (yield from self.loss_terms(logits, scribbled.scribbles, step))
