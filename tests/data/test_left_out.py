"""What a folder holds is read, or it is said that it was left out; a part that cannot be read costs that part alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_files_dicom import SLICE, save, series

from scantling.core.errors import DataError, FileError
from scantling.data.contents import entries
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.integrity import check
from scantling.inference.mending import mend_folder
from scantling.methods.catalogue import card_of
from scantling.training.material import open_material
from scantling.training.options import Options

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)


def image(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    return path


def ids(dataset: Dataset) -> set[str]:
    return {case.id for case in dataset.cases}


def remarks(dataset: Dataset) -> str:
    return "\n".join(f"{remark.level} {remark.kind}: {remark.sentence}" for remark in dataset.remarks)


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No folder called lost+found can be listed, and no file with "closed" in its name can be opened."""
    listdir, scandir, opened = os.listdir, os.scandir, Path.open

    def refused(path: object) -> None:
        if "lost+found" in str(path):
            raise PermissionError(13, "Permission denied", str(path))

    def listed(path: str = ".") -> list[str]:
        refused(path)
        return listdir(path)

    def scanned(path: str = ".") -> object:
        refused(path)
        return scandir(path)

    def opening(path: Path, *mode: object, **more: object) -> object:
        if "closed" in path.name and mode == ("rb",):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *mode, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "listdir", listed)
    monkeypatch.setattr(os, "scandir", scanned)
    monkeypatch.setattr(Path, "open", opening)
    yield
    monkeypatch.undo()


NAMES = ("notice_001", "license_plate", "Readme", "changelog-2", "copying", "citation3", "source.md")


@pytest.mark.parametrize("layout", ["images", "plain", "nnunet", "manifest"])
def test_images_named_like_documentation_are_images(tmp_path: Path, layout: str) -> None:
    folder = {"images": tmp_path / "images", "nnunet": tmp_path / "imagesTr"}.get(layout, tmp_path)
    end = "_0000.png" if layout == "nnunet" else ".png"
    for number, name in enumerate(NAMES):
        image(folder / f"{name}{end}", number)
    (folder / "README.txt").write_text("how these were made")
    (folder / "LICENSE").write_text("CC0")
    if layout == "nnunet":
        said = {"channel_names": {"0": "grey"}, "labels": {}, "file_ending": ".png"}
        (tmp_path / "dataset.json").write_text(json.dumps(said))
    if layout == "manifest":
        (tmp_path / "scantling.toml").write_text('[[group]]\npattern = "{id}.png"\n')
    dataset = open_dataset(tmp_path)
    assert ids(dataset) == set(NAMES)
    assert not [remark for remark in dataset.remarks if remark.kind != "split"]


def test_a_series_in_a_folder_named_like_documentation_is_an_image(tmp_path: Path) -> None:
    for name in ("a", "notice_001"):
        (tmp_path / name).mkdir()
        series(tmp_path / name, [0.0, 1.0])
    assert ids(open_dataset(tmp_path)) == {"a", "notice_001"}


def test_one_dicom_file_among_pictures_does_not_make_the_folder_a_series(tmp_path: Path) -> None:
    for number, name in enumerate("abc"):
        image(tmp_path / f"{name}.png", number)
    save(tmp_path / "d.dcm", SLICE)
    assert ids(open_dataset(tmp_path)) == {"a", "b", "c", "d"}
    inside = tmp_path / "inside"
    for number, name in enumerate("abc"):
        image(inside / "images" / f"{name}.png", number)
    save(inside / "d.dcm", SLICE)
    dataset = open_dataset(inside)
    assert ids(dataset) == {"a", "b", "c"}
    assert "note unused files: d.dcm is not part of the layout and was left out" in remarks(dataset)


