"""The soft skeleton and the soft clDice loss, against counted examples, hard skeletons and MONAI."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.losses.cldice import SoftclDiceLoss, soft_skel
from skimage.morphology import skeletonize

from scantling.core.case import IGNORE
from scantling.core.errors import ArrayError, SettingsError
from scantling.losses.continuity import soft_cldice_loss, soft_skeleton


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def vessel(*, width: int = 1, gap: int = 0) -> torch.Tensor:
    """A horizontal tube (1, 1, 15, 41) uint8 that ends before the border, with a gap in its middle."""
    mask = torch.zeros(1, 1, 15, 41, dtype=torch.uint8)
    mask[..., 7 - width // 2 : 8 + width // 2, 4:37] = 1
    mask[..., 20 : 20 + gap] = 0
    return mask


def loss(found: torch.Tensor, true: torch.Tensor, iterations: int = 4, smooth: float = 1e-9) -> float:
    return soft_cldice_loss(found.double(), true, iterations=iterations, smooth=smooth, ignore_index=IGNORE).item()


def test_the_skeleton_of_a_ramp_is_the_one_counted_by_hand() -> None:
    # Eroded once, 0 ½ 1 ½ 0 is 0 0 ½ 0 0; opened, 0 ½ ½ ½ 0; taken away at the middle: ½. Eroded twice it is 0, so
    # what remains of the middle, ½, is taken away too and joins the first half as ½ + ½ · ½.
    ramp = torch.tensor([0, 0.5, 1, 0.5, 0], dtype=torch.float64).view(1, 1, 1, 5)
    assert soft_skeleton(ramp, iterations=0).flatten().tolist() == [0, 0, 0.5, 0, 0]
    assert soft_skeleton(ramp, iterations=1).flatten().tolist() == [0, 0, 0.75, 0, 0]
    # S(p) = ¾ at the middle, where m is 1: the precision is 1. S(m) = m, which p covers by 1½ of 2; s = 1.
    mask = torch.tensor([0, 1, 1, 0, 0], dtype=torch.uint8).view(1, 1, 1, 5)
    sensitivity = (1.5 + 1) / (2 + 1)
    assert loss(ramp, mask, iterations=1, smooth=1) == pytest.approx(1 - 2 * sensitivity / (1 + sensitivity))


def test_the_skeleton_of_a_square_is_its_middle_once_it_is_reached() -> None:
    square = torch.zeros(1, 1, 9, 9)
    square[..., 2:7, 2:7] = 1  # eroded by a cross: a diamond; again: the middle
    assert soft_skeleton(square, iterations=0).sum() == 0
    middle = torch.zeros(1, 1, 9, 9)
    middle[..., 4, 4] = 1
    assert torch.equal(soft_skeleton(square, iterations=2), middle)


@pytest.mark.parametrize("line", ["across", "down", "slanted", "steps", "point"])
def test_a_line_of_one_pixel_is_its_own_skeleton(line: str) -> None:
    hard = np.zeros((17, 17), bool)
    t = np.arange(3, 14)
    rows, columns = {
        "across": (np.full(11, 8), t),
        "down": (t, np.full(11, 5)),
        "slanted": (t, t),
        "steps": (8 + (t - 8) // 2, t),
        "point": (t[:1], t[:1]),
    }[line]
    hard[rows, columns] = True
    soft = soft_skeleton(torch.from_numpy(hard)[None, None].float(), iterations=5)[0, 0].numpy()
    assert np.array_equal(soft, skeletonize(hard))


def test_the_skeleton_of_a_tube_lies_on_its_middle_line_in_2d_and_3d() -> None:
    flat = soft_skeleton(vessel(width=5).double(), iterations=5)[0, 0]
    hard = torch.from_numpy(skeletonize(vessel(width=5)[0, 0].numpy() > 0))
    assert torch.equal(flat[:, 10:31] > 0, hard[:, 10:31])  # the ends of the two are drawn differently
    solid = torch.zeros(1, 1, 9, 9, 21)
    solid[..., 3:6, 3:6, :] = 1
    line = torch.zeros(1, 1, 9, 9, 21)
    line[..., 4, 4, :] = 1
    assert torch.equal(soft_skeleton(solid, iterations=3), line)


@pytest.mark.parametrize("shape", [(2, 1, 17, 23), (1, 3, 9, 8, 11), (1, 1, 1, 6), (1, 1, 2, 2)])
@pytest.mark.parametrize("iterations", [0, 1, 6])
def test_skeletons_are_those_of_monai(shape: tuple[int, ...], iterations: int) -> None:
    p = random(*shape)
    assert torch.allclose(soft_skeleton(p, iterations=iterations), soft_skel(p, iterations), rtol=0, atol=1e-12)


def test_the_loss_of_one_sample_and_one_class_is_that_of_monai() -> None:
    p, mask = random(1, 1, 20, 22), (random(1, 1, 20, 22, seed=1) < 0.4).to(torch.uint8)
    # MONAI adds a third constant, to the denominator of the harmonic mean; here it is made small
    theirs = SoftclDiceLoss(iter_=4, smooth_nr=1, smooth_dr=1, smooth=1e-12)(p, mask.double()).item()
    assert loss(p, mask, smooth=1) == pytest.approx(theirs, rel=1e-9)


def test_a_mask_agrees_with_itself() -> None:
    blobs = (random(2, 1, 24, 24) < 0.3).to(torch.uint8)
    assert loss(blobs, blobs) == pytest.approx(0, abs=1e-9)
    assert loss(vessel(width=3), vessel(width=3)) == pytest.approx(0, abs=1e-9)


def test_a_hard_gap_costs_what_counting_says_and_a_wider_gap_costs_more() -> None:
    true = vessel()  # 33 pixels, its own skeleton
    for gap in (1, 4, 9):
        sensitivity = (33 - gap) / 33  # the precision is 1
        assert loss(vessel(gap=gap), true) == pytest.approx(1 - 2 * sensitivity / (1 + sensitivity), abs=1e-6)


def test_a_false_branch_costs_and_width_alone_does_not() -> None:
    true = vessel(width=3)
    branch = true.clone()
    branch[..., 0:6, 12] = 1
    assert loss(branch, true) > loss(true, true) + 0.01
    # The middle lines of both tubes lie inside both tubes; only the short spurs at the ends of the wide one do not.
    assert loss(vessel(width=5), true, iterations=5) < 0.07
    assert loss(vessel(width=5, gap=9), true, iterations=5) > 0.15


def test_empty_masks_are_defined() -> None:
    empty, some = torch.zeros(1, 1, 9, 9, dtype=torch.uint8), torch.zeros(1, 1, 9, 9, dtype=torch.uint8)
    some[..., 4, 2:7] = 1  # 5 pixels
    assert loss(empty, empty, smooth=1) == 0
    # found nothing: the precision is 1/1, the sensitivity 1/6; nothing to find: the other way round
    assert loss(empty, some, smooth=1) == pytest.approx(1 - 2 * (1 / 6) / (1 + 1 / 6))
    assert loss(some, empty, smooth=1) == pytest.approx(1 - 2 * (1 / 6) / (1 + 1 / 6))
    with pytest.raises(SettingsError, match="smooth must be above 0"):
        loss(empty, empty, smooth=0)


def test_one_channel_has_a_gradient_that_is_finite_and_right() -> None:
    # the loss of MONAI up to 1.5 dropped channel 0: one channel gave loss 0 and gradient 0
    p = random(1, 1, 6, 7).requires_grad_()
    mask = (random(1, 1, 6, 7, seed=3) < 0.4).to(torch.uint8)
    value = soft_cldice_loss(p, mask, iterations=2)
    value.backward()
    assert 0 < value.item() < 1
    assert p.grad is not None
    assert torch.isfinite(p.grad).all()
    assert (p.grad != 0).any()
    assert torch.autograd.gradcheck(lambda x: soft_cldice_loss(x, mask, iterations=2), [p])


def test_gradients_are_finite_where_probabilities_are_hard_and_repeat_exactly() -> None:
    def gradient() -> torch.Tensor:
        p = vessel(width=3, gap=2).float().requires_grad_()
        soft_cldice_loss(p, vessel(width=3), iterations=3).backward()
        assert p.grad is not None
        return p.grad

    assert torch.isfinite(gradient()).all()
    assert gradient()[..., 7, 20:22].lt(0).all()  # filling the gap lowers the loss
    assert torch.equal(gradient(), gradient())


def test_every_sample_and_every_class_counts_for_itself_whatever_the_others_hold() -> None:
    p, mask = random(3, 2, 12, 13), (random(3, 2, 12, 13, seed=1) < 0.3).to(torch.uint8)
    each = [loss(p[b : b + 1, k : k + 1], mask[b : b + 1, k : k + 1], smooth=1) for b in range(3) for k in range(2)]
    assert loss(p, mask, smooth=1) == pytest.approx(np.mean(each))


def test_class_numbers_and_class_channels_say_the_same() -> None:
    numbers = torch.randint(0, 3, (2, 1, 10, 11), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    channels = torch.cat([numbers == 1, numbers == 2], 1).to(torch.uint8)
    p = random(2, 2, 10, 11)
    assert loss(p, numbers, smooth=1) == pytest.approx(loss(p, channels, smooth=1), rel=1e-12)


@pytest.mark.parametrize("shape", [(2, 1, 14, 15), (1, 1, 8, 9, 10)])
def test_pixels_that_do_not_count_might_as_well_lie_beyond_the_border(shape: tuple[int, ...]) -> None:
    p, mask = random(*shape), (random(*shape, seed=1) < 0.4).to(torch.uint8)
    mask[:, :, :3] = IGNORE
    changed = p.clone()
    changed[:, :, :3] = random(*shape, seed=2)[:, :, :3]
    cropped = loss(p[:, :, 3:], mask[:, :, 3:], smooth=1)
    assert loss(p, mask, smooth=1) == pytest.approx(cropped, rel=1e-12)
    assert loss(changed, mask, smooth=1) == pytest.approx(cropped, rel=1e-12)
    unknown = torch.full_like(mask, IGNORE)
    assert loss(p, unknown, smooth=1) == 0


def test_prediction_and_truth_cannot_be_confused() -> None:
    with pytest.raises(ArrayError, match="expected 0 and 1"):
        soft_cldice_loss(vessel(width=3).float(), random(1, 1, 15, 41), iterations=2)


def test_half_precision_is_summed_in_full() -> None:
    p, mask = random(1, 1, 40, 40), (random(1, 1, 40, 40, seed=1) < 0.3).to(torch.uint8)
    value = soft_cldice_loss(p.bfloat16(), mask, iterations=3)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(p.bfloat16().double(), mask, iterations=3, smooth=1), rel=1e-5)


def test_iterations_beyond_the_largest_radius_change_nothing_with_and_without_gradient() -> None:
    mask = vessel(width=5).float()
    known = torch.ones_like(mask, dtype=torch.bool)
    known[..., :3] = False
    for where in (None, known):
        fewer = soft_skeleton(mask, iterations=3, known=where)
        assert torch.equal(soft_skeleton(mask, iterations=50, known=where), fewer)
        with_gradient = soft_skeleton(mask.clone().requires_grad_(), iterations=50, known=where)
        assert torch.equal(with_gradient.detach() * known, fewer * known)
