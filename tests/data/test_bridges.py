"""Data sets go to MONAI and TorchIO and come back as they were, and a transform stands in front of every method."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, MetaTensor
from monai.transforms import Compose, Lambdad, RandFlipd, ScaleIntensityd, Spacingd

from scantling.core.case import Labels
from scantling.core.errors import DataError, ScantlingError, SettingsError
from scantling.data import exchange
from scantling.data.dataset import Dataset, file_hashes, open_dataset
from scantling.data.hashing import content_of
from scantling.data.items import dataset_from
from scantling.data.loading import load
from scantling.data.orientation import stored_geometry
from scantling.methods.catalogue import CARDS
from scantling.testing.data import make_data

torchio = pytest.importorskip("torchio")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(make_data(CARDS["unet"], tmp_path_factory.mktemp("pictures"), dimensions=2))


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two classes; the second volume is stored left, posterior, superior."""
    folder = make_data(CARDS["unet"], tmp_path_factory.mktemp("volumes"), dimensions=3, classes=2)
    for part in ("images", "masks"):
        path = folder / part / "case1.nii.gz"
        array = np.asarray(nib.load(path).dataobj)
        nib.save(nib.Nifti1Image(array, np.diag([-0.5, -1.0, 2.0, 1.0])), path)
    return open_dataset(folder)


def test_a_monai_data_set_holds_the_numbers_and_the_affine_of_the_files(volumes: Dataset) -> None:
    items = volumes.to_monai("train")
    assert len(items) == len(volumes.split("train"))
    case, item = volumes.split("train")[1], items[1]
    stored = nib.as_closest_canonical(nib.load(case.images["image"].path))
    assert isinstance(item["image"], MetaTensor)
    assert item["image"].dtype == torch.float32
    np.testing.assert_array_equal(item["image"].numpy()[0], stored.get_fdata())
    np.testing.assert_allclose(item["image"].affine.numpy(), stored.affine)
    assert item["label"].unique().tolist() == [0, 1, 2]
    assert (item["id"], item["subject"], item["split"], item["unit"]) == (case.id, case.subject, "train", "mm")


def test_a_loader_of_monai_collates_the_cases(pictures: Dataset) -> None:
    square = Lambdad(["image", "label"], lambda image: image[:, :28, :28])
    batch = next(iter(DataLoader(pictures.to_monai("train", square), batch_size=2)))
    assert batch["image"].shape == batch["label"].shape == (2, 1, 28, 28)
    assert batch["id"] == [case.id for case in pictures.split("train")[:2]]


def test_subjects_of_torchio_are_read_when_they_are_used(volumes: Dataset) -> None:
    subjects = volumes.to_torchio()
    assert not any(image._loaded for subject in subjects.dry_iter() for image in subject.get_images(False))
    subject, case = subjects[1], volumes.cases[1]
    own = torchio.ToCanonical()(torchio.ScalarImage(case.images["image"].path))
    assert torch.equal(subject["image"].data, own.data.float())
    np.testing.assert_allclose(subject["image"].affine, own.affine)
    assert subject["image"].spacing == (0.5, 1.0, 2.0)
    assert isinstance(subject["label"], torchio.LabelMap)
    assert subject["subject"] == case.subject


def test_a_picture_lies_as_torchio_reads_it(pictures: Dataset) -> None:
    subject, case = pictures.to_torchio()[0], pictures.cases[0]
    own = torchio.ScalarImage(case.images["image"].path)
    assert torch.equal(subject["image"].data, own.data.float())
    np.testing.assert_array_equal(subject["image"].affine, own.affine)


def arrays(data: Dataset) -> list[dict[str, Any]]:
    """Plain arrays in the number types of the files, as the rooms see them."""
    samples = [load(case, labels=data.labels) for case in data.cases]
    return [
        {"image": s.image, "label": s.masks[0], "id": s.case.id, "split": s.case.split, "spacing": s.geometry.spacing}
        for s in samples
    ]


