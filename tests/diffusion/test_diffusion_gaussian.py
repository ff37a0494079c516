"""The Gaussian process against its one-step kernels, Bayes on a grid and textbook divergences."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from scantling.core.randomness import torch_generator
from scantling.diffusion.gaussian import GaussianProcess, Prediction, normal_divergence
from scantling.diffusion.schedules import betas

LINEAR = GaussianProcess(betas("linear", 1000))
COSINE = GaussianProcess(betas("cosine2", 40))
MOVES = [(999, 998), (500, 499), (1, 0), (999, 0), (900, 800), (100, 3)]


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch_generator("gaussian", seed, *shape), dtype=torch.float64)


def masks(*shape: int) -> Tensor:
    return randn(*shape, seed=1).sign()


@pytest.mark.parametrize("process", [LINEAR, COSINE])
def test_noised_data_have_the_moments_of_one_step_after_another(process: GaussianProcess) -> None:
    mean, variance = 1.0, 0.0
    for t, beta in enumerate(process.betas.tolist()):
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
        assert process.noised(one, t, zero).item() == pytest.approx(mean, rel=1e-9)
        assert process.noised(zero, t, one).item() ** 2 == pytest.approx(variance, rel=1e-9)


def test_clean_data_have_no_noise() -> None:
    x0 = masks(2, 1, 3)
    assert torch.equal(LINEAR.noised(x0, -1, randn(2, 1, 3)), x0)


@pytest.mark.parametrize("kind", get_args(Prediction))
def test_the_right_prediction_gives_back_data_and_noise(kind: Prediction) -> None:
    x0, noise, t = masks(4, 2, 5), randn(4, 2, 5), torch.tensor([0, 3, 400, 999])
    x_t = LINEAR.noised(x0, t, noise)
    found = LINEAR.x0_from(LINEAR.target(x0, t, noise, kind=kind), x_t, t, kind=kind)
    assert torch.allclose(found, x0, atol=1e-9)
    assert torch.allclose(LINEAR.eps_from(x0, x_t, t), noise, atol=1e-9)


def test_v_is_the_speed_of_x_along_its_arc() -> None:
    """x = cos φ x0 + sin φ ε, so v = dx/dφ = cos φ ε - sin φ x0 (Salimans and Ho, 2022, appendix D)."""
    x0, noise = masks(1, 1, 6), randn(1, 1, 6)
    angle = math.acos(math.sqrt(LINEAR.alpha_bar(300).item()))
    ahead, behind = (math.cos(angle + d) * x0 + math.sin(angle + d) * noise for d in (1e-5, -1e-5))
    assert torch.allclose(LINEAR.target(x0, 300, noise, kind="v"), (ahead - behind) / 2e-5, atol=1e-8)


@pytest.mark.parametrize(("t", "before"), MOVES)
def test_the_posterior_is_bayes_rule_on_a_grid(t: int, before: int) -> None:
    kept, after = LINEAR.alpha_bar(t).item(), LINEAR.alpha_bar(before).item()
    alpha = math.prod((1 - LINEAR.betas[before + 1 : t + 1]).tolist())
    x0, x_t = -1.0, 0.5 * math.sqrt(1 - kept) - math.sqrt(kept)
    mean, log_variance = LINEAR.posterior(*torch.tensor([x0, x_t], dtype=torch.float64).reshape(2, 1, 1), t, before)
    width = math.sqrt(1 - after) * 12  # the prior's deviations on each side hold all of the posterior
    grid = np.linspace(math.sqrt(after) * x0 - width, math.sqrt(after) * x0 + width, 400_001)
    weight = norm.logpdf(grid, math.sqrt(after) * x0, math.sqrt(1 - after))
    weight += norm.logpdf(x_t, math.sqrt(alpha) * grid, math.sqrt(1 - alpha))
    weight = np.exp(weight - weight.max())
    weight /= weight.sum()
    expected = float(weight @ grid)
    assert kept == pytest.approx(alpha * after)
    assert mean.item() == pytest.approx(expected, abs=1e-8)
    assert log_variance.exp().item() == pytest.approx(float(weight @ (grid - expected) ** 2), rel=1e-6)


def test_the_step_to_clean_data_is_the_data_with_the_least_variance() -> None:
    x0, x_t = masks(2, 1, 4), randn(2, 1, 4)
    for t in (0, 99, 999):
        mean, log_variance = LINEAR.posterior(x0, x_t, t, -1)
        assert torch.allclose(mean, x0, atol=1e-12)
        assert torch.allclose(log_variance, LINEAR.posterior(x0, x_t, 1, 0)[1], rtol=1e-9)


def test_each_sample_has_its_own_time() -> None:
    x0, x_t, v = masks(3, 1, 4), randn(3, 1, 4), randn(3, 1, 4, seed=2)
    t, before = torch.tensor([0, 12, 39]), torch.tensor([-1, 4, 38])
    mean, log_variance = COSINE.posterior(x0, x_t, t, before)
    assert log_variance.shape == (3, 1, 1)
    for i in range(3):
        row = slice(i, i + 1)
        alone = COSINE.posterior(x0[row], x_t[row], int(t[i]), int(before[i]))
        assert torch.equal(mean[row], alone[0])
        assert torch.equal(log_variance[row], alone[1])
        learned = COSINE.learned_log_variance(v, t, before)[row]
        assert torch.equal(learned, COSINE.learned_log_variance(v[row], int(t[i]), int(before[i])))


@pytest.mark.parametrize(("t", "before"), [*MOVES, (0, -1)])
def test_the_learned_variance_goes_from_the_posteriors_to_beta(t: int, before: int) -> None:
    lowest, highest, middle = (
        LINEAR.learned_log_variance(torch.full((1, 1), v).double(), t, before) for v in (-1, 1, 0)
    )
    beta = 1 - math.prod((1 - LINEAR.betas[before + 1 : t + 1]).tolist())
    assert torch.equal(lowest, LINEAR.posterior(torch.zeros(1, 1).double(), torch.zeros(1, 1).double(), t, before)[1])
    assert highest.item() == pytest.approx(math.log(beta), rel=1e-9)
    assert middle.item() == pytest.approx((lowest + highest).item() / 2, rel=1e-9)
    assert lowest < highest


@pytest.mark.parametrize("t", [0, 1, 9, 700])
def test_the_last_step_of_a_sub_sequence_has_the_variance_that_was_trained_at_its_time(t: int) -> None:
    v = torch.linspace(-1.2, 1.2, 7).double()[:, None]
    assert torch.equal(LINEAR.learned_log_variance(v, t, -1), LINEAR.learned_log_variance(v, t, t - 1))
    times, last = torch.full((7,), t), torch.full((7,), -1)
    assert torch.equal(LINEAR.learned_log_variance(v, times, last), LINEAR.learned_log_variance(v, t, t - 1))


def test_the_divergence_of_normals_is_torchs_and_nothing_at_equality() -> None:
    a, b, c, d = (randn(50, seed=seed) for seed in range(4))
    found = normal_divergence(a, b, c, d)
    assert torch.allclose(found, kl_divergence(Normal(a, (b / 2).exp()), Normal(c, (d / 2).exp())), rtol=1e-9)
    assert (found > 0).all()
    assert not normal_divergence(a, b, a, b).any()


@pytest.mark.parametrize("t", [1, 500, 999])
def test_a_perfect_guess_with_the_posteriors_variance_costs_no_bits(t: int) -> None:
    x0, x_t = masks(2, 1, 8), randn(2, 1, 8)
    log_variance = LINEAR.posterior(x0, x_t, t, t - 1)[1]
    perfect = LINEAR.variational_bound(x0, x_t, t, guess=x0, log_variance=log_variance)
    assert perfect.shape == (2,)
    assert not perfect.any()
    assert (LINEAR.variational_bound(x0, x_t, t, guess=0.9 * x0, log_variance=log_variance) > 0).all()
    assert (LINEAR.variational_bound(x0, x_t, t, guess=x0, log_variance=log_variance + 0.1) > 0).all()


def test_the_first_step_costs_the_bits_of_a_coin_that_falls_on_the_side_of_the_mask() -> None:
    x0, guess, log_variance = masks(2, 1, 8), randn(2, 1, 8), randn(2, 1, 8, seed=3)
    found = LINEAR.variational_bound(x0, randn(2, 1, 8, seed=4), 0, guess=guess, log_variance=log_variance)
    expected = [
        -norm.logcdf(*row).mean() / math.log(2)
        for row in zip(x0 * guess, 0 * x0, (log_variance / 2).exp(), strict=True)
    ]
    assert np.allclose(found, expected)
    coin = LINEAR.variational_bound(x0, x0, 0, guess=0 * x0, log_variance=log_variance)
    assert torch.allclose(coin, torch.ones(2).double())


def test_the_bound_of_a_batch_is_that_of_its_samples_and_leaves_out_what_is_unknown() -> None:
    x0, x_t, guess = masks(3, 1, 8), randn(3, 1, 8), randn(3, 1, 8, seed=5).tanh()
    log_variance, known = torch.full((3, 1, 8), -6.0).double(), randn(3, 1, 8, seed=6) > 0
    t = torch.tensor([0, 1, 30])
    whole = COSINE.variational_bound(x0, x_t, t, guess=guess, log_variance=log_variance, known=known)
    for i in range(3):
        one = [tensor[i : i + 1][known[i : i + 1]][None, None] for tensor in (x0, x_t, guess, log_variance)]
        alone = COSINE.variational_bound(one[0], one[1], int(t[i]), guess=one[2], log_variance=one[3])
        assert torch.allclose(whole[i], alone[0])


def test_gradients_of_the_bound_are_finite_at_every_step_and_far_from_the_truth() -> None:
    t = torch.arange(40)
    x0 = masks(40, 1, 2).float()
    guess = (-x0).requires_grad_()
    v = torch.full((40, 1, 2), -1.0, requires_grad=True)
    x_t = COSINE.noised(x0, t, randn(40, 1, 2).float())
    log_variance = COSINE.learned_log_variance(v, t, t - 1)
    bound = COSINE.variational_bound(x0, x_t, t, guess=guess, log_variance=log_variance)
    bound.sum().backward()
    assert bound.isfinite().all()
    for tensor in (guess, v):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.flatten(1).any(1).all()
