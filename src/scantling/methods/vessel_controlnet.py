"""Vessels drawn by diffusion: a model that has seen masks paints new ones along sketches that a rule draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from scantling.data.types import Augmentation, Batch, Intake, Stream, Traits
from scantling.diffusion.chain import exact
from scantling.diffusion.gaussian import GaussianProcess, Prediction
from scantling.diffusion.samplers import Guess
from scantling.diffusion.schedules import Schedule, betas, timesteps
from scantling.errors import SettingsError
from scantling.mending.hysteresis import drop_small
from scantling.methods.catalogue import CARDS
from scantling.methods.contract import Answer, Game, Method, Now, Player, Settings, Stage, Visit
from scantling.methods.gaussian_masks import RANGE, SAMPLERS
from scantling.networks.control import ControlNet
from scantling.networks.denoiser import Denoiser
from scantling.procedural.forest import tree_vessels
from scantling.procedural.fractal import fractal_vessels
from scantling.procedural.sketch import sketch_of
from scantling.randomness import numpy_generator

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]

TOGETHER = 8
"""Masks that are painted together, always: what a network says of one may depend on how many it sees."""


class VesselControlNetSettings(Settings):
    """Settings of `vessel-controlnet`. The source tells the idea and no number: all of them are ours.

    Attributes:
        steps: of training, in both stages together.
        control: the share of them that trains the control.
        batch: masks a step.
        rate: of the learning, at its highest; one cycle a stage.
        average: decay of the averaged weights, which answer.
        patch: the side of what is read of a mask and of a mask that is painted; resolved to what the masks have room
            for.
        size: the side that a patch is reduced to, by area.
        fold: the networks see every block of fold x fold pixels as the channels of one.
        chain: T, steps of the noise process.
        schedule: of its noise.
        predicts: what the network says: the noise, the clean mask, or the velocity.
        widths: channels of each level of the denoiser; see `Denoiser` for `blocks`, `attention` and `heads`.
        deleted: probability that a branch is missing from a sketch in training.
        jitter: deviation of its places, in pixels of `size`.
        sketches: what is sketched when masks are made: trees by Murray's law, or fractals.
        sampler: how the chain is walked.
        sampling_steps: steps of it that are walked.
        coverage: the least and the greatest share of a mask that vessels may cover; others are painted anew.
        attempts: how often at most; then the mask nearest to these bounds is taken.
        least: pixels of the smallest piece that is kept.
    """

    steps: Annotated[int, Field(ge=2)] = 150_000
    control: Annotated[float, Field(gt=0, lt=1)] = 0.4
    batch: Positive = 16
    rate: Annotated[float, Field(gt=0)] = 2e-4
    average: Annotated[float, Field(ge=0, lt=1)] = 0.999
    patch: Positive = 512
    size: Positive = 256
    fold: Positive = 2
    chain: Annotated[int, Field(ge=2)] = 1000
    schedule: Schedule = "cosine2"
    predicts: Prediction = "v"
    widths: Annotated[tuple[Positive, ...], Field(min_length=1)] = (64, 128, 256)
    blocks: Positive = 2
    attention: tuple[Annotated[int, Field(ge=0)], ...] = ()
    heads: Positive = 1
    deleted: Share = 0.1
    jitter: Annotated[float, Field(ge=0)] = 1.0
    sketches: Literal["trees", "fractals"] = "trees"
    sampler: Literal["ddim", "dpm-solver++"] = "dpm-solver++"
    sampling_steps: Positive = 20
    coverage: tuple[Share, Share] = (0.01, 0.15)
    attempts: Positive = 4
    least: Annotated[int, Field(ge=0)] = 30

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "steps": 900,
            "batch": 8,
            "rate": 2e-3,
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
        if self.coverage[0] >= self.coverage[1]:
            raise SettingsError(f"--settings.coverage: found {self.coverage}, expected the least share first")
        plane = [n for axis, n in enumerate(traits.smallest) if len(traits.smallest) == 2 or axis != traits.slice_axis]
        patch = min(self.patch, *plane)
        size = min(self.size, patch) // self.divisor * self.divisor
        if not size:
            raise SettingsError(
                f"--settings.widths: {len(self.widths)} levels and --settings.fold {self.fold} need masks of "
                f"{self.divisor} pixels a side; found {patch}; take fewer"
            )
        return self.model_copy(update={"patch": patch, "size": size})


class VesselControlNet(Method):
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

    def __init__(self, settings: VesselControlNetSettings, traits: Traits, *, base: Method | None = None) -> None:
        super().__init__(settings, traits, base=base)
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
    def intake(self) -> Intake:
        """It reads masks alone."""
        return Intake(dimensions=2, normalise="none")

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

    def unconditional(self, batch: Mapping[str, Batch], now: Now) -> Game:
        """The squared error of the denoiser."""
        noisy, timestep, target = self._noised(self._folded(2 * self._covered(batch["masks"]) - 1), now)
        yield "denoiser", {"denoising": F.mse_loss(exact(self.denoiser(noisy, timestep)), target)}

    def begin_control(self, visit: Visit, now: Now) -> Mapping[str, Tensor]:
        """The control begins as a copy of the denoiser that was trained."""
        del visit, now
        self.control.imitate(self.denoiser)
        return {}

    def conditional(self, batch: Mapping[str, Batch], now: Now) -> Game:
        """The same error, the control knowing a sketch of each mask."""
        masks, of = batch["masks"], self.settings
        clean = self._folded(2 * self._covered(masks) - 1)
        noisy, timestep, target = self._noised(clean, now)
        seeds = now.randint("sketches", 0, 1 << 53, count=len(clean)).tolist()
        sketches = [
            sketch_of(shape, generator=numpy_generator("sketches", seed), deleted=of.deleted, jitter=of.jitter)
            for shape, seed in zip(self._touched(masks.mask[:, 0] == 1), seeds, strict=True)
        ]
        said = self._said(noisy, timestep, self._hint(sketches, like=clean))
        yield "control", {"denoising": F.mse_loss(exact(said), target)}

    def generate(self, count: int, now: Now) -> Answer:
        """Masks (B, 1, patch, patch) of 0 and 1, with the sketch that each was painted along."""
        made = [
            row
            for first in range(0, count, TOGETHER)
            for row in list(self._together(replace(now, step=now.step + first)))[: count - first]
        ]
        masks, sketches = (torch.from_numpy(np.stack(rows))[:, None].float() for rows in zip(*made, strict=True))
        return Answer(probabilities=masks, extras={"sketch": F.interpolate(sketches, masks.shape[2:], mode="nearest")})

    def paint(self, sketches: Sequence[np.ndarray], moments: Sequence[Now]) -> Tensor:
        """The share (B, 1, size, size) that vessels cover of each pixel along sketches (size, size), in [0, 1]."""
        of = self.settings
        like = torch.zeros(len(sketches), of.fold**2, *(of.size // of.fold,) * 2, device=moments[0].device)
        hint = self._hint(sketches, like=like)

        def draw(purpose: str, like: Tensor) -> Tensor:
            return torch.cat([now.randn(purpose, like=like[:1]) for now in moments])

        def model(noisy: Tensor, timestep: int) -> Guess:
            said = self._said(noisy, torch.full((len(noisy),), timestep, device=noisy.device), hint)
            return Guess(self.process.x0_from(exact(said), noisy, timestep, kind=of.predicts))

        steps = timesteps(of.chain, of.sampling_steps, spacing="trailing")
        walk = SAMPLERS[of.sampler]
        end = walk(model, draw("start", like), process=self.process, timesteps=steps, draw=draw, clip=RANGE)
        return ((F.pixel_shuffle(end.x, of.fold) + 1) / 2).clamp(0, 1)

    def sketch(self, generator: np.random.Generator) -> np.ndarray:
        """The centre lines (size, size) of a tree or a fractal, complete and in their places."""
        shape = (self.settings.patch,) * 2
        if self.settings.sketches == "trees":
            drawn = tree_vessels(shape, generator=generator).raster.centre_line
        else:
            drawn = fractal_vessels(shape, generator=generator)
        (touched,) = self._touched(torch.from_numpy(drawn)[None])
        return sketch_of(touched, generator=generator, deleted=0.0, jitter=0.0)

    def _together(self, now: Now) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The masks number `now.step` and following with their sketches: for each the first that is acceptable."""
        of = self.settings
        best: list[tuple[float, np.ndarray, np.ndarray]] = []
        for attempt in range(of.attempts):
            stage = f"{now.stage}, attempt {attempt}"
            moments = [replace(now, stage=stage, step=now.step + number, slot=0) for number in range(TOGETHER)]
            sketches = [self.sketch(numpy_generator(each.seed, stage, "sketch", each.step)) for each in moments]
            covered = F.interpolate(self.paint(sketches, moments), (of.patch,) * 2, mode="bilinear")
            masks = [drop_small(mask, of.least) for mask in (covered[:, 0] > 0.5).cpu().numpy()]
            tried = [
                (max(of.coverage[0] - share, share - of.coverage[1], 0.0), mask, sketch)
                for mask, sketch in zip(masks, sketches, strict=True)
                for share in (float(mask.mean()),)
            ]
            best = [min(pair, key=lambda one: one[0]) for pair in zip(best or tried, tried, strict=True)]
            if not any(away for away, _, _ in best):
                break
        yield from ((mask, sketch) for _, mask, sketch in best)

    def _noised(self, clean: Tensor, now: Now) -> tuple[Tensor, Tensor, Tensor]:
        """A noisy mask, its timestep, and what a network should say of them."""
        timestep = now.randint("timestep", 0, self.settings.chain, count=len(clean))
        noise = now.randn("noise", like=clean)
        target = self.process.target(clean, timestep, noise, kind=self.settings.predicts)
        return self.process.noised(clean, timestep, noise), timestep, target

    def _said(self, noisy: Tensor, timestep: Tensor, hint: Tensor) -> Tensor:
        added = self.control(noisy, timestep, hint)
        said: Tensor = self.denoiser(noisy, timestep, added=added)
        return said

    def _covered(self, masks: Batch) -> Tensor:
        """The share (B, 1, size, size) of each pixel that is covered; what is unknown counts as empty."""
        return F.interpolate((masks.mask == 1).to(self.dtype), (self.settings.size,) * 2, mode="area")

    def _touched(self, masks: Tensor) -> np.ndarray:
        """Which pixels (B, size, size) vessels (B, H, W) touch at all, so that no line is broken."""
        touched = F.adaptive_max_pool2d(masks.float(), (self.settings.size,) * 2) > 0
        return touched.cpu().numpy()

    def _hint(self, sketches: Sequence[np.ndarray], *, like: Tensor) -> Tensor:
        return self._folded(torch.from_numpy(np.stack(sketches))[:, None].to(like.device, like.dtype))

    def _folded(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(x, self.settings.fold)
