"""Vessels drawn by diffusion: a model that has seen masks paints new ones along sketches that a rule draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from scantling.contract.method import Method
from scantling.contract.stage import Game, Player, Stage, Visit
from scantling.contract.step import Inference, Step
from scantling.core.errors import SettingsError
from scantling.core.fields import IGNORE
from scantling.core.randomness import numpy_generator
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.core.streams import Augmentation, Stream
from scantling.diffusion.chain import exact
from scantling.diffusion.gaussian import GaussianProcess, Prediction
from scantling.diffusion.samplers import Guess
from scantling.diffusion.schedules import Schedule, betas
from scantling.methods.catalogue import CARDS
from scantling.methods.generation.sketched_masks import Positive, Share, SketchedMasks, SketchSettings
from scantling.methods.mask_diffusion.chains import mean_of_known
from scantling.methods.mask_diffusion.gaussian_masks import RANGE
from scantling.networks.control import ControlNet
from scantling.networks.denoiser import Denoiser
from scantling.phantoms.sketch import sketch_of


class VesselControlNetSettings(SketchSettings):
    """Settings of `vessel-controlnet`. The source tells the idea and no number: all of them are ours.

    `patch` is also the side of what is read of a mask; it is resolved to what the masks have room for. By area it is
    reduced to `size`.

    Attributes:
        steps: of training, in both stages together.
        control: the share of them that trains the control.
        batch: masks a step.
        rate: of the learning, at its highest; one cycle a stage.
        average: decay of the averaged weights, which answer.
        fold: the networks see every block of fold x fold pixels as the channels of one.
        chain: T, steps of the noise process.
        schedule: of its noise.
        predicts: what the network says: the noise, the clean mask, or the velocity.
        widths: channels of each level of the denoiser; see `Denoiser` for `blocks`, `attention` and `heads`.
        deleted: probability that a branch is missing from a sketch in training.
        jitter: deviation of its places, in pixels of `size`.
    """

    steps: Annotated[int, Field(ge=2)] = 150_000
    control: Annotated[float, Field(gt=0, lt=1)] = 0.6
    batch: Positive = 16
    rate: Annotated[float, Field(gt=0)] = 2e-4
    average: Annotated[float, Field(ge=0, lt=1)] = 0.999
    fold: Positive = 2
    chain: Annotated[int, Field(ge=2)] = 1000
    schedule: Schedule = "linear"
    predicts: Prediction = "x0"
    widths: Annotated[tuple[Positive, ...], Field(min_length=1)] = (64, 128, 256)
    blocks: Positive = 2
    attention: tuple[Annotated[int, Field(ge=0)], ...] = ()
    heads: Positive = 1
    deleted: Share = 0.05
    jitter: Annotated[float, Field(ge=0)] = 0.5

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "steps": 1600,
            "batch": 4,
            "rate": 1e-3,
            "average": 0.99,
            "fold": 4,
            "widths": (32, 64, 128),
            "blocks": 1,
            "sampling_steps": 15,
        },
        "tiny": {
            "steps": 4,
            "control": 0.5,
            "batch": 2,
            "rate": 1e-2,
            "average": 0.9,
            "patch": 32,
            "size": 16,
            "fold": 2,
            "chain": 20,
            "predicts": "v",
            "widths": (8, 8),
            "blocks": 1,
            "sampling_steps": 3,
            "attempts": 2,
            "least": 2,
        },
    }

    @property
    def divisor(self) -> int:
        """What folds and levels divide the side of a reduced mask by."""
        return int(self.fold * 2 ** (len(self.widths) - 1))

    def resolve(self, traits: Traits) -> Self:
        """Fit the patch into the masks, and refuse what cannot be painted."""
        if len(traits.classes) != 1:
            raise SettingsError(
                f"vessel-controlnet paints masks of one class; the data have {len(traits.classes)} "
                f"({', '.join(traits.classes)}); merge them in a manifest"
            )
        if self.sampling_steps > self.chain:
            raise SettingsError(
                f"--settings.sampling_steps {self.sampling_steps}: the chain has {self.chain} steps; take 1 to "
                f"{self.chain}"
            )
        patch = min(self.patch, *traits.slices().smallest)
        size = min(self.size, patch) // self.divisor * self.divisor
        if not size:
            raise SettingsError(
                f"--settings.widths: {len(self.widths)} levels and --settings.fold {self.fold} need masks of "
                f"{self.divisor} pixels a side; found {patch}; take fewer"
            )
        return self.model_copy(update={"patch": patch, "size": size})


class VesselControlNet(SketchedMasks):
    r"""Vessel masks by a diffusion model (Ho et al., 2020) under the control (Zhang et al., 2023) of a sketch.

    First a denoiser learns masks, and no condition. Then it stays as it is, and a `ControlNet` beside it learns to
    have it paint a mask c along a sketch of c: the centre line without its thickness, some branches deleted, the rest
    displaced. A new mask is painted along the centre lines of a tree that a rule grew.

    Masks are seen as the share of each pixel that is covered, from -1 to 1, so that a line thinner than a pixel is
    not lost. The idea is that of a student's report on DARL, which fine-tuned Stable Diffusion with ControlNet and
    gives neither its condition nor its data: everything beyond the two names is ours.
    """

    card = CARDS["vessel-controlnet"]
    Settings = VesselControlNetSettings
    settings: VesselControlNetSettings

    def __init__(
        self, settings: VesselControlNetSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None
    ) -> None:
        super().__init__(settings, traits, uses=uses)
        self.process = GaussianProcess(betas(settings.schedule, settings.chain))
        channels = settings.fold**2
        self.denoiser = Denoiser(
            channels,
            channels,
            widths=settings.widths,
            blocks=settings.blocks,
            attention=settings.attention,
            heads=settings.heads,
        )
        self.control = ControlNet(self.denoiser, hints=channels)

    @property
    def preprocessing(self) -> Preprocessing:
        """It reads masks alone."""
        return Preprocessing(dimensions=2, normalise="none")

    def stages(self) -> Sequence[Stage]:
        """First masks without a condition, then the control of a denoiser that stays as it is."""
        of = self.settings
        controlled = min(max(1, round(of.steps * of.control)), of.steps - 1)
        masks = Stream(
            name="masks",
            reads=("mask",),
            without=("image",) if self.traits.masks_alone else (),
            batch=of.batch,
            patch=(of.patch, of.patch),
            augment=Augmentation(),
        )

        def player(name: str, module: torch.nn.Module) -> Player:
            return Player(
                name=name, modules=(module,), rate=of.rate, schedule="one-cycle", clip=1.0, average=of.average
            )

        return (
            Stage(
                name="masks",
                players=(player("denoiser", self.denoiser),),
                streams=(masks,),
                steps=of.steps - controlled,
                objectives=self.unconditional,
            ),
            Stage(
                name="control",
                players=(player("control", self.control),),
                streams=(masks,),
                steps=controlled,
                objectives=self.conditional,
                prepare=self.begin_control,
            ),
        )

    def unconditional(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The squared error of the denoiser."""
        noisy, timestep, target = self._noised(self._folded(2 * self._covered(batch["masks"]) - 1), step)
        yield "denoiser", {"denoising": self._error(self.denoiser(noisy, timestep), target, batch["masks"])}

    def begin_control(self, visit: Visit, step: Step) -> Mapping[str, Tensor]:
        """The control begins as a copy of the denoiser that was trained."""
        del visit, step
        self.control.imitate(self.denoiser)
        return {}

    def conditional(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The same error, the control knowing a sketch of each mask."""
        masks, of = batch["masks"], self.settings
        clean = self._folded(2 * self._covered(masks) - 1)
        noisy, timestep, target = self._noised(clean, step)
        seeds = step.randint("sketches", 0, 1 << 53, count=len(clean)).tolist()
        sketches = [
            sketch_of(shape, generator=numpy_generator("sketches", seed), deleted=of.deleted, jitter=of.jitter)
            for shape, seed in zip(self.touched(masks.mask[:, 0] == 1), seeds, strict=True)
        ]
        predicted = self._predicted(noisy, timestep, self._hint(sketches, like=clean))
        yield "control", {"denoising": self._error(predicted, target, masks)}

    def paint(self, sketch: np.ndarray, inference: Inference) -> Tensor:
        """The share (1, 1, size, size) that vessels cover of each pixel along a sketch (size, size), in [0, 1]."""
        of = self.settings
        like = torch.zeros(1, of.fold**2, *(of.size // of.fold,) * 2, device=inference.device)
        hint = self._hint([sketch], like=like)

        def model(noisy: Tensor, timestep: int) -> Guess:
            predicted = self._predicted(noisy, torch.full((len(noisy),), timestep, device=noisy.device), hint)
            return Guess(self.process.x0_from(exact(predicted), noisy, timestep, kind=of.predicts))

        end = self.walk(model, like=like, draws=inference, clip=RANGE)
        return ((F.pixel_shuffle(end, of.fold) + 1) / 2).clamp(0, 1)

    def _noised(self, clean: Tensor, step: Step) -> tuple[Tensor, Tensor, Tensor]:
        """A noisy mask, its timestep, and what a network should say of them."""
        timestep = step.randint("timestep", 0, self.settings.chain, count=len(clean))
        noise = step.randn("noise", like=clean)
        target = self.process.target(clean, timestep, noise, kind=self.settings.predicts)
        return self.process.noised(clean, timestep, noise), timestep, target

    def _error(self, predicted: Tensor, target: Tensor, masks: Batch) -> Tensor:
        """The mean squared error over the pixels (B, fold², S, S) that no unknown pixel of a mask lies in."""
        unknown = masks.mask == IGNORE
        if not unknown.any():
            return F.mse_loss(exact(predicted), target)
        share = F.interpolate(unknown.to(self.dtype), (self.settings.size,) * 2, mode="area")
        return mean_of_known((exact(predicted) - target).square(), self._folded(share) == 0)

    def _predicted(self, noisy: Tensor, timestep: Tensor, hint: Tensor) -> Tensor:
        added = self.control(noisy, timestep, hint)
        predicted: Tensor = self.denoiser(noisy, timestep, added=added)
        return predicted

    def _covered(self, masks: Batch) -> Tensor:
        """The share (B, 1, size, size) of each pixel that is covered; what is unknown counts as empty."""
        return F.interpolate((masks.mask == 1).to(self.dtype), (self.settings.size,) * 2, mode="area")

    def _hint(self, sketches: Sequence[np.ndarray], *, like: Tensor) -> Tensor:
        return self._folded(torch.from_numpy(np.stack(sketches))[:, None].to(like.device, like.dtype))

    def _folded(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(x, self.settings.fold)
