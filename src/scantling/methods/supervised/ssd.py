"""A single-shot detector: lesions as boxes with a class and a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from scantling.contract.capabilities import Segmenter
from scantling.contract.method import Method
from scantling.contract.options import SegmentOptions
from scantling.contract.results import Objects, Segmentation
from scantling.contract.settings import Settings
from scantling.contract.stage import Game, Player, Stage
from scantling.contract.step import Inference, Step, Total
from scantling.core.errors import SettingsError
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.core.streams import Augmentation, Stream
from scantling.diffusion.chain import exact
from scantling.losses.boxes import pixels_of
from scantling.losses.multibox import multibox_terms
from scantling.methods.catalogue import CARDS
from scantling.networks.ssd import SSD, assigned, decoded, detected, encoded
from scantling.phantoms.weak_labels import boxes_of_instances, boxes_of_layers

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]


class SsdSettings(Settings):
    """Settings of `ssd`: size, batch, rate, decay, scales, mining of SSD300; steps, augmentation and `quick` are ours.

    Attributes:
        boxes_from: what the true boxes are: those of the data, or those around the connected pieces of each class of
            the masks, or around the objects of instance maps, where there is one class.
        steps: of training.
        batch: images a step.
        rate: of learning, which falls by half a cosine (ours; in the paper by hand).
        optimiser: "sgd" has a momentum of 0.9.
        weight_decay: of all weights.
        average: decay of the averaged weights, which answer; 0 for none.
        size: the side of the square that every image is resampled to.
        width: channels of the first stage of the trunk.
        first: the stage whose map is the finest that is read, from 0.
        scales: the length of a default box on each map, as a share of the side; one map is read for each.
        ratios: proportions of default boxes beside 1.
        overlap: from which on a default box is to find a true one.
        negatives: boxes without an object that count, for each with one.
        flips, zoom, jitter: see `Augmentation`; jitter is of brightness and contrast.
    """

    boxes_from: Literal["boxes", "mask", "instances"] = "boxes"
    steps: Positive = 60_000
    batch: Positive = 32
    rate: Annotated[float, Field(gt=0)] = 1e-3
    optimiser: Literal["adamw", "sgd"] = "sgd"
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    size: Positive = 300
    width: Positive = 64
    first: Annotated[int, Field(ge=0)] = 2
    scales: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.1, 0.2, 0.375, 0.55, 0.725, 0.9)
    ratios: tuple[Annotated[float, Field(ge=1)], ...] = (2.0, 3.0)
    overlap: Annotated[float, Field(gt=0, lt=1)] = 0.5
    negatives: Annotated[float, Field(ge=1)] = 3.0
    flips: bool = True
    zoom: Annotated[float, Field(ge=0)] = 0.2
    jitter: Annotated[float, Field(ge=0)] = 0.2

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "steps": 1000, "batch": 8, "optimiser": "adamw", "weight_decay": 1e-2, "average": 0.99, "size": 128,
            "width": 16, "first": 1, "scales": (0.08, 0.16, 0.3, 0.45, 0.65, 0.9), "ratios": (2.0,),
        },
        "tiny": {
            "steps": 4, "batch": 2, "rate": 1e-2, "optimiser": "adamw", "average": 0.9, "size": 16, "width": 4,
            "first": 1, "scales": (0.3, 0.6), "ratios": (2.0,),
        },
    }  # fmt: skip
    architecture: ClassVar[tuple[str, ...]] = ("width", "first", "scales", "ratios")

    def resolve(self, traits: Traits) -> Self:
        """Refuse volumes, data without classes, and objects that have none of several.

        Raises:
            SettingsError: one of these.
        """
        if traits.dimensions == 3:
            raise SettingsError(
                "ssd finds objects in pictures, and the data are volumes; write their slices as pictures"
            )
        if not traits.classes:
            raise SettingsError("ssd: found no classes; declare 'classes' in a manifest, whose names the boxes have")
        if self.boxes_from == "instances" and len(traits.classes) > 1:
            raise SettingsError(
                f"--settings.boxes_from instances: instance maps do not say which of {', '.join(traits.classes)} an "
                "object is; expected one class; take boxes, or mask"
            )
        if self.size < 2 ** (self.first + 1):
            raise SettingsError(
                f"--settings.size: found {self.size}; the finest map needs {2 ** (self.first + 1)} pixels"
            )
        return self

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """Where the true boxes come from."""
        source = {
            "boxes": "the boxes of the data",
            "mask": "boxes around the connected pieces of the masks",
            "instances": "boxes around the objects of the instance maps",
        }[self.boxes_from]
        return (f"learns {source}: {', '.join(traits.classes)}, in images of {self.size} x {self.size}",)


class SsdOptions(SegmentOptions):
    """How objects are found.

    Attributes:
        score: the least that an object has.
        doubles: of two boxes of one class that overlap more than this, the better one remains.
        most: objects of an image.
    """

    score: Annotated[float, Field(ge=0, lt=1)] = 0.01
    doubles: Annotated[float, Field(gt=0, le=1)] = 0.45
    most: Positive = 200


class Ssd(Segmenter):
    """Single-shot multibox detector (Liu et al., 2016) on a trunk after VGG11 with instance norm (`networks.vgg`).

    Its objects are boxes without masks. Its probabilities are the scores painted into the boxes, so that it can be held
    against segmenters. Departures: the trunk, and as many proportions of default boxes on every map.
    """

    card = CARDS["ssd"]
    Settings = SsdSettings
    settings: SsdSettings
    segment_with = SsdOptions
    finds_objects = True

    def __init__(self, settings: SsdSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        of = settings
        self.network = SSD(
            len(traits.channels), len(traits.classes), width=of.width, first=of.first, scales=of.scales,
            ratios=of.ratios,
        )  # fmt: skip

    @property
    def preprocessing(self) -> Preprocessing:
        """Squares, each channel by its own mean and deviation."""
        return Preprocessing(dimensions=2, normalise="image", size=(self.settings.size,) * 2)

    def stages(self) -> Sequence[Stage]:
        """One stage, one player."""
        of = self.settings
        player = Player(
            name="detector", modules=(self.network,), rate=of.rate, optimiser=of.optimiser,
            weight_decay=of.weight_decay, schedule="cosine", clip=10.0, average=of.average,
        )  # fmt: skip
        augment = Augmentation(flips=of.flips, turns=False, zoom=of.zoom, brightness=of.jitter, contrast=of.jitter)
        stream = Stream(name="images", reads=("image", of.boxes_from), batch=of.batch, augment=augment)
        return (
            Stage(name="train", players=(player,), streams=(stream,), steps=of.steps, objectives=self.objectives),
        )  # fmt: skip

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The two terms of MultiBox, over the default boxes with an object of the whole step."""
        images = batch["images"]
        logits, offsets = (exact(part) for part in self.network(images.image))
        defaults = self.defaults(images.image)
        labels, targets = [], []
        for (boxes, classes), unknown in zip(self.truth(images), self.unknown(images, defaults), strict=True):
            which = assigned(boxes, defaults, overlap=self.settings.overlap)
            there, empty = which >= 0, torch.where(unknown, -1, 0)
            labels.append(torch.where(there, classes[which] + 1, empty) if len(boxes) else empty)
            wanted = boxes[which.clamp(min=0)] if len(boxes) else defaults
            targets.append(encoded(wanted, defaults))
        terms = multibox_terms(
            logits, offsets, torch.stack(labels), torch.stack(targets), negatives=self.settings.negatives
        )
        total = yield Total(terms[2])
        yield "detector", {"class": step.mean(terms[0], total), "place": step.mean(terms[1], total)}

    def truth(self, images: Batch) -> list[tuple[Tensor, Tensor]]:
        """The true boxes (n, 2, 2) of each image and their classes (n,) from 0."""
        if self.settings.boxes_from == "boxes":
            counts, classes = images.counts["boxes"].tolist(), images.classes["boxes"]
            return [(images.boxes[row, :n], classes[row, :n]) for row, n in enumerate(counts)]
        of_masks, device = self.settings.boxes_from == "mask", images.image.device
        maps = (images.mask if of_masks else images.instances).cpu().numpy()
        found = [boxes_of_layers(layers) if of_masks else boxes_of_instances(layers[0]) for layers in maps]
        return [(torch.from_numpy(boxes).float().to(device), torch.from_numpy(n).to(device)) for boxes, n in found]

    def unknown(self, images: Batch, defaults: Tensor) -> Tensor:
        """(B, N) bool, the default boxes whose middle lies where the mask knows nothing: they are no background."""
        if self.settings.boxes_from != "mask":
            return torch.zeros(len(images.image), len(defaults), dtype=torch.bool, device=defaults.device)
        somewhere = (images.mask == IGNORE).any(1)  # (B, H, W)
        ends = torch.tensor(somewhere.shape[1:], device=defaults.device) - 1
        rows, columns = defaults.mean(2).long().clamp(min=0).minimum(ends).unbind(1)
        return somewhere[:, rows, columns]

    def defaults(self, image: Tensor) -> Tensor:
        """The default boxes (N, 2, 2) of images (B, C, H, W)."""
        return self.network.default_boxes(image.shape[2:]).to(image.device)

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        """The objects of each image, and their scores painted into their boxes (B, K, H, W)."""
        options = inference.options

        def finder(canvas: Tensor) -> Objects:
            logits, offsets = (exact(part) for part in self.network(canvas))
            boxes = decoded(offsets[0], self.defaults(canvas))
            ends = torch.tensor(canvas.shape[2:], device=boxes.device, dtype=boxes.dtype)
            boxes = boxes.clamp(min=0).minimum(ends[:, None])
            boxes, scores, classes = detected(
                logits[0].softmax(-1), boxes, score=getattr(options, "score", 0.01),
                overlap=getattr(options, "doubles", 0.45), most=getattr(options, "most", 200),
            )  # fmt: skip
            return Objects(classes=classes.cpu(), boxes=boxes.float().cpu(), scores=scores.float().cpu())

        found = [inference.find(finder, batch.image[row : row + 1]) for row in range(len(batch.image))]
        size = tuple(batch.image.shape[2:])
        exclusive = self.traits.labels is None or self.traits.labels.exclusive
        painted = [self.painted(each, size, exclusive=exclusive) for each in found]
        return Segmentation(probabilities=torch.stack(painted), instances=found)

    def painted(self, objects: Objects, size: tuple[int, ...], *, exclusive: bool) -> Tensor:
        """The best score (K, H, W) of the boxes of each class that hold a pixel."""
        found = torch.zeros(len(self.traits.classes), *size)
        scores = objects.scores if objects.scores is not None else torch.ones(len(objects.classes))
        for box, score, number in zip(objects.boxes, scores.tolist(), objects.classes.tolist(), strict=True):
            place = (number, *pixels_of(box))
            found[place] = found[place].clamp(min=score)
        return found / found.sum(0, keepdim=True).clamp(min=1) if exclusive else found
