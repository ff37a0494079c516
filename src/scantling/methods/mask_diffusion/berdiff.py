"""BerDiff: masks whose pixels flip until nothing is left, and a network that sees the image and flips them back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from scantling.core.errors import SettingsError
from scantling.core.samples import Traits
from scantling.diffusion.schedules import Schedule, Spacing
from scantling.methods.catalogue import CARDS
from scantling.methods.mask_diffusion.bernoulli_masks import StepBack
from scantling.methods.mask_diffusion.chain_settings import MaskDiffusionSettings, Positive
from scantling.methods.mask_diffusion.kernel import Kernel
from scantling.methods.mask_diffusion.plain_diffusion import Noise, PlainDiffusion, kernel_of

Weight = Annotated[float, Field(ge=0)]


class BerDiffSettings(MaskDiffusionSettings):
    """Settings of `berdiff`: the paper's on LIDC and, where it is silent, its authors' code.

    The paper's patches are crops of 128 pixels around a nodule; images keep their own pixels here too. As we recall
    it, not confirmed: batches of 32, a rate of 5e-5, and a reader drawn at every visit. No source gives the length of
    the training: `steps` is the later of the two iterations at which the ablation of the kernel reports.

    Attributes:
        kernel: the noise: flips, or Gaussian noise as in the paper's ablation of it; then `predicts` "flips" stands for
            the noise, the loss is its squared error, and `divergence`, `cross_entropy` and `rule` have no part.
        divergence: weight of the divergence of the step back, in bits a pixel.
        cross_entropy: weight of the cross-entropy of what the network says, in bits a pixel (λ).
        predicts: which pixels flipped, or the mask itself (the paper's ablation).
        rule: of a step back; "sub-sequence" is the paper's `BernoulliProcess.skip` (and its plug-in in the loss),
            "plug-in" and "mixture" are those of `BernoulliProcess.back`, in the loss too.
    """

    steps: Positive = 86_500
    rate: Annotated[float, Field(gt=0)] = 5e-5
    size: Positive | None = None
    patch: Positive | None = 128
    schedule: Schedule = "cosine2"
    spacing: Spacing = "leading"
    sampling_steps: Positive = 10
    widths: Annotated[tuple[Positive, ...], Field(min_length=1)] = (128, 128, 256, 384, 512)
    attention: tuple[Annotated[int, Field(ge=0)], ...] = (3,)
    kernel: Noise = "bernoulli"
    divergence: Weight = 1.0
    cross_entropy: Weight = 1.0
    predicts: Literal["flips", "mask"] = "flips"
    rule: StepBack = "sub-sequence"

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "steps": 1000,
            "batch": 8,
            "rate": 2e-3,
            "schedule_of_rate": "one-cycle",
            "average": 0.99,
            "longest": 128,
            "patch": None,
            "foreground": 0.33,
            "flips": True,
            "turns": True,
            "rotation": 30.0,
            "zoom": 0.2,
            "jitter": 0.2,
            "spacing": "trailing",
            "widths": (16, 32, 64, 64),
            "blocks": 1,
            "attention": (),
        },
        "tiny": {
            "steps": 4,
            "batch": 2,
            "rate": 1e-2,
            "patch": 32,
            "average": 0.9,
            "chain": 20,
            "samples": 2,
            "sampling_steps": 3,
            "widths": (8, 8),
            "blocks": 1,
            "attention": (1,),
        },
    }

    def resolve(self, traits: Traits) -> Self:
        """Refuse a training without a loss, too."""
        if not self.divergence and not self.cross_entropy:
            raise SettingsError(
                "--settings.divergence 0 with --settings.cross_entropy 0: nothing would be learned; raise one of them"
            )
        return super().resolve(traits)


class BerDiff(PlainDiffusion):
    r"""Bernoulli diffusion of masks (Chen, Wang and Shan, 2023, BerDiff).

    .. math:: y_t = y_0 \oplus \epsilon, \quad \epsilon \sim \mathrm{Bern}\left(\tfrac{1 - \bar\alpha_t}{2}\right),
              \quad L = \mathrm{KL}\left(q(y_{t-1} | y_t, y_0) \,\|\, p(y_{t-1} | y_t, x)\right)
                        + \lambda\, \mathrm{BCE}(\epsilon, \hat\epsilon)

    Departures from the authors' code, where it is wrong: background flips too (a broken line loses that term), and
    both terms of the loss share one pass through the network.
    """

    card = CARDS["berdiff"]
    Settings = BerDiffSettings
    settings: BerDiffSettings

    def make_kernel(self) -> Kernel:
        """Flips or, as in the paper's ablation, Gaussian noise, walked by DDIM (ours)."""
        of = self.settings
        return kernel_of(
            of,
            of.kernel,
            noise=of.predicts == "flips",
            sampler="ddim",
            rule=of.rule,
            divergence=of.divergence,
            cross_entropy=of.cross_entropy,
        )
