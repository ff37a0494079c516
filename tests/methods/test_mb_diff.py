"""MB-Diff: the uncertainty of evolutions, the vote, and an image that guides at every level."""

from __future__ import annotations

from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest
import torch
from test_dtu_net import traits
from torch import Tensor, nn

from scantling.contract.method import build
from scantling.contract.options import SegmentOptions
from scantling.contract.step import Inference
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch
from scantling.diffusion.samplers import Final
from scantling.fusion import fuse
from scantling.methods.mask_diffusion.mb_diff import MBDiff, MBDiffSettings
from scantling.networks.pyramid import ConvolutionalPyramid, Guidance, TransformerPyramid
from toys import looked_at_once_and_at_every_step

CONVOLUTIONS = {"pyramid": "convolutions", "pyramid_widths": (4, 6, 8), "pyramid_depths": (1, 1, 1)}


def made(**changes: Any) -> MBDiff:
    """Tiny, in float64, with weights where it starts at zero."""
    settings = MBDiffSettings.preset("tiny", changes).resolve(traits())
    method = build(MBDiff, settings, traits()).double().eval()
    torch.manual_seed(0)
    for parameter in method.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    assert isinstance(method, MBDiff)
    return method


def batch(image: Tensor) -> Batch:
    numbers = torch.arange(len(image))
    return Batch(numbers, numbers, {"image": image})


def ends(count: int, *, seed: int = 0) -> list[Final]:
    """Chains in two groups, as inference hands them over."""
    generator = torch.Generator().manual_seed(seed)
    mean = 2 * torch.rand(count, 1, 5, 6, generator=generator, dtype=torch.float64) - 1
    log_variance = torch.randn(count, 1, 5, 6, generator=generator, dtype=torch.float64)
    return [Final(mean[part], mean[part], log_variance[part]) for part in (slice(0, 2), slice(2, count))]


def test_evolution_is_the_population_deviation_of_the_means_in_probability() -> None:
    told = made().doubt(ends(5))
    means = np.concatenate([end.mean.numpy() for end in ends(5)])[:, 0]
    assert np.allclose(told["evolution"][0, 0].numpy(), np.std((means + 1) / 2, axis=0))
    assert told["evolution"].shape == told["total"].shape == (1, 1, 5, 6)


def test_total_is_the_deviation_of_what_the_chains_predict_together() -> None:
    # the mixture of n normals has the variance of its means and the mean of its variances: draw from it
    chains = ends(3)
    generator = torch.Generator().manual_seed(1)
    mean, log_variance = (torch.cat([end[part] for end in chains]) for part in (1, 2))
    drawn = mean + (log_variance / 2).exp() * torch.randn(20_000, *mean.shape, generator=generator, dtype=mean.dtype)
    deviation = ((drawn + 1) / 2).flatten(0, 1).std(0, correction=0)
    assert torch.allclose(made().doubt(chains)["total"][0], deviation, rtol=0.03)


def test_evolution_does_not_depend_on_the_order_of_the_chains() -> None:
    mean = torch.cat([end.mean for end in ends(4)])
    told = [
        made().doubt([Final(mean[list(order)], mean[list(order)], torch.zeros_like(mean))])["evolution"]
        for order in permutations(range(4))
    ]
    assert all(torch.allclose(one, told[0], rtol=0, atol=1e-12) for one in told)


def test_chains_with_the_same_noise_and_no_chance_leave_no_evolution() -> None:
    method = made(sampler="ddim", sampling_steps=3)
    method.noise = lambda moments, purpose, like: torch.ones_like(like).expand(len(moments), *like.shape[1:])
    with torch.no_grad():
        answer = method.segment(
            batch(torch.randn(1, 3, 20, 24, dtype=torch.float64)),
            Inference(seed=0, options=SegmentOptions(samples=4)),
        )
    assert answer.uncertainty["evolution"].max() < 1e-12
    assert answer.uncertainty["total"].min() > 0


