"""Images of masks by diffusion: a denoiser whose decoder is led by the label map, and guidance without a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from scantling.contract.method import Method
from scantling.contract.options import GenerateOptions
from scantling.contract.results import Generation
from scantling.contract.stage import Game, Player, Stage
from scantling.contract.step import Inference, Step
from scantling.core.errors import DataError, SettingsError
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch, Traits
from scantling.core.streams import Augmentation, Stream
from scantling.diffusion.chain import exact
from scantling.diffusion.schedules import timesteps
from scantling.methods.catalogue import CARDS
from scantling.methods.features.image_diffusion import ImageDiffusion, shown
from scantling.methods.features.pretrain_settings import Positive, PretrainSettings
from scantling.networks.denoiser import Denoiser


class MaskToImageSettings(PretrainSettings):
    """Settings of `mask-to-image`: those of `diffusion-pretrain`, and

    Attributes:
        dropped: the share of training images whose label map is taken away, so that the network also learns images
            without one (Ho and Salimans, 2022).
        guidance: s of the guidance, unless options say otherwise: 1 follows the label map, 0 nothing.
        hidden: channels in which each norm of the decoder reads the label map.
    """

    batch: Positive = 4
    dropped: Annotated[float, Field(ge=0, lt=1)] = 0.2
    guidance: Annotated[float, Field(ge=0)] = 2.0
    hidden: Positive = 128

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {**PretrainSettings.presets["quick"], "hidden": 32},
        "tiny": {**PretrainSettings.presets["tiny"], "size": 8, "widths": (4, 8), "hidden": 4, "dropped": 0.5},
    }
    architecture: ClassVar[tuple[str, ...]] = (*PretrainSettings.architecture, "hidden")
    led_by: ClassVar[str] = "mask"
    """What it learns the images of."""

    def resolve(self, traits: Traits) -> Self:
        """Refuse data without classes, and weights of a network without label maps."""
        self.check_classes(traits)
        if self.weights is not None:
            raise SettingsError("--settings.weights: guided-diffusion's networks know no label map; leave it out")
        return super().resolve(traits)

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """How many labelled images it learns from, and how large they are."""
        height, width = self.shape(traits)
        cut = "in patches" if self.patch is not None else "on a grid"
        return (
            f"learns from {traits.slices().labelled} images, each with its {self.led_by}, {cut} of {height} x {width}",
        )

    def check_classes(self, traits: Traits) -> None:
        """Make sure that there are masks to learn from.

        Raises:
            SettingsError: there are none.
        """
        if not traits.classes:
            raise SettingsError("mask-to-image: found no classes; the data need masks")


class GuidedOptions(GenerateOptions):
    """How cases are made.

    Attributes:
        guidance: s, how far the answer is moved from what the network says without a label map through what it says
            with one; None: as the model was trained to be.
    """

    guidance: Annotated[float, Field(ge=0)] | None = None


class MaskToImage(ImageDiffusion):
    r"""A semantic diffusion model (Wang et al., 2022) with guidance without a classifier (Ho and Salimans, 2022).

    .. math:: \hat\epsilon = \epsilon(x_t, \emptyset) + s (\epsilon(x_t, y) - \epsilon(x_t, \emptyset))

    The network is that of `diffusion-pretrain`, whose middle and decoder are normed as the label map y says; y never
    enters the encoder. It has a plane of 0 and 1 for each class, and one that says that there is no map: ∅ is 0 in all
    classes and 1 there, since 0 in all classes is also an image of background. The variance, where it is learned, is
    that with the map. Pixels that nobody knows belong to no class, and teach nothing.
    """

    card = CARDS["mask-to-image"]
    Settings = MaskToImageSettings
    settings: MaskToImageSettings
    generate_with = GuidedOptions
    guidance: float | None = None
    """s while images are made; None while the network learns."""

    def __init__(
        self, settings: MaskToImageSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None
    ) -> None:
        super().__init__(settings, traits, uses=uses)
        self.network = Denoiser(
            self.made, self.made * (2 if settings.learned_variance else 1), widths=settings.widths,
            blocks=settings.blocks, attention=settings.attention, head_channels=settings.head_channels,
            resample=settings.resample, scale_shift=settings.scale_shift, dropout=settings.dropout,
            labels=self.planes + 1, hidden=settings.hidden,
        )  # fmt: skip

    @property
    def planes(self) -> int:
        """The planes of a label map, without the one that says that there is none."""
        return len(self.traits.classes)

    @property
    def reads(self) -> tuple[str, ...]:
        """The fields that training reads."""
        return ("image", "mask")

    def label_map(self, batch: Batch) -> Tensor:
        """The label map (B, planes, H, W) of a batch, 0 and 1."""
        mask, classes = batch.mask, len(self.traits.classes)
        if self.traits.labels is not None and not self.traits.labels.exclusive:
            return (mask == 1).to(self.dtype)
        return torch.cat([mask == number for number in range(1, classes + 1)], 1).to(self.dtype)

    def with_flag(self, planes: Tensor, without: Tensor | None = None) -> Tensor:
        """The condition (B, planes + 1, H, W) of label maps, of which those `without` (B,) bool are taken away."""
        flag = torch.zeros_like(planes[:, :1]) if without is None else without.to(planes).view(-1, 1, 1, 1)
        return torch.cat([planes * (1 - flag), flag.expand_as(planes[:, :1])], 1)

    def stages(self) -> Sequence[Stage]:
        """One stage on all training images with masks."""
        of = self.settings
        player = Player(
            name="denoiser", modules=(self.network,), rate=of.rate, schedule=of.schedule_of_rate, clip=1.0,
            average=of.average,
        )  # fmt: skip
        stream = Stream(
            name="images", reads=self.reads, batch=of.batch, patch=of.shape(self.traits),
            augment=Augmentation(flips=of.flips, turns=of.turns),
        )  # fmt: skip
        return (
            Stage(name="train", players=(player,), streams=(stream,), steps=of.steps, objectives=self.objectives),
        )  # fmt: skip

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The terms of all images, of which some are learned without their label map."""
        yield "denoiser", self.led_denoising(batch["images"], step, dropped=self.settings.dropped)

    def led_denoising(self, images: Batch, step: Step, *, dropped: float) -> dict[str, Tensor]:
        """The terms of images with their label maps, of which the share `dropped` is taken away."""
        coins = step.rand("dropped", like=images.image.new_empty(len(images.image), 1))[:, 0]
        condition = self.with_flag(self.label_map(images), coins < dropped)
        known = (images.mask != IGNORE).all(1, keepdim=True) if "mask" in images.fields else None
        return self.denoising(images.image, step, beside=condition, known=known)

    def said(self, noisy: Tensor, timestep: Tensor, beside: Tensor | None) -> Tensor:
        """What the network answers, led by the condition `beside`; while images are made, guided."""
        if beside is None:
            raise SettingsError("mask-to-image answers about images with a label map")
        led: Tensor = self.network(noisy.to(self.dtype), timestep, labels=beside)
        if self.guidance is None or self.guidance == 1:
            return led
        nothing = self.with_flag(beside[:, :-1], torch.ones(len(beside), dtype=torch.bool, device=beside.device))
        free: Tensor = self.network(noisy.to(self.dtype), timestep, labels=nothing)
        noise = free[:, : self.made] + self.guidance * (led[:, : self.made] - free[:, : self.made])
        return torch.cat([noise, led[:, self.made :]], 1)

    def generate(self, count: int, inference: Inference, given: Batch | None = None) -> Generation:
        """An image for each mask that is given, by DDIM (Song et al., 2021).

        Raises:
            SettingsError: none is given.
            DataError: a mask is unknown in places.
        """
        if given is None:
            raise SettingsError("mask-to-image makes images of masks; name a data set that has some with --from DATA")
        if bool((given.mask == IGNORE).any()):
            raise DataError("a mask of --from is unknown in places; expected one that says of every pixel what it is")
        planes, options = self.label_map(given), self.generate_options(inference.options)
        walked = timesteps(self.settings.chain, options.steps or 1, spacing="trailing")
        like, images = planes[:1, :1].expand(-1, self.made, -1, -1), list[Tensor]()
        for row in range(count):
            start = replace(inference, number=inference.number + row).randn("start", like=like)
            images.append(self.painted(start, planes[row : row + 1], walked, getattr(options, "guidance", None)))
        return Generation(images=torch.cat(images), masks=planes.bool(), normalised=True)

    def painted(self, start: Tensor, planes: Tensor, walked: Sequence[int], guidance: float | None = None) -> Tensor:
        """The images (B, C, H, W) in [-1, 1] that noise `start` becomes under label maps (B, planes, H, W)."""
        self.guidance = self.settings.guidance if guidance is None else guidance
        try:
            return exact(self.walk(start, walked, beside=self.with_flag(planes)))
        finally:
            self.guidance = None

    def pictures(self, batch: Batch, inference: Inference) -> Mapping[str, Tensor]:
        """What it makes of the mask of an image, where there is one."""
        if "mask" not in batch.fields:
            return {}
        planes = self.label_map(batch)[:1]
        walked = timesteps(self.settings.chain, self.settings.sampling_steps, spacing="trailing")
        start = inference.randn("start", like=planes[:, :1].expand(-1, self.made, -1, -1))
        made = self.painted(start, planes, walked)
        seen = 2 * planes.amax(1, keepdim=True).expand(-1, self.made, -1, -1) - 1
        row = torch.cat([batch.image[:1], seen.to(batch.image.dtype), made.to(batch.image.dtype)], 3)
        return {"An image, its mask, and what the model makes of the mask": shown(row)}
