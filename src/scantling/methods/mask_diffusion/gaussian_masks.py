"""Masks drowned in Gaussian noise: what the systems that do so share, from the loss to the samplers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from scantling.contract.method import Method
from scantling.contract.step import Draws, Step
from scantling.core.samples import Traits
from scantling.diffusion.chain import exact
from scantling.diffusion.gaussian import GaussianProcess, Prediction
from scantling.diffusion.samplers import Draw, Final, Guess, Model, ancestral, ddim, dpm_solver_pp
from scantling.diffusion.schedules import betas
from scantling.methods.mask_diffusion.chain_settings import MaskDiffusionSettings
from scantling.methods.mask_diffusion.chains import MaskDiffusion, mean_of_known
from scantling.methods.mask_diffusion.direct_masks import DirectKernel
from scantling.methods.mask_diffusion.kernel import Kernel

SAMPLERS = {"ancestral": ancestral, "ddim": ddim, "dpm-solver++": dpm_solver_pp}
RANGE = (-1.0, 1.0)
"""Masks are -1 and 1, and guesses of them are clipped to what lies between."""


Sampler = Literal["ancestral", "ddim", "dpm-solver++"]


class GaussianMaskSettings(MaskDiffusionSettings):
    """Settings of the systems with Gaussian noise.

    Attributes:
        predicts: what the network says: the noise, the clean mask, or the velocity.
        learned_variance: the network also says how sure each step back is (Nichol and Dhariwal, 2021).
        sampler: how the chain is walked.
    """

    predicts: Prediction = "eps"
    learned_variance: bool = False
    sampler: Sampler = "ancestral"


class GaussianKernel(Kernel):
    """Masks in {-1, 1} under Gaussian noise (Ho et al., 2020), several classes in a channel each.

    Args:
        process: of the noise.
        predicts: what the network says.
        sampler: how the chain is walked.
        learned_variance: the network also says, after its predictions, how sure each step back is.
    """

    def __init__(
        self,
        process: GaussianProcess,
        *,
        predicts: Prediction = "eps",
        sampler: Sampler = "ancestral",
        learned_variance: bool = False,
    ) -> None:
        self.process, self.predicts, self.sampler = process, predicts, sampler
        self.learned_variance = learned_variance

    def noised(self, clean: Tensor, timestep: Tensor, step: Step) -> Tensor:
        """Masks of -1 and 1 in noise."""
        return self.process.noised(2 * clean - 1, timestep, step.randn("noise", like=clean))

    def terms(
        self, predicted: Tensor, clean: Tensor, *, noisy: Tensor, timestep: Tensor, known: Tensor, step: Step
    ) -> Mapping[str, Tensor]:
        """The squared error of what the network says and, if learned, what teaches it its variance.

        The bound that trains the variance is cut from the mean (Nichol and Dhariwal, 2021, section 3.1).
        """
        clean, noise = 2 * clean - 1, step.randn("noise", like=clean)
        prediction, variance = self._parts(exact(predicted))
        target = self.process.target(clean, timestep, noise, kind=self.predicts)
        terms = {"denoising": mean_of_known((prediction - target).square(), known)}
        if variance is not None:
            guess = self.process.x0_from(prediction.detach(), noisy, timestep, kind=self.predicts)
            log_variance = self.process.learned_log_variance(variance, timestep, timestep - 1)
            bound = self.process.variational_bound(
                clean, noisy, timestep, guess=guess.clamp(*RANGE), log_variance=log_variance, known=known
            )
            terms["variance"] = bound.mean()
        return terms

    def guess(self, predicted: Tensor, noisy: Tensor, timestep: int, before: int) -> Guess:
        """The clean masks, and the variance if it is learned."""
        prediction, variance = self._parts(exact(predicted))
        clean = self.process.x0_from(prediction, noisy, timestep, kind=self.predicts)
        if variance is None:
            return Guess(clean)
        return Guess(clean, self.process.learned_log_variance(variance, timestep, before))

    def walk(self, model: Model, *, like: Tensor, steps: Sequence[int], draw: Draw) -> Final:
        """From pure noise to masks in [-1, 1]."""
        sampler = SAMPLERS[self.sampler]
        return sampler(model, draw("start", like), process=self.process, timesteps=steps, draw=draw, clip=RANGE)

    def noise(self, draws: Draws, purpose: str, like: Tensor) -> Tensor:
        """Standard normal numbers."""
        return draws.randn(purpose, like=like)

    def probability(self, state: Tensor) -> Tensor:
        """[-1, 1] as [0, 1]."""
        return ((state + 1) / 2).clamp(0, 1)

    def _parts(self, predicted: Tensor) -> tuple[Tensor, Tensor | None]:
        if not self.learned_variance:
            return predicted, None
        prediction, variance = predicted.chunk(2, 1)
        return prediction, variance


class GaussianMasks(MaskDiffusion):
    """A system whose masks drown in Gaussian noise or, with a chain of no steps, in none."""

    settings: GaussianMaskSettings

    def __init__(
        self, settings: GaussianMaskSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None
    ) -> None:
        super().__init__(settings, traits, uses=uses)
        if not settings.chain:
            self.kernel = DirectKernel("gaussian")
            return
        self.process = GaussianProcess(betas(settings.schedule, settings.chain))
        self.kernel = GaussianKernel(
            self.process,
            predicts=settings.predicts,
            sampler=settings.sampler,
            learned_variance=settings.learned_variance,
        )

    @property
    def outputs(self) -> int:
        """Channels of what the network says: a prediction for each class, then, if learned, its variance."""
        return len(self.traits.classes) * (2 if self.settings.learned_variance and self.settings.chain else 1)
