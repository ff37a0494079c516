"""Samplers against those of diffusers, against closed solutions, and what they promise their caller."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from scantling.core.randomness import torch_generator
from scantling.diffusion.bernoulli import BernoulliProcess
from scantling.diffusion.chain import pairs
from scantling.diffusion.gaussian import GaussianProcess, Prediction
from scantling.diffusion.samplers import Final, Guess, Model, Moment, ancestral, bernoulli, ddim, dpm_solver_pp
from scantling.diffusion.schedules import Schedule, Spacing, betas, timesteps

PROCESS = GaussianProcess(betas("linear", 1000))
GAUSSIAN = [ancestral, ddim, dpm_solver_pp]
KINDS: dict[Prediction, str] = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}


def normal(purpose: str, like: Tensor) -> Tensor:
    return torch.randn(like.shape, generator=torch_generator(purpose), dtype=like.dtype)


def start(*shape: int) -> Tensor:
    return normal("start", torch.empty(shape or (2, 1, 4, 5), dtype=torch.float64))


def network(x: Tensor, t: int) -> Tensor:
    """Something curved in x and in t, different in each pixel."""
    return torch.tanh(1.7 * x - 0.4 + torch.linspace(0, 1, x[0].numel(), dtype=x.dtype).reshape(x.shape[1:]) + t / 700)


def model_of(kind: Prediction, process: GaussianProcess) -> Model:
    return lambda x, t: Guess(process.x0_from(network(x, t), x, t, kind=kind))


def theirs(scheduler: Any, count: int, step: Callable[[Tensor, int, Tensor], Tensor]) -> Tensor:
    """A chain of a scheduler of diffusers."""
    scheduler.set_timesteps(count)
    x = start()
    for t in scheduler.timesteps.tolist():
        x = step(network(x, t), t, x)
    return x


@pytest.mark.parametrize(
    ("spacing", "count", "kind"),
    [(*way, kind) for way in (("leading", 10), ("trailing", 20), ("trailing", 1)) for kind in KINDS]
    + [("leading", 1000, "eps")],
)
def test_ancestral_is_diffusers_ddpm(spacing: Spacing, count: int, kind: Prediction) -> None:
    scheduler = DDPMScheduler(prediction_type=KINDS[kind], timestep_spacing=spacing, clip_sample=True)
    source = torch_generator("chain")
    other = theirs(scheduler, count, lambda out, t, x: scheduler.step(out, t, x, generator=source).prev_sample)
    source = torch_generator("chain")
    ours = ancestral(
        model_of(kind, PROCESS), start(), process=PROCESS, timesteps=timesteps(1000, count, spacing=spacing),
        draw=lambda _, like: torch.randn(like.shape, generator=source, dtype=like.dtype), clip=(-1, 1),
    )  # fmt: skip
    assert torch.allclose(ours.x, other, atol=1e-4)


@pytest.mark.parametrize("count", [10, 1000])
def test_ancestral_with_learned_variance_is_diffusers_learned_range(count: int) -> None:
    steps = timesteps(1000, count, spacing="leading")
    before = dict(pairs(steps))
    scheduler = DDPMScheduler(variance_type="learned_range", timestep_spacing="leading", clip_sample=True)
    source = torch_generator("chain")
    other = theirs(
        scheduler,
        count,
        lambda out, t, x: scheduler.step(torch.cat([out, x.cos()], 1), t, x, generator=source).prev_sample,
    )

    def model(x: Tensor, t: int) -> Guess:
        x0 = PROCESS.x0_from(network(x, t), x, t, kind="eps")
        return Guess(x0, PROCESS.learned_log_variance(x.cos(), t, before[t]))

    source = torch_generator("chain")
    ours = ancestral(
        model, start(), process=PROCESS, timesteps=steps, clip=(-1, 1),
        draw=lambda _, like: torch.randn(like.shape, generator=source, dtype=like.dtype),
    )  # fmt: skip
    assert torch.allclose(ours.x, other, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eta", [0.0, 0.6])
@pytest.mark.parametrize(("spacing", "count"), [("leading", 10), ("trailing", 20), ("leading", 50)])
def test_ddim_is_diffusers_ddim(spacing: Spacing, count: int, eta: float, kind: Prediction) -> None:
    scheduler = DDIMScheduler(prediction_type=KINDS[kind], timestep_spacing=spacing, clip_sample=True)

    def step(out: Tensor, t: int, x: Tensor) -> Tensor:
        noise = normal(f"noise {t}", x)
        moved = scheduler.step(out, t, x, eta=eta, use_clipped_model_output=True, variance_noise=noise)
        return moved.prev_sample

    ours = ddim(
        model_of(kind, PROCESS), start(), process=PROCESS, timesteps=timesteps(1000, count, spacing=spacing),
        draw=normal, clip=(-1, 1), eta=eta,
    )  # fmt: skip
    assert torch.allclose(ours.x, theirs(scheduler, count, step), atol=1e-4)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # NumPy's, in the code of diffusers
@pytest.mark.parametrize("kind", ["x0", "v"])
@pytest.mark.parametrize(("name", "theirs_name"), [("linear", "linear"), ("cosine2", "squaredcos_cap_v2")])
@pytest.mark.parametrize("count", [1, 2, 5, 10, 20, 50])
def test_dpm_solver_is_diffusers_second_order_multistep(
    count: int, name: Schedule, theirs_name: str, kind: Prediction
) -> None:
    process = GaussianProcess(betas(name, 1000))
    scheduler = DPMSolverMultistepScheduler(
        beta_schedule=theirs_name, prediction_type=KINDS[kind], timestep_spacing="trailing"
    )
    other = theirs(scheduler, count, lambda out, t, x: scheduler.step(out, t, x).prev_sample)
    steps = timesteps(1000, count, spacing="trailing")
    ours = dpm_solver_pp(model_of(kind, process), start(), process=process, timesteps=steps, draw=normal, clip=None)
    assert torch.allclose(ours.x, other, atol=1e-4)


@pytest.mark.parametrize("count", [1, 10, 1000])
def test_ddim_with_an_oracle_of_the_noise_returns_the_data(count: int) -> None:
    x0, noise = start().sign(), start()
    x_t = PROCESS.noised(x0, 999, noise)
    found = ddim(
        lambda x, t: Guess(PROCESS.x0_from(noise, x, t, kind="eps")),
        x_t, process=PROCESS, timesteps=timesteps(1000, count, spacing="trailing"), draw=normal, clip=None,
    )  # fmt: skip
    assert torch.allclose(found.x, x0, atol=1e-9)


@pytest.mark.parametrize("sampler", GAUSSIAN)
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_every_sampler_ends_in_clean_data(sampler: Callable[..., Final], spacing: Spacing) -> None:
    x0 = start().sign()
    steps = timesteps(1000, 7, spacing=spacing)
    found = sampler(lambda x, t: Guess(x0), start(), process=PROCESS, timesteps=steps, draw=normal, clip=(-1, 1))
    assert torch.allclose(found.x, x0, atol=1e-12)
    assert torch.equal(found.mean, found.x)


def test_ddim_that_draws_everything_afresh_is_ancestral() -> None:
    """eta = 1 gives the posterior's mean and variance (Song et al., 2021, section 4.1)."""
    model, steps = model_of("v", PROCESS), timesteps(1000, 30, spacing="trailing")
    one = ddim(model, start(), process=PROCESS, timesteps=steps, draw=normal, clip=(-1, 1), eta=1)
    other = ancestral(model, start(), process=PROCESS, timesteps=steps, draw=normal, clip=(-1, 1))
    assert torch.allclose(one.x, other.x, atol=1e-9)


