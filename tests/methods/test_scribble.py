"""Pseudo-labels beside scribbles: mixed from two decoders, or of a teacher where it fits the scribbles better."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from scantling.contract.step import Step
from scantling.core.case import IGNORE
from scantling.core.samples import Batch
from semi_supervised import noise, played, segmenter, value_of

STEP = Step(seed=0, number=3, count=4)


def scribbled(seed: int, *, classes: int = 2) -> Batch:
    """Noise with scribbles on every third row."""
    batch = noise(seed, classes=classes)
    drawn = torch.full_like(batch.mask, IGNORE)
    drawn[:, :, ::3] = batch.mask[:, :, ::3]
    return Batch(batch.index, batch.case, {"image": batch.image, "scribbles": drawn})


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_pseudo_labels_are_the_most_likely_classes_of_the_mixture(classes: int, beta: float) -> None:
    method, batch = segmenter("scribble", classes=classes), scribbled(1, classes=classes)
    channels = classes if classes == 1 else classes + 1
    logits = [torch.randn(2, channels, 24, 24, dtype=torch.float64) for _ in range(2)]
    found = method.mixed_labels(logits, beta, batch)
    if classes == 1:
        wanted = beta * logits[0].sigmoid() + (1 - beta) * logits[1].sigmoid() > 0.5
    else:
        wanted = (beta * logits[0].softmax(1) + (1 - beta) * logits[1].softmax(1)).argmax(1, keepdim=True)
    assert torch.equal(found, wanted.to(torch.uint8))


def test_nothing_beyond_the_image_is_a_pseudo_label() -> None:
    method, batch = segmenter("scribble", classes=2), scribbled(1)
    batch.fields["region"][:, :, :5] = False  # type: ignore[index]
    logits = [torch.randn(2, 3, 24, 24, dtype=torch.float64) for _ in range(2)]
    found = method.mixed_labels(logits, 0.5, batch)
    assert (found[:, :, :5] == IGNORE).all()
    assert (found[:, :, 5:] != IGNORE).all()


def test_both_decoders_learn_from_scribbles_and_from_what_they_say_together() -> None:
    method, batch = segmenter("scribble", classes=2, weight=0.8), scribbled(1)
    terms = played(method.objectives({"scribbled": batch}, STEP))["unet"]
    assert set(terms) == {"cross_entropy", "overlap", "pseudo"}
    beta = float(torch.rand((), generator=STEP.generator("beta"), dtype=torch.float64))
    maps = method.network.encode(batch.image)
    logits: list[Any] = [method.network.head(method.network.decode(maps, (24, 24)))]
    for level, one in enumerate(maps):
        kept = STEP.rand(f"channels of level {level}", like=one[:, :, 0, 0]) >= 0.5
        maps[level] = one * kept[:, :, None, None] / 0.5
    logits.append(method.second.head(method.second.decode(maps, (24, 24))))
    labels = method.mixed_labels(logits, beta, batch)[:, 0].long()
    dice = []
    for one in logits:
        likely, wanted = one.softmax(1), torch.nn.functional.one_hot(labels, 3).movedim(-1, 1)
        sums = (2 * (likely * wanted).sum((0, 2, 3)) + 1) / (likely.sum((0, 2, 3)) + wanted.sum((0, 2, 3)) + 1)
        dice.append(1 - sums.mean())
    assert value_of(terms["pseudo"]) == pytest.approx(value_of(0.8 * (dice[0] + dice[1]) / 2))
    known = batch.scribbles[:, 0] != IGNORE
    target = batch.scribbles[:, 0].masked_fill(~known, 0).long()
    losses = [torch.nn.functional.cross_entropy(one, target, reduction="none")[known].mean() for one in logits]
    assert value_of(terms["cross_entropy"]) == pytest.approx(value_of((losses[0] + losses[1]) / 2))
    sum(terms.values()).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is not None for parameter in method.parameters())


@pytest.mark.parametrize("better", ["teacher", "network"])
def test_whoever_fits_the_scribbles_better_gives_the_pseudo_labels_of_which_it_is_sure(better: str) -> None:
    method, batch = segmenter("scribble-teacher", classes=2, confidence=0.6, dice=0.0), scribbled(2)
    own = torch.randn(2, 3, 24, 24, dtype=torch.float64, requires_grad=True)
    other = torch.randn(2, 3, 24, 24, dtype=torch.float64)
    known = batch.scribbles != IGNORE
    fits = torch.nn.functional.one_hot(batch.scribbles.masked_fill(~known, 0)[:, 0].long(), 3).movedim(-1, 1)
    with torch.no_grad():
        (other if better == "teacher" else own.data).add_(3 * fits * known)
    method.network, method.teacher = torch.nn.Identity(), torch.nn.Identity()
    method.network.forward = lambda image: own  # type: ignore[method-assign]
    method.teacher.forward = lambda image: other  # type: ignore[method-assign]
    terms = played(method.objectives({"scribbled": batch}, STEP))["unet"]
    likely, labels = (other if better == "teacher" else own).detach().softmax(1).max(1)
    each = torch.nn.functional.cross_entropy(own, labels, reduction="none")
    expected = torch.stack([a[b > 0.6].mean() for a, b in zip(each, likely, strict=True)]).mean()
    assert value_of(terms["pseudo cross_entropy"]) == pytest.approx(value_of(expected) / 2)


def test_the_weight_of_pseudo_labels_rises_to_a_fifth_of_the_training() -> None:
    method, batch = segmenter("scribble-teacher", classes=2), scribbled(2)
    values = []
    for number in (0, 20, 99):
        method.network.eval()
        terms = played(method.objectives({"scribbled": batch}, Step(seed=0, number=number, count=100)))["unet"]
        values.append(value_of(terms["pseudo overlap"]))
    assert values[0] == pytest.approx(values[1] * 2.718281828459045**-5)
    assert values[1] == pytest.approx(values[2])
