"""The losses of BoxInst against enumeration, and against masks that they cannot tell from the truth."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from scantling.losses.boxes import neighbours, pairwise_loss, projection_loss


def test_a_mask_that_touches_all_sides_of_its_box_costs_nothing_and_one_that_does_not_costs() -> None:
    mask = torch.zeros(12, 14)
    mask[3, 5:9], mask[3:8, 6] = 1, 1
    box = torch.tensor([[3.0, 8.0], [5.0, 9.0]])
    assert float(projection_loss(mask, box)) == pytest.approx(0)
    mask[7, 6] = 0
    assert float(projection_loss(mask, box)) == pytest.approx((1 - 2 * 4 / (4 + 5)) / 2)
    assert float(projection_loss(torch.zeros(12, 14), box)) == 1


def test_where_the_border_has_cut_a_box_only_the_other_projection_counts() -> None:
    mask = torch.zeros(10, 10)
    mask[0:4, 2] = 1
    cut = torch.tensor([[0.0, 4.0], [2.0, 6.0]])
    assert float(projection_loss(mask, cut)) == pytest.approx(0)  # which columns it reaches above nobody knows
    corner = torch.tensor([[0.0, 4.0], [0.0, 6.0]])
    assert float(projection_loss(mask, corner)) == 0


@pytest.mark.parametrize("shape", [(6, 7), (4, 5, 4)])
def test_each_pair_of_neighbours_is_counted_once(shape: tuple[int, ...]) -> None:
    places = torch.cartesian_prod(*[torch.arange(n) for n in shape]).view(*shape, len(shape))
    found = set()
    for here, there in neighbours(shape, 2):
        ends = [places[window].reshape(-1, len(shape)).tolist() for window in (here, there)]
        found |= {frozenset(map(tuple, pair)) for pair in zip(*ends, strict=True)}
    every = {
        frozenset((a, b))
        for a in product(*map(range, shape))
        for b in product(*map(range, shape))
        if a != b and all(abs(x - y) in (0, 2) for x, y in zip(a, b, strict=True))
    }
    assert found == every


def test_pairs_that_look_alike_are_to_have_one_label() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 6, 7, generator=generator)
    likely = torch.rand(3, 6, 7, generator=generator).softmax(0)
    inside = torch.rand(6, 7, generator=generator) < 0.5
    costs = []
    for a in product(range(6), range(7)):
        for b in product(range(6), range(7)):
            near = a < b and all(abs(x - y) in (0, 2) for x, y in zip(a, b, strict=True))
            alike = float((image[:, a[0], a[1]] - image[:, b[0], b[1]]).norm()) <= 0.4
            if near and alike and (inside[a] or inside[b]):
                costs.append(-float((likely[:, a[0], a[1]] * likely[:, b[0], b[1]]).sum().log()))
    found = pairwise_loss(likely, image, inside, alike=0.4)
    assert float(found) == pytest.approx(sum(costs) / len(costs), rel=1e-5)
    assert float(pairwise_loss(likely, image, torch.zeros(6, 7, dtype=torch.bool), alike=0.4)) == 0
