"""Lengths are in mm where a file or the manifest says how large a pixel is, else in pixels; all outputs say which."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage

from reported import page_of
from scantling.cli.main import main
from scantling.evaluation import evaluate
from scantling.experiments.compare import compare
from scantling.records.evaluation import EvaluationRecord
from scantling.records.record import read_record

SPACING = (0.5, 0.25)


def bar(column: int) -> np.ndarray:
    """A mask of 24 x 32 pixels with one upright line, so that two of them lie as far apart as their columns."""
    mask = np.zeros((24, 32), np.uint8)
    mask[4:20, column] = 255
    return mask


def png(path: Path, mask: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)
    return path


def data(root: Path, spacing: Mapping[str, tuple[float, float] | None]) -> Path:
    """Cases with a line in column 10, with the spacing that a manifest gives each of them, or without."""
    entries = []
    for id, one in spacing.items():
        png(root / "images" / f"{id}.png", np.arange(24 * 32, dtype=np.uint8).reshape(24, 32))
        png(root / "masks" / f"{id}.png", bar(10))
        said = f"spacing = [{one[0]}, {one[1]}]\n" if one else ""
        entries.append(
            f'[[case]]\nid = "{id}"\nsubject = "{id}"\nimages = "images/{id}.png"\nmasks = "masks/{id}.png"\n{said}'
        )
    (root / "scantling.toml").write_text("classes = { line = 255 }\n" + "\n".join(entries))
    return root


def answers(root: Path, columns: Mapping[str, int]) -> Path:
    for id, column in columns.items():
        png(root / f"{id}.png", bar(column))
    return root


@pytest.mark.parametrize(("spacing", "hd95", "title"), [(SPACING, 1.0, "mm"), (None, 4.0, "pixels")])
def test_the_same_masks_are_scored_in_the_unit_that_is_known_and_everything_says_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spacing: tuple[float, float] | None, hd95: float, title: str
) -> None:
    truth, predicted = data(tmp_path / "t", dict.fromkeys("ab", spacing)), answers(tmp_path / "p", {"a": 14, "b": 14})
    files = ["--json", str(tmp_path / "s.json"), "--csv", str(tmp_path / "s.csv")]
    assert main(["evaluate", str(predicted), str(truth), "--split", "all", *files]) == 0
    table = capsys.readouterr()
    line = next(line for line in (table.out + table.err).splitlines() if "Hausdorff" in line)
    assert line.startswith(f"95 % Hausdorff distance ({title})  ")
    assert float(line.split()[5]) == hd95
    facts = json.loads((tmp_path / "s.json").read_text())
    unit = "mm" if title == "mm" else "pixel"
    lengths = dict.fromkeys(("hd95", "assd", "nsd"), unit)
    areas = dict.fromkeys(("volume_difference", "absolute_volume_difference"), "mm²" if unit == "mm" else unit)
    assert facts["units"] == lengths | areas
    assert [(case["hd95"], case["unit"]) for case in facts["cases"]] == [(hd95, unit)] * 2
    rows = list(csv.DictReader((tmp_path / "s.csv").read_text().splitlines()))
    assert [(float(row["hd95"]), row["unit"]) for row in rows] == [(hd95, unit)] * 2
    page = page_of(tmp_path / "s.json", out=tmp_path / "page.html").text
    assert f"95 % Hausdorff distance ({title})" in page
    assert f"HD95 ({title})" in page


def test_the_hausdorff_distance_of_an_anisotropic_volume_is_that_of_scipy_in_mm(tmp_path: Path) -> None:
    generator, spacing = np.random.default_rng(3), (0.8, 2.5, 1.2)
    masks = {}
    for name in "tp":
        blobs = ndimage.gaussian_filter(generator.normal(size=(14, 9, 12)), 2)
        masks[name] = blobs > np.quantile(blobs, 0.8)
        (tmp_path / name).mkdir()
        nib.save(nib.Nifti1Image(masks[name].astype(np.uint8), np.diag([*spacing, 1.0])), tmp_path / name / "a.nii.gz")
    found = evaluate(tmp_path / "p", tmp_path / "t")
    borders = {name: mask & ~ndimage.binary_erosion(mask) for name, mask in masks.items()}
    away = {name: ndimage.distance_transform_edt(~border, sampling=spacing) for name, border in borders.items()}
    directed = [np.percentile(away["t"][borders["p"]], 95), np.percentile(away["p"][borders["t"]], 95)]
    assert found.mean["hd95"] == pytest.approx(max(directed))
    assert found.unit == "mm"


def test_of_truth_prediction_and_image_the_one_that_says_its_spacing_wins(tmp_path: Path) -> None:
    # 0.25 mm across, 0.5 mm down
    tagged = {"resolution": (4, 2), "imagej": True, "metadata": {"unit": "mm", "axes": "YX"}}
    for side, which in (("truth", "t"), ("prediction", "p")):
        for name, column in (("t", 10), ("p", 14)):
            path = tmp_path / side / name / "a.tif"
            path.parent.mkdir(parents=True)
            tifffile.imwrite(path, bar(column), **(tagged if name == which else {}))
        found = evaluate(tmp_path / side / "p", tmp_path / side / "t")
        assert (found.mean["hd95"], found.unit) == (pytest.approx(1.0), "mm"), side
    images, masks = tmp_path / "d" / "images", tmp_path / "d" / "masks"
    images.mkdir(parents=True)
    tifffile.imwrite(images / "a.tif", np.arange(24 * 32, dtype=np.uint8).reshape(24, 32), **tagged)
    png(masks / "a.png", bar(10))
    found = evaluate(answers(tmp_path / "q", {"a": 14}), tmp_path / "d")
    assert (found.mean["hd95"], found.unit) == (pytest.approx(1.0), "mm")
    (images / "a.tif").write_bytes(b"II*\0broken")
    assert evaluate(tmp_path / "q", tmp_path / "d").unit == "pixel", "scores need no image"


def test_lengths_in_mm_and_in_pixels_are_never_averaged_together(tmp_path: Path) -> None:
    truth = data(tmp_path / "t", {"a": SPACING, "b": None, "c": SPACING})
    predicted = answers(tmp_path / "p", {"a": 14, "b": 30, "c": 18})
    found = evaluate(predicted, truth, split="all")
    assert found.mean["hd95"] == pytest.approx((1 + 2) / 2)
    assert (found.summary.count["hd95"], found.summary.count["dice"]) == (2, 3)
    (note,) = (note for note in found.notes if "pixels" in note)
    assert "Of 1 case (b) no file says how large a pixel is" in note
    assert "of the other 2, in mm" in note
    record = found.record()
    assert [case.unit for case in record.cases] == ["mm", "pixel", "mm"]
    assert record.cases[1].values["hd95"] == 20, "a case keeps its own value, with its unit"
    record.write(tmp_path / "s.json")
    page = page_of(tmp_path / "s.json", out=tmp_path / "page.html").text
    assert "20.00 pixels" in page
    assert note in page


def test_an_evaluation_that_does_not_say_its_unit_is_shown_as_such(tmp_path: Path) -> None:
    truth, predicted = data(tmp_path / "t", {"a": SPACING}), answers(tmp_path / "p", {"a": 14})
    facts = evaluate(predicted, truth, split="all").facts()
    del facts["units"], facts["cases"][0]["unit"]
    (tmp_path / "old.json").write_text(json.dumps(facts))
    record = read_record(EvaluationRecord, tmp_path / "old.json")
    assert (record.units, record.cases[0].unit) == ({}, None)
    assert "HD95 (mm or pixels)" in page_of(tmp_path / "old.json", out=tmp_path / "page.html").text


def test_evaluations_in_different_units_stand_side_by_side_with_theirs_and_a_warning(tmp_path: Path) -> None:
    for name, spacing in (("mm", SPACING), ("pixel", None)):
        truth = data(tmp_path / name / "t", {"a": spacing, "b": spacing})
        found = evaluate(answers(tmp_path / name / "p", {"a": 14, "b": 14}), truth, split="all")
        found.record().write(tmp_path / f"{name}.json")
    page = page_of(tmp_path / "mm.json", tmp_path / "pixel.json", out=tmp_path / "page.html").text
    assert "1.00 mm" in page
    assert "4.00 pixels" in page
    assert "the unit of 95 % Hausdorff distance, Average surface distance" in page


def test_a_comparison_says_its_unit_and_leaves_out_lengths_in_another(tmp_path: Path) -> None:
    ids = "abcdef"
    truth = data(tmp_path / "t", {id: SPACING if id != "f" else None for id in ids})
    near = answers(tmp_path / "near", dict.fromkeys(ids, 12))
    far = answers(tmp_path / "far", dict.fromkeys(ids, 18))
    found = compare([near, far], truth, split="all", metrics=["hd95", "dice"])
    assert [one.mean["hd95"] for one in found.methods] == pytest.approx([0.5, 2.0])
    assert (found.count, found.units) == ({"hd95": 5, "dice": 6}, {"hd95": "mm"})
    assert "95 % Hausdorff distance (mm)" in found.table()
    assert any("compared in mm, on 5 of 6 cases" in note for note in found.notes)
    assert found.facts()["units"] == {"hd95": "mm"}
    old = evaluate(far, truth, split="all").facts()
    for case in old["cases"]:
        del case["unit"]
    (tmp_path / "old.json").write_text(json.dumps(old | {"units": {}}))
    found = compare([near, tmp_path / "old.json"], truth, split="all", metrics=["dice", "hd95"])
    assert "hd95" not in found.count
    assert any("Distances are not compared" in note for note in found.notes)
