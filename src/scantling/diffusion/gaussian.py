"""Masks in {-1, 1} that drown in Gaussian noise, and what a step back looks like."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from scantling.core.checks import check_choice
from scantling.core.errors import ArrayError
from scantling.diffusion.chain import Chain, Time, bits, columns

Prediction = Literal["eps", "x0", "v"]
"""What a network predicts: the noise, the clean data, or v = √ᾱ ε - √(1 - ᾱ) x0 (Salimans and Ho, 2022)."""


class GaussianProcess(Chain):
    """q(x_t | x0) = N(√ᾱ_t x0, 1 - ᾱ_t) (Ho et al., 2020, eq. 4). See `Chain` for the betas.

    All tensors are (B, K, *S). A time step t is one number or (B,). Steps back may skip: with s for `before`, two
    states of the chain are related as by one step that keeps ᾱ_t / ᾱ_s.
    """

    def noised(self, x0: Tensor, t: Time, noise: Tensor) -> Tensor:
        """x_t = √ᾱ_t x0 + √(1 - ᾱ_t) ε for standard normal ε.

        Raises:
            ArrayError: the noise has another shape.
        """
        if noise.shape != x0.shape:
            raise ArrayError(f"found noise of shape {tuple(noise.shape)} for data of shape {tuple(x0.shape)}")
        signal, spread = self._signal_and_spread(x0, t)
        return signal * x0 + spread * noise

    def target(self, x0: Tensor, t: Time, noise: Tensor, *, kind: Prediction) -> Tensor:
        """What a network that sees `noised(x0, t, noise)` should say.

        Raises:
            SettingsError: an unknown kind.
        """
        check_choice(kind, get_args(Prediction), argument="kind")
        if kind == "eps":
            return noise
        if kind == "x0":
            return x0
        signal, spread = self._signal_and_spread(x0, t)
        return signal * noise - spread * x0

    def x0_from(self, prediction: Tensor, x_t: Tensor, t: Time, *, kind: Prediction) -> Tensor:
        """The clean data that a prediction implies, not clipped.

        Raises:
            SettingsError: an unknown kind.
        """
        check_choice(kind, get_args(Prediction), argument="kind")
        if kind == "x0":
            return prediction
        signal, spread = self._signal_and_spread(x_t, t)
        if kind == "eps":
            return (x_t - spread * prediction) / signal
        return signal * x_t - spread * prediction

    def eps_from(self, x0: Tensor, x_t: Tensor, t: Time) -> Tensor:
        """ε = (x_t - √ᾱ_t x0) / √(1 - ᾱ_t), the noise between the two."""
        signal, spread = self._signal_and_spread(x_t, t)
        return (x_t - signal * x0) / spread

    def moved(self, eps: Tensor, x_t: Tensor, t: Time, to: Time) -> Tensor:
        r"""x_s = √ᾱ_s x0 + √(1 - ᾱ_s) ε with the x0 that ε and x_t imply, not clipped: a step of DDIM without fresh
        noise, down or up the chain (Song et al., 2021, eqs. 12 and 13); s is `to`.
        """
        signal, spread = self._signal_and_spread(x_t, to)
        return signal * self.x0_from(eps, x_t, t, kind="eps") + spread * eps

    def posterior(self, x0: Tensor, x_t: Tensor, t: Time, before: Time) -> tuple[Tensor, Tensor]:
        r"""Mean (B, K, *S) and log-variance (1 or B, 1, ...) of q(x_s | x_t, x0) (Ho et al., 2020, eq. 7).

        .. math:: \mu = \frac{\sqrt{\bar\alpha_s}\,\beta}{1 - \bar\alpha_t} x_0
                      + \frac{\sqrt{\alpha}\,(1 - \bar\alpha_s)}{1 - \bar\alpha_t} x_t, \quad
                  \tilde\beta = \frac{1 - \bar\alpha_s}{1 - \bar\alpha_t} \beta, \quad
                  \alpha = 1 - \beta = \bar\alpha_t / \bar\alpha_s

        Of the step to clean data the mean is x0 and the variance 0; its logarithm is given as that of the variance
        of the step from 1 to 0, as in the authors' code.
        """
        kept, after = self.alpha_bar(t), self.alpha_bar(before)
        alpha = kept / after
        of_x0, of_x_t = columns(x_t, after.sqrt() * (1 - alpha) / (1 - kept), alpha.sqrt() * (1 - after) / (1 - kept))
        low, _ = self._log_variances(t, before)
        return of_x0 * x0 + of_x_t * x_t, columns(x_t, low)[0]

    def learned_log_variance(self, v: Tensor, t: Time, before: Time) -> Tensor:
        """Between the posterior's log-variance (v = -1) and log β (v = 1) (Nichol and Dhariwal, 2021, eq. 15).

        Of the step of a sub-sequence to clean data it is the range from t to t - 1: no v was trained for another one,
        from the least variance of the chain up to 1 - ᾱ_t.

        Args:
            v: (B, K, *S), the second half of the network's output; nothing confines it to [-1, 1].
            t: from which step.
            before: to which step, so that the same network serves any sub-sequence.
        """
        t, before = torch.as_tensor(t, device="cpu"), torch.as_tensor(before, device="cpu")
        low, high = columns(v, *self._log_variances(t, torch.where(before < 0, t - 1, before)))
        return low + (v + 1) / 2 * (high - low)

    def variational_bound(
        self,
        x0: Tensor,
        x_t: Tensor,
        t: Time,
        *,
        guess: Tensor,
        log_variance: Tensor,
        known: Tensor | None = None,
        levels: int | None = None,
    ) -> Tensor:
        r"""What step t adds to the bound on the code length of the masks, in bits per element: (B,).

        It is KL(q(x_{t-1} | x_t, x0) || N(μ(guess, x_t), σ²)), and at t = 0, where a mask leaves the model,
        -log Φ(x0 μ / σ): the model's normal lies on the right side of 0 (Ho et al., 2020, eqs. 5 and 13). The
        authors' decoder has the 256 levels of photographs; a mask has two, so its bins are half-lines. Images have
        `levels`, evenly spaced from -1 to 1, and the outermost bins have no end.

        Args:
            x0: masks, -1 and 1, or images in [-1, 1].
            x_t: noised masks or images.
            t: one number, or (B,).
            guess: of x0; detached by the caller where only the variance is to learn from the bound.
            log_variance: log σ² of the model, from `learned_log_variance` with `before` = t - 1.
            known: where elements count, all if None.
            levels: grey values of images; None for masks.
        """
        true_mean, true_log_variance = self.posterior(x0, x_t, t, t - 1)
        mean, _ = self.posterior(guess, x_t, t, t - 1)
        divergence = normal_divergence(true_mean, true_log_variance, mean, log_variance)
        precision = (-log_variance / 2).exp()
        if levels is None:
            surprise = -torch.special.log_ndtr(x0 * mean * precision)
        else:
            half = 1 / (levels - 1)
            above = torch.where(x0 > 1 - half, 1.0, torch.special.ndtr((x0 + half - mean) * precision))
            below = torch.where(x0 < half - 1, 0.0, torch.special.ndtr((x0 - half - mean) * precision))
            surprise = -(above - below).clamp(min=1e-12).log()  # the least of the authors' code
        (first,) = columns(x_t, torch.as_tensor(t) == 0)
        return bits(torch.where(first.bool(), surprise, divergence), known)

    def _signal_and_spread(self, like: Tensor, t: Time) -> list[Tensor]:
        kept = self.alpha_bar(t)
        return columns(like, kept.sqrt(), (1 - kept).sqrt())

    def _log_variances(self, t: Time, before: Time) -> tuple[Tensor, Tensor]:
        """log of the posterior's variance and of β, float64."""
        kept, after = self.alpha_bar(t), self.alpha_bar(before)
        beta = 1 - kept / after
        least = self.betas[1] * self.betas[0] / (1 - self.alpha_bar(1))
        posterior = torch.where(after == 1, least, beta * (1 - after) / (1 - kept))
        return posterior.log(), beta.log()


def normal_divergence(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(other mean, other variance)) of each element, in nats."""
    ratio = log_variance - other_log_variance
    return (ratio.exp() - 1 - ratio + (mean - other_mean) ** 2 * (-other_log_variance).exp()) / 2
