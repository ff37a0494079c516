"""The control of methods for single objects: a channel more than `unet`, what it learns, and its grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scantling.contract.method import build
from scantling.contract.step import Inference, Step, Total
from scantling.core.case import Labels
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch, Intensity, Thickness, Traits
from scantling.methods.supervised.unet import UNetSegmenter
from scantling.methods.supervised.unet_watershed import UNetWatershed
from scantling.objects import between_map, distance_map, rim_map

FACTS = Intensity(mean=0, std=1, low=0, high=1, minimum=0, maximum=255)
NUMBERS = np.zeros((32, 32), np.int32)
NUMBERS[4:16, 4:14], NUMBERS[4:16, 14:26], NUMBERS[20:30, 8:24] = 1, 2, 3


def traits_of(classes: int, *, thick: float = 8.0, side: int = 32) -> Traits:
    labels = Labels(names=tuple("abc"[:classes]), values=tuple((n + 1,) for n in range(classes)))
    thickness = Thickness(low=thick, median=thick, high=thick, local=thick, number=5)
    return Traits(
        dimensions=2, channels=("image",), spacing=(1.0, 1.0), shape=(side, side), smallest=(side, side),
        intensity=(FACTS,), labels=labels, labelled=3, thickness=(thickness,) * classes,
    )  # fmt: skip


def segmenter(classes: int, **settings: Any) -> UNetWatershed:
    traits = traits_of(classes)
    return build(UNetWatershed, UNetWatershed.Settings.preset("tiny", settings).resolve(traits), traits).eval()


def terms_of(method: UNetWatershed, logits: Tensor, mask: Tensor, numbers: np.ndarray) -> dict[str, Tensor]:
    rows = torch.arange(1)
    fields = {"image": logits[:, :1], "mask": mask, "instances": torch.from_numpy(numbers)[None, None]}
    method.network.forward = lambda image: logits  # type: ignore[method-assign]
    game = method.objectives({"labelled": Batch(rows, rows, fields)}, Step(seed=0))
    move: Any = next(game)
    while isinstance(move, Total):
        move = game.send(move.part.detach())
    return dict(move[1])


@pytest.mark.parametrize("seeds", ["border", "distance"])
@pytest.mark.parametrize("classes", [1, 2])
def test_perfect_logits_cost_nothing_and_give_the_objects(seeds: str, classes: int) -> None:
    method, sure = segmenter(classes, seeds=seeds), 30.0
    mask = torch.from_numpy(np.minimum(NUMBERS, classes).astype(np.uint8))[None, None]
    found = torch.cat([mask == number for number in range(classes + 1)], 1)[:, 1 if classes == 1 else 0 :]
    last = torch.from_numpy(rim_map(NUMBERS, width=1) if seeds == "border" else distance_map(NUMBERS))[None, None]
    last = (2 * last.float() - 1) * sure if seeds == "border" else last.logit(1e-6)
    logits = torch.cat([(2 * found.float() - 1) * sure, last], 1)
    terms = terms_of(method, logits, mask, NUMBERS)
    assert max(float(term) for term in terms.values()) < 1e-3
    assert terms.keys() == {"cross_entropy", "overlap", "seeds"}
    rows = torch.arange(1)
    (answer,) = method.segment(Batch(rows, rows, {"image": logits[:, :1]}), Inference(seed=0)).instances
    sizes = [int(crop.sum()) for crop in answer.crops]
    assert sizes == pytest.approx([120, 144, 160], abs=3)  # ties of the watershed
    assert answer.classes.tolist() == ([0, 0, 0] if classes == 1 else [0, 1, 1])


@pytest.mark.parametrize(("seeds", "between"), [("border", 0), ("border", 10), ("distance", 0)])
def test_unknown_pixels_count_in_no_term(seeds: str, between: float) -> None:
    method = segmenter(1, seeds=seeds, between=between)
    mask = torch.from_numpy((NUMBERS > 0).astype(np.uint8))[None, None]
    mask[..., 17:, :] = IGNORE
    numbers = np.where(np.arange(32)[:, None] < 17, NUMBERS, 0)
    logits = torch.randn(1, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    other = logits.clone()
    other[..., 17:, :] += 5
    for name, term in terms_of(method, logits, mask, numbers).items():
        torch.testing.assert_close(term, terms_of(method, other, mask, numbers)[name], msg=name)


def test_rims_between_objects_count_more_where_asked() -> None:
    numbers = np.zeros((32, 32), np.int32)
    numbers[4:14, 4:14], numbers[4:14, 15:25] = 1, 2
    near = between_map(numbers, reach=2)
    assert near.any(0).nonzero()[0].tolist() == [13, 14, 15]
    assert not near[18:].any()
    mask = torch.from_numpy((numbers > 0).astype(np.uint8))[None, None]
    right = torch.from_numpy(2.0 * rim_map(numbers, width=1) - 1).float()[None, None] * 5
    found = {}
    for name, place in {"between": near, "elsewhere": np.roll(near, -9, 1)}.items():
        wrong = torch.where(torch.from_numpy(place), -right, right)
        logits = torch.cat([right, wrong], 1)
        found[name] = [float(terms_of(segmenter(1, between=w), logits, mask, numbers)["seeds"]) for w in (0, 10)]
    assert found["between"][1] > 3 * found["between"][0]
    assert found["elsewhere"][1] < found["elsewhere"][0]


def test_it_keeps_the_grid_of_the_files_where_unet_would_shrink_thick_objects() -> None:
    traits = traits_of(1, thick=120.0, side=1024)
    plain, own = (kind.Settings.preset("quick").resolve(traits) for kind in (UNetSegmenter, UNetWatershed))
    assert plain.spacing is not None
    assert plain.spacing[0] > 1
    assert own.spacing == (1.0, 1.0)
    assert UNetWatershed.Settings.preset("quick", {"spacing": (2.0, 2.0)}).resolve(traits).spacing == (2.0, 2.0)


def test_its_features_and_probabilities_are_those_of_unet() -> None:
    method, image = segmenter(2), torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        last, found = method.features(image)
        torch.testing.assert_close(found, method.maps(image)[:, :2])
    assert last.shape == (1, 4, 32, 32)
