"""DCGAN, and the two of its kind that change one thing each: WGAN its loss, AC-GAN that it knows image classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.contract.method import Method
from scantling.contract.options import GenerateOptions
from scantling.contract.results import Generation
from scantling.contract.step import Inference, Step
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Traits
from scantling.losses.adversarial import Adversarial
from scantling.methods.catalogue import CARDS
from scantling.methods.generation.noise_gan import Decay, NoiseGan, NoiseGanSettings, Positive, Rate, Weight
from scantling.networks.convolutional_gan import ConvolutionalDiscriminator, ConvolutionalGenerator


class DcGanSettings(NoiseGanSettings):
    """Settings of `dcgan`: Adam, batch, widths and size of Radford et al. (2016); the steps are ours."""


class DcGan(NoiseGan):
    """Deep convolutional GAN (Radford et al., 2016) with the loss that does not saturate (Goodfellow et al., 2014).

    Departures: group norm instead of batch norm; normal noise instead of uniform.
    """

    card = CARDS["dcgan"]
    Settings: ClassVar[type[NoiseGanSettings]] = DcGanSettings
    settings: Any

    def __init__(self, settings: Any, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        side, width, classes = settings.size, settings.width, self.classes
        self.generator = ConvolutionalGenerator(
            self.width, noise=settings.noise, side=side, width=width, classes=classes
        )
        self.judge = ConvolutionalDiscriminator(
            self.width, side=side, width=width, classes=classes, bias=self.loss != "wasserstein"
        )

    @property
    def classes(self) -> int:
        """How many image classes it knows."""
        return 0


class WganSettings(DcGanSettings):
    """Settings of `wgan`: batch, rate, clipping and updates of the critic of Arjovsky et al. (2017); steps are ours.

    Attributes:
        clip: the weights of the critic are clipped to ± so much after each of its updates; unused with a penalty.
        penalty: weight of the penalty on the slope of the critic instead (Gulrajani et al., 2017: 10, with betas 0 and
            0.9 and a rate of 1e-4); 0 for none.
    """

    batch: Positive = 64
    rate: Rate = 5e-5
    judge_rate: Rate = 5e-5
    betas: tuple[Decay, Decay] = (0.0, 0.99)
    judge_steps: Positive = 5
    clip: Rate = 0.01
    penalty: Weight = 0.0

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            **NoiseGanSettings.presets["quick"], "steps": 4000, "rate": 2e-4, "judge_rate": 2e-4, "augmented": "always",
        },
        "tiny": {**NoiseGanSettings.presets["tiny"], "judge_steps": 2, "clip": 0.1, "augmented": "always"},
    }  # fmt: skip

    def check_size(self) -> None:
        """As of all; and the scores of a critic have no middle that could say how sure it is.

        Raises:
            SettingsError: the changes are to adapt to that.
        """
        super().check_size()
        if self.augmented == "adaptive":
            raise SettingsError("--settings.augmented adaptive: a critic is not sure or unsure; take no or always")


class Wgan(DcGan):
    """Wasserstein GAN (Arjovsky et al., 2017) on the networks of `dcgan`.

    RMSProp of the paper is Adam without a mean of gradients, β₁ = 0.
    """

    card = CARDS["wgan"]
    Settings = WganSettings
    settings: WganSettings
    loss: ClassVar[Adversarial] = "wasserstein"

    def stepped(self, step: Step, returned: Sequence[Any]) -> None:
        """As of all, and the weights of the critic are clipped."""
        super().stepped(step, returned)
        if not self.settings.penalty:
            with torch.no_grad():
                for parameter in self.judge.parameters():
                    parameter.clamp_(-self.settings.clip, self.settings.clip)


class AcGanOptions(GenerateOptions):
    """How cases are made.

    Attributes:
        image_class: of all images; empty: each in turn.
    """

    image_class: str = ""


class AcGanSettings(DcGanSettings):
    """Settings of `acgan`: those of `dcgan`, and

    Attributes:
        class_weight: of the cross-entropy of the image classes.
    """

    batch: Positive = 100
    class_weight: Weight = 1.0

    def resolve(self, traits: Traits) -> Self:
        """Refuse data of one class.

        Raises:
            SettingsError: there are no two image classes.
        """
        if len(traits.image_classes) < 2:
            raise SettingsError(
                f"acgan: found the image classes {list(traits.image_classes)}; expected two or more; dcgan needs none"
            )
        return super().resolve(traits)


class AcGan(DcGan):
    """Auxiliary-classifier GAN (Odena et al., 2017) on the networks of `dcgan`.

    The class stands beside the noise; the discriminator also says which class an image is of, real or made.
    """

    card = CARDS["acgan"]
    Settings = AcGanSettings
    settings: AcGanSettings
    generate_with = AcGanOptions
    reads: ClassVar[tuple[str, ...]] = ("image", "image_class")

    @property
    def classes(self) -> int:
        """How many image classes it knows."""
        return len(self.traits.image_classes)

    def made(self, noise: Tensor, kinds: Tensor | None) -> Tensor:
        """Images (B, C, H, W) of noise and image classes (B,)."""
        made: Tensor = self.generator(noise, kinds)
        return made

    def scores(self, said: Tensor) -> Tensor:
        """The first number; logits of the classes follow."""
        return said[:, :1]

    def fooling(self, said: Tensor, kinds: Tensor | None) -> dict[str, Tensor]:
        """With the class that was asked for."""
        return super().fooling(said, kinds) | {"class": self._class_loss(said, kinds)}

    def telling(self, real: Tensor, fake: Tensor, kinds: Tensor | None) -> dict[str, Tensor]:
        """With the classes of both."""
        terms = super().telling(real, fake, kinds)
        return terms | {"class": self._class_loss(real, kinds), "class of fakes": self._class_loss(fake, kinds)}

    def generate_options(self, options: GenerateOptions) -> GenerateOptions:
        """Refuse an image class that it does not know."""
        chosen, known = AcGanOptions.of(dict(super().generate_options(options))), self.traits.image_classes
        if chosen.image_class and chosen.image_class not in known:
            raise SettingsError(
                f"--options.image_class {chosen.image_class}: the model was trained on {', '.join(known)}"
            )
        return chosen

    def generate(self, count: int, inference: Inference, given: Batch | None = None) -> Generation:
        """Images of a class, or of each in turn."""
        del given
        names, wanted = self.traits.image_classes, getattr(inference.options, "image_class", "")
        numbers = range(inference.number, inference.number + count)
        kinds = [names.index(wanted) if wanted else number % len(names) for number in numbers]
        images = [self.drawn(replace(inference, number=n), kind) for n, kind in zip(numbers, kinds, strict=True)]
        return Generation(images=torch.cat(images), normalised=True, image_classes=torch.tensor(kinds))

    def _class_loss(self, said: Tensor, kinds: Tensor | None) -> Tensor:
        if kinds is None:
            raise SettingsError("acgan learns from image classes, and the batch has none")
        return self.settings.class_weight * F.cross_entropy(said[:, 1:], kinds)
