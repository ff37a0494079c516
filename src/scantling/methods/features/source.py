"""Where heads read their features: a model that is named, its network with random weights, a pyramid, a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field
from torch import nn

from scantling.contract.capabilities import Encoder
from scantling.contract.method import Method
from scantling.contract.settings import Names, Settings, several
from scantling.core.errors import SettingsError
from scantling.core.samples import Preprocessing, Traits
from scantling.methods.features.diffusers_folder import DiffusersFolder
from scantling.methods.features.factories import made_by, name_factory
from scantling.methods.features.pretrain import DiffusionPretrain
from scantling.methods.features.pyramid import pyramid
from scantling.methods.features.reader import (
    FeatureReader,
    block_like,
    encoder_read,
    network_read,
    nothing,
    redraw,
)
from scantling.methods.features.sliding import Read

Positive = Annotated[int, Field(gt=0)]


Numbers = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(several)]
ENCODER, RANDOM, PYRAMID, NONE = "encoder", "random", "pyramid", "none"


class FeatureSettings(Settings):
    """Where features are read; the rest of the settings is that of a head.

    Attributes:
        features: "encoder": of the run that `--use encoder=RUN` names; "random": of the same network with random
            weights; "pyramid": colours and places without a network; MODULE:FACTORY, what makes a network of yours; or
            a folder with a diffusion model of yours as diffusers saves it.
        blocks: of the decoder of a diffusion model, from 0, the coarsest; empty: those of the paper, in another network
            the blocks at the same place; of a folder of diffusers all.
        timesteps: at which it looks at an image; empty: that of the paper.
        layers: the features of another encoder, by name; empty: all. Of a network of yours its modules.
        size: the side of the square that images are resampled to where no encoder says it.
        longest: the longest side of images instead.
    """

    features: str = ENCODER
    blocks: Numbers = ()
    timesteps: Numbers = ()
    layers: Names = ()
    size: Positive | None = 256
    longest: Positive | None = None

    architecture: ClassVar[tuple[str, ...]] = ("features", "blocks", "timesteps", "layers", "size", "longest")
    sources: ClassVar[tuple[str, ...]] = (ENCODER, RANDOM, PYRAMID)

    @classmethod
    def preset(cls, name: str, changes: Mapping[str, Any] | None = None) -> Self:
        """See `Settings.preset`; of a size and a longest side that of the user counts."""
        given = changes or {}
        other = {"size": "longest", "longest": "size"}
        free = {other[key]: None for key in other if given.get(key) is not None and other[key] not in given}
        return super().preset(name, {**free, **given})

    def resolve(self, traits: Traits) -> Self:
        """Refuse a source that is none; images are not enlarged to a longest side."""
        if self.features not in self.sources and not _is_folder(self.features):
            name_factory(self.features, others=f"{', '.join(self.sources)}, a folder of diffusers that is there, ")
        if (self.size is None) == (self.longest is None):
            raise SettingsError(
                f"--settings.size {self.size} and --settings.longest {self.longest}: expected one of them"
            )
        longest = None if self.longest is None else min(self.longest, max(traits.slices().shape))
        return self.model_copy(update={"longest": longest})


class Source:
    """Where the features of a method are read, as its settings and the model that it uses say.

    Args:
        blocks, timestep: those of the paper: of the 18 blocks of guided-diffusion's network, of 1000 steps.

    Attributes:
        network: of the user, which the method must register to save it; None elsewhere.
        chosen: the blocks and the timesteps that are read of a diffusion model, for the settings; empty elsewhere.

    Raises:
        SettingsError: the settings and the model do not belong together, or a block, a timestep or a layer is missing.
    """

    def __init__(
        self,
        settings: FeatureSettings,
        traits: Traits,
        uses: Mapping[str, Method],
        *,
        name: str,
        blocks: tuple[int, ...],
        timestep: int,
    ) -> None:
        self.network: nn.Module | None = None
        self.chosen: dict[str, tuple[int, ...]] = {}
        size = None if settings.size is None else (settings.size, settings.size)
        self.preprocessing = Preprocessing(dimensions=2, normalise="unit", size=size, longest=settings.longest)
        of, encoder, channels = settings.features, uses.get("encoder"), len(traits.channels)
        if of not in (ENCODER, RANDOM):
            if encoder is not None:
                raise SettingsError(f"--settings.features {of}: reads no model; leave out --use encoder")
            read: Read = nothing if of == NONE else pyramid
            if _is_folder(of):
                self.network = folder = DiffusersFolder(Path(of)).eval()
                times = settings.timesteps or (timestep * folder.process.steps // 1000,)
                self.chosen = {"timesteps": times}
                read = folder.read(settings.blocks, times)
            elif settings.blocks or settings.timesteps:
                raise SettingsError(f"--settings.features {of}: has no blocks and timesteps; leave them out")
            elif of not in (NONE, PYRAMID):
                self.network = made_by(of).eval()
                read = network_read(self.network, settings.layers, name=of)
            self.reader = FeatureReader(read, channels=channels, network=self.network)
            return
        if not isinstance(encoder, Encoder):
            raise SettingsError(
                f"{name} reads the features of a model: name its run with --use encoder=RUN, or give "
                "--settings.features pyramid or MODULE:FACTORY"
            )
        check_channels(encoder, traits, name=name)
        if of == RANDOM:
            redraw(encoder)
        self.preprocessing = encoder.preprocessing
        options: dict[str, Any] = {}
        if isinstance(encoder, DiffusionPretrain):
            own = tuple(dict.fromkeys(block_like(encoder.network, block) for block in blocks))
            scaled = timestep * encoder.settings.chain // 1000
            options = {"blocks": settings.blocks or own, "timesteps": settings.timesteps or (scaled,)}
            self.chosen = dict(options)
        elif settings.blocks or settings.timesteps:
            raise SettingsError(
                f"--settings.blocks, --settings.timesteps: {encoder.card.name} has none; name features with "
                "--settings.layers"
            )
        read = encoder_read(encoder, options, layers=settings.layers)
        self.reader = FeatureReader(read, channels=channels, network=encoder)


class OnFeatures(Method):
    """A method that reads the frozen features of a `Source`, which is part of its model."""

    settings: FeatureSettings

    def __init__(
        self,
        settings: FeatureSettings,
        traits: Traits,
        *,
        uses: Mapping[str, Method] | None,
        blocks: tuple[int, ...],
        timestep: int,
    ) -> None:
        encoder = (uses or {}).get("encoder")
        if encoder is not None:  # it must see its images in the units that it was trained in
            known = encoder.traits.only(encoder.channels)
            units = {name: getattr(known, name) for name in ("intensity", "foreground_intensity")}
            traits = traits.model_copy(update=units)
        super().__init__(settings, traits, uses=uses)
        source = Source(settings, traits, uses or {}, name=self.card.name, blocks=blocks, timestep=timestep)
        self.settings = settings.model_copy(update=source.chosen)
        self.network, self.reader, self._recipe = source.network, source.reader, source.preprocessing

    @property
    def preprocessing(self) -> Preprocessing:
        """That of the encoder; else planes of one size or longest side, each channel in [-1, 1]."""
        return self._recipe


def _is_folder(features: str) -> bool:
    return ":" not in features and Path(features).is_dir()


def check_channels(encoder: Encoder, traits: Traits, *, name: str) -> None:
    """Make sure that an encoder takes images such as the data have.

    Raises:
        SettingsError: it was trained on other channels.
    """
    found, wanted = encoder.channels, traits.channels
    if len(found) != len(wanted) or encoder.preprocessing.dimensions != 2:
        raise SettingsError(
            f"{name}: the model to build on ({encoder.card.name}) was trained on {encoder.preprocessing.dimensions}-D "
            f"images with the channels {', '.join(found)}; the data have {', '.join(wanted)}; name a model for such "
            "data with --use encoder=RUN"
        )
