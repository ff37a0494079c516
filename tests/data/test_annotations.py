"""Folders with files of annotations are data sets as they are, and wrong ones end in a sentence."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scantling.core.case import IGNORE, Address, Case
from scantling.core.errors import DataError, FileError, ScantlingError
from scantling.data.dataset import Dataset, file_hashes, open_dataset
from scantling.data.files import parse_address, read, read_labels
from scantling.data.integrity import check
from scantling.data.loading import load

SHAPE = (40, 50)
CELL = (5.0, 8.0, 15.0, 20.0)
"""(left, top, right, bottom)."""
TISSUE = (20.0, 10.0, 45.0, 38.0)

Boxes = dict[str, list[tuple[str, tuple[float, float, float, float]]]]
SCENE: Boxes = {"a": [("tissue", TISSUE), ("cell", CELL)], "b": [("cell", CELL)], "c": []}
"""What is drawn on each listed image, one rectangle each; `d` is on disk alone."""


def picture(path: Path, shape: tuple[int, int] = SHAPE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(path.as_posix().encode())
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)
    return path


def corners(box: tuple[float, float, float, float]) -> list[list[float]]:
    left, top, right, bottom = box
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def flat(box: tuple[float, float, float, float]) -> list[float]:
    return [value for corner in corners(box) for value in corner]


def lengths_of(box: tuple[float, float, float, float], shape: tuple[int, int] = SHAPE) -> list[int]:
    """COCO's run lengths of a box, pixel by pixel down the columns."""
    mask = np.zeros(shape, bool)
    left, top, right, bottom = map(int, box)
    mask[top:bottom, left:right] = True
    values = mask.T.ravel()
    changes = np.flatnonzero(np.diff(values.astype(int))) + 1
    return np.diff([0, *changes, values.size]).tolist() if not values[0] else [0, *np.diff([0, *changes, values.size])]


def coco_of(scene: Boxes, *, kind: str = "polygon", folder: str = "", **more: Any) -> dict[str, Any]:
    def shape(box: tuple[float, float, float, float]) -> Any:
        if kind == "polygon":
            return [flat(box)]
        return {"counts": lengths_of(box), "size": list(SHAPE)} if kind == "runs" else []

    names = ["nothing", "cell", "tissue"]
    left, top = 0, 1
    return {
        "images": [
            {"id": number, "file_name": f"{folder}{name}.png", "height": SHAPE[0], "width": SHAPE[1]}
            for number, name in enumerate(scene)
        ],
        "categories": [{"id": 7 + number, "name": name} for number, name in enumerate(names)],
        "annotations": [
            {
                "id": len(scene) * number + order,
                "image_id": number,
                "category_id": 7 + names.index(label),
                "segmentation": shape(box),
                "bbox": [box[left], box[top], box[2] - box[left], box[3] - box[top]],
                "iscrowd": int(kind == "runs"),
            }
            for number, boxes in enumerate(scene.values())
            for order, (label, box) in enumerate(boxes)
        ],
        **more,
    }


def dump(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def write_coco(folder: Path, scene: Boxes) -> None:
    dump(folder / "annotations" / "instances.json", coco_of(scene))


def write_coco_runs(folder: Path, scene: Boxes) -> None:
    dump(folder / "_annotations.coco.json", coco_of(scene, kind="runs", folder="elsewhere/images/"))


def write_labelme(folder: Path, scene: Boxes) -> None:
    for name, boxes in scene.items():
        shapes = [{"label": label, "points": corners(box), "shape_type": "polygon"} for label, box in boxes]
        content = {"version": "5.0", "shapes": shapes, "imagePath": f"..\\images\\{name}.png", "imageData": None}
        dump(folder / "images" / f"{name}.json", {**content, "imageHeight": SHAPE[0], "imageWidth": SHAPE[1]})


def write_cvat(folder: Path, scene: Boxes) -> None:
    images = ""
    for number, (name, boxes) in enumerate(scene.items()):
        shapes = ""
        for label, box in boxes:
            points = ";".join(f"{x:.2f},{y:.2f}" for x, y in corners(box))
            shapes += f'<polygon label="{label}" points="{points}" z_order="0"/>'
        images += f'<image id="{number}" name="{name}.png" width="{SHAPE[1]}" height="{SHAPE[0]}">{shapes}</image>'
    labels = "".join(f"<label><name>{name}</name></label>" for name in ("nothing", "cell", "tissue"))
    meta = f"<meta><task><labels>{labels}</labels></task></meta>"
    dump(
        folder / "annotations.xml",
        f'<?xml version="1.0"?><annotations><version>1.1</version>{meta}{images}</annotations>',
    )


def write_qupath(folder: Path, scene: Boxes) -> None:
    for name, boxes in scene.items():
        features = [
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [[*corners(box), corners(box)[0]]]},
                "properties": {"objectType": "annotation", "classification": {"name": label, "color": [1, 2, 3]}},
            }
            for label, box in boxes
        ]
        dump(folder / "geojson" / f"{name}.geojson", {"type": "FeatureCollection", "features": features})


