"""Mask networks of single instances, and the heads that say them."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from scantling.core.errors import ArrayError
from scantling.networks.box_decoder import BoxDecoder, moved
from scantling.networks.instance_masks import aligned_bilinear, instance_logits, kernel_length, packed, unpacked


def test_a_mask_network_is_153_numbers_and_comes_back_from_them() -> None:
    assert kernel_length() == (8 * 8 + 8) + (8 * 8 + 8) + (8 * 1 + 1) == 153
    assert kernel_length(10) == 169  # with two coordinates
    kernels = torch.randn(4, 153)
    layers = unpacked(kernels)
    assert [tuple(weight.shape) for weight, _ in layers] == [(4, 8, 8), (4, 8, 8), (4, 1, 8)]
    assert torch.equal(packed(layers), kernels)
    with pytest.raises(ArrayError, match=r"expected \(n, 153\)"):
        unpacked(kernels[:, 1:])


def test_all_instances_at_once_are_as_one_by_one_and_as_a_grouped_convolution() -> None:
    torch.manual_seed(0)
    features, kernels = torch.randn(1, 8, 5, 6), torch.randn(3, 153)
    found = instance_logits(features, kernels)
    for number in range(3):
        x = features
        layers = unpacked(kernels[number : number + 1])
        for place, (weight, bias) in enumerate(layers):
            x = F.conv2d(x, weight[0][..., None, None], bias[0])
            x = x.relu() if place < 2 else x
        torch.testing.assert_close(found[number], x[0, 0])
    x = features.repeat(1, 3, 1, 1)
    for place, (weight, bias) in enumerate(unpacked(kernels)):
        x = F.conv2d(x, weight.flatten(0, 1)[..., None, None], bias.flatten(), groups=3)
        x = x.relu() if place < 2 else x
    torch.testing.assert_close(found, x[0])


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_pixels_lie_where_the_centres_of_strided_cells_do(factor: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 2, 4, 5)
    fine = aligned_bilinear(x, factor)
    assert fine.shape == (1, 2, 4 * factor, 5 * factor)
    torch.testing.assert_close(fine[..., factor // 2 :: factor, factor // 2 :: factor], x)
    ramp = torch.arange(8.0).view(1, 1, 8, 1).expand(-1, -1, -1, 8)
    slope = aligned_bilinear(ramp, factor).diff(dim=2)[0, 0, factor // 2 : 7 * factor, 3]
    torch.testing.assert_close(slope, torch.full_like(slope, 1 / factor))


def test_offsets_of_0_leave_boxes_and_others_move_and_stretch_them() -> None:
    boxes = torch.tensor([[[10.0, 20, 30, 60]]])
    torch.testing.assert_close(moved(boxes, torch.zeros(1, 1, 4)), boxes)
    found = moved(boxes, torch.tensor([[[2.0, -1.0, 0.0, torch.log(torch.tensor(2.0))]]]))
    torch.testing.assert_close(found, torch.tensor([[[30.0, -20, 50, 60]]]))
    assert moved(boxes, torch.full((1, 1, 4), 1e4)).isfinite().all()


@pytest.mark.parametrize("last", [None, 6])
def test_the_answer_for_a_proposal_does_not_depend_on_the_order_or_the_batch(last: int | None) -> None:
    torch.manual_seed(0)
    decoder = BoxDecoder(last=last, width=8, inner=4, hidden=8, count=2, heads=2, classes=2).eval()
    maps = [torch.randn(2, 8, 16, 16), torch.randn(2, 8, 8, 8)]
    corner = torch.rand(2, 5, 2) * 30
    boxes = torch.cat([corner, corner + 5 + torch.rand(2, 5, 2) * 20], 2)
    time, encoded = torch.tensor([3, 700]), torch.randn(2, 6, 8, 8)
    found = decoder(boxes, time, decoder.reading(maps, encoded, (4, 8)))
    assert len(found) == 2
    assert found[-1].logits.shape == (2, 5, 2)
    assert found[-1].kernels.shape == (2, 5, 153)
    order = torch.tensor([3, 0, 4, 2, 1])
    one = [each[1:] for each in maps]
    other = decoder(boxes[1:, order], time[1:], decoder.reading(one, encoded[1:], (4, 8)))
    for name in ("logits", "boxes", "kernels"):
        torch.testing.assert_close(
            getattr(other[-1], name)[0], getattr(found[-1], name)[1, order], rtol=1e-4, atol=1e-4
        )
    changed = decoder(boxes, time, decoder.reading(maps, encoded + 1, (4, 8)))
    assert torch.equal(changed[-1].logits, found[-1].logits) == (last is None)