def test_what_lies_beside_the_slices_of_a_series_is_told(tmp_path: Path) -> None:
    one = tmp_path / "scans" / "one"
    one.parent.mkdir()
    series(one, [0.0, 1.0, 2.0])
    image(one / "preview.png")
    (one / "second").mkdir()
    for root in (one, one.parent):
        dataset = open_dataset(root)
        assert ids(dataset) == {"one"}
        prefix = "one/" if root != one else ""
        assert f"{prefix}preview.png, {prefix}second are no DICOM file and were left out" in remarks(dataset)
    (one.parent / "scantling.toml").write_text('[[group]]\npattern = "{id}"\n')
    dataset = open_dataset(one.parent)
    assert ids(dataset) == {"one"}
    assert "in no case (one/preview.png)" in remarks(dataset)


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize("layout", ["images", "plain", "manifest"])
def test_what_cannot_be_listed_or_opened_is_told_and_the_rest_is_done(tmp_path: Path, layout: str) -> None:
    folder = tmp_path / "images" if layout == "images" else tmp_path
    for number, name in enumerate(("a", "b", "closed")):
        image(folder / f"{name}.png", number)
    (folder / "lost+found").mkdir()
    (folder / "closed").write_text("x")
    if layout == "manifest":
        (tmp_path / "scantling.toml").write_text('[[group]]\npattern = "{id}.png"\n')
    dataset = open_dataset(tmp_path)
    assert ids(dataset) == {"a", "b", "closed"}
    assert "lost+found is a folder that cannot be listed and was left out" in remarks(dataset)
    found = check(dataset)
    unreadable = [finding for finding in found.findings if finding.level == "error"]
    assert [finding.cases for finding in unreadable] == [("closed",)]
    assert "closed.png: cannot be read (Permission denied)" in unreadable[0].sentence
    assert found.summary.shape is not None


@pytest.mark.usefixtures("closed")
def test_a_series_with_a_slice_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    series(tmp_path / "one", [0.0, 1.0, 2.0])
    (tmp_path / "one" / "900.dcm").rename(tmp_path / "one" / "closed.dcm")
    image(tmp_path / "two.png")
    dataset = open_dataset(tmp_path)
    assert ids(dataset) == {"one", "two"}
    errors = [finding for finding in check(dataset).findings if finding.kind == "unreadable"]
    assert [finding.cases for finding in errors] == [("one",)]
    assert "Permission denied" in errors[0].sentence


def test_a_folder_that_can_be_listed_and_not_entered_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_file = Path.is_file

    def refused(path: Path) -> bool:
        if path.parent.name == "stray":
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    image(tmp_path / "a.png")
    image(tmp_path / "stray" / "b.png")
    monkeypatch.setattr(Path, "is_file", refused)
    dataset = open_dataset(tmp_path)
    assert ids(dataset) == {"a"}
    assert "stray is not part of the layout and was left out" in remarks(dataset)


@pytest.mark.usefixtures("closed")
def test_a_folder_that_is_needed_and_cannot_be_listed_is_one_sentence(tmp_path: Path) -> None:
    root = tmp_path / "lost+found"
    image(root / "a.png")
    with pytest.raises(FileError, match=r"lost\+found: the folder cannot be listed \(Permission denied\)"):
        next(entries(root))
    (tmp_path / "m.toml").write_text('root = "lost+found"\n[[group]]\npattern = "{id}.png"\n')
    with pytest.raises(FileError, match="cannot be listed"):
        open_dataset(tmp_path / "m.toml")


