"""A diffusion model of images, trained without labels; what it knows is read by other methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from scantling.contract.capabilities import Encoder
from scantling.contract.options import EncodeOptions
from scantling.contract.results import Encoding
from scantling.contract.stage import Game, Player, Stage
from scantling.contract.step import Inference, Step
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch
from scantling.core.streams import Augmentation, Stream
from scantling.methods.catalogue import CARDS
from scantling.methods.features.image_diffusion import ImageDiffusion, shown
from scantling.methods.features.pretrain_settings import PretrainSettings
from scantling.methods.features.reader import shared_noise

SHOWN = 4


class DiffusionEncodeOptions(EncodeOptions):
    """What is read of a diffusion model.

    Attributes:
        blocks: of the decoder, from 0, the coarsest one; all if empty.
        timesteps: at which an image is looked at, from 0, where it has hardly any noise.
    """

    blocks: tuple[Annotated[int, Field(ge=0)], ...] = ()
    timesteps: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)


class DiffusionPretrain(Encoder, ImageDiffusion):
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

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The terms of all images."""
        yield "denoiser", self.denoising(batch["images"].image, step)

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

    def pictures(self, batch: Batch, inference: Inference) -> Mapping[str, Tensor]:
        """Images that it makes, and what it makes of a noisy image."""
        steps = self.settings.sampling_steps
        made = [self.drawn(replace(inference, number=number), steps) for number in range(SHOWN)]
        time = self.settings.chain // 4
        noise = inference.randn("noise", like=batch.image)
        noisy = self.process.noised(batch.image, time, noise)
        predicted, _ = self.parts(
            self.network(noisy.to(self.dtype), torch.full((len(noisy),), time, device=noisy.device))
        )
        clean = self.process.x0_from(predicted, noisy, time, kind="eps")
        return {
            f"{SHOWN} images that the model makes of noise": shown(torch.cat(made, 3)),
            f"The image under the noise of timestep {time}, and what the model makes of it": shown(
                torch.cat([noisy, clean], 3)
            ),
        }
