"""Where ODISE reads a latent diffusion model: its autoencoder on both sides and the U-Net in between, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.contract.step import Inference
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch
from scantling.methods.features.diffusers_folder import DiffusersFolder
from scantling.methods.features.reader import shared_noise
from scantling.methods.features.sliding import Read

Condition = Callable[[Batch, Tensor], tuple[Tensor, Tensor | None]]
"""Given images and what the encoder of the autoencoder ends with (B, C, h, w), the prompt (B, tokens, features) and
what is added to the time embedding (B, time), if anything."""


def latent_taps(folder: DiffusersFolder, condition: Condition, *, timestep: int = 0) -> Read:
    """The maps of ODISE (Xu et al., 2023): of 512² images 512 channels at strides 4 and 8 of the encoder, what enters
    the last block of each level of the U-Net's decoder (2560, 1920, 960 and 640 channels at strides 32, 32, 16 and 8,
    the coarsest one resampled), 512 at strides 8 and 4 of the decoder.

    Latents are the mean of the encoder, scaled; at t = 0 they get the noise of that step, one for all images.

    Args:
        timestep: of the U-Net.

    Raises:
        SettingsError: a timestep that there is not; when it is read, images of channels that the model does not take.
    """
    if timestep >= folder.process.steps:
        last = folder.process.steps - 1
        raise SettingsError(f"--settings.timesteps: found {timestep}; this model knows the timesteps 0 to {last}")

    def read(batch: Batch) -> Mapping[str, Tensor]:
        vae, unet = folder.vae, folder.unet
        if vae is None:
            raise SettingsError("--settings.features: this model has no autoencoder, which odise reads")
        found, image = dict[str, Tensor](), folder.resampled(batch.image)
        down, up = vae.encoder.down_blocks[-2:], vae.decoder.up_blocks[:2]
        hooks = [
            block.resnets[-1].register_forward_hook(partial(_ending, found, f"encoder {number}"))
            for number, block in enumerate(down)
        ]
        hooks += [
            block.resnets[-1].register_forward_pre_hook(partial(_entering, found, f"U-Net {number}"))
            for number, block in enumerate(unet.up_blocks)
        ]
        hooks += [
            block.resnets[-1].register_forward_hook(partial(_ending, found, f"decoder {number}"))
            for number, block in enumerate(up)
        ]
        try:
            latent: Tensor = vae.encode(image).latent_dist.mode()  # 1. the autoencoder's encoder
            prompt, offset = condition(batch, found[f"encoder {len(down) - 1}"])
            scaled = latent * vae.config.scaling_factor
            noise = shared_noise(Inference(seed=0, stage="features"), scaled)
            noisy = folder.process.noised(scaled, timestep, noise).to(scaled.dtype)
            if offset is not None:
                hooks.append(unet.time_embedding.register_forward_hook(partial(_moved, offset)))
            unet(noisy, timestep, prompt.to(noisy.dtype))  # 2. the U-Net
            if "U-Net 1" in found:  # the paper's four strides: what enters at 64 is read at 32
                finer = found["U-Net 1"].shape[2:]
                found["U-Net 0"] = F.interpolate(found["U-Net 0"], finer, mode="bilinear", align_corners=False)
            x = latent if vae.post_quant_conv is None else vae.post_quant_conv(latent)
            x = vae.decoder.mid_block(vae.decoder.conv_in(x))  # 3. the first levels of the decoder
            for block in up:
                x = block(x)
        finally:
            for hook in hooks:
                hook.remove()
        return found

    return read


def pooled_embedding(encoded: Tensor) -> Tensor:
    """(B, C) of maps (B, C, h, w): their mean over the image, normed; an embedding where there is no CLIP (ours)."""
    return F.layer_norm(encoded.mean((2, 3)), encoded.shape[1:2])


def _ending(found: dict[str, Tensor], name: str, module: Any, arguments: Any, output: Any) -> None:
    """Keep what a module ends with."""
    del module, arguments
    found[name] = output


def _entering(found: dict[str, Tensor], name: str, module: Any, arguments: Any) -> None:
    """Keep what enters a module."""
    del module
    found[name] = arguments[0]


def _moved(offset: Tensor, module: Any, arguments: Any, output: Tensor) -> Tensor:
    """A time embedding and an offset (B, time)."""
    del module, arguments
    return torch.as_tensor(output + offset.to(output.dtype))
