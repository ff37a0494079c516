"""Vesselness: a filter for tubes and a threshold that reads no label, the baseline of all that learns without one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from scantling.contract.capabilities import Segmenter
from scantling.contract.method import VESSEL
from scantling.contract.results import Segmentation
from scantling.contract.settings import Settings
from scantling.contract.step import Inference
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.mending.dark_border import inside_dark_border
from scantling.mending.ridges import Mask, Response, Ridge, connected, otsu, strongest, vesselness
from scantling.methods.catalogue import CARDS

COLOUR = ("red", "green", "blue")
LIKELY = 0.5001
"""The least probability of a pixel of the mask."""
Sigma = Annotated[float, Field(gt=0, le=64)]


class VesselnessSettings(Settings):
    """Settings of `vesselness`. The filters are of the papers; everything here is ours.

    Attributes:
        filter: `mending.ridges.vesselness` says which is whose.
        scales: σ in pixels, about half the radius of a vessel and more.
        channel: in which vessels are looked for; None: green of colour images, which shows vessels of the retina
            best, else the first.
        dark: whether vessels are darker than what is around them; None: in pictures yes, in volumes no (contrast
            medium and flowing blood are bright there).
        ratios: whether a vessel takes a part of the light, not an amount; None: where no image goes below 0.
        rule: what makes a mask of the response. "share" takes the strongest pixels; "connected" the same number by
            hysteresis; "otsu" parts the responses in two. None: "share" in pictures, in volumes "otsu".
        share: of the region of interest that vessels take; for "share" and "connected". 0.12 is about the part of the
            retina's field that experts mark as vessel (12 to 13 % in DRIVE), known beforehand and not fitted here, but
            not free of knowledge of labels; another organ needs another number.
    """

    filter: Ridge = "sato"
    scales: Annotated[tuple[Sigma, ...], Field(min_length=1)] = (1.0, 2.0, 3.0)
    channel: str | None = None
    dark: bool | None = None
    ratios: bool | None = None
    rule: Literal["share", "connected", "otsu"] | None = None
    share: Annotated[float, Field(gt=0, lt=1)] = 0.12

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"quick": {}, "tiny": {}}
    """Nothing is trained, so nothing is quicker."""

    def resolve(self, traits: Traits) -> Self:
        """Decide from the data which channel to look at and what vessels look like there."""
        channel = self.channel or ("green" if traits.channels == COLOUR else traits.channels[0])
        if channel not in traits.channels:
            raise SettingsError(
                f"--settings.channel: found {channel!r}, expected one of the images' channels: "
                f"{', '.join(traits.channels)}"
            )
        lowest = traits.intensity[traits.channels.index(channel)].minimum
        if self.ratios and lowest < 0:
            raise SettingsError(
                f"--settings.ratios True: the images go down to {lowest:g}, but light is never negative; leave it out"
            )
        pictures = traits.dimensions == 2
        return self.model_copy(
            update={
                "channel": channel,
                "dark": pictures if self.dark is None else self.dark,
                "ratios": lowest >= 0 if self.ratios is None else self.ratios,
                "rule": self.rule or ("share" if pictures else "otsu"),
            }
        )


class Vesselness(Segmenter):
    r"""The strongest responses of a filter for tubes (Sato et al., 1998, unless set otherwise); nothing is trained.

    A response r becomes a probability p = r / (r + t), where t is the weakest response in the mask that the rule makes;
    what the rule "connected" leaves out has 0.5 at most. It says which pixel is likelier than which, not how often it
    is right. Nothing is fitted to masks, but two choices were made in sight of them: `share`, and, on training images
    of DRIVE, the logarithm and the border of `mending.ridges`. The rule "otsu" has no such number.
    """

    card = CARDS["vesselness"]
    Settings = VesselnessSettings
    settings: VesselnessSettings

    @classmethod
    def resolve_traits(cls, settings: VesselnessSettings, traits: Traits) -> Traits:
        """One class: that of the data where they name one, else the vessel."""
        del settings
        return traits if len(traits.classes) == 1 else traits.model_copy(update={"labels": VESSEL})

    @property
    def preprocessing(self) -> Preprocessing:
        """The values of the file; volumes on a grid of cubes as large as the voxels are."""
        spacing = self.traits.spacing
        cube = math.prod(spacing) ** (1 / len(spacing))
        return Preprocessing(
            dimensions=self.traits.dimensions,
            normalise="none",
            spacing=(cube,) * len(spacing) if self.traits.dimensions == 3 else None,
        )

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        """p = r / (r + t) of every image; 0 outside the region of interest."""
        del inference
        return Segmentation(probabilities=self.probabilities(batch))

    def probabilities(self, batch: Batch) -> Tensor:
        """(B, 1, *S) float32, see `segment`."""
        answers = [self._answered(*self._looked(batch, row)) for row in range(len(batch.image))]
        return torch.from_numpy(np.stack(answers)[:, None].astype(np.float32)).to(batch.image.device)

    def pictures(self, batch: Batch, inference: Inference) -> Mapping[str, Tensor]:
        """The response of the filter, and the region that it was looked for in."""
        del inference
        response, region = self._looked(batch, 0)
        where = "of the data" if bool(batch.present["region"][0]) else "all but a dark border, found by rule"
        shown = {
            f"The response of the filter of {self.settings.filter.capitalize()}": response,
            f"The region of interest: {where}": region.astype(np.float64),
        }
        return {caption: _plane(values) for caption, values in shown.items()}

    def _looked(self, batch: Batch, row: int) -> tuple[Response, Mask]:
        """The response of one image in [0, 1] and its region, both (*S)."""
        of = self.settings
        image = batch.image[row].cpu().double().numpy()
        if batch.present["region"][row]:
            region = batch.region[row, 0].cpu().numpy()
        else:
            region = inside_dark_border(image.max(0), thin=8 * max(of.scales))
        channel = image[self.traits.channels.index(of.channel or self.traits.channels[0])]
        response = vesselness(
            np.maximum(channel, 0) if of.ratios else channel,
            region,
            kind=of.filter,
            scales=of.scales,
            dark=bool(of.dark),
            ratios=bool(of.ratios),
            spatial_dims=channel.ndim,
        )
        return response, region

    def _answered(self, response: Response, region: Mask) -> Response:
        """Probabilities (*S): above 0.5 in the mask that the rule makes, not above it elsewhere."""
        of = self.settings
        if of.rule == "otsu":
            mask = otsu(response, region=region)
        elif of.rule == "connected":
            mask = connected(response, of.share, region=region)
        else:
            mask = strongest(response, of.share, region=region)
        mask &= response > 0
        if not mask.any():
            return np.zeros(response.shape)
        likely = response / (response + response[mask].min())
        return np.where(mask, np.maximum(likely, LIKELY), np.minimum(likely, 0.5))


def _plane(values: Response) -> Tensor:
    """(3, H, W) of an image, or of the middle plane of a volume."""
    flat = values if values.ndim == 2 else values[len(values) // 2]
    return torch.from_numpy(flat).float().expand(3, -1, -1)
