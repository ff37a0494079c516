"""Folders of images and of masks are known by the names that people give them, with the splits above or below."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_patients import names, picture, said

from scantling.core.case import Address
from scantling.core.errors import DataError
from scantling.data.dataset import open_dataset
from scantling.data.files import read_labels


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images", "masks"), ("Images", "MASKS"), ("image", "mask"), ("imgs", "labels"), ("img", "label"),
        ("input", "gt"), ("x", "y"), ("X", "Y"), ("images", "GroundTruth"), ("images", "annotations"),
        ("images", "segmentations"), ("images", "1st_manual"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("order", ["", "{split}/{kind}", "{kind}/{split}"])
def test_the_two_folders_may_have_other_names(images: str, masks: str, order: str, tmp_path: Path) -> None:
    for number, split in enumerate(("Training", "valid", "testing")):
        for kind in (images, masks):
            picture(tmp_path / (order or "{kind}").format(split=split, kind=kind) / f"c{number}.png", number)
    dataset = open_dataset(tmp_path)
    assert [names(case) for case in sorted(dataset.cases, key=lambda case: case.id)] == [
        ({"image": f"c{number}.png"}, [f"c{number}.png"]) for number in range(3)
    ]
    for case in dataset.cases:
        assert {address.path.parent for _, address in case.addresses()} <= {
            tmp_path / (order or "{kind}").format(split=split, kind=kind)
            for split in ("Training", "valid", "testing")
            for kind in (images, masks)
        }
        (image,), (mask,) = case.images.values(), case.masks
        assert images in image.path.parts
        assert isinstance(mask, Address)
        assert masks in mask.path.parts
    if order:
        assert {case.id: case.split for case in dataset.cases} == {"c0": "train", "c1": "validation", "c2": "test"}
    assert bool(said(dataset)) == ((images, masks) != ("images", "masks"))


def test_mask_beside_1st_manual_is_the_field_of_view(tmp_path: Path) -> None:
    for part, stem in (("training", "21_training"), ("test", "01_test")):
        picture(tmp_path / part / "images" / f"{stem}.tif")
        picture(tmp_path / part / "1st_manual" / f"{stem[:2]}_manual1.gif")
        picture(tmp_path / part / "mask" / f"{stem}_mask.gif")
    picture(tmp_path / "test" / "2nd_manual" / "01_manual2.gif")
    found = {case.id: case for case in open_dataset(tmp_path).cases}
    assert names(found["21_training"]) == ({"image": "21_training.tif"}, ["21_manual1.gif"])
    assert names(found["01_test"]) == ({"image": "01_test.tif"}, ["01_manual1.gif", "01_manual2.gif"])
    for stem, case in found.items():
        assert case.region is not None
        assert case.region.path.name == f"{stem}_mask.gif"
    assert (found["21_training"].split, found["01_test"].split) == ("train", "test")


@pytest.mark.parametrize(
    ("image", "mask"), [("img_{}", "mask_{}"), ("case {} image", "case {} label"), ("x{}", "x{}_y")]
)
def test_names_pair_by_what_is_no_word_for_images_or_masks_or_not_at_all(image: str, mask: str, tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / "images" / f"{image.format(number)}.png", number)
        picture(tmp_path / "labels" / f"{mask.format(number)}.png", number)
    if "y" in mask:
        with pytest.raises(DataError, match="no file pairs with an image"):
            open_dataset(tmp_path)
    else:
        assert [names(case)[1] for case in open_dataset(tmp_path).cases] == [
            [f"{mask.format(n)}.png"] for n in range(3)
        ]


def test_folders_beside_images_that_are_no_masks_change_nothing(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    picture(tmp_path / "masks" / "a.png")
    picture(tmp_path / "mask" / "a.png", 1)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1")
    dataset = open_dataset(tmp_path)
    (case,) = dataset.cases
    assert case.masks == (Address(tmp_path / "masks" / "a.png"),)
    assert case.region is None
    assert any("labels, mask are not part of the layout" in remark.sentence for remark in dataset.remarks)


@pytest.mark.parametrize("split", ["", "train/"])
def test_folders_of_patients_below_images_and_masks_are_subjects(split: str, tmp_path: Path) -> None:
    for patient in ("p0", "p1"):
        for index in range(2):
            for kind in ("images", "masks"):
                picture(tmp_path / kind / f"{split}{patient}" / f"{index}.png", index)
    dataset = open_dataset(tmp_path)
    assert {(case.id, case.subject, len(case.masks)) for case in dataset.cases} == {
        (f"{patient}_{index}", patient, 1) for patient in ("p0", "p1") for index in range(2)
    }


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("{}_images", "{}_masks"), ("{}-img", "{}-gt"), ("images {}", "labels {}"), ("images_{}", "masks_{}"),
        ("{}Images", "{}Masks"), ("{}", "{}_masks"), ("{}", "{}_labels"),
    ],
)  # fmt: skip
def test_folders_may_be_called_after_their_split(images: str, masks: str, tmp_path: Path) -> None:
    for number, split in enumerate(("train", "Val", "test")):
        for kind in (images, masks):
            picture(tmp_path / kind.format(split) / f"c{number}.png", number)
    dataset = open_dataset(tmp_path)
    assert {case.id: (case.split, len(case.masks)) for case in dataset.cases} == {
        "c0": ("train", 1), "c1": ("validation", 1), "c2": ("test", 1)
    }  # fmt: skip
    assert not [remark for remark in dataset.remarks if "not part of the layout" in remark.sentence]


@pytest.mark.parametrize("split", ["train", "training"])
def test_a_folder_around_the_splits_is_looked_into(split: str, tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        picture(tmp_path / "DRIVE" / split / kind / "a.png")
    dataset = open_dataset(tmp_path)
    (case,) = dataset.cases
    assert (case.id, case.split, len(case.masks)) == ("a", "train", 1)
    assert (dataset.name, dataset.root) == (tmp_path.name, tmp_path)


@pytest.mark.parametrize(("images", "masks"), [("Original", "Ground Truth"), ("raw", "labels"), ("scans", "seg")])
def test_the_only_other_folder_beside_one_of_masks_holds_the_images(images: str, masks: str, tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / images / f"{number}.png", number)
        picture(tmp_path / masks / f"{number}.png", number)
    assert all(case.images and case.masks for case in open_dataset(tmp_path).cases)
    picture(tmp_path / "more" / "0.png")
    assert not any(case.images for case in open_dataset(tmp_path).cases)


@pytest.mark.parametrize(("images", "masks"), [("slices", "vessels"), ("images", "vessels"), ("trainx", "trainy")])
def test_a_folder_of_label_maps_with_the_names_of_the_images_is_said(
    images: str, masks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scantling.data.twins.read_labels", lambda path, *, untrusted: read_labels(path))
    for number in range(3):
        path = tmp_path / images / f"{number}.png"
        picture(path, number)
        Image.fromarray(np.arange(64 * 64, dtype=np.uint32).reshape(64, 64).astype(np.uint8)).save(path)
        (tmp_path / masks).mkdir(exist_ok=True)
        Image.fromarray(np.eye(64, dtype=np.uint8) * 255).save(tmp_path / masks / f"{number}.png")
    warnings = [remark.sentence for remark in open_dataset(tmp_path).remarks if remark.level == "warning"]
    assert len(warnings) == 1
    assert f"the files in {masks} are called like those in {images} and have few values" in warnings[0]


def test_a_folder_of_instances_alone_holds_the_masks(tmp_path: Path) -> None:
    for kind in ("images", "instances"):
        picture(tmp_path / kind / "a.png")
    (case,) = open_dataset(tmp_path).cases
    assert case.masks == (case.instances,) == (Address(tmp_path / "instances" / "a.png"),)
