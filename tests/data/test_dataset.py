"""Layouts, labels, splits, samples and traits of small folders whose truth is known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from made import write
from scantling.core.case import IGNORE, Address, Case, Labels, Origin
from scantling.core.errors import DataError, FileError
from scantling.data.dataset import Dataset, file_hashes, fingerprint, join, open_dataset
from scantling.data.label_source import find_labels
from scantling.data.labels import encode, merge_labels
from scantling.data.loading import load
from scantling.data.traits import measure_traits


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        Image.fromarray(array).save(path)
    return path


def volume(path: Path, array: np.ndarray, *, spacing: float = 1.0, shift: float = 0.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[0, 3] = shift
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def grey(seed: int, shape: tuple[int, ...] = (12, 10)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def disc(value: int = 255, shape: tuple[int, ...] = (12, 10)) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[3:6, 2:7] = value
    return mask


def folder(root: Path, ids: Iterable[str], *, labelled: Iterable[str] | None = None, value: int = 255) -> Path:
    """Paired folders of grey images; all labelled unless said."""
    names = list(ids)
    for number, id in enumerate(names):
        save(root / "images" / f"{id}.png", grey(number))
        if labelled is None or id in set(labelled):
            save(root / "masks" / f"{id}.png", disc(value))
    return root


# Layouts


def test_paired_folders_pair_by_stem_whatever_the_suffix(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.jpg", grey(0))
    save(tmp_path / "images" / "b.png", grey(1))
    for role in ("masks", "masks-2nd", "masks-3rd", "fov", "instances"):
        save(tmp_path / role / "a.png", disc())
    dataset = open_dataset(tmp_path)
    a, b = dataset.cases
    assert (a.id, a.subject) == ("a", "a")
    assert [str(mask) for mask in a.masks] == [
        str(tmp_path / role / "a.png") for role in ("masks", "masks-2nd", "masks-3rd")
    ]
    assert (a.region, a.instances) == (Address(tmp_path / "fov" / "a.png"), Address(tmp_path / "instances" / "a.png"))
    assert b.images
    assert not b.masks


def test_folders_of_splits_give_the_split(tmp_path: Path) -> None:
    for split, ids in (("train", "ab"), ("validation", "c"), ("test", "d")):
        folder(tmp_path / split, ids)
    dataset = open_dataset(tmp_path)
    assert {case.id: case.split for case in dataset.cases} == {
        "a": "train",
        "b": "train",
        "c": "validation",
        "d": "test",
    }
    assert dataset.parted


def test_names_that_are_used_in_two_splits_get_their_split_in_front(tmp_path: Path) -> None:
    folder(tmp_path / "train", ["1", "2"])
    folder(tmp_path / "test", ["1"])
    dataset = open_dataset(tmp_path)
    assert [(case.id, case.subject) for case in dataset.cases] == [("test_1",) * 2, ("train_1",) * 2, ("train_2",) * 2]


@pytest.mark.parametrize("ending", ["_mask", "_seg", "_segmentation", "_label"])
def test_a_mask_may_be_named_after_its_image_with_an_ending(tmp_path: Path, ending: str) -> None:
    save(tmp_path / "images" / "a.png", grey(0))
    save(tmp_path / "masks" / f"a{ending}.png", disc())
    assert open_dataset(tmp_path).cases[0].masks == (Address(tmp_path / "masks" / f"a{ending}.png"),)


def test_two_masks_that_may_belong_to_one_image_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", grey(0))
    for name in ("a", "a_mask"):
        save(tmp_path / "masks" / f"{name}.png", disc())
    with pytest.raises(DataError, match=r"a\.png and a_mask\.png may belong to a"):
        open_dataset(tmp_path)


def test_masks_of_which_none_pairs_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", grey(0))
    save(tmp_path / "masks" / "manual1.png", disc())
    with pytest.raises(DataError, match=r"no file pairs with an image \(found manual1\.png"):
        open_dataset(tmp_path)


def test_two_images_of_one_stem_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", grey(0))
    save(tmp_path / "images" / "a.jpg", grey(0))
    with pytest.raises(DataError, match="same stem"):
        open_dataset(tmp_path)


def test_a_plain_folder_a_file_and_a_pattern_are_unlabelled_cases(tmp_path: Path) -> None:
    for id in "abc":
        save(tmp_path / f"{id}.png", grey(0))
    assert [case.id for case in open_dataset(tmp_path).cases] == ["a", "b", "c"]
    assert open_dataset(tmp_path).labels is None
    assert [case.id for case in open_dataset(tmp_path / "b.png").cases] == ["b"]
    assert [case.id for case in open_dataset(tmp_path / "[ac].png").cases] == ["a", "c"]


def test_nothing_to_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("x")
    with pytest.raises(DataError, match=r"found no images; expected folders 'images' and 'masks'"):
        open_dataset(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        open_dataset(tmp_path / "absent")


def test_a_table_gives_the_class_of_each_image(tmp_path: Path) -> None:
    folder(tmp_path, "abc", labelled=[])
    (tmp_path / "labels.csv").write_text("stem,label,width\na,benign,10\nb,malignant,10\nz,benign,10\n")
    dataset = open_dataset(tmp_path)
    assert [case.image_class for case in dataset.cases] == ["benign", "malignant", None]
    assert [(remark.level, remark.kind) for remark in dataset.remarks if remark.kind != "split"] == [
        ("warning", "without image")
    ]


def test_columns_of_0_and_1_are_classes_and_a_row_of_0_is_another_class(tmp_path: Path) -> None:
    folder(tmp_path, "abc")
    (tmp_path / "labels.csv").write_text("stem,width,melanoma,keratosis\na,300,0.0,1.0\nb,300,1.0,0.0\nc,300,0.0,0.0\n")
    assert [case.image_class for case in open_dataset(tmp_path).cases] == ["keratosis", "melanoma", "other"]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("stem,x,y\na,1,1\n", "line 2 gives 'a' the classes x, y"),
        ("stem,label\na,x\na,y\n", "line 3 gives 'a' a second class"),
    ],
)
def test_a_table_that_says_two_things_is_refused(tmp_path: Path, table: str, told: str) -> None:
    folder(tmp_path, "a")
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(FileError, match=told):
        open_dataset(tmp_path)


@pytest.mark.parametrize("table", ["label\n1\n", "stem,width\na,300\n"])
def test_a_table_that_is_about_something_else_is_left_out_with_a_warning(tmp_path: Path, table: str) -> None:
    folder(tmp_path, "ab")
    (tmp_path / "labels.csv").write_text(table)
    dataset = open_dataset(tmp_path)
    assert [case.image_class for case in dataset.cases] == [None, None]
    assert any("the table has the columns" in one.sentence for one in dataset.remarks if one.level == "warning")


def test_an_image_and_a_mask_alone_in_a_folder_belong_together(tmp_path: Path) -> None:
    for name in ("scan", "seg"):
        save(tmp_path / f"{name}.png", grey(0))
    (case,) = open_dataset(tmp_path).cases
    assert (case.id, [mask.path.name for mask in case.masks if isinstance(mask, Address)]) == ("scan", ["seg.png"])


def nnunet(root: Path, *, channels: int = 2, test: bool = True) -> Path:
    for part, ids in (("Tr", ("a", "b")), ("Ts", ("c",) if test else ())):
        for id in ids:
            for channel in range(channels):
                volume(root / f"images{part}" / f"{id}_{channel:04d}.nii.gz", grey(channel, (5, 6, 4)))
    for id, value in (("a", 1), ("b", 3)):
        volume(root / "labelsTr" / f"{id}.nii.gz", disc(value, (7, 8, 1))[1:6, 1:7].repeat(4, axis=2))
    said = {
        "channel_names": {str(number): ("T1", "T2")[number] for number in range(channels)},
        "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "ignore": 4},
        "file_ending": ".nii.gz",
        "numTraining": 2,
    }
    (root / "dataset.json").write_text(json.dumps(said))
    return root


def test_nnunet_raw_gives_channels_regions_ignore_and_split(tmp_path: Path) -> None:
    dataset = open_dataset(nnunet(tmp_path))
    assert {case.id: case.split for case in dataset.cases} == {"a": "train", "b": "train", "c": "test"}
    assert list(dataset.cases[0].images) == ["T1", "T2"]
    labels = dataset.labels
    assert labels == Labels(names=("whole", "core"), values=((1, 2, 3), (2, 3)), ignore=4)
    assert not labels.exclusive
    traits = measure_traits(dataset)
    assert traits.channels == ("T1", "T2")
    sample = load(dataset.cases[1], labels=labels, channels=traits.channels)
    assert sample.image.shape == (2, 5, 6, 4)
    assert sample.masks[0].shape == (2, 5, 6, 4)
    assert sample.masks[0].sum() > 0
    assert np.array_equal(sample.masks[0][0], sample.masks[0][1])  # the value 3 is in both regions
    first = load(dataset.cases[0], labels=labels).masks[0]
    assert first[0].any()
    assert not first[1].any()  # the value 1 is not in the core


def test_nnunet_without_a_channel_is_refused(tmp_path: Path) -> None:
    (nnunet(tmp_path) / "imagesTr" / "b_0001.nii.gz").unlink()
    with pytest.raises(DataError, match=r"there is no b_0001\.nii\.gz \(T2\)"):
        open_dataset(tmp_path)


def test_a_dataset_json_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"modality": {"0": "MRI"}}')
    with pytest.raises(FileError, match=r"no dataset\.json of nnU-Net"):
        open_dataset(tmp_path)


# Labels


@pytest.mark.parametrize(
    ("values", "names", "found"),
    [
        ([(0, 255)], ("foreground",), ((255,),)),
        ([(0, 1)], ("foreground",), ((1,),)),
        ([(0, 1), (0, 255)], ("foreground",), ((255, 1),)),
        ([(0, 1), (0, 2, 3)], ("class-1", "class-2", "class-3"), ((1,), (2,), (3,))),
        ([(0, 1, 4)], ("class-1", "class-4"), ((1,), (4,))),
        ([(0,)], ("foreground",), ((255,),)),
    ],
)
def test_labels_are_found_in_the_values(
    tmp_path: Path, values: list[tuple[int, ...]], names: tuple[str, ...], found: tuple[tuple[int, ...], ...]
) -> None:
    masks = [
        Address(save(tmp_path / f"{number}.png", np.resize(np.array(those, np.uint8), (4, 4))))
        for number, those in enumerate(values)
    ]
    assert find_labels(masks).labels == Labels(names=names, values=found)


def test_grey_and_jpeg_masks_are_no_label_maps(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds 256 different values.*'threshold'"):
        find_labels([Address(save(tmp_path / "a.png", np.arange(256, dtype=np.uint8).reshape(16, 16)))])
    with pytest.raises(DataError, match=r"JPEG.*'threshold'"):
        find_labels([Address(save(tmp_path / "a.jpg", grey(0)))])


def test_labels_come_from_training_masks_and_other_values_are_errors(tmp_path: Path) -> None:
    folder(tmp_path / "train", "ab")
    folder(tmp_path / "test", "c", value=7)
    dataset = open_dataset(tmp_path)
    assert dataset.labels == Labels(names=("foreground",), values=((255,),))
    with pytest.raises(DataError, match=r"c\.png: the mask holds the value 7, which is unknown; expected 0, 255"):
        load(next(case for case in dataset.cases if case.id == "c"), labels=dataset.labels)


def test_who_reads_only_images_opens_no_mask(tmp_path: Path) -> None:
    folder(tmp_path, "abcde")
    for path in (tmp_path / "masks").iterdir():
        path.write_bytes(b"no image")
    dataset = open_dataset(tmp_path)
    traits = measure_traits(dataset, reads=("image",))
    assert traits.labels is None
    assert load(dataset.cases[0], channels=traits.channels, reads=("image",)).image.shape == (1, 12, 10)
    assert not any("masks" in path for path in file_hashes(dataset, reads=("image",)))
    with pytest.raises(FileError):
        load(dataset.cases[0], labels=Labels(names=("v",), values=((255,),)), reads=("image", "mask"))


def test_encoding_gives_class_numbers_background_and_ignore() -> None:
    labels = Labels(names=("x", "y"), values=((2, 41), (-3,)), ignore=9, background=(0, 5))
    array = np.array([[0, 5, 2], [41, -3, 9]], np.int32)
    assert encode(array, labels, "m").tolist() == [[[0, 0, 1], [1, 2, IGNORE]]]
    with pytest.raises(DataError, match="the values 6, 7, which are unknown"):
        encode(np.array([[6, 7]], np.int32), labels, "m")
    with pytest.raises(DataError, match="the value 2000000000, which is unknown"):
        encode(np.array([[0, 2_000_000_000]], np.int32), labels, "m")


def test_joined_labels_keep_every_value_that_means_a_class() -> None:
    one, other = Labels(names=("v",), values=((255,),)), Labels(names=("foreground",), values=((1,),))
    assert merge_labels([(one, False), (other, True), (None, True)]) == Labels(names=("v",), values=((255, 1),))
    with pytest.raises(DataError, match="different classes"):
        merge_labels([(one, False), (Labels(names=("w",), values=((1,),)), False)])
    swapped = Labels(names=("a", "b"), values=((2,), (1,)))
    with pytest.raises(DataError, match="one value means different classes"):
        merge_labels([(Labels(names=("a", "b"), values=((1,), (2,))), False), (swapped, False)])


# Samples


def case_of(path: Path, **fields: object) -> Case:
    return replace(Case(id="a", subject="a", images={"image": Address(path)}), **fields)  # type: ignore[arg-type]


LABELS = Labels(names=("foreground",), values=((255,),))


def test_channels_become_what_is_wanted(tmp_path: Path) -> None:
    plain, colour = grey(0), grey(1, (12, 10, 3))
    one, three = case_of(save(tmp_path / "a.png", plain)), case_of(save(tmp_path / "b.png", colour))
    fake = case_of(save(tmp_path / "c.png", np.repeat(plain[..., None], 3, axis=2)))
    rgb, single = ("red", "green", "blue"), ("grey",)
    assert np.array_equal(load(one, channels=rgb).image, np.repeat(plain[None], 3, axis=0))
    assert np.array_equal(load(three, channels=rgb).image, np.moveaxis(colour, -1, 0))
    assert np.array_equal(load(fake, channels=single).image[0], plain)
    # ITU-R BT.601 written out
    luma = 0.299 * colour[..., 0] + 0.587 * colour[..., 1] + 0.114 * colour[..., 2]
    np.testing.assert_allclose(load(three, channels=single).image[0], luma, rtol=1e-6)
    assert load(one).image.dtype == plain.dtype
    with pytest.raises(DataError, match=r"found 3 channels \(red, green, blue\); expected 2"):
        load(three, channels=("a", "b"))


def test_several_images_are_stacked_in_the_order_of_the_names(tmp_path: Path) -> None:
    images = {name: Address(save(tmp_path / f"{name}.npy", grey(number))) for number, name in enumerate(("t1", "t2"))}
    case = Case(id="a", subject="a", images=images)
    assert np.array_equal(load(case, channels=("t2", "t1")).image, np.stack([grey(1), grey(0)]))
    assert np.array_equal(load(case).image, np.stack([grey(0), grey(1)]))
    with pytest.raises(DataError, match=r"it has the images t1, t2; expected the channels t1, flair"):
        load(case, channels=("t1", "flair"))


def test_files_that_disagree_in_shape_or_place_are_refused(tmp_path: Path) -> None:
    image = save(tmp_path / "a.png", grey(0))
    mask = Address(save(tmp_path / "m.png", disc(shape=(10, 12))))
    with pytest.raises(DataError, match=r"m\.png.*found 10 x 12 pixels, expected 12 x 10"):
        load(case_of(image, masks=(mask,)), labels=LABELS)
    scan = volume(tmp_path / "a.nii.gz", grey(0, (4, 5, 6)), spacing=2.0)
    for shift, fits in ((0.01, True), (0.5, True), (9.0, False)):
        there = Address(volume(tmp_path / "m.nii.gz", np.zeros((4, 5, 6), np.uint8), spacing=2.0, shift=shift))
        if fits:
            assert load(case_of(scan, masks=(there,)), labels=LABELS).masks[0].shape == (1, 4, 5, 6)
        else:
            with pytest.raises(DataError, match=r"grid lies up to 9 mm away.* holds 0% of the image"):
                load(case_of(scan, masks=(there,)), labels=LABELS)


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    array = grey(0).astype(np.float32)
    array[2, 3] = np.nan
    array[4, 5] = np.inf
    with pytest.raises(FileError, match="2 of 120 values are NaN or infinite"):
        load(case_of(save(tmp_path / "a.npy", array)))


def test_a_threshold_makes_grey_masks_binary(tmp_path: Path) -> None:
    values = grey(3)
    case = replace(Case(id="a", subject="a", masks=(Address(save(tmp_path / "m.png", values)),)), threshold=128)
    sample = load(case, labels=LABELS)
    assert np.array_equal(sample.masks[0][0], values >= 128)
    assert sample.image.shape == (0, 12, 10)


def test_masks_of_overlapping_classes_are_stacked(tmp_path: Path) -> None:
    whole, core = disc(255), np.zeros((12, 10), np.uint8)
    core[4, 3] = 1
    layers = {"whole": Address(save(tmp_path / "w.png", whole)), "core": Address(save(tmp_path / "c.png", core))}
    labels = Labels(names=("core", "whole"), values=((), ()))
    found = load(Case(id="a", subject="a", masks=(layers,)), labels=labels).masks[0]
    assert np.array_equal(found, np.stack([core != 0, whole != 0]))


def test_scribbles_are_unknown_where_nothing_was_drawn(tmp_path: Path) -> None:
    drawn = np.full((12, 10), 4, np.uint8)
    drawn[0], drawn[1] = 0, 1
    case = case_of(save(tmp_path / "a.png", grey(0)), scribbles=Address(save(tmp_path / "s.png", drawn)))
    labels = Labels(names=("v",), values=((1,),), ignore=4)
    found = load(case, labels=labels).scribbles
    assert found is not None
    assert (set(found[0, 0]), set(found[0, 1]), set(found[0, 2])) == ({0}, {1}, {IGNORE})
    with pytest.raises(DataError, match="nothing drawn here"):
        load(case, labels=Labels(names=("v",), values=((1,),)))


def test_a_spacing_of_the_manifest_replaces_that_of_the_file(tmp_path: Path) -> None:
    scan = volume(tmp_path / "a.nii.gz", grey(0, (4, 5, 6)), spacing=2.0)
    geometry = load(case_of(scan, spacing=(1.0, 2.0, 8.0))).geometry
    assert geometry.spacing == (1.0, 2.0, 8.0)
    assert geometry.affine is not None
    np.testing.assert_allclose(np.diag(geometry.affine), (1.0, 2.0, 8.0, 1.0))
    with pytest.raises(DataError, match="a spacing for 2 axes; expected 3"):
        load(case_of(scan, spacing=(1.0, 2.0)))


# Traits


def test_traits_are_those_of_all_training_pixels_inside_the_region(tmp_path: Path) -> None:
    pixels, held, shares = [], [], []
    for number, shape in enumerate([(12, 10), (16, 10), (20, 30)]):
        values = grey(number, shape)
        region = np.zeros(shape, np.uint8)
        region[2:9, 1:8] = 255
        save(tmp_path / "train" / "images" / f"{number}.png", values)
        save(tmp_path / "train" / "fov" / f"{number}.png", region)
        if number:
            save(tmp_path / "train" / "masks" / f"{number}.png", disc(shape=shape))
            shares.append(disc(shape=shape).ravel() == 255)
        pixels.append(values[region == 255])
        held.append(shape)
    folder(tmp_path / "test", "x")
    save(tmp_path / "test" / "fov" / "x.png", disc())
    traits = measure_traits(open_dataset(tmp_path))
    every = np.concatenate(pixels).astype(np.float64)
    found = traits.intensity[0]
    np.testing.assert_allclose((found.mean, found.std), (every.mean(), every.std()), rtol=1e-12)
    assert (found.minimum, found.maximum) == (every.min(), every.max())
    np.testing.assert_allclose((found.low, found.high), np.percentile(every, (0.5, 99.5)))
    assert (traits.shape, traits.smallest) == ((16, 10), (12, 10))
    assert traits.foreground == (pytest.approx(np.concatenate(shares).mean()),)
    assert (traits.labelled, traits.unlabelled, traits.regions) == (2, 1, True)
    assert (traits.channels, traits.dimensions) == (("grey",), 2)


def test_one_colour_image_makes_the_data_coloured(tmp_path: Path) -> None:
    plain, colour = grey(0), grey(1, (12, 10, 3))
    save(tmp_path / "train" / "a.png", plain)
    save(tmp_path / "train" / "b.png", np.repeat(plain[..., None], 3, axis=2))
    assert measure_traits(open_dataset(tmp_path)).channels == ("grey",)
    save(tmp_path / "train" / "c.png", colour)
    traits = measure_traits(open_dataset(tmp_path))
    assert traits.channels == ("red", "green", "blue")
    green = np.concatenate([plain.ravel(), plain.ravel(), colour[..., 1].ravel()])
    assert traits.intensity[1].mean == pytest.approx(green.mean())


def test_percentiles_of_many_pixels_are_those_of_an_even_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scantling.data.traits.MOST_VALUES", 20_000)
    every = []
    for number in range(3):
        every.append(save(tmp_path / "train" / f"{number}.npy", grey(number, (200, 200)).astype(np.float32)))
    found = measure_traits(open_dataset(tmp_path)).intensity[0]
    exact = np.concatenate([np.load(path).ravel() for path in every])
    assert found.mean == pytest.approx(exact.astype(np.float64).mean())
    np.testing.assert_allclose((found.low, found.high), np.percentile(exact, (0.5, 99.5)), atol=1)


def test_traits_do_not_depend_on_the_order_of_work(tmp_path: Path) -> None:
    folder(tmp_path, "abcdefgh")
    dataset = open_dataset(tmp_path)
    assert len({measure_traits(dataset).model_dump_json() for _ in range(5)}) == 1


def test_progress_is_told_case_by_case(tmp_path: Path) -> None:
    folder(tmp_path / "train", "abcdef")
    told: list[tuple[int, int, str]] = []
    measure_traits(open_dataset(tmp_path), progress=lambda *step: told.append(step))
    assert told == [(number, 6, id) for number, id in enumerate("abcdef", start=1)]


def test_images_of_different_kinds_have_no_common_traits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training case with an image"):
        measure_traits(Dataset("x", tmp_path, ()))
    save(tmp_path / "train" / "a.npy", grey(0))
    save(tmp_path / "train" / "b.npy", grey(0, (4, 12, 10)))
    with pytest.raises(DataError, match="two and with three axes"):
        measure_traits(open_dataset(tmp_path))


# Joined datasets and fingerprints


def test_joined_ids_stay_unless_they_are_used_twice(tmp_path: Path) -> None:
    one, two = open_dataset(folder(tmp_path / "one", "ab")), open_dataset(folder(tmp_path / "two", "bc", value=1))
    joined = join([one, two])
    assert [(case.id, case.subject) for case in joined.cases] == [(id, id) for id in ("a", "one_b", "two_b", "c")]
    assert [case.split for case in joined.cases] == [case.split for part in (one, two) for case in part.cases]
    assert joined.labels == Labels(names=("foreground",), values=((255, 1),))
    assert load(joined.cases[3], labels=joined.labels).masks[0].sum() == 15
    assert join([one]) is one


def test_links_and_parents_follow_renamed_cases(tmp_path: Path) -> None:
    def part(name: str) -> Dataset:
        a = Case(id="a", subject="p", images={"image": Address(tmp_path)}, split="test")
        b = Case(id="b", subject="a", links={"background": "a"}, split="test")
        return Dataset(name, tmp_path, (a, b))

    made = Case(id="s", subject="a", split="train", origin=Origin(kind="synthetic", parents=("c",)))
    other = Case(id="c", subject="c", split="validation")
    joined = join([part("one"), part("two"), Dataset("three", tmp_path, (made,)), Dataset("four", tmp_path, (other,))])
    cases = {case.id: case for case in joined.cases}
    assert cases["one_b"].links == {"background": "one_a"}
    assert cases["one_a"].subject == "p"  # it has a name of its own: the same person in both
    assert cases["s"].split == "validation"  # like its parent in another folder


def test_the_fingerprint_is_that_of_the_bytes(tmp_path: Path) -> None:
    dataset = open_dataset(folder(tmp_path, "ab"))
    hashes = file_hashes(dataset)
    assert sorted(hashes) == ["images/a.png", "images/b.png", "masks/a.png", "masks/b.png"]
    assert hashes["images/a.png"] == hashlib.sha256((tmp_path / "images" / "a.png").read_bytes()).hexdigest()
    before = fingerprint(hashes)
    assert before == fingerprint(file_hashes(open_dataset(tmp_path)))
    save(tmp_path / "images" / "a.png", grey(9))
    assert fingerprint(file_hashes(dataset)) != before


EXPECTED = {
    "acdc": (160, 3, 1), "arcade-stenosis": (58, 2, 1), "brain-mr-sample": (1, 3, 1), "brats-met-sample": (1, 3, 4),
    "brats2015-sample": (2, 3, 2), "busi-classification": (75, 2, 3), "chest-xray": (90, 2, 1), "drive": (40, 2, 3),
    "dsb2018-nuclei": (80, 2, 3), "glas": (44, 2, 3), "isic-2017": (98, 2, 3), "kvasir-seg": (27, 2, 3),
    "msd-hippocampus": (65, 3, 1), "stare": (20, 2, 3), "stu-hospital": (42, 2, 1), "xcad-sample": (8, 2, 1),
}  # fmt: skip
"""Cases, axes and channels, counted from the files by hand."""


@pytest.mark.parametrize("name", EXPECTED)
def test_every_folder_of_the_sample_data_can_be_read(name: str, shared_data: Path) -> None:
    manifest = Path(__file__).resolve().parents[2] / "examples" / "manifests" / f"{name}.toml"
    dataset = open_dataset(shared_data / name, manifest=manifest if manifest.is_file() else None)
    some = sorted(dataset.cases, key=lambda case: case.split == "test")[:8]
    traits = measure_traits(replace(dataset, cases=some))
    assert (len(dataset.cases), traits.dimensions, len(traits.channels)) == EXPECTED[name]
    sample = load(dataset.cases[0], labels=traits.labels, channels=traits.channels)
    assert sample.image.shape == (EXPECTED[name][2], *sample.geometry.shape)
    assert all(mask.shape[1:] == sample.geometry.shape for mask in sample.masks)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("column", ["image", "Filename", "stem"])
def test_a_table_of_classes_is_read_as_a_spreadsheet_writes_it(
    separator: str, encoding: str, column: str, tmp_path: Path
) -> None:
    for number in range(2):
        write(tmp_path / "images", f"c{number}", np.full((8, 8), 90, np.uint8))
    ending = "" if column == "stem" else ".png"
    lines = [
        (column, "class"),
        (f"c0{ending}", "gutartig"),
        (f"c1{ending}", "bösartig, groß" if separator != "," else "böse"),
    ]
    text = "\r\n".join(separator.join(line) for line in lines) + "\r\n"
    (tmp_path / "labels.csv").write_bytes(text.encode(encoding))
    cases = open_dataset(tmp_path).cases
    assert [case.image_class for case in cases] == [line[1] for line in lines[1:]]


@pytest.mark.parametrize(
    "mask", ["{}_mask", "{}_Mask", "{}-label", "mask_{}", "mask{}", "{}_manual1", "{}_segmentation"]
)
def test_masks_that_lie_beside_their_images_are_known_by_their_names(mask: str, tmp_path: Path) -> None:
    for part in ("train", "test"):
        for number in range(3):
            write(tmp_path / part, f"x{number}", np.full((8, 9), 90, np.uint8))
            if number:
                write(tmp_path / part, mask.format(f"x{number}"), np.eye(8, 9, dtype=np.uint8) * 255)
    dataset = open_dataset(tmp_path)
    marked = {(case.split, case.images["image"].path.name, len(case.masks)) for case in dataset.cases}
    assert marked == {(part, f"x{number}.png", int(number > 0)) for part in ("train", "test") for number in range(3)}
    (sentence,) = {remark.sentence for remark in dataset.remarks if "beside it" in remark.sentence}
    assert sentence == f"2 images with a mask beside it by its name (x1, {mask.format('x1')}.png); 1 without"


def test_a_second_mask_beside_an_image_is_said_and_is_no_image(tmp_path: Path) -> None:
    for name in ("benign (1)", "benign (1)_mask", "benign (1)_mask_1", "mask of a carnival"):
        write(tmp_path, name, np.full((8, 9), 90, np.uint8))
    dataset = open_dataset(tmp_path)
    assert {case.id for case in dataset.cases} == {"benign (1)", "mask of a carnival"}
    assert any("benign (1)_mask_1.png" in remark.sentence for remark in dataset.remarks)


def test_masks_beside_images_may_differ_by_a_word_at_any_place(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path, f"volume-{number}", np.full((8, 9), 90, np.uint8))
        write(tmp_path, f"segmentation-{number}", np.eye(8, 9, dtype=np.uint8))
    found = {case.id: [str(mask) for mask in case.masks] for case in open_dataset(tmp_path).cases}
    assert found == {f"volume-{number}": [str(tmp_path / f"segmentation-{number}.png")] for number in range(3)}
