"""Atlas propagation: the labels of labelled images, warped onto each image; nothing is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self, cast

import torch
from torch import Tensor

from scantling import planning
from scantling.contract.capabilities import Registrar, Segmenter
from scantling.contract.method import Method
from scantling.contract.options import SegmentOptions
from scantling.contract.results import Segmentation
from scantling.contract.stage import Calibration
from scantling.contract.step import Inference, Step
from scantling.core.case import IGNORE
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.core.streams import Stream
from scantling.losses.overlap import class_channels
from scantling.methods.catalogue import CARDS
from scantling.methods.registration.by_rule import Positive, RuleSettings
from scantling.methods.registration.classical import displaced_by_rule
from scantling.warping import warp


class PropagationSettings(RuleSettings):
    """Settings of `atlas-propagation`. Those of the rule count where no registration is named with `--use`.

    Attributes:
        atlases: at most so many of the labelled training images are kept, the first ones by id.
        fusion: of several atlases: "staple" (Warfield et al., 2004), or "mean", the majority; `--fuse` overrules it.
        size: the shape that every image is resampled to, where no registration decides; None: that of the median
            image, shrunk to `voxels` or, of pictures, `pixels`.
        voxels, pixels: at most so many.
    """

    atlases: Positive = 20
    fusion: Literal["staple", "mean"] = "staple"
    size: tuple[Positive, ...] | None = None
    voxels: Positive = 128 * 128 * 128
    pixels: Positive = 512 * 512

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "rule": "demons",
            "atlases": 5,
            "voxels": 64 * 64 * 64,
            "pixels": 256 * 256,
            "levels": 2,
            "iterations": 30,
        },
        "tiny": {"rule": "affine", "voxels": 16 * 16 * 16, "pixels": 24 * 24, "levels": 1, "iterations": 3},
    }

    def resolve(self, traits: Traits) -> Self:
        """Decide the size.

        Raises:
            SettingsError: there are no masks.
        """
        if traits.labels is None:
            raise SettingsError("masks are needed to know the classes; the training data have none")
        return self.model_copy(update={"size": self.grid(traits).shape})

    def grid(self, traits: Traits) -> planning.Grid:
        """The grid that is given, or planned."""
        return planning.whole_image(traits, self.voxels if traits.dimensions == 3 else self.pixels, shape=self.size)


class AtlasPropagation(Segmenter):
    """Each labelled training image, an atlas, is registered onto the image, and its labels are warped along.

    By one atlas: Rohlfing et al. (2004); by several, whose answers are fused as samples: Heckemann et al. (2006). The
    atlases are part of the model. They are registered by the model of `--use registration=RUN`, at the size that it
    sees, or by rule (`registration-classical`). Labels are warped linearly, so that what is fused has no staircase.
    Pixels that a mask does not know are background.
    """

    card = CARDS["atlas-propagation"]
    Settings = PropagationSettings
    settings: PropagationSettings
    images: Tensor
    labels: Tensor
    filled: Tensor

    def __init__(
        self, settings: PropagationSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None
    ) -> None:
        super().__init__(settings, traits, uses=uses)
        number, shape, classes = max(1, min(settings.atlases, traits.labelled)), self._size(), len(traits.classes)
        self.register_buffer("images", torch.zeros(number, len(traits.channels), *shape))
        self.register_buffer("labels", torch.zeros(number, classes, *shape, dtype=torch.bool))
        self.register_buffer("filled", torch.zeros(number, dtype=torch.bool))

    @property
    def registrar(self) -> Registrar | None:
        """The model that registers; None where it is done by rule."""
        return cast(Registrar, self.uses["registration"]) if "registration" in self.uses else None

    def _size(self) -> tuple[int, ...]:
        """The shape at which images are registered.

        Raises:
            SettingsError: the registration sees images of other channels or dimensions, or of no fixed size.
        """
        if self.registrar is None:
            return self.settings.grid(self.traits).shape
        recipe, traits = self.registrar.preprocessing, self.registrar.traits
        if traits.channels != self.traits.channels or recipe.dimensions != self.traits.dimensions:
            raise SettingsError(
                f"--use registration: that model was trained on {traits.dimensions}-D images with the channels "
                f"{', '.join(traits.channels)}; expected {self.traits.dimensions}-D images with "
                f"{', '.join(self.traits.channels)}"
            )
        if recipe.size is None:
            raise SettingsError(
                f"--use registration: {self.registrar.card.name} does not resample whole images to one size, at which "
                "atlases could be kept; name another run, or leave it out"
            )
        return recipe.size

    @property
    def preprocessing(self) -> Preprocessing:
        """That of the registration; else whole images of one size, each channel in units of its own deviation."""
        if self.registrar is not None:
            return self.registrar.preprocessing
        return Preprocessing(dimensions=self.traits.dimensions, normalise="image", size=self._size())

    def calibration(self) -> Calibration:
        """The atlases are taken from the labelled training images."""
        return Calibration(stream=Stream(name="atlases"), split="train", fit=self.keep, optional=False)

    def keep(self, visit: Iterable[Batch], step: Step) -> None:
        """Keep the first labelled images and their masks."""
        del step
        for place, batch in enumerate(visit):
            if place == len(self.images):
                break
            self.images[place] = batch.image[0]
            self.labels[place] = class_channels(batch.mask.masked_fill(batch.mask == IGNORE, 0), self.labels.shape[1])[
                0
            ]
            self.filled[place] = True

    def segment_options(self, options: SegmentOptions) -> SegmentOptions:
        """The fusion of the settings, unless another one is asked for.

        Raises:
            SettingsError: several samples are asked for; the atlases are the samples.
        """
        if (options.samples or 1) > 1:
            raise SettingsError(
                f"--samples {options.samples}: the samples of {self.card.name} are its atlases, of which it has "
                f"{int(self.filled.sum())}; leave it out"
            )
        return super().segment_options(options.model_copy(update={"fuse": options.fuse or self.settings.fusion}))

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        """The warped labels of each atlas, as a sample."""
        found = []
        for place in self.filled.nonzero()[:, 0].tolist():
            moving = self.images[place : place + 1].to(batch.image).expand_as(batch.image)
            displacement = self._displacement(
                batch, replace(batch, fields={**batch.fields, "image": moving}), inference
            )
            labels = self.labels[place : place + 1].to(displacement.dtype).expand(len(moving), -1, *moving.shape[2:])
            found.append(warp(labels, displacement, outside="edge"))
        samples = torch.stack(found) if found else batch.image.new_zeros((1, len(batch.image), *self.labels.shape[1:]))
        return Segmentation(samples=samples.clamp(0, 1))

    def _displacement(self, fixed: Batch, moving: Batch, inference: Inference) -> Tensor:
        if self.registrar is None:
            spacing = self.settings.grid(self.traits).spacing
            return displaced_by_rule(fixed.image, moving.image, spacing=spacing, settings=self.settings)
        options = self.registrar.register_options(self.registrar.register_with())
        return self.registrar.register(fixed, moving, replace(inference, options=options)).displacement
