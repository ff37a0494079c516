"""The settings of the heads on frozen features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from scantling.core.errors import SettingsError
from scantling.core.samples import Traits
from scantling.methods.features.heads import Norm
from scantling.methods.features.source import FeatureSettings, Positive

MANY = 30
"""From so many classes on, the background among them, the heads are wider (Baranchuk et al., 2022, their code)."""
QUICK: Mapping[str, Any] = {"size": None, "longest": 96}
TINY: Mapping[str, Any] = {"size": 16, "norm": "layer", "batch": 2}


class FeddSettings(FeatureSettings):
    """Settings of `fedd`: blocks, timestep and number of heads of the paper, the heads of DDPM-seg, on which it builds.

    Attributes:
        steps: of training, at most; ours: what no training of the papers reaches.
        heads: how many; each learns from pixels of its own.
        hidden: widths of their layers; None: 128 and 32, from 30 classes on 256 and 128.
        norm: see `PixelHead`.
        batch: images a step.
        pixels: of each of them, for each head.
        patience: a head stops learning when its loss has not been lower than ever before for so many steps, counted
            after four visits of as many pixels as the labelled images have; 0: it learns to the end.
    """

    steps: Positive = 500_000
    heads: Positive = 5
    hidden: tuple[Positive, ...] | None = None
    norm: Norm = "batch"
    batch: Positive = 64
    pixels: Positive = 1
    rate: Annotated[float, Field(gt=0)] = 1e-3
    patience: Annotated[int, Field(ge=0)] = 50

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {**QUICK, "steps": 300, "batch": 8, "pixels": 128, "rate": 3e-3, "patience": 0},
        "tiny": {**TINY, "steps": 4, "heads": 2, "hidden": (8,), "pixels": 64, "rate": 5e-2, "patience": 0},
    }
    architecture: ClassVar[tuple[str, ...]] = (*FeatureSettings.architecture, "heads", "hidden", "norm")

    def resolve(self, traits: Traits) -> Self:
        """Take the widths for so many classes."""
        if traits.labels is None:
            raise SettingsError("fedd needs masks to know its classes; the training data have none")
        hidden = (128, 32) if len(traits.classes) + 1 < MANY else (256, 128)
        return super().resolve(traits).model_copy(update={"hidden": self.hidden or hidden})


class FeddClassifierSettings(FeatureSettings):
    """Settings of `fedd-classifier`.

    Attributes:
        steps: of training; the paper's are at most 500, and usually 100, after which its loss on validation images no
            longer fell.
        batch: images a step; the paper takes all at once.
        norm: see `PixelHead`.
    """

    steps: Positive = 100
    batch: Positive = 32
    rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-5
    norm: Norm = "batch"

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {**QUICK},
        "tiny": {**TINY, "steps": 4, "rate": 2e-2},
    }
    architecture: ClassVar[tuple[str, ...]] = (*FeatureSettings.architecture, "norm")
