"""The settings of the autoencoder of Medical Diffusion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from scantling.core.errors import SettingsError
from scantling.core.samples import Traits
from scantling.methods.features.factories import name_factory
from scantling.methods.generation.volumes import Positive, Share, VolumeSettings

OWN = "own"
Weight = Annotated[float, Field(ge=0)]


class VQGanSettings(VolumeSettings):
    """Settings of `vq-gan`: the published ones, of the commands of its authors and not of their defaults.

    What the paper does not say, and all of `quick`, is ours.

    Attributes:
        rate: of the learning; that of one GPU and a batch of two.
        schedule_of_rate: constant, as published, or one that falls.
        width, down, code, codes: see `VQAutoencoder`; `down` names depth, height and width.
        decay, restart: see `Codebook`.
        reconstruction, perceptual, commitment, slices, volumes, matching: weights of the terms; of the perceptual one
            0 spares its network.
        perceptual_network: "own" learns a small one on the slices of the data, in a stage of its own; MODULE:FACTORY
            makes one of yours, which takes colour images.
        perceptual_layers: the modules of a network of yours that are compared.
        features: the share of the steps that an own one learns for (ours).
        judge, judge_layers: width and layers of the two discriminators.
        judged_from: the share of the steps after which they judge: 5,000 of 100,000 (the authors' 10,000 count both
            optimisers).
        flips: mirror volumes at random.
    """

    rate: Annotated[float, Field(gt=0)] = 1.875e-5
    schedule_of_rate: Literal["constant", "cosine", "one-cycle"] = "constant"
    width: Positive = 16
    down: tuple[Positive, Positive, Positive] = (4, 4, 4)
    code: Positive = 8
    codes: Annotated[int, Field(ge=2)] = 16_384
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    restart: Weight = 1.0
    reconstruction: Annotated[float, Field(gt=0)] = 4.0
    perceptual: Weight = 4.0
    commitment: Weight = 0.25
    slices: Weight = 1.0
    volumes: Weight = 1.0
    matching: Weight = 4.0
    perceptual_network: str = OWN
    perceptual_layers: tuple[str, ...] = ()
    features: Annotated[float, Field(gt=0, lt=1)] = 0.05
    judge: Positive = 64
    judge_layers: Positive = 3
    judged_from: Share = 0.05
    flips: bool = False

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "steps": 600,
            "rate": 2e-3,
            "schedule_of_rate": "one-cycle",
            "voxels": 2**15,
            "width": 8,
            "down": (2, 2, 2),
            "codes": 512,
            "decay": 0.9,
            "perceptual": 0.0,
            "slices": 0.1,
            "volumes": 0.1,
            "matching": 0.125,
            "judge": 8,
            "judge_layers": 2,
            "judged_from": 0.6,
            "flips": True,
        },
        "tiny": {
            "steps": 5,
            "rate": 1e-2,
            "plane": (8, 8),
            "depth": 6,
            "width": 4,
            "down": (2, 2, 2),
            "code": 4,
            "codes": 8,
            "features": 0.4,
            "judge": 4,
            "judge_layers": 1,
            "judged_from": 0.0,
        },
    }
    architecture: ClassVar[tuple[str, ...]] = ("width", "down", "code", "codes", "plane", "depth", "with_masks")

    @property
    def divisor(self) -> tuple[int, int, int]:
        """What the halvings divide."""
        return self.down

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Depth, height and width of the latents, once resolved."""
        depth, height, width = (n // d for n, d in zip(self.shape, self.down, strict=True))
        return depth, height, width

    @property
    def learns_features(self) -> bool:
        """Whether a network of its own is trained for the perceptual term."""
        return self.perceptual > 0 and self.perceptual_network == OWN

    @property
    def feature_steps(self) -> int:
        """Of `steps` those that this network learns for; each of both stages takes one at least."""
        return min(max(1, round(self.steps * self.features)), self.steps - 1) if self.learns_features else 0

    def resolve(self, traits: Traits) -> Self:
        """Decide the grid, and refuse a codebook that the data cannot fill.

        Raises:
            SettingsError: as the sentence says.
        """
        if any(factor & (factor - 1) for factor in self.down) or max(self.down) < 2:
            raise SettingsError(f"--settings.down {self.down}: expected powers of two, one of them above 1")
        chosen = super().resolve(traits)
        if self.learns_features and self.steps < 2:
            raise SettingsError(f"--settings.steps {self.steps}: the perceptual network takes some too; take 2 or more")
        if self.perceptual and self.perceptual_network != OWN:
            if not all(self.perceptual_network.partition(":")):
                raise SettingsError(
                    f"--settings.perceptual_network {self.perceptual_network}: expected own or MODULE:FACTORY"
                )
            name_factory(self.perceptual_network)
            if not self.perceptual_layers:
                raise SettingsError("--settings.perceptual_layers: name the layers of your network to compare")
        number = traits.labelled if self.with_masks else traits.labelled + traits.unlabelled
        vectors = number * math.prod(chosen.latent_shape)
        if vectors < self.codes:
            raise SettingsError(
                f"--settings.codes {self.codes}: {number} volumes have {vectors:,} latent vectors, so that some codes "
                "could never be used; take fewer codes, or a finer latent grid with --settings.down"
            )
        return chosen
