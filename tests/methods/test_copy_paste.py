"""Bidirectional copy-paste: blocks, the two directions, and pseudo-labels with one component a class."""

from __future__ import annotations

import pytest
import torch
from skimage.measure import label

from scantling.contract.step import Step
from scantling.core.case import IGNORE
from scantling.losses.overlap import cross_entropy, dice_loss
from scantling.methods.semi_supervised.copy_paste import largest_components
from semi_supervised import noise, played, segmenter, value_of

STEP = Step(seed=0, count=9)


def test_a_block_has_two_thirds_of_the_sides_and_holds_the_other_image() -> None:
    method, one, other = segmenter("copy-paste"), noise(1), noise(2)
    image, inside = method.pasted(one, other, STEP, "inward")
    assert inside.flatten(1).sum(1).tolist() == [16 * 16, 16 * 16]  # of 24 x 24
    for mask in inside[:, 0]:
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert torch.equal(image, torch.where(inside, other.image, one.image))


def test_both_directions_count_masks_once_and_pseudo_labels_by_half() -> None:
    method = segmenter("copy-paste", classes=2, largest=False)
    method.network.eval()
    batch = {
        "labelled": noise(1, classes=2),
        "labelled blocks": noise(2, classes=2),
        "unlabelled": noise(3),
        "unlabelled blocks": noise(4),
    }
    terms = played(method.objectives(batch, STEP))["unet"]
    label, other = (method.network(batch[f"unlabelled{end}"].image).argmax(1, keepdim=True) for end in ("", " blocks"))
    for outside, within, masks, weights, suffix in (
        ("labelled", "unlabelled blocks", (batch["labelled"].mask, other), (1.0, 0.5), ""),
        ("unlabelled", "labelled blocks", (label, batch["labelled blocks"].mask), (0.5, 1.0), " outward"),
    ):
        image, inside = method.pasted(batch[outside], batch[within], STEP, "outward" if suffix else "inward")
        logits = method.student(image)
        parts = [
            mask.to(torch.uint8).masked_fill(gone, IGNORE) for mask, gone in zip(masks, (inside, ~inside), strict=True)
        ]
        entropy = sum(
            w * cross_entropy(logits, mask, ignore_index=IGNORE) for w, mask in zip(weights, parts, strict=True)
        )
        overlap = sum(
            w * 0.5 * dice_loss(logits.softmax(1)[:, 1:], mask, ignore_index=IGNORE)
            for w, mask in zip(weights, parts, strict=True)
        )
        assert value_of(terms[f"cross_entropy{suffix}"]) == pytest.approx(value_of(entropy), rel=1e-9)
        assert value_of(terms[f"overlap{suffix}"]) == pytest.approx(value_of(overlap), rel=1e-9)


def test_the_largest_component_of_each_class_is_kept_as_another_library_finds_it() -> None:
    drawn = (torch.rand(2, 1, 20, 20, generator=torch.Generator().manual_seed(0)) * 3).to(torch.uint8)
    drawn[:, :, 8:12] = 0  # no class is of one piece
    found = largest_components(drawn, 3)
    for before, after in zip(drawn[:, 0].numpy(), found[:, 0].numpy(), strict=True):
        for number in (1, 2, 3):
            pieces = label(before == number, connectivity=2)
            sizes = [(pieces == piece).sum() for piece in range(1, pieces.max() + 1)]
            assert (after == number).sum() == max(sizes, default=0)
            assert (before[after == number] == number).all()
    volume = torch.zeros(1, 2, 4, 5, 6, dtype=torch.uint8)  # overlapping classes in 3-D
    volume[0, 0, 0, 0, :2], volume[0, 0, 3, 4, 5], volume[0, 1, 3] = 1, 1, 1
    kept = largest_components(volume, 2)
    assert kept.flatten(2).sum(2).tolist() == [[2, 30]]


def test_pre_training_takes_a_quarter_of_the_steps_and_the_teacher_begins_where_it_ends() -> None:
    method = segmenter("copy-paste", steps=40, pretraining=0.25)
    first, second = method.stages()
    assert (first.steps, second.steps) == (10, 30)
    assert [stream.name for stream in first.streams] == ["labelled", "labelled blocks"]
    assert not first.teachers
    (teacher,) = second.teachers
    with torch.no_grad():
        for tensor in method.student.parameters():
            tensor.add_(1)
    teacher.begin()
    for name, tensor in method.network.state_dict().items():
        assert torch.equal(tensor, method.student.state_dict()[name])
