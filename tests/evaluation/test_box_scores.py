"""Boxes of a folder of predictions against those of a data set."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from scantling.core.atomic import write_json
from scantling.data.dataset import open_dataset
from scantling.evaluation.boxes import evaluate_boxes, finds_boxes
from scantling.evaluation.everything import evaluate_everything

TRUE = {"a": [[[2, 8], [2, 8]]], "b": [[[10, 14], [10, 14]], [[0, 4], [0, 4]]], "c": []}
FOUND = {"a": [(0.9, [[2, 8], [2, 8]])], "b": [(0.8, [[10, 14], [10, 14]]), (0.7, [[20, 24], [20, 24]])], "c": []}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Predictions and a data set of pictures with boxes alone."""
    data, out = tmp_path / "data", tmp_path / "found"
    cases, listed = [], []
    (data / "images").mkdir(parents=True)
    for name, boxes in TRUE.items():
        Image.fromarray(np.full((32, 32), 9, np.uint8)).save(data / "images" / f"{name}.png")
        cases.append({"id": name, "subject": name, "images": {"image": f"images/{name}.png"}, "boxes": boxes})
        objects = [{"class": "spot", "score": score, "box": box} for score, box in FOUND[name]]
        write_json(out / "instances" / f"{name}.json", {"id": name, "shape": [32, 32], "objects": objects})
        listed.append({"id": name, "files": [f"instances/{name}.json"]})
    write_json(data / "scantling.json", {"name": "spots", "classes": {"spot": 255}, "case": cases})
    write_json(out / "predictions.json", {"classes": ["spot"], "values": [[255]], "cases": listed})
    return out, data


def test_boxes_are_scored_over_all_cases_and_alone_where_there_is_no_mask(folders: tuple[Path, Path]) -> None:
    found = evaluate_everything(*folders, split="all")
    assert found.masks is None
    assert found.boxes is not None
    scores = {name: one.value for name, one in found.boxes.estimates.items()}
    # Two of three are found before any false alarm: the precision is 1 at sensitivities up to 2/3, 67 of 101.
    assert scores == pytest.approx({"ap50": 67 / 101, "ap": 67 / 101, "box_iou": 1.0, "froc": 2 / 3})
    record = found.record().facts()["boxes"]
    assert [(case["found"], case["true"], case["matched"]) for case in record["cases"]] == [
        (1, 1, 1),
        (2, 2, 1),
        (0, 0, 0),
    ]
    assert "Sensitivity at false alarms an image" in found.table()
    assert json.dumps(record)


def test_a_case_that_was_not_predicted_and_a_broken_list_are_named(folders: tuple[Path, Path]) -> None:
    out, data = folders
    (out / "instances" / "b.json").write_text("{")
    found = evaluate_boxes(out, open_dataset(data), split="all")
    assert [one.id for one in found.failed] == ["b"]
    assert "no list of objects" in found.failed[0].error
    assert len(found.cases) == 2


def test_boxes_around_the_masks_of_a_volume_stand_as_its_file_has_them(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "found"
    mask = np.zeros((12, 10, 6), np.uint8)
    mask[1:4, 2:8, 0:3] = 1
    for folder, array in (("images", mask.astype(np.float32)), ("masks", mask)):
        (data / folder).mkdir(parents=True)
        nib.save(nib.Nifti1Image(array, np.diag([-1.0, 2.0, -1.0, 1.0])), data / folder / "a.nii.gz")
    files = {"images": {"image": "images/a.nii.gz"}, "masks": ["masks/a.nii.gz"]}
    write_json(
        data / "scantling.json", {"name": "a", "classes": {"spot": 1}, "case": [{"id": "a", "subject": "a", **files}]}
    )
    objects = [{"class": "spot", "score": 0.9, "box": [[1, 4], [2, 8], [0, 3]]}]
    write_json(out / "instances" / "a.json", {"id": "a", "shape": [12, 10, 6], "objects": objects})
    listed = [{"id": "a", "files": ["instances/a.json"]}]
    write_json(out / "predictions.json", {"classes": ["spot"], "values": [[1]], "cases": listed})
    found = evaluate_boxes(out, open_dataset(data), split="all")
    assert found.boxes_from == "mask"
    assert found.whole.box_iou == 1


def test_objects_without_a_score_are_no_answer_of_a_detector(folders: tuple[Path, Path]) -> None:
    out, _ = folders
    assert finds_boxes(out)
    for path in (out / "instances").iterdir():
        content = json.loads(path.read_text())
        for one in content["objects"]:
            del one["score"]
        write_json(path, content)
    assert not finds_boxes(out)


def test_where_nothing_was_found_anywhere_everything_was_missed(folders: tuple[Path, Path]) -> None:
    out, data = folders
    for path in (out / "instances").iterdir():
        write_json(path, json.loads(path.read_text()) | {"objects": []})
    found = evaluate_everything(out, data, split="all")
    assert found.boxes is not None
    scores = {name: one.value for name, one in found.boxes.estimates.items()}
    assert scores == pytest.approx({"ap50": 0.0, "ap": 0.0, "box_iou": np.nan, "froc": 0.0}, nan_ok=True)


def test_boxes_of_other_axes_than_the_true_ones_are_named(folders: tuple[Path, Path]) -> None:
    out, data = folders
    content = json.loads((out / "instances" / "a.json").read_text())
    content["objects"][0]["box"] = [[0, 1], [2, 8], [2, 8]]
    write_json(out / "instances" / "a.json", content)
    failed = evaluate_boxes(out, open_dataset(data), split="all").failed
    assert [one.id for one in failed] == ["a"]
    assert "boxes of 3 axes, and true ones of 2" in failed[0].error
