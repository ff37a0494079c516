"""A large image answered in bands is answered as it would be as a whole."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from made import images_for
from scantling.contract.capabilities import Segmenter
from scantling.contract.options import SegmentOptions
from scantling.core.case import Case, Geometry, Sample
from scantling.inference.answering import segment
from scantling.inference.bands import Decided, answer_in_bands, bands_of
from scantling.inference.tiles import Tiler
from scantling.methods.catalogue import card_of
from scantling.metrics.confidence import confidence_sums
from scantling.records.run_folder import load_model
from scantling.training import Options, train


@pytest.fixture(scope="module", params=[2, 3])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    folder = tmp_path_factory.mktemp("bands")
    data = images_for(card_of("unet"), folder / "data", dimensions=request.param)
    options = Options(preset="tiny", steps=15, validation=0.0, settings={"dropout": 0.2, "norm": "batch"})
    train("unet", [data], folder / "run", options, console=Console(quiet=True))
    method = load_model(folder / "run")
    assert isinstance(method, Segmenter)
    method.eval()
    return method


def sample_of(model: Segmenter) -> Sample:
    """An image that is long along its last axis but one, with values that differ from end to end."""
    shape = (150, 340) if model.traits.dimensions == 2 else (16, 180, 16)
    generator = np.random.default_rng(0)
    axes = [np.arange(n) for n in shape]
    blobs = np.prod(np.meshgrid(*(np.sin(axis / 5) for axis in axes), indexing="ij"), axis=0)
    image = np.clip(60 + 60 * (blobs > 0.2) + generator.normal(0, 12, shape), 0, 255).astype(np.uint8)
    fading = np.linspace(0.5, 1, max(shape)).reshape([-1 if n == max(shape) else 1 for n in shape])
    image = (image * fading).astype(np.uint8)
    container = "raster" if len(shape) == 2 else "volume"
    return Sample(Case(id="long", subject="long"), image[None], Geometry(shape, model.traits.spacing, None, container))


def answered(model: Segmenter, sample: Sample, *, most: int | None, maps: bool = True, **options: Any) -> Decided:
    about = partial(segment, model, tiler=Tiler(), device=torch.device("cpu"), options=SegmentOptions(**options))
    return answer_in_bands(about, sample, [model], exclusive=True, maps=maps, most=most)


def small(sample: Sample, model: Segmenter, bands: int) -> int:
    """Bytes that make so many bands."""
    length, context = max(sample.geometry.shape), {2: 64, 3: 32}[len(sample.geometry.shape)]
    return 20 * math.prod(sample.geometry.shape) // length * (2 * context + -(-length // bands))


def test_bands_cover_an_image_once_and_see_beyond_their_borders(model: Segmenter) -> None:
    sample = sample_of(model)
    bands = list(bands_of(sample, [model], most=small(sample, model, 5)))
    assert len(bands) >= 4
    shape = sample.geometry.shape
    long = shape.index(max(shape))
    for axis, length in enumerate(shape):
        ends = [band.kept[axis] for band in bands]
        assert [start for start, _ in ends] == (
            [0, *(stop for _, stop in ends[:-1])] if axis == long else [0] * len(bands)
        )
        assert ends[-1][1] == length
    both = [(band.seen[long], band.kept[long]) for band in bands]
    assert all(seen[0] <= kept[0] and kept[1] <= seen[1] for seen, kept in both)
    assert all(seen[0] == 0 or kept[0] - seen[0] >= 32 for seen, kept in both)


def test_the_answer_in_bands_is_that_about_the_whole(model: Segmenter) -> None:
    sample = sample_of(model)
    whole, parts = answered(model, sample, most=None), answered(model, sample, most=small(sample, model, 5))
    assert whole.decision.any()
    assert parts.decision.shape == whole.decision.shape == sample.geometry.shape
    assert whole.probabilities is not None
    assert parts.probabilities is not None
    assert np.allclose(whole.probabilities, parts.probabilities, atol=0.02)
    assert (whole.decision != parts.decision).mean() < 0.002
    silent = answered(model, sample, most=small(sample, model, 5), maps=False)
    assert silent.confidence_sums is not None
    assert np.allclose(silent.confidence_sums, confidence_sums(parts.probabilities, parts.decision))
    assert whole.confidence_sums == pytest.approx(silent.confidence_sums, rel=0.01)


def test_samples_and_uncertainty_come_in_bands_too_and_maps_only_if_wanted(model: Segmenter) -> None:
    sample = sample_of(model)
    most = small(sample, model, 4)
    found = answered(model, sample, most=most, maps=False, samples=3, seed=1)
    assert found.probabilities is None
    assert len(found.samples) == 3
    assert all(drawn.shape == sample.geometry.shape and drawn.dtype == np.uint8 for drawn in found.samples)
    assert {*found.uncertainty} == {*answered(model, sample, most=None, samples=3).uncertainty}
    assert all(map_.shape == sample.geometry.shape for map_ in found.uncertainty.values())
    again = answered(model, sample, most=most, maps=False, samples=3, seed=1)
    assert np.array_equal(found.decision, again.decision)


def test_a_region_is_cut_with_its_image_and_units_are_those_of_the_whole(model: Segmenter) -> None:
    sample = sample_of(model)
    region = np.zeros(sample.geometry.shape, bool)
    region[tuple(slice(0, -(-n // 2)) for n in region.shape)] = True
    sample = replace(sample, region=region)
    whole, parts = answered(model, sample, most=None), answered(model, sample, most=small(sample, model, 5))
    assert (whole.decision != parts.decision).mean() < 0.002


def test_beyond_the_region_every_answer_is_0_as_a_whole_and_in_bands(model: Segmenter) -> None:
    sample = sample_of(model)
    region = np.ones(sample.geometry.shape, np.bool_)
    region[: region.shape[0] // 2] = False
    free = answered(model, sample, most=None, samples=2)
    for most in (None, small(sample, model, 4)):
        found = answered(model, replace(sample, region=region), most=most, samples=2)
        assert found.probabilities is not None
        assert found.decision[region].any()
        assert free.decision[~region].any()
        for array in (found.decision, found.probabilities[0], *found.samples, *found.uncertainty.values()):
            assert not array[~region].any()


def test_a_model_that_sees_the_whole_at_a_fixed_size_is_not_given_bands(tmp_path: Path) -> None:
    data = images_for(card_of("unet"), tmp_path / "data", dimensions=2)
    options = Options(preset="tiny", validation=0.0, settings={"size": 32})
    train("unet", [data], tmp_path / "run", options, console=Console(quiet=True))
    method = load_model(tmp_path / "run")
    sample = Sample(Case(id="a", subject="a"), np.zeros((1, 90, 400), np.uint8), Geometry((90, 400), (1.0, 1.0)))
    assert len(list(bands_of(sample, [method], most=1))) == 1


def test_slices_of_a_volume_are_answered_alike_in_bands_and_drop_the_same_in_all_of_them(tmp_path: Path) -> None:
    data = images_for(card_of("fr-unet"), tmp_path / "data", dimensions=3)
    options = Options(preset="tiny", validation=0.0, settings={"dropout": 0.3})
    train("fr-unet", [data], tmp_path / "run", options, console=Console(quiet=True))
    method = load_model(tmp_path / "run")
    assert isinstance(method, Segmenter)
    method.eval()
    image = np.random.default_rng(0).integers(0, 255, (1, 20, 22, 19)).astype(np.uint8)
    sample = Sample(Case(id="a", subject="a"), image, Geometry(image.shape[1:], (1.0, 1.0, 1.0), None, "volume"))
    axis = method.traits.slice_axis
    most = 20 * 6 * image[0].size // image.shape[1 + axis]  # six slices in a band
    assert len(list(bands_of(sample, [method], most=most))) > 3
    for samples in (None, 2):
        whole, parts = (answered(method, sample, most=each, samples=samples) for each in (None, most))
        assert np.array_equal(whole.decision, parts.decision)
        for one, other in zip(whole.samples, parts.samples, strict=True):
            assert np.array_equal(one, other)
