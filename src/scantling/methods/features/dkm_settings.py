"""The settings of the segmentation module on kinetic features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field

from scantling.contract.settings import Names, several
from scantling.core.errors import SettingsError
from scantling.core.samples import Traits
from scantling.methods.features.kinetics import check_frames
from scantling.methods.features.source import (
    ENCODER,
    NONE,
    PYRAMID,
    RANDOM,
    FeatureSettings,
    Positive,
)

Stages = Annotated[tuple[Literal[1, 2, 3, 4], ...], BeforeValidator(several), Field(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class DkmSettings(FeatureSettings):
    """Settings of `dkm`. The paper gives the architecture, and f3 + f4 as what is best injected; all numbers are ours.

    Attributes:
        features: see `FeatureSettings`; "none" injects nothing.
        frames: the channels that are seen, all that are needed at inference too; empty: the first one. They must be
            those that the encoder reads.
        stages: of the decoder of a diffusion model, whose maps are injected: f1 (in the size of the image) to f4 (an
            eighth of it), unless `blocks` are named. Each map goes into the block whose grid is nearest to its own.
        frozen: the encoder stays as it is; else it learns with the rest.
        steps: of training.
        batch: images a step.
        average: decay of the averaged weights, which answer.
        widths: channels of each block.
        norm: of the blocks.
        foreground: the share of patches centred on a labelled pixel, of images that are larger than a patch.
        flips, rotation, zoom, warped, jitter: see `Augmentation`; jitter is of brightness, contrast and gamma.
    """

    frames: Names = ()
    stages: Stages = (3, 4)
    frozen: bool = True
    steps: Positive = 20_000
    batch: Positive = 8
    rate: Annotated[float, Field(gt=0)] = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    average: Annotated[float, Field(ge=0, lt=1)] = 0.999
    widths: Annotated[tuple[Positive, ...], Field(min_length=1)] = (64, 128, 256, 512)
    norm: Literal["batch", "instance"] = "batch"
    foreground: Share = 0.33
    flips: bool = True
    rotation: Annotated[float, Field(ge=0)] = 30.0
    zoom: Annotated[float, Field(ge=0)] = 0.2
    warped: Share = 0.3
    jitter: Annotated[float, Field(ge=0)] = 0.2

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "size": None,
            "longest": 96,
            "steps": 1000,
            "rate": 3e-3,
            "average": 0.99,
            "widths": (8, 16, 32, 64),
        },
        "tiny": {
            "size": 16,
            "steps": 4,
            "batch": 2,
            "rate": 2e-2,
            "average": 0.9,
            "widths": (4, 8),
            "norm": "instance",
        },
    }
    architecture: ClassVar[tuple[str, ...]] = (*FeatureSettings.architecture, "frames", "stages", "widths", "norm")
    sources: ClassVar[tuple[str, ...]] = (ENCODER, RANDOM, PYRAMID, NONE)

    def resolve(self, traits: Traits) -> Self:
        """Say which channels are seen.

        Raises:
            SettingsError: there are no classes or no such channels, or what is not frozen cannot learn.
        """
        if traits.labels is None:
            raise SettingsError("dkm needs masks to know its classes; the training data have none")
        frames = self.frames or traits.channels[:1]
        check_frames(frames, traits)
        if not self.frozen and self.features in (RANDOM, PYRAMID, NONE):
            raise SettingsError(
                f"--settings.frozen False: --settings.features {self.features} has no network that could learn; take "
                "an encoder, or leave it out"
            )
        return super().resolve(traits).model_copy(update={"frames": frames})

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """Which frames it sees, which of them at inference, and what is injected."""
        others = [name for name in traits.channels if name not in self.frames]
        unread = f"; {', '.join(others)} not read" if others else ""
        known = {
            ENCODER: "features of the model that --use encoder names",
            RANDOM: "features of the same network with random weights",
            PYRAMID: "a pyramid without a network",
            NONE: "nothing",
        }
        what = known.get(self.features, f"features of {self.features}")
        return (f"sees {', '.join(self.frames)}, in training and in answers{unread}", f"injects {what}")
