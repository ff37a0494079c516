"""Tiny diffusion models with random weights, as diffusers saves them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file


def folder(place: Path, *, latent: bool) -> Path:
    """A tiny model as diffusers saves it."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    shared = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4}
    if latent:
        unet = diffusers.UNet2DConditionModel(
            in_channels=4, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), cross_attention_dim=8,
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=4, **shared,
        )  # fmt: skip
        diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4,
            **shared,
        ).save_pretrained(place / "vae")  # fmt: skip
        save_file({"prompt": torch.randn(1, 5, 8)}, place / "prompt.safetensors")
    else:
        unet = diffusers.UNet2DModel(
            in_channels=3, out_channels=3, down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
            **shared,
        )  # fmt: skip
        diffusers.DDPMScheduler(num_train_timesteps=50).save_pretrained(place / "scheduler")
    unet.save_pretrained(place / "unet")
    return place
