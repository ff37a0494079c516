"""A manifest that `check` writes gives the same data set when it is read, and nothing is written over."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_patients import mask, picture, scan

from scantling.cli.main import main
from scantling.core.errors import DataError, SettingsError
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.manifest_file import place_of, write_manifest


def label_map(path: Path, *values: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros((8, 8), np.uint8)
    for number, value in enumerate(values):
        array[2 * number : 2 * number + 2, 1:4] = value
    Image.fromarray(array).save(path)
    return path


def folders(root: Path) -> None:
    for number in range(5):
        picture(root / "images" / f"c{number}.png", number)
        label_map(root / "masks" / f"c{number}.png", 1, 7)
        label_map(root / "masks-2nd" / f"c{number}.png", 7)
        picture(root / "fov" / f"c{number}.png", 9)
    (root / "labels.csv").write_text('id,class\nc0,benign\nc1,it\'s a "quote"\n')
    (root / "scantling-strata.csv").write_text("id,site\nc0,A\n")


def slices(root: Path) -> None:
    for p in range(4):
        for s in range(2):
            picture(root / "train" / "images" / f"pat{p}_slice{s}.png", 2 * p + s)
            label_map(root / "train" / "masks" / f"pat{p}_slice{s}.png", 255)
    picture(root / "test" / "images" / "pat9_slice1.png", 99)


def classes_in_files(root: Path) -> None:
    for number in range(3):
        scan(root / f"s{number:04d}" / "ct.nii.gz", number)
        for name in ("liver", "spleen")[: 1 + number]:
            mask(root / f"s{number:04d}" / "segmentations" / f"{name}.nii.gz")


def nnunet(root: Path) -> None:
    for number in range(3):
        for channel in range(2):
            picture(root / "imagesTr" / f"c{number}_{channel:04d}.png", number)
        label_map(root / "labelsTr" / f"c{number}.png", 1, 2)
    text = {"channel_names": {"0": "T2", "1": "ADC"}, "file_ending": ".png",
            "labels": {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}}  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(text))


def strange_names(root: Path) -> None:
    for number, name in enumerate(("-dash", "two  words", "{brace}", "[x]", "a'b", "ü#1", "\U0001f600", "x" * 180)):
        picture(root / "images" / f"{name}.png", number)
        label_map(root / "masks" / f"{name}.png", 1)


def one_and_two(root: Path) -> None:
    for number in range(4):
        picture(root / "images" / f"c{number}.png", number)
        array = np.ones((8, 8), np.uint8)
        array[2:5, 2:5] = 2
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(array).save(root / "masks" / f"c{number}.png")


def described(root: Path) -> None:
    for number in range(4):
        np.savez(
            root / f"p{number}.npz", image=np.random.default_rng(number).random((6, 6)), label=np.eye(6, dtype=int)
        )
    text = 'ignore = 4\n[classes]\nwall = 1\n[[group]]\npattern = "{subject}.npz"\nimages = "{path}#image"\n'
    text += 'masks = "{path}#label"\ncaption = "wall, {subject}"\nspacing = [1.5, 2]\npool = "p"\n'
    text += 'links = { other = "p0" }\n[split]\ntest = ["p3"]\n'
    (root / "other.toml").write_text(text)


def same(one: Dataset, other: Dataset) -> None:
    def rows(dataset: Dataset) -> list[object]:
        return [
            (case.id, case.subject, case.image_class, case.caption, case.links, case.strata, case.pool, case.split,
             case.spacing, case.threshold, case.origin, len(case.masks),
             [(role, file.path.resolve(), file.member) for role, file in case.addresses()])
            for case in sorted(dataset.cases, key=lambda case: case.id)
        ]  # fmt: skip

    assert rows(one) == rows(other)
    assert one.labels == other.labels
    assert one.name == other.name


LAYOUTS = (folders, slices, classes_in_files, nnunet, strange_names, one_and_two, described)


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("inside", [True, False])
def test_what_check_writes_is_read_as_the_same_data(make: object, inside: bool, tmp_path: Path) -> None:
    root = tmp_path / "data set"
    root.mkdir()
    make(root)  # type: ignore[operator]
    given = ["--manifest", str(root / "other.toml")] if make is described else []
    before = open_dataset(root, manifest=given[1] if given else None)
    file = [] if inside else [str(tmp_path / "elsewhere" / "set.toml")]
    assert main(["check", str(root), *given, "--write-manifest", *file]) in (0, 1)
    again = open_dataset(root) if inside else open_dataset(file[0])
    assert again.root.resolve() == root.resolve()
    same(again, before)
    written = Path(file[0]) if file else root / "scantling.toml"
    assert written.read_text(encoding="utf-8").startswith("# ")
    assert [path.name for path in written.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("there", ["scantling.toml", "scantling.json"])
def test_no_manifest_is_written_over(there: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        picture(tmp_path / f"c{number}.png", number)
    other = tmp_path / "mine.toml"
    other.write_text("version = 1\n")
    assert main(["check", str(tmp_path), "--write-manifest", str(other)]) == 2
    assert "exists" in capsys.readouterr().err
    assert other.read_text() == "version = 1\n"
    dataset = open_dataset(tmp_path)
    (tmp_path / there).write_text("")
    with pytest.raises(SettingsError, match="exists"):
        place_of(dataset, "")


def test_a_folder_that_cannot_be_written_asks_for_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "c.png")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("scantling.core.atomic.tempfile.mkstemp", refused)
    with pytest.raises(SettingsError, match="name another file"):
        write_manifest(open_dataset(tmp_path), tmp_path / "m.toml", None)


def test_a_name_that_no_manifest_can_hold_is_said(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"im\xff")
    try:
        picture(folder / "images" / "c.png")
    except (OSError, UnicodeError):
        pytest.skip("this file system only takes names in UTF-8")
    with pytest.raises(DataError, match="UTF-8"):
        write_manifest(open_dataset(folder), tmp_path / "m.toml", None)
    assert not (tmp_path / "m.toml").exists()
