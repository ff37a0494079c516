"""A diffusion model of the user in a folder as diffusers saves it, in pixels or in latents, as a frozen encoder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.contract.step import Inference
from scantling.core.errors import FileError, SettingsError
from scantling.core.samples import Batch
from scantling.diffusion.gaussian import GaussianProcess
from scantling.diffusion.schedules import betas
from scantling.methods.features.reader import shared_noise
from scantling.methods.features.sliding import Read

UNETS = ("UNet2DModel", "UNet2DConditionModel")
STABLE = (0.00085, 0.012)
"""The first and the last β of Stable Diffusion, where the folder holds no scheduler."""


class DiffusersFolder(nn.Module):
    """The U-Net of a folder and, of a latent diffusion model, its autoencoder and its prompt.

    Args:
        folder: with `unet`, and where there are any `vae`, `scheduler` and `prompt.safetensors` (one tensor "prompt"
            (1, tokens, features)), as for `vessel-stable-diffusion`.

    Raises:
        SettingsError: diffusers is not installed.
        FileError: the folder is not what diffusers saves, or a U-Net with a prompt has none.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        kind = _class_of(folder / "unet")
        if kind not in UNETS:
            raise FileError(folder / "unet", f"holds a {kind}", expected=" or ".join(UNETS))
        self.unet = _loaded(kind, folder / "unet")
        self.vae = _loaded("AutoencoderKL", folder / "vae") if (folder / "vae").is_dir() else None
        prompt = None
        if kind == "UNet2DConditionModel":
            path = folder / "prompt.safetensors"
            try:
                prompt = load_file(path)["prompt"]
            except (OSError, KeyError, ValueError, SafetensorError) as error:
                raise FileError(path, f"holds no prompt ({error})", expected='a tensor "prompt"') from None
        self.register_buffer("prompt", prompt)
        self.process = GaussianProcess(_betas(folder / "scheduler"))

    prompt: Tensor | None

    @property
    def divisor(self) -> int:
        """What the sides of an image are resampled to a multiple of."""
        coarser = len(self.vae.config.block_out_channels) - 1 if self.vae is not None else 0
        return int(2 ** (coarser + len(self.unet.config.block_out_channels) - 1))

    def read(self, blocks: Sequence[int], timesteps: Sequence[int]) -> Read:
        """What the up blocks end with, from 0, the coarsest; all if none is named.

        Raises:
            SettingsError: a block or a timestep that there is not.
        """
        count = len(self.unet.up_blocks)
        wanted = tuple(blocks) or tuple(range(count))
        if beyond := [block for block in wanted if block >= count]:
            raise SettingsError(f"--settings.blocks: found {beyond[0]}; this U-Net has the up blocks 0 to {count - 1}")
        if beyond := [time for time in timesteps if time >= self.process.steps]:
            last = self.process.steps - 1
            raise SettingsError(f"--settings.timesteps: found {beyond[0]}; this model knows the timesteps 0 to {last}")

        def read(batch: Batch) -> Mapping[str, Tensor]:
            x, found = self._entering(batch.image), dict[str, Tensor]()
            noise = shared_noise(Inference(seed=0, stage="features"), x)
            for time in timesteps:
                names = {block: f"block {block}, timestep {time}" for block in wanted}
                hooks = [
                    self.unet.up_blocks[block].register_forward_hook(partial(_keep, found, name))
                    for block, name in names.items()
                ]
                prompt = () if self.prompt is None else (self.prompt.to(x.dtype).expand(len(x), -1, -1),)
                try:
                    self.unet(self.process.noised(x, time, noise).to(x.dtype), time, *prompt)
                finally:
                    for hook in hooks:
                        hook.remove()
            return found

        return read

    def _entering(self, image: Tensor) -> Tensor:
        """What the U-Net is to see of images in [-1, 1]: these, or latents."""
        image = self.resampled(image)
        if self.vae is None:
            return image
        latent: Tensor = self.vae.encode(image).latent_dist.mode() * self.vae.config.scaling_factor
        return latent

    def resampled(self, image: Tensor) -> Tensor:
        """Images in [-1, 1] as the model takes them: grey given as often as it has channels, sides that it divides.

        Raises:
            SettingsError: the model takes images of another number of channels.
        """
        channels = (self.vae or self.unet).config.in_channels
        if image.shape[1] not in (1, channels):
            found = f"images of {image.shape[1]} channels"
            raise SettingsError(f"--settings.features: {found}; this model takes {channels}, or grey ones")
        image = image.expand(-1, channels, -1, -1)
        shape = [-(-n // self.divisor) * self.divisor for n in image.shape[2:]]
        return F.interpolate(image, shape, mode="bilinear", align_corners=False)


def _keep(found: dict[str, Tensor], name: str, module: nn.Module, arguments: Any, output: Tensor) -> None:
    """A forward hook that keeps what a module ends with."""
    del module, arguments
    found[name] = output


def _class_of(folder: Path) -> str:
    try:
        return str(json.loads((folder / "config.json").read_text(encoding="utf-8"))["_class_name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(folder, f"holds no model of diffusers ({error})", expected="what diffusers saves") from None


def _loaded(kind: str, folder: Path) -> Any:
    try:
        import diffusers
    except ImportError:
        raise SettingsError(
            "a folder of diffusers needs that package; install it with pip install 'scantling[diffusers]'"
        ) from None
    try:
        return getattr(diffusers, kind).from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise FileError(folder, f"is no {kind} ({first})", expected="what diffusers saves, as safetensors") from None


def _betas(folder: Path) -> Tensor:
    """The variances that the scheduler of a folder names."""
    if not folder.is_dir():
        return betas("scaled", 1000, low=STABLE[0], high=STABLE[1])
    try:
        facts = json.loads((folder / "scheduler_config.json").read_text(encoding="utf-8"))
        name = {"linear": "linear", "scaled_linear": "scaled", "squaredcos_cap_v2": "cosine2"}[facts["beta_schedule"]]
        ends = {} if name == "cosine2" else {"low": float(facts["beta_start"]), "high": float(facts["beta_end"])}
        return betas(name, int(facts["num_train_timesteps"]), **ends)  # type: ignore[arg-type]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(folder, f"holds no schedule that is known here ({error})", expected="one of DDPM") from None
