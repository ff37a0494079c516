"""A U-Net that sees whole images of one size, so that two of them can be warped onto each other while it learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from scantling import planning
from scantling.core.errors import SettingsError
from scantling.core.samples import Preprocessing, Traits
from scantling.methods.registration.network import check_pairs, whole_images
from scantling.methods.semi_supervised.base import SemiSupervisedSegmenter, SemiSupervisedSettings


class WholeImageSettings(SemiSupervisedSettings):
    """Settings of `unet` for patches that are whole images, resampled to one size, which `patch` holds.

    None plans it: the median image, shrunk to `voxels` or, of pictures, `pixels`. The first answer is even, since Dice,
    the loss of the papers, hardly teaches classes that begin improbable.
    """

    first_answer: Literal["shares", "even"] = "even"

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **SemiSupervisedSettings.presets,
        "quick": {**SemiSupervisedSettings.presets["quick"], "voxels": 48 * 48 * 48},
        "tiny": {
            **SemiSupervisedSettings.presets["tiny"],
            "voxels": 12 * 12 * 12,
            "pixels": 24 * 24,
        },
    }

    def resolve(self, traits: Traits) -> Self:
        """Plan the size, then all else as `unet` does for it.

        Raises:
            SettingsError: another grid is given, volumes are to be read as slices, or there is only one image.
        """
        check_pairs(traits)
        if self.dimensions == 2 and traits.dimensions == 3:
            raise SettingsError("--settings.dimensions 2: whole volumes are registered, not slices; leave it out")
        if self.size is not None or self.longest is not None or (self.spacing is not None and self.patch is None):
            raise SettingsError(
                "--settings.size, spacing and longest: whole images are resampled to one shape; give it as "
                "--settings.patch, or leave it out"
            )
        if self.patch is not None and len(self.patch) != traits.dimensions:
            raise SettingsError(
                f"--settings.patch: found {len(self.patch)} numbers, expected one for each of the "
                f"{traits.dimensions} axes of the images"
            )
        grid = self.whole(traits)
        whole = self.model_copy(update={"patch": grid.shape, "spacing": grid.spacing})
        return super(WholeImageSettings, whole).resolve(traits)

    def whole(self, traits: Traits) -> planning.Grid:
        """The grid that is given, or planned."""
        return planning.whole_image(traits, self.voxels if traits.dimensions == 3 else self.pixels, shape=self.patch)

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """On which grid images are seen."""
        return (whole_images(self.whole(traits)),)


class WholeImageSegmenter(SemiSupervisedSegmenter):
    """The U-Net of `unet` on whole images of one size."""

    settings: WholeImageSettings

    @property
    def preprocessing(self) -> Preprocessing:
        """Whole images of one size."""
        return Preprocessing(
            dimensions=self.traits.dimensions,
            normalise=self.settings.normalise or "image",
            size=self.settings.whole(self.traits).shape,
        )