def test_a_sample_is_the_mean_plus_noise_of_the_last_variance_drawn_by_the_caller() -> None:
    method, said = made(), torch.Generator().manual_seed(0)
    like = torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    told = torch.randn(like.shape, generator=said, dtype=like.dtype)
    draws: dict[str, Tensor] = {}

    def draw(purpose: str, like: Tensor) -> Tensor:
        draws[purpose] = torch.randn(like.shape, generator=said, dtype=like.dtype)
        return draws[purpose]

    def model(noisy: Tensor, timestep: int) -> Any:
        return method.guess(torch.cat([told, told], 1), noisy, timestep, -1)

    end = method.walk(model, like=like, steps=(7,), draw=draw)
    assert set(draws) == {"start", "evolution"}
    assert end.log_variance is not None
    assert torch.allclose(end.x, end.mean + end.log_variance.exp().sqrt() * draws["evolution"])


def test_what_says_minus_one_has_the_variance_of_the_posterior() -> None:
    method = made()
    said = torch.cat([torch.zeros(1, 1, 4, 4), -torch.ones(1, 1, 4, 4)], 1)
    noisy = torch.zeros(1, 1, 4, 4)
    alpha_bar = torch.cumprod(1 - method.process.betas, 0)
    for timestep, before in ((19, 12), (7, 3), (1, 0)):
        kept = alpha_bar[timestep] / alpha_bar[before]
        expected = (1 - alpha_bar[before]) / (1 - alpha_bar[timestep]) * (1 - kept)
        log_variance = method.guess(said, noisy, timestep, before).log_variance
        assert log_variance is not None
        assert torch.allclose(log_variance.exp().double(), expected, rtol=1e-5)


def test_more_votes_never_make_a_larger_mask_from_union_to_intersection() -> None:
    samples = torch.rand(5, 1, 1, 9, 9, generator=torch.Generator().manual_seed(3))
    masks = [fuse("vote", samples, votes=votes) for votes in range(1, 6)]
    assert torch.equal(masks[0] > 0, (samples > 0.5).any(0))
    assert torch.equal(masks[-1] > 0, (samples > 0.5).all(0))
    assert all((fewer >= more).all() for fewer, more in pairwise(masks))


def test_samples_vote_at_a_half_of_the_units_of_an_answer() -> None:
    # masks are -1 and 1 in the chain: 0 there is a half here
    assert made().probability(torch.tensor([-3.0, -1.0, 0.0, 1.0])).tolist() == [0.0, 0.0, 0.5, 1.0]


def test_votes_of_the_settings_are_asked_for_where_samples_vote() -> None:
    method = made(samples=4, votes=3)
    assert method.segment_options(SegmentOptions()).votes == 3
    assert method.segment_options(SegmentOptions(votes=1)).votes == 1
    assert method.segment_options(SegmentOptions(fuse="mean")).votes is None
    assert method.segment_options(SegmentOptions(samples=1)).votes is None, "as in the validation of a training"
    with pytest.raises(SettingsError, match="3 votes are asked of 2 samples"):
        method.segment_options(SegmentOptions(samples=2))
    with pytest.raises(SettingsError, match="6 votes are asked of 4 samples"):
        MBDiffSettings.preset("quick", {"samples": 4, "votes": 6}).resolve(traits())


def test_the_printed_rule_sums_what_the_samples_say() -> None:
    asked = made(counts="raw", samples=3, votes=2).segment_options(SegmentOptions())
    assert (asked.fuse, asked.votes) == ("sum", 2)
    assert made(counts="raw", samples=3).segment_options(asked) == asked, "what is resolved stays"
    samples = torch.tensor([0.9, 0.7, 0.3, 0.8, 0.8, 0.8]).view(2, 3, 1, 1, 1)
    for drawn, enough in zip(samples, (0.0, 1.0), strict=True):  # 1.9 and 2.4
        assert fuse(asked.fuse or "", drawn[:, None], votes=asked.votes).item() == enough