@pytest.mark.parametrize("way", ["monai", "list of dictionaries", "torchio", "loaded subjects", "arrays"])
@pytest.mark.parametrize("kind", ["pictures", "volumes"])
def test_what_goes_out_comes_back_as_it_was(way: str, kind: str, request: pytest.FixtureRequest) -> None:
    data: Dataset = request.getfixturevalue(kind)
    items: Mapping[str, Any] = {
        "monai": lambda: data.to_monai(),
        "list of dictionaries": lambda: list(data.to_monai()),
        "torchio": lambda: data.to_torchio(),
        "loaded subjects": lambda: [data.to_torchio()[n] for n in range(len(data.cases))],
        "arrays": lambda: arrays(data),
    }
    back = dataset_from(items[way](), classes=data.labels.names, spatial_dims=3 if kind == "volumes" else 2)
    assert [(case.id, case.subject, case.split) for case in back.cases] == [
        (case.id, case.subject, case.split) for case in data.cases
    ]
    for case, was in zip(back.cases, data.cases, strict=True):
        one, other = load(case, labels=back.labels), load(was, labels=data.labels)
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.masks[0], other.masks[0])
        assert one.geometry.spacing == other.geometry.spacing
        if way != "arrays":  # which have no affine
            assert one.geometry.unit == other.geometry.unit
            assert (one.geometry.affine is None) == (other.geometry.affine is None)


def test_paths_stay_paths_and_name_their_cases(pictures: Dataset) -> None:
    items = [{"image": str(c.images["image"].path), "label": c.masks[0].path} for c in pictures.cases]
    back = dataset_from({"train": items[:4], "test": items[4:]}, classes={"ball": 255})
    assert [case.id for case in back.cases] == [case.id for case in pictures.cases]
    assert [case.split for case in back.cases] == ["train"] * 4 + ["test"] * 2
    assert {*back.files()} == {*pictures.files()}
    assert content_of(back.cases[0]) == content_of(pictures.cases[0])


def test_a_transform_of_a_monai_data_set_is_applied_when_a_case_is_read(pictures: Dataset) -> None:
    back = dataset_from(pictures.to_monai("train", ScaleIntensityd("image")), classes=["ball"])
    sample = load(back.cases[0], labels=back.labels)
    assert (sample.image.min(), sample.image.max()) == (0, 1)


def test_several_images_are_channels_by_their_names_and_several_masks_annotators() -> None:
    one = {key: np.full((8, 9), n, np.int64) for n, key in enumerate(("t1", "flair", "reader 1", "reader 2"))}
    data = dataset_from([one], image=("flair", "t1"), label=("reader 1", "reader 2"), classes=["a", "b", "c"])
    sample = load(data.cases[0], labels=data.labels)
    assert [*data.cases[0].images] == ["flair", "t1"]
    assert sample.image[:, 0, 0].tolist() == [1, 0]
    assert [mask.flat[0] for mask in sample.masks] == [2, 3]


def test_a_mask_with_a_channel_for_each_class_makes_classes_that_overlap() -> None:
    mask = np.stack([np.ones((8, 9)), np.eye(8, 9)]).astype(bool)
    data = dataset_from([{"image": np.zeros((8, 9)), "label": mask}], classes=["whole", "core"])
    assert data.labels is not None
    assert not data.labels.exclusive
    np.testing.assert_array_equal(load(data.cases[0], labels=data.labels).masks[0], mask)


def test_an_affine_to_left_and_posterior_is_that_to_right_and_anterior() -> None:
    values, ras = torch.arange(60.0).reshape(1, 3, 4, 5), np.diag([2.0, 3.0, 4.0, 1.0])
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ras
    tensors = (MetaTensor(values, affine=ras), MetaTensor(values, affine=lps, meta={"space": "LPS"}))
    one, other = (load(dataset_from([{"image": tensor}])[0]) for tensor in tensors)
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.geometry.affine, other.geometry.affine)


def test_the_hash_of_a_case_is_that_of_its_numbers_and_its_place() -> None:
    image = np.arange(72.0).reshape(8, 9)
    same, moved = {"image": image.copy()}, {"image": image, "spacing": (1, 2)}
    other = {"image": image + np.eye(8, 9)}
    hashes = [content_of(dataset_from([item]).cases[0]) for item in ({"image": image}, same, moved, other)]
    assert hashes[0] == hashes[1]
    assert len({*hashes}) == 3
    roots = [dataset_from([item]).root for item in ({"image": image}, same, moved, other)]
    assert roots[0] == roots[1]
    assert len({*roots}) == 3


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        ({"image": np.zeros((30, 40, 50))}, r"volume .* or of an image of 30 channels; pass spatial_dims=3 or"),
        ({"image": np.zeros((30, 40, 3))}, r"channels last"),
        ({"image": np.zeros((2, 1, 8, 8, 8))}, r"without a batch axis"),
        ({"image": np.zeros((8, 9), complex)}, r"whole or real numbers"),
        ({"image": np.zeros((8, 9)), "spacing": (1, 1, 1)}, r"expected 2 numbers above 0, in mm"),
    ],
)
def test_an_array_with_two_readings_is_refused(item: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ScantlingError, match=sentence):
        load(dataset_from([item]).cases[0])


