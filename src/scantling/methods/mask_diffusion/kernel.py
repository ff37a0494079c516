"""What noise does to masks: the part of a mask diffusion system that knows which noise it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor

from scantling.contract.step import Draws, Step
from scantling.diffusion.samplers import Draw, Final, Guess, Model


class Kernel(ABC):
    """How masks become noise, what a network is to say of them, and how a chain goes back. Masks are (B, K, *S)."""

    @abstractmethod
    def noised(self, clean: Tensor, timestep: Tensor, step: Step) -> Tensor:
        """Noisy masks (B, K, *S) of masks of 0 and 1 at timesteps (B,); the same again in the same step."""

    @abstractmethod
    def terms(
        self, predicted: Tensor, clean: Tensor, *, noisy: Tensor, timestep: Tensor, known: Tensor, step: Step
    ) -> Mapping[str, Tensor]:
        """The terms that train a network which says `predicted` (B, ?, *S) of noisy masks, over the known pixels."""

    @abstractmethod
    def guess(self, predicted: Tensor, noisy: Tensor, timestep: int, before: int) -> Guess:
        """The clean masks that the network's words mean, on the way from a timestep to the one before it."""

    @abstractmethod
    def walk(self, model: Model, *, like: Tensor, steps: Sequence[int], draw: Draw) -> Final:
        """Draw masks in the shape of `like` by the chain's timesteps `steps`."""

    @abstractmethod
    def noise(self, draws: Draws, purpose: str, like: Tensor) -> Tensor:
        """The random numbers of a chain, in the shape of `like`."""

    @abstractmethod
    def probability(self, state: Tensor) -> Tensor:
        """The end of a chain as probabilities."""
