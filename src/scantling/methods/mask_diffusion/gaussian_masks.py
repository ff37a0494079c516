"""Masks drowned in Gaussian noise: what the systems that do so share, from the loss to the samplers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from scantling.contract.method import Method
from scantling.contract.stage import Game
from scantling.contract.step import Step
from scantling.core.samples import Batch, Traits
from scantling.diffusion.chain import exact
from scantling.diffusion.gaussian import GaussianProcess, Prediction
from scantling.diffusion.samplers import Draw, Final, Guess, Model, ancestral, ddim, dpm_solver_pp
from scantling.diffusion.schedules import betas
from scantling.methods.mask_diffusion.chain_settings import MaskDiffusionSettings
from scantling.methods.mask_diffusion.chains import MaskDiffusion, masks_of, mean_of_known

SAMPLERS = {"ancestral": ancestral, "ddim": ddim, "dpm-solver++": dpm_solver_pp}
RANGE = (-1.0, 1.0)
"""Masks are -1 and 1, and guesses of them are clipped to what lies between."""


class GaussianMaskSettings(MaskDiffusionSettings):
    """Settings of the systems with Gaussian noise.

    Attributes:
        predicts: what the network says: the noise, the clean mask, or the velocity.
        learned_variance: the network also says how sure each step back is (Nichol and Dhariwal, 2021).
        sampler: how the chain is walked.
    """

    predicts: Prediction = "eps"
    learned_variance: bool = False
    sampler: Literal["ancestral", "ddim", "dpm-solver++"] = "ancestral"


class GaussianMasks(MaskDiffusion):
    """Masks in {-1, 1} under Gaussian noise (Ho et al., 2020), several classes in a channel each."""

    settings: GaussianMaskSettings

    def __init__(
        self, settings: GaussianMaskSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None
    ) -> None:
        super().__init__(settings, traits, uses=uses)
        self.process = GaussianProcess(betas(settings.schedule, settings.chain))

    @property
    def outputs(self) -> int:
        """Channels of what the network says: a prediction for each class, then, if learned, its variance."""
        return len(self.traits.classes) * (2 if self.settings.learned_variance else 1)

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The squared error of what the network says of noisy masks and, if learned, what teaches it its variance."""
        labelled = batch["labelled"]
        noisy, timestep = self.noised(labelled, step)
        predicted = self.denoise(noisy, self.condition(labelled.image), timestep)
        yield self.card.name, self.terms(predicted, labelled, step)

    def noised(self, batch: Batch, step: Step) -> tuple[Tensor, Tensor]:
        """Noisy masks (B, K, *S) of a batch, and the timesteps (B,) that they are at."""
        clean, _ = masks_of(batch.mask, len(self.traits.classes))
        timestep = step.randint("timestep", 0, self.settings.chain, count=len(clean))
        return self.process.noised(2 * clean - 1, timestep, step.randn("noise", like=clean)), timestep

    def terms(self, predicted: Tensor, batch: Batch, step: Step) -> Mapping[str, Tensor]:
        """The terms that train the denoiser on what `noised` gave: the squared error and, if learned, the variance's.

        The bound that trains the variance is cut from the mean (Nichol and Dhariwal, 2021, section 3.1).

        Args:
            said: (B, outputs, *S), of the network.
            batch: that was noised.
            step: of the same step.
        """
        clean, known = masks_of(batch.mask, len(self.traits.classes))
        clean, predicted = 2 * clean - 1, exact(predicted)
        noisy, timestep = self.noised(batch, step)
        prediction, variance = self._parts(predicted)
        noise = step.randn("noise", like=clean)
        target = self.process.target(clean, timestep, noise, kind=self.settings.predicts)
        terms = {"denoising": mean_of_known((prediction - target).square(), known)}
        if variance is not None:
            guess = self.process.x0_from(prediction.detach(), noisy, timestep, kind=self.settings.predicts)
            log_variance = self.process.learned_log_variance(variance, timestep, timestep - 1)
            bound = self.process.variational_bound(
                clean, noisy, timestep, guess=guess.clamp(*RANGE), log_variance=log_variance, known=known
            )
            terms["variance"] = bound.mean()
        return terms

    def guess(self, predicted: Tensor, noisy: Tensor, timestep: int, before: int) -> Guess:
        """The clean masks, and the variance if it is learned."""
        prediction, variance = self._parts(exact(predicted))
        clean = self.process.x0_from(prediction, noisy, timestep, kind=self.settings.predicts)
        if variance is None:
            return Guess(clean)
        return Guess(clean, self.process.learned_log_variance(variance, timestep, before))

    def walk(self, model: Model, *, like: Tensor, steps: Sequence[int], draw: Draw) -> Final:
        """From pure noise to masks in [-1, 1]."""
        sampler = SAMPLERS[self.settings.sampler]
        return sampler(model, draw("start", like), process=self.process, timesteps=steps, draw=draw, clip=RANGE)

    def probability(self, state: Tensor) -> Tensor:
        """[-1, 1] as [0, 1]."""
        return ((state + 1) / 2).clamp(0, 1)

    def _parts(self, predicted: Tensor) -> tuple[Tensor, Tensor | None]:
        if not self.settings.learned_variance:
            return predicted, None
        prediction, variance = predicted.chunk(2, 1)
        return prediction, variance
