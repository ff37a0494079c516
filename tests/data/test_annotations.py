"""Folders with files of annotations are data sets as they are."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from annotated import (
    CELL,
    SCENE,
    TISSUE,
    WRITERS,
    box_map,
    case_of,
    coco_of,
    corners,
    dump,
    picture,
    said,
)
from scantling.core.case import IGNORE, Address
from scantling.core.errors import FileError
from scantling.data.dataset import file_hashes, open_dataset
from scantling.data.files import parse_address, read_labels
from scantling.data.integrity import check
from scantling.data.loading import load


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abcd":
        picture(tmp_path / "images" / f"{name}.png")
    return tmp_path


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
