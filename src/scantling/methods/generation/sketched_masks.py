"""Masks painted along sketches that a rule draws: whoever paints, the sketch and what is accepted are the same."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor
from torch.nn import functional as F

from scantling.contract.capabilities import Generator
from scantling.contract.options import GenerateOptions
from scantling.contract.results import Generation
from scantling.contract.settings import Settings
from scantling.contract.step import Inference
from scantling.core.errors import SettingsError
from scantling.core.randomness import numpy_generator
from scantling.core.samples import Batch
from scantling.diffusion.gaussian import GaussianProcess
from scantling.diffusion.samplers import Model
from scantling.diffusion.schedules import timesteps
from scantling.mending.hysteresis import drop_small
from scantling.methods.mask_diffusion.gaussian_masks import SAMPLERS
from scantling.phantoms.forest import tree_vessels
from scantling.phantoms.fractal import fractal_vessels
from scantling.phantoms.sketch import sketch_of

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]

FAINT = 0.15
"""The least share of a pixel that makes a vessel of it where the sketch runs, and so keeps thin lines whole."""


class SketchSettings(Settings):
    """Settings of those that paint along sketches; all are ours.

    Attributes:
        patch: the side of a mask in pixels.
        size: the side at which it is painted, and sketched.
        sketches: what is sketched when masks are made: trees by Murray's law, or fractals.
        sampler: how the chain is walked.
        sampling_steps: steps of it that are walked.
        coverage: the least and the greatest share of a mask that vessels may cover; others are painted anew.
        attempts: how often at most; then the mask nearest to these bounds is taken.
        least: pixels of the smallest piece that is kept.
    """

    patch: Positive = 512
    size: Positive = 256
    sketches: Literal["trees", "fractals"] = "trees"
    sampler: Literal["ddim", "dpm-solver++"] = "dpm-solver++"
    sampling_steps: Positive = 20
    coverage: tuple[Share, Share] = (0.01, 0.15)
    attempts: Positive = 4
    least: Annotated[int, Field(ge=0)] = 30

    @field_validator("coverage")
    @classmethod
    def _in_order(cls, coverage: tuple[float, float]) -> tuple[float, float]:
        if coverage[0] >= coverage[1]:
            raise ValueError("expected the least share first, and a greater one")
        return coverage


class SketchedMasks(Generator):
    """A method that paints masks along sketches. Subclasses say how they paint."""

    settings: SketchSettings
    process: GaussianProcess

    @abstractmethod
    def paint(self, sketch: np.ndarray, inference: Inference) -> Tensor:
        """The share (1, 1, size, size) in [0, 1] of each pixel that vessels cover, along a sketch (size, size)."""

    def generate(self, count: int, inference: Inference, given: Batch | None = None) -> Generation:
        """Masks (B, 1, patch, patch) of 0 and 1, with the sketch that each was painted along.

        Vessel is what is covered by more than half; where the sketch runs, a pixel that is covered by more than
        `FAINT` counts as covered, since a line thinner than a pixel covers none by half. Each mask is painted by
        itself, so that it does not depend on those beside it.
        """
        made = [self._one(replace(inference, number=inference.number + number, slot=0)) for number in range(count)]
        masks, sketches = (torch.from_numpy(np.stack(rows))[:, None].float() for rows in zip(*made, strict=True))
        return Generation(masks=masks, fields={"sketch": F.interpolate(sketches, masks.shape[2:], mode="nearest")})

    def generate_options(self, options: GenerateOptions) -> GenerateOptions:
        """With the steps of the chain that are walked."""
        if (options.steps or 1) > self.process.steps:
            raise SettingsError(
                f"--sampling-steps {options.steps}: the chain has {self.process.steps} steps; take 1 to "
                f"{self.process.steps}"
            )
        return options.model_copy(update={"steps": options.steps or self.settings.sampling_steps})

    def sketch(self, generator: np.random.Generator) -> np.ndarray:
        """The centre lines (size, size) of a tree or a fractal, complete and in their places."""
        shape = (self.settings.patch,) * 2
        if self.settings.sketches == "trees":
            drawn = tree_vessels(shape, generator=generator).raster.centre_line
        else:
            drawn = fractal_vessels(shape, generator=generator)
        (touched,) = self.touched(torch.from_numpy(drawn)[None])
        return sketch_of(touched, generator=generator, deleted=0.0, jitter=0.0)

    def walk(self, model: Model, *, like: Tensor, draws: Inference, clip: tuple[float, float] | None) -> Tensor:
        """The end of a chain in the shape of `like`."""

        def draw(purpose: str, like: Tensor) -> Tensor:
            return draws.randn(purpose, like=like)

        steps = timesteps(self.process.steps, draws.options.steps or self.settings.sampling_steps, spacing="trailing")
        sampler = SAMPLERS[self.settings.sampler]
        return sampler(model, draw("start", like), process=self.process, timesteps=steps, draw=draw, clip=clip).x

    def _one(self, inference: Inference) -> tuple[np.ndarray, np.ndarray]:
        """The first acceptable mask with its sketch, or the one nearest to that."""
        of = self.settings
        tried: list[tuple[float, np.ndarray, np.ndarray]] = []
        for attempt in range(of.attempts):
            moment = replace(inference, stage=f"{inference.stage}, attempt {attempt}")
            sketch = self.sketch(numpy_generator(moment.seed, moment.stage, "sketch", moment.number))
            covered = self.paint(sketch, moment)
            covered = covered.masked_fill((covered > FAINT) & torch.from_numpy(sketch).to(covered.device), 1.0)
            covered = F.interpolate(covered, (of.patch,) * 2, mode="bilinear")[0, 0]
            mask = drop_small((covered > 0.5).cpu().numpy(), of.least)
            share = float(mask.mean())
            tried.append((max(of.coverage[0] - share, share - of.coverage[1], 0.0), mask, sketch))
            if not tried[-1][0]:
                break
        _, mask, sketch = min(tried, key=lambda one: one[0])
        return mask, sketch

    def touched(self, masks: Tensor) -> np.ndarray:
        """Which pixels (B, size, size) vessels (B, H, W) touch at all, so that no line is broken."""
        touched = F.adaptive_max_pool2d(masks.float(), (self.settings.size,) * 2) > 0
        return touched.cpu().numpy()