def test_one_evolution_disagrees_with_nobody_and_has_no_maps() -> None:
    mean = torch.zeros(1, 1, 4, 4)
    assert made().doubt([Final(mean, mean, mean)]) == {}


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (9, 30)])
@pytest.mark.parametrize("kind", ["transformer", "convolutions"])
def test_guides_have_the_sizes_of_the_levels_for_odd_images(kind: str, size: tuple[int, int]) -> None:
    method = made(**(CONVOLUTIONS if kind == "convolutions" else {}))
    with torch.no_grad():
        guides = method.condition(torch.randn(1, 3, *size, dtype=torch.float64))
        seen = {}

        def guide(level: int, h: Tensor) -> Tensor:
            seen[level] = h.shape
            return h

        method.network(torch.randn(1, 1, *size, dtype=torch.float64), torch.tensor([3]), guide=guide)
    assert [guides[level].shape for level in range(3)] == [seen[level] for level in range(3)]


def test_each_level_is_guided() -> None:
    method = made(**CONVOLUTIONS)
    noisy, image = torch.randn(1, 1, 32, 32, dtype=torch.float64), torch.randn(1, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        guides = method.condition(image)
        said = method.denoise(noisy, guides, torch.tensor([3]))
        for off in range(3):
            some = tuple(torch.zeros_like(g) if level == off else g for level, g in enumerate(guides))
            assert not torch.allclose(method.denoise(noisy, some, torch.tensor([3])), said)


def test_what_the_image_says_is_computed_once_and_nothing_changes_by_it() -> None:
    method = made(samples=3)
    calls: list[int] = []
    method.guidance.register_forward_hook(lambda *_: calls.append(1))
    image = torch.randn(2, 3, 21, 30, dtype=torch.float64)
    looked_at_once_and_at_every_step(method, batch(image), Inference(seed=0, options=SegmentOptions(steps=4)))
    assert len(calls) == 2 + 2 * 4  # once an image, and then once a step


def test_pyramids_stand_at_the_scales_that_they_name() -> None:
    image = torch.randn(1, 3, 50, 61)
    pyramids = (
        ConvolutionalPyramid(3, widths=(4, 6, 8), depths=(1, 1, 1)),
        TransformerPyramid(3, widths=(4, 6, 8, 8), depths=(1, 1, 1, 1), heads=(1, 2, 2, 2)),
    )
    for pyramid in pyramids:
        for width, stride, features in zip(pyramid.widths, pyramid.strides, pyramid(image), strict=True):
            assert features.shape == (1, width, -(-50 // stride), -(-61 // stride))


def test_the_transformer_has_the_parameters_of_its_paper() -> None:
    # PVT v2-B2: 25.4 million with a classifier of 1000 classes on the last 512 channels (Wang et al., 2022, table 2)
    with torch.device("meta"):
        pyramid = TransformerPyramid(3, widths=(64, 128, 320, 512), depths=(3, 4, 6, 3), heads=(1, 2, 5, 8))
    count = sum(parameter.numel() for parameter in pyramid.parameters()) + 513 * 1000
    assert count / 1e6 == pytest.approx(25.4, abs=0.05)


def test_a_pyramid_coarser_than_the_denoiser_is_refused() -> None:
    with pytest.raises(SettingsError, match="take fewer stages"):
        MBDiffSettings.preset("tiny", {"widths": (8, 8)}).resolve(traits())
    with pytest.raises(SettingsError, match="one number each for every stage"):
        MBDiffSettings.preset("tiny", {"pyramid_depths": (1, 1)}).resolve(traits())
    with pytest.raises(SettingsError, match="do not divide"):
        MBDiffSettings.preset("tiny", {"pyramid_heads": (3,)}).resolve(traits())
    with pytest.raises(ValueError, match="would guide nothing"):
        Guidance(ConvolutionalPyramid(3, widths=(4, 4), depths=(1, 1)), (4,))
