"""The Bernoulli process, every identity by enumeration of the states of a pixel."""

from __future__ import annotations

import itertools
import math
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, kl_divergence

from scantling.core.errors import SettingsError
from scantling.core.randomness import torch_generator
from scantling.diffusion.bernoulli import (
    BernoulliProcess,
    Rule,
    bernoulli_divergence,
    cross_entropy,
    flipped,
    flipped_log_odds,
)
from scantling.diffusion.schedules import betas

LONG = BernoulliProcess(betas("cosine2", 1000))
SHORT = BernoulliProcess(betas("linear", 12, low=0.01, high=0.5))
MOVES = [(t, before) for t in range(12) for before in range(t)]
RULES: tuple[Rule, ...] = get_args(Rule)


def pixel(value: float) -> Tensor:
    return torch.full((1, 1), value, dtype=torch.float64)


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch_generator("bernoulli", seed, *shape), dtype=torch.float64)


def one_step(y: int, beta: float, *, to: int) -> float:
    """q(y_t = to | y_{t-1} = y) of the paper's one-step kernel."""
    above = (1 - beta) * y + beta / 2
    return above if to == 1 else 1 - above


def way(process: BernoulliProcess, y: int, first: int, last: int) -> list[float]:
    """The probabilities of 0 and 1 after the steps `first` to `last`, one after another."""
    state = [1.0 - y, float(y)]
    for beta in process.betas[first : last + 1].tolist():
        state = [sum(state[k] * one_step(k, beta, to=to) for k in (0, 1)) for to in (0, 1)]
    return state


@pytest.mark.parametrize("y0", [0, 1])
def test_the_marginal_is_one_step_after_another(y0: int) -> None:
    for t in range(SHORT.steps):
        assert SHORT.marginal(pixel(y0), t).item() == pytest.approx(way(SHORT, y0, 0, t)[1], abs=1e-12)


@pytest.mark.parametrize("y0", [0.0, 1.0])
@pytest.mark.parametrize("t", [0, 100, 500, 999])
def test_flipping_pixels_draws_from_the_marginal(y0: float, t: int) -> None:
    uniform = (torch.arange(100_000, dtype=torch.float64).reshape(1, 1, -1) + 0.5) / 100_000  # every part of [0, 1)
    y_t = LONG.noised(torch.full_like(uniform, y0), t, uniform)
    assert set(y_t.unique().tolist()) <= {0, 1}
    assert y_t.mean().item() == pytest.approx(LONG.marginal(pixel(y0), t).item(), abs=2e-5)


def test_at_the_end_the_background_is_one_as_often_as_not() -> None:
    """In the authors' code it is 0 for ever, while sampling starts from a fair coin."""
    background = torch.zeros(1, 1, 100_000, dtype=torch.float64)
    assert LONG.noised(background, 999, rand(1, 1, 100_000)).mean().item() == pytest.approx(0.5, abs=0.01)
    assert LONG.noised(background, 500, rand(1, 1, 100_000)).mean().item() > 0.2
    assert LONG.marginal(background, 999).mean().item() == pytest.approx(0.5, abs=1e-6)


def test_the_posterior_is_bayes_rule_over_both_states_before() -> None:
    for (t, before), y0, y_t in itertools.product(MOVES, (0, 1), (0, 1)):
        joint = [way(SHORT, y0, 0, before)[y] * way(SHORT, y, before + 1, t)[y_t] for y in (0, 1)]
        found = SHORT.posterior(pixel(y0), pixel(y_t), t, before)
        assert found.item() == pytest.approx(joint[1] / sum(joint), abs=1e-12)


def test_the_posterior_of_clean_data_is_the_data() -> None:
    for y0, y_t in itertools.product((0, 1), repeat=2):
        assert SHORT.posterior(pixel(y0), pixel(y_t), 5, -1).item() == y0


@pytest.mark.parametrize("guess", [0.0, 0.2, 0.9, 1.0])
def test_the_mixture_is_bayes_rule_over_both_masks(guess: float) -> None:
    for (t, before), y_t in itertools.product([*MOVES, (0, -1), (11, -1)], (0, 1)):
        parts = [SHORT.posterior(pixel(y0), pixel(y_t), t, before).item() for y0 in (0, 1)]
        found = SHORT.back(pixel(guess), pixel(y_t), t, before, rule="mixture")
        assert found.item() == pytest.approx((1 - guess) * parts[0] + guess * parts[1], abs=1e-12)


