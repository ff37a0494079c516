"""Skeleton Recall, against counted tubes, scikit-image and the sums of the authors' definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.morphology import diamond, dilation, skeletonize

from scantling.core.case import IGNORE
from scantling.core.errors import SettingsError
from scantling.losses.skeleton_recall import skeleton_recall_loss, tubed_skeleton


def bar(*, width: int, length: int = 31) -> torch.Tensor:
    """A horizontal bar (1, 1, 21, length + 10), uint8."""
    mask = torch.zeros(1, 1, 21, length + 10, dtype=torch.uint8)
    mask[..., 10 - width // 2 : 11 + width // 2, 5 : 5 + length] = 1
    return mask


def blobs(*shape: int, seed: int = 0) -> torch.Tensor:
    """Smooth random shapes, uint8 of 0 and 1."""
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    pool = torch.nn.functional.avg_pool2d if len(shape) == 4 else torch.nn.functional.avg_pool3d
    return (pool(noise, 5, 1, 2, count_include_pad=False) > 0.52).to(torch.uint8)


def loss(p: torch.Tensor, mask: torch.Tensor) -> float:
    return skeleton_recall_loss(p.double(), mask, ignore_index=IGNORE).item()


def test_tubes_are_the_skeleton_dilated_by_a_diamond_and_cut_to_the_mask() -> None:
    mask = blobs(2, 1, 60, 70)
    for sample, tube in zip(mask[:, 0].numpy(), tubed_skeleton(mask, 1)[:, 0].numpy(), strict=True):
        theirs = dilation(skeletonize(sample > 0).astype(np.uint8), diamond(2)) * sample
        assert np.array_equal(tube, theirs > 0)
        assert 0 < tube.sum() < sample.sum()


def test_tubes_in_3d_lie_around_the_centre_line_of_a_rod() -> None:
    mask = torch.zeros(1, 1, 15, 15, 30, dtype=torch.uint8)
    mask[..., 3:12, 3:12, 3:27] = 1
    tube = tubed_skeleton(mask, 1)[0, 0].numpy()
    assert tube[7, 7, 8:22].all()
    assert not tube[[3, 11]].any()
    assert tube[:, :, 15].sum() == 13, "a diamond of radius 2 across the line"


def test_the_recall_is_counted_on_the_tube_alone() -> None:
    true = bar(width=9)  # its tube is 5 pixels wide
    tube = tubed_skeleton(true, 1)
    assert loss(true, true) == pytest.approx(0, abs=1e-9)
    assert loss(torch.ones_like(true), true) == pytest.approx(0, abs=1e-9), "what is marked too much costs nothing"
    assert loss(tube, true) == pytest.approx(0, abs=1e-9)
    assert loss(torch.full_like(true, 1, dtype=torch.float64) * 0.25, true) == pytest.approx(0.75)
    gap = true.clone()
    gap[..., 18:22] = 0
    assert loss(gap, true) == pytest.approx((4 * 5) / tube.sum().item(), rel=1e-6)


@pytest.mark.parametrize("shape", [(2, 1, 24, 30), (1, 1, 12, 14, 16)])
def test_the_gradient_is_the_same_in_the_tube_and_none_elsewhere(shape: tuple[int, ...]) -> None:
    mask = blobs(*shape)
    p = torch.full(shape, 0.5, dtype=torch.float64, requires_grad=True)
    skeleton_recall_loss(p, mask, ignore_index=IGNORE).backward()
    assert p.grad is not None
    tube = tubed_skeleton(mask, 1)
    for gradient, inside in zip(p.grad, tube, strict=True):
        assert not gradient[~inside].any()
        assert gradient[inside].numpy() == pytest.approx(-1 / (inside.sum().item() + 1e-5) / shape[0])


def test_exclusive_classes_share_one_centre_line_and_overlapping_ones_have_their_own() -> None:
    # Left and right half of one bar: cut across, each keeps its part of the line of the whole.
    numbers = bar(width=9)
    numbers[..., 20:] *= 2
    whole = tubed_skeleton((numbers > 0).to(torch.uint8), 1)
    exclusive = tubed_skeleton(numbers, 2)
    assert torch.equal(exclusive.any(1, keepdim=True), whole)
    assert torch.equal(exclusive, torch.cat([whole & (numbers == 1), whole & (numbers == 2)], 1))
    # A thin inner class beside the middle of the outer one still has a line.
    channels = torch.cat([bar(width=15), torch.zeros_like(numbers)], 1)
    channels[:, 1, 4, 6:34] = 1
    overlapping = tubed_skeleton(channels, 2)
    assert not (overlapping[:, :1] & (channels[:, 1:] == 1)).any()
    assert torch.equal(overlapping[:, 1:], tubed_skeleton(channels[:, 1:], 1))
    assert overlapping[:, 1].any()


def test_each_sample_and_class_counts_for_itself() -> None:
    mask = torch.cat([blobs(3, 1, 30, 32), blobs(3, 1, 30, 32, seed=1)], 1)
    p = torch.rand(3, 2, 30, 32, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    each = [loss(p[b : b + 1, k : k + 1], mask[b : b + 1, k : k + 1]) for b in range(3) for k in range(2)]
    assert loss(p, mask) == pytest.approx(np.mean(each), rel=1e-12)


def test_a_class_without_pixels_costs_nothing_and_teaches_nothing() -> None:
    for value in (0, IGNORE):
        mask = torch.full((2, 1, 9, 9), value, dtype=torch.uint8)
        p = torch.rand(2, 2, 9, 9, requires_grad=True)
        found = skeleton_recall_loss(p, mask, ignore_index=IGNORE)
        found.backward()
        assert found.item() == 0
        assert p.grad is not None
        assert not p.grad.any()
    with pytest.raises(SettingsError, match="smooth must be above 0"):
        skeleton_recall_loss(p, mask, smooth=0)


def test_unknown_pixels_do_not_count() -> None:
    mask = bar(width=9)
    mask[..., :20] = IGNORE
    p = torch.rand(mask.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    changed = p.clone()
    changed[..., :20] = 1 - p[..., :20]
    assert loss(p, mask) == loss(changed, mask)
    assert loss(p, mask) == pytest.approx(loss(p[..., 20:], mask[..., 20:]), rel=1e-12)


def test_half_precision_is_summed_in_full() -> None:
    mask = blobs(1, 1, 40, 40)
    p = torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(0)).bfloat16()
    value = skeleton_recall_loss(p, mask, ignore_index=IGNORE)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(p, mask), rel=1e-5)
