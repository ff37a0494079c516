"""Many samples to one mask: each rule against its definition, STAPLE against ITK, and what samples disagree about."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import SimpleITK
import torch
from torch import Tensor

from scantling.core.errors import SettingsError
from scantling.fusion import RULES, fuse, staple, total, uncertainties


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def raters(number: int, shape: tuple[int, ...], *, seed: int) -> np.ndarray:
    """(N, *S) masks of one hidden square by raters of different sensitivity and specificity."""
    draw = np.random.default_rng(seed)
    hidden = np.zeros(shape, bool)
    hidden[tuple(slice(length // 4, 3 * length // 4) for length in shape)] = True
    masks = []
    for _ in range(number):
        seen, spared = draw.uniform(0.6, 0.95), draw.uniform(0.8, 0.99)
        masks.append(np.where(hidden, draw.random(shape) < seen, draw.random(shape) > spared))
    return np.stack(masks)


def of_itk(masks: np.ndarray) -> np.ndarray:
    """Up to about 4e-6, by which it stops short of the limit where few raters make it slow."""
    images = [SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in masks]
    return np.asarray(SimpleITK.GetArrayFromImage(SimpleITK.STAPLE(images, 1.0)))


def one_by_one(masks: np.ndarray) -> Tensor:
    """(N, *S) as samples (N, 1, 1, *S)."""
    return torch.from_numpy(masks.astype(np.float64))[:, None, None]


@pytest.mark.parametrize(
    ("number", "shape", "seed"),
    [(2, (16, 16), 0), (3, (20, 17), 1), (5, (24, 24), 2), (16, (24, 24), 3), (40, (9, 9), 4)],
)
def test_staple_is_that_of_itk(number: int, shape: tuple[int, ...], seed: int) -> None:
    masks = raters(number, shape, seed=seed)
    found = staple(one_by_one(masks))[0, 0].numpy()
    np.testing.assert_allclose(found, of_itk(masks), atol=1e-5)


def test_staple_of_a_volume_is_that_of_itk() -> None:
    masks = raters(4, (6, 8, 10), seed=5)
    np.testing.assert_allclose(staple(one_by_one(masks))[0, 0].numpy(), of_itk(masks), atol=1e-5)


@pytest.mark.parametrize("number", [1, 2, 5, 16, 70])
def test_staple_of_identical_masks_is_that_mask(number: int) -> None:
    mask = (noise(1, 1, 12, 15) > 0.7).float()
    assert torch.equal(staple(mask.expand(number, 1, 1, 12, 15)), mask)


def test_staple_is_not_the_square_of_the_mean() -> None:
    samples = one_by_one(raters(5, (24, 24), seed=6))
    found, squared = staple(samples), samples.mean(0).square()
    assert float((found - squared).abs().max()) > 0.3
    undecided = (samples.mean(0) - 0.6).abs() < 1e-9  # three of five: the mean squared is 0.36, below one half
    assert bool((found[undecided] > 0.5).any())


def test_staple_takes_each_image_and_class_by_itself_however_many_there_are() -> None:
    masks = np.stack([[raters(4, (10, 12), seed=3 * image + kind) for kind in range(3)] for image in range(2)])
    samples = torch.from_numpy(masks.astype(np.float32)).movedim(2, 0)  # (4, 2, 3, 10, 12)
    together = staple(samples)
    assert together.shape == (2, 3, 10, 12)
    for image in range(2):
        for kind in range(3):
            alone = staple(samples[:, image : image + 1, kind : kind + 1])[0, 0]
            assert torch.equal(together[image, kind], alone)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_staple_of_masks_that_all_are_empty_or_full_is_such_a_mask(value: float) -> None:
    assert torch.equal(staple(torch.full((3, 2, 1, 5, 5), value)), torch.full((2, 1, 5, 5), value))


def test_staple_stays_a_probability_when_some_raters_find_nothing() -> None:
    samples = torch.zeros(4, 1, 1, 8, 8)
    samples[0, ..., 2:4, 2:4] = 1
    found = staple(samples)
    assert bool(((found >= 0) & (found <= 1)).all())
    apart = torch.zeros(2, 1, 1, 4, 4)  # two raters who agree nowhere
    apart[0, ..., :2, :], apart[1, ..., 2:, :] = 1, 1
    assert bool(staple(apart).isfinite().all())


def test_staple_finds_the_hidden_mask_where_the_majority_is_wrong() -> None:
    """Two good raters outweigh three that guess; they differ on 6 % of the pixels, where a guess decides."""
    draw = np.random.default_rng(0)
    hidden = np.zeros((40, 40), bool)
    hidden[10:30, 10:30] = True
    good = [np.where(draw.random(hidden.shape) < 0.97, hidden, ~hidden) for _ in range(2)]
    guesses = [draw.random(hidden.shape) < 0.5 for _ in range(3)]
    samples = one_by_one(np.stack([*good, *guesses]))
    wrong = {rule: int(((fuse(rule, samples)[0, 0] > 0.5).numpy() != hidden).sum()) for rule in ("staple", "vote")}
    assert wrong["staple"] < 0.06 * hidden.size < wrong["vote"] / 2


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("number", [1, 4, 5])
def test_an_ensemble_of_copies_is_the_copy(rule: str, number: int) -> None:
    mask = (noise(2, 3, 6, 7) > 0.5).float()
    assert torch.allclose(fuse(rule, mask.expand(number, 2, 3, 6, 7)), mask, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_the_samples_does_not_matter(rule: str) -> None:
    samples = (0.7 * noise(2, 2, 9, 8) + 0.3 * noise(6, 2, 2, 9, 8)).double()
    assert torch.allclose(fuse(rule, samples), fuse(rule, samples.flip(0)), atol=1e-7)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.float64])
def test_masks_of_any_type_become_probabilities(rule: str, kind: torch.dtype) -> None:
    samples = (noise(3, 1, 1, 6, 6) > 0.5).to(kind)
    fused = fuse(rule, samples)
    assert fused.dtype == (torch.float64 if kind == torch.float64 else torch.float32)
    assert torch.allclose(fused.float(), fuse(rule, samples.float()), atol=1e-6)


def test_one_vote_is_the_union_and_all_votes_the_intersection_and_in_between_it_shrinks() -> None:
    samples = noise(5, 2, 1, 16, 16)
    votes = [fuse("vote", samples, votes=number) for number in range(1, 6)]
    assert torch.equal(votes[0], (samples > 0.5).any(0).float())
    assert torch.equal(votes[-1], (samples > 0.5).all(0).float())
    assert all(bool((fewer >= more).all()) for fewer, more in itertools.pairwise(votes))
    assert torch.equal(fuse("vote", samples), votes[2]), "half of five, rounded up, is three"


def test_a_sample_that_is_sure_weighs_more_than_one_that_is_not() -> None:
    samples = torch.tensor([0.0, 0.5]).reshape(2, 1, 1, 1, 1)
    weights = (1 / 0.01, 1 / 0.26)
    assert fuse("uncertainty", samples).item() == pytest.approx(0.5 * weights[1] / sum(weights))


def test_exclusive_classes_stay_exclusive_when_weighted() -> None:
    samples = noise(4, 1, 4, 5, 5).softmax(2)
    assert torch.allclose(fuse("uncertainty", samples).sum(1), torch.ones(1, 5, 5))


@pytest.mark.parametrize(
    ("rule", "votes", "sentence"),
    [
        (
            "median",
            None,
            "rule: found 'median'; expected one of mean, vote, staple, uncertainty",
        ),
        ("vote", 4, "4 votes were asked of 3 samples; expected 1 to 3"),
        ("vote", 0, "0 votes were asked of 3 samples"),
        ("mean", 2, "2 votes were asked of the rule mean, which counts none"),
    ],
)
def test_what_cannot_be_fused_is_said(rule: str, votes: int | None, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        fuse(rule, torch.zeros(3, 1, 1, 2, 2), votes=votes)


def test_one_sample_deviates_by_nothing_and_copies_too() -> None:
    sample = noise(1, 2, 3, 7, 8)
    for samples in (sample, sample.expand(7, 2, 3, 7, 8)):
        assert torch.equal(uncertainties(samples)["deviation"], torch.zeros(2, 1, 7, 8))


def test_the_deviation_is_that_of_the_population() -> None:
    samples = noise(5, 2, 1, 4, 4)
    found = uncertainties(samples)["deviation"].numpy()
    np.testing.assert_allclose(found, np.std(samples.numpy(), axis=0), atol=1e-6)


def test_entropy_is_one_bit_where_nothing_is_known_and_none_where_all_agree() -> None:
    samples = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]).reshape(2, 1, 1, 1, 3)
    for exclusive in (False, True):
        assert torch.allclose(
            uncertainties(samples, exclusive=exclusive)["entropy"].flatten(), torch.tensor([1.0, 0.0, 0.0])
        )


def test_the_entropy_of_exclusive_classes_counts_the_background() -> None:
    samples = torch.full((3, 1, 3, 2, 2), 0.25)
    entropy = uncertainties(samples, exclusive=True)["entropy"]
    assert torch.allclose(entropy, torch.full((1, 1, 2, 2), 2.0))  # four equal chances
    apart = uncertainties(samples)["entropy"]
    one = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert torch.allclose(apart, torch.full((1, 1, 2, 2), one))


def test_the_number_of_an_image_is_the_mean_over_its_pixels() -> None:
    maps = noise(2, 1, 4, 5)
    assert torch.allclose(total(maps), maps.mean((1, 2, 3)))
    region = torch.zeros(2, 1, 4, 5, dtype=torch.bool)
    region[0, 0, 1] = True
    found = total(maps, region)
    assert found[0].item() == pytest.approx(maps[0, 0, 1].mean().item())
    assert bool(found[1].isnan())


@pytest.mark.parametrize("rule", RULES)
def test_samples_that_are_looked_at_one_by_one_are_fused_as_those_of_one_tensor(rule: str) -> None:
    samples = 0.7 * noise(2, 3, 9, 8) + 0.3 * noise(5, 2, 3, 9, 8)
    for exclusive in (False, True):
        assert torch.equal(fuse(rule, list(samples), exclusive=exclusive), fuse(rule, samples, exclusive=exclusive))
        one, other = (uncertainties(given, exclusive=exclusive) for given in (list(samples), samples))
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("rule", RULES)
def test_exclusive_classes_share_one_pixel_whatever_the_rule(rule: str) -> None:
    first, second = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    samples = torch.stack([first, second]).reshape(2, 1, 2, 1, 1)  # each class has one of two votes, which is half
    assert float(fuse(rule, samples, exclusive=True).sum()) <= 1 + 1e-6
    assert float(fuse("vote", samples).sum()) == 2


def test_a_sample_votes_for_the_class_that_its_own_mask_shows() -> None:
    sample = torch.tensor([0.4, 0.35]).reshape(1, 1, 2, 1, 1)  # 0.25 is left to the background
    assert fuse("vote", sample, exclusive=True).flatten().tolist() == [1, 0]
    assert fuse("vote", sample).flatten().tolist() == [0, 0]
    assert fuse("vote", sample / 2, exclusive=True).flatten().tolist() == [0, 0]


def test_a_large_image_is_sorted_in_pieces_and_staple_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = torch.from_numpy(raters(6, (30, 31), seed=2).astype(np.float64))[:, None, None]
    whole = staple(samples)
    monkeypatch.setattr("scantling.fusion._PIECE", 100)
    assert torch.allclose(staple(samples), whole, atol=1e-12)


def test_dempster_is_the_discounted_product_of_the_probabilities() -> None:
    samples = noise(3, 2, 2, 4, 5) / 2  # of two classes and a background
    b = noise(3, 3, seed=1)
    seen = torch.cat([1 - samples.sum(2, keepdim=True), samples], 2)
    product = (1 - b[:, None, :, None, None] * (1 - seen)).prod(0)
    expected = (product / product.sum(1, keepdim=True))[:, 1:]
    assert torch.allclose(fuse("dempster", samples, exclusive=True, reliabilities=b), expected, atol=1e-6)
    independent = 1 - b[:, None, 1:, None, None] * (1 - torch.stack([1 - samples, samples]))
    product = independent.prod(1)
    expected = product[1] / product.sum(0)
    assert torch.allclose(fuse("dempster", samples, reliabilities=b[:, 1:]), expected, atol=1e-6)


def test_dempster_leaves_out_what_is_not_believed_and_one_sample_as_it_is() -> None:
    samples = noise(3, 1, 1, 4, 5)
    for exclusive in (False, True):
        without = fuse("dempster", samples[[0, 2]], exclusive=exclusive)
        assert torch.equal(fuse("dempster", samples, exclusive=exclusive, reliabilities=[1, 0, 1]), without)
        assert torch.allclose(fuse("dempster", samples[:1], exclusive=exclusive), samples[0], atol=1e-6)
        nothing = fuse("dempster", samples, exclusive=exclusive, reliabilities=[0, 0, 0])
        assert torch.allclose(nothing, torch.full_like(nothing, 0.5))


def test_dempster_of_masks_that_contradict_each_other_is_their_majority() -> None:
    masks = torch.tensor([1.0, 1.0, 0.0]).view(3, 1, 1, 1, 1)
    assert fuse("dempster", masks).item() == pytest.approx(1)
    assert fuse("dempster", masks[1:], exclusive=True).item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("reliabilities", "message"),
    [([0.5, 0.5], "expected one for each"), ([0.5, 2.0, 0.0], "from 0 to 2"), (torch.ones(3, 5), r"\(3, 1\)")],
)
def test_reliabilities_that_fit_no_samples_are_refused(reliabilities: object, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        fuse("dempster", noise(3, 1, 1, 4, 4), reliabilities=reliabilities)  # type: ignore[arg-type]


def test_reliabilities_are_refused_where_nothing_is_discounted() -> None:
    with pytest.raises(SettingsError, match="discounts nothing"):
        fuse("mean", noise(3, 1, 1, 4, 4), reliabilities=[1, 1, 1])
