"""A picture of clearly another scale than the training images is answered at theirs."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import ndimage
from skimage.io import imread
from skimage.transform import rescale, resize

from made import images_for, write
from scantling.core.case import Case, Geometry, Sample
from scantling.core.errors import RunError
from scantling.core.samples import Preprocessing
from scantling.data.dataset import open_dataset
from scantling.data.preprocessing import grid_of
from scantling.inference import predict
from scantling.inference.bands import Decided
from scantling.inference.scale import FIELD, answer_at_scale, field_of_view, proposed, sentences_on_scale
from scantling.methods.catalogue import card_of
from scantling.records.expectations import AppearanceRecord
from scantling.records.predictions import PredictedCase
from scantling.training import Options, train

TRAITS = SimpleNamespace(unit="pixel", spacing=(1.0, 1.0), slice_axis=0)
METHOD: Any = SimpleNamespace(preprocessing=Preprocessing(dimensions=2), traits=TRAITS)
RADIUS = 6


def sample(image: np.ndarray, region: np.ndarray | None = None, **geometry: Any) -> Sample:
    return Sample(Case(id="a", subject="a"), image[None], Geometry(image.shape, **geometry), region=region)


def known(**features: list[float | None]) -> AppearanceRecord:
    names = tuple(f"scale {name.replace('_', ' ')}" for name in features)
    images = tuple(zip(*features.values(), strict=True))
    return AppearanceRecord(subjects=3, features=names, spread=(1.0,) * len(names), images=images)


def of_shape(*sides: float) -> AppearanceRecord:
    first, second = (math.log(side) for side in sides)
    return known(side_1_in_pixels=[first] * 3, side_2_in_pixels=[second] * 3)


def here(shape: tuple[int, int], **geometry: Any) -> Sample:
    geometry = {"spacing": (1.0, 1.0)} | geometry
    return sample(np.zeros(shape, np.uint8), **geometry)


def test_the_field_of_view_is_the_region_or_what_a_dark_frame_leaves() -> None:
    rows, columns = np.ogrid[:90, :120]
    field = (rows - 45) ** 2 + (columns - 60) ** 2 < 40**2
    image = np.where(field, 120, 0).astype(np.uint8)
    for one in (sample(image, field, spacing=(1.0, 1.0)), sample(image, spacing=(1.0, 1.0))):
        assert math.exp(field_of_view(one)[FIELD]) == pytest.approx(79, abs=1)
    assert field_of_view(here((90, 120))) == {}, "no frame"
    assert math.exp(field_of_view(sample(image[:, 30:], spacing=(1.0, 1.0)))[FIELD]) == pytest.approx(79, abs=1)
    for part in (image[20:70, 40:80], image[5:84, 21:100], image[45:, 60:]):
        assert field_of_view(sample(part, spacing=(1.0, 1.0))) == {}, "a part of the field, which is cut"


def test_evidence_proposes_a_scale_where_it_is_clear() -> None:
    assert proposed(here((128, 192)), of_shape(96, 64)) == (pytest.approx(2), "sides")
    assert proposed(here((64, 96)), of_shape(96, 64)) is None, "the same"
    assert proposed(here((32, 48)), of_shape(96, 64)) is None, "smaller: as likely a part of a picture"
    assert proposed(here((128, 192)), of_shape(96, 64).model_copy(update={"subjects": 2})) is None, "too few agree"
    assert proposed(here((68, 100)), of_shape(96, 64)) is None, "nearly"
    assert proposed(here((64, 192)), of_shape(96, 64)) is None, "another format"
    assert proposed(here((640, 960)), of_shape(96, 64)) is None, "far from it: something else"
    sizes = known(side_1_in_pixels=[math.log(n) for n in (90, 100, 120)], side_2_in_pixels=[math.log(64)] * 3)
    assert proposed(here((128, 192)), sizes) is None, "the training images differ among each other"
    fields = known(field_of_view_in_pixels=[math.log(50.0)] * 3)
    rows, columns = np.ogrid[:128, :192]
    region = (rows - 64) ** 2 + (columns - 96) ** 2 < 60**2
    factor, words = proposed(replace(here((128, 192)), region=region), fields) or (0, "")
    assert (factor, words) == (pytest.approx(119 / 50), "field of view")
    fine = here((64, 96), spacing=(0.25, 0.25), unit="mm")
    spacings = known(spacing_1_in_mm=[math.log(0.5)] * 3, spacing_2_in_mm=[math.log(0.5)] * 3)
    assert proposed(fine, spacings) == (pytest.approx(2), "spacing")
    assert proposed(fine, None) is None


def test_a_grid_is_coarser_by_the_scale_unless_all_images_come_to_one_size() -> None:
    twice = replace(here((129, 192)), scale=2.0)
    assert grid_of(twice, Preprocessing(dimensions=2), TRAITS) == (64, 96)  # type: ignore[arg-type]
    assert grid_of(twice, Preprocessing(dimensions=2, spacing=(2.0, 2.0)), TRAITS) == (32, 48)  # type: ignore[arg-type]
    assert grid_of(twice, Preprocessing(dimensions=2, size=(50, 50)), TRAITS) == (50, 50)  # type: ignore[arg-type]


def discs(scale: float) -> tuple[np.ndarray, np.ndarray]:
    """A picture with discs of `RADIUS` and dots too small to be meant, that many times as large, and their mask."""
    mask, dots = np.zeros((96, 144), bool), np.zeros((96, 144), bool)
    mask[20:80:28, 24:130:32] = dots[6:96:28, 8:140:16] = True
    found = [ndimage.distance_transform_edt(~part) < radius for part, radius in ((mask, RADIUS), (dots, RADIUS / 3))]
    image, truth = (
        rescale(part.astype(float), scale, order=1) for part in (0.2 + 0.6 * (found[0] | found[1]), found[0])
    )
    return (255 * image).astype(np.uint8), truth > 0.5


def finder(one: Sample) -> Decided:
    """Finds discs of `RADIUS` on the grid that it is given, and is unsure of what has another size."""
    grid, shape = grid_of(one, METHOD.preprocessing, METHOD.traits), one.geometry.shape
    image = resize(one.image[0] / 255, grid, order=1)
    fit = ndimage.gaussian_filter(image, RADIUS / 2) - ndimage.gaussian_filter(image, RADIUS * 1.5)
    likely = resize(1 / (1 + np.exp(-30 * (fit - 0.1))), shape, order=1)[None].astype(np.float32)
    return Decided((likely[0] > 0.5).astype(np.uint8), likely)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize("recipe", [Preprocessing(dimensions=2), Preprocessing(dimensions=2, spacing=(0.5, 0.5))])
def test_the_answer_that_decides_is_on_the_grid_of_the_one_that_is_given(recipe: Preprocessing) -> None:
    seen: list[tuple[int, ...]] = []

    def answer(one: Sample) -> Decided:
        seen.append(grid_of(one, recipe, TRAITS))  # type: ignore[arg-type]
        likely = np.full((1, *one.geometry.shape), 0.6 + 0.1 * len(seen), np.float32)
        return Decided((likely[0] > 0.5).astype(np.uint8), likely)

    method: Any = SimpleNamespace(preprocessing=recipe, traits=TRAITS)
    _, facts = answer_at_scale(answer, here((128, 192)), [method], scale=None, known=of_shape(96, 64))
    assert facts["scale"] == pytest.approx(2)
    native, decided, given = seen
    assert decided == given == tuple(n // 2 for n in native)


@pytest.mark.parametrize("scale", [1, 3])
def test_the_model_decides_between_the_picture_as_it_is_and_at_its_own_scale(scale: int) -> None:
    image, truth = discs(scale)
    one = sample(image, spacing=(1.0, 1.0))
    native = finder(one)
    decided, facts = answer_at_scale(finder, one, [METHOD], scale=None, known=of_shape(144, 96))
    assert facts == ({} if scale == 1 else {"scale": pytest.approx(scale), "scale_by": "sides"})
    if scale > 1:
        assert dice(decided.decision > 0, truth) > dice(native.decision > 0, truth) + 0.1
    same, facts = answer_at_scale(finder, one, [METHOD], scale=1, known=of_shape(144, 96))
    assert facts == {}
    np.testing.assert_array_equal(same.decision, native.decision)


def test_a_picture_of_other_sides_and_the_same_scale_is_answered_as_it_is() -> None:
    image, truth = discs(1)
    larger = np.tile(image, (2, 2))
    decided, facts = answer_at_scale(
        finder, sample(larger, spacing=(1.0, 1.0)), [METHOD], scale=None, known=of_shape(144, 96)
    )
    assert facts == {}, "the sides propose, and the model declines"
    assert dice(decided.decision > 0, np.tile(truth, (2, 2))) > 0.6


def test_a_method_that_sees_all_images_at_one_size_changes_nothing() -> None:
    for recipe in (Preprocessing(dimensions=2, size=(64, 64)), Preprocessing(dimensions=2, longest=64)):
        method = SimpleNamespace(preprocessing=recipe, traits=TRAITS)
        _, facts = answer_at_scale(finder, sample(discs(2)[0], spacing=(1.0, 1.0)), [method], scale=2, known=None)  # type: ignore[list-item]
        assert facts == {}


def test_predict_takes_a_scale_and_writes_masks_on_the_grid_of_the_file(tmp_path: Path) -> None:
    data = images_for(card_of("unet"), tmp_path / "data", dimensions=2)
    options = Options(preset="tiny", steps=2, validation=0.0)
    train("unet", [data], tmp_path / "run", options, console=Console(quiet=True))
    case = open_dataset(data).cases[0]
    first = next(iter(case.images.values())).path
    image = imread(first)
    write(tmp_path / "large", "a", np.repeat(np.repeat(image, 2, axis=0), 2, axis=1))
    done = predict(
        tmp_path / "run", tmp_path / "large", out=tmp_path / "masks", options={"scale": 2.0}, probabilities=True
    )
    (entry,) = done.cases
    assert (entry["scale"], entry["scale_by"]) == (2.0, "given")
    assert imread(tmp_path / "masks" / "a.png").shape == (2 * image.shape[0], 2 * image.shape[1])
    assert "scale" in done.header["requested"]


def test_one_sentence_says_how_many_and_why() -> None:
    said = [("a", 2.0, "field of view"), ("b", 2.1, "sides"), ("c", None, ""), ("d", 4.0, "given")]
    cases = [PredictedCase(id=id, scale=scale, scale_by=by) for id, scale, by in said]
    (sentence,) = sentences_on_scale(cases)
    assert sentence.startswith("2 of 4 images show things 2 times as large as the training images, by field of view")
    assert sentences_on_scale(cases[2:], given=4.0) == []
    assert "changed nothing" in sentences_on_scale(cases[2:3], given=4.0)[0]
    assert "1 of 2 images shows things" in sentences_on_scale([cases[0], cases[2]])[0]


def test_an_interrupted_command_goes_on_at_its_own_scale_alone(tmp_path: Path) -> None:
    data = images_for(card_of("unet"), tmp_path / "data", dimensions=2)
    options = Options(preset="tiny", steps=2, validation=0.0)
    train("unet", [data], tmp_path / "run", options, console=Console(quiet=True))
    predict(tmp_path / "run", data, out=tmp_path / "masks", options={"scale": 1.0})
    with pytest.raises(RunError, match="scale"):
        predict(tmp_path / "run", data, out=tmp_path / "masks", options={"scale": 2.0})
