"""The settings of `gland-diffusion`, and the options of its answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from scantling.contract.options import SegmentOptions
from scantling.contract.settings import Names, Settings
from scantling.core.errors import SettingsError
from scantling.core.samples import Traits
from scantling.methods.features.factories import name_factory
from scantling.networks.box_pyramid import STAGES
from scantling.networks.roi_align import CELLS

Positive = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
PROPOSALS, MOST_PROPOSALS, EACH = 150, 500, 4
"""Proposals of an image, those of a crowded one, and how many there are for an object (the last one ours)."""
SMALL = 16.0
"""Objects that are thinner than this many pixels are read from maps of stride 2; ours."""


class GlandSettings(Settings):
    """Settings of `gland-diffusion`. What the paper does not give is its parent's (DiffusionInst), or marked as ours.

    Attributes:
        objects_from: what the objects are: those of instance maps, or the connected pieces of the masks, which cannot
            tell glands apart that touch.
        steps, batch, rate, weight_decay: of AdamW; the parent's.
        schedule: of the rate; the parent lets it fall in steps at the end, here half a cosine (ours).
        average: decay of the averaged weights, which answer; 0 for none (ours).
        patch: the side of the tiles of a training.
        across: pixels that the median object is thick after images are made smaller; None leaves them as they are
            (ours). It has no effect where no mask was measured.
        spacing: the grid that comes of it, in the unit of the data.
        proposals: boxes that are diffused; None: 150, or four for each object of a median tile, at most 500 (ours).
        chain: T, the steps of noise.
        scale: of the signal of the boxes.
        conditional: whether the last map of the encoder joins the heads; False is the control.
        finest: the stride of the finest map; None: 4, or 2 where the median object is thinner than 16 pixels (ours).
        canonical: a box that is this many cells of the finest map long is read from the third map: 56, 224 pixels.
        width, depths, block: of the encoder, see `networks.BoxPyramid`: ResNet-50.
        encoder: MODULE:FACTORY, what makes a network of yours, such as a ResNet trained on ImageNet.
        layers: the modules of it whose maps are read, by name, from fine to coarse.
        channels: of the pyramid and of the proposals.
        inner: channels between the dynamic convolutions.
        hidden: of the feed-forward networks.
        heads: how many heads there are one after the other.
        attention: heads of the self-attention of each.
        mask_width: channels of the mask branch.
        mask_channels: of the map that all mask networks read, and of their layers: 8, which makes 153 numbers each.
        coordinates: a mask network also sees where each pixel lies beside its box, as CondInst's: 169 numbers (ours).
        mask_heads: the heads whose masks are learnt from: "all", as the parent does, or "last", as it means to.
        focal, distance, overlap, dice: the weights of the loss, of the class, of boxes twice, of masks.
        least: pixels that an object needs in a tile to be learnt (ours).
        flips, jitter: see `Augmentation`; with flips go quarter turns; jitter is of brightness and contrast (stains).
    """

    objects_from: Literal["instances", "mask"] = "instances"
    steps: Positive = 450_000
    batch: Positive = 2
    rate: Annotated[float, Field(gt=0)] = 1.25e-5
    weight_decay: Weight = 1e-4
    schedule: Literal["constant", "cosine", "one-cycle"] = "cosine"
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    patch: Positive = 512
    across: Annotated[float, Field(gt=0)] | None = None
    spacing: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    proposals: Positive | None = None
    chain: Annotated[int, Field(ge=2)] = 1000
    scale: Annotated[float, Field(gt=0)] = 2.0
    conditional: bool = True
    finest: Literal[2, 4] | None = None
    canonical: Positive = CELLS
    width: Positive = 64
    depths: tuple[Positive, Positive, Positive, Positive] = (3, 4, 6, 3)
    block: Literal["basic", "bottleneck"] = "bottleneck"
    encoder: str | None = None
    layers: Names = STAGES
    channels: Positive = 256
    inner: Positive = 64
    hidden: Positive = 2048
    heads: Positive = 6
    attention: Positive = 8
    mask_width: Positive = 128
    mask_channels: Positive = 8
    coordinates: bool = False
    mask_heads: Literal["all", "last"] = "all"
    focal: Weight = 2.0
    distance: Weight = 5.0
    overlap: Weight = 2.0
    dice: Weight = 5.0
    least: Positive = 16
    flips: bool = True
    jitter: Weight = 0.2

    architecture: ClassVar[tuple[str, ...]] = (
        "finest", "canonical", "width", "depths", "block", "encoder", "layers", "channels", "inner", "hidden",
        "heads", "attention", "mask_width", "mask_channels", "coordinates", "conditional",
    )  # fmt: skip
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "steps": 2500, "batch": 4, "rate": 1e-4, "weight_decay": 1e-2, "schedule": "one-cycle", "average": 0.99,
            "patch": 128, "across": 32.0, "proposals": 60, "canonical": 28, "width": 16, "depths": (1, 1, 1, 1),
            "block": "basic", "channels": 64, "inner": 16, "hidden": 128, "heads": 3, "attention": 4, "mask_width": 32,
        },
        "tiny": {
            "steps": 4, "batch": 2, "rate": 1e-2, "average": 0.9, "patch": 32, "proposals": 6, "canonical": 2,
            "width": 4, "depths": (1, 1, 1, 1), "block": "basic", "channels": 8, "inner": 4, "hidden": 8, "heads": 2,
            "attention": 2, "mask_width": 4, "least": 4,
        },
    }  # fmt: skip

    def resolve(self, traits: Traits) -> Self:
        """Plan grid, finest map and proposals from the thickness and number of the objects.

        Raises:
            SettingsError: volumes, data without classes, objects without one of several, or widths that do not divide.
        """
        if traits.dimensions == 3:
            raise SettingsError(
                "gland-diffusion finds objects in pictures, and the data are volumes; write their slices as pictures"
            )
        if not traits.classes:
            raise SettingsError(
                "gland-diffusion: found no classes; where masks name them take --settings.objects_from mask, else "
                "declare 'classes' in a manifest"
            )
        if self.objects_from == "instances" and len(traits.classes) > 1:
            raise SettingsError(
                f"--settings.objects_from instances: instance maps do not say which of {', '.join(traits.classes)} an "
                "object is; expected one class; take mask"
            )
        if self.channels % self.attention:
            raise SettingsError(
                f"--settings.attention {self.attention}: found {self.channels} channels; expected a multiple of it"
            )
        if self.encoder is not None:
            name_factory(self.encoder, flag="--settings.encoder")
        spacing = self.spacing or self._grid(traits)
        own = traits.spacing if spacing is None else spacing
        thick = _thickness(traits)
        small = thick is not None and thick / max(own) < SMALL
        number = _number(traits, self.patch, own)
        proposals = self.proposals or min(MOST_PROPOSALS, max(PROPOSALS, round(EACH * number)))
        return self.model_copy(
            update={"spacing": spacing, "finest": self.finest or (2 if small else 4), "proposals": proposals}
        )

    def _grid(self, traits: Traits) -> tuple[float, ...] | None:
        """The spacing at which the median object is `across` pixels thick, where that makes images smaller."""
        thick = _thickness(traits)
        if self.across is None or thick is None or thick / self.across <= max(traits.spacing):
            return None
        return (thick / self.across,) * 2

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """What the objects are, the grid and the proposals."""
        source = "objects of the instance maps" if self.objects_from == "instances" else "connected pieces of the masks"
        grid = "" if self.spacing is None else f", on a grid of {self.spacing[0]:.3g} {traits.unit or 'pixels'}"
        return (
            f"learns the {source} in tiles of {self.patch} x {self.patch}{grid}",
            f"{self.proposals} proposals, maps from stride {self.finest} on",
        )


class GlandOptions(SegmentOptions):
    """How objects are found.

    Attributes:
        score: the least that an object has; None: what was best on the validation cases, or 0.5.
        renew: boxes with a lower score start anew from noise at the next step (box renewal).
        doubles: of two boxes of one class that overlap more than this, the better one remains.
        own: the share of its mask that an object has to keep where better ones lie over it, or it is dropped (ours).
        most: objects of an image.
    """

    score: Annotated[float, Field(ge=0, lt=1)] | None = None
    renew: Annotated[float, Field(ge=0, lt=1)] = 0.5
    doubles: Annotated[float, Field(gt=0, le=1)] = 0.5
    own: Annotated[float, Field(ge=0, le=1)] = 0.5
    most: Positive = 500


def _thickness(traits: Traits) -> float | None:
    """The least median thickness of a class, in the unit of the spacing; None where nothing was measured."""
    known = [each.median for each in traits.thickness if each is not None]
    return min(known) if known else None


def _number(traits: Traits, patch: int, spacing: tuple[float, ...]) -> float:
    """How many objects a tile of a median image shows, by its share of the image; 0 where nothing was measured."""
    number = sum(each.number for each in traits.thickness if each is not None)
    share = 1.0
    for length, mm, step in zip(traits.shape, traits.spacing, spacing, strict=True):
        share *= min(1.0, patch * step / (length * mm))
    return number * share
