"""BerDiff: masks whose pixels flip until nothing is left, and a network that sees the image and flips them back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from scantling.contract.method import Method
from scantling.contract.stage import Game
from scantling.contract.step import Draws, Step
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Traits
from scantling.diffusion.bernoulli import BernoulliProcess, Rule, cross_entropy, flipped_log_odds
from scantling.diffusion.chain import exact
from scantling.diffusion.samplers import Draw, Final, Guess, Model, bernoulli
from scantling.diffusion.schedules import Schedule, Spacing, betas
from scantling.methods.catalogue import CARDS
from scantling.methods.mask_diffusion.chain_settings import MaskDiffusionSettings, Positive
from scantling.methods.mask_diffusion.chains import Condition, MaskDiffusion, masks_of

Weight = Annotated[float, Field(ge=0)]


class BerDiffSettings(MaskDiffusionSettings):
    """Settings of `berdiff`: the paper's on LIDC and, where it is silent, its authors' code.

    The paper's patches are crops of 128 pixels around a nodule; images keep their own pixels here too. As we recall
    it, not confirmed: batches of 32, a rate of 5e-5, and a reader drawn at every visit. No source gives the length of
    the training: `steps` is the later of the two iterations at which the ablation of the kernel reports.

    Attributes:
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
    divergence: Weight = 1.0
    cross_entropy: Weight = 1.0
    predicts: Literal["flips", "mask"] = "flips"
    rule: Rule | Literal["sub-sequence"] = "sub-sequence"

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


class BerDiff(MaskDiffusion):
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

    def __init__(self, settings: BerDiffSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        self.process = BernoulliProcess(betas(settings.schedule, settings.chain))
        self.network = self.denoiser(1 + len(traits.channels), 1)

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The divergence of the step back, and the cross-entropy of the flips."""
        labelled, of = batch["labelled"], self.settings
        clean, known = masks_of(labelled.mask, 1)  # (B, 1, H, W)
        timestep = step.randint("timestep", 0, of.chain, count=len(clean))
        noisy = self.process.noised(clean, timestep, step.rand("flips", like=clean))
        mask = self.log_odds(self.denoise(noisy, (labelled.image,), timestep), noisy)
        terms = {}
        if of.divergence:
            rule: Rule = "mixture" if of.rule == "mixture" else "plug-in"
            bound = self.process.variational_bound(clean, noisy, timestep, log_odds=mask, rule=rule, known=known)
            terms["divergence"] = of.divergence * bound.mean()
        if of.cross_entropy:  # of the flips and of the mask it is the same number
            terms["cross_entropy"] = of.cross_entropy * cross_entropy(clean, mask, known=known).mean()
        yield self.card.name, terms

    def denoise(self, noisy: Tensor, condition: Condition, timestep: Tensor) -> Tensor:
        """Log-odds (B, 1, H, W), of a flip or of the mask."""
        (image,) = condition
        predicted: Tensor = self.network(torch.cat([noisy, image], 1), timestep)
        return exact(predicted)

    def log_odds(self, predicted: Tensor, noisy: Tensor) -> Tensor:
        """Those of the mask, of what the network says."""
        return flipped_log_odds(predicted, noisy) if self.settings.predicts == "flips" else predicted

    def guess(self, predicted: Tensor, noisy: Tensor, timestep: int, before: int) -> Guess:
        """The probability of the mask."""
        del timestep, before
        return Guess(self.log_odds(exact(predicted), noisy).sigmoid())

    def walk(self, model: Model, *, like: Tensor, steps: Sequence[int], draw: Draw) -> Final:
        """From fair coins to the probability of the mask."""
        start = (draw("start", like) < 0.5).to(like.dtype)
        return bernoulli(model, start, process=self.process, timesteps=steps, draw=draw, rule=self.settings.rule)

    def noise(self, moments: Sequence[Draws], purpose: str, like: Tensor) -> Tensor:
        """Uniform numbers, each sample its own."""
        return torch.cat([draws.rand(purpose, like=like[:1]) for draws in moments])

    def probability(self, state: Tensor) -> Tensor:
        """The last state is one."""
        return state