def via_region(label: str, box: tuple[float, float, float, float]) -> dict[str, Any]:
    xs, ys = (list(values) for values in zip(*corners(box), strict=True))
    shape = {"name": "polygon", "all_points_x": xs, "all_points_y": ys}
    return {"shape_attributes": shape, "region_attributes": {"note": "x", "Class": label}}


def write_via(folder: Path, scene: Boxes) -> None:
    metadata = {
        f"{name}.png123": {"filename": f"{name}.png", "size": 123, "regions": [via_region(*one) for one in boxes]}
        for name, boxes in scene.items()
    }
    dump(folder / "via_project.json", {"_via_settings": {}, "_via_img_metadata": metadata})


def write_via_table(folder: Path, scene: Boxes) -> None:
    lines = ["filename,file_size,region_count,region_id,region_shape_attributes,region_attributes"]
    for name, boxes in scene.items():
        for number, one in enumerate(boxes or [None]):
            parts = via_region(*one) if one else {"shape_attributes": {}, "region_attributes": {}}
            quoted = ['"' + json.dumps(parts[key]).replace('"', '""') + '"' for key in parts]
            lines.append(f"{name}.png,123,{len(boxes)},{number},{','.join(quoted)}")
    dump(folder / "via_export.csv", "\n".join(lines))


