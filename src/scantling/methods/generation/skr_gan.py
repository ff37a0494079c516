"""SkrGAN, which draws a sketch of noise and renders it, and its variant in the tables of the multimodal GAN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.contract.method import Method
from scantling.contract.results import Generation
from scantling.contract.stage import Game, Prepared, Stage, frozen
from scantling.contract.step import Inference, Step
from scantling.core.samples import Batch, Traits
from scantling.diffusion.chain import exact
from scantling.losses.adversarial import Adversarial, fooling_loss, telling_loss
from scantling.methods.catalogue import CARDS
from scantling.methods.features.image_diffusion import RANGE, shown
from scantling.methods.generation.basic_gan import BasicGanSettings, Patches
from scantling.methods.generation.noise_gan import SHOWN, NoiseGan, Positive, Rate, Share, Weight
from scantling.networks.convolutional_gan import ConvolutionalDiscriminator, ConvolutionalGenerator, halvings
from scantling.networks.modality_unet import ModalityUNet
from scantling.networks.vgg import VGGJudge
from scantling.phantoms.drafts import edge_sketch
from scantling.phantoms.structure import structure_map

SKETCH = "sketch"


class SkrGanSettings(BasicGanSettings):
    """Settings of `skr-gan`; the numbers are ours.

    Attributes:
        steps: of both stages together.
        sketches: the share of the steps in which sketches are learned; then images of sketches.
        noise: numbers that a sketch is made from.
        drawing: channels of the finest maps of the two networks of sketches.
        width, widths, stages: of what renders a sketch, and of its discriminator.
        augmented: of sketches; images and what is rendered are judged as they are.
        reconstruction: weight of the absolute difference from the image that a sketch is of.
    """

    steps: Positive = 50_000
    batch: Positive = 16
    rate: Rate = 2e-4
    judge_rate: Rate = 2e-4
    noise: Positive = 100
    drawing: Positive = 64
    sketches: Share = 0.5
    reconstruction: Weight = 1.0

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            **BasicGanSettings.presets["quick"], "steps": 2000, "batch": 8, "drawing": 32, "reconstruction": 10.0,
        },
        "tiny": {**BasicGanSettings.presets["tiny"], "steps": 8, "noise": 4, "drawing": 4, "augmented": "always"},
    }  # fmt: skip
    architecture: ClassVar[tuple[str, ...]] = (*BasicGanSettings.architecture, "noise", "drawing")

    def check_size(self) -> None:
        """Refuse a side that one of the networks cannot have."""
        super().check_size()
        halvings(self.size)


class SkrGan(NoiseGan):
    """Sketching and rendering (Zhang et al., SkrGAN, 2019): noise to a sketch, a sketch to an image.

    First a GAN learns the sketches that a rule draws of the images (`phantoms.drafts`); then a U-Net learns to render
    them, by a discriminator and by the difference from the image. A new image is a new sketch, rendered. Departures:
    sketches are learned by the networks of `dcgan`; the networks that render are those of `gan`.
    """

    card = CARDS["skr-gan"]
    Settings = SkrGanSettings
    settings: SkrGanSettings
    answering = ("generator", "renderer")
    loss: ClassVar[Adversarial] = "least-squares"
    reads: ClassVar[tuple[str, ...]] = ("image", SKETCH)

    def __init__(self, settings: SkrGanSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        of = settings
        self.generator = ConvolutionalGenerator(1, noise=of.noise, side=of.size, width=of.drawing)
        self.judge = ConvolutionalDiscriminator(1, side=of.size, width=of.drawing)
        self.renderer = ModalityUNet(1, self.width, widths=of.widths)
        self.judge_of_images = Patches(VGGJudge(self.width, width=of.width, stages=of.stages))

    def stages(self) -> Sequence[Stage]:
        """Sketches of noise, then images of sketches."""
        of = self.settings
        sketching = min(max(1, round(of.steps * of.sketches)), max(1, of.steps - 1))
        drawn = Prepared(name=SKETCH, kind="probabilities", make=self.sketches)
        first = self.stage("sketches", (self.generator,), (self.judge,), steps=sketching)
        second = self.stage("images", (self.renderer,), (self.judge_of_images,), steps=of.steps - sketching)
        return (
            replace(first, prepares=(drawn,)),
            replace(second, objectives=self.rendering, stepped=None),
        )

    def sketches(self, batch: Batch, step: Step) -> Tensor:
        """The sketches (B, 1, H, W) of 0 and 1 of the images of a batch."""
        del step
        planes = batch.image.float().mean(1).cpu().numpy()
        drawn = np.stack([self.sketch(plane) for plane in planes])[:, None]
        return torch.from_numpy(drawn).to(batch.image.device, batch.image.dtype)

    def sketch(self, plane: np.ndarray) -> np.ndarray:
        """The sketch (H, W) of a plane (H, W), by rule."""
        return edge_sketch(plane)

    def real(self, images: Batch) -> Tensor:
        """Sketches in [-1, 1]."""
        return 2 * images.fields[SKETCH].to(self.dtype) - 1

    def rendering(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The move of the renderer on sketches by rule, and then that of its discriminator."""
        images = batch["images"]
        image, sketch = images.image, images.fields[SKETCH].to(self.dtype)
        made = exact(self.rendered(sketch))
        with frozen(self.judge_of_images):
            scores = exact(self.judge_of_images(made))
        yield (
            "generator",
            {
                "fooling": fooling_loss(scores, kind=self.loss),
                "reconstruction": self.settings.reconstruction * F.l1_loss(made, image),
            },
        )
        real, fake = (exact(self.judge_of_images(each)) for each in (image, made.detach()))
        yield "judge", {"telling images": telling_loss(real, fake, kind=self.loss)}

    def rendered(self, sketch: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] of sketches (B, 1, H, W) in [0, 1]."""
        made: Tensor = self.renderer(sketch)
        return made

    def generate(self, count: int, inference: Inference, given: Batch | None = None) -> Generation:
        """Images, and beside each the sketch that it was rendered of."""
        del given
        numbers = range(inference.number, inference.number + count)
        sketches = torch.cat([self.drawn(replace(inference, number=number)) for number in numbers])
        sketches = (sketches + 1) / 2
        images = torch.cat([exact(self.rendered(sketch.to(self.dtype))) for sketch in sketches.split(1)])
        return Generation(
            images=images.clamp(*RANGE), normalised=True, fields={SKETCH: (sketches > 0.5).to(sketches.dtype)}
        )

    def pictures(self, batch: Batch, inference: Inference) -> Mapping[str, Tensor]:
        """An image, its sketch and what is rendered of it; then sketches and images of noise."""
        sketch = self.sketches(batch, Step(seed=0))[:1]
        rendered = exact(self.rendered(sketch.to(self.dtype)))[:, :1]
        one = torch.cat([batch.image[:1, :1], 2 * sketch - 1, rendered.to(sketch.dtype)], 3)
        made = self.generate(SHOWN, replace(inference, number=0))
        parts = [made.images[:, :1]] if made.images is not None else []
        rows = torch.cat([torch.cat([*each.split(1)], 3) for each in (2 * made.fields[SKETCH] - 1, *parts)], 2)
        return {
            "An image, its sketch by rule, and what is rendered of the sketch": shown(one),
            f"{SHOWN} sketches of noise, and the images of them": shown(rows),
        }


class SkrGanStar(SkrGan):
    """SkrGAN as the thesis on the multimodal GAN holds it against its own: 1 - s of the structure map s is rendered.

    The structure map is Algorithm 1 of the thesis (`phantoms.structure`); each modality is trained apart
    (`--settings.channel`), without lesions, registration or a stage of reconstruction alone.
    """

    card = CARDS["skr-gan-star"]

    def sketch(self, plane: np.ndarray) -> np.ndarray:
        """The structure map (H, W)."""
        return structure_map(plane)

    def rendered(self, sketch: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] of 1 - s."""
        return super().rendered(1 - sketch)
