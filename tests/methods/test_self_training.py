"""Self-training: thresholds for each class, pseudo-labels, and images that are labelled patch by patch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from scantling.contract.step import Step
from scantling.core.case import IGNORE
from scantling.methods.semi_supervised import self_training
from scantling.methods.semi_supervised.self_training import THRESHOLDS, lowest_kept, patch_by_patch
from semi_supervised import noise, segmenter

STEP = Step(seed=0)


@pytest.mark.parametrize(("classes", "exclusive"), [(1, True), (3, True), (2, False)])
@pytest.mark.parametrize("kept", [0.3, 1.0])
def test_the_share_of_each_class_that_is_kept_is_its_most_confident_pixels(
    classes: int, exclusive: bool, kept: float
) -> None:
    method = segmenter("self-training", classes=classes, exclusive=exclusive).eval()
    images = [noise(seed, count=1) for seed in range(4)]
    prepared = method.thresholds(lambda stream: iter(images), STEP, kept=kept)
    labels = torch.cat([method.label(each, Step(seed=0, prepared=prepared)) for each in images])
    logits = torch.cat([method.network(each.image) for each in images])
    hard, confidence = method.pseudo_labels(logits)
    for channel in range(labels.shape[1]):
        for number in range(2 if not exclusive else classes + 1):
            own = hard[:, channel] == number
            chosen = labels[:, channel] == number
            assert int(chosen.sum()) == (max(1, round(kept * int(own.sum()))) if own.any() else 0)
            rest = confidence[:, channel][own & ~chosen]
            if len(rest) and chosen.any():
                assert confidence[:, channel][chosen].min() >= rest.max()
    assert {*labels.unique().tolist()} <= {*range(classes + 1), IGNORE}


def test_of_a_class_that_is_never_found_no_threshold_is_reached() -> None:
    assert lowest_kept(torch.zeros(0), 0.5) == torch.inf
    assert lowest_kept(torch.tensor([0.9, 0.6, 0.8, 0.7]), 0.5) == pytest.approx(0.8)


def test_steps_are_shared_by_the_rounds_and_each_makes_labels_of_its_own() -> None:
    method = segmenter("self-training", steps=103, kept=(0.5, 0.6, 0.7))
    stages = method.stages()
    assert [stage.steps for stage in stages] == [28, 25, 25, 25]
    assert [each.name for stage in stages for each in stage.prepares] == [f"pseudo-labels {n}" for n in (1, 2, 3)]
    assert [stage.streams[-1].reads[-1] for stage in stages[1:]] == [f"pseudo-labels {n}" for n in (1, 2, 3)]
    assert [stage.streams[-1].without for stage in stages[1:]] == [("mask",)] * 3


def test_an_image_of_many_patches_is_labelled_by_the_mean_of_patches_that_overlap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[Any] = []

    def network(image: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(image.shape[2:]))
        return torch.cat([image, 2 * image], 1)

    image = torch.randn(1, 1, 37, 21)
    assert torch.allclose(patch_by_patch(network, image, (8, 8)), torch.cat([image, 2 * image], 1), atol=1e-6)
    assert {*sizes} == {(8, 8)}
    sizes.clear()
    patch_by_patch(network, image, (32, 16))
    assert sizes == [(37, 21)]  # in one piece where it is not large


def test_thresholds_look_at_some_images_alone_where_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_training, "LOOKED", 2)
    method, looked = segmenter("self-training", unlabelled=6).eval(), []
    method.network.register_forward_hook(lambda module, given, found: looked.append(found))
    method.thresholds(lambda stream: iter([noise(seed, count=1) for seed in range(6)]), STEP, kept=0.5)
    assert len(looked) == 2
    assert THRESHOLDS == "thresholds"
