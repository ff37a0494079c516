"""Folders that tell objects apart are scored by object; else components stand for objects, and it is said."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scantling.core.atomic import write_json
from scantling.core.errors import SettingsError
from scantling.evaluation.folders import evaluate
from scantling.metrics.instances import instances
from scantling.records.evaluation import EvaluationRecord


def written(folder: Path, masks: dict[str, np.ndarray]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, mask in masks.items():
        Image.fromarray(mask).save(folder / f"{name}.png")
    return folder


def nuclei(shift: int = 0) -> np.ndarray:
    """Objects 3, 1000 and 7 of 36 pixels, the first two touching."""
    numbers = np.zeros((30, 40), np.uint16)
    for number, column in ((3, 2), (1000, 8), (7, 24)):
        numbers[4 + shift : 10 + shift, column : column + 6] = number
    return numbers


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Images with binary masks and instance maps."""
    truth = {"a": nuclei(), "b": nuclei(9), "c": np.zeros((30, 40), np.uint16)}
    written(tmp_path / "data" / "images", {name: (map_ > 0).astype(np.uint8) * 90 for name, map_ in truth.items()})
    written(tmp_path / "data" / "masks", {name: (map_ > 0).astype(np.uint8) * 255 for name, map_ in truth.items()})
    written(tmp_path / "data" / "instances", truth)
    return tmp_path / "data"


def test_instance_maps_are_scored_by_object(data: Path, tmp_path: Path) -> None:
    found = {"a": nuclei(1), "b": nuclei(9), "c": nuclei()}
    found["b"][found["b"] == 1000] = 3
    result = evaluate(written(tmp_path / "out", found), data)
    assert not result.failed
    scores = {case.id: case.scores.mean for case in result.cases}
    measured = {id: instances(found[id], map_) for id, map_ in (("a", nuclei()), ("b", nuclei(9)))}
    for id, one in measured.items():
        for name in ("pq", "sq", "dq", "f1_75", "f1_90", "dsb_ap", "aji", "aji_plus", "object_f1", "object_dice"):
            assert scores[id][name] == pytest.approx(getattr(one, name)), name
        assert scores[id]["object_hausdorff"] == one.object_hausdorff
    assert scores["b"]["dice"] == 1, "the masks are the same; one object is missing"
    assert [scores[id]["count_error"] for id in "abc"] == [0, 1, 3]
    assert math.isnan(scores["c"]["pq"])
    facts = json.loads(json.dumps(result.facts()))
    assert facts["count"]["pq"] == 2
    summed = measured["a"] + measured["b"]
    pooled = facts["objects"][result.classes[0]]
    assert (pooled["true"], pooled["predicted"], pooled["merges"], pooled["splits"]) == (6, 8, 1, 0)
    assert pooled["aji"] < summed.aji, "those of the empty image count among all"
    assert [pooled[f"f1_{percent}"] for percent in (50, 95)] == [2 * 4 / 14, 2 * 1 / 14]
    assert "mask_ap" not in pooled
    table = result.table()
    assert "6 true objects and 8 predicted in all cases together, 1 merge, 0 splits: PQ" in table
    assert "Panoptic quality" in table
    assert not any("components" in note for note in result.notes)
    record = EvaluationRecord.model_validate(facts)
    assert record.cases[0].files.instances == str((data / "instances" / "a.png").resolve())
    assert record.cases[0].files.predicted_instances == str((tmp_path / "out" / "a.png").resolve())


def test_of_masks_components_stand_for_objects_and_it_is_said(data: Path, tmp_path: Path) -> None:
    out = written(
        tmp_path / "out", {name: (nuclei(at) > 0).astype(np.uint8) * 255 for name, at in (("a", 0), ("b", 9))}
    )
    result = evaluate(out, data)
    assert [case.scores.mean["count_error"] for case in result.cases] == [1, 1], "the two that touch are one"
    (note,) = [note for note in result.notes if "components" in note]
    assert note.startswith("The predictions tell no objects apart: connected components (corners count) of the masks")
    masks = tmp_path / "only" / "masks"
    written(masks, {name: (nuclei(at) > 0).astype(np.uint8) * 255 for name, at in (("a", 0), ("b", 9))})
    plain = evaluate(out, masks)
    assert "pq" not in plain.mean, "nobody tells objects apart, and nobody asked"
    asked = evaluate(out, masks, metrics=["pq", "lesion_f1"])
    assert (asked.mean["pq"], asked.mean["lesion_f1"]) == (1, 1)
    assert sum("components" in note for note in asked.notes) == 2


def test_one_number_for_two_objects_is_split_and_it_is_said(data: Path, tmp_path: Path) -> None:
    found = {"a": np.where(nuclei() == 7, 3, nuclei()).astype(np.uint16), "b": nuclei(9)}
    result = evaluate(written(tmp_path / "out", found), data)
    assert result.mean["pq"] == 1
    assert (
        "In the predictions, 1 number marked several separate objects each, which were taken apart: a." in result.notes
    )


