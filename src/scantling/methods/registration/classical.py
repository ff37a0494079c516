"""Registration by rule as a method: nothing is trained, each pair is optimised by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from scantling import planning
from scantling.contract.capabilities import Registrar
from scantling.contract.results import Registration
from scantling.contract.step import Inference
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.methods.catalogue import CARDS
from scantling.methods.registration.by_rule import Positive, RuleSettings, register_by_rule


class ClassicalSettings(RuleSettings):
    """Settings of `registration-classical`.

    Attributes:
        size: the shape that every image is resampled to; None: that of the median image, shrunk to `voxels` or, of
            pictures, `pixels`.
        voxels, pixels: at most so many.
    """

    size: tuple[Positive, ...] | None = None
    voxels: Positive = 128 * 128 * 128
    pixels: Positive = 512 * 512

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {"rule": "demons", "voxels": 64 * 64 * 64, "pixels": 256 * 256, "levels": 2, "iterations": 30},
        "tiny": {"rule": "affine", "voxels": 16 * 16 * 16, "pixels": 24 * 24, "levels": 1, "iterations": 3},
    }

    def grid(self, traits: Traits) -> planning.Grid:
        """The grid that is given, or planned."""
        return planning.whole_image(traits, self.voxels if traits.dimensions == 3 else self.pixels, shape=self.size)

    def resolve(self, traits: Traits) -> Self:
        """Decide the size."""
        return self.model_copy(update={"size": self.grid(traits).shape})


class ClassicalRegistration(Registrar):
    """An affine map, then a free-form deformation or demons, of each pair by itself (`methods.registration.by_rule`).

    Of several channels their mean is looked at.
    """

    card = CARDS["registration-classical"]
    Settings = ClassicalSettings
    settings: ClassicalSettings

    @property
    def preprocessing(self) -> Preprocessing:
        """Whole images of one size, each channel in units of its own deviation."""
        return Preprocessing(
            dimensions=self.traits.dimensions, normalise="image", size=self.settings.grid(self.traits).shape
        )

    def register(self, fixed: Batch, moving: Batch, inference: Inference) -> Registration:
        """One pair after the other."""
        del inference
        spacing = self.settings.grid(self.traits).spacing
        return Registration(
            displacement=displaced_by_rule(fixed.image, moving.image, spacing=spacing, settings=self.settings)
        )


def displaced_by_rule(fixed: Tensor, moving: Tensor, *, spacing: tuple[float, ...], settings: RuleSettings) -> Tensor:
    """The displacements (B, D, *S) of pairs of images (B, C, *S); see `by_rule.register_by_rule`."""
    rows = [
        register_by_rule(*(one.mean(0).cpu().float().numpy() for one in pair), spacing=spacing, settings=settings)
        for pair in zip(fixed, moving, strict=True)
    ]
    return torch.from_numpy(np.stack(rows)).to(fixed)