WRITERS: dict[str, Callable[[Path, Boxes], None]] = {
    "COCO": write_coco,
    "COCO run lengths": write_coco_runs,
    "LabelMe": write_labelme,
    "CVAT": write_cvat,
    "QuPath": write_qupath,
    "VIA": write_via,
    "VIA table": write_via_table,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abcd":
        picture(tmp_path / "images" / f"{name}.png")
    return tmp_path


def box_map(*drawn: tuple[int, tuple[float, float, float, float]]) -> np.ndarray:
    wanted = np.zeros(SHAPE, int)
    for value, (left, top, right, bottom) in drawn:
        wanted[int(top) : int(bottom), int(left) : int(right)] = value
    return wanted


def case_of(dataset: Dataset, id: str) -> Case:
    return next(case for case in dataset.cases if case.id == id)


def said(dataset: Dataset, kind: str = "layout") -> str:
    return "\n".join(remark.sentence for remark in dataset.remarks if remark.kind == kind)


@pytest.mark.parametrize("name", WRITERS)
def test_each_format_gives_the_classes_masks_and_objects_that_were_drawn(name: str, folder: Path) -> None:
    WRITERS[name](folder, SCENE)
    dataset = open_dataset(folder)
    assert dataset.labels is not None
    classes = dataset.labels.names
    assert sorted(classes) == ["cell", "tissue"]
    if name in ("COCO", "COCO run lengths", "CVAT"):
        assert classes == ("cell", "tissue")  # their own order
    cell, tissue = classes.index("cell") + 1, classes.index("tissue") + 1
    samples = {case.id: load(case, labels=dataset.labels) for case in dataset.cases}
    np.testing.assert_array_equal(samples["a"].masks[0][0], box_map((tissue, TISSUE), (cell, CELL)))
    np.testing.assert_array_equal(samples["a"].instances, box_map((1, TISSUE), (2, CELL)))
    np.testing.assert_array_equal(samples["b"].masks[0][0], box_map((cell, CELL)))
    assert not samples["c"].masks[0].any()
    assert not case_of(dataset, "d").masks
    assert "3 images with" in said(dataset)
    assert f"2 classes ({', '.join(classes)}) in {name.split()[0]}" in said(dataset)
    assert "1 of them without an object, read as empty masks; 1 further images" in said(dataset)
    report = check(dataset)
    assert not report.of("error")
    assert not any(finding.kind == "instances" for finding in report.findings)
    assert any(path.endswith((".json", ".xml", ".geojson", ".csv")) for path in file_hashes(dataset))


@pytest.mark.parametrize("name", WRITERS)
def test_a_label_map_read_in_the_guarded_process_is_the_same(name: str, folder: Path) -> None:
    WRITERS[name](folder, SCENE)
    (mask,) = case_of(open_dataset(folder), "a").masks
    assert isinstance(mask, Address)
    np.testing.assert_array_equal(read_labels(mask, untrusted=True)[0], read_labels(mask)[0])
    np.testing.assert_array_equal(read_labels(parse_address(str(mask)))[0], read_labels(mask)[0])


def test_splits_are_those_of_file_names_and_of_folders(tmp_path: Path) -> None:
    for split, name in (("train", "a"), ("val", "b"), ("test", "c")):
        picture(tmp_path / f"{split}2017" / f"{name}.png")
        dump(tmp_path / "annotations" / f"instances_{split}2017.json", coco_of({name: [("cell", CELL)]}))
    assert {case.id: case.split for case in open_dataset(tmp_path).cases} == {
        "a": "train",
        "b": "validation",
        "c": "test",
    }


def test_equal_names_in_several_splits_pair_with_the_annotations_beside_them(tmp_path: Path) -> None:
    for split, box in (("train", CELL), ("valid", TISSUE)):
        picture(tmp_path / split / "a.png")
        dump(tmp_path / split / "_annotations.coco.json", coco_of({"a": [("cell", box)]}))
    dataset = open_dataset(tmp_path)
    assert [(case.id, case.split) for case in dataset.cases] == [("train_a", "train"), ("valid_a", "validation")]
    found = [load(case, labels=dataset.labels).masks[0][0] for case in dataset.cases]
    np.testing.assert_array_equal(found, [box_map((1, CELL)), box_map((1, TISSUE))])


def test_values_are_those_of_the_data_set_where_files_list_their_classes_differently(tmp_path: Path) -> None:
    for name, label in (("train", "tissue"), ("test", "cell")):
        picture(tmp_path / name / "images" / f"{name}.png")
        content = coco_of({name: [(label, CELL)]})
        content["categories"] = content["categories"][:: 1 if name == "test" else -1]
        dump(tmp_path / name / "labels.json", content)
    dataset = open_dataset(tmp_path)
    assert dataset.labels is not None
    for case in dataset.cases:
        value = dataset.labels.names.index("tissue" if case.id == "train" else "cell") + 1
        np.testing.assert_array_equal(load(case, labels=dataset.labels).masks[0][0], box_map((value, CELL)))


@pytest.mark.parametrize("kind", ["coco", "cvat", "labelme", "via"])
def test_boxes_alone_are_weak_labels_and_no_masks(kind: str, folder: Path) -> None:
    left, top, right, bottom = CELL
    if kind == "coco":
        dump(folder / "boxes.json", coco_of({"a": [("cell", CELL), ("tissue", TISSUE)]}, kind="box"))
    elif kind == "cvat":
        box = f'<box label="cell" xtl="{left}" ytl="{top}" xbr="{right}" ybr="{bottom}"/>'
        other = '<box label="tissue" xtl="20" ytl="10" xbr="45" ybr="38"/>'
        dump(
            folder / "a.xml",
            f'<annotations><image name="a.png" width="50" height="40">{box}{other}</image></annotations>',
        )
    elif kind == "labelme":
        shapes = [
            {"label": label, "points": [[x1, y1], [x0, y0]], "shape_type": "rectangle"}
            for label, (x0, y0, x1, y1) in (("cell", CELL), ("tissue", TISSUE))
        ]
        dump(folder / "images" / "a.json", {"shapes": shapes, "imagePath": "a.png"})
    else:
        regions = [
            {"shape_attributes": {"name": "rect", "x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0},
             "region_attributes": {"type": label}}
            for label, (x0, y0, x1, y1) in (("cell", CELL), ("tissue", TISSUE))
        ]  # fmt: skip
        dump(folder / "via.json", {"a.png1": {"filename": "a.png", "size": 1, "regions": regions}})
    dataset = open_dataset(folder)
    case = case_of(dataset, "a")
    assert not case.masks
    assert case.boxes == (((8, 20), (5, 15)), ((10, 38), (20, 45)))
    assert case.box_classes == ("cell", "tissue")
    sample = load(case, labels=dataset.labels)
    assert sample.classes["boxes"].tolist() == [0, 1]
    assert "boxes of 2 classes (cell, tissue)" in said(dataset)
    assert not check(dataset).of("error")


def test_points_are_weak_labels_whose_centre_of_the_first_pixel_is_0(folder: Path) -> None:
    shapes = [{"label": "cell", "points": [[3.5, 7.5]], "shape_type": "point"}]
    dump(folder / "images" / "a.json", {"shapes": shapes, "imagePath": "a.png"})
    assert case_of(open_dataset(folder), "a").points == ((7.0, 3.0),)


def test_inside_boxes_beside_areas_nothing_is_known_and_it_is_said(folder: Path) -> None:
    content = coco_of({"a": [("tissue", TISSUE), ("cell", CELL)], "b": [("cell", CELL)]})
    content["annotations"][1]["segmentation"] = []
    dump(folder / "mixed.json", content)
    dataset = open_dataset(folder)
    assert dataset.labels is not None
    drawn = load(case_of(dataset, "a"), labels=dataset.labels).masks[0][0]
    wanted = box_map((dataset.labels.names.index("tissue") + 1, TISSUE), (IGNORE, CELL))
    np.testing.assert_array_equal(drawn, wanted)
    assert "1 object with a box and no area" in said(dataset, "boxes")


@pytest.mark.parametrize(("share", "apart"), [(1, False), (20, True)])
def test_overlaps_are_said_and_where_they_are_many_each_class_has_its_own_mask(
    share: int, apart: bool, folder: Path
) -> None:
    inner = (20.0, 10.0, 20.0 + share, 20.0)
    dump(folder / "coco.json", coco_of({"a": [("tissue", TISSUE), ("cell", inner)]}))
    dataset = open_dataset(folder)
    assert dataset.labels is not None
    assert dataset.labels.exclusive is not apart
    mask = load(case_of(dataset, "a"), labels=dataset.labels).masks[0]
    cell, tissue = dataset.labels.names.index("cell"), dataset.labels.names.index("tissue")
    if apart:
        np.testing.assert_array_equal(mask[cell], box_map((1, inner)))
        np.testing.assert_array_equal(mask[tissue], box_map((1, TISSUE)))
    else:
        np.testing.assert_array_equal(mask[0], box_map((tissue + 1, TISSUE), (cell + 1, inner)))
    assert "cell" in said(dataset, "overlaps")


def test_holes_several_parts_and_ignored_regions_of_qupath_are_what_it_shows(folder: Path) -> None:
    def feature(kind: str, places: Any, name: str) -> dict[str, Any]:
        properties = {"classification": {"name": name}}
        return {"type": "Feature", "geometry": {"type": kind, "coordinates": places}, "properties": properties}

    hole, apart = (25.0, 15.0, 30.0, 20.0), (0.0, 30.0, 10.0, 40.0)
    features = [
        feature("MultiPolygon", [[corners(TISSUE), corners(hole)], [corners(apart)]], "tumour"),
        feature("Polygon", [corners(CELL)], "Ignore*"),
        feature("Polygon", [corners((0.0, 0.0, 50.0, 40.0))], "Region*"),
        feature("LineString", [[0, 0], [5, 5]], "tumour"),
    ]
    dump(folder / "images" / "a.png - annotations.geojson", features)
    dataset = open_dataset(folder)
    drawn = load(case_of(dataset, "a"), labels=dataset.labels)
    np.testing.assert_array_equal(drawn.masks[0][0], box_map((1, TISSUE), (0, hole), (1, apart), (IGNORE, CELL)))
    assert drawn.instances is not None
    assert drawn.instances.max() == 1
    assert "'LineString'" in said(dataset, "left out")
    assert "Region*" in said(dataset, "left out")


def test_a_mask_and_the_order_of_cvat_are_read_as_it_draws_them(folder: Path) -> None:
    rows = '<mask label="cell" rle="1,3,1" left="10" top="5" width="5" height="1" z_order="1"/>'
    below = '<polygon label="tissue" points="10,5;15,5;15,8;10,8" z_order="0"/>'
    ellipse = '<ellipse label="cell" cx="30" cy="20" rx="6" ry="6" rotation="40" z_order="0"/>'
    dump(
        folder / "job.xml",
        f'<annotations><image name="a.png" width="50" height="40">{rows}{below}{ellipse}<polyline label="cell" '
        'points="1,1;2,2"/></image></annotations>',
    )
    dataset = open_dataset(folder)
    assert dataset.labels is not None
    cell, tissue = (dataset.labels.names.index(name) + 1 for name in ("cell", "tissue"))
    drawn = read_labels(case_of(dataset, "a").masks[0])[0]  # type: ignore[arg-type]
    assert drawn[5, 9:16].tolist() == [0, tissue, cell, cell, cell, tissue, 0]
    assert abs(int((drawn[13:28, 22:38] == cell).sum()) - np.pi * 36) < 6
    assert "'polyline'" in said(dataset, "left out")


def test_a_manifest_may_point_into_annotations(folder: Path) -> None:
    dump(folder / "coco.json", coco_of(SCENE))
    dump(folder / "extra" / "b.json", {"shapes": [{"label": "x", "points": corners(CELL)}], "imagePath": "b.png"})
    dump(
        folder / "scantling.toml",
        'classes = {tissue = 1, cell = 2}\n[[group]]\npattern = "images/{id}.png"\n'
        'masks = ["coco.json#{id}.png?class=tissue&class=cell", '
        '"extra/{id}.json#?class=_&class=x&image=../images/{id}.png"]\n',
    )
    dataset = open_dataset(folder)
    sample = load(case_of(dataset, "b"), labels=dataset.labels)
    assert len(sample.masks) == 2
    np.testing.assert_array_equal(sample.masks[0][0], box_map((2, CELL)))
    np.testing.assert_array_equal(sample.masks[1][0], box_map((2, CELL)))


def test_a_file_of_annotations_can_be_opened_by_itself(folder: Path) -> None:
    for file in (folder / "annotations" / "one.json", folder / "two.json"):
        dump(file, coco_of({"a": [("cell", CELL)]}))
        assert [bool(case.masks) for case in open_dataset(file).cases] == [True, False, False, False]


def test_names_with_signs_of_addresses_are_found(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a#1 50%?.png")
    dump(tmp_path / "coco.json", coco_of({"a#1 50%?": [("cell", CELL)]}))
    # `?` cannot be in an id, so that the address is looked at and not the case
    dataset_mask = "coco.json#a%231 50%25%3F.png?class=cell"
    found, _ = read_labels(parse_address(str(tmp_path / dataset_mask)))
    np.testing.assert_array_equal(found, box_map((1, CELL)))


def test_masks_in_a_folder_count_before_annotations(folder: Path) -> None:
    for name in "abcd":
        (folder / "masks").mkdir(exist_ok=True)
        Image.fromarray(box_map((255, CELL)).astype(np.uint8)).save(folder / "masks" / f"{name}.png")
    dump(folder / "coco.json", coco_of(SCENE))
    dataset = open_dataset(folder)
    assert all(mask.path.parent.name == "masks" for case in dataset.cases for mask in case.masks)  # type: ignore[union-attr]
    assert "coco.json" in said(dataset, "unused files")


def test_masks_beside_images_count_before_annotations(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"{name}.png")
    Image.fromarray(box_map((255, CELL)).astype(np.uint8)).save(tmp_path / "a_mask.png")
    dump(tmp_path / "coco.json", coco_of({"b": [("cell", CELL)]}))
    assert [bool(case.masks) for case in open_dataset(tmp_path).cases] == [True, False]


def test_a_mask_of_labelme_is_a_png_between_its_corners(folder: Path) -> None:
    inside = np.array([[0, 1, 1], [1, 0, 1]], bool)
    stream = io.BytesIO()
    Image.fromarray(inside).save(stream, "PNG")
    text = base64.b64encode(stream.getvalue()).decode()
    shape = {"label": "cell", "points": [[7, 4], [9, 5]], "shape_type": "mask", "mask": text}
    file = dump(folder / "images" / "a.json", {"shapes": [shape], "imagePath": "a.png"})
    dataset = open_dataset(folder)
    drawn = load(case_of(dataset, "a"), labels=dataset.labels).masks[0][0]
    np.testing.assert_array_equal(drawn[4:6, 7:10], inside)
    assert drawn.sum() == 4
    for wrong in ({"mask": "x"}, {"mask": text[:40]}, {"points": [[7, 4], [8, 5]]}, {"points": [[9, 5], [7, 4]]}):
        dump(file, {"shapes": [{**shape, **wrong}], "imagePath": "a.png"})
        with pytest.raises(FileError, match=r"a\.json"):
            open_dataset(folder)


def test_other_json_xml_and_csv_files_change_nothing(folder: Path) -> None:
    dump(folder / "images" / "meta.json", {"patients": [1, 2]})
    dump(folder / "notes.json", "no { json")
    dump(folder / "voc.xml", "<annotation><object/></annotation>")
    dump(folder / "table.csv", "filename,age\na.png,3\n")
    dump(folder / "list.json", [1, 2])
    assert [case.masks for case in open_dataset(folder).cases] == [()] * 4


def broken(content: dict[str, Any], change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    change(content)
    return content


def segmentation(value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["annotations"][0].update(segmentation=value)


WRONG: dict[str, Any] = {
    "an unknown category": broken(coco_of(SCENE), lambda content: content["annotations"][0].update(category_id=99)),
    "huge run lengths": broken(coco_of(SCENE), segmentation({"counts": [10**15], "size": [40, 50]})),
    "run lengths of a huge window": broken(coco_of(SCENE), segmentation({"counts": [10**12], "size": [10**6, 10**6]})),
    "run lengths of another image": broken(coco_of(SCENE), segmentation({"counts": [500], "size": [20, 25]})),
    "run lengths that are no text": broken(coco_of(SCENE), segmentation({"counts": "é", "size": [40, 50]})),
    "coordinates that are words": broken(coco_of(SCENE), segmentation([["a", "b"] * 3])),
    "wild coordinates": broken(coco_of(SCENE), segmentation([[0, 0, 1e300, 0, 1, 1]])),
    "no number": '{"images": [], "annotations": [{"segmentation": [[NaN, 1, 2, 3, 4, 5]]}], "categories": []}',
    "a polygon of an odd number": broken(coco_of(SCENE), segmentation([[1, 2, 3, 4, 5]])),
    "an image without a name": broken(coco_of(SCENE), lambda content: content["images"][0].pop("file_name")),
    "a text for an object": broken(coco_of(SCENE), lambda content: content["annotations"].insert(0, "x")),
    "deep nesting": '{"annotations": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "an end in the middle": json.dumps(coco_of(SCENE))[:400],
    "no image that is there": coco_of({"x": [("cell", CELL)]}),
    "no object": coco_of({"a": []}),
    "shapes that are none": {"shapes": [{"label": "x", "points": "abc"}], "imagePath": "a.png"},
    "features that are none": {
        "type": "FeatureCollection",
        "features": [{"geometry": {"type": "Polygon", "coordinates": [3]}}],
    },
    "regions that are none": {"a.png1": {"filename": "a.png", "regions": [{"shape_attributes": {"name": "polygon"}}]}},
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_json_ends_in_a_sentence_that_names_the_file(what: str, folder: Path) -> None:
    file = dump(folder / "wrong.json", WRONG[what])
    with pytest.raises(ScantlingError) as caught:
        open_dataset(folder)
    assert str(file) in str(caught.value) or str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        '<annotations><image name="a.png" width="5" height="4"><polygon points="1,2;a"/></image></annotations>',
        '<annotations><image name="a.png"><polygon label="x" points="1,2;3,4;5,6"/></image></annotations>',
        '<annotations><image name="a.png" width="50" height="40">',
        '<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>',
        "<annotations>" * 100_000,
        '<annotations><track id="0" label="x"></track></annotations>',
        '<annotations><image name="a.png" width="50" height="40"><mask label="x" rle="9999999999" left="0" top="0" '
        'width="5" height="5"/></image></annotations>',
    ],
)
def test_wrong_xml_ends_in_a_sentence_that_names_the_file(content: str, folder: Path) -> None:
    file = dump(folder / "wrong.xml", content)
    with pytest.raises(FileError, match=r"wrong\.xml") as caught:
        open_dataset(folder)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("name", WRITERS)
def test_a_damaged_file_of_annotations_is_read_or_ends_in_a_sentence(name: str, folder: Path) -> None:
    WRITERS[name](folder, SCENE)
    file = next(path for path in sorted(folder.rglob("*")) if path.suffix in (".json", ".xml", ".geojson", ".csv"))
    whole, generator = file.read_bytes(), np.random.default_rng(0)
    for turn in range(25):
        damaged = bytearray(whole)
        for place in generator.integers(0, len(whole), 1 + turn % 4):
            damaged[place] = generator.choice(np.frombuffer(b'0123456789-eE.,:;{}[]"<>/ \xff\x00', np.uint8))
        file.write_bytes(damaged[: len(damaged) - (turn % 5 == 0) * int(generator.integers(len(damaged)))])
        try:
            dataset = open_dataset(folder)
            for case in dataset.cases:
                load(case, labels=dataset.labels)
        except ScantlingError as error:
            assert str(error)  # noqa: PT017


def test_objects_that_cover_no_pixel_of_their_image_cost_the_case_a_sentence(folder: Path) -> None:
    shrunk = {name: [(label, tuple(v / 1000 for v in box)) for label, box in boxes] for name, boxes in SCENE.items()}
    dump(folder / "normalised.json", coco_of(shrunk))  # type: ignore[arg-type]
    with pytest.raises(FileError, match="none of the 2 objects covers a pixel of 40 x 50"):
        load(case_of(dataset := open_dataset(folder), "a"), labels=dataset.labels)


def test_an_image_of_another_size_than_the_annotations_say_is_an_error_of_its_case(folder: Path) -> None:
    dump(folder / "coco.json", coco_of(SCENE))
    picture(folder / "images" / "a.png", (50, 40))
    found = check(open_dataset(folder)).of("error")
    assert any("found 40 x 50 pixels, expected 50 x 40" in finding.sentence for finding in found)


def test_images_that_are_named_and_not_there_are_said_and_the_others_used(folder: Path) -> None:
    dump(folder / "coco.json", coco_of({**SCENE, "gone": [("cell", CELL)]}))
    dataset = open_dataset(folder)
    assert sum(bool(case.masks) for case in dataset.cases) == 3
    assert "1 image in the annotations (gone.png) is not there" in said(dataset, "without image")


def test_an_image_that_two_files_describe_is_refused_until_one_is_named(folder: Path) -> None:
    for name in ("first", "second"):
        dump(folder / f"{name}.json", coco_of({"a": [("cell", CELL)]}))
    with pytest.raises(DataError, match=r"both .*first\.json and .*second\.json"):
        open_dataset(folder)
    assert case_of(open_dataset(folder / "first.json"), "a").masks


@pytest.mark.parametrize(
    ("member", "sentence"),
    [("nobody.png", "lists no image"), ("", "lists no image"), ("a.png?class=%ff%00", "")],
)
def test_an_address_that_means_nothing_is_an_error(member: str, sentence: str, folder: Path) -> None:
    file = dump(folder / "coco.json", coco_of(SCENE))
    if sentence:
        with pytest.raises(FileError, match=sentence):
            read_labels(Address(file, member))
    else:
        assert not read_labels(Address(file, member))[0].any()
    with pytest.raises(FileError, match="no image"):
        read(Address(file, "a.png"))


def test_a_file_that_is_no_annotations_cannot_be_read_as_a_mask(folder: Path) -> None:
    for name, content in (("a.json", "{}"), ("b.csv", "x,y\n"), ("c.xml", "<a/>"), ("d.json", "")):
        with pytest.raises(FileError):
            read_labels(Address(dump(folder / name, content), "a.png"))


def test_the_size_of_an_image_that_annotations_claim_is_limited(folder: Path) -> None:
    content = coco_of(SCENE)
    content["images"][0].update(height=10**6, width=10**6)
    file = dump(folder / "coco.json", content)
    with pytest.raises(FileError, match="at most"):
        read_labels(Address(file, "a.png"))
