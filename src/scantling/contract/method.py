"""What a method is, and what it answers.

A method is its paper in one file. It says how it takes its images (`intake`), how it is trained (`stages`) and what it
answers (any of `segment`, `generate`, `classify`, `register`). Training and inference drive every method through this
room alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from scantling.contract.card import Card
from scantling.contract.results import Generation, Segmentation
from scantling.contract.settings import Settings
from scantling.contract.stage import Stage
from scantling.contract.step import Inference, InferenceOptions
from scantling.core.case import Labels
from scantling.core.errors import SettingsError
from scantling.core.randomness import seed_of
from scantling.core.samples import Batch, Preprocessing, Traits

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
"""By their place how many of the last axes they drop together."""


VESSEL = Labels(names=("vessel",), values=((255, 1),))
"""The one class of a method that reads no label, where the data do not name theirs."""


Dropout = nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d


class Method(nn.Module, ABC):
    """A published system over data with given traits. Subclasses name their card and their settings.

    The constructor builds the networks and reads nothing; `base` is the model that it is built on, where its
    card says so. What it can do, it says by its bases: `Segmenter` and `Generator`, which are what
    its card gives.
    """

    card: ClassVar[Card]
    Settings: ClassVar[type[Settings]]
    settings: Any

    def __init__(self, settings: Any, traits: Traits, *, base: Method | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.traits = traits
        self.base = base

    @property
    @abstractmethod
    def intake(self) -> Preprocessing:
        """How it takes its images."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of its weights, in which it is given images; float32 if it has none."""
        return next((parameter.dtype for parameter in self.parameters()), torch.float32)

    @property
    def hand_drawn(self) -> int:
        """How many masks drawn by people its streams read, or stand behind synthetic ones or its first weights."""
        reading = [stream for stage in self.stages() for stream in stage.streams if {"mask", "masks"} & {*stream.reads}]
        of_images = any("image" not in stream.without for stream in reading)
        alone = any("image" not in stream.reads for stream in reading)
        read = of_images * self.traits.hand_drawn + alone * self.traits.hand_drawn_alone
        return max(read, self.traits.hand_drawn_before)

    def stages(self) -> Sequence[Stage]:
        """How it is trained; none for a filter or a rule."""
        return ()

    def pictures(self, batch: Batch, inference: Inference) -> Mapping[str, Tensor]:
        """What it shows of itself in the report on one image, by caption: (3, H, W) in [0, 1]; nothing by default."""
        del batch, inference
        return {}


class Segmenter(Method):
    """A method that segments images."""

    draws: ClassVar[bool] = False
    """Whether `segment` answers with as many samples as are asked for."""

    @abstractmethod
    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        """The probabilities of the classes for the images of a batch, or samples of them, which `fusion` makes one."""

    def asked(self, asked: InferenceOptions) -> InferenceOptions:
        """What is asked, with all that the method decides filled in; a method that draws no samples answers once.

        Such a method can still be asked for samples: those of its dropout, left on (Gal and Ghahramani, 2016).

        Raises:
            SettingsError: the method cannot do it.
        """
        if asked.steps is not None:
            raise SettingsError(f"--sampling-steps: {self.card.name} runs no chain that could have steps; leave it out")
        if (asked.samples or 1) > 1 and not dropouts(self):
            way = "train it with --settings.dropout 0.1, or " if "dropout" in type(self.settings).model_fields else ""
            raise SettingsError(
                f"--samples {asked.samples}: this {self.card.name} has no dropout, so that all its answers to an image "
                f"are one; {way}name runs with other seeds with --ensemble"
            )
        return asked.model_copy(update={"samples": asked.samples or 1, "fuse": asked.fuse or "mean"})

    def calls(self, asked: InferenceOptions) -> int:
        """Passes through the network that an answer takes, for what `asked` returned; all tiles of a canvas are one."""
        return (asked.samples or 1) * (asked.steps or 1)

    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """What a method that is built on this one reads, in one pass over an image or a tile (B, C, *S).

        Returns:
            The last feature map (B, F, *S) and the probabilities (B, K, *S) that are read from it.

        Raises:
            SettingsError: the method hands out no features.
        """
        raise SettingsError(f"{self.card.name} hands out no features that another method could be built on")


class Generator(Method):
    """A method that makes masks, or images with their masks."""

    @abstractmethod
    def generate(self, count: int, inference: Inference) -> Generation:
        """`count` cases, from number `inference.number` on."""

    @classmethod
    def blank(cls, settings: Any) -> Traits:
        """The traits of what a rule makes, for a method that needs no data and is not trained.

        Raises:
            SettingsError: the method has to be trained first.
        """
        del settings
        raise SettingsError(f"{cls.card.name} has to be trained first; name its run")


M = TypeVar("M", bound=Method)


def dropouts(network: nn.Module) -> list[Dropout]:
    """The layers of a network that drop something at random while they are trained."""
    return [layer for layer in network.modules() if isinstance(layer, DROPOUTS) and layer.p > 0]


def build(kind: type[M], settings: Settings, traits: Traits, *, seed: int = 0, base: Method | None = None) -> M:
    """A method with freshly drawn weights, a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "weights"))
        return kind(settings, traits, base=base)
