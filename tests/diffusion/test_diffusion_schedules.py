"""How much noise each step adds, and which steps a sampler takes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from monai.networks.schedulers import DDPMScheduler

from scantling.core.errors import SettingsError
from scantling.diffusion.chain import Chain, bits, columns, pairs
from scantling.diffusion.schedules import Schedule, Spacing, betas, timesteps

NAMES: tuple[Schedule, ...] = ("linear", "scaled", "cosine", "cosine2", "sigmoid")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [2, 10, 250, 1000, 4000])
def test_every_schedule_adds_ever_more_noise_and_never_destroys_all(name: Schedule, steps: int) -> None:
    values = betas(name, steps)
    assert values.shape == (steps,)
    assert values.dtype == torch.float64
    assert (values > 0).all()
    assert (values <= 0.999).all()
    assert (values.diff() >= 0).all()


@pytest.mark.parametrize("name", ["linear", "scaled", "sigmoid"])
def test_given_ends_are_taken_as_they_are_and_match_monais_schedules(name: Schedule) -> None:
    theirs = DDPMScheduler(
        2000, f"{'scaled_linear' if name == 'scaled' else name}_beta", beta_start=1e-6, beta_end=1e-2
    )
    ours = betas(name, 2000, low=1e-6, high=1e-2)
    assert np.allclose(ours, theirs.betas, rtol=1e-5, atol=1e-9)
    if name != "sigmoid":  # whose ends are not quite its asymptotes
        assert ours[0].item() == pytest.approx(1e-6, rel=1e-12)
        assert ours[-1].item() == pytest.approx(1e-2, rel=1e-12)


@pytest.mark.parametrize("steps", [100, 1000, 4000])
def test_linear_ends_in_the_same_noise_whatever_the_number_of_steps(steps: int) -> None:
    """log ᾱ_T is near -(low + high) / 2 · T = -10.05, a little below for the squares of large betas."""
    assert math.log(Chain(betas("linear", steps)).alpha_bar(steps - 1).item()) == pytest.approx(-10.05, rel=0.1)
    assert betas("linear", steps)[0].item() == pytest.approx(0.1 / steps)


@pytest.mark.parametrize(("name", "power"), [("cosine", 1), ("cosine2", 2)])
def test_the_cosines_leave_the_signal_of_their_formula(name: Schedule, power: int) -> None:
    chain = Chain(betas(name, 1000))
    for t in (0, 1, 499, 900, 990):
        angle, origin = ((u + 0.008) / 1.008 * math.pi / 2 for u in ((t + 1) / 1000, 0))
        assert chain.alpha_bar(t).item() == pytest.approx((math.cos(angle) / math.cos(origin)) ** power, rel=1e-9)


def test_cosine2_is_what_nichol_and_dhariwal_call_cosine_and_berdiff_starts_from() -> None:
    theirs = DDPMScheduler(1000, "cosine")
    assert np.allclose(Chain(betas("cosine2", 1000)).alpha_bar(torch.arange(1000)), theirs.alphas_cumprod, atol=1e-6)
    assert Chain(betas("cosine2", 1000)).alpha_bar(900).item() == pytest.approx(0.024, abs=5e-4)  # BerDiff, 10 steps
    assert Chain(betas("cosine2", 300)).alpha_bar(149).item() == pytest.approx(0.494, abs=5e-4)  # Medical Diffusion


def test_a_schedule_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least 2"):
        betas("linear", 1)
    for low, high in ((0.0, 0.1), (0.2, 0.1), (0.1, 1.0), (-1.0, 0.1)):
        with pytest.raises(SettingsError, match="low <= high"):
            betas("scaled", 10, low=low, high=high)
    with pytest.raises(SettingsError, match="no ends"):
        betas("cosine2", 10, low=0.1)
    with pytest.raises(SettingsError, match="between 0 and 1"):
        Chain(torch.tensor([0.1, 1.0]))


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("total", [10, 37, 1000])
def test_any_count_of_steps_descends_without_repeats(spacing: Spacing, total: int) -> None:
    for count in (*range(1, min(total, 100)), total):
        steps = timesteps(total, count, spacing=spacing)
        assert len(set(steps)) == count
        assert list(steps) == sorted(steps, reverse=True)
        assert steps[-1] == 0 if spacing == "leading" else steps[0] == total - 1
    assert timesteps(total, total, spacing=spacing) == tuple(range(total - 1, -1, -1))


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("count", [1, 10, 30, 50, 250])
def test_spacings_are_those_of_diffusers(spacing: Spacing, count: int) -> None:
    theirs = DDIMScheduler(1000, timestep_spacing=spacing)
    theirs.set_timesteps(count)
    assert list(timesteps(1000, count, spacing=spacing)) == theirs.timesteps.tolist()


def test_berdiffs_ten_steps_are_leading() -> None:
    assert timesteps(1000, 10, spacing="leading") == (900, 800, 700, 600, 500, 400, 300, 200, 100, 0)


@pytest.mark.parametrize("count", [0, -1, 11])
def test_more_steps_than_the_chain_has_or_none_are_refused(count: int) -> None:
    with pytest.raises(SettingsError, match=f"{count} sampling steps on a chain of 10; take 1 to 10"):
        timesteps(10, count, spacing="trailing")


def test_a_sampler_moves_from_step_to_step_and_then_to_clean_data() -> None:
    assert pairs((9, 4, 0)) == [(9, 4), (4, 0), (0, -1)]
    assert pairs([3]) == [(3, -1)]
    for wrong in ([], [3, 3], [1, 2], [2, -1]):
        with pytest.raises(SettingsError, match="descending"):
            pairs(wrong)


def test_clean_data_keep_everything_and_time_steps_outside_do_not_wrap() -> None:
    chain = Chain(betas("linear", 50))
    assert chain.alpha_bar(-1).item() == 1
    expected = [1, 1 - chain.betas[0].item(), (1 - chain.betas).prod().item()]
    assert chain.alpha_bar(torch.tensor([-1, 0, 49])).tolist() == pytest.approx(expected, rel=1e-12)
    for t in (-2, 50, torch.tensor([0, 50])):
        with pytest.raises(SettingsError, match="from -1 to 49"):
            chain.alpha_bar(t)


def test_the_noise_of_darls_first_step_keeps_its_digits_in_float32() -> None:
    """1 - (1 - 1e-6) in float32 is 9.54e-7, five per cent off."""
    (first,) = columns(torch.zeros(1, 1), 1 - Chain(betas("linear", 2000, low=1e-6, high=1e-2)).alpha_bar(0))
    assert first.item() == pytest.approx(1e-6, rel=1e-6)


def test_coefficients_stand_beside_samples_in_no_less_than_float32() -> None:
    column, one = columns(torch.zeros(3, 1, 4, 5, dtype=torch.bfloat16), torch.arange(3.0), torch.tensor(2.0))
    assert (column.shape, column.dtype) == ((3, 1, 1, 1), torch.float32)
    assert (one.shape, one.item()) == ((1, 1, 1, 1), 2)


def test_bits_count_only_what_is_known() -> None:
    nats = torch.tensor([1.0, 3.0, 100.0, 8.0, 8.0, 8.0]).reshape(2, 1, 3) * math.log(2)
    known = torch.tensor([True, True, False, False, False, False]).reshape(2, 1, 3)
    assert torch.allclose(bits(nats, known), torch.tensor([2.0, 0.0]))
    assert torch.allclose(bits(nats, None), torch.tensor([104 / 3, 8.0]))
