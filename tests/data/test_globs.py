"""Patterns of files and folders are opened, several data sets are joined, hidden files are no data, links are followed,
and nothing is ever written into a folder that is read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_patients import picture

from made import blobs, write
from scantling.cli.main import main
from scantling.core.errors import DataError
from scantling.core.outputs import check_record
from scantling.data.dataset import distinct, join, open_dataset
from scantling.records.run import read_run

SYSTEM = (".DS_Store", "._c0.png", "Thumbs.db", "desktop.ini", "ehthumbs.db", "__MACOSX/._c0.png", "__MACOSX/c0.png",
          "@eaDir/c0.png", "System Volume Information/c0.png")  # fmt: skip


def images(folder: Path, count: int = 3, seed: int = 0) -> Path:
    generator = np.random.default_rng(seed)
    for number in range(count):
        mask = blobs((32, 32), generator, 1)
        image = np.clip(60 + 90 * mask + generator.normal(0, 9, mask.shape), 0, 255)
        write(folder / "images", f"c{number}", image.astype(np.uint8))
        write(folder / "masks", f"c{number}", mask * 255)
    return folder


def test_a_pattern_may_stand_for_folders_anywhere_in_a_path(tmp_path: Path) -> None:
    for number in (1, 2):
        images(tmp_path / f"site{number}", seed=number)
    whole = open_dataset(tmp_path / "site*")
    assert {case.id for case in whole.cases} == {f"site{s}_c{n}" for s in (1, 2) for n in range(3)}
    assert all(case.masks for case in whole.cases)
    assert whole.layout == "folders images and masks"
    bare = open_dataset(tmp_path / "site?" / "images")
    assert {case.id for case in bare.cases} == {f"site{s}_c{n}" for s in (1, 2) for n in range(3)}
    files = open_dataset(tmp_path / "*" / "images" / "c[01].png")
    assert {case.id for case in files.cases} == {f"site{s}_c{n}" for s in (1, 2) for n in (0, 1)}
    assert {case.id for case in open_dataset(tmp_path / "site1" / "images" / "*.png").cases} == {"c0", "c1", "c2"}
    with pytest.raises(DataError, match="no such file or folder"):
        open_dataset(tmp_path / "clinic*" / "images")


def test_a_pattern_leaves_out_what_is_no_image_and_a_folder_may_be_called_like_one(tmp_path: Path) -> None:
    images(tmp_path / "[a]*")
    assert len(open_dataset(tmp_path / "[a]*").cases) == 3
    (tmp_path / "[a]*" / "images" / "notes.txt").write_text("x")
    found = open_dataset(tmp_path / "?a??" / "images" / "*")
    assert len(found.cases) == 3
    assert "notes.txt is no image" in " ".join(remark.sentence for remark in found.remarks)
    (tmp_path / "other.txt").write_text("x")
    (tmp_path / "more.txt").write_text("x")
    with pytest.raises(DataError, match="no image among"):
        open_dataset(tmp_path / "*.txt")


def test_several_data_sets_of_one_name_train_together_and_are_known_again(tmp_path: Path) -> None:
    for number in (1, 2):
        images(tmp_path / f"site{number}" / "data", seed=number)
    places = [tmp_path / f"site{number}" / "data" for number in (1, 2)]
    joined = join(distinct([open_dataset(place) for place in places]))
    assert {case.id for case in joined.cases} == {f"site{s}_c{n}" for s in (1, 2) for n in range(3)}
    train = ["train", "unet", "--preset", "tiny", "--steps", "1", "--validation", "0"]
    one, other = tmp_path / "one", tmp_path / "other"
    assert main([*train, "--data", str(places[0]), "--data", str(places[1]), "--out", str(one)]) == 0
    assert main([*train, "--data", str(tmp_path / "site*" / "data"), "--out", str(other)]) == 0
    assert read_run(one).split == read_run(other).split
    assert [part.name for part in read_run(one).data] == ["site1", "site2"]
    masks = tmp_path / "masks"
    assert main(["predict", str(one), str(places[0]), "--out", str(masks)]) == 0
    tested = {case.id.removeprefix("site1_") for case in joined.cases if case.split == "test"}
    assert {path.stem for path in masks.glob("*.png")} == tested & {"c0", "c1", "c2"}


@pytest.mark.parametrize("layout", ["images", ".", "s01", "manifest", "nnunet"])
def test_hidden_and_system_files_are_no_data_and_need_no_remark(layout: str, tmp_path: Path) -> None:
    where = {"images": "images", "s01": "s01", "manifest": "a", "nnunet": "imagesTr"}.get(layout, ".")
    names = ("c0_0000.png", "c1_0000.png") if layout == "nnunet" else ("c0.png", "c1.png")
    for number, name in enumerate(names):
        picture(tmp_path / where / name, number)
    for folder in {where, "."}:
        for name in SYSTEM:
            picture(tmp_path / folder / name) if name.endswith(".png") else (tmp_path / folder / name).write_text("x")
    if layout == "manifest":
        (tmp_path / "scantling.toml").write_text('[[group]]\npattern = "*/{id}.png"\n')
    if layout == "nnunet":
        text = '{"channel_names": {"0": "x"}, "labels": {"background": 0}, "file_ending": ".png"}'
        (tmp_path / "dataset.json").write_text(text)
    dataset = open_dataset(tmp_path)
    assert [path.name for path in dataset.files()] == [*names]
    assert [remark for remark in dataset.remarks if remark.kind in ("unused files", "without image")] == []


def test_an_output_folder_with_files_of_the_system_is_empty(tmp_path: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / name).write_text("x")
    check_record(tmp_path, "predictions.json")


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    real = images(tmp_path / "real")
    links = tmp_path / "links"
    for kind in ("images", "masks"):
        (links / kind).mkdir(parents=True)
        for number in range(3):
            os.symlink(real / kind / f"c{number}.png", links / kind / f"l{number}.png")
    assert [(case.id, len(case.masks)) for case in open_dataset(links).cases] == [(f"l{n}", 1) for n in range(3)]
    os.symlink(real, tmp_path / "whole")
    assert len(open_dataset(tmp_path / "whole").cases) == 3
    os.symlink("loop.png", links / "images" / "loop.png")
    assert main(["check", str(links)]) == 1


def test_a_folder_that_is_read_is_left_as_it_is(tmp_path: Path) -> None:
    data, run, out = images(tmp_path / "data"), tmp_path / "run", tmp_path / "masks"

    def state() -> list[tuple[str, int, int]]:
        return [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(data.rglob("*"))]

    for folder in (data / "images", data / "masks", data):
        folder.chmod(0o555)
    before = state()
    try:
        assert main(["check", str(data), "--json", str(tmp_path / "c.json")]) == 0
        assert main(["train", "unet", "--data", str(data), "--out", str(run), "--preset", "tiny", "--steps", "1",
                     "--validation", "0"]) == 0  # fmt: skip
        assert main(["predict", str(run), str(data), "--split", "all", "--out", str(out)]) == 0
        assert main(["evaluate", str(out), str(data), "--split", "all"]) == 0
        assert state() == before
    finally:
        for folder in (data, data / "images", data / "masks"):
            folder.chmod(0o755)


def test_one_bad_name_costs_its_own_image(tmp_path: Path) -> None:
    for name in ("a<b>", "plain", "x y (2)"):
        try:
            Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / f"{name}.png")
        except OSError:
            pytest.skip("this file system does not take such names")
    dataset = open_dataset(tmp_path)
    assert [case.id for case in dataset.cases] == ["plain", "x y (2)"]
    assert "a<b>" in dataset.unnamed()[0]