@pytest.mark.parametrize("guess", [0.0, 0.2, 0.9, 1.0])
def test_the_plug_in_is_the_papers_formula(guess: float) -> None:
    for (t, before), y_t in itertools.product(MOVES, (0, 1)):
        after = SHORT.alpha_bar(before).item()
        alpha = SHORT.alpha_bar(t).item() / after
        one = (alpha * y_t + (1 - alpha) / 2) * (after * guess + (1 - after) / 2)
        zero = (alpha * (1 - y_t) + (1 - alpha) / 2) * (after * (1 - guess) + (1 - after) / 2)
        found = SHORT.back(pixel(guess), pixel(y_t), t, before, rule="plug-in")
        assert found.item() == pytest.approx(one / (one + zero), abs=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_both_rules_agree_on_a_certain_guess_and_give_the_guess_at_the_end(rule: Rule) -> None:
    for y0, y_t in itertools.product((0.0, 1.0), repeat=2):
        expected = SHORT.posterior(pixel(y0), pixel(y_t), 7, 6)
        assert torch.allclose(SHORT.back(pixel(y0), pixel(y_t), 7, 6, rule=rule), expected, atol=1e-12)
    assert SHORT.back(pixel(0.3), pixel(1), 4, -1, rule=rule).item() == pytest.approx(0.3, abs=1e-12)


def test_the_rules_differ_as_the_fact_sheet_says() -> None:
    """With cosine², t = 100, y_t = 0 and a guess of 0.9 the plug-in hardly moves, the mixture does."""
    plug_in, mixture = (LONG.back(pixel(0.9), pixel(0), 100, 99, rule=rule).item() for rule in ("plug-in", "mixture"))
    assert plug_in == pytest.approx(0.002, abs=5e-4)
    assert mixture == pytest.approx(0.017, abs=5e-4)


@pytest.mark.parametrize("sigma", [0.0, 0.4, 1.0])
def test_a_skip_keeps_the_marginal_for_any_sigma(sigma: float) -> None:
    for (t, before), y0 in itertools.product([*MOVES, (11, -1)], (0.0, 1.0)):
        after = [SHORT.skip(pixel(y0), pixel(y_t), t, before, sigma=sigma).item() for y_t in (0, 1)]
        weight = SHORT.marginal(pixel(y0), t).item()
        mean = (1 - weight) * after[0] + weight * after[1]
        assert mean == pytest.approx(SHORT.marginal(pixel(y0), before).item(), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_skip_gives_probabilities_and_the_guess_at_the_end(dtype: torch.dtype) -> None:
    y_t, guess = torch.tensor([[0.0, 0, 0, 1, 1, 1]], dtype=dtype), torch.tensor([[0, 0.5, 1] * 2], dtype=dtype)
    for t, before in [(999, 998), (900, 800), (1, 0), (999, 0), (100, 0)]:
        for sigma in (0.0, 0.5, 1.0):
            found = LONG.skip(guess, y_t, t, before, sigma=sigma)
            assert found.min() >= 0
            assert found.max() <= 1 + 1e-6
    assert torch.equal(LONG.skip(guess, y_t, 100, -1), guess)
    with pytest.raises(SettingsError, match="take 0 to 1"):
        LONG.skip(guess, y_t, 100, 0, sigma=1.1)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("t", [1, 4, 11])
def test_the_bound_is_the_divergence_of_posterior_and_step_back_in_bits(t: int, rule: Rule) -> None:
    y0, y_t, log_odds = rand(2, 1, 9).round(), rand(2, 1, 9, seed=1).round(), 6 * rand(2, 1, 9, seed=2) - 3
    truth = Bernoulli(SHORT.posterior(y0, y_t, t, t - 1))
    model = Bernoulli(SHORT.back(log_odds.sigmoid(), y_t, t, t - 1, rule=rule))
    expected = kl_divergence(truth, model).flatten(1).mean(1) / math.log(2)
    found = SHORT.variational_bound(y0, y_t, t, log_odds=log_odds, rule=rule)
    assert torch.allclose(found, expected)
    assert (found > 0).all()


@pytest.mark.parametrize("rule", RULES)
def test_a_perfect_guess_costs_no_bits(rule: Rule) -> None:
    y0, t = rand(12, 1, 9).round(), torch.arange(12)
    y_t = SHORT.noised(y0, t, rand(12, 1, 9, seed=1))
    assert SHORT.variational_bound(y0, y_t, t, log_odds=(2 * y0 - 1) * 800, rule=rule).abs().max() < 1e-12


def test_the_first_step_costs_the_cross_entropy_of_the_mask() -> None:
    y0, log_odds = rand(2, 1, 9).round(), 6 * rand(2, 1, 9, seed=2) - 3
    found = SHORT.variational_bound(y0, 1 - y0, torch.tensor([0, 0]), log_odds=log_odds, rule="plug-in")
    expected = -Bernoulli(logits=log_odds).log_prob(y0).flatten(1).mean(1) / math.log(2)
    assert torch.allclose(found, expected)
    assert torch.allclose(cross_entropy(y0, log_odds), expected)
    assert torch.allclose(cross_entropy(y0, 0 * log_odds), torch.ones(2).double())  # a fair coin is one bit


def test_noise_and_mask_are_each_others_flip_and_cost_the_same() -> None:
    y0, y_t, log_odds = rand(2, 1, 9).round(), rand(2, 1, 9, seed=1).round(), 6 * rand(2, 1, 9, seed=2) - 3
    noise = flipped(y0, y_t)
    assert torch.equal(noise, (y0 != y_t).double())
    assert torch.equal(flipped(noise, y_t), y0)
    of_mask = flipped_log_odds(log_odds, y_t)
    assert torch.allclose(of_mask.sigmoid(), flipped(log_odds.sigmoid(), y_t))
    assert torch.equal(flipped_log_odds(of_mask, y_t), log_odds)
    assert torch.allclose(cross_entropy(noise, log_odds), cross_entropy(y0, of_mask))


def test_the_divergence_is_torchs_nothing_at_equality_and_exact_where_probabilities_are_not() -> None:
    a, b = 10 * rand(200, seed=3) - 5, 10 * rand(200, seed=4) - 5
    found = bernoulli_divergence(a, b)
    assert torch.allclose(found, kl_divergence(Bernoulli(logits=a), Bernoulli(logits=b)))
    assert (found >= 0).all()
    assert not bernoulli_divergence(a, a).any()
    far = bernoulli_divergence(torch.tensor([40.0, -40.0]), torch.tensor([-40.0, 40.0]))  # float32: 1 - p is 0
    assert torch.allclose(far, torch.tensor([40.0, 40.0]))


@pytest.mark.parametrize("rule", RULES)
def test_float32_agrees_with_float64_at_every_step(rule: Rule) -> None:
    t = torch.arange(1000)
    y0, log_odds = rand(1000, 1, 4).round(), 40 * rand(1000, 1, 4, seed=2) - 20
    y_t = LONG.noised(y0, t, rand(1000, 1, 4, seed=1))
    exact = LONG.variational_bound(y0, y_t, t, log_odds=log_odds, rule=rule)
    single = LONG.variational_bound(y0.float(), y_t.float(), t, log_odds=log_odds.float(), rule=rule)
    assert torch.allclose(single.double(), exact, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("rule", RULES)
def test_gradients_of_the_bound_are_finite_at_every_step_and_for_any_guess(rule: Rule) -> None:
    """In the authors' code the table wraps round at t = 0, and what is masked afterwards can poison the gradient."""
    t = torch.arange(12)
    y0 = rand(12, 1, 5).round().float()
    y_t = SHORT.noised(y0, t, rand(12, 1, 5, seed=1).float())
    log_odds = torch.tensor([-200.0, -20, 0, 20, 200]).expand(12, 1, 5).clone().requires_grad_()
    bound = SHORT.variational_bound(y0, y_t, t, log_odds=log_odds, rule=rule)
    bound.sum().backward()
    assert bound.isfinite().all()
    assert log_odds.grad is not None
    assert log_odds.grad.isfinite().all()


def test_losses_leave_out_what_is_unknown() -> None:
    y0, y_t, log_odds = rand(1, 1, 9).round(), rand(1, 1, 9, seed=1).round(), 6 * rand(1, 1, 9, seed=2) - 3
    known = rand(1, 1, 9, seed=5) > 0.5
    parts = [tensor[known][None, None] for tensor in (y0, y_t, log_odds)]
    whole = SHORT.variational_bound(y0, y_t, 3, log_odds=log_odds, rule="plug-in", known=known)
    assert torch.allclose(whole, SHORT.variational_bound(parts[0], parts[1], 3, log_odds=parts[2], rule="plug-in"))
    assert torch.allclose(cross_entropy(y0, log_odds, known=known), cross_entropy(parts[0], parts[2]))