@pytest.mark.parametrize("count", [20, 80, 160])
def test_the_solver_of_second_order_comes_nearer_to_the_closed_solution(count: int) -> None:
    """Of data N(m, s²) the way from noise to data is known: (x - √ᾱ m) / √(ᾱ s² + 1 - ᾱ) stays as it is."""
    m, s, process = 0.3, 0.5, GaussianProcess(betas("cosine2", 1000))

    def model(x: Tensor, t: int) -> Guess:
        kept = process.alpha_bar(t).item()
        return Guess(m + math.sqrt(kept) * s**2 / (kept * s**2 + 1 - kept) * (x - math.sqrt(kept) * m))

    kept = process.alpha_bar(999).item()
    solution = m + s * (start() - math.sqrt(kept) * m) / math.sqrt(kept * s**2 + 1 - kept)
    steps = timesteps(1000, count, spacing="trailing")
    first, second = (
        (sampler(model, start(), process=process, timesteps=steps, draw=normal, clip=None).x - solution).abs().max()
        for sampler in (ddim, dpm_solver_pp)
    )
    assert first < 2 / count  # Euler's error shrinks with the step
    assert second < first / 10


def test_noise_is_asked_for_by_time_step_and_not_for_the_last() -> None:
    asked: list[str] = []

    def draw(purpose: str, like: Tensor) -> Tensor:
        asked.append(purpose)
        return normal(purpose, like)

    steps = (900, 400, 10)
    for sampler, expected in ((ancestral, ["noise 900", "noise 400"]), (ddim, []), (dpm_solver_pp, [])):
        asked.clear()
        sampler(model_of("v", PROCESS), start(), process=PROCESS, timesteps=steps, draw=draw, clip=None)
        assert asked == expected


@pytest.mark.parametrize("sampler", GAUSSIAN)
def test_an_observer_sees_every_step_and_may_replace_the_state(sampler: Callable[..., Final]) -> None:
    moments: list[Moment] = []
    seen: list[Tensor] = []
    swapped = torch.full((2, 1, 4, 5), 0.25, dtype=torch.float64)

    def model(x: Tensor, t: int) -> Guess:
        seen.append(x)
        return Guess(network(x, t) * 2)

    def observe(moment: Moment) -> Tensor | None:
        moments.append(moment)
        return swapped if moment.t == 700 else None

    found = sampler(
        model, start(), process=PROCESS, timesteps=(999, 700, 300), draw=normal, observe=observe, clip=(-1, 1)
    )
    assert [(moment.step, moment.t, moment.before) for moment in moments] == [
        (0, 999, 700),
        (1, 700, 300),
        (2, 300, -1),
    ]
    assert torch.equal(seen[1], moments[0].x)
    assert torch.equal(seen[2], swapped)
    assert all(moment.x0.abs().max() == 1 for moment in moments)  # clipped
    assert torch.equal(found.x, moments[2].x)
    assert torch.equal(found.mean, moments[2].mean)
    assert found.log_variance is moments[2].log_variance
    last = sampler(model, start(), process=PROCESS, timesteps=(300,), draw=normal, observe=lambda _: swapped, clip=None)
    assert torch.equal(last.x, swapped)


