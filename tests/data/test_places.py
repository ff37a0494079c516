"""Paths that are not UTF-8 and names of classes that are no names of folders: handled, or one sentence at the start."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from commands import command
from made import blobs, write
from scantling.core import atomic
from scantling.core.case import Labels
from scantling.core.errors import DataError, FileError
from scantling.core.randomness import seed_of
from scantling.data.dataset import file_hashes, fingerprint, open_dataset
from scantling.data.labels import class_folder, valid_labels
from scantling.evaluation import evaluate
from scantling.inference import predict
from scantling.training import Options, train

BAD = os.fsdecode(b"im\xff")
"""A name that is not UTF-8."""


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """A folder whose name is not UTF-8, with images and masks."""
    try:
        (tmp_path / BAD).mkdir()
    except OSError:
        pytest.skip("this file system only takes names in UTF-8")
    generator = np.random.default_rng(0)
    for name in "abcd":
        mask = blobs((32, 32), generator, 1)
        write(tmp_path / BAD / "images", name, (60 + 90 * mask).astype(np.uint8))
        write(tmp_path / BAD / "masks", name, mask * 255)
    return tmp_path / BAD


def test_a_folder_whose_name_is_not_utf8_is_checked_trained_on_and_predicted(strange: Path, tmp_path: Path) -> None:
    done = command("check", BAD, "--json", "check.json", "--untrusted", folder=tmp_path)
    assert (done.returncode, "im\\udcff" in done.stdout) == (0, True), done.stderr
    assert json.loads((tmp_path / "check.json").read_text())["root"] == BAD
    done = command("check", BAD, "--json", "-", folder=tmp_path)
    assert json.loads(done.stdout[done.stdout.index("{\n") :])["root"] == BAD
    train("unet", [strange], tmp_path / "run", Options(preset="tiny", steps=1, validation=0.0))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["data"][0]["path"] == str(strange)
    done = command("predict", "run", BAD, "--out", f"out{BAD}", "--split", "all", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    done = command("evaluate", f"out{BAD}", BAD, "--json", "s.json", "--csv", "s.csv", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / "s.json").read_text())["cases"]) == 4


def test_hashes_and_json_take_paths_that_are_not_utf8(strange: Path, tmp_path: Path) -> None:
    (strange / "images" / BAD).mkdir()
    (strange / "images" / "a.png").rename(strange / "images" / BAD / "a.png")
    (strange / "scantling.toml").write_text('[[group]]\npattern = "images/{subject}/{id}.png"\n')
    dataset = open_dataset(strange)
    hashes = file_hashes(dataset)
    assert f"images/{BAD}/a.png" in hashes
    assert len(fingerprint(hashes)) == 64
    assert seed_of("split", BAD) != seed_of("split", "im")
    atomic.write_json(tmp_path / "a.json", {"path": strange, "lone": "\ud800"})
    assert json.loads((tmp_path / "a.json").read_text()) == {"path": str(strange), "lone": "\ud800"}


def test_an_image_whose_name_is_not_utf8_is_left_out_with_a_sentence_and_other_files_are_remarks(strange: Path) -> None:
    (strange / "images" / f"{BAD}.txt").write_text("x")
    done = command("check", strange, folder=strange.parent)
    assert (done.returncode, "images/im\\udcff.txt is no image" in done.stdout) == (0, True), done.stderr
    (strange / "images" / "a.png").rename(strange / "images" / f"{BAD}.png")
    done = command("check", strange, folder=strange.parent)
    assert done.returncode == 0, done.stderr
    assert "the id 'im\\udcff' cannot be the name of a file because of '\\udcff'" in done.stdout


# Classes

OVERLAPPING = ("whole/tumor", "tumor core", "a:b")


def nnunet(root: Path, names: tuple[str, ...]) -> Path:
    """Classes that overlap: each has its own value and those after it."""
    generator = np.random.default_rng(0)
    for number in range(4):
        mask = blobs((32, 32), generator, len(names))
        write(root / "imagesTr", f"case{number}_0000", (60 + 40 * mask).astype(np.uint8))
        write(root / "labelsTr", f"case{number}", mask)
    values = {name: list(range(number, len(names) + 1)) for number, name in enumerate(names, start=1)}
    said = {"channel_names": {"0": "grey"}, "labels": {"background": 0, **values}, "file_ending": ".png"}
    (root / "dataset.json").write_text(json.dumps(said))
    return root


def test_a_slash_in_the_name_of_a_class_that_overlaps_is_written_and_read_back(tmp_path: Path) -> None:
    data = nnunet(tmp_path / "data", OVERLAPPING)
    train("unet", [data], tmp_path / "run", Options(preset="tiny", steps=1))
    assert (tmp_path / "run" / "validation" / "whole-tumor").is_dir()
    out = tmp_path / "out"
    done = predict(tmp_path / "run", data, out=out, split="all")
    assert not done.failed
    assert {path.name for path in out.iterdir()} == {"whole-tumor", "tumor core", "a-b", "predictions.json"}
    by_listing = evaluate(out, data).facts()
    assert list(by_listing["classes"]) == list(OVERLAPPING)
    (out / "predictions.json").unlink()
    by_folders = evaluate(out, data, split="all").facts()
    assert by_folders["cases"][0]["classes"] == by_listing["cases"][0]["classes"]


@pytest.mark.parametrize("name", ["..", ".", "", " ", "a\0b", "a\nb", "CON", "x" * 300])
def test_a_class_that_can_name_no_folder_is_refused_at_the_start(tmp_path: Path, name: str) -> None:
    data = nnunet(tmp_path, (name, "core"))
    with pytest.raises(DataError, match=r"dataset\.json: the class .* cannot be the name of a folder.*; rename it"):
        open_dataset(data)


def test_classes_that_overlap_have_folders_of_their_own() -> None:
    def labels(*names: str, overlap: bool = True) -> Labels:
        return Labels(names=names, values=tuple((1,) if overlap else (n,) for n in range(1, len(names) + 1)))

    for names, told in (
        (("a/b", "a-b"), "go into the folder 'a-b', which is that of 'a/b'"),
        (("Tumor", "tumor"), "go into the folder 'tumor', which is that of 'Tumor'"),
        (("core", "Probabilities"), "which is Scantling's own"),
    ):
        with pytest.raises(DataError, match=told):
            valid_labels(labels(*names), "m")
        valid_labels(labels(*names, overlap=False), "m")


@pytest.mark.parametrize("name", ["../../etc", "/etc/passwd", "..\\..\\x", "a/../../b", ".hidden", "~/x", "c:\\x"])
def test_no_class_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    try:
        folder = class_folder(name)
    except FileError:
        return
    assert (tmp_path / folder).resolve().parent == tmp_path.resolve()
    assert not folder.startswith(".")
