"""MedSegDiff: an image encoder that sees, at every step, what the noisy mask looks like by now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from scantling.contract.method import Method
from scantling.core.samples import Traits
from scantling.methods.catalogue import CARDS
from scantling.methods.mask_diffusion.chain_settings import QUICK, TINY, Positive
from scantling.methods.mask_diffusion.chains import Condition
from scantling.methods.mask_diffusion.gaussian_masks import GaussianMasks, GaussianMaskSettings
from scantling.networks.conditioning import DynamicEncoding, ImageEncoder, level_sizes

Scale = Literal["S", "B", "L", "++"]
SCALES: Mapping[Scale, Mapping[str, Any]] = {
    "S": {"widths": (128, 128, 256, 256, 512)},
    "B": {"widths": (128, 128, 256, 256, 512, 512)},
    "L": {"widths": (128, 128, 256, 256, 512, 512, 512)},
    "++": {"widths": (512, 512, 1024, 1024, 2048, 2048), "blocks": 12, "heads": 8, "scale_shift": True},
}
"""4, 5, 6 and 5 down-samplings. B has the widths of the authors' code; those of S and L follow it and are ours. Of ++
their code's page says 512 channels, 12 blocks, 8 heads, scale and shift; its levels are those of B (ours)."""


class MedSegDiffSettings(GaussianMaskSettings):
    """Settings of `medsegdiff`: the paper's as far as they are known and, where it is silent, its authors' code.

    Attributes:
        scale: S, B, L or ++ of the paper, in place of `widths` and, with ++, of `blocks`, `heads` and `scale_shift`.
        dynamic: dynamic conditional encoding; without it the image encoder does not see the noisy mask.
        parser: the FF-Parser on the way from the noisy mask to the encoding; it has no part without `dynamic`.
        scale_shift: the timestep scales and shifts the norms of the denoiser, instead of being added.
        beside: the image also enters the denoiser beside the noisy mask, as in the authors' code; in the paper's
            formula it does not, so that no detail of it passes but through the bottleneck.
    """

    samples: Positive = 25
    fuse: Literal["mean", "vote", "staple", "uncertainty"] = "staple"
    scale: Scale | None = None
    dynamic: bool = True
    parser: bool = True
    scale_shift: bool = False
    beside: bool = False

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {**QUICK, "predicts": "x0", "beside": True},
        "tiny": TINY,
    }

    def resolve(self, traits: Traits) -> Self:
        """Take the network of the scale."""
        wanted = {} if self.scale is None else SCALES[self.scale]
        if any(getattr(self, name) != value for name, value in wanted.items()):
            return self.model_copy(update=dict(wanted)).resolve(traits)
        return super().resolve(traits)


class MedSegDiff(GaussianMasks):
    r"""Gaussian diffusion of a mask under a dynamic condition (Wu et al., 2023, MedSegDiff).

    .. math:: \epsilon_\theta(x_t, I, t) = D(E_I + E_x, t), \quad
              m_I^k \leftarrow (\mathrm{LN}(m_I^k) \otimes \mathrm{LN}(\text{FF-Parser}(m_x^k))) \otimes m_I^k

    on all levels k but the deepest, where the two embeddings are added. Departures from the authors' code, where it
    is wrong: this is the formula that they publish, all that is used is trained, masks are -1 and 1 as the sampler
    takes them to be, and the answer is what was sampled.
    """

    card = CARDS["medsegdiff"]
    Settings = MedSegDiffSettings
    settings: MedSegDiffSettings

    def __init__(
        self, settings: MedSegDiffSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None
    ) -> None:
        super().__init__(settings, traits, uses=uses)
        channels, widths = len(traits.channels), settings.widths
        sizes = level_sizes(settings.shape(traits), levels=len(widths))
        self.image_encoder = ImageEncoder(channels, widths=widths, blocks=settings.blocks)
        self.encodings = nn.ModuleList(
            DynamicEncoding(width, size, parser=settings.parser) if settings.dynamic else nn.Identity()
            for width, size in zip(widths[:-1], sizes[:-1], strict=True)
        )
        self.network = self.denoiser(
            1 + (channels if settings.beside else 0), self.outputs, scale_shift=settings.scale_shift
        )

    def denoise(self, noisy: Tensor, condition: Condition, timestep: Tensor) -> Tensor:
        """What the network says (B, outputs, H, W); the image encoder runs at every step, a level at a time."""
        (image,) = condition
        seen, deepest = self.image_encoder.start(image), len(self.encodings)

        def guide(level: int, m_x: Tensor) -> Tensor:
            nonlocal seen
            seen = self.image_encoder(level, seen)
            if level == deepest:
                return m_x + seen  # E_x + E_I
            if self.settings.dynamic:
                seen = self.encodings[level](seen, m_x)
            return m_x

        entering = torch.cat([noisy, image], 1) if self.settings.beside else noisy
        predicted: Tensor = self.network(entering.to(self.dtype), timestep, guide=guide)
        return predicted
