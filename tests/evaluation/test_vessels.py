"""`scantling vessels`: the branches of masks in folders, data sets and predictions, as CSV and JSON."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

import scantling
from commands import command


def bars(folder: Path, names: tuple[str, ...] = ("a", "b")) -> Path:
    """Masks with a bar of 60 x 4 pixels each."""
    folder.mkdir(parents=True)
    mask = np.zeros((40, 80), np.uint8)
    mask[10:14, 10:70] = 255
    for name in names:
        Image.fromarray(mask).save(folder / f"{name}.png")
    return folder


def rows_of(table: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(table.read_text().splitlines()))


def test_a_folder_of_masks_becomes_a_table(tmp_path: Path) -> None:
    masks = bars(tmp_path / "masks")
    done = command("vessels", masks, "--out", tmp_path / "b.csv", "--json", tmp_path / "b.json")
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "b.csv")
    assert [(row["case"], row["branch"], row["kind"], row["unit"]) for row in rows] == [
        ("a", "1", "whole", "pixel"), ("b", "1", "whole", "pixel"),
    ]  # fmt: skip
    assert float(rows[0]["radius"]) == pytest.approx(2, rel=0.05)
    facts = json.loads((tmp_path / "b.json").read_text())
    assert [case["ends"] for case in facts["cases"]] == [2, 2]
    assert facts["cases"][0]["coverage"] == pytest.approx(240 / 3200)
    assert "lengths in pixels" in done.stdout


def test_volumes_are_measured_in_mm(tmp_path: Path) -> None:
    mask = np.zeros((20, 20, 60), np.uint8)
    mask[8:13, 8:13, 5:55] = 1
    (tmp_path / "masks").mkdir()
    nib.save(nib.Nifti1Image(mask, np.diag([0.5, 0.5, 2.0, 1.0])), tmp_path / "masks" / "p1.nii.gz")
    found = scantling.vessels(tmp_path / "masks")
    (case,) = found.cases
    assert case.unit == "mm"
    (rod,) = case.found.branches
    assert 85 < rod.length <= 100
    assert rod.radius == pytest.approx(1.25, rel=0.05)


def test_where_nothing_is_known_nothing_is_measured(tmp_path: Path) -> None:
    masks = bars(tmp_path / "data" / "train" / "masks", ("a",))
    mask = np.array(Image.open(masks / "a.png")) // 255
    mask[:, 40:] = 255
    Image.fromarray(mask).save(masks / "a.png")
    (tmp_path / "data" / "train" / "images").mkdir()
    Image.fromarray(mask).save(tmp_path / "data" / "train" / "images" / "a.png")
    (tmp_path / "data" / "scantling.toml").write_text("classes = { vessel = 1 }\nignore = 255\n")
    (case,) = scantling.vessels(tmp_path / "data").cases
    assert case.found.region == 40 * 40
    assert case.facts()["coverage"] == pytest.approx(4 * 30 / 1600)


def test_a_mask_that_cannot_be_read_is_named_and_the_rest_stands(tmp_path: Path) -> None:
    masks = bars(tmp_path / "masks")
    (masks / "b.png").write_bytes((masks / "b.png").read_bytes()[:60])
    done = command("vessels", masks, "--out", tmp_path / "b.csv")
    assert done.returncode == 1
    assert "b" in done.stderr
    assert [row["case"] for row in rows_of(tmp_path / "b.csv")] == ["a"]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--classes", "artery"), "--classes artery: expected some of"),
        (("--split", "test"), "holds no mask of the split 'test'"),
    ],
)
def test_what_cannot_be_measured_is_said(tmp_path: Path, more: tuple[str, ...], sentence: str) -> None:
    done = command("vessels", bars(tmp_path / "masks"), "--out", tmp_path / "b.csv", *more)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert not (tmp_path / "b.csv").exists()


def test_a_page_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html></html>")
    done = command("vessels", bars(tmp_path / "masks"), "--out", tmp_path / "page.html")
    assert done.returncode == 2
    assert (tmp_path / "page.html").read_text() == "<html></html>"
