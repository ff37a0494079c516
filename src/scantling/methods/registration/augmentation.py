"""Registration as augmentation: labelled images are warped onto others, and a U-Net learns from what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, cast

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from scantling.contract.capabilities import Registrar
from scantling.contract.method import Method
from scantling.contract.stage import Game, Stage, frozen
from scantling.contract.step import Inference, Step
from scantling.core.case import IGNORE
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Traits
from scantling.core.streams import Partner
from scantling.methods.catalogue import CARDS
from scantling.methods.registration.pairs import PairOptions
from scantling.methods.registration.whole import WholeImageSegmenter, WholeImageSettings
from scantling.warping import warp


class AugmentationSettings(WholeImageSettings):
    """Settings of `registration-augmentation`: those of `unet` on whole images.

    Attributes:
        warped_share: of the labelled images of a step, those that are warped onto another training image; ours.
        strength: the least share of the displacement that is taken, drawn for each image from there to all of it; the
            paper takes all. With less one pair of images gives many; ours.
    """

    warped_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    strength: Annotated[float, Field(ge=0, le=1)] = 0.5


class RegistrationAugmentation(WholeImageSegmenter):
    """The spatial transformations of Zhao et al. (2019), from a trained registration; their colours are left out.

    A labelled image is registered onto another training image, of which no label is read, and warped with its mask; the
    U-Net learns from such images and from the labelled ones as they are, changed as those of `unet`.
    """

    card = CARDS["registration-augmentation"]
    Settings = AugmentationSettings
    settings: AugmentationSettings
    answering = ("network",)

    def __init__(
        self, settings: AugmentationSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None
    ) -> None:
        super().__init__(settings, traits, uses=uses)
        known = self.registrar.traits
        if known.channels != traits.channels or self.registrar.preprocessing.dimensions != traits.dimensions:
            raise SettingsError(
                f"--use registration: that model was trained on {known.dimensions}-D images with the channels "
                f"{', '.join(known.channels)}; expected {traits.dimensions}-D images with {', '.join(traits.channels)}"
            )

    @property
    def registrar(self) -> Registrar:
        """The model that registers."""
        return cast(Registrar, self.uses["registration"])

    def stages(self) -> Sequence[Stage]:
        """The stage of `unet`; beside each labelled image comes one that it may be warped onto."""
        of = self.settings
        stream = replace(self.labelled, batch=of.batch or 1, companions=(Partner("target", other_subject=False),))
        return (
            Stage(
                name="train",
                players=(self.player(self.network),),
                streams=(stream,),
                steps=of.steps,
                objectives=self.objectives,
            ),
        )

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The loss of `unet` on images of which some are warped."""
        image, mask = self.warped(batch["labelled"], batch["labelled"].companions["target"], step)
        yield "unet", (yield from self.loss_terms(self.network(image), mask, step))

    @torch.no_grad()
    def warped(self, moving: Batch, fixed: Batch, step: Step) -> tuple[Tensor, Tensor]:
        """Images (B, C, *S) and masks (B, 1 or K, *S) of which a share, drawn by sample, is warped onto others."""
        image, mask, of = moving.image, moving.mask, self.settings
        column = image.flatten(1)[:, 0]
        chosen = step.rand("warped", like=column) < of.warped_share
        if not bool(chosen.any()):
            return image, mask
        strength = (of.strength + (1 - of.strength) * step.rand("strength", like=column)) * chosen
        displacement = self.displacement(fixed, moving, step)
        displacement = displacement * strength.view(-1, *[1] * (image.ndim - 1))
        known = mask.masked_fill(~moving.region, IGNORE)
        return (
            warp(image, displacement, outside="edge"),
            warp(known, displacement, linear=False, outside="edge").to(mask.dtype),
        )

    def displacement(self, fixed: Batch, moving: Batch, step: Step) -> Tensor:
        """The displacement (B, D, *S) that warps the moving images onto the fixed ones, registered at the size that the
        registration was trained at."""
        shape, size = fixed.image.shape[2:], self.registrar.preprocessing.size
        seen = tuple(shape) if size is None else size
        mode = {2: "bilinear", 3: "trilinear"}[len(shape)]
        pair = [
            replace(one, fields={"image": F.interpolate(one.image, seen, mode=mode, align_corners=False)}, present={})
            for one in (fixed, moving)
        ]
        kind = self.registrar.register_with
        one_pass = {"affine": False, "refine": 0} if issubclass(kind, PairOptions) else {}  # for the time it takes
        options = self.registrar.register_options(kind.of(one_pass))
        inference = Inference(seed=step.seed, stage=step.stage, number=step.number, device=step.device, options=options)
        with frozen(self.registrar):
            found = self.registrar.register(pair[0], pair[1], inference).displacement
        scale = found.new_tensor([n / m for n, m in zip(shape, seen, strict=True)]).view(1, -1, *[1] * len(shape))
        return F.interpolate(found, shape, mode=mode, align_corners=False).to(fixed.image.dtype) * scale
