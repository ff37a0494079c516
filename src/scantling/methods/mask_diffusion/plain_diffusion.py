"""Plain diffusion of masks: one denoiser that sees the image beside the noisy mask, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from scantling.contract.method import Method
from scantling.core.samples import Traits
from scantling.diffusion.bernoulli import BernoulliProcess
from scantling.diffusion.gaussian import GaussianProcess
from scantling.diffusion.schedules import betas
from scantling.methods.catalogue import CARDS
from scantling.methods.mask_diffusion.bernoulli_masks import BernoulliKernel
from scantling.methods.mask_diffusion.chain_settings import QUICK, TINY, MaskDiffusionSettings
from scantling.methods.mask_diffusion.chains import Condition, MaskDiffusion
from scantling.methods.mask_diffusion.direct_masks import DirectKernel
from scantling.methods.mask_diffusion.gaussian_masks import GaussianKernel, Sampler
from scantling.methods.mask_diffusion.kernel import Kernel

Noise = Literal["gaussian", "bernoulli"]


class PlainDiffusionSettings(MaskDiffusionSettings):
    """Settings of `plain-diffusion`, a control of ours; its numbers are those that the systems beside it share.

    Attributes:
        kernel: the noise: masks of -1 and 1 in Gaussian noise, or pixels of 0 and 1 that flip.
        predicts: what the network says: the noise (the flips, of flipped pixels), or the mask.
        sampler: how a chain of Gaussian noise is walked; of flips it is the sub-sequence of BerDiff.
    """

    kernel: Noise = "gaussian"
    predicts: Literal["noise", "mask"] = "noise"
    sampler: Sampler = "ancestral"

    binary: ClassVar[bool] = False
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {**QUICK, "predicts": "mask"},
        "tiny": TINY,
    }


class PlainDiffusion(MaskDiffusion):
    """A denoiser of noisy masks with the image beside them: what the other systems of this room are to be better than.

    With `chain` 0 the same network, whose channels of the noisy mask are then 0, says the mask of the image at once.
    """

    card = CARDS["plain-diffusion"]
    Settings: ClassVar[type[MaskDiffusionSettings]] = PlainDiffusionSettings
    settings: Any

    def __init__(self, settings: Any, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        self.kernel = self.make_kernel()
        self.network = self.denoiser(len(traits.classes) + len(traits.channels), len(traits.classes))

    def make_kernel(self) -> Kernel:
        """The noise of the settings."""
        of = self.settings
        return kernel_of(of, of.kernel, noise=of.predicts == "noise", sampler=of.sampler)

    def denoise(self, noisy: Tensor, condition: Condition, timestep: Tensor) -> Tensor:
        """What the network says (B, K, H, W) of noisy masks and the image itself."""
        (image,) = condition
        predicted: Tensor = self.network(torch.cat([noisy.to(self.dtype), image], 1), timestep)
        return predicted


def kernel_of(settings: MaskDiffusionSettings, kind: Noise, *, noise: bool, sampler: Sampler, **flips: Any) -> Kernel:
    """The noise of a kind on the chain of the settings.

    Args:
        settings: with the length of the chain and its schedule.
        kind: of noise.
        noise: whether the network says the noise, or else the mask.
        sampler: of Gaussian noise.
        **flips: more of `BernoulliKernel`.
    """
    if not settings.chain:
        return DirectKernel(kind)
    variances = betas(settings.schedule, settings.chain)
    if kind == "bernoulli":
        return BernoulliKernel(BernoulliProcess(variances), flips=noise, **flips)
    return GaussianKernel(GaussianProcess(variances), predicts="eps" if noise else "x0", sampler=sampler)
