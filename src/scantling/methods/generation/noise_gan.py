"""What GANs that make pictures of noise share: settings, the game of two players, samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from scantling.contract.capabilities import Generator
from scantling.contract.method import Method
from scantling.contract.results import Generation
from scantling.contract.settings import Settings
from scantling.contract.stage import Game, Player, Stage, frozen
from scantling.contract.step import Inference, Step
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.core.streams import Augmentation, Stream
from scantling.diffusion.chain import exact
from scantling.losses.adversarial import Adversarial, fooling_loss, slope_penalty, telling_loss
from scantling.methods.features.image_diffusion import RANGE, shown
from scantling.networks.convolutional_gan import halvings
from scantling.networks.diff_augment import CHANGES, adapted, diff_augment, with_probability

Positive = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
SHOWN = 4


class NoiseGanSettings(Settings):
    """Settings that all GANs of pictures share.

    Attributes:
        steps: of training: updates of the discriminator.
        batch: images a step.
        rate, judge_rate: of the learning of the generator and of the discriminator.
        betas: of Adam, for both.
        average: decay of the averaged weights of the generator, which answer; 0 for none.
        size: the side of the square that every image is resampled to, and that is made.
        channel: the one channel that is made, such as "flair"; all together if empty.
        noise: numbers that an image is made from.
        width: channels of the finest maps of generator and discriminator.
        judge_steps: updates of the discriminator for one of the generator.
        augmented: both kinds of images are changed before they are judged: "always" (Zhao et al., 2020), or with a
            probability that adapts to how sure the discriminator is ("adaptive"; Karras et al., 2020).
        sureness: the share of sureness that the adaptive probability holds; 0.6 in the paper.
        adapts_in: images in which that probability could go from 0 to 1; 500,000 in the paper.
        flips: mirror real images at random.
    """

    steps: Positive = 50_000
    batch: Positive = 128
    rate: Rate = 2e-4
    judge_rate: Rate = 2e-4
    betas: tuple[Decay, Decay] = (0.5, 0.999)
    average: Decay = 0.0
    size: Positive = 64
    channel: str = ""
    noise: Positive = 100
    width: Positive = 128
    judge_steps: Positive = 1
    augmented: Literal["no", "always", "adaptive"] = "no"
    sureness: Annotated[float, Field(gt=-1, lt=1)] = 0.6
    adapts_in: Positive = 500_000
    flips: bool = False

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "steps": 2000, "batch": 16, "size": 96, "width": 32, "augmented": "adaptive", "adapts_in": 20_000,
            "average": 0.99, "flips": True,
        },
        "tiny": {
            "steps": 4, "batch": 2, "rate": 1e-3, "judge_rate": 3e-2, "average": 0.9, "size": 8, "noise": 4,
            "width": 4, "augmented": "adaptive",
        },
    }  # fmt: skip
    architecture: ClassVar[tuple[str, ...]] = ("size", "channel", "noise", "width")

    def resolve(self, traits: Traits) -> Self:
        """Refuse a size that no doublings lead to, or a channel that the data do not have."""
        self.check_size()
        if self.channel and self.channel not in traits.channels:
            raise SettingsError(
                f"--settings.channel {self.channel}: the images have the channels {', '.join(traits.channels)}; name "
                "one of them, or none to make all together"
            )
        return self

    def check_size(self) -> None:
        """Refuse a side that the networks cannot have."""
        halvings(self.size)

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """How many images it learns, on which grid."""
        images = traits.slices()
        number = images.labelled + images.unlabelled
        channels = self.channel or " + ".join(traits.channels)
        return (f"learns from {number} images ({channels}) on a grid of {self.size} x {self.size}; no mask is read",)


class NoiseGan(Generator):
    """Two players on square pictures, of all channels of the data or of one: a generator of noise (B, noise) and a
    discriminator (Goodfellow et al., 2014).

    Subclasses make `generator` and `judge` and say what the two minimise. What the discriminator answers is (B, n): its
    scores, of the whole image or of patches, and whatever else it has learned to say.
    """

    answering: ClassVar[tuple[str, ...]] = ("generator",)
    settings: Any
    generator: nn.Module
    judge: nn.Module
    share: Tensor
    loss: ClassVar[Adversarial] = "logistic"
    reads: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(self, settings: Any, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        self.register_buffer("share", torch.zeros(()))  # of the changes that are made, where that adapts

    @classmethod
    def resolve_traits(cls, settings: Any, traits: Traits) -> Traits:
        """Those of the one channel, where one is chosen."""
        return traits.only((settings.channel,)) if settings.channel else traits

    @property
    def preprocessing(self) -> Preprocessing:
        """Squares, each channel in [-1, 1] by its own range."""
        return Preprocessing(dimensions=2, normalise="unit", size=(self.settings.size,) * 2)

    @property
    def width(self) -> int:
        """The channels of an image."""
        return len(self.traits.channels)

    def stages(self) -> Sequence[Stage]:
        """One stage: the generator against the discriminator."""
        return (self.stage("train", (self.generator,), (self.judge,), steps=self.settings.steps),)

    def stage(self, name: str, making: Sequence[nn.Module], judging: Sequence[nn.Module], *, steps: int) -> Stage:
        """A stage of the game with these modules of its two players."""
        of = self.settings
        augment = Augmentation(turns=False) if of.flips else None
        return Stage(
            name=name,
            players=(
                Player(name="generator", modules=tuple(making), rate=of.rate, betas=of.betas, average=of.average),
                Player(name="judge", modules=tuple(judging), rate=of.judge_rate, betas=of.betas),
            ),
            streams=(Stream(name="images", reads=self.reads, batch=of.batch, augment=augment),),
            steps=steps,
            objectives=self.objectives,
            stepped=self.stepped,
        )

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The generator's move, where it is its turn, then the discriminator's.

        Returns:
            The signs (B, 1) of the scores of real images; of the patches of an image their mean.
        """
        images, moves = batch["images"], self.moves(step)
        real, kinds = self.real(images), images.fields.get("image_class")
        with torch.set_grad_enabled(moves):
            fake = exact(self.made(self.start(step, real), kinds))
        if moves:
            with frozen(self.judge):
                said = exact(self.judge(self.changed(fake, "fooling", step)))
            yield "generator", self.fooling(said, kinds)
        real, fake = self.changed(real, "real", step), self.changed(fake.detach(), "fake", step)
        said = exact(self.judge(real))
        terms = self.telling(said, exact(self.judge(fake)), kinds)
        if penalty := getattr(self.settings, "penalty", 0.0):
            share = step.rand("between", like=real.new_empty(len(real), 1))[:, 0]
            terms["slope"] = penalty * slope_penalty(lambda x: exact(self.judge(x)), real, fake, share)
        yield "judge", terms
        middle = 0.5 if self.loss == "least-squares" else 0.0  # between what real images and fakes are to score
        return step.gather((self.scores(said).detach() - middle).sign().mean(1, keepdim=True))

    def real(self, images: Batch) -> Tensor:
        """What the generator learns to make of nothing: the images."""
        return images.image

    def moves(self, step: Step) -> bool:
        """Whether the generator moves in this step."""
        return step.number % self.settings.judge_steps == self.settings.judge_steps - 1

    def start(self, draws: Step | Inference, like: Tensor) -> Tensor:
        """The noise (B, noise) of as many images as there are rows."""
        return draws.randn("noise", like=like.new_empty(len(like), self.settings.noise))

    def made(self, noise: Tensor, kinds: Tensor | None) -> Tensor:
        """Images (B, C, H, W) of noise, and of image classes (B,) where it knows any."""
        del kinds
        made: Tensor = self.generator(noise)
        return made

    def changed(self, images: Tensor, purpose: str, step: Step) -> Tensor:
        """What the discriminator sees of images: they are changed where the settings say so."""
        if self.settings.augmented == "no":
            return images
        coins = step.rand(purpose, like=images.new_empty(len(images), CHANGES))
        if self.settings.augmented == "adaptive":
            gates = step.rand(f"gates of {purpose}", like=images.new_empty(len(images), 4))
            coins = with_probability(coins, gates, self.share.to(coins.dtype))
        return diff_augment(images, coins)

    def scores(self, said: Tensor) -> Tensor:
        """The scores of the image or of its patches, of all that the discriminator says (B, n)."""
        return said

    def fooling(self, said: Tensor, kinds: Tensor | None) -> dict[str, Tensor]:
        """What the generator minimises, of what the discriminator says of its images."""
        del kinds
        return {"fooling": fooling_loss(self.scores(said), kind=self.loss)}

    def telling(self, real: Tensor, fake: Tensor, kinds: Tensor | None) -> dict[str, Tensor]:
        """What the discriminator minimises."""
        del kinds
        return {"telling": telling_loss(self.scores(real), self.scores(fake), kind=self.loss)}

    def stepped(self, step: Step, returned: Sequence[Any]) -> None:
        """The share of changes follows how sure the discriminator is of real images."""
        del step
        of = self.settings
        if of.augmented == "adaptive":
            signs = torch.cat(list(returned)).flatten()
            self.share.copy_(adapted(self.share, signs, target=of.sureness, images=of.adapts_in))

    def generate(self, count: int, inference: Inference, given: Batch | None = None) -> Generation:
        """Images of the size that it was trained on, one by one."""
        del given
        numbers = range(inference.number, inference.number + count)
        return Generation(
            images=torch.cat([self.drawn(replace(inference, number=number)) for number in numbers]), normalised=True
        )

    def drawn(self, inference: Inference, kind: int | None = None) -> Tensor:
        """One image (1, C, H, W) in [-1, 1], of an image class where it knows any."""
        like = torch.empty((1, 1), device=inference.device, dtype=self.dtype)
        kinds = None if kind is None else torch.tensor([kind], device=inference.device)
        return exact(self.made(self.start(inference, like), kinds)).clamp(*RANGE)

    def pictures(self, batch: Batch, inference: Inference) -> Mapping[str, Tensor]:
        """A real image beside some that are made."""
        made = self.generate(SHOWN, replace(inference, number=0)).images
        images = [batch.image[:1]] if made is None else [batch.image[:1], *made.split(1)]
        return {f"A real image, and {SHOWN} that are made": shown(torch.cat(images, 3))}
