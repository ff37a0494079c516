"""What is exported for QuPath and COCO holds exactly the pixels of the objects, by our reader and by pycocotools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import scantling
from scantling.core.atomic import write_json
from scantling.core.errors import RunError, SettingsError
from scantling.data.annotations import coco, qupath
from scantling.data.annotations.shapes import covered
from scantling.data.annotations.writing import polygons
from scantling.evaluation.exported_objects import export_objects
from scantling.records.record import read_json


def objects_map() -> np.ndarray:
    """A ring with a hole, an object of two squares that touch at a corner, and one at the border."""
    numbers = np.zeros((14, 17), np.uint8)
    numbers[2:8, 2:8] = 1
    numbers[4:6, 4:6] = 0
    numbers[3, 3] = 0  # the hole touches another at a corner
    numbers[9:11, 2:4] = numbers[11:13, 4:6] = 2
    numbers[0:3, 12:] = 4
    return numbers


@pytest.fixture
def predicted(tmp_path: Path) -> Path:
    out = tmp_path / "out"
    (out / "instances").mkdir(parents=True)
    for id in ("a", "b"):
        Image.fromarray((objects_map() > 0).astype(np.uint8) * 255).save(out / f"{id}.png")
    Image.fromarray(objects_map()).save(out / "instances" / "a.png")
    rows = [{"class": "nucleus", "score": n / 10, "box": [[0, 1], [0, 1]], "number": n} for n in (1, 2, 4)]
    write_json(out / "instances" / "a.json", {"id": "a", "shape": [14, 17], "objects": rows})
    cases = [
        {"id": "a", "mask": "a.png", "files": ["instances/a.png", "instances/a.json"]},
        {"id": "b", "mask": "b.png"},
    ]
    write_json(out / "predictions.json", {"version": 1, "classes": ["nucleus"], "values": [[255]], "cases": cases})
    return out


def drawn(objects: tuple[object, ...]) -> list[np.ndarray]:
    found = []
    for one in objects:
        mask = np.zeros((14, 17), bool)
        for area in one.areas:  # type: ignore[attr-defined]
            place, inside = covered(area, mask.shape)
            mask[place] |= inside
        found.append(mask)
    return found


def test_geojson_for_qupath_holds_the_pixels_of_each_object(predicted: Path, tmp_path: Path) -> None:
    facts = scantling.export(predicted, tmp_path / "q", to="qupath")
    assert (facts["cases"], facts["objects"], facts["failed"]) == (2, 6, [])
    assert facts["notes"] == ["1 prediction without objects: connected components of the masks stand for them."]
    content = read_json(tmp_path / "q" / "a.geojson")
    assert [one["geometry"]["type"] for one in content["features"]] == ["Polygon", "MultiPolygon", "Polygon"]
    assert len(content["features"][0]["geometry"]["coordinates"]) == 3, "an outer ring and two holes"
    assert content["features"][1]["properties"] == {
        "objectType": "detection", "classification": {"name": "nucleus"}, "measurements": {"score": 0.2},
    }  # fmt: skip
    (image,) = qupath.parse(content).images
    masks = drawn(image.objects)
    assert all(np.array_equal(mask, objects_map() == number) for mask, number in zip(masks, (1, 2, 4), strict=True))
    assert {one.label for one in image.objects} == {"nucleus"}
    assert export_objects(predicted, tmp_path / "q", form="qupath") == facts, "the same command goes on"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pycocotools with NumPy 2
def test_coco_holds_the_pixels_of_each_object(predicted: Path, tmp_path: Path) -> None:
    export_objects(predicted, tmp_path / "c", form="coco")
    content = read_json(tmp_path / "c" / "objects.json")
    assert [one["id"] for one in content["annotations"]] == [1, 2, 3, 4, 5, 6]
    assert [one.get("score") for one in content["annotations"]] == [0.1, 0.2, 0.4, None, None, None]
    first, second = coco.parse(content).images
    for image in (first, second):
        masks = drawn(image.objects)
        sizes = sorted((int(mask.sum()), mask.tolist()) for mask in masks)
        assert sizes == sorted((int(true.sum()), true.tolist()) for true in (objects_map() == n for n in (1, 2, 4)))
    last = content["annotations"][2]
    assert (last["bbox"], last["area"]) == ([12, 0, 5, 3], 15)
    theirs = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    runs = theirs.frPyObjects(last["segmentation"], 14, 17)
    assert np.array_equal(theirs.decode(runs) > 0, objects_map() == 4)


def test_rings_of_random_masks_cover_exactly_their_pixels() -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        mask = draw.random((9, 11)) < draw.random()
        content = [
            {"type": "Feature", "geometry": {"type": "MultiPolygon", "coordinates": polygons(mask)}, "properties": {}}
        ]
        found = np.zeros((14, 17), bool)
        found[:9, :11] = mask
        objects = qupath.parse(content).images[0].objects
        assert not objects or np.array_equal(drawn(objects)[0], found)


def test_what_cannot_be_exported_is_said(predicted: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no predictions"):
        export_objects(tmp_path, tmp_path / "x", form="coco")
    export_objects(predicted, tmp_path / "q", form="qupath")
    with pytest.raises(SettingsError, match="holds another export"):
        export_objects(predicted, tmp_path / "q", form="coco")
    (predicted / "instances" / "a.json").write_text("{}")
    facts = export_objects(predicted, tmp_path / "y", form="coco")
    assert len(facts["failed"]) == 1
    assert facts["failed"][0].startswith("a: ")
