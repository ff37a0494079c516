"""Registration by a network alone, learnt from pairs of images without any label: VoxelMorph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from scantling import planning
from scantling.contract.capabilities import Registrar
from scantling.contract.method import Method
from scantling.contract.options import InferenceOptions, RegisterOptions
from scantling.contract.results import Registration
from scantling.contract.stage import Game, Player, Stage
from scantling.contract.step import Inference, Step
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.core.streams import Partner, Stream
from scantling.methods.catalogue import CARDS
from scantling.methods.registration.on_pairs import affine_between, after_affine, before_affine, displaced, refined
from scantling.methods.registration.pairs import PairOptions, PairSettings, Positive
from scantling.networks.registration import RegistrationNetwork
from scantling.warping import pixel_grid, warp


class RegistrationSettings(PairSettings):
    """Settings of `registration`. Loss and network are those of `deep-atlas`, whose control it is.

    Attributes:
        steps: of training; those that move the registrar in DeepAtlas' 120 epochs.
        size: the shape that every image is resampled to; None: that of the median image, shrunk to `voxels` or, of
            pictures, `pixels`.
        voxels, pixels: at most so many.
    """

    steps: Positive = 4800
    rate: Annotated[float, Field(gt=0)] = 5e-4
    size: tuple[Positive, ...] | None = None
    voxels: Positive = 96 * 96 * 96
    pixels: Positive = 256 * 256

    architecture: ClassVar[tuple[str, ...]] = ("registration_widths", "size", "shrink", "diffeomorphic")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "steps": 1000,
            "rate": 4e-3,
            "window": 5,
            "smoothness": 50.0,
            "refine": 50,
            "voxels": 48 * 48 * 48,
            "pixels": 128 * 128,
            "registration_widths": (8, 16, 32, 32),
            "shrink": 2,
            "pair_rotation": 10.0,
            "pair_zoom": 0.1,
            "pair_shift": 0.05,
        },
        "tiny": {
            "steps": 4,
            "affine": False,
            "similarity": "squares",
            "smoothness": 0.01,
            "rate": 2e-2,
            "voxels": 12 * 12 * 12,
            "pixels": 24 * 24,
            "registration_widths": (4, 8),
            "pair_shift": 0.02,
        },
    }

    def resolve(self, traits: Traits) -> Self:
        """Decide the size.

        Raises:
            SettingsError: there is only one image, or the size has not one number for each axis.
        """
        check_pairs(traits)
        if self.size is not None and len(self.size) != traits.dimensions:
            raise SettingsError(
                f"--settings.size: found {len(self.size)} numbers, expected one for each of the {traits.dimensions} "
                "axes of the images"
            )
        return self.model_copy(update={"size": self.grid(traits).shape})

    def grid(self, traits: Traits) -> planning.Grid:
        """The grid that is given, or planned."""
        return planning.whole_image(traits, self.voxels if traits.dimensions == 3 else self.pixels, shape=self.size)

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """On which grid pairs are seen."""
        return (whole_images(self.grid(traits)),)


def check_pairs(traits: Traits) -> None:
    """Make sure that there are two images to pair.

    Raises:
        SettingsError: there are not.
    """
    if traits.labelled + traits.unlabelled == 1:
        raise SettingsError("found 1 training image; expected 2 at least, of which one is warped onto the other")


def whole_images(grid: planning.Grid) -> str:
    """A sentence on the grid that whole images are resampled to."""
    shrunk = f", {grid.shrink:.1f}x smaller than the median one" if grid.shrink > 1.01 else ""
    return f"whole images, resampled to {' x '.join(map(str, grid.shape))}{shrunk}"


class NetworkRegistration(Registrar):
    """A network registers a moving image onto a fixed one in one pass (Balakrishnan et al., 2019).

    The loss of a pair is one minus the local correlation of the warped image and the fixed one, plus the bending energy
    of the displacement. Departures: the bending energy is DeepAtlas' (VoxelMorph's is the squared gradient), and see
    `networks.RegistrationNetwork`.
    """

    card = CARDS["registration"]
    Settings = RegistrationSettings
    register_with = PairOptions
    settings: RegistrationSettings

    def __init__(
        self, settings: RegistrationSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None
    ) -> None:
        super().__init__(settings, traits, uses=uses)
        self.network = settings.pair_network(traits, settings.grid(traits))

    @property
    def preprocessing(self) -> Preprocessing:
        """Whole images of one size, each channel in units of its own deviation."""
        return Preprocessing(
            dimensions=self.traits.dimensions, normalise="image", size=self.settings.grid(self.traits).shape
        )

    def stages(self) -> Sequence[Stage]:
        """One stage on pairs of any two training images."""
        of, grid = self.settings, self.settings.grid(self.traits)
        stream = Stream(
            name="pairs", reads=("image",), batch=of.pairs, patch=grid.shape,
            companions=(Partner("moving", other_subject=False),), augment=of.pair_changes(grid.spacing),
        )  # fmt: skip
        player = Player(name="registrar", modules=(self.network,), rate=of.rate, schedule="cosine")
        return (Stage(name="train", players=(player,), streams=(stream,), steps=of.steps, objectives=self.objectives),)

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The loss of a pair."""
        fixed = batch["pairs"].image
        moving = self.settings.shifted(batch["pairs"].companions["moving"], step).image
        vectors = self.network.vectors(fixed, moving)
        yield "registrar", self.settings.pair_terms(
            fixed, moving, vectors=vectors, displacement=self.network.displacement(vectors),
            spacing=self.settings.grid(self.traits).spacing,
        )  # fmt: skip

    def register_options(self, options: RegisterOptions) -> RegisterOptions:
        """The affine map and the steps of refining as the settings say, unless they are asked for."""
        return self.settings.filled_in(options)

    def register(self, fixed: Batch, moving: Batch, inference: Inference) -> Registration:
        """The network's one pass, after an affine map and refined on the pair where the settings say so."""
        spacing = self.settings.grid(self.traits).spacing
        return registered(
            self.network, fixed, moving, settings=self.settings, spacing=spacing, options=inference.options
        )


def registered(
    network: RegistrationNetwork,
    fixed: Batch,
    moving: Batch,
    *,
    settings: PairSettings,
    spacing: tuple[float, ...],
    options: InferenceOptions,
) -> Registration:
    """What a `RegistrationNetwork` answers on two batches: after an affine map, refined on the pairs themselves.

    Where the network gives a velocity, the flow of the opposite one is the inverse.
    """
    asked = settings.filled_in(options)
    target, source, maps = fixed.image, moving.image, None
    if asked.affine:
        grid = pixel_grid(tuple(target.shape[2:]), like=target)
        maps = affine_between(target, source)
        source = warp(source, displaced(maps.to(target), grid) - grid, outside="edge")
    vectors = network.vectors(target, source)
    if asked.refine:

        def loss(moved: Tensor) -> Tensor:
            terms = settings.pair_terms(
                target, source, vectors=moved, displacement=network.displacement(moved), spacing=spacing
            )
            return len(target) * torch.stack([*terms.values()]).sum()  # of each pair, so that a batch changes nothing

        vectors = refined(vectors, loss, steps=asked.refine)
    displacement = network.displacement(vectors)
    inverse = network.displacement(-vectors) if network.flow else None
    if maps is None:
        return Registration(displacement=displacement, inverse=inverse)
    return Registration(
        displacement=after_affine(maps, displacement),
        inverse=None if inverse is None else before_affine(maps, inverse),
    )
