"""Evidence against enumeration over all sets of classes, which knows nothing of closed forms."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor

from scantling.core.errors import ArrayError, SettingsError
from scantling.evidence import (
    EvidentialLayer,
    contour,
    contours_of,
    dempster,
    discounted_contour,
    fused_contours,
    learn_reliabilities,
    pignistic,
    reliability_intervals,
    scalar_fusion,
    vacuous,
)

Masses = Mapping[frozenset[int], float]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def masses(sources: int, classes: int, *, seed: int = 0) -> Tensor:
    """(N, B, C + 1, 2, 3)."""
    return (4 * drawn(sources, 2, classes + 1, 2, 3, seed=seed)).softmax(2)


def as_sets(column: Tensor) -> Masses:
    """A mass function by sets, of masses (C + 1,)."""
    *single, ignorance = column.tolist()
    return {**{frozenset({c}): mass for c, mass in enumerate(single)}, frozenset(range(len(single))): ignorance}


def combined(one: Masses, other: Masses, *, conjunctive: bool = True) -> Masses:
    """By the definition, over all pairs of sets; what falls on the empty set stays there."""
    found: dict[frozenset[int], float] = {}
    for (a, mass_a), (b, mass_b) in itertools.product(one.items(), other.items()):
        both = a & b if conjunctive else a | b
        found[both] = found.get(both, 0.0) + mass_a * mass_b
    return found


def normalised(one: Masses) -> Masses:
    conflict = one.get(frozenset(), 0.0)
    return {key: mass / (1 - conflict) for key, mass in one.items() if key}


def plausible(one: Masses, c: int) -> float:
    return sum(mass for key, mass in one.items() if c in key)


def discounted(one: Masses, b: list[float]) -> Masses:
    """The contextual discounting by its definition: the disjunction with {∅: b_c, {c}: 1 - b_c} of every class."""
    for c, reliability in enumerate(b):
        one = combined(one, {frozenset(): reliability, frozenset({c}): 1 - reliability}, conjunctive=False)
    return one


def columns(tensor: Tensor) -> Iterator[Tensor]:
    """(N, channels) of each pixel of (N, B, channels, *S)."""
    yield from tensor.movedim(2, -1).flatten(1, -2).unbind(1)


@pytest.mark.parametrize(("sources", "classes"), [(1, 2), (2, 2), (3, 4), (7, 3)])
def test_the_closed_form_is_dempsters_rule_over_all_sets(sources: int, classes: int) -> None:
    given = masses(sources, classes)
    found = dempster(given)
    for column, own in zip(columns(given), columns(found[None]), strict=True):
        expected = normalised(functools.reduce(combined, (as_sets(one) for one in column)))
        assert as_sets(own[0]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("classes", [2, 4])
def test_discounted_contours_are_those_of_the_disjunction_over_all_sets(classes: int) -> None:
    given, b = masses(1, classes), drawn(classes, seed=3)
    found = discounted_contour(contour(given[0]), b)
    for column, own in zip(columns(given), columns(found[None]), strict=True):
        weak = discounted(as_sets(column[0]), b.tolist())
        assert own[0].tolist() == pytest.approx([plausible(weak, c) for c in range(classes)], abs=1e-14)


def test_fused_contours_are_those_of_the_discounted_combination_over_all_sets() -> None:
    given, b = masses(3, 3), drawn(3, 3, seed=4)
    found = fused_contours(contour(given.flatten(0, 1)).unflatten(0, (3, 2)), b)
    for column, own in zip(columns(given), columns(found[None]), strict=True):
        weak = (discounted(as_sets(one), row.tolist()) for one, row in zip(column, b, strict=True))
        together = normalised(functools.reduce(combined, weak))
        expected = torch.tensor([plausible(together, c) for c in range(3)], dtype=torch.float64)
        assert torch.allclose(own[0], expected / expected.sum(), rtol=0, atol=1e-14)


def test_the_layer_is_the_combination_of_its_prototypes_over_all_sets() -> None:
    torch.manual_seed(0)
    layer, x = EvidentialLayer(2, 3, prototypes=5).double(), 2 * drawn(1, 2, 2, 2) - 1
    layer.requires_grad_(False)
    found = layer(x)
    for row, column in itertools.product(range(2), range(2)):
        each = []
        for i in range(5):
            distance = float((x[0, :, row, column] - layer.prototypes[i]).square().sum())
            s = 0.99 * float(layer.alpha[i].sigmoid()) * float(torch.exp(-(layer.gamma[i] ** 2) * distance / 2))
            u = layer.beta[i].square() / layer.beta[i].square().sum()
            each.append(as_sets(torch.cat([u * s, torch.tensor([1 - s], dtype=torch.float64)])))
        expected = normalised(functools.reduce(combined, each))
        assert as_sets(found[0, :, row, column]) == pytest.approx(expected, abs=1e-12)


def test_gradients_of_the_layer_are_those_of_small_changes() -> None:
    torch.manual_seed(1)
    layer, x = EvidentialLayer(2, 3, prototypes=2).double(), drawn(1, 2, 1, 1).requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,))
    few = masses(2, 2)[:, :1, :, :1, :1].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda given: dempster(given.softmax(2)), few)


def test_a_source_that_is_missing_changes_no_bit() -> None:
    given = masses(3, 3).float()
    b, zero = drawn(3, 3, seed=2).float(), torch.zeros(3)
    with_it = fused_contours([contour(one) for one in given], [b[0], zero, b[2]])
    assert torch.equal(with_it, fused_contours([contour(given[0]), contour(given[2])], [b[0], b[2]]))
    priors = [pignistic(one) for one in given]
    etas = [torch.tensor(0.7), torch.tensor(0.0), torch.tensor(0.4)]
    without = scalar_fusion([given[0], given[2]], [priors[0], priors[2]], [etas[0], etas[2]])
    assert torch.equal(scalar_fusion(given, priors, etas), without)
    known = dempster(given)
    assert torch.equal(dempster([*given, vacuous(given[0])]), known)


def test_the_limits_of_discounting() -> None:
    given = contour(masses(1, 3)[0])
    assert torch.equal(discounted_contour(given, torch.ones(3)), given)
    assert torch.equal(discounted_contour(given, torch.zeros(3)), torch.ones_like(given))
    assert torch.equal(fused_contours([given]), fused_contours([given], [torch.ones(())]))
    nothing = fused_contours([given, given], torch.zeros(2, 3))
    assert torch.allclose(nothing, torch.full_like(nothing, 1 / 3))
    prior = pignistic(masses(1, 3)[0])
    unsaid = scalar_fusion(masses(1, 3), [prior], [torch.tensor(0.0)])
    assert torch.allclose(unsaid, torch.full_like(unsaid, 1 / 3)), "no source is believed: q is uniform"


def test_scalar_fusion_is_its_printed_formula() -> None:
    given, eta = masses(3, 3), [0.9, 0.5, 0.2]
    priors = drawn(3, 2, 3, 2, 3, seed=9).softmax(2)
    s = [1 - e + e * one[:, -1:] for e, one in zip(eta, given, strict=True)]
    product = functools.reduce(torch.mul, [e * one[:, :-1] + rest for e, one, rest in zip(eta, given, s, strict=True)])
    ignorance = functools.reduce(torch.mul, s)
    single = product - ignorance
    total = single.sum(1, keepdim=True) + ignorance
    q = sum(e * prior for e, prior in zip(eta, priors, strict=True)) / sum(eta)
    expected = single / total + ignorance / total * q
    found = scalar_fusion(given, priors, [torch.tensor(e, dtype=torch.float64) for e in eta])
    assert torch.allclose(found, expected, rtol=0, atol=1e-14)
    assert torch.allclose(found.sum(1), torch.ones_like(found[:, 0]))


def test_the_two_fusions_differ_although_they_discount_the_same_contours() -> None:
    # one voxel, two sources, two classes: worked out by hand
    given = torch.tensor([[0.6, 0.0, 0.4], [0.0, 0.5, 0.5]], dtype=torch.float64).view(2, 1, 3, 1, 1)
    eta = [torch.tensor(0.5, dtype=torch.float64)] * 2
    weak = [e * one + (1 - e) * vacuous(one) for e, one in zip(eta, given, strict=True)]
    for one, own, e in zip(given, weak, eta, strict=True):
        assert torch.allclose(contour(own), discounted_contour(contour(one), e))
    by_contours = fused_contours([contour(one) for one in given], eta).flatten()
    assert by_contours.tolist() == pytest.approx([0.75 / 1.45, 0.7 / 1.45])  # 1 · ¾ and .7 · 1
    prior = [torch.full((1, 2, 1, 1), 0.5, dtype=torch.float64)] * 2
    # M ∝ .75 - .525, .7 - .525 and Ω .525, whose sum is .925
    by_scalars = scalar_fusion(given, prior, eta).flatten()
    assert by_scalars.tolist() == pytest.approx([(0.225 + 0.2625) / 0.925, (0.175 + 0.2625) / 0.925])
    assert (by_contours - by_scalars).abs().max() > 0.005


def test_the_order_of_the_sources_does_not_matter() -> None:
    given, b = masses(4, 3), drawn(4, 3)
    order = [2, 0, 3, 1]
    assert torch.allclose(dempster(given), dempster(given[order]), rtol=0, atol=1e-15)
    seen = [contour(one) for one in given]
    one, other = fused_contours(seen, b), fused_contours([seen[n] for n in order], b[order])
    assert torch.allclose(one, other, rtol=0, atol=1e-15)


def test_far_features_are_ignorance_and_many_near_ones_are_sure() -> None:
    around = torch.tensor([[-5.0], [5.0]])
    torch.manual_seed(0)
    layer = EvidentialLayer(1, 2, around=around)
    found = layer(torch.tensor([1e4, -5.0, 5.0]).view(3, 1, 1, 1))
    assert found[0].flatten().tolist() == [0.0, 0.0, 1.0]
    assert found[1].argmax() == 0, "before any training a clean label map is evidence for its class"
    assert found[2].argmax() == 1
    assert torch.allclose(found.sum(1), torch.ones(3, 1, 1))


def test_masses_stay_masses_where_products_vanish_in_float32() -> None:
    given = masses(300, 4, seed=5).float().requires_grad_()
    found = dempster(given)
    assert found.isfinite().all()
    assert found.min() >= 0
    assert torch.allclose(found.sum(1), torch.ones_like(found[:, 0]))
    exact = dempster(given.double())
    assert torch.allclose(found.double(), exact, rtol=1e-3, atol=1e-6)
    found.square().sum().backward()
    assert given.grad is not None
    assert given.grad.isfinite().all()


def test_total_conflict_is_shared_and_a_majority_wins() -> None:
    first, second = (torch.tensor(m).view(1, 3, 1, 1).requires_grad_() for m in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)))
    torn = dempster([first, second])
    assert torn.flatten().tolist() == pytest.approx([0.5, 0.5, 0.0])
    decided = fused_contours([contour(one) for one in (first, second, first)])
    assert decided.flatten().tolist() == pytest.approx([1.0, 0.0])
    (torn[:, 0].sum() + decided[:, 0].sum()).backward()
    assert first.grad is not None
    assert first.grad.isfinite().all()


def test_reliabilities_are_learnt_of_each_class_and_have_intervals() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 3, (6, 1, 12, 12), generator=generator)
    exact = torch.cat([target == c for c in range(3)], 1).float()
    # the first source tells class 1 from the rest and calls class 2 background or itself at random, the second is noise
    blind = exact.clone()
    mixed = torch.rand(6, 12, 12, generator=generator)
    lost = exact[:, 2] > 0
    blind[:, 2][lost], blind[:, 0][lost] = mixed[lost], 1 - mixed[lost]
    noise = torch.rand(6, 3, 12, 12, generator=generator)
    sources = [0.9 * blind + 0.03, noise]
    b = learn_reliabilities(sources, target, steps=30, rate=0.3)
    assert b.shape == (2, 3)
    assert b[0].min() > b[1].max()
    together = fused_contours(sources, b).argmax(1, keepdim=True)
    assert (together == target).float().mean() > (noise.argmax(1, keepdim=True) == target).float().mean()
    low, high = reliability_intervals(
        sources, target, list("aabbcc"), repeats=3, steps=15, generator=torch.Generator().manual_seed(1)
    )
    assert (low <= high).all()
    assert (low[0] > high[1]).all()


def test_images_without_the_class_do_not_hide_it() -> None:
    target = torch.zeros(8, 1, 12, 12, dtype=torch.long)
    target[0, 0, 3:8, 3:8] = 1
    sources = [contours_of(0.02 + (0.55 + 0.1 * n) * target) for n in range(2)]
    b = learn_reliabilities(sources, target)
    fused = fused_contours(sources, b)[:, 1:]
    assert torch.equal(fused > 0.5, target == 1)
    assert b[:, 0].min() > 0.5


def test_what_does_not_belong_together_is_refused() -> None:
    given = masses(2, 3)
    with pytest.raises(ArrayError, match="no source"):
        dempster([])
    with pytest.raises(ArrayError, match="one shape"):
        dempster([given[0], given[1][:, :2]])
    with pytest.raises(ArrayError, match="one for each"):
        fused_contours(given, [torch.ones(3)])
    with pytest.raises(ArrayError, match="every source"):
        scalar_fusion(given, [given[0]], [torch.ones(())] * 2)
    with pytest.raises(ArrayError, match="no class but the background"):
        learn_reliabilities([contours_of(drawn(1, 1, 4, 4))], torch.zeros(1, 1, 4, 4, dtype=torch.long))
    with pytest.raises(ArrayError, match="one for each"):
        reliability_intervals(
            [contours_of(drawn(1, 1, 4, 4))], torch.ones(1, 1, 4, 4), ["a", "b"], generator=torch.Generator()
        )
    with pytest.raises(SettingsError, match="by"):
        learn_reliabilities([contours_of(drawn(1, 1, 4, 4))], torch.ones(1, 1, 4, 4), by="voxel")  # type: ignore[arg-type]
    with pytest.raises(ArrayError, match="around"):
        EvidentialLayer(2, 3, around=torch.zeros(2, 2))