@pytest.mark.parametrize("sampler", GAUSSIAN)
def test_the_variance_of_the_last_step_is_handed_out(sampler: Callable[..., Final]) -> None:
    learned = start().cos()
    arguments: dict[str, Any] = {"process": PROCESS, "timesteps": (500, 100), "draw": normal, "clip": None}
    assert sampler(lambda x, t: Guess(x, learned), start(), **arguments).log_variance is learned
    fixed = sampler(lambda x, t: Guess(x), start(), **arguments).log_variance
    assert torch.equal(fixed, PROCESS.posterior(start(), start(), 100, -1)[1])


@pytest.mark.parametrize("sampler", GAUSSIAN)
def test_a_chain_in_half_precision_is_kept_in_single(sampler: Callable[..., Final]) -> None:
    steps = timesteps(1000, 5, spacing="trailing")
    found = sampler(
        lambda x, t: Guess(network(x, t).bfloat16()), start().float(), process=PROCESS, timesteps=steps, draw=normal,
        clip=None,
    )  # fmt: skip
    assert found.x.dtype == torch.float32
    assert found.x.isfinite().all()


@pytest.mark.parametrize("rule", ["sub-sequence", "mixture"])
@pytest.mark.parametrize("steps", [tuple(range(29, -1, -1)), (29, 14, 2), (20, 10, 0)])
def test_a_perfect_model_leads_a_pixel_through_the_marginals_to_its_probability(
    rule: Literal["sub-sequence", "mixture"], steps: tuple[int, ...]
) -> None:
    """Both states of a pixel that is 1 three times in ten, followed exactly; the sampler draws from their numbers."""
    process = BernoulliProcess(betas("cosine2", 30))
    share = 0.3
    prior = torch.full((1, 1, 1), share, dtype=torch.float64)

    def model(y: Tensor, t: int) -> Guess:
        one, zero = (process.marginal(torch.full_like(y, y0), t) for y0 in (1.0, 0.0))
        of_one, of_zero = (torch.where(y == 1, p, 1 - p) for p in (one, zero))
        return Guess(share * of_one / (share * of_one + (1 - share) * of_zero))

    above = process.marginal(prior, steps[0])
    for t, before in pairs(steps):
        after = []
        for y in (torch.zeros_like(prior), torch.ones_like(prior)):
            guess = model(y, t).x0
            back = process.skip(guess, y, t, before) if rule == "sub-sequence" else None
            after.append(process.back(guess, y, t, before, rule="mixture") if back is None else back)
        above = (1 - above) * after[0] + above * after[1]
        assert torch.allclose(above, process.marginal(prior, before), atol=1e-12)

    many = torch.arange(40_000, dtype=torch.float64).reshape(1, 1, -1) % 1000 < 1000 * process.marginal(prior, steps[0])
    found = bernoulli(
        model, many.double(), process=process, timesteps=steps, rule=rule,
        draw=lambda purpose, like: torch.rand(like.shape, generator=torch_generator(purpose), dtype=like.dtype),
    )  # fmt: skip
    assert found.x.mean().item() == pytest.approx(share, abs=0.012)  # five deviations of 40,000 coins


@pytest.mark.parametrize("rule", ["sub-sequence", "mixture", "plug-in"])
def test_bernoulli_draws_masks_on_the_way_and_ends_in_the_models_probability(
    rule: Literal["sub-sequence", "mixture", "plug-in"],
) -> None:
    process = BernoulliProcess(betas("cosine2", 1000))
    moments: list[Moment] = []
    asked: list[str] = []

    def draw(purpose: str, like: Tensor) -> Tensor:
        asked.append(purpose)
        return torch.rand(like.shape, generator=torch_generator(purpose), dtype=like.dtype)

    def observe(moment: Moment) -> Tensor | None:
        moments.append(moment)
        return None

    found = bernoulli(
        lambda y, t: Guess(network(y, t).sigmoid()), (start() > 0).float(), process=process,
        timesteps=timesteps(1000, 10, spacing="leading"), draw=draw, observe=observe, rule=rule,
    )  # fmt: skip
    assert asked == [f"noise {t}" for t in range(900, 0, -100)]
    for moment in moments[:-1]:
        assert set(moment.x.unique().tolist()) == {0, 1}
    assert torch.allclose(found.x, moments[-1].x0)
    assert ((found.x > 0) & (found.x < 1)).all()
    assert found.log_variance is None
