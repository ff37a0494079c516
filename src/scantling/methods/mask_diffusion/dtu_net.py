"""DTU-Net: a transformer U-Net takes the noise from a mask whose tokens have looked at the image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field
from torch import Tensor

from scantling.contract.method import Method
from scantling.core.errors import SettingsError
from scantling.core.samples import Traits
from scantling.methods.catalogue import CARDS
from scantling.methods.mask_diffusion.chain_settings import Positive
from scantling.methods.mask_diffusion.chains import Condition
from scantling.methods.mask_diffusion.gaussian_masks import GaussianMasks, GaussianMaskSettings
from scantling.networks.dtu_net import DiffusionTransformerUNet

Windows = Annotated[tuple[Annotated[int, Field(gt=1)], ...], Field(min_length=1)]


class DTUNetSettings(GaussianMaskSettings):
    """Settings of `dtu-net`. The paper gives the layout and the full chain; every number here is ours.

    Attributes:
        widths: channels of each level of the transformer, the first those of the cross-attention too; as in Swin-T.
        blocks: multi-size blocks a level; the paper draws one.
        attention: nothing to set, every level is a transformer.
        heads: of the first level, doubled from level to level.
        dropout: inside the MLPs.
        windows: sides of the windows of the K branches, in tokens; the paper draws a coarse and a fine grid.
        scaled: each of the K branches carries 1 / K of what comes in, so that the sum does not hold it K times.
        features: channels of what the encoders make of the image and of the noisy mask (c1 and c2).
        depths: residual blocks of the two encoders.
        stride: of the two encoders.
        cross_attention: the mask looks at the image by cross-attention, as in the paper; else the features of both are
            stacked and mixed pixel by pixel (ours, for the ablation).
        token: the side of the patches of the cross-attention, in pixels of these features.
        partition: the side of the patches of the transformer, in pixels of these features.
    """

    batch: Positive = 8
    flips: bool = True
    samples: Positive = 4
    sampling_steps: Positive = 1000
    widths: Annotated[tuple[Positive, ...], Field(min_length=1)] = (96, 192, 384, 768)
    blocks: Positive = 1
    attention: tuple[()] = ()
    heads: Positive = 3
    windows: Windows = (4, 8)
    scaled: bool = False
    features: tuple[Positive, Positive] = (96, 96)
    depths: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = (2, 2)
    stride: Positive = 2
    cross_attention: bool = True
    token: Positive = 4
    partition: Positive = 2

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "steps": 1500,
            "batch": 8,
            "rate": 1e-3,
            "schedule_of_rate": "one-cycle",
            "average": 0.99,
            "size": None,
            "longest": 64,
            "foreground": 0.33,
            "turns": True,
            "rotation": 30.0,
            "zoom": 0.2,
            "jitter": 0.2,
            "predicts": "x0",
            "sampling_steps": 10,
            "widths": (32, 64, 128),
            "heads": 2,
            "scaled": True,
            "features": (64, 16),
            "depths": (5, 1),
            "token": 2,
        },
        "tiny": {
            "steps": 4,
            "batch": 2,
            "rate": 5e-3,
            "average": 0.9,
            "size": None,
            "patch": 32,
            "chain": 20,
            "predicts": "x0",
            "samples": 2,
            "sampling_steps": 3,
            "widths": (16, 32),
            "heads": 2,
            "windows": (2, 4),
            "features": (8, 8),
            "depths": (1, 1),
            "token": 4,
        },
    }

    @property
    def divisor(self) -> int:
        """What the levels divide the sides of an image by."""
        return int(self.stride * self.partition * 2 ** (len(self.widths) - 1))

    def resolve(self, traits: Traits) -> Self:
        """Refuse widths that the heads do not divide or that have no room for positions, too."""
        if self.widths[0] < 8:
            raise SettingsError(
                f"--settings.widths: found {self.widths[0]} channels in the first level; expected 8 or more, "
                "which tell the places of a grid apart"
            )
        for level, width in enumerate(self.widths):
            heads = self.heads * 2**level
            if width % heads:
                raise SettingsError(
                    f"--settings.widths: level {level} has {width} channels for {heads} heads; take a multiple"
                )
        return super().resolve(traits)


class DTUNet(GaussianMasks):
    r"""The diffusion transformer U-Net (Chowdary and Yin, 2023).

    .. math:: Z_I = \text{tokens}(E(I)), \quad
              \hat\epsilon = \text{MT-U-Net}(\text{CA}(E(M_t), Z_I), t), \quad
              L = \|\epsilon - \hat\epsilon\|^2

    Nothing was released. What the paper leaves open is a setting, or is said to be ours in
    `networks.dtu_net.DiffusionTransformerUNet`. The loss is the usual one, as we recollect it.
    """

    card = CARDS["dtu-net"]
    Settings = DTUNetSettings
    settings: DTUNetSettings

    def __init__(self, settings: DTUNetSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        self.network = DiffusionTransformerUNet(
            len(traits.channels),
            len(traits.classes),
            self.outputs,
            widths=settings.widths,
            heads=settings.heads,
            windows=settings.windows,
            blocks=settings.blocks,
            features=settings.features,
            depths=settings.depths,
            stride=settings.stride,
            token=settings.token,
            partition=settings.partition,
            cross_attention=settings.cross_attention,
            scaled=settings.scaled,
            dropout=settings.dropout,
        )

    def condition(self, image: Tensor) -> Condition:
        """Z_I (B, N, widths[0]), the tokens of E(I), or without cross-attention E(I): not of the noisy mask."""
        return (self.network.see(image),)

    def denoise(self, noisy: Tensor, condition: Condition, timestep: Tensor) -> Tensor:
        """The prediction (B, outputs, H, W)."""
        (seen,) = condition
        predicted: Tensor = self.network(noisy.to(self.dtype), seen, timestep)
        return predicted
