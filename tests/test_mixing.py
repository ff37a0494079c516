"""Mixing: every pixel and its label come from one of the two samples, whatever the division of the batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from scantling.contract.step import Step
from scantling.core.errors import ArrayError
from scantling.core.fields import IGNORE
from scantling.mixing import copy_paste, cutmix

STEP = Step(seed=3, stage="s", number=4)
Mix = Callable[..., tuple[dict[str, Tensor], Tensor]]
known_paste: Mix = partial(copy_paste, ignore_index=IGNORE)
MIXES = [cutmix, known_paste]


def samples(seed: int, *, dimensions: int = 2, count: int = 6) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.randint(0, 3, (count, 1, *(20, 24, 10)[:dimensions]), generator=generator).to(torch.uint8)
    mask[:, :, :2] = IGNORE
    return {"image": mask.float() + 1000 * seed, "mask": mask}  # so that a pixel tells its sample and its label


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("mix", MIXES)
def test_a_pixel_keeps_its_label_and_comes_from_one_of_the_two(mix: Mix, dimensions: int) -> None:
    one, other = samples(1, dimensions=dimensions), samples(2, dimensions=dimensions)
    mixed, inside = mix(one, other, STEP)
    assert torch.equal(mixed["image"] >= 2000, inside)
    assert torch.equal(mixed["image"] - torch.where(inside, 2000, 1000), mixed["mask"].float())
    assert torch.equal(mixed["mask"][~inside], one["mask"][~inside])
    assert torch.equal(mixed["mask"][inside], other["mask"][inside])
    assert mixed["mask"].dtype == torch.uint8


def test_a_block_has_the_share_that_was_asked_for() -> None:
    one, other = samples(1, count=40), samples(2, count=40)
    _, inside = cutmix(one, other, STEP, share=(0.25, 0.25))
    assert inside.flatten(1).sum(1).tolist() == [10 * 12] * 40  # half of each side
    rows, columns = (inside[:, 0].any(axis).sum(1) for axis in (2, 1))
    assert torch.equal(rows * columns, inside.flatten(1).sum(1)), "it is a block"
    _, drawn = cutmix(one, other, STEP)
    shares = drawn.flatten(1).double().mean(1)
    assert shares.min() >= 0.25 * 0.8  # a side is rounded to a pixel
    assert shares.max() <= 0.5 * 1.2
    assert shares.max() - shares.min() > 0.1


def test_the_labelled_pixels_are_pasted_and_nothing_else() -> None:
    one, other = samples(1), samples(2)
    _, always = known_paste(one, other, STEP, probability=1)
    assert torch.equal(always, (other["mask"] != 0) & (other["mask"] != IGNORE))
    _, never = known_paste(one, other, STEP, probability=0)
    assert not never.any()
    with pytest.raises(ArrayError, match="found the value 255 in the mask"):
        copy_paste(one, other, STEP)
    with pytest.raises(ValueError, match="no mask to copy by"):
        copy_paste({"image": one["image"]}, other, STEP)


@pytest.mark.parametrize("mix", MIXES)
def test_mixing_does_not_depend_on_how_a_batch_is_divided(mix: Mix) -> None:
    one, other = samples(1), samples(2)
    whole, _ = mix(one, other, STEP)
    parts = [
        mix(
            {name: tensor[2 * slot : 2 * slot + 2] for name, tensor in one.items()},
            {name: tensor[2 * slot : 2 * slot + 2] for name, tensor in other.items()},
            Step(seed=3, stage="s", number=4, slot=slot, slots=3),
        )[0]
        for slot in range(3)
    ]
    for name, tensor in whole.items():
        assert torch.equal(tensor, torch.cat([part[name] for part in parts]))


def test_fields_of_different_grids_are_not_mixed() -> None:
    with pytest.raises(ValueError, match=r"image: found .* expected one shape"):
        cutmix(samples(1), samples(2, dimensions=3), STEP)
