"""A diffusion model of images, trained without labels; what it knows is read by other methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from scantling.contract.capabilities import Encoder, Generator
from scantling.contract.method import Method
from scantling.contract.options import EncodeOptions, GenerateOptions
from scantling.contract.results import Encoding, Generation
from scantling.contract.stage import Game, Player, Stage, Visit
from scantling.contract.step import Inference, Step
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.core.streams import Augmentation, Stream
from scantling.diffusion.chain import exact
from scantling.diffusion.gaussian import GaussianProcess, Prediction
from scantling.diffusion.samplers import Guess, ddim
from scantling.diffusion.schedules import betas, timesteps
from scantling.methods.catalogue import CARDS
from scantling.methods.features.guided_weights import load_guided
from scantling.methods.features.pretrain_settings import PretrainSettings
from scantling.methods.features.reader import shared_noise
from scantling.networks.denoiser import Denoiser

RANGE = (-1.0, 1.0)
"""Images are scaled to this range, and guesses of them are clipped to it."""
GREYS = 256
"""The grey values that the bound counts in (Ho et al., 2020)."""
SHARE = 1e-3
"""The weight of the bound, where the variance is learned (Nichol and Dhariwal, 2021, eq. 16)."""
SHOWN = 4


class DiffusionEncodeOptions(EncodeOptions):
    """What is read of a diffusion model.

    Attributes:
        blocks: of the decoder, from 0, the coarsest one; all if empty.
        timesteps: at which an image is looked at, from 0, where it has hardly any noise.
    """

    blocks: tuple[Annotated[int, Field(ge=0)], ...] = ()
    timesteps: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)


class DiffusionPretrain(Encoder, Generator):
    r"""A denoising diffusion model of images (Ho et al., 2020) with the U-Net of Dhariwal and Nichol (2021).

    .. math:: x_t = \sqrt{\bar\alpha_t} x + \sqrt{1 - \bar\alpha_t} \epsilon, \quad
              L = |\epsilon - \epsilon_\theta(x_t, t)|^2

    and, where the variance is learned, the bound with a weight of 10⁻³. Every channel of an image is scaled to [-1, 1]
    by its own range. As an encoder it gives what the blocks of its decoder end with (Baranchuk et al., 2022), of a
    noise that is the same for all images.
    """

    card = CARDS["diffusion-pretrain"]
    Settings = PretrainSettings
    settings: PretrainSettings
    encode_with = DiffusionEncodeOptions
    predicts: Prediction = "eps"
    """What the network says."""

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
        """Planes of one size or longest side, each channel in [-1, 1]."""
        side, longest = self.settings.size, self.settings.longest
        return Preprocessing(
            dimensions=2, normalise="unit", size=None if side is None else (side, side), longest=longest
        )

    def stages(self) -> Sequence[Stage]:
        """One stage on all training images, labelled or not; it may begin with weights of a file."""
        of = self.settings
        player = Player(
            name="denoiser",
            modules=(self.network,),
            rate=of.rate,
            schedule=of.schedule_of_rate,
            clip=1.0,
            average=of.average,
        )
        stream = Stream(
            name="images",
            reads=("image",),
            batch=of.batch,
            patch=self.settings.shape(self.traits),
            augment=Augmentation(flips=of.flips, turns=of.turns),
        )
        prepare = None if of.weights is None else self.begin
        return (
            Stage(
                name="train",
                players=(player,),
                streams=(stream,),
                steps=of.steps,
                objectives=self.objectives,
                prepare=prepare,
            ),
        )

    def begin(self, visit: Visit, step: Step) -> Mapping[str, Tensor]:
        """Take over the weights of the file that the settings name."""
        del visit, step
        if self.settings.weights is not None:
            load_guided(self.network, self.settings.weights)
        return {}

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The terms of all images."""
        yield "denoiser", self.denoising(batch["images"].image, step)

    def denoising(self, clean: Tensor, step: Step, *, beside: Tensor | None = None) -> dict[str, Tensor]:
        """The squared error of the noise and, if it is learned, what teaches the variance.

        Args:
            clean: (B, C, H, W).
            beside: (B, c, H, W) what the network sees beside the noisy images, where it was made for that.
        """
        timestep = step.randint("timestep", 0, self.settings.chain, count=len(clean))
        noise = step.randn("noise", like=clean)
        noisy = self.process.noised(clean, timestep, noise)
        seen = noisy if beside is None else torch.cat([noisy, beside], 1)
        predicted, variance = self._parts(self.network(seen.to(self.dtype), timestep))
        terms = {"denoising": F.mse_loss(predicted, noise)}
        if variance is not None:
            guess = self.process.x0_from(predicted.detach(), noisy, timestep, kind="eps").clamp(*RANGE)
            log_variance = self.process.learned_log_variance(variance, timestep, timestep - 1)
            bound = self.process.variational_bound(
                clean, noisy, timestep, guess=guess, log_variance=log_variance, levels=GREYS
            )
            terms["variance"] = SHARE * self.settings.chain * bound.mean()
        return terms

    @property
    def decoded(self) -> tuple[tuple[int, int], ...]:
        """Of each block that can be read, how many times smaller than the image its map is, and its channels."""
        return self.network.decoded

    def encode_options(self, options: EncodeOptions) -> EncodeOptions:
        """With all blocks where none is named.

        Raises:
            SettingsError: a block or a timestep that the model does not have.
        """
        blocks, times = getattr(options, "blocks", ()), getattr(options, "timesteps", (0,))
        count = len(self.network.up)
        if beyond := [block for block in blocks if block >= count]:
            raise SettingsError(
                f"--settings.blocks: found {beyond[0]}; the decoder of this {self.card.name} has the blocks 0 to "
                f"{count - 1}, the coarsest first"
            )
        if beyond := [time for time in times if time >= self.settings.chain]:
            raise SettingsError(
                f"--settings.timesteps: found {beyond[0]}; this {self.card.name} knows the timesteps 0 to "
                f"{self.settings.chain - 1}"
            )
        return DiffusionEncodeOptions.of({**dict(options), "blocks": tuple(blocks) or tuple(range(count))})

    def encode(self, batch: Batch, inference: Inference) -> Encoding:
        """The maps (B, F, *s) of "block N, timestep T", of images that are resampled to sides that the levels divide.

        The noise is a function of the seed alone, the same for every image.
        """
        options = self.encode_options(inference.options)
        blocks, times = getattr(options, "blocks", ()), getattr(options, "timesteps", ())
        image, divisor = batch.image, self.settings.divisor
        shape = [-(-n // divisor) * divisor for n in image.shape[2:]]
        if list(image.shape[2:]) != shape:
            image = F.interpolate(image, shape, mode="bilinear", align_corners=False)
        noise, features = shared_noise(inference, image), dict[str, Tensor]()
        for time in times:
            timestep = torch.full((1,), time, device=image.device)
            code = self.network.code_of(timestep)
            skips, h = self.network.encode(self.entering(image, time, noise).to(self.dtype), code)
            for number, out in enumerate(self.network.decode(skips, h, code)):
                if number in blocks:
                    features[f"block {number}, timestep {time}"] = out
                if number == max(blocks):
                    break
        return Encoding(features=features)

    def entering(self, image: Tensor, time: int, noise: Tensor) -> Tensor:
        """What the network is to see of images (B, C, H, W) whose features are read at a timestep."""
        return self.process.noised(image, time, noise)

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
            seen = noisy if beside is None else torch.cat([noisy, beside], 1)
            at = torch.full((1,), timestep, device=noisy.device)
            predicted, _ = self._parts(self.network(seen.to(self.dtype), at))
            return Guess(self.process.x0_from(predicted, noisy, timestep, kind=self.predicts))

        end = ddim(model, start, process=self.process, timesteps=walked, draw=lambda purpose, like: like, clip=RANGE)
        return end.x.clamp(*RANGE)

    def pictures(self, batch: Batch, inference: Inference) -> Mapping[str, Tensor]:
        """Images that it makes, and what it makes of a noisy image."""
        steps = self.settings.sampling_steps
        made = [self.drawn(replace(inference, number=number), steps) for number in range(SHOWN)]
        time = self.settings.chain // 4
        noise = inference.randn("noise", like=batch.image)
        noisy = self.process.noised(batch.image, time, noise)
        predicted, _ = self._parts(
            self.network(noisy.to(self.dtype), torch.full((len(noisy),), time, device=noisy.device))
        )
        clean = self.process.x0_from(predicted, noisy, time, kind="eps")
        return {
            f"{SHOWN} images that the model makes of noise": shown(torch.cat(made, 3)),
            f"The image under the noise of timestep {time}, and what the model makes of it": shown(
                torch.cat([noisy, clean], 3)
            ),
        }

    def _parts(self, predicted: Tensor) -> tuple[Tensor, Tensor | None]:
        predicted = exact(predicted)
        if not self.settings.learned_variance:
            return predicted, None
        noise, variance = predicted.chunk(2, 1)
        return noise, variance


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
