"""A convolutional network after VGG11 that says to which class an image belongs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.contract.capabilities import Classifier
from scantling.contract.method import Method
from scantling.contract.results import Classification
from scantling.contract.settings import Settings
from scantling.contract.stage import Game, Player, Stage
from scantling.contract.step import Inference, Step
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.core.streams import Augmentation, Stream
from scantling.diffusion.chain import exact
from scantling.methods.catalogue import CARDS
from scantling.networks.vgg import VGGTrunk, region_means

Positive = Annotated[int, Field(gt=0)]


class ClassifierSettings(Settings):
    """Settings of `classifier`: size, widths, batch, momentum, decay and dropout of VGG11; steps and `quick` are ours.

    Attributes:
        steps: of training.
        batch: images a step.
        rate: of learning, which falls by half a cosine (ours; in the paper by hand).
        optimiser: "sgd" has a momentum of 0.9.
        weight_decay: of all weights.
        average: decay of the averaged weights, which answer; 0 for none.
        size: the side of the square that every image is resampled to.
        width: channels of the first stage; each has twice as many as the one before, up to eight times.
        halvings: stages, each of which halves the image.
        pooled: the side of what the last map is averaged to.
        hidden: widths of the dense layers.
        dropout: after each of them, or before the last layer where there is none.
        flips, rotation, zoom, jitter: see `Augmentation`; jitter is of brightness and contrast. Ours.
    """

    steps: Positive = 20_000
    batch: Positive = 256
    rate: Annotated[float, Field(gt=0)] = 1e-2
    optimiser: Literal["adamw", "sgd"] = "sgd"
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    size: Positive = 224
    width: Positive = 64
    halvings: Positive = 5
    pooled: Positive = 7
    hidden: tuple[Positive, ...] = (4096, 4096)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    flips: bool = True
    rotation: Annotated[float, Field(ge=0)] = 10.0
    zoom: Annotated[float, Field(ge=0)] = 0.1
    jitter: Annotated[float, Field(ge=0)] = 0.2

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "steps": 800, "batch": 16, "rate": 1e-3, "optimiser": "adamw", "weight_decay": 1e-2, "average": 0.99,
            "size": 96, "width": 16, "pooled": 1, "hidden": (), "dropout": 0.2,
        },
        "tiny": {
            "steps": 4, "batch": 2, "rate": 1e-2, "optimiser": "adamw", "average": 0.9, "size": 16, "width": 4,
            "halvings": 2, "pooled": 1, "hidden": (4,), "dropout": 0.0,
        },
    }  # fmt: skip
    architecture: ClassVar[tuple[str, ...]] = ("width", "halvings", "pooled", "hidden")

    def resolve(self, traits: Traits) -> Self:
        """Refuse data of one class, and images too small for the halvings.

        Raises:
            SettingsError: one of both.
        """
        if len(traits.image_classes) < 2:
            raise SettingsError(
                f"classifier: found the image classes {list(traits.image_classes)}; expected two or more (labels.csv, "
                "or 'class' in a manifest)"
            )
        if self.size < 2**self.halvings:
            raise SettingsError(
                f"--settings.size: found {self.size}; {self.halvings} halvings need {2**self.halvings} pixels; take "
                "fewer with --settings.halvings"
            )
        return self

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """From how many images it learns which classes."""
        number = traits.slices().classified
        return (f"learns {', '.join(traits.image_classes)} from {number} images of {self.size} x {self.size}",)


class VGGClassifier(Classifier):
    """Image classes by a network after VGG11 (Simonyan and Zisserman, 2015), cross-entropy.

    Departures: the trunk has instance norm and halves by stride (`networks.vgg`). Volumes are read as slices, each of
    the class of its volume; the mean over slices answers.
    """

    card = CARDS["classifier"]
    Settings = ClassifierSettings
    settings: ClassifierSettings

    def __init__(
        self, settings: ClassifierSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None
    ) -> None:
        super().__init__(settings, traits, uses=uses)
        of = settings
        self.trunk = VGGTrunk(len(traits.channels), width=of.width, stages=of.halvings)
        widths = [self.trunk.widths[-1] * of.pooled**2, *of.hidden]
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Linear(a, b), nn.ReLU(), nn.Dropout(of.dropout)]
        layers += [] if of.hidden else [nn.Dropout(of.dropout)]
        self.head = nn.Sequential(*layers, nn.Linear(widths[-1], len(traits.image_classes)))

    @property
    def preprocessing(self) -> Preprocessing:
        """Squares, each channel by its own mean and deviation."""
        return Preprocessing(dimensions=2, normalise="image", size=(self.settings.size,) * 2)

    def stages(self) -> Sequence[Stage]:
        """One stage, one player."""
        of = self.settings
        player = Player(
            name="classifier",
            modules=(self.trunk, self.head),
            rate=of.rate,
            optimiser=of.optimiser,
            weight_decay=of.weight_decay,
            schedule="cosine",
            average=of.average,
        )
        augment = Augmentation(
            flips=of.flips, turns=False, rotation=of.rotation, zoom=of.zoom, brightness=of.jitter, contrast=of.jitter
        )
        stream = Stream(name="images", reads=("image", "image_class"), batch=of.batch, augment=augment)
        return (
            Stage(
                name="train", players=(player,), streams=(stream,), steps=of.steps, objectives=self.objectives
            ),
        )  # fmt: skip

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The cross-entropy of the image classes."""
        del step
        images = batch["images"]
        yield "classifier", {"cross_entropy": F.cross_entropy(self.logits(images.image), images.image_class)}

    def logits(self, image: Tensor) -> Tensor:
        """(B, K) of images (B, C, H, W)."""
        return self.maps_and_logits(image)[1]

    def maps_and_logits(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """The map of each stage, and the logits that follow from the last one."""
        maps = self.trunk.maps(image)
        pooled = region_means(maps[-1], self.settings.pooled)
        return maps, exact(self.head(torch.flatten(pooled, 1)))

    def classify(self, batch: Batch, inference: Inference) -> Classification:
        """The probabilities of the image classes."""
        del inference
        return Classification(probabilities=self.logits(batch.image).softmax(1))
