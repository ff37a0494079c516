"""Noise processes, schedules and samplers: mathematics only; no networks, no files, no devices.

`schedules.betas` says how fast the noise comes, `gaussian.GaussianProcess` and `bernoulli.BernoulliProcess` what it
does to a mask and how a step is undone, `samplers` walk from noise to a mask along `schedules.timesteps`.

Time steps count from 0, as in the code of all papers: x_t has gone through t + 1 steps of noise, t = T - 1 is the
noisiest state, and t = -1 is clean data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scantling.core.rooms import load_on_demand

if TYPE_CHECKING:
    from scantling.diffusion.bernoulli import BernoulliProcess, bernoulli_divergence, flipped, flipped_log_odds
    from scantling.diffusion.chain import Chain
    from scantling.diffusion.conditions import condition_difference, counterfactual
    from scantling.diffusion.gaussian import GaussianProcess, normal_divergence
    from scantling.diffusion.samplers import Final, Guess, Moment, ancestral, bernoulli, ddim, dpm_solver_pp
    from scantling.diffusion.schedules import betas, timesteps

__all__ = [
    "BernoulliProcess",
    "Chain",
    "Final",
    "GaussianProcess",
    "Guess",
    "Moment",
    "ancestral",
    "bernoulli",
    "bernoulli_divergence",
    "betas",
    "condition_difference",
    "counterfactual",
    "ddim",
    "dpm_solver_pp",
    "flipped",
    "flipped_log_odds",
    "normal_divergence",
    "timesteps",
]

load_on_demand(
    __name__,
    {
        "bernoulli": ("BernoulliProcess", "bernoulli_divergence", "flipped", "flipped_log_odds"),
        "chain": ("Chain",),
        "conditions": ("condition_difference", "counterfactual"),
        "gaussian": ("GaussianProcess", "normal_divergence"),
        "samplers": ("Final", "Guess", "Moment", "ancestral", "bernoulli", "ddim", "dpm_solver_pp"),
        "schedules": ("betas", "timesteps"),
    },
)