def listed(out: Path, found: dict[str, np.ndarray], objects: dict[str, list[dict[str, Any]]], *, maps: bool) -> Path:
    """A folder as `predict` writes it."""
    written(out, {name: (map_ > 0).astype(np.uint8) * 255 for name, map_ in found.items()})
    (out / "instances").mkdir()
    for name, rows in objects.items():
        write_json(out / "instances" / f"{name}.json", {"id": name, "shape": [30, 40], "objects": rows})
    if maps:
        written(out / "instances", found)
    cases = [
        {"id": name, "mask": f"{name}.png"}
        | {"files": [*([f"instances/{name}.png"] if maps else []), f"instances/{name}.json"]}
        for name in found
    ]
    write_json(out / "predictions.json", {"version": 1, "classes": ["foreground"], "values": [[255]], "cases": cases})
    return out


def test_objects_with_scores_are_ranked(data: Path, tmp_path: Path) -> None:
    found = {"a": nuclei(1), "b": nuclei(9), "c": np.zeros((30, 40), np.uint16)}
    rows = [
        {"class": "foreground", "score": s, "box": [[0, 1], [0, 1]], "number": n}
        for n, s in ((3, 0.9), (1000, 0.2), (7, 0.5))
    ]
    result = evaluate(listed(tmp_path / "out", found, {"a": rows, "b": rows, "c": []}, maps=True), data)
    assert not result.failed
    table = np.zeros(1001)
    table[[3, 1000, 7]] = 0.9, 0.2, 0.5
    parts = [instances(found[id], truth, scores=table) for id, truth in (("a", nuclei()), ("b", nuclei(9)))]
    pooled = result.facts()["objects"]["foreground"]
    assert pooled["mask_ap"] == pytest.approx((parts[0] + parts[1]).mask_ap)
    assert "COCO mask AP" in result.table()
    write_json(tmp_path / "out" / "instances" / "b.json", {"id": "b", "shape": [30, 40], "objects": rows[:2]})
    (failure,) = evaluate(tmp_path / "out", data).failed
    assert "lacks 1 object of b.png (7)" in failure.error
    write_json(tmp_path / "out" / "instances" / "b.json", {"id": "b", "objects": [{"number": "x"}]})
    (failure,) = evaluate(tmp_path / "out", data).failed
    assert "is no list of objects" in failure.error


def test_objects_that_overlap_are_drawn_with_the_better_one_on_top(data: Path, tmp_path: Path) -> None:
    found = {"a": nuclei(), "b": nuclei(9)}
    rows = {}
    for name, at in (("a", 0), ("b", 9)):
        whole = {"class": "foreground", "box": [[0, 1], [0, 1]], "shape": [6, 6], "run_lengths": [0, 36]}
        rows[name] = [
            whole | {"score": score, "at": [4 + at, column]} for score, column in ((0.9, 2), (0.8, 8), (0.7, 24))
        ]
        rows[name] += [whole | {"score": 0.1, "at": [4 + at, 5]}]
    result = evaluate(listed(tmp_path / "out", found, rows, maps=False), data)
    assert not result.failed
    assert result.mean["pq"] == 1, "of the fourth nothing is seen"
    assert "Predicted objects overlap in 2 cases; the one with the better score lies on top: a, b." in result.notes
    rows["b"][0]["at"] = [28, 2]
    out = listed(tmp_path / "beyond", found, rows, maps=False)
    assert "object 1 leaves the picture" in evaluate(out, data).failed[0].error


def test_classes_of_objects_are_those_of_most_of_their_pixels(tmp_path: Path) -> None:
    classes = np.where(nuclei() == 7, 2, nuclei() > 0).astype(np.uint8)
    classes[4, 24] = 1
    root = tmp_path / "data"
    for folder, map_ in (("images", classes * 9), ("masks", classes), ("instances", nuclei())):
        written(root / folder, {"a": map_})
    out = written(tmp_path / "out", {"a": classes})
    written(out / "instances", {"a": np.where(nuclei() == 1000, 3, nuclei()).astype(np.uint16)})
    result = evaluate(out, root)
    assert not result.failed
    by_class = result.cases[0].scores.classes
    assert [scores["pq"] for scores in by_class.values()] == [0, 1]
    assert [scores["count_error"] for scores in by_class.values()] == [1, 0]


def test_what_is_not_known_of_objects_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no metric is called aij"):
        evaluate(written(tmp_path / "out", {"a": nuclei()}), data, metrics=["aij"])


def test_where_only_some_objects_are_drawn_others_are_no_false_ones(data: Path, tmp_path: Path) -> None:
    some = np.where(nuclei() == 1000, 0, nuclei()).astype(np.uint16)
    written(data / "instances", {"a": some})
    written(data / "masks", {"a": (some > 0).astype(np.uint8) * 255})
    group = "masks = 'masks/{id}.png'\ninstances = 'instances/{id}.png'\nknown = 'masks/{id}.png'\n"
    (data / "scantling.toml").write_text(
        f"classes = {{ nucleus = 255 }}\n[[group]]\npattern = 'images/{{id}}.png'\n{group}"
    )
    found = nuclei()
    found[20:24, 20:24] = 9
    result = evaluate(written(tmp_path / "out", {"a": found}), data)
    assert not result.failed
    assert (result.mean["pq"], result.mean["count_error"]) == (1, 0)
