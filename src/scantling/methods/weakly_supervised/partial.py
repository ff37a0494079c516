"""The control of all that learns from scribbles: the U-Net of the plan, whose loss counts drawn pixels only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scantling.contract.stage import Game, Stage
from scantling.contract.step import Step
from scantling.core.samples import Batch
from scantling.methods.catalogue import CARDS
from scantling.methods.weakly_supervised.base import ScribbleSegmenter, ScribbleSettings


class Partial(ScribbleSegmenter):
    """Cross-entropy over drawn pixels (partial cross-entropy; Tang et al., CVPR 2018), and Dice over the same; ours."""

    card = CARDS["partial"]
    Settings = ScribbleSettings

    def stages(self) -> Sequence[Stage]:
        """One stage, one player."""
        return (
            Stage(
                name="train",
                players=(self.player(self.network),),
                streams=(self.scribbled,),
                steps=self.settings.steps,
                objectives=self.objectives,
            ),
        )

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The loss of `unet`, which counts no pixel that is unknown."""
        scribbled = batch["scribbled"]
        yield "unet", (yield from self.loss_terms(self.network(scribbled.image), scribbled.scribbles, step))
