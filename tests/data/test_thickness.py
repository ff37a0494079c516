"""Thickness of objects against closed forms, and what the traits and `check` say of it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from scantling.core.case import IGNORE, Geometry, Labels
from scantling.core.samples import Thickness
from scantling.data.dataset import open_dataset
from scantling.data.integrity import check
from scantling.data.thickness import ObjectSizes, object_sizes, thickness_of
from scantling.data.traits import measure_traits

ONE = Labels(names=("a",), values=((1,),))
TWO = Labels(names=("a", "b"), values=((1,), (2,)))


def disc(
    shape: tuple[int, ...], centre: tuple[float, ...], radius: float, spacing: float | np.ndarray = 1
) -> np.ndarray:
    """(*S) of 0 and 1: a disc or a ball, its centre in pixels and its radius in units of the spacing."""
    at = np.moveaxis(np.indices(shape), 0, -1)
    return (np.linalg.norm((at - centre) * spacing, axis=-1) <= radius).astype(np.uint8)


def sizes(mask: np.ndarray, labels: Labels = ONE, spacing: tuple[float, ...] | None = None) -> ObjectSizes:
    mask = mask if mask.ndim > 3 or len(mask) == len(labels.names) else mask[None]
    shape = mask.shape[1:]
    unit = "mm" if spacing else "pixel"
    return object_sizes(mask, labels, Geometry(shape, spacing or (1.0,) * len(shape), unit=unit))  # type: ignore[arg-type]


def of(*masks: np.ndarray) -> Thickness:
    """The thickness of the one class of several pictures."""
    (found,) = thickness_of([sizes(mask) for mask in masks], "pixel")
    assert found is not None
    return found


@pytest.mark.parametrize("radius", [8, 15, 40])
def test_a_disc_is_as_thick_as_its_diameter_and_locally_two_thirds_of_it(radius: int) -> None:
    found = of(disc((128, 110), (60.3, 55.1), radius))
    assert found.low == found.median == found.high == pytest.approx(2 * radius, abs=1.5)
    assert found.local == pytest.approx(4 * radius / 3, abs=1.2)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 7, 12])
def test_a_tube_is_locally_as_thick_as_it_is_wide(width: int) -> None:
    mask = np.zeros((40, 600), np.uint8)
    mask[10 : 10 + width, 5:-5] = 1
    found = of(mask)
    assert width <= found.median <= width + 1, "the nearest pixel outside lies half a pixel beyond the border"
    assert found.local == pytest.approx(width, abs=1 / width + 0.1)


def test_the_trunk_decides_the_thickness_of_a_tree_and_its_twigs_the_local_one() -> None:
    mask = np.zeros((200, 200), np.uint8)
    mask[:, 95:105] = 1
    mask[4::8, :] = mask[5::8, :] = mask[6::8, :] = 1
    assert of(mask).median >= 10
    assert 3 <= of(mask).local <= 5


def test_a_ball_in_an_anisotropic_volume_is_measured_in_millimetres() -> None:
    spacing = (0.5, 0.5, 2.0)
    ball = disc((96, 96, 30), (47, 48, 14), 17.0, np.array(spacing))
    (found,) = thickness_of([sizes(ball, spacing=spacing)], "mm")
    assert found is not None
    assert found.median == pytest.approx(34, abs=2)


def test_the_border_of_the_image_is_the_border_of_an_object() -> None:
    assert of(np.ones((20, 90), np.uint8)).median == 20


def test_pixels_that_touch_at_a_corner_are_one_object() -> None:
    assert len(sizes(np.eye(9, dtype=np.uint8)).classes[0]) == 1


def test_specks_do_not_count_like_the_organ_beside_them() -> None:
    mask = disc((128, 128), (70, 70), 30)
    mask[2:20:3, 2::3] = 1
    found = of(mask)
    assert found.low == found.high == pytest.approx(60, abs=1.5)


def test_each_case_counts_the_same_however_many_pixels_its_objects_have() -> None:
    small, large = (disc((128, 128), (64, 64), radius) for radius in (6, 50))
    found = of(small, small, small, large)
    assert found.median == of(small).median
    assert found.high == of(large).high
    assert found.spread == pytest.approx(np.log(of(large).median / of(small).median) * np.sqrt(3) / 4)


def test_an_object_counts_by_its_pixels_as_if_each_of_them_said_its_thickness() -> None:
    rows = [
        np.column_stack([values, values, areas]) for values, areas in (((4.0, 9.0, 2.0), (3, 5, 2)), ((7.0,), (9,)))
    ]
    (found,) = thickness_of([ObjectSizes("pixel", 50.0, (one,)) for one in rows], "pixel")
    assert found is not None
    pixels = np.repeat([4.0, 9.0, 2.0, 7.0], [3, 5, 2, 10])  # both cases with ten votes
    for percent, value in ((10, found.low), (50, found.median), (90, found.high)):
        assert value == np.percentile(pixels, percent, method="inverted_cdf")
    assert found.spread == pytest.approx(np.log(pixels).std())


def test_the_same_pictures_in_several_sizes_have_no_relative_spread() -> None:
    small, large = disc((64, 64), (31.5, 31.5), 15.9), disc((128, 128), (63.5, 63.5), 31.8)
    assert of(small, large).spread == pytest.approx(np.log(2) / 2, rel=0.05)
    assert of(small, large).relative_spread < 0.02


def test_each_class_is_measured_alone_and_unknown_pixels_are_of_none() -> None:
    mask = disc((128, 110), (64, 55), 40)
    mask[disc((128, 110), (64, 55), 20) == 1] = 2
    mask[disc((128, 110), (64, 55), 10) == 1] = IGNORE
    outer, inner = thickness_of([sizes(mask, TWO)], "pixel")
    assert outer is not None
    assert inner is not None
    assert outer.median == pytest.approx(20, abs=1.5), "a ring is as thick as it is wide"
    assert inner.median == pytest.approx(10, abs=1.5)


def test_classes_that_overlap_are_measured_each_in_its_own_layer() -> None:
    layers = np.stack([disc((64, 64), (30, 30), 20), disc((64, 64), (30, 30), 8)])
    layers[1, :5] = IGNORE
    whole, core = thickness_of([sizes(layers, TWO)], "pixel")
    assert whole is not None
    assert core is not None
    assert (whole.median, core.median) == (pytest.approx(40, abs=1.5), pytest.approx(16, abs=1.5))


def test_a_class_without_any_object_has_no_thickness() -> None:
    assert thickness_of([sizes(disc((40, 40), (20, 20), 9), TWO)], "pixel")[1] is None
    assert thickness_of([], "pixel") == ()


def test_a_large_mask_is_measured_on_every_nth_pixel_about_as_well() -> None:
    large = disc((2600, 2400), (1300, 1200), 1000)
    assert of(large).median == pytest.approx(2000, rel=0.01)
    assert sizes(large).classes[0][0, 2] == pytest.approx(large.sum(), rel=0.01)


def test_the_traits_hold_what_the_training_cases_have_and_not_the_others(tmp_path: Path) -> None:
    for split, radius in (("train", 9), ("validation", 20), ("test", 25)):
        for number in range(2):
            for kind, values in (("images", (40, 90)), ("masks", (0, 255))):
                array = np.array(values, np.uint8)[disc((64, 64), (30, 30 + number), radius)]
                path = tmp_path / split / kind / f"{split}{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)
    dataset = open_dataset(tmp_path)
    traits = measure_traits(dataset)
    assert traits.thickness == (of(disc((64, 64), (30, 30), 9)),)
    assert [(one.mean, one.std, one.low, one.high) for one in traits.foreground_intensity] == [(90, 0, 90, 90)]
    assert traits.intensity[0].low == 40
    assert traits.only(("grey",)) == traits
    unseen = measure_traits(dataset, reads=("image",))
    assert unseen.thickness == unseen.foreground_intensity == ()
    report = check(dataset)
    median = traits.thickness[0].median if traits.thickness[0] else 0.0
    line = f"foreground: {median:.3g} pixels thick (10 to 90 %: {median:.3g} to {median:.3g})"
    assert line in report.summary.lines()
    assert report.facts()["summary"]["thickness"]["foreground"]["median"] == median


def test_the_intensities_of_the_foreground_are_those_of_the_labelled_pixels_of_any_class(tmp_path: Path) -> None:
    drawn = []
    for number in range(3):
        image = np.random.default_rng(number).normal(-300, 200, (20, 22, 9)).astype(np.int16)
        mask = disc(image.shape, (9, 9, 4), 4 + number) + disc(image.shape, (9, 9, 4), 2)
        for kind, array in (("images", image), ("masks", mask))[: 1 + (number < 2)]:
            path = tmp_path / "train" / kind / f"c{number}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([2.0, 2.0, 2.0, 1.0])), path)
        drawn += [image[mask > 0]] if number < 2 else []
    traits = measure_traits(open_dataset(tmp_path))
    values = np.concatenate(drawn)
    (found,) = traits.foreground_intensity
    assert (found.mean, found.std) == (pytest.approx(values.mean()), pytest.approx(values.std()))
    assert (found.low, found.high) == (
        pytest.approx(np.percentile(values, 0.5)),
        pytest.approx(np.percentile(values, 99.5)),
    )
    assert len(traits.thickness) == 2
    assert traits.thickness[1] is not None
    assert traits.thickness[1].median == pytest.approx(2 * 2 * 2, abs=2), "in millimetres"
    assert any("class-2: " in line and " mm thick" in line for line in check(open_dataset(tmp_path)).summary.lines())


def test_where_only_some_cases_say_their_spacing_those_in_pixels_count() -> None:
    mm = sizes(disc((64, 64), (30, 30), 9), spacing=(1.0, 1.0))
    pixel = sizes(disc((64, 64), (30, 30), 20))
    (found,) = thickness_of([mm, pixel], "pixel")
    assert found is not None
    assert found.low == found.high == of(disc((64, 64), (30, 30), 20)).median


def test_the_number_of_objects_does_not_count_specks() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[4:24, 4:24] = 1
    mask[60, 60] = 1
    assert of(mask).number == pytest.approx(1, abs=0.01)
    mask[34:54, 34:54] = 1
    assert of(mask).number == pytest.approx(2, abs=0.01)


def test_the_share_of_cases_that_hold_the_class_is_known() -> None:
    with_it, without = sizes(disc((40, 40), (20, 20), 9)), sizes(np.zeros((40, 40), np.uint8))
    (found,) = thickness_of([with_it, without, without, with_it], "pixel")
    assert found is not None
    assert found.present == 0.5
