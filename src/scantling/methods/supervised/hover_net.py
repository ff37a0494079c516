"""HoVer-Net: nuclei by themselves, from how far right of and below its middle a pixel lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor

from scantling.contract.method import Method
from scantling.contract.settings import Settings
from scantling.contract.stage import Game, Player, Stage
from scantling.contract.step import Step, Total
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.core.streams import Augmentation, Stream
from scantling.losses.hover import hover_terms
from scantling.losses.overlap import batch_dice_loss, cross_entropy, overlap_sums, probabilities_of
from scantling.methods.catalogue import CARDS
from scantling.methods.supervised.instances import (
    InstanceOptions,
    InstanceSegmenter,
    Map,
    anywhere,
    check_traits,
    objects_in,
)
from scantling.networks.hover_net import HALVINGS, HoVerNet
from scantling.objects.hover import hover_instances, hover_maps

Positive = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]


class HoVerNetSettings(Settings):
    """Settings of `hover-net`. Network, optimiser, rate and weights of the losses are the paper's; `quick` is ours.

    Attributes:
        steps: of training (ours; the paper counts 100 epochs, and begins with weights of ImageNet).
        batch: patches a step.
        rate: of learning.
        optimiser: "adamw" decays the weights by 0.01.
        schedule: "drop" divides the rate by 10 when half of the training is done, as the paper does.
        average: decay of the averaged weights, which answer; 0 for none.
        patch: the side of a patch; smaller where the images are (ours; the paper's is 270, of which 80 are answered).
        width, units, dense, growth, kernel, norm: see `networks.HoVerNet`.
        normalise: see `Preprocessing`; ours, the authors divide by 255.
        cross_entropy, dice: the weights of both terms of the foreground, and of the types.
        maps, gradients: the weights of the squared error of the maps, and of their gradients.
        flips, turns, rotation, zoom, warped, jitter, blur: see `Augmentation`; jitter is of brightness and contrast.
    """

    steps: Positive = 20_000
    batch: Positive = 8
    rate: Annotated[float, Field(gt=0)] = 1e-4
    optimiser: Literal["adam", "adamw"] = "adam"
    schedule: Literal["drop", "one-cycle"] = "drop"
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    patch: Positive = 256
    width: Positive = 64
    units: tuple[Positive, Positive, Positive, Positive] = (3, 4, 6, 3)
    dense: tuple[Positive, Positive] = (8, 4)
    growth: Annotated[int, Field(gt=0, multiple_of=4)] = 32
    kernel: Literal[3, 5, 7] = 5
    norm: Literal["batch", "instance"] = "batch"
    normalise: Literal["image", "dataset", "unit", "none"] = "image"
    cross_entropy: Weight = 1.0
    dice: Weight = 1.0
    maps: Weight = 1.0
    gradients: Weight = 2.0
    flips: bool = True
    turns: bool = True
    rotation: Annotated[float, Field(ge=0)] = 180.0
    zoom: Annotated[float, Field(ge=0)] = 0.2
    warped: Annotated[float, Field(ge=0, le=1)] = 0.5
    jitter: Annotated[float, Field(ge=0)] = 0.2
    blur: Annotated[float, Field(ge=0)] = 1.0

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "steps": 2000, "batch": 4, "rate": 3e-3, "optimiser": "adamw", "schedule": "one-cycle", "average": 0.99,
            "patch": 128, "width": 8, "units": (1, 1, 1, 1), "dense": (2, 1), "growth": 8, "kernel": 3,
        },
        "tiny": {
            "steps": 4, "batch": 2, "rate": 1e-2, "average": 0.9, "patch": 32, "width": 4, "units": (1, 1, 1, 1),
            "dense": (1, 1), "growth": 4, "kernel": 3, "norm": "instance",
        },
    }  # fmt: skip
    architecture: ClassVar[tuple[str, ...]] = ("width", "units", "dense", "growth", "kernel", "norm")

    def resolve(self, traits: Traits) -> Self:
        """Refuse what has no single objects, and take a smaller patch for smaller images.

        Raises:
            SettingsError: volumes, no classes, or several classes that overlap.
        """
        check_traits(traits, "hover-net")
        aligned = -(-max(traits.shape) // 2**HALVINGS) * 2**HALVINGS
        return self.model_copy(update={"patch": min(self.patch, aligned)})

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """The patch, and what the network answers."""
        types = f", and its type: {', '.join(traits.classes)}" if len(traits.classes) > 1 else ""
        learns = f"learns where objects are and where in its object a pixel is{types}"
        return (f"patches of {self.patch} x {self.patch}; {learns}",)


class HoVerNetOptions(InstanceOptions):
    """How objects are found in the maps: see `objects.hover_instances`.

    Attributes:
        edge: from which on, in [0, 1], the gradient of the maps is an edge between objects.
        sobel: side of the Sobel kernel.
        opening: radius of the disc that opens the markers.
    """

    edge: Annotated[float, Field(gt=0, le=1)] = 0.4
    sobel: Annotated[int, Field(ge=3)] = 21
    opening: Annotated[int, Field(ge=0)] = 2

    @field_validator("sobel")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("expected an odd number")
        return value


class HoVerNetSegmenter(InstanceSegmenter):
    """HoVer-Net (Graham et al., 2019): a branch for the foreground, one for the maps, one for the type of objects.

    Departures: see `networks.HoVerNet` and `objects.hover_instances`; the foreground is one logit, not two.
    """

    card = CARDS["hover-net"]
    Settings = HoVerNetSettings
    settings: HoVerNetSettings
    segment_with = HoVerNetOptions
    signed = True

    def __init__(self, settings: HoVerNetSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        of, classes = settings, len(traits.classes)
        branches = {"inside": 1, "maps": 2} | ({"types": classes + 1} if classes > 1 else {})
        self.network = HoVerNet(
            len(traits.channels), branches, width=of.width, units=of.units, dense=of.dense, growth=of.growth,
            kernel=of.kernel, norm=of.norm,
        )  # fmt: skip

    @property
    def preprocessing(self) -> Preprocessing:
        """Pictures on their own grid."""
        return Preprocessing(dimensions=2, normalise=self.settings.normalise)

    def stages(self) -> Sequence[Stage]:
        """One stage, one player."""
        of = self.settings
        player = Player(
            name="network", modules=(self.network,), rate=of.rate, optimiser=of.optimiser,
            weight_decay=1e-2 if of.optimiser == "adamw" else 0.0,
            schedule=_drop if of.schedule == "drop" else "one-cycle", clip=10.0, average=of.average,
        )  # fmt: skip
        augment = Augmentation(
            flips=of.flips, turns=of.turns, rotation=of.rotation, zoom=of.zoom, warped=of.warped,
            brightness=of.jitter, contrast=of.jitter, blur=of.blur, degraded=0.5,
        )  # fmt: skip
        stream = Stream(
            name="labelled", reads=("image", "mask", "instances"), batch=of.batch, patch=(of.patch,) * 2,
            layered=self.traits.partly_known and len(self.traits.classes) > 1, augment=augment,
        )  # fmt: skip
        return (
            Stage(name="train", players=(player,), streams=(stream,), steps=of.steps, objectives=self.objectives),
        )  # fmt: skip

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The terms of the paper: of the foreground, of the maps, of the types where there are several."""
        labelled, of = batch["labelled"], self.settings
        truth = anywhere(labelled)
        true = torch.from_numpy(np.stack([hover_maps(each) for each in objects_in(labelled)])).to(truth.device)
        answer = self.network(labelled.image)
        inside, maps = answer["inside"], answer["maps"]
        squared, slopes, count = hover_terms(maps, true, objects=truth == 1, known=truth != IGNORE)
        sums = overlap_sums(probabilities_of(inside, 1), truth, ignore_index=IGNORE).sum(1)
        terms = {
            "cross_entropy": of.cross_entropy * cross_entropy(inside, truth, ignore_index=IGNORE),
            "overlap": of.dice * batch_dice_loss(sums, total=(yield Total(sums)), parts=step.slots, smooth=1e-3),
            "maps": of.maps * squared,
            "gradients": of.gradients * step.mean(slopes, (yield Total(count))),
        }
        if "types" in answer:
            types, mask = answer["types"], labelled.mask
            sums = overlap_sums(probabilities_of(types, len(self.traits.classes)), mask, ignore_index=IGNORE).sum(1)
            terms["type_cross_entropy"] = of.cross_entropy * cross_entropy(types, mask, ignore_index=IGNORE)
            total = yield Total(sums)
            terms["type_overlap"] = of.dice * batch_dice_loss(sums, total=total, parts=step.slots, smooth=1e-3)
        yield "network", terms

    def maps(self, image: Tensor) -> Tensor:
        """(B, K + 2, H, W): the probability of any object, divided among the types, and the two maps."""
        answer = self.network(image)
        found = probabilities_of(answer["inside"], 1)
        if "types" in answer:
            types = probabilities_of(answer["types"], len(self.traits.classes))
            found = found * types / types.sum(1, keepdim=True).clamp(min=1e-6)
        return torch.cat([found, answer["maps"].to(found.dtype)], 1)

    def instances_in(self, inside: NDArray[np.float32], maps: NDArray[np.float32], options: HoVerNetOptions) -> Map:
        """The energy watershed."""
        return hover_instances(
            inside, maps, threshold=options.threshold, edge=options.edge, kernel=options.sobel, opening=options.opening,
            smallest=options.smallest, keep_unmarked=options.keep_unmarked,
        )  # fmt: skip


def _drop(progress: float) -> float:
    """A tenth of the rate in the second half."""
    return 1.0 if progress < 0.5 else 0.1
