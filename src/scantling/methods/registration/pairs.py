"""What registration by networks shares: the settings of pairs of images, and the terms of their loss."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, field_validator
from torch import Tensor
from torch.nn import functional as F

from scantling import planning
from scantling.contract.options import InferenceOptions, RegisterOptions
from scantling.contract.settings import Settings
from scantling.contract.step import Step
from scantling.core.samples import Batch, Traits
from scantling.core.streams import Augmentation
from scantling.losses.registration import bending_energy, local_correlation_loss
from scantling.networks.registration import RegistrationNetwork, shrunk
from scantling.warping import warp

Positive = Annotated[int, Field(gt=0)]
PAPERS_SIDE = 128
"""Pixels of a side for which the weight of the bending energy is given."""


class PairOptions(RegisterOptions):
    """How a network registers a pair.

    Attributes:
        affine, refine: see `PairSettings`; None: as they say.
    """

    affine: bool | None = None
    refine: int | None = Field(default=None, ge=0)


class PairSettings(Settings):
    """How pairs of images are registered by a network; the defaults are those of MONAI's DeepAtlas tutorial.

    Attributes:
        pairs: how many a step takes.
        similarity: of the warped image and the fixed one: the local correlation, or the squared difference.
        window: of the local correlation, in pixels, odd.
        smoothness: the weight of the bending energy for images of 128 pixels a side; for a side of n it is (n / 128)²
            of it, since second derivatives in pixels shrink as images grow.
        diffeomorphic: the network gives a velocity, and the displacement is its flow (Dalca et al., 2019).
        squarings: of the flow.
        registration_widths: channels of the levels of the network.
        shrink: see `networks.RegistrationNetwork`.
        pair_rotation, pair_zoom: half of the images are turned, in degrees, and zoomed at random; ours.
        pair_shift: moving images are shifted at random along each axis, by a normal number whose deviation is this
            share of its length; ours. In training both images are scaled to one shape, but in answers the moving one
            lies where its affine says.
        affine: an answer begins with the affine map that makes a pair most alike (ours): the papers' images were
            aligned so before, by other programs.
        refine: steps in which an answer is improved on the pair itself, by the loss of the training.
    """

    pairs: Positive = 2
    similarity: Literal["correlation", "squares"] = "correlation"
    window: Annotated[int, Field(ge=3)] = 3
    smoothness: Annotated[float, Field(ge=0)] = 7.5
    diffeomorphic: bool = False
    squarings: Positive = 7
    registration_widths: Annotated[tuple[Positive, ...], Field(min_length=2)] = (16, 32, 32, 32, 32)
    shrink: Positive = 1
    pair_rotation: Annotated[float, Field(ge=0)] = 0.0
    pair_zoom: Annotated[float, Field(ge=0)] = 0.0
    pair_shift: Annotated[float, Field(ge=0)] = 0.0
    affine: bool = True
    refine: Annotated[int, Field(ge=0)] = 0

    @field_validator("window")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("expected an odd number of pixels")
        return value

    def filled_in(self, options: InferenceOptions) -> PairOptions:
        """The options with what the settings say where nothing is asked for."""
        given = options if isinstance(options, PairOptions) else PairOptions()
        return given.model_copy(
            update={
                "affine": self.affine if given.affine is None else given.affine,
                "refine": self.refine if given.refine is None else given.refine,
            }
        )

    def pair_changes(self, spacing: tuple[float, ...]) -> Augmentation:
        """How the images of a pair are changed, each for itself: nothing is mirrored, values stay."""
        return Augmentation(
            flips=False, turns=False, rotation=self.pair_rotation, zoom=self.pair_zoom, warped=0.5, spacing=spacing
        )

    def shifted(self, moving: Batch, step: Step) -> Batch:
        """The moving images, and their masks, shifted at random, their edge continued."""
        if not self.pair_shift:
            return moving
        image = moving.image
        shape = image.shape[2:]
        drawn = step.randn("pair shift", like=image.new_empty((len(image), len(shape))))
        away = drawn * self.pair_shift * drawn.new_tensor(shape)
        displacement = away.view(*away.shape, *[1] * len(shape)).expand(*away.shape, *shape)
        fields = {
            name: warp(moving.fields[name].to(image.dtype), displacement, linear=name == "image", outside="edge").to(
                moving.fields[name].dtype
            )
            for name in ("image", "mask", "region")
            if name in moving.fields
        }
        return replace(moving, fields={**moving.fields, **fields})

    def pair_network(self, traits: Traits, grid: planning.Grid) -> RegistrationNetwork:
        """The network for images of these channels on this grid."""
        most = len(self.registration_widths) - 1
        seen = shrunk(grid.shape, self.shrink)
        spacing = [mm * n / m for mm, n, m in zip(grid.spacing, grid.shape, seen, strict=True)]
        strides, _ = planning.levels_of(seen, spacing, most=most)
        return RegistrationNetwork(
            len(traits.channels), widths=self.registration_widths[: len(strides) + 1], strides=strides,
            shrink=self.shrink, flow=self.diffeomorphic, squarings=self.squarings,
        )  # fmt: skip

    def pair_terms(
        self, fixed: Tensor, moving: Tensor, *, vectors: Tensor, displacement: Tensor, spacing: tuple[float, ...]
    ) -> dict[str, Tensor]:
        """How unlike the warped moving image (B, C, *S) is the fixed one, and how much the vectors bend, weighted.

        Beyond its edge the moving image goes on as at its edge, as in the tutorial.

        Args:
            vectors: what the network gave: the displacement, or its velocity.
            spacing: of the axes, in any unit.
        """
        warped = warp(moving, displacement, outside="edge")
        if self.similarity == "correlation":
            unlike = local_correlation_loss(warped, fixed, window=self.window)
        else:
            unlike = F.mse_loss(warped, fixed)
        weight = self.smoothness * math.prod(fixed.shape[2:]) ** (2 / len(spacing)) / PAPERS_SIDE**2
        return {"similarity": unlike, "bending": weight * bending_energy(vectors, spacing=spacing)}