def test_a_mask_of_channels_without_classes_is_refused_and_not_read_as_colours() -> None:
    one_hot = np.stack([np.eye(8, 9), 1 - np.eye(8, 9), np.zeros((8, 9))])
    for classes in ((), ["a", "b"]):
        data = dataset_from([{"image": np.zeros((8, 9)), "label": one_hot}], classes=classes)
        with pytest.raises(ScantlingError, match=r"has 3 channels \(0, 1, 2\); expected one label number"):
            load(data.cases[0], labels=data.labels or Labels(names=("a",), values=((1,),)))


def test_items_that_are_none_are_refused() -> None:
    for items, sentence in (
        ([], "no item"),
        ({"image": np.zeros((8, 9))}, "put a single item into a list"),
        ([{"scan": np.zeros((8, 9))}], "holds scan; expected one of image, label"),
        ([{"image": np.zeros((8, 9)), "split": "dev"}], "'dev'; expected one of train"),
        ([{"image": np.zeros((8, 9)), "id": "a"}] * 2, "two cases have the id 'a'"),
        ([np.zeros((8, 9))], "expected a dictionary or a subject"),
    ):
        with pytest.raises(DataError, match=sentence):
            dataset_from(items)


def test_a_random_transform_is_refused(pictures: Dataset) -> None:
    noise = Lambdad("image", lambda image: image + torch.rand(()))
    for transform in (RandFlipd("image"), Compose([RandFlipd("image")]), torchio.RandomFlip(), noise):
        with pytest.raises(SettingsError, match="augmentation is a setting of the method"):
            pictures.with_transform(transform)
    with pytest.raises(SettingsError, match="RandFlipd"):
        dataset_from(pictures.to_monai(None, RandFlipd("image")))


@pytest.mark.parametrize(
    "transform", [lambda item: item, torchio.Lambda(lambda image: image)], ids=["monai", "torchio"]
)
@pytest.mark.parametrize("kind", ["pictures", "volumes"])
def test_a_transform_that_changes_nothing_leaves_a_case_where_it_was(
    transform: Any, kind: str, request: pytest.FixtureRequest
) -> None:
    data: Dataset = request.getfixturevalue(kind)
    same = data.with_transform(transform)
    assert {*same.files()} == {*data.files()}
    for case, was in zip(same.cases[:2], data.cases[:2], strict=True):
        one, other = load(case, labels=same.labels), load(was, labels=data.labels)
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.masks[0], other.masks[0])
        before, after = stored_geometry(other.geometry), stored_geometry(one.geometry)
        np.testing.assert_array_equal(before.affine, after.affine)
        assert (before.shape, before.spacing, before.unit) == (after.shape, after.spacing, after.unit)


def test_a_transform_changes_the_grid_the_values_and_the_hashes(volumes: Dataset) -> None:
    keys = ["image", "label"]
    steps = Compose([Spacingd(keys, (2, 2, 2), mode=("bilinear", "nearest")), ScaleIntensityd("image")])
    spaced = volumes.with_transform(steps)
    for case in spaced.cases[:2]:
        sample = load(case, labels=spaced.labels)
        assert sample.geometry.spacing == (2, 2, 2)
        assert sample.masks[0].shape[1:] == sample.image.shape[1:] == sample.geometry.shape
        assert (sample.image.min(), sample.image.max()) == (0, 1)
    assert {*file_hashes(spaced).values()}.isdisjoint(file_hashes(volumes).values())
    assert "Spacingd, ScaleIntensityd" in spaced.remarks[-1].sentence


def test_a_transform_that_moves_boxes_or_fails_is_told_of(tmp_path: Path, pictures: Dataset) -> None:
    card = CARDS["unet"].model_copy(update={"needs": (("image", "boxes"),)})
    boxed = open_dataset(make_data(card, tmp_path, dimensions=2))
    with pytest.raises(ScantlingError, match="boxes or points, which it does not move"):
        boxed.with_transform(Lambdad("image", lambda image: image[:, 2:]))
    with pytest.raises(ScantlingError, match=r"case0#.*KeyError.*mend the item or the transform"):
        pictures.with_transform(Lambdad("images", lambda image: image))


def test_without_torchio_a_sentence_says_what_to_install(pictures: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(exchange, "import_module", absent)
    with pytest.raises(SettingsError, match=r"pip install 'scantling\[torchio\]'"):
        pictures.to_torchio()
    assert importlib.import_module("torchio")
