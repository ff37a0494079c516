"""What methods share that learn from three unpaired pools: images, backgrounds, and masks that look like vessels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from scantling.contract.capabilities import Segmenter
from scantling.contract.method import VESSEL
from scantling.contract.settings import Settings
from scantling.contract.stage import Criterion, Prepared, Visit, frozen
from scantling.contract.step import Draws, Inference, Step
from scantling.core.errors import SettingsError
from scantling.core.randomness import numpy_generator
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.core.streams import Augmentation, Stream
from scantling.diffusion.chain import exact
from scantling.losses.adversarial import fooling_loss, telling_loss
from scantling.networks.diff_augment import CHANGES, diff_augment
from scantling.networks.discriminators import patch_discriminator
from scantling.networks.polyphase import phase
from scantling.networks.replay import ReplayPool
from scantling.phantoms.backgrounds import evened, without_ridges, without_rim, without_tubes
from scantling.phantoms.fractal import fractal_crossing
from scantling.phantoms.kinds import Kind, for_each, phantom_of

Positive = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
BACKGROUND = "background"
"""The pool of images without contrast."""
PHANTOMS = "masks of phantoms"
COLOUR = ("red", "green", "blue")
LUMA = (0.299, 0.587, 0.114)
"""The weights of the colours in grey (ITU-R BT.601)."""
PRIORS = {
    "folder": "training has a folder of masks",
    "fractal": "as in training",
    "phantoms": "training has masks of phantoms",
}
"""How a report says what masks training has."""
RIM = 4
"""Pixels along the edge of the region of interest that an evened image leaves out: they are dark, as vessels are."""
WAYS = {
    "pool": "The image with its vessels taken out by a wide median; training has backgrounds of its own",
    "median": "The background: made from the image, its vessels taken out by a wide median",
    "filled": "The background: made from the image, its ridges filled with what is beside them",
    "image": "The background: the image itself",
}
"""How a report calls the backgrounds it shows."""


class UnpairedSettings(Settings):
    """Where images, backgrounds and masks come from, and who judges what is made of them.

    Attributes:
        batch: images a step.
        rate: of all players.
        patch: the side of a patch as it is read; resolved to what the images have room for.
        interleave: training sees every n-th row and column of a patch, an answer all n² phases. 1: no subsampling.
        judge: channels of the first layer of the discriminators, which have `judge_layers` strides of 2.
        judge_rate: the rate of the discriminators; None: that of the others.
        augmented: what discriminators see is changed first, so that few images are not learned by heart (DiffAugment;
            ours).
        pool: fakes that each discriminator remembers.
        masks: vessels come from the cases that are only a mask ("folder"), from the fractal rule, or are those of
            phantoms of retinas, where images have colours, else of angiograms (ours); None: the folder where there are
            such cases, else the rule.
        phantoms: how many there are for all images together, if these are as large as photographs of DRIVE; of larger
            ones fewer, as many pixels in all; ours.
        background: from the pool "background", from the images by a wide median or with their ridges filled (both
            ours), or the image itself, as in C-DARL; None: the pool where there is one, else the median.
        ridges: the share of an image that "filled" takes for ridges; ours.
        window: of that median in pixels, more than twice the widest vessel; ours.
        canvas: the side of a fractal mask, of which a patch is cut; None: the patch's; ours.
        overlaid: fractals on one mask; ours.
        evened: half the side in pixels of the square in which the light and the contrast of an image are made even
            before anything looks at it, for photographs whose vessels are faint beside their shading; the rim of the
            region of interest then counts as outside; 0: not at all; ours.
        grey: what becomes of colour; the green channel shows vessels best.
    """

    batch: Positive = 1
    rate: Annotated[float, Field(gt=0)] = 2e-4
    patch: Positive = 512
    interleave: Positive = 1
    judge: Positive = 64
    judge_layers: Positive = 3
    judge_rate: Annotated[float, Field(gt=0)] | None = None
    augmented: bool = False
    pool: Annotated[int, Field(ge=0)] = 50
    masks: Literal["folder", "fractal", "phantoms"] | None = None
    phantoms: Positive = 200
    background: Literal["pool", "median", "filled", "image"] | None = None
    ridges: Annotated[float, Field(gt=0, lt=1)] = 0.28
    window: Positive = 28
    canvas: Positive | None = None
    overlaid: Positive = 1
    evened: Annotated[int, Field(ge=0)] = 0
    grey: Literal["green", "luminance"] = "green"

    @property
    def side(self) -> int:
        """Of what the networks see in training."""
        return self.patch // self.interleave

    def resolve(self, traits: Traits) -> Self:
        """Decide from the data where masks and backgrounds come from and how large a patch may be."""
        pooled, drawn = BACKGROUND in traits.pools, traits.masks_alone > 0
        if self.background == "pool" and not pooled:
            raise SettingsError(f'--settings.background pool: no training image is in the pool "{BACKGROUND}"')
        if self.masks == "folder" and not drawn:
            raise SettingsError(
                "--settings.masks folder: no training case is only a mask; name a folder of masks with another --data"
            )
        least = self.interleave * 4 * 2**self.judge_layers  # what the last layers of a discriminator need
        if self.patch < least:
            raise SettingsError(
                f"--settings.patch: found {self.patch}, expected {least} or more for the discriminators"
            )
        patch = max(least, min(self.patch, *traits.slices().smallest) // self.interleave * self.interleave)
        return self.model_copy(
            update={
                "patch": patch,
                "canvas": max(self.canvas or patch, patch),
                "masks": self.masks or ("folder" if drawn else "fractal"),
                "background": self.background or ("pool" if pooled else "median"),
            }
        )


class UnpairedSegmenter(Segmenter):
    """A segmenter of vessels whose discriminators compare what it makes of three unpaired pools with what is there."""

    settings: UnpairedSettings
    judges: nn.ModuleDict
    pools: nn.ModuleDict

    def judge(self, *names: str) -> None:
        """Make a discriminator with a pool for each of "masks" and "images" that is named."""
        of = self.settings
        self.judges = nn.ModuleDict(
            {name: patch_discriminator(2, 1, width=of.judge, layers=of.judge_layers) for name in names}
        )
        self.pools = nn.ModuleDict({name: ReplayPool(of.pool, (1, of.side, of.side)) for name in names})

    @classmethod
    def resolve_traits(cls, settings: UnpairedSettings, traits: Traits) -> Traits:
        """One class: that of the data where they name one, else the vessel."""
        del settings
        return traits if len(traits.classes) == 1 else traits.model_copy(update={"labels": VESSEL})

    @property
    def preprocessing(self) -> Preprocessing:
        """Pictures, each in [-1, 1]."""
        return Preprocessing(dimensions=2, normalise="unit")

    def streams(self) -> tuple[Stream, ...]:
        """Images, and backgrounds and masks where they do not come of the images or of the rule."""
        of = self.settings

        def stream(name: str, **fields: Any) -> Stream:
            return Stream(name=name, batch=of.batch, patch=(of.patch, of.patch), augment=Augmentation(), **fields)

        pictures: dict[str, Any] = {"reads": ("image",), "without": (f"pool:{BACKGROUND}",)}
        streams = [stream("angiograms", **pictures)]
        if of.background == "pool":
            streams.append(stream("backgrounds", reads=("image",), pool=BACKGROUND))
        elif of.background in ("median", "filled"):
            streams.append(stream("backgrounds", **pictures))
        if of.masks == "folder":
            streams.append(stream("vessels", reads=("mask",), without=("image",)))
        elif of.masks == "phantoms":
            streams.append(stream("vessels", reads=("image", PHANTOMS), without=(f"pool:{BACKGROUND}",)))
        return tuple(streams)

    def prepares(self) -> tuple[Prepared, ...]:
        """The masks of phantoms, where vessels are these."""
        return (Prepared(name=PHANTOMS, kind="image", make=self.phantoms),) if self.settings.masks == "phantoms" else ()

    def phantoms(self, batch: Batch, step: Step) -> Tensor:
        """Masks of phantoms on the grid of an image, a channel each: (1, C, H, W)."""
        traits, shape = self.traits.slices(), (batch.image.shape[2], batch.image.shape[3])
        count = for_each(self.settings.phantoms, images=traits.labelled + traits.unlabelled, shape=traits.shape)
        kind: Kind = "retina" if traits.channels == COLOUR else "angiogram"
        made = [
            phantom_of(kind, shape, generator=numpy_generator(step.seed, PHANTOMS, step.number, number)).mask
            for number in range(count)
        ]
        return torch.from_numpy(np.stack(made)[None, :, : shape[0], : shape[1]].astype(np.float16))

    def grey(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The images as one channel in [-1, 1], level outside the region, and the region (B, 1, *S) bool."""
        image = batch.image
        if self.traits.channels == COLOUR and self.settings.grey == "green":
            grey = image[:, 1:2]
        elif self.traits.channels == COLOUR:
            grey = (image * image.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)
        else:
            grey = image.mean(1, keepdim=True)
        region = batch.region
        if self.settings.evened:
            region = without_rim(region, width=RIM)
            return evened(grey, region, window=self.settings.evened), region
        counted = region.sum((1, 2, 3), keepdim=True).clamp(min=1)
        return torch.where(region, grey, (grey * region).sum((1, 2, 3), keepdim=True) / counted), region

    def drawn(self, batch: Mapping[str, Batch], step: Step) -> tuple[Tensor, Tensor, Tensor]:
        """Images and backgrounds (B, 1, side, side), and masks (B, 1, side, side) bool inside the backgrounds' regions.

        Of each a phase, drawn by itself.
        """
        angiogram, _ = self._subsampled(batch["angiograms"], "angiograms", step)
        background, region = self._subsampled(batch.get("backgrounds", batch["angiograms"]), "backgrounds", step)
        return angiogram, background, self._vessels(batch.get("vessels"), step, like=angiogram) & region

    def emptied(self, grey: Tensor, region: Tensor) -> Tensor:
        """Images (B, 1, H, W) without their vessels, by the rule for backgrounds."""
        if self.settings.background == "filled":
            return without_ridges(grey, region, share=self.settings.ridges)
        return without_tubes(grey, region, window=self.settings.window)

    def fooled(self, fakes: Mapping[str, Tensor], step: Step) -> Tensor:
        """How far what is made is from fooling the discriminators, who do not learn by it."""
        with frozen(self.judges):
            scores = [self.judged(name, self.changed(fakes[name], f"fooling {name}", step)) for name in self.judges]
            return torch.stack([fooling_loss(each, kind="least-squares") for each in scores]).sum()

    def told_apart(self, reals: Mapping[str, Tensor], fakes: Mapping[str, Tensor], step: Step) -> dict[str, Tensor]:
        """The loss of each discriminator, on what is there and on what its pool shows for what is made."""
        terms = {}
        for name in self.judges:
            seen = {f"real {name}": reals[name], f"fake {name}": self.shown(name, fakes, step)}
            real, fake = (self.judged(name, self.changed(each, purpose, step)) for purpose, each in seen.items())
            terms[name] = telling_loss(real, fake, kind="least-squares")
        return terms

    def changed(self, images: Tensor, purpose: str, step: Step) -> Tensor:
        """What a discriminator is shown of images."""
        if not self.settings.augmented:
            return images
        return diff_augment(images, step.rand(purpose, like=images.new_empty(len(images), CHANGES)))

    def judged(self, name: str, images: Tensor) -> Tensor:
        """The scores of a discriminator."""
        scores: Tensor = exact(self.judges[name](images)[-1])
        return scores

    def shown(self, name: str, fakes: Mapping[str, Tensor], step: Step) -> Tensor:
        """This process's part of what the pool shows for the fakes of all."""
        own = exact(fakes[name].detach())
        rows, coins = step.gather(own), step.gather(step.rand(f"pool of {name}", like=own.new_empty(len(own), 2)))
        first = step.slot * len(own) % len(rows)
        shown: Tensor = self.pools[name](rows, coins)
        return shown[first : first + len(own)]

    def demonstration(self, batch: Batch, draws: Draws) -> tuple[Tensor, Tensor]:
        """Of the middle of the images: backgrounds, and masks by the rule."""
        grey, region = (middle(tensor, self.settings.patch) for tensor in self.grey(batch))
        if self.settings.background != "image":
            grey = self.emptied(grey, region)
        return grey, self._ruled((grey.shape[2], grey.shape[3]), draws, like=grey, purpose="shown fractals") & region

    @abstractmethod
    def demonstrated(self, batch: Batch, draws: Draws) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of the middle of the images: backgrounds, masks by the rule, paintings, what is found in them."""

    def pictures(self, batch: Batch, inference: Inference) -> Mapping[str, Tensor]:
        """A background, a mask, what the model paints of both, and what it finds there again."""
        background, vessels, painted, found = self.demonstrated(batch, inference)
        prior = PRIORS[self.settings.masks or "fractal"]
        shown = {
            WAYS[self.settings.background or "median"]: (1 + background) / 2,
            f"A mask by the fractal rule, {prior}": vessels,
            "What the model paints with both": (1 + painted) / 2,
            "What it segments in its painting": (1 + found) / 2,
        }
        return {caption: picture[0].float().expand(3, -1, -1) for caption, picture in shown.items()}

    def by_cycle(self) -> Criterion:
        """Weights are chosen by the cycle on validation images, whose masks are not read."""
        return Criterion(name="cycle", direction="min", value=self.inconsistency, visits=("angiograms",))

    def inconsistency(self, visit: Visit, step: Step) -> float:
        """Cycle consistency on validation images, whose masks are not read: the mean of |found again - painted|."""
        errors = []
        for number, batch in enumerate(visit("angiograms")):
            _, vessels, _, found = self.demonstrated(batch, replace(step, number=number))
            errors.append(float((exact(found) + 1 - 2 * vessels.to(found.dtype)).abs().mean()))
        return sum(errors) / len(errors) if errors else float("nan")

    def _subsampled(self, batch: Batch, purpose: str, step: Step) -> tuple[Tensor, Tensor]:
        """One phase of each image, or of the background that is made of it, and the same of its region."""
        grey, region = self.grey(batch)
        if purpose == "backgrounds" and self.settings.background in ("median", "filled"):
            grey = self.emptied(grey, region)
        first = step.randint(f"phase of {purpose}", 0, self.settings.interleave**2, count=len(grey))
        return phase(grey, self.settings.interleave, first=first), phase(region, self.settings.interleave, first=first)

    def _vessels(self, batch: Batch | None, step: Step, *, like: Tensor) -> Tensor:
        """Masks (B, 1, side, side) bool from the folder, or by the rule."""
        of, count = self.settings, len(like)
        if batch is None:
            masks = self._ruled((of.patch, of.patch), step, like=like)
        elif of.masks == "phantoms":
            drawn = batch.fields[PHANTOMS]  # (B, C, *S), of which each sample takes one
            chosen = step.randint("phantoms", 0, drawn.shape[1], count=count)
            masks = drawn[torch.arange(count, device=drawn.device), chosen][:, None] > 0.5
        else:
            masks = batch.mask == 1
        first = step.randint("phase of vessels", 0, of.interleave**2, count=count)
        return phase(masks, of.interleave, first=first)

    def _ruled(self, shape: tuple[int, int], draws: Draws, *, like: Tensor, purpose: str = "fractals") -> Tensor:
        """Masks by the fractal rule (B, 1, *shape) bool."""
        side, count = max(self.settings.canvas or 0, *shape), self.settings.overlaid
        masks = [
            fractal_crossing(shape, side=side, count=count, generator=numpy_generator("fractals", seed))
            for seed in draws.randint(purpose, 0, 1 << 53, count=len(like)).tolist()
        ]
        return torch.from_numpy(np.stack(masks))[:, None].to(like.device)


def middle(tensor: Tensor, side: int) -> Tensor:
    """The middle (B, C, H, W) of images, `side` pixels a side at most."""
    height, width = (min(side, n) for n in tensor.shape[2:])
    top, left = (tensor.shape[2] - height) // 2, (tensor.shape[3] - width) // 2
    return tensor[:, :, top : top + height, left : left + width]
