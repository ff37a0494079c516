"""MedSegDiff-V2: a U-Net that segments by itself anchors the diffusion, and a transformer joins their spectra."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field
from torch import Tensor, nn

from scantling.contract.method import Method
from scantling.contract.stage import Game
from scantling.contract.step import Step
from scantling.core.case import IGNORE
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Traits
from scantling.losses.overlap import cross_entropy, dice_loss, probabilities_of
from scantling.methods.catalogue import CARDS
from scantling.methods.mask_diffusion.chain_settings import QUICK, TINY, Positive
from scantling.methods.mask_diffusion.chains import Condition
from scantling.methods.mask_diffusion.gaussian_masks import GaussianMasks, GaussianMaskSettings
from scantling.networks.conditioning import Anchor, ConditionUNet, Seen, level_sizes
from scantling.networks.spectral import Filter, SSFormer


class MedSegDiffV2Settings(GaussianMaskSettings):
    """Settings of `medsegdiff-v2`: the paper's as far as they are known; there is no authors' code of it.

    Attributes:
        anchors: stages of the encoder that are anchored: one in the paper's text, two in its figure, 0 for none.
        radius: of the anchor's Gaussian, in pixels; ours.
        every: a, the condition U-Net is taught by samples whose timestep is a multiple of it.
        cross_entropy: b, its weight beside Dice.
        ss_former: the SS-Former joins the deepest embeddings; else they are added, as in MedSegDiff (ours).
        ss_filter: of its affinities: the "band-pass" of the text, or the periodic activation of the figure ("sine").
        ss_blocks: of the SS-Former; unknown in the paper, from a re-implementation by others.
        ss_heads: of its attention; from the same.
        filter_layers: convolutions of the neural band-pass filter; from another one.
        filter_width: their channels; from that one.
    """

    samples: Positive = 10
    fuse: Literal["mean", "vote", "staple", "uncertainty"] = "staple"
    anchors: Literal[0, 1, 2] = 1
    radius: Positive = 2
    every: Positive = 5
    cross_entropy: Annotated[float, Field(ge=0)] = 10.0
    ss_former: bool = True
    ss_filter: Filter = "band-pass"
    ss_blocks: Positive = 4
    ss_heads: Positive = 8
    filter_layers: Positive = 6
    filter_width: Positive = 64

    binary: ClassVar[bool] = False
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            **QUICK, "steps": 800, "predicts": "x0", "ss_blocks": 1, "ss_heads": 4, "filter_layers": 2,
            "filter_width": 16,
        },
        "tiny": {
            **TINY, "widths": (8, 8, 8), "attention": (), "every": 2, "ss_blocks": 1, "ss_heads": 2,
            "filter_layers": 1, "filter_width": 4,
        },
    }  # fmt: skip

    def resolve(self, traits: Traits) -> Self:
        """Also refuse heads that do not divide the deepest width, and anchors without a level."""
        if self.widths[-1] % self.ss_heads:
            raise SettingsError(
                f"--settings.ss_heads {self.ss_heads}: they share the {self.widths[-1]} channels of the deepest "
                "level; take a number that divides it"
            )
        if self.anchors > len(self.widths):
            raise SettingsError("--settings.anchors 2: there is one level; take 1, or more --settings.widths")
        return super().resolve(traits)


class MedSegDiffV2(GaussianMasks):
    r"""Gaussian diffusion of masks, anchored by a U-Net on the image (Wu et al., 2024, MedSegDiff-V2).

    .. math:: L = \|\epsilon - \epsilon_\theta\|^2
                  + [t \equiv 0 \bmod a] \left(L_{Dice} + b \, L_{CE}\right)

    where the bracket teaches the condition U-Net its own mask, each sample by its own timestep. That U-Net sees the
    image alone, so what it says is computed once an image: the anchor's gate for the first stages of the denoiser's
    encoder, and the embedding that the SS-Former joins with the deepest one. Departure from the code that was
    released under this name, which has none of this: gradients flow into the condition U-Net.
    """

    card = CARDS["medsegdiff-v2"]
    Settings = MedSegDiffV2Settings
    settings: MedSegDiffV2Settings

    def __init__(
        self, settings: MedSegDiffV2Settings, traits: Traits, *, uses: Mapping[str, Method] | None = None
    ) -> None:
        super().__init__(settings, traits, uses=uses)
        classes, widths = len(traits.classes), settings.widths
        exclusive = traits.labels is not None and traits.labels.exclusive
        self.condition_network = ConditionUNet(
            len(traits.channels),
            classes + 1 if exclusive and classes > 1 else classes,
            widths=widths,
            blocks=settings.blocks,
        )
        self.anchors = nn.ModuleList(Anchor(width, radius=settings.radius) for width in widths[: settings.anchors])
        if settings.ss_former:
            self.former = SSFormer(
                widths[-1],
                level_sizes(settings.shape(traits), levels=len(widths))[-1],
                blocks=settings.ss_blocks,
                heads=settings.ss_heads,
                layers=settings.filter_layers,
                hidden=settings.filter_width,
                kind=settings.ss_filter,
            )
        self.network = self.denoiser(classes, self.outputs)

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The error of the noise, and what the condition U-Net's own mask lacks."""
        labelled, of = batch["labelled"], self.settings
        seen = self.condition_network(labelled.image)
        noisy, timestep = self.noised(labelled, step)
        predicted = self.denoise(noisy, self.embedded(seen), timestep)
        terms = dict(self.terms(predicted, labelled, step))
        # an unknown mask costs nothing, so the means over the batch are those of [t = 0 mod a] (Dice + b CE)
        taught = (timestep % of.every == 0).view(-1, 1, 1, 1)
        mask = labelled.mask.masked_fill(~taught, IGNORE)
        terms["anchor_overlap"] = dice_loss(
            probabilities_of(seen.logits, len(self.traits.classes)), mask, ignore_index=IGNORE
        )
        if of.cross_entropy:
            terms["anchor_cross_entropy"] = of.cross_entropy * cross_entropy(seen.logits, mask, ignore_index=IGNORE)
        yield self.card.name, terms

    def condition(self, image: Tensor) -> Condition:
        """All that the denoiser needs to know of an image (B, C, H, W), computed once."""
        return self.embedded(self.condition_network(image))

    def embedded(self, seen: Seen) -> Condition:
        """The gates (B, 1, H' / 2^level, W' / 2^level) of the anchored stages, then the deepest embedding."""
        gates = [anchor(f_c) for anchor, f_c in zip(self.anchors, seen.decoded, strict=False)]
        return (*gates, seen.deepest)

    def denoise(self, noisy: Tensor, condition: Condition, timestep: Tensor) -> Tensor:
        """What the network says (B, outputs, H, W), anchored and joined."""
        *gates, deepest = condition

        def guide(level: int, f_d: Tensor) -> Tensor:
            if level < len(gates):
                f_d = gates[level] * f_d + f_d
            if level == len(self.settings.widths) - 1:
                f_d = self.former(f_d, deepest, timestep) if self.settings.ss_former else f_d + deepest
            return f_d

        predicted: Tensor = self.network(noisy.to(self.dtype), timestep, guide=guide)
        return predicted
