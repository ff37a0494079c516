"""Vessels drawn by Stable Diffusion under a ControlNet, from weights that the user has; nothing is fetched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from scantling.contract.method import Method
from scantling.contract.step import Inference
from scantling.core.case import Labels
from scantling.core.errors import FileError, SettingsError
from scantling.core.samples import Preprocessing, Traits
from scantling.diffusion.chain import exact
from scantling.diffusion.gaussian import GaussianProcess, Prediction
from scantling.diffusion.samplers import Guess
from scantling.diffusion.schedules import betas
from scantling.methods.catalogue import CARDS
from scantling.methods.generation.sketched_masks import SketchedMasks, SketchSettings

PARTS = {"unet": "UNet2DConditionModel", "controlnet": "ControlNetModel", "vae": "AutoencoderKL"}
PROMPT = "prompt.safetensors"


class StableSettings(SketchSettings):
    """Settings of `vessel-stable-diffusion`.

    Attributes:
        weights: a folder with `unet`, `controlnet` and `vae` as diffusers saves them, and `prompt.safetensors`: one
            tensor "prompt" (1, tokens, features), what the text encoder says of the prompt.
        hand_drawn: how many masks drawn by people the weights were tuned on, which only the user knows.
        predicts: what the network says: "v" for Stable Diffusion 2 at 768 pixels.
    """

    weights: Path | None = None
    hand_drawn: Annotated[int, Field(ge=0)] | None = None
    size: Annotated[int, Field(ge=8, multiple_of=8)] = 512
    predicts: Prediction = "eps"


class VesselStableDiffusion(SketchedMasks):
    """Latent diffusion (Rombach et al., 2022) along sketches, white on black (Zhang et al., 2023).

    A mask is where the picture that comes out is brighter than grey. The noise is that of Stable Diffusion: 1000
    steps, "scaled" from 0.00085 to 0.012.
    """

    card = CARDS["vessel-stable-diffusion"]
    Settings = StableSettings
    settings: StableSettings

    def __init__(self, settings: StableSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        if settings.weights is None or settings.hand_drawn is None:
            raise SettingsError(
                "vessel-stable-diffusion paints with weights of yours: name their folder with --settings.weights, and "
                "say with --settings.hand_drawn how many masks drawn by people they were tuned on, 0 if none"
            )
        self.process = GaussianProcess(betas("scaled", 1000, low=0.00085, high=0.012))
        self.unet, self.controlnet, self.vae = (_loaded(settings.weights, part) for part in PARTS)
        path = settings.weights / PROMPT
        try:
            self.register_buffer("prompt", load_file(path)["prompt"])
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise FileError(path, f"holds no prompt ({error})", expected='a tensor "prompt"') from None
        shape, features = tuple(self.get_buffer("prompt").shape), self.unet.config.cross_attention_dim
        if len(shape) != 3 or shape[0] != 1 or shape[2] != features:
            raise FileError(path, f"holds a prompt of the shape {shape}", expected=f"(1, tokens, {features})")

    @classmethod
    def blank(cls, settings: StableSettings) -> Traits:
        """Masks of one class."""
        shape = (settings.patch,) * 2
        labels = Labels(names=("vessel",), values=((255,),))
        return Traits(
            dimensions=2, channels=(), labels=labels, spacing=(1.0, 1.0), shape=shape, smallest=shape, intensity=()
        )

    @property
    def preprocessing(self) -> Preprocessing:
        """It takes no images."""
        return Preprocessing(dimensions=2)

    @property
    def hand_drawn(self) -> int:
        """What the user says."""
        return self.settings.hand_drawn or 0

    def paint(self, sketch: np.ndarray, inference: Inference) -> Tensor:
        """The brightness (1, 1, size, size) of a picture in [0, 1]."""
        side = self.settings.size
        coarser = 2 ** (len(self.vae.config.block_out_channels) - 1)
        hint = torch.from_numpy(sketch).expand(1, 3, -1, -1).to(inference.device, self.dtype)
        like = hint.new_empty(1, self.vae.config.latent_channels, side // coarser, side // coarser)
        prompt = self.get_buffer("prompt").to(self.dtype)

        def model(noisy: Tensor, timestep: int) -> Guess:
            skips, middle = self.controlnet(noisy, timestep, prompt, controlnet_cond=hint, return_dict=False)
            predicted = self.unet(
                noisy, timestep, prompt, down_block_additional_residuals=skips, mid_block_additional_residual=middle
            ).sample
            return Guess(self.process.x0_from(exact(predicted), noisy, timestep, kind=self.settings.predicts))

        latent = self.walk(model, like=like, draws=inference, clip=None)
        picture: Tensor = self.vae.decode(latent / self.vae.config.scaling_factor).sample
        return ((exact(picture).mean(1, keepdim=True) + 1) / 2).clamp(0, 1)


def _loaded(folder: Path, part: str) -> Any:
    try:
        import diffusers
    except ImportError:
        raise SettingsError(
            "vessel-stable-diffusion needs diffusers; install it with pip install 'scantling[diffusers]'"
        ) from None
    kind = getattr(diffusers, PARTS[part])
    try:
        return kind.from_pretrained(folder / part, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise FileError(folder / part, f"is no {PARTS[part]} ({first})", expected="what diffusers saves") from None