def test_links_that_lead_nowhere_are_told_of_their_case(tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        image(tmp_path / "images" / f"{name}.png", number)
        image(tmp_path / "masks" / f"{name}.png", number)
    (tmp_path / "images" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "images" / "loop.png").symlink_to(tmp_path / "images" / "loop.png")
    (tmp_path / "masks" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    manifest = tmp_path / "scantling.toml"
    for text in ("", '[[group]]\npattern = "images/{id}.png"\nid = "{id}"\nmasks = "masks/{id}.png"\n'):
        if text:
            manifest.write_text(text)
            with pytest.raises(DataError, match=r"'images/loop.png' is a symbolic link that leaves .* leads nowhere"):
                open_dataset(tmp_path)
            (tmp_path / "images" / "loop.png").unlink()
        dataset = open_dataset(tmp_path)
        case = next(case for case in dataset.cases if case.id == "gone")
        assert case.masks, "a mask that leads nowhere is no missing mask"
        told = {finding.cases for finding in check(dataset).findings if finding.kind == "unreadable"}
        assert told == ({("gone",)} if text else {("gone",), ("loop",)})


def test_folders_that_a_pattern_reaches_through_a_link_only_are_told(tmp_path: Path) -> None:
    image(tmp_path / "one" / "a.png")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    (tmp_path / "scantling.toml").write_text('[[group]]\npattern = "{subject}/{id}.png"\n')
    assert "two is a link to a folder and was left out" in remarks(open_dataset(tmp_path))


def test_nnunet_tells_what_is_no_image_of_a_channel_and_masks_without_an_image(tmp_path: Path) -> None:
    said = {"channel_names": {"0": "T1"}, "labels": {"background": 0, "a": 1}, "file_ending": ".png"}
    for name in ("imagesTr/p_0000.png", "imagesTr/p_0001.png", "imagesTr/q.png", "labelsTr/p.png", "labelsTr/r.png"):
        image(tmp_path / name)
    (tmp_path / "dataset.json").write_text(json.dumps(said))
    (tmp_path / "labelsTr" / "p.png").unlink()
    (tmp_path / "labelsTr" / "p.png").symlink_to(tmp_path / "nowhere.png")
    dataset = open_dataset(tmp_path)
    assert ids(dataset) == {"p"}
    assert dataset.cases[0].masks
    told = remarks(dataset)
    assert "imagesTr/p_0001.png, imagesTr/q.png are no image of a channel in dataset.json (CASE_0000.png)" in told
    assert "warning without image: labelsTr/r.png is without an image and was left out" in told


def test_subjects_of_the_stored_split_that_are_gone_are_told(tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        image(tmp_path / f"{name}.png", number)
    (tmp_path / "scantling-split.json").write_text(json.dumps({"train": ["a", "gone"], "test": ["b"]}))
    assert "1 subject of scantling-split.json (gone) not in the data" in remarks(open_dataset(tmp_path))


@pytest.mark.parametrize("layout", ["images", "plain", "nnunet", "patients", "manifest"])
@pytest.mark.parametrize("name", ["a<b>", "con", "x" * 201, "trailing "])
def test_a_name_that_cannot_be_kept_costs_its_case_alone(name: str, layout: str, tmp_path: Path) -> None:
    for number, stem in enumerate(("fine", "also fine (2)", name)):
        place = {
            "images": f"images/{stem}.png",
            "plain": f"{stem}.png",
            "nnunet": f"imagesTr/{stem}_0000.png",
            "patients": f"{stem}/ct.png",
            "manifest": f"pictures/{stem}.png",
        }[layout]
        try:
            image(tmp_path / place, number)
        except OSError:
            pytest.skip("this file system has no such names")
    if layout == "nnunet":
        content = {"channel_names": {"0": "red"}, "labels": {"background": 0}, "file_ending": ".png"}
        (tmp_path / "dataset.json").write_text(json.dumps(content))
    if layout == "manifest":
        (tmp_path / "scantling.toml").write_text('[[group]]\npattern = "pictures/{id}.png"\n')
    dataset = open_dataset(tmp_path)
    assert ids(dataset) == {"fine", "also fine (2)"}
    (sentence,) = dataset.unnamed()
    assert f"the id {name!r}" in sentence
    assert sentence in {finding.sentence for finding in check(dataset).of("warning")}


def test_a_folder_of_names_that_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    image(tmp_path / "a<b>.png")
    with pytest.raises(DataError, match="cannot be the name of a file"):
        open_dataset(tmp_path)


def test_training_leaves_out_cases_behind_links_that_lead_nowhere(tmp_path: Path) -> None:
    for number, name in enumerate("abcdef"):
        image(tmp_path / "images" / f"{name}.png", number)
        Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(image(tmp_path / "masks" / f"{name}.png"))
    (tmp_path / "images" / "loop.png").symlink_to("loop.png")
    image(tmp_path / "images" / "gone.png")
    (tmp_path / "masks" / "gone.png").symlink_to("nowhere.png")
    material = open_material(card_of("unet"), [tmp_path], tmp_path.parent / "run", Options())
    assert ids(material.dataset) == set("abcdef")
    (sentence,) = material.remarks
    assert "2 cases left out" in sentence
    assert "loop.png" in sentence
    assert "nowhere" in sentence


def test_maps_behind_links_that_lead_nowhere_fail_and_others_are_mended(tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    for name in ("a", "b<c>"):
        image(maps / f"{name}.png")
    (maps / "loop.png").symlink_to("loop.png")
    done, _, _ = mend_folder(maps, tmp_path / "out", {"rule": "threshold"})
    assert [case["id"] for case in done.cases] == ["a"]
    assert {case["id"] for case in done.failed} == {"b<c>", "loop"}
