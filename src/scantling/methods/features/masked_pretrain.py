"""The U-Net learns from images alone: it restores blocks that are hidden from it, and then begins other trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from scantling.contract.capabilities import Encoder
from scantling.contract.method import Method
from scantling.contract.results import Encoding
from scantling.contract.stage import Game, Stage
from scantling.contract.step import Inference, Step
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.methods.catalogue import CARDS
from scantling.methods.supervised.unet import network_of, player_of, preprocessing_of, stream_of
from scantling.methods.supervised.unet_settings import Positive, UNetSettings

HEAD = "network.head."
"""What no other training begins with."""


class MaskedPretrainSettings(UNetSettings):
    """Settings of `masked-pretrain`: those of `unet`, whose network and plan it has, and what is hidden. All ours.

    Attributes:
        block: the side of a hidden block in pixels, along coarse axes as many fewer as they are coarser.
        hidden: the share of the blocks that is hidden.
    """

    block: Positive = 8
    hidden: Annotated[float, Field(gt=0, lt=1)] = 0.6

    reads_masks: ClassVar[bool] = False
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **UNetSettings.presets,
        "tiny": {**UNetSettings.presets["tiny"], "block": 4, "hidden": 0.3, "jitter": 0.0},
    }


class MaskedPretrain(Encoder):
    r"""Restores hidden blocks of images (the idea of He et al., 2022, Masked autoencoders), with the U-Net.

    .. math:: L = \frac{\sum_{x \in H} (f(\tilde I)(x) - I(x))^2}{|H|}

    over the hidden pixels H, each sample for itself; hidden pixels are 0, the mean of the image. A training of `unet`,
    or of a method that shares its network, begins with all but the last layer: `train unet --from RUN`.
    """

    card = CARDS["masked-pretrain"]
    Settings = MaskedPretrainSettings
    settings: MaskedPretrainSettings

    def __init__(
        self, settings: MaskedPretrainSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None
    ) -> None:
        super().__init__(settings, traits, uses=uses)
        self.network = network_of(settings, traits, len(traits.channels))

    @property
    def preprocessing(self) -> Preprocessing:
        """As of `unet`."""
        return preprocessing_of(self.settings, self.traits)

    def stages(self) -> Sequence[Stage]:
        """One stage on all training images, labelled or not, changed as those of `unet`."""
        of = self.settings
        stream = replace(stream_of(of, self.traits, "images"), reads=("image",), foreground=0.0)
        player = player_of(of, "unet", self.network)
        return (Stage(name="train", players=(player,), streams=(stream,), steps=of.steps, objectives=self.objectives),)

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The squared error where the image is hidden."""
        image = batch["images"].image
        hidden = self.blocks(image, step) & batch["images"].region  # (B, 1, *S)
        restored = self.network(image.masked_fill(hidden, 0))
        errors = (restored.to(image.dtype) - image).square().mean(1, keepdim=True) * hidden
        count = hidden.flatten(1).sum(1).clamp(min=1)
        yield "unet", {"restoration": (errors.flatten(1).sum(1) / count).mean()}

    def blocks(self, image: Tensor, step: Step) -> Tensor:
        """Which pixels of images are hidden, (B, 1, *S) bool."""
        shape = image.shape[2:]
        spacing = self.settings.spacing or self.settings.seen(self.traits).spacing
        sides = [max(1, round(self.settings.block * min(spacing) / mm)) for mm in spacing]
        coarse = image.new_empty((len(image), 1, *(-(-n // side) for n, side in zip(shape, sides, strict=True))))
        hidden = step.rand("blocks", like=coarse) < self.settings.hidden
        for axis, (side, length) in enumerate(zip(sides, shape, strict=True), start=2):
            hidden = hidden.repeat_interleave(side, axis).narrow(axis, 0, length)
        return hidden

    def encode(self, batch: Batch, inference: Inference) -> Encoding:
        """The last feature map of images of which nothing is hidden."""
        del inference
        return Encoding(features={"last": self.network.features(batch.image)})

    def _answers(self, name: str) -> bool:
        return super()._answers(name) and not name.startswith(HEAD)
