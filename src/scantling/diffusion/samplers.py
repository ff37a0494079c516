"""From noise to a mask: samplers as plain functions of a model, a start and the time steps to take.

A sampler sees one interface, whatever the network predicts: `model(x_t, t)` says what the clean data are. Its
randomness is a function of the time step. Gradients are the caller's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from scantling.core.checks import check_choice, check_number
from scantling.core.errors import ArrayError, SettingsError
from scantling.diffusion.bernoulli import BernoulliProcess, Rule
from scantling.diffusion.chain import columns, pairs
from scantling.diffusion.gaussian import GaussianProcess


class Guess(NamedTuple):
    """What a model says of x_t.

    Attributes:
        x0: (B, K, *S), the clean data; of a Bernoulli process the probability that they are 1.
        log_variance: of the step back from x_t, where the model learns it.
    """

    x0: Tensor
    log_variance: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Moment:
    """A step that has been taken.

    Attributes:
        step: its number, from 0.
        t: the time step it came from.
        before: the time step it went to, -1 after the last step.
        x: the new state (B, K, *S).
        x0: the clean data as the model saw them, clipped.
        mean: the new state without the noise of this step.
        log_variance: of the model's step back, learned or the posterior's; None of a Bernoulli process.
    """

    step: int
    t: int
    before: int
    x: Tensor
    x0: Tensor
    mean: Tensor
    log_variance: Tensor | None


class Final(NamedTuple):
    """Where a sampler ended, with the mean and the log-variance of its last step."""

    x: Tensor
    mean: Tensor
    log_variance: Tensor | None


Model = Callable[[Tensor, int], Guess]
Draw = Callable[[str, Tensor], Tensor]
"""`draw(purpose, like)`: numbers in the shape of `like`, standard normal, or uniform in [0, 1) for `bernoulli`."""
Observe = Callable[[Moment], Tensor | None]
"""Called after each step; a tensor that it returns replaces the state."""


def ancestral(
    model: Model,
    start: Tensor,
    *,
    process: GaussianProcess,
    timesteps: Sequence[int],
    draw: Draw,
    observe: Observe | None = None,
    clip: tuple[float, float] | None,
) -> Final:
    """Draw from each step back in turn (Ho et al., 2020, algorithm 2; sub-sequences: Nichol and Dhariwal, 2021).

    Args:
        model: see `Guess`.
        start: x_T (B, K, *S).
        process: that the model was trained on.
        timesteps: descending, from `schedules.timesteps`; the last step goes to clean data and adds no noise.
        draw: see `Draw`; asked for "noise t".
        observe: see `Observe`.
        clip: the range of the data, to which guesses of x0 are clipped; (-1, 1) for masks.

    Raises:
        SettingsError: `clip` or `timesteps` is out of its range.
        ArrayError: the model or `draw` gives another shape than that of the state.
    """
    x = start
    for step, (t, before) in enumerate(pairs(timesteps)):
        x0, mean, log_variance = _look(model, x, process, t, before, clip)
        x = mean if before < 0 else mean + (log_variance / 2).exp() * _drawn(draw, t, mean)
        x = _observed(observe, Moment(step, t, before, x, x0, mean, log_variance))
    return Final(x, mean, log_variance)


def ddim(
    model: Model,
    start: Tensor,
    *,
    process: GaussianProcess,
    timesteps: Sequence[int],
    draw: Draw,
    observe: Observe | None = None,
    clip: tuple[float, float] | None,
    eta: float = 0.0,
) -> Final:
    """Keep the noise that the model sees, in part or whole (Song et al., 2021, DDIM, eqs. 12 and 16).

    Args:
        eta: the share of the posterior's deviation that is drawn afresh, in [0, 1]; 0 draws nothing. The noise that is
            kept is that of the clipped guess.
        model, start, process, timesteps, draw, observe, clip: see `ancestral`.

    Raises:
        SettingsError: `eta`, `clip` or `timesteps` is out of its range.
        ArrayError: the model or `draw` gives another shape than that of the state.
    """
    check_number(eta, argument="eta", least=0, most=1)
    x = start
    for step, (t, before) in enumerate(pairs(timesteps)):
        x0, _, log_variance = _look(model, x, process, t, before, clip)
        after = process.alpha_bar(before)
        variance = eta**2 * (1 - process.alpha_bar(t) / after) * (1 - after) / (1 - process.alpha_bar(t))
        signal, kept, fresh = columns(x, after.sqrt(), (1 - after - variance).sqrt(), variance.sqrt())
        mean = signal * x0 + kept * process.eps_from(x0, x, t)
        x = mean if eta == 0 or before < 0 else mean + fresh * _drawn(draw, t, mean)
        x = _observed(observe, Moment(step, t, before, x, x0, mean, log_variance))
    return Final(x, mean, log_variance)


def dpm_solver_pp(
    model: Model,
    start: Tensor,
    *,
    process: GaussianProcess,
    timesteps: Sequence[int],
    draw: Draw,
    observe: Observe | None = None,
    clip: tuple[float, float] | None,
) -> Final:
    """DPM-Solver++ of second order over two steps (Lu et al., 2022, algorithm 2); its first and last are DDIM's.

    Args:
        draw: not asked for anything.
        model, start, process, timesteps, observe, clip: see `ancestral`.
    """
    del draw
    x = start
    last: tuple[Tensor, Tensor] | None = None
    for step, (t, before) in enumerate(pairs(timesteps)):
        x0, _, log_variance = _look(model, x, process, t, before, clip)
        kept, after = process.alpha_bar(t), process.alpha_bar(before)
        h = (torch.logit(after) - torch.logit(kept)) / 2  # in half the logarithm of signal to noise; ∞ at the end
        ahead = x0
        if last is not None and before >= 0:
            last_x0, last_h = last
            (bend,) = columns(x, h / last_h / 2)
            ahead = x0 + bend * (x0 - last_x0)
        of_x, of_x0 = columns(x, ((1 - after) / (1 - kept)).sqrt(), after.sqrt() * -torch.expm1(-h))
        mean = of_x * x + of_x0 * ahead
        last = x0, h
        x = _observed(observe, Moment(step, t, before, mean, x0, mean, log_variance))
    return Final(x, mean, log_variance)


def bernoulli(
    model: Model,
    start: Tensor,
    *,
    process: BernoulliProcess,
    timesteps: Sequence[int],
    draw: Draw,
    observe: Observe | None = None,
    rule: Rule | Literal["sub-sequence"] = "sub-sequence",
) -> Final:
    """Draw from each step back of a Bernoulli process (Chen et al., 2023); the last one gives the probability x0.

    Args:
        model: its x0 is the probability that the mask is 1.
        start: y_T in {0, 1}, as likely 0 as 1.
        draw: uniform numbers in [0, 1).
        rule: "sub-sequence" is the paper's `BernoulliProcess.skip`, the others are those of `BernoulliProcess.back`.
        process, timesteps, observe: see `ancestral`.

    Raises:
        SettingsError: `rule` or `timesteps` is none.
        ArrayError: the model or `draw` gives another shape than that of the state.
    """
    check_choice(rule, ("sub-sequence", *get_args(Rule)), argument="rule")
    x = start
    for step, (t, before) in enumerate(pairs(timesteps)):
        x0, _ = _guess(model, x, t)
        mean = process.skip(x0, x, t, before) if rule == "sub-sequence" else process.back(x0, x, t, before, rule=rule)
        x = mean if before < 0 else (_drawn(draw, t, mean) < mean).to(mean.dtype)
        x = _observed(observe, Moment(step, t, before, x, x0, mean, None))
    return Final(x, mean, None)


def _look(
    model: Model, x: Tensor, process: GaussianProcess, t: int, before: int, clip: tuple[float, float] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The clipped guess, and the mean and the log-variance of the step back that it implies."""
    if clip is not None and not clip[0] < clip[1]:
        raise SettingsError(f"clip: found {clip}; expected (least, greatest), (-1, 1) for masks; None clips nothing")
    x0, log_variance = _guess(model, x, t)
    x0 = x0 if clip is None else x0.clamp(*clip)
    mean, fixed = process.posterior(x0, x, t, before)
    return x0, mean, fixed if log_variance is None else log_variance


def _guess(model: Model, x: Tensor, t: int) -> Guess:
    """What the model says of the state.

    Raises:
        ArrayError: it is no `Guess`, or has another shape.
    """
    guess = model(x, t)
    if not isinstance(guess, Guess) or guess.x0.shape != x.shape:
        found = f"x0 of shape {tuple(guess.x0.shape)}" if isinstance(guess, Guess) else type(guess).__name__
        raise ArrayError(
            f"the model gives {found} at t = {t}; expected diffusion.Guess(x0), x0 in the shape of the state "
            f"{tuple(x.shape)}"
        )
    return guess


def _drawn(draw: Draw, t: int, like: Tensor) -> Tensor:
    """Random numbers for the step from t.

    Raises:
        ArrayError: they have another shape.
    """
    found = draw(f"noise {t}", like)
    if found.shape != like.shape:
        raise ArrayError(f"draw gives numbers of shape {tuple(found.shape)}; expected {tuple(like.shape)}")
    return found


def _observed(observe: Observe | None, moment: Moment) -> Tensor:
    replacement = None if observe is None else observe(moment)
    return moment.x if replacement is None else replacement
