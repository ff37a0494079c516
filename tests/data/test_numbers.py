"""Images in any unit, masks of any sensible kind: the numbers of a file mean the same however they are stored."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from made import blobs
from scantling.core.case import Address, Case, Geometry, Labels
from scantling.core.errors import DataError, FileError
from scantling.core.samples import Intensity, Preprocessing, Traits
from scantling.core.streams import Augmentation
from scantling.data import files
from scantling.data.augmentation import change_values
from scantling.data.dataset import open_dataset
from scantling.data.duplicates import looks
from scantling.data.examination import examine
from scantling.data.integrity import check
from scantling.data.label_source import find_labels
from scantling.data.labels import encode_one, region_of, valid_labels
from scantling.data.loading import load
from scantling.data.moments import Moments
from scantling.data.preprocessing import normalise
from scantling.data.traits import measure_traits
from scantling.evaluation import evaluate

IMAGE = np.random.default_rng(0).random((1, 24, 20)).astype(np.float32)
KINDS = ("image", "unit", "dataset")
UNITS = (1e-9, 1e-20, 1e-35, 1.0, 1e9, 3e38)


def traits(intensity: Intensity) -> Traits:
    return Traits(
        dimensions=2, channels=("grey",), spacing=(1, 1), shape=(24, 20), smallest=(24, 20), intensity=(intensity,)
    )


def normalised(image: np.ndarray, kind: str, region: np.ndarray | None = None) -> np.ndarray:
    known = traits(Moments.of(image.ravel(), 1).intensity())
    return normalise(image, region, Preprocessing(dimensions=2, normalise=kind), known)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unit", UNITS)
def test_the_unit_of_an_image_does_not_change_what_a_method_sees(kind: str, unit: float) -> None:
    expected = normalised(IMAGE, kind)
    assert expected.std() > 0.5
    np.testing.assert_allclose(normalised(IMAGE * np.float32(unit), kind), expected, atol=2e-4)
    signed = (2 * IMAGE - 1).astype(np.float32)
    np.testing.assert_allclose(normalised(signed * np.float32(unit), kind), normalised(signed, kind), atol=2e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.0, 1e-9, 0.1, 12345.678, -1e30, 3e38])
def test_a_constant_image_is_zero_in_every_unit(kind: str, value: float) -> None:
    assert not normalised(np.full((1, 301, 307), value, np.float32), kind).any()


@pytest.mark.parametrize("unit", [1e-30, 1e-9, 1e30, 3e38])
def test_statistics_scale_with_the_unit(unit: float) -> None:
    plain, scaled = (Moments.of((IMAGE * np.float32(by)).ravel(), 1).intensity() for by in (1.0, unit))
    for name in ("mean", "std", "low", "high", "minimum", "maximum"):
        assert getattr(scaled, name) == pytest.approx(unit * getattr(plain, name), rel=1e-5)


@pytest.mark.parametrize("unit", [1e-30, 1e-15, 3e38])
def test_copies_in_another_unit_look_alike(unit: float) -> None:
    geometry = Geometry((128, 128), (1.0, 1.0))
    image = np.random.default_rng(1).random((1, 128, 128)).astype(np.float32)
    one, other = looks(image, geometry), looks(image * np.float32(unit), geometry)
    assert one is not None
    assert other is not None
    assert int(np.bitwise_count(one.bits ^ other.bits).sum()) <= 2
    assert one.detail @ other.detail == pytest.approx(1, abs=1e-4)


def test_gamma_changes_images_in_small_units_as_others() -> None:
    image, augment = torch.from_numpy(IMAGE[None]), Augmentation(gamma=0.5)
    drawn = [change_values(image * unit, augment, [np.random.default_rng(0)]) / unit for unit in (1.0, 1e-9)]
    assert (drawn[0] - image).abs().max() > 0.01
    torch.testing.assert_close(drawn[1], drawn[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value", [1e300, 1e-300])
def test_what_float32_cannot_hold_is_refused_in_a_sentence(tmp_path: Path, value: float) -> None:
    np.save(tmp_path / "a.npy", IMAGE[0].astype(np.float64) * value)
    case = Case(id="a", subject="a", images={"image": Address(tmp_path / "a.npy")})
    with pytest.raises(FileError, match=r"a.npy: the values of the image reach .*; expected at least .*float32"):
        load(case)
    assert [problem.kind for problem in examine(case, None, stride=1).problems] == ["not finite"]


def test_an_image_in_metres_is_segmented_like_one_in_millimetres(tmp_path: Path) -> None:
    for name, unit in (("one", 1.0), ("small", 1e-9)):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "a.tif", IMAGE[0] * np.float32(unit))
    one, small = (open_dataset(tmp_path / name) for name in ("one", "small"))
    for kind in KINDS:
        seen = [
            normalise(
                load(part.cases[0]).image, None, Preprocessing(dimensions=2, normalise=kind), measure_traits(part)
            )  # type: ignore[arg-type]
            for part in (one, small)
        ]
        np.testing.assert_allclose(seen[1], seen[0], atol=1e-5)


# Masks


def saved(folder: Path, array: np.ndarray) -> Address:
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array[..., None], np.eye(4)), folder / "a.nii.gz")
    return Address(folder / "a.nii.gz")


def test_negative_values_are_no_class_and_it_is_said_which_and_where(tmp_path: Path) -> None:
    mask = blobs((16, 16), np.random.default_rng(0), 2).astype(np.int16)
    mask[0, :3] = -1, -7, -1
    saved(tmp_path / "images", mask.astype(np.float32))
    address = saved(tmp_path / "masks", mask)
    with pytest.raises(DataError, match=r"a.nii.gz: the mask holds negative values \(-7, -1\); expected 0 .* 'ignore'"):
        find_labels([address])
    found = check(open_dataset(tmp_path))
    assert any("a.nii.gz: the mask holds negative values (-7, -1)" in finding.sentence for finding in found.findings)
    with pytest.raises(DataError, match=r"m.png: the mask holds negative values \(-1\)"):
        encode_one(np.array([[0, -1]]), None, "m.png")


def test_negative_values_may_be_ignored_or_background_but_no_class() -> None:
    valid_labels(Labels(names=("a",), values=((1,),), ignore=-1, background=(0, -2)), "m")
    for value in (-1, 70_000):
        with pytest.raises(DataError, match=f"the value {value}, which is no value of a class; expected 0 to 65535"):
            valid_labels(Labels(names=("a",), values=((value,),)), "m")
    assert encode_one(np.array([[0, -1, 5]]), Labels(names=("a",), values=((5,),), ignore=-1), "m").tolist() == [
        [0, 255, 1]
    ]


def test_values_that_no_mask_could_be_written_with_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[0, 70_000]], np.int32))
    with pytest.raises(DataError, match="70000"):
        find_labels([Address(tmp_path / "a.npy")])


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_boolean_arrays_are_0_and_1(tmp_path: Path, suffix: str) -> None:
    generator = np.random.default_rng(0)
    for kind in ("images", "masks", "fov"):
        (tmp_path / kind).mkdir()
        for name in "abc":
            array = generator.random((12, 12)) > 0.5
            if suffix == ".npy":
                np.save(tmp_path / kind / name, array)
            else:
                np.savez(tmp_path / kind / name, array)
    dataset = open_dataset(tmp_path)
    assert dataset.labels == Labels(names=("foreground",), values=((1,),))
    assert not check(dataset).of("error")
    (one,) = measure_traits(dataset).intensity
    assert (one.minimum, one.maximum) == (0.0, 1.0)
    assert load(dataset.cases[0], labels=dataset.labels).masks[0].max() == 1
    assert evaluate(tmp_path / "masks", tmp_path).facts()["mean"]["dice"] == 1.0


def test_boolean_volumes_of_three_columns_are_volumes_and_bits_are_0_and_1(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((5, 6, 3)) > 0.5
    np.save(tmp_path / "v.npy", array)
    found = files.read(tmp_path / "v.npy")
    assert (found.array.dtype, found.array.shape) == (np.uint8, (1, 5, 6, 3))
    np.testing.assert_array_equal(found.array[0], array.astype(np.uint8))
    np.testing.assert_array_equal(files.read_labels(tmp_path / "v.npy", untrusted=True)[0], array.astype(np.int32))


# Regions of interest

INSIDE = np.hypot(*(np.indices((64, 64)) - 31.5)) < 24


def region(path: Path) -> np.ndarray:
    return region_of(files.read_labels(path)[0], Address(path))


def test_the_outside_of_a_jpeg_region_is_outside(tmp_path: Path) -> None:
    for quality in (95, 75, 30):
        Image.fromarray(INSIDE.astype(np.uint8) * 255).save(tmp_path / "r.jpg", quality=quality)
        raw = files.read_labels(tmp_path / "r.jpg")[0]
        assert ((raw > 0) & ~INSIDE).any(), "ringing"
        assert (region(tmp_path / "r.jpg") == INSIDE).mean() > 0.99
    # what a JPEG became when it was saved again without loss
    Image.fromarray(raw.astype(np.uint8)).save(tmp_path / "r.png")
    assert (region(tmp_path / "r.png") == INSIDE).mean() > 0.99
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "empty.jpg")
    assert not region(tmp_path / "empty.jpg").any()


def test_a_region_that_was_resized_smoothly_is_inside_from_the_half(tmp_path: Path) -> None:
    large = Image.fromarray(INSIDE.astype(np.uint8) * 255).resize((160, 160), Image.Resampling.BILINEAR)
    large.save(tmp_path / "r.png")
    expected = np.asarray(Image.fromarray(INSIDE).resize((160, 160), Image.Resampling.NEAREST))
    assert (region(tmp_path / "r.png") == expected).mean() > 0.98
    deep = np.asarray(large).astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(region(tmp_path / "deep.png"), region(tmp_path / "r.png"))


@pytest.mark.parametrize(
    ("outside", "inside"), [(0, 1), (0, 255), (1, 2), (0, 3), (128, 255), (-1, 1)], ids=lambda value: str(value)
)
def test_a_region_of_two_values_is_the_greater(outside: int, inside: int) -> None:
    np.testing.assert_array_equal(region_of(np.where(INSIDE, inside, outside), Address(Path("r.png"))), INSIDE)


def test_a_region_of_a_few_labels_is_all_of_them() -> None:
    labels = np.where(INSIDE, 1 + np.arange(64)[None] // 32, 0)
    np.testing.assert_array_equal(region_of(labels, Address(Path("r.nii.gz"))), INSIDE)
    assert region_of(np.ones((4, 4), np.int32), Address(Path("r.png"))).all()
    assert not region_of(np.zeros((4, 4), np.int32), Address(Path("r.png"))).any()


@pytest.mark.parametrize("mode", ["bits", "grey palette", "indices"])
def test_a_region_in_a_palette_or_in_bits_is_read(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(INSIDE) if mode == "bits" else Image.fromarray(INSIDE.astype(np.uint8))
    if mode != "bits":
        image.putpalette([0, 0, 0, 255, 255, 255] if mode == "grey palette" else [9, 0, 0, 0, 200, 0])
    image.save(tmp_path / "r.png")
    np.testing.assert_array_equal(region(tmp_path / "r.png"), INSIDE)


@pytest.mark.parametrize("value", [0, 255])
def test_a_region_may_lie_in_the_transparency(tmp_path: Path, value: int) -> None:
    Image.fromarray(np.stack([np.full(INSIDE.shape, value, np.uint8), INSIDE * np.uint8(255)], -1)).save(
        tmp_path / "r.png"
    )
    np.testing.assert_array_equal(region(tmp_path / "r.png"), INSIDE)


def test_scores_and_images_take_the_same_inside_of_a_jpeg_region(tmp_path: Path) -> None:
    for kind in ("images", "masks", "fov"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    Image.fromarray(INSIDE.astype(np.uint8) * 255).save(tmp_path / "data" / "fov" / "a.jpg", quality=50)
    Image.fromarray(INSIDE.astype(np.uint8) * 90).save(tmp_path / "data" / "images" / "a.png")
    Image.fromarray(INSIDE.astype(np.uint8) * 255).save(tmp_path / "data" / "masks" / "a.png")
    dataset = open_dataset(tmp_path / "data")
    inside = load(dataset.cases[0], labels=dataset.labels).region
    assert inside is not None
    assert (inside == INSIDE).mean() > 0.99
    (tmp_path / "masks").mkdir()
    # wrong everywhere outside, where nobody looks
    Image.fromarray(np.full((64, 64), 255, np.uint8)).save(tmp_path / "masks" / "a.png")
    scores = evaluate(tmp_path / "masks", tmp_path / "data", region="dataset", metrics=["dice"]).facts()
    assert scores["mean"]["dice"] > 0.98
