"""Vessels made by rule, for `synthesize`: nothing is trained, and the truth about them is exact."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from scantling.contract.capabilities import Generator
from scantling.contract.method import VESSEL
from scantling.contract.results import Generation
from scantling.contract.settings import Settings
from scantling.contract.step import Inference
from scantling.core.randomness import numpy_generator
from scantling.core.samples import Batch, Intensity, Preprocessing, Traits
from scantling.methods.catalogue import CARDS
from scantling.phantoms.angiogram import angiogram
from scantling.phantoms.forest import tree_vessels
from scantling.phantoms.fractal import Fractal, fractal_vessels
from scantling.phantoms.phantom import Phantom
from scantling.phantoms.retina import retina

COLOUR = ("red", "green", "blue")
ANY = Intensity(mean=0.5, std=0.25, low=0, high=1, minimum=0, maximum=1)
Side = Annotated[int, Field(ge=64, le=8192)]
Layers = tuple[np.ndarray | None, np.ndarray, dict[str, np.ndarray]]
"""An image (C, *S) in [0, 1] or None, its mask (*S), and what else is known of it, by name."""


class RuleSettings(Settings):
    """Settings of all rules.

    Attributes:
        size: the side of an image, in pixels.
    """

    size: Side = 512

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {"size": 64}}


class FractalSettings(RuleSettings):
    """Settings of `fractal-vessels`; all else is as in the authors' code (`procedural.fractal.Fractal`).

    Attributes:
        thickness: of the trunk on a canvas of 512 pixels; the authors' online variant has 10 to 20.
    """

    thickness: tuple[int, int] = (15, 20)


class TreeSettings(RuleSettings):
    """Settings of `vessel-trees`.

    Attributes:
        dimensions: 2 or 3; in 3-D `size` is the side of a cube.
    """

    dimensions: Literal[2, 3] = 2


class Rule(Generator):
    """What all rules share: image number n of a seed is always the same, however many are made."""

    Settings = RuleSettings
    settings: RuleSettings
    channels: tuple[str, ...] = ()

    @classmethod
    def blank(cls, settings: RuleSettings) -> Traits:
        """What it makes is of this size, and has one class."""
        dimensions: Literal[2, 3] = settings.dimensions if isinstance(settings, TreeSettings) else 2
        shape = (settings.size,) * dimensions
        return Traits(
            dimensions=dimensions,
            channels=cls.channels,
            labels=VESSEL,
            spacing=(1.0,) * dimensions,
            shape=shape,
            smallest=shape,
            intensity=(ANY,) * len(cls.channels),
        )

    @property
    def preprocessing(self) -> Preprocessing:
        """It takes no images."""
        return Preprocessing(dimensions=self.traits.dimensions)

    def generate(self, count: int, inference: Inference, given: Batch | None = None) -> Generation:
        """Masks (bool), images where the rule makes any, and what is known of them."""
        made = [
            self.make(numpy_generator(inference.seed, inference.stage, inference.number + number))
            for number in range(count)
        ]
        images = [torch.from_numpy(image) for image, _, _ in made if image is not None]
        return Generation(
            masks=torch.from_numpy(np.stack([mask for _, mask, _ in made]))[:, None],
            images=torch.stack(images) if images else None,
            fields={
                name: torch.from_numpy(np.stack([extras[name] for _, _, extras in made]))[:, None]
                for name in made[0][2]
            },
        )

    @abstractmethod
    def make(self, generator: np.random.Generator) -> Layers:
        """One of them."""


class FractalVessels(Rule):
    """Rectangles that branch into rectangles, warped (Ma et al., 2021, SSVS): the masks that DARL learns from."""

    card = CARDS["fractal-vessels"]
    Settings = FractalSettings
    settings: FractalSettings

    def make(self, generator: np.random.Generator) -> Layers:
        """A mask alone."""
        fractal = Fractal(thickness=self.settings.thickness)
        return None, fractal_vessels((self.settings.size,) * 2, generator=generator, fractal=fractal), {}


class VesselTrees(Rule):
    """Trees whose radii and angles follow Murray (1926), in 2-D and 3-D, with their centre lines."""

    card = CARDS["vessel-trees"]
    Settings = TreeSettings
    settings: TreeSettings

    def make(self, generator: np.random.Generator) -> Layers:
        """A mask and its centre line."""
        of = self.settings
        drawn = tree_vessels((of.size,) * of.dimensions, generator=generator).raster
        return None, drawn.mask, {"centre line": drawn.centre_line}


class AngiogramPhantoms(Rule):
    """X-ray angiograms: trees that absorb, over a chest."""

    card = CARDS["angiogram-phantoms"]
    channels = ("grey",)

    def make(self, generator: np.random.Generator) -> Layers:
        """A picture with its truth."""
        return _layers(angiogram((self.settings.size,) * 2, generator=generator))


class RetinaPhantoms(Rule):
    """Retinal photographs: arteries and veins that leave the disc, over uneven tissue."""

    card = CARDS["retina-phantoms"]
    channels = COLOUR

    def make(self, generator: np.random.Generator) -> Layers:
        """A picture with its truth."""
        return _layers(retina((self.settings.size,) * 2, generator=generator))


def _layers(phantom: Phantom) -> Layers:
    return phantom.image, phantom.mask, {"region": phantom.region, "centre line": phantom.centre_line}
