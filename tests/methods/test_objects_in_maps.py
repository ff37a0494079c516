"""Methods that find objects in maps: slides in squares that are stitched, and maps that are averaged over views."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scantling.contract.method import build
from scantling.contract.options import SegmentOptions
from scantling.contract.views import Views
from scantling.core.case import Case, Geometry, Labels, Sample
from scantling.core.samples import Intensity, Traits
from scantling.inference import bands
from scantling.inference.answering import segment
from scantling.inference.bands import Decided, answer_in_bands, bands_of
from scantling.inference.models import models_of
from scantling.inference.objects import label_map
from scantling.inference.prediction import calls
from scantling.inference.tiles import Tiler
from scantling.methods.supervised.hover_net import HoVerNetSegmenter
from scantling.methods.supervised.instances import InstanceSegmenter
from scantling.methods.supervised.unet_watershed import UNetWatershed
from scantling.metrics.instances import instances as compared
from scantling.objects import distance_map, hover_maps

BYTES = 130 + 4 * (1 + 4)
"""What a pixel of one channel and one class takes."""


class Hover(HoVerNetSegmenter):
    """Answers perfect maps of the objects that the image numbers, whichever way it is turned."""

    def maps(self, image: Tensor) -> Tensor:
        return torch.stack([torch.from_numpy(np.stack([n > 0, *hover_maps(n)])).float() for n in numbered(image)])


class Watershed(UNetWatershed):
    """The same with distances."""

    def maps(self, image: Tensor) -> Tensor:
        return torch.stack([torch.from_numpy(np.stack([n > 0, distance_map(n)])).float() for n in numbered(image)])


class Steep(Hover):
    """As `Hover`, with one extreme place in the corner of the picture, which the image marks by -1."""

    def maps(self, image: Tensor) -> Tensor:
        maps = super().maps(image)
        maps[:, 1:].masked_fill_(image < 0, 300.0)
        return maps


def numbered(image: Tensor) -> np.ndarray:
    return image[:, 0].clamp(min=0).round().int().numpy()


def built(kind: type[InstanceSegmenter]) -> Any:
    facts = Intensity(mean=0, std=1, low=0, high=1, minimum=0, maximum=1000)
    traits = Traits(
        dimensions=2, channels=("grey",), spacing=(1.0, 1.0), shape=(64, 64), smallest=(64, 64), intensity=(facts,),
        labels=Labels(names=("nucleus",), values=((1,),)), labelled=3,
    )  # fmt: skip
    seeds = {"seeds": "distance"} if issubclass(kind, UNetWatershed) else {}
    settings = kind.Settings.preset("tiny", {"normalise": "none", **seeds})
    return build(kind, settings.resolve(traits), traits).eval()


def slide(shape: tuple[int, int], step: int = 16) -> np.ndarray:
    """Discs on a lattice, so close that some touch, and a bar of three widths of them across the picture."""
    numbers, generator = np.zeros(shape, np.int32), np.random.default_rng(0)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    for number, (row, column) in enumerate(np.ndindex(shape[0] // step, shape[1] // step), start=1):
        middle = [(n + 0.5) * step + generator.uniform(-1, 1) for n in (row, column)]
        inside = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 <= (step / 2) ** 2
        numbers[inside & (numbers == 0)] = number
    bar = np.zeros(shape, bool)
    bar[2 * step : 3 * step, step : shape[1] - step] = True
    numbers[2 * step - 3 : 3 * step + 3] = 0
    numbers[bar] = numbers.max() + 1
    return np.unique(numbers, return_inverse=True)[1].reshape(shape).astype(np.int32)


def answered(method: Any, image: np.ndarray, *, most: int | None = None, **options: Any) -> Decided:
    about = partial(segment, method, tiler=Tiler(), device=torch.device("cpu"), options=SegmentOptions(**options))
    return answer_in_bands(about, sample_of(image), [method], exclusive=True, maps=False, most=most)


def sample_of(image: np.ndarray) -> Sample:
    return Sample(Case(id="a", subject="a"), image[None], Geometry(image.shape, (1.0, 1.0), None, "raster"))


def numbers_of(found: Decided) -> np.ndarray:
    assert found.objects is not None
    numbers = label_map(found.objects, found.decision.shape)
    assert numbers is not None
    return numbers


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes that make squares of 64 pixels, which see 24 pixels more to each side."""
    monkeypatch.setattr(bands, "OBJECTS_CONTEXT", 24)
    return BYTES * (64 + 2 * 24) ** 2


@pytest.mark.parametrize("kind", [Hover, Watershed])
def test_a_slide_in_squares_has_each_object_once(kind: type[InstanceSegmenter], narrow: int) -> None:
    numbers = slide((160, 208))
    method = built(kind)
    squares = list(bands_of(sample_of(numbers), [method], most=narrow))
    assert [band.kept for band in squares][-1] == ((128, 160), (192, 208))
    assert len(squares) == 3 * 4
    whole, parts = answered(method, numbers), answered(method, numbers, most=narrow)
    assert numbers_of(whole).max() == numbers.max()
    assert numbers_of(parts).max() == numbers.max()
    assert np.array_equal(whole.decision, parts.decision)
    found = compared(numbers_of(parts), numbers)
    assert found.aji > 0.9
    assert compared(numbers_of(whole), numbers).aji == pytest.approx(found.aji, abs=0.02)


def test_a_picture_that_fits_is_one_square(narrow: int) -> None:
    method, numbers = built(Hover), slide((96, 112))
    assert len(list(bands_of(sample_of(numbers), [method], most=narrow))) == 1
    assert np.array_equal(numbers_of(answered(method, numbers, most=narrow)), numbers_of(answered(method, numbers)))


def test_an_extreme_gradient_changes_its_own_square_alone(narrow: int) -> None:
    numbers = slide((64, 240)).astype(np.int16)
    plain = numbers_of(answered(built(Hover), numbers, most=narrow))
    numbers[0, 0] = -1
    method = built(Steep)
    assert numbers_of(answered(method, numbers)).max() < plain.max()  # no gradient is an edge beside that one
    steep = numbers_of(answered(method, numbers, most=narrow))
    assert np.array_equal(steep[:, 112:] > 0, plain[:, 112:] > 0)
    assert compared(steep[:, 112:], plain[:, 112:]).aji == 1


ALL = Views(mirrored=(True, True), turned=True)


@pytest.mark.parametrize("kind", [Hover, Watershed])
def test_the_mean_over_views_of_a_network_that_turns_with_the_picture_is_its_answer(
    kind: type[InstanceSegmenter],
) -> None:
    method = built(kind)
    numbers = slide((64, 96))
    image = torch.from_numpy(numbers)[None, None].float()
    assert len(ALL.each) == 8
    torch.testing.assert_close(method.mean_maps(image, views=ALL.each), method.maps(image))
    method.views = ALL
    assert not method.uses_views(SegmentOptions())
    models = models_of([method], {"views": True})
    assert not models.notes
    assert calls(models) == 8
    one, mean = answered(method, numbers), answered(method, numbers, views=True)
    assert np.array_equal(numbers_of(one), numbers_of(mean))


def test_a_network_that_errs_on_one_side_errs_less_over_views() -> None:
    class Leaning(Hover):
        def maps(self, image: Tensor) -> Tensor:
            return super().maps(image) + torch.tensor([0.0, 0.4, -0.2])[:, None, None]

    method, image = built(Leaning), torch.from_numpy(slide((64, 96)))[None, None].float()
    torch.testing.assert_close(method.mean_maps(image, views=ALL.each), built(Hover).maps(image))
