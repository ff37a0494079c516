"""Masks whose pixels flip until nothing is left: the noise of BerDiff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from scantling.contract.step import Draws, Step
from scantling.diffusion.bernoulli import BernoulliProcess, Rule, cross_entropy, flipped_log_odds
from scantling.diffusion.chain import exact
from scantling.diffusion.samplers import Draw, Final, Guess, Model, bernoulli
from scantling.methods.mask_diffusion.kernel import Kernel

StepBack = Rule | Literal["sub-sequence"]


class BernoulliKernel(Kernel):
    """Masks of 0 and 1 under flips (Chen et al., 2023, BerDiff), several classes in a channel each.

    Args:
        process: of the flips.
        flips: whether the network says the log-odds of a flip, or of the mask.
        rule: of a step back; "sub-sequence" is `BernoulliProcess.skip` (and the plug-in in the loss).
        divergence: weight of the divergence of the step back, in bits a pixel.
        cross_entropy: weight of the cross-entropy of what the network says, in bits a pixel.
    """

    def __init__(
        self,
        process: BernoulliProcess,
        *,
        flips: bool = True,
        rule: StepBack = "sub-sequence",
        divergence: float = 1.0,
        cross_entropy: float = 1.0,
    ) -> None:
        self.process, self.flips, self.rule = process, flips, rule
        self.divergence, self.cross_entropy = divergence, cross_entropy

    def noised(self, clean: Tensor, timestep: Tensor, step: Step) -> Tensor:
        """Masks with flipped pixels."""
        return self.process.noised(clean, timestep, step.rand("flips", like=clean))

    def terms(
        self, predicted: Tensor, clean: Tensor, *, noisy: Tensor, timestep: Tensor, known: Tensor, step: Step
    ) -> Mapping[str, Tensor]:
        """The divergence of the step back, and the cross-entropy of the flips."""
        del step
        mask, terms = self.log_odds(exact(predicted), noisy), {}
        if self.divergence:
            rule: Rule = "mixture" if self.rule == "mixture" else "plug-in"
            bound = self.process.variational_bound(clean, noisy, timestep, log_odds=mask, rule=rule, known=known)
            terms["divergence"] = self.divergence * bound.mean()
        if self.cross_entropy:  # of the flips and of the mask it is the same number
            terms["cross_entropy"] = self.cross_entropy * cross_entropy(clean, mask, known=known).mean()
        return terms

    def log_odds(self, predicted: Tensor, noisy: Tensor) -> Tensor:
        """Those of the mask, of what the network says."""
        return flipped_log_odds(predicted, noisy) if self.flips else predicted

    def guess(self, predicted: Tensor, noisy: Tensor, timestep: int, before: int) -> Guess:
        """The probability of the mask."""
        del timestep, before
        return Guess(self.log_odds(exact(predicted), noisy).sigmoid())

    def walk(self, model: Model, *, like: Tensor, steps: Sequence[int], draw: Draw) -> Final:
        """From fair coins to the probability of the mask."""
        start = (draw("start", like) < 0.5).to(like.dtype)
        return bernoulli(model, start, process=self.process, timesteps=steps, draw=draw, rule=self.rule)

    def noise(self, draws: Draws, purpose: str, like: Tensor) -> Tensor:
        """Uniform numbers."""
        return draws.rand(purpose, like=like)

    def probability(self, state: Tensor) -> Tensor:
        """The last state is one."""
        return state
