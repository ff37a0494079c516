"""No noise at all: the network of a mask diffusion system says the mask at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from scantling.contract.step import Draws, Step
from scantling.diffusion.bernoulli import cross_entropy
from scantling.diffusion.chain import exact
from scantling.diffusion.samplers import Draw, Final, Guess, Model
from scantling.methods.mask_diffusion.chains import mean_of_known
from scantling.methods.mask_diffusion.kernel import Kernel


class DirectKernel(Kernel):
    """A chain of no steps: the noisy mask is 0 everywhere, its timestep 0, and the network says the mask.

    Args:
        like: the noise that it stands in for; of "gaussian" the loss is the squared error of masks of -1 and 1, of
            "bernoulli" the cross-entropy in bits.
    """

    def __init__(self, like: Literal["gaussian", "bernoulli"]) -> None:
        self.like = like

    def noised(self, clean: Tensor, timestep: Tensor, step: Step) -> Tensor:
        """Nothing of the mask is shown."""
        del timestep, step
        return torch.zeros_like(clean)

    def terms(
        self, predicted: Tensor, clean: Tensor, *, noisy: Tensor, timestep: Tensor, known: Tensor, step: Step
    ) -> Mapping[str, Tensor]:
        """The squared error, or the cross-entropy."""
        del noisy, timestep, step
        if self.like == "bernoulli":
            return {"cross_entropy": cross_entropy(clean, predicted, known=known).mean()}
        return {"regression": mean_of_known((exact(predicted) - (2 * clean - 1)).square(), known)}

    def guess(self, predicted: Tensor, noisy: Tensor, timestep: int, before: int) -> Guess:
        """The probability of the mask."""
        del noisy, timestep, before
        said = exact(predicted)
        return Guess(said.sigmoid() if self.like == "bernoulli" else ((said + 1) / 2).clamp(0, 1))

    def walk(self, model: Model, *, like: Tensor, steps: Sequence[int], draw: Draw) -> Final:
        """One look."""
        del steps, draw
        said = model(torch.zeros_like(like), 0).x0
        return Final(said, said, None)

    def noise(self, draws: Draws, purpose: str, like: Tensor) -> Tensor:
        """Nothing is drawn."""
        del draws, purpose
        return torch.zeros_like(like)

    def probability(self, state: Tensor) -> Tensor:
        """The state is one."""
        return state
