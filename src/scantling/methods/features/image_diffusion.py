"""What diffusion models of pictures share: the chain, its loss, how it is walked back, the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.contract.capabilities import Generator
from scantling.contract.method import Method
from scantling.contract.options import GenerateOptions
from scantling.contract.results import Generation
from scantling.contract.stage import Visit
from scantling.contract.step import Inference, Step
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.diffusion.chain import exact
from scantling.diffusion.gaussian import GaussianProcess, Prediction
from scantling.diffusion.samplers import Guess, ddim
from scantling.diffusion.schedules import betas, timesteps
from scantling.methods.features.guided_weights import load_guided
from scantling.methods.features.pretrain_settings import PretrainSettings
from scantling.networks.denoiser import Denoiser

RANGE = (-1.0, 1.0)
"""Images are scaled to this range, and guesses of them are clipped to it."""
GREYS = 256
"""The grey values that the bound counts in (Ho et al., 2020)."""
SHARE = 1e-3
"""The weight of the bound, where the variance is learned (Nichol and Dhariwal, 2021, eq. 16)."""


class ImageDenoiser(Method):
    """What learns to denoise pictures (Ho et al., 2020), whatever is known of them beside."""

    settings: PretrainSettings

    def __init__(self, settings: PretrainSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        self.process = GaussianProcess(betas(settings.schedule, settings.chain))
        self.network = network_of(settings, channels=self.made)

    @property
    def made(self) -> int:
        """The channels of the images that it makes."""
        return len(self.traits.channels)

    @property
    def preprocessing(self) -> Preprocessing:
        """Planes of one size or longest side, or as they are, each channel in [-1, 1]."""
        return self.settings.preprocessing

    def begin(self, visit: Visit, step: Step) -> Mapping[str, Tensor]:
        """Take over the weights of the file that the settings name."""
        del visit, step
        if self.settings.weights is not None:
            load_guided(self.network, self.settings.weights)
        return {}

    def said(self, noisy: Tensor, timestep: Tensor, beside: Tensor | None) -> Tensor:
        """What the network answers about noisy images (B, C, H, W) at timesteps (B,) or (1,)."""
        seen = noisy if beside is None else torch.cat([noisy, beside], 1)
        answer: Tensor = self.network(seen.to(self.dtype), timestep)
        return answer

    def denoising(
        self, clean: Tensor, step: Step, *, beside: Tensor | None = None, known: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The squared error of the noise and, if it is learned, what teaches the variance.

        Args:
            clean: (B, C, H, W).
            beside: (B, c, H, W) what the network sees beside the noisy images, where it was made for that.
            known: (B, 1, H, W) bool, the pixels that count; None: all.
        """
        timestep = step.randint("timestep", 0, self.settings.chain, count=len(clean))
        noise = step.randn("noise", like=clean)
        noisy = self.process.noised(clean, timestep, noise)
        predicted, variance = self.parts(self.said(noisy, timestep, beside))
        terms = {"denoising": _mean_where(F.mse_loss(predicted, noise, reduction="none"), known)}
        if variance is not None:
            guess = self.process.x0_from(predicted.detach(), noisy, timestep, kind="eps").clamp(*RANGE)
            log_variance = self.process.learned_log_variance(variance, timestep, timestep - 1)
            bound = self.process.variational_bound(
                clean, noisy, timestep, guess=guess, log_variance=log_variance, known=known, levels=GREYS
            )
            terms["variance"] = SHARE * self.settings.chain * bound.mean()
        return terms

    def parts(self, predicted: Tensor) -> tuple[Tensor, Tensor | None]:
        """The noise, and what is said of the variance, where it is learned."""
        predicted = exact(predicted)
        if not self.settings.learned_variance:
            return predicted, None
        noise, variance = predicted.chunk(2, 1)
        return noise, variance


class ImageDiffusion(ImageDenoiser, Generator):
    """A denoising diffusion model of pictures that makes them, too."""

    predicts: Prediction = "eps"
    """What the network says."""

    def generate_options(self, options: GenerateOptions) -> GenerateOptions:
        """With the steps of the chain that are walked."""
        steps = options.steps or self.settings.sampling_steps
        if steps > self.settings.chain:
            raise SettingsError(f"--sampling-steps {steps}: the chain has {self.settings.chain} steps")
        return options.model_copy(update={"steps": steps})

    def generate(self, count: int, inference: Inference, given: Batch | None = None) -> Generation:
        """Images of the size that it was trained on, by DDIM (Song et al., 2021)."""
        del given
        steps = self.generate_options(inference.options).steps or 1
        images = [self.drawn(replace(inference, number=inference.number + n), steps) for n in range(count)]
        return Generation(images=torch.cat(images), normalised=True)

    def drawn(self, inference: Inference, steps: int) -> Tensor:
        """One image (1, C, H, W) in [-1, 1]."""
        like = torch.empty((1, self.made, *self.settings.shape(self.traits)), device=inference.device, dtype=self.dtype)
        walked = timesteps(self.settings.chain, steps, spacing="trailing")
        return self.walk(inference.randn("start", like=like), walked)

    def walk(self, start: Tensor, walked: Sequence[int], *, beside: Tensor | None = None) -> Tensor:
        """Where DDIM ends that begins with images (B, C, H, W), in [-1, 1]; `beside` as in `denoising`."""

        def model(noisy: Tensor, timestep: int) -> Guess:
            predicted, _ = self.parts(self.said(noisy, torch.full((1,), timestep, device=noisy.device), beside))
            return Guess(self.process.x0_from(predicted, noisy, timestep, kind=self.predicts))

        end = ddim(model, start, process=self.process, timesteps=walked, draw=lambda purpose, like: like, clip=RANGE)
        return end.x.clamp(*RANGE)


def _mean_where(values: Tensor, known: Tensor | None) -> Tensor:
    """The mean over images of their means over known pixels, 0 of an image of which nothing is known."""
    if known is None:
        return values.mean()
    each = values.mean(1, keepdim=True).masked_fill(~known, 0).flatten(1).sum(1)
    return (each / known.flatten(1).sum(1).clamp(min=1)).mean()


def network_of(settings: PretrainSettings, *, channels: int, beside: int = 0) -> Denoiser:
    """The network for images of so many channels, and so many beside them, with freshly drawn weights."""
    return Denoiser(
        channels + beside,
        channels * (2 if settings.learned_variance else 1),
        widths=settings.widths,
        blocks=settings.blocks,
        attention=settings.attention,
        head_channels=settings.head_channels,
        resample=settings.resample,
        scale_shift=settings.scale_shift,
        dropout=settings.dropout,
    )


def shown(images: Tensor) -> Tensor:
    """(3, H, W) in [0, 1] of the first of (B, C, H, W) in [-1, 1]: colours, or the first channel in grey."""
    image = ((images[0].float() + 1) / 2).clamp(0, 1)
    return image if len(image) == 3 else image[:1].expand(3, -1, -1)
