"""FixMatch as UniMatch does it: confident labels of the weak view, blocks of other images, dropped features."""

from __future__ import annotations

import pytest
import torch

from scantling.contract.step import Step
from scantling.core.case import IGNORE
from scantling.core.samples import Batch
from scantling.methods.semi_supervised.base import without_channels
from scantling.methods.semi_supervised.fixmatch import STRONG, WEAK
from semi_supervised import noise, played, segmenter, value_of

STEP = Step(seed=0, count=9)


def batches() -> dict[str, Batch]:
    names = (WEAK, *STRONG)
    return {
        "labelled": noise(1, classes=2),
        "unlabelled": noise(2, companions=names),
        "blocks": noise(3, companions=names),
    }


def test_labels_are_kept_where_the_weak_view_is_confident() -> None:
    method = segmenter("fixmatch", classes=2, confidence=0.95)
    p = torch.tensor([[0.02, 0.96, 0.02], [0.04, 0.94, 0.02]], dtype=torch.float64)
    logits = p.log().view(2, 3, 1, 1).expand(2, 3, 24, 24)
    labels = method.confident(noise(1), logits)
    assert (labels[0] == 1).all()
    assert (labels[1] == IGNORE).all()


def test_without_blocks_the_loss_is_the_dice_of_three_views_against_the_weak_one() -> None:
    method = segmenter("fixmatch", classes=2, cutmix=0.0, confidence=0.5, dropped=0.0)
    batch = batches()
    terms = played(method.objectives(batch, STEP))["unet"]
    views = batch["unlabelled"].companions
    weak = method.network(views[WEAK].image)
    labels, confidence = method.pseudo_labels(weak)
    labels = labels.masked_fill(confidence < 0.5, 9)

    def dice(logits: torch.Tensor) -> torch.Tensor:
        likely, scores = logits.softmax(1) * (labels != 9), []
        for number in (1, 2):
            true = labels[:, 0] == number
            scores.append((2 * likely[:, number][true].sum() + 1) / (likely[:, number].sum() + true.sum() + 1))
        return 1 - torch.stack(scores).mean()

    strong = sum(dice(method.network(views[name].image)) for name in STRONG)
    assert value_of(terms["strong"]) == pytest.approx(value_of(strong) / 4, rel=1e-9)
    assert value_of(terms["dropped"]) == pytest.approx(value_of(dice(weak)) / 2, rel=1e-9)


def test_pixels_and_labels_of_a_block_come_from_the_same_image(monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch = segmenter("fixmatch", classes=2, cutmix=1.0), batches()
    own, other = (batch[name].companions[STRONG[0]].image for name in ("unlabelled", "blocks"))
    seen = []
    monkeypatch.setattr(
        "scantling.methods.semi_supervised.fixmatch.in_one_pass",
        lambda network, *images: [seen.append(image) or network(image) for image in images],
    )
    labels = dict(
        zip(("blocks", "unlabelled"), (torch.full((2, 1, 24, 24), n, dtype=torch.uint8) for n in (1, 2)), strict=True)
    )
    given = iter(labels.values())
    monkeypatch.setattr(method, "confident", lambda batch, logits: next(given))
    held = []
    monkeypatch.setattr(
        "scantling.methods.semi_supervised.fixmatch.overlap_sums",
        lambda likely, mask, **_: held.append(mask) or likely.sum().expand(3, 2, 2),
    )
    played(method.objectives(batch, STEP))
    block = held[0] == 1
    assert 0.02 * 24**2 * 0.5 <= value_of(block[0].sum()) <= 0.45 * 24**2
    assert torch.equal(seen[0], torch.where(block, other, own))
    assert not torch.equal(held[0], held[1])  # each strong view has its own block


def test_half_of_the_channels_are_dropped_and_the_others_are_twice_as_large() -> None:
    features = torch.ones(4, 300, 2, 2, dtype=torch.float64)
    found, other = without_channels([features, features], STEP, 0.5)
    assert {value_of(value) for value in found.unique()} == {0.0, 2.0}
    assert torch.equal(found, found[..., :1, :1].expand_as(found))  # whole channels
    assert value_of((found[:, :, 0, 0] == 0).double().mean()) == pytest.approx(0.5, abs=0.05)
    assert not torch.equal(found, other)


def test_labels_carry_no_gradient_and_weak_views_learn_through_dropped_features_alone() -> None:
    method, batch = segmenter("fixmatch", classes=2, confidence=0.5, cutmix=0.0), batches()
    batch["unlabelled"].companions[WEAK].image.requires_grad_()
    terms = played(method.objectives(batch, STEP))["unet"]
    (strong,) = torch.autograd.grad(terms["strong"], batch["unlabelled"].companions[WEAK].image, retain_graph=True)
    (dropped,) = torch.autograd.grad(terms["dropped"], batch["unlabelled"].companions[WEAK].image)
    assert not strong.any()
    assert dropped.abs().max() > 0
