"""Masks in {0, 1} whose pixels flip until nothing is left of them, and what a step back looks like."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.core.checks import check_choice
from scantling.core.errors import ArrayError, SettingsError
from scantling.diffusion.chain import Chain, Time, bits, columns, exact

Rule = Literal["plug-in", "mixture"]
"""How a soft guess of y_0 enters the posterior: put into its formula, or as the mean of the posteriors of 0 and 1."""


class BernoulliProcess(Chain):
    """q(y_t | y_0) = Bern(ᾱ_t y_0 + (1 - ᾱ_t) / 2) (Chen et al., 2023, BerDiff). See `Chain` for the betas.

    The authors' code loses the second term between two lines, so that background never flips; here it does.
    All tensors are (B, K, *S). A time step t is one number or (B,). Steps back may skip: with s for `before`, two
    states of the chain are related as by one step that keeps α = ᾱ_t / ᾱ_s.
    """

    def marginal(self, y0: Tensor, t: Time) -> Tensor:
        """The probability that y_t is 1."""
        kept = self.alpha_bar(t)
        share, flip = columns(y0, kept, (1 - kept) / 2)
        return share * y0 + flip

    def noised(self, y0: Tensor, t: Time, uniform: Tensor) -> Tensor:
        """y_t = y_0 XOR ε with ε ~ Bern((1 - ᾱ_t) / 2), of numbers uniform in [0, 1).

        Raises:
            ArrayError: y_0 lies outside [0, 1]; looked at on the processor, since a GPU would have to be waited for.
        """
        if y0.is_cpu and y0.numel() and not (float(y0.min()) >= 0 and float(y0.max()) <= 1):
            raise ArrayError(
                f"found values from {float(y0.min()):g} to {float(y0.max()):g}; expected a mask of 0 and 1: mask == 255"
            )
        (flip,) = columns(y0, (1 - self.alpha_bar(t)) / 2)
        return flipped(y0, (uniform < flip).to(flip.dtype))

    def posterior(self, y0: Tensor, y_t: Tensor, t: Time, before: Time) -> Tensor:
        r"""The probability that y_s is 1, given y_0 and y_t of 0 or 1.

        .. math:: \theta = \frac{a_1 b_1}{a_0 b_0 + a_1 b_1}, \quad
                  a_k = \alpha [y_t = k] + \frac{1 - \alpha}{2}, \quad
                  b_k = \bar\alpha_s [y_0 = k] + \frac{1 - \bar\alpha_s}{2}
        """
        return self._posterior(y0, 1 - y0, y_t, t, before).sigmoid()

    def back(self, guess: Tensor, y_t: Tensor, t: Time, before: Time, *, rule: Rule) -> Tensor:
        """The probability that y_s is 1, given y_t and a guess in [0, 1]: the probability that y_0 is 1.

        "plug-in" puts the guess into the formula of the posterior (the paper); "mixture" is exact where the guess
        is right. Of the step to clean data both give the guess, as the authors' code does.
        """
        log_odds = self._back(guess, 1 - guess, y_t, t, before, rule=rule)
        (clean,) = columns(guess, self.alpha_bar(before) == 1)
        return torch.where(clean.bool(), guess, log_odds.sigmoid())

    def skip(self, guess: Tensor, y_t: Tensor, t: Time, before: Time, *, sigma: float = 1.0) -> Tensor:
        r"""The paper's step of a sub-sequence: the probability that y_s is 1, which keeps the marginals for any σ.

        .. math:: \sigma y_t + (\bar\alpha_s - \sigma \bar\alpha_t) \hat y_0
                  + \frac{(1 - \bar\alpha_s) - \sigma (1 - \bar\alpha_t)}{2}

        Args:
            guess: the probability that y_0 is 1.
            y_t: 0 and 1.
            t: from which step.
            before: to which step, s.
            sigma: in units of (1 - ᾱ_s) / (1 - ᾱ_t), its greatest value and that of the authors' code; in [0, 1].

        Raises:
            SettingsError: sigma out of its range: what is returned would be no probability.
        """
        if not 0 <= sigma <= 1:
            raise SettingsError(f"sigma is {sigma:g} of its greatest value; take 0 to 1")
        kept, after = self.alpha_bar(t), self.alpha_bar(before)
        sigmas = sigma * (1 - after) / (1 - kept)
        of_y_t, of_guess, coin = columns(
            y_t, sigmas, after - sigmas * kept, ((1 - after) - sigmas * (1 - kept)).clamp(min=0) / 2
        )
        return of_y_t * y_t + of_guess * guess + coin

    def variational_bound(
        self, y0: Tensor, y_t: Tensor, t: Time, *, log_odds: Tensor, rule: Rule, known: Tensor | None = None
    ) -> Tensor:
        """What step t adds to the bound on the code length of the masks, in bits per element: (B,).

        KL(q(y_{t-1} | y_t, y_0) || Bern(back(guess))), and at t = 0 the cross-entropy of y_0 and the guess.

        Args:
            y0: masks, 0 and 1.
            y_t: noised masks, 0 and 1.
            t: one number, or (B,).
            log_odds: of the guess that y_0 is 1; see `flipped_log_odds` for a network that predicts the noise.
            rule: of the step back.
            known: where elements count, all if None.
        """
        log_odds = exact(log_odds)
        later = torch.as_tensor(t).clamp(min=1)  # at t = 0 the posterior is certain, and its log-odds are infinite
        truth = self._posterior(y0, 1 - y0, y_t, later, later - 1)
        model = self._back(log_odds.sigmoid(), (-log_odds).sigmoid(), y_t, later, later - 1, rule=rule)
        (first,) = columns(y0, torch.as_tensor(t) == 0)
        nats = torch.where(first.bool(), _cross_entropy(y0, log_odds), bernoulli_divergence(truth, model))
        return bits(nats, known)

    def _posterior(self, one: Tensor, zero: Tensor, y_t: Tensor, t: Time, before: Time) -> Tensor:
        """The log-odds that y_s is 1, to which y_t and y_0 add; 1 - θ itself has no digits left in early steps.

        `one` and `zero` are the probabilities that y_0 is 1 and 0.
        """
        after = self.alpha_bar(before)
        alpha = self.alpha_bar(t) / after
        evidence, share, flip = columns(y_t, torch.log((1 + alpha) / (1 - alpha)), after, (1 - after) / 2)
        return (2 * y_t - 1) * evidence + torch.log(share * one + flip) - torch.log(share * zero + flip)

    def _back(self, one: Tensor, zero: Tensor, y_t: Tensor, t: Time, before: Time, *, rule: Rule) -> Tensor:
        check_choice(rule, get_args(Rule), argument="rule")
        if rule == "plug-in":
            return self._posterior(one, zero, y_t, t, before)
        certain, impossible = torch.ones_like(one), torch.zeros_like(one)
        if_one = self._posterior(certain, impossible, y_t, t, before)
        if_zero = self._posterior(impossible, certain, y_t, t, before)
        above = one * if_one.sigmoid() + zero * if_zero.sigmoid()
        below = one * (-if_one).sigmoid() + zero * (-if_zero).sigmoid()
        return above.log() - below.log()


def flipped(y: Tensor, by: Tensor) -> Tensor:
    """|y - by|: the mask of the noise, the noise of the mask, and the same of their probabilities, beside y_t."""
    return (y - by).abs()


def flipped_log_odds(log_odds: Tensor, y_t: Tensor) -> Tensor:
    """The same of log-odds: those of the mask, of log-odds that y_t is a flipped pixel; and back again."""
    return (1 - 2 * y_t) * log_odds


def cross_entropy(truth: Tensor, log_odds: Tensor, *, known: Tensor | None = None) -> Tensor:
    """Binary cross-entropy in bits per element, (B,). The noise and the mask beside y_t have the same.

    Args:
        truth: (B, K, *S) of 0 and 1.
        log_odds: (B, K, *S) that it is 1.
        known: where elements count, all if None.
    """
    return bits(_cross_entropy(truth, exact(log_odds)), known)


def bernoulli_divergence(log_odds: Tensor, others: Tensor) -> Tensor:
    """KL(Bern(p) || Bern(q)) of each element, in nats, of the log-odds of p and q."""
    gain_of_one = F.logsigmoid(log_odds) - F.logsigmoid(others)
    gain_of_zero = F.logsigmoid(-log_odds) - F.logsigmoid(-others)
    return log_odds.sigmoid() * gain_of_one + (-log_odds).sigmoid() * gain_of_zero


def _cross_entropy(truth: Tensor, log_odds: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(log_odds, truth.to(log_odds.dtype), reduction="none")
