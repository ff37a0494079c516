"""Stable Diffusion with a ControlNet, on a tiny model that is built here: loaded from a folder, steered by sketches."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from scantling.contract.method import build
from scantling.contract.step import Inference
from scantling.core.errors import FileError, RunError, SettingsError
from scantling.inference.synthesis import synthesize
from scantling.methods.generation.vessel_stable_diffusion import StableSettings, VesselStableDiffusion

NAME = "vessel-stable-diffusion"
SMALL = {"patch": 32, "size": 32, "sampling_steps": 2, "attempts": 1, "least": 0, "hand_drawn": 0}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    diffusers = pytest.importorskip("diffusers")
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    shared = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4}
    unet = diffusers.UNet2DConditionModel(
        sample_size=16,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=8,
        attention_head_dim=4,
        **shared,
    )
    control = diffusers.ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8))
    vae = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        **shared,
    )
    with torch.no_grad():
        for layer in (*control.controlnet_down_blocks, control.controlnet_mid_block):  # a control that has learned
            nn.init.normal_(layer.weight)
        nn.init.normal_(control.controlnet_cond_embedding.conv_out.weight)
    for part, model in (("unet", unet), ("controlnet", control), ("vae", vae)):
        model.save_pretrained(folder / part)
    save_file({"prompt": torch.randn(1, 5, 8)}, folder / "prompt.safetensors")
    return folder


def painter(weights: Path | None, **changes: Any) -> VesselStableDiffusion:
    settings = StableSettings.preset("paper", {**SMALL, "weights": weights, **changes})
    method = build(VesselStableDiffusion, settings, VesselStableDiffusion.blank(settings))
    assert isinstance(method, VesselStableDiffusion)
    return method.eval()


@torch.no_grad()
def test_the_sketch_and_the_number_decide_what_is_painted(weights: Path) -> None:
    method = painter(weights)
    line, empty = np.zeros((32, 32), np.bool_), np.zeros((32, 32), np.bool_)
    line[16] = True
    with_line, again, without, other = (
        method.paint(sketch, Inference(seed=0, number=number))
        for sketch, number in ((line, 0), (line, 0), (empty, 0), (line, 1))
    )
    assert with_line.shape == (1, 1, 32, 32)
    assert 0 <= with_line.min() <= with_line.max() <= 1
    assert torch.equal(with_line, again)
    assert not torch.allclose(with_line, without, atol=1e-3)
    assert not torch.allclose(with_line, other, atol=1e-3)


def test_masks_are_synthesized_and_say_what_stands_behind_them(weights: Path, tmp_path: Path) -> None:
    settings = {**SMALL, "weights": str(weights), "hand_drawn": 3}
    synthesize(NAME, count=2, out=tmp_path / "out", settings=settings)
    cases = json.loads((tmp_path / "out" / "scantling.json").read_text())["case"]
    assert [case["origin"]["hand_drawn"] for case in cases] == [3, 3]
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 2


def test_it_says_what_is_missing(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--settings\.weights"):
        painter(None)
    with pytest.raises(SettingsError, match="how many masks drawn by people"):
        painter(weights, hand_drawn=None)
    with pytest.raises(FileError, match="is no UNet2DConditionModel"):
        painter(tmp_path)
    for part in ("unet", "controlnet", "vae"):
        (tmp_path / part).symlink_to(weights / part)
    with pytest.raises(FileError, match="holds no prompt"):
        painter(tmp_path)
    path = tmp_path / "prompt.safetensors"
    for shape in ((5, 8), (1, 5, 7)):
        save_file({"prompt": torch.randn(shape)}, path)
        with pytest.raises(FileError, match=re.escape(f"holds a prompt of the shape {shape}")):
            painter(tmp_path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FileError, match="holds no prompt"):
        painter(tmp_path)


def test_masks_of_other_weights_do_not_join_those_of_the_first(weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(weights, folder)
    settings = {**SMALL, "weights": str(folder), "hand_drawn": 0}
    synthesize(NAME, count=1, out=tmp_path / "out", settings=settings)
    save_file({"prompt": torch.zeros(1, 5, 8)}, folder / "prompt.safetensors")
    with pytest.raises(RunError):
        synthesize(NAME, count=2, out=tmp_path / "out", settings=settings)
