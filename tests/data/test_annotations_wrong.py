"""Files of annotations that are wrong end in a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annotated import CELL, SCENE, WRITERS, box_map, case_of, coco_of, dump, picture, said
from scantling.core.case import Address
from scantling.core.errors import DataError, FileError, ScantlingError
from scantling.data.dataset import open_dataset
from scantling.data.files import read, read_labels
from scantling.data.integrity import check
from scantling.data.loading import load


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abcd":
        picture(tmp_path / "images" / f"{name}.png")
    return tmp_path


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


def test_polygons_outside_of_their_image_are_said_and_the_others_drawn(folder: Path) -> None:
    scene = {**SCENE, "b": [("cell", CELL), ("cell", (60.0, 3.0, 70.0, 9.0)), ("cell", (1.0, -9.0, 7.0, -2.0))]}
    dump(folder / "coco.json", coco_of(scene))
    dataset = open_dataset(folder)
    assert "2 polygons outside of the image (b.png)" in said(dataset, "outside")
    drawn = load(case_of(dataset, "b"), labels=dataset.labels).masks[0][0]
    np.testing.assert_array_equal(drawn, box_map((1, CELL)))


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
