"""The loss of a set of masks: the matching is the cheapest one, and only known points count."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch.nn import functional as F

from scantling.losses.grounding import caption_similarity, grounding_loss
from scantling.losses.mask_sets import (
    MaskWeights,
    Segments,
    at_points,
    label_sum,
    label_total,
    mask_terms,
    matched,
    uncertain_points,
)

WEIGHTS = MaskWeights()


def cells(h: int, w: int) -> torch.Tensor:
    """The centres of the cells of a map."""
    y, x = torch.meshgrid((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij")
    return torch.stack([x, y], -1).view(-1, 2)


def segments(count: int = 2, *, h: int = 4, w: int = 6) -> Segments:
    generator = torch.Generator().manual_seed(1)
    masks = torch.rand(count, h, w, generator=generator) > 0.5
    return Segments(masks, torch.arange(count), torch.ones(h, w, dtype=torch.bool))


def costs(logits: torch.Tensor, truth: Segments, known: torch.Tensor) -> list[float]:
    """Both terms at the centres of all cells."""
    points = cells(4, 6).expand(len(logits), -1, -1)
    return [float(each) for each in mask_terms(logits, truth.masks, known, points)]


def test_maps_are_read_at_the_centres_of_their_cells() -> None:
    maps = torch.randn(2, 3, 5)
    torch.testing.assert_close(at_points(maps, cells(3, 5)), maps.flatten(1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(at_points(maps, cells(3, 5), nearest=True), maps.flatten(1))


def test_the_matching_is_the_cheapest_of_all() -> None:
    torch.manual_seed(3)
    truth, logits, scores = segments(), torch.randn(4, 4, 6), torch.rand(4, 2)
    queries, numbers = matched(scores, logits, truth, cells(4, 6), weights=WEIGHTS)

    def cost(query: int, number: int) -> float:
        true, found = truth.masks[number].float(), logits[query]
        entropy = F.binary_cross_entropy_with_logits(found, true)
        likely = found.sigmoid()
        dice = 1 - (2 * (likely * true).sum() + 1) / (likely.sum() + true.sum() + 1)
        return float(-2 * scores[query, number] + 5 * entropy + 5 * dice)

    best = min(permutations(range(4), 2), key=lambda each: sum(cost(q, n) for n, q in enumerate(each)))
    assert dict(zip(numbers.tolist(), queries.tolist(), strict=True)) == dict(enumerate(best))


def test_more_segments_than_queries_and_none_at_all() -> None:
    queries, _ = matched(torch.rand(2, 5), torch.randn(2, 4, 6), segments(5), cells(4, 6), weights=WEIGHTS)
    assert sorted(queries.tolist()) == [0, 1]
    queries, numbers = matched(torch.rand(2, 0), torch.randn(2, 4, 6), segments(0), cells(4, 6), weights=WEIGHTS)
    assert len(queries) == len(numbers) == 0
    none = segments(0)
    assert costs(torch.zeros(0, 4, 6), none, none.known) == [0, 0]


def test_right_masks_cost_nothing_and_what_is_unknown_does_not_count() -> None:
    truth = segments()
    logits = 200.0 * truth.masks - 100
    assert costs(logits, truth, truth.known) == pytest.approx([0, 0], abs=1e-6)
    known = truth.known.clone()
    known[1:3, 2:5] = False
    other = torch.where(known, logits, -logits)
    assert costs(other, truth, known) == pytest.approx([0, 0], abs=1e-6)
    assert costs(other, truth, truth.known)[0] > 1


def test_the_term_of_the_class_is_a_weighted_cross_entropy() -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 4)
    found = label_sum(logits, torch.tensor([2, 0]), torch.tensor([1, 4]), nothing=0.1)
    wanted = torch.tensor([3, 2, 3, 3, 0])
    weights = torch.tensor([1.0, 1, 1, 0.1])
    mean = F.cross_entropy(logits, wanted, weight=weights)
    torch.testing.assert_close(found / label_total(2, 5, nothing=0.1), mean)


def test_points_lie_where_a_mask_is_least_certain() -> None:
    logits = torch.arange(24.0).view(1, 4, 6) - 11.5
    candidates = cells(4, 6)
    points = uncertain_points(logits, candidates, torch.full((2, 2), 0.25))
    assert points.shape == (1, 8, 2)
    least = sorted(at_points(logits, points[:, :6])[0].abs().tolist())
    assert least == pytest.approx([0.5, 0.5, 1.5, 1.5, 2.5, 2.5], abs=1e-4)
    assert points[0, 6:].tolist() == [[0.25, 0.25]] * 2


def test_the_likeness_of_image_and_caption_is_a_mean_over_words_of_the_masks_that_fit_best() -> None:
    one = torch.tensor([[[0.3, 0.7]]])  # a single mask
    torch.testing.assert_close(caption_similarity(one), torch.tensor([0.5]))
    sharp = torch.tensor([[[100.0], [0.0]]])
    torch.testing.assert_close(caption_similarity(sharp), torch.tensor([100.0]))


def test_captions_are_told_from_one_another() -> None:
    assert float(grounding_loss([torch.randn(1, 3, 2)])) == pytest.approx(0)
    alike = [torch.ones(4, 3, 2)] * 4
    assert float(grounding_loss(alike)) == pytest.approx(torch.tensor(4.0).log().item())
    own = [torch.zeros(3, 2, 1).index_fill(0, torch.tensor([n]), 50.0) for n in range(3)]
    assert float(grounding_loss(own)) < 1e-6
    assert float(grounding_loss(own[::-1])) > 10
