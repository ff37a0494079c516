"""Aperio ImageScope XML, as Kumar's set and MoNuSeg have it: touching, nested, cut and crossing outlines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from annotated import picture, said
from scantling.core.errors import FileError
from scantling.data.dataset import open_dataset
from scantling.data.integrity import check
from scantling.data.loading import load

Corners = list[tuple[float, float]]


def square(left: float, top: float, side: float) -> Corners:
    return [(left, top), (left + side, top), (left + side, top + side), (left, top + side)]


def region(corners: Corners, *, id: int = 0, kind: int = 0, more: str = "") -> str:
    vertices = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in corners)
    return f'<Region Id="{id}" Type="{kind}" {more}><Vertices>{vertices}</Vertices></Region>'


def slide(root: Path, *layers: str, name: str = "TCGA-18-5592-01Z-00-DX1") -> Path:
    picture(root / "images" / f"{name}.tif", (40, 50))
    text = "".join(f"<Annotation Id='1'><Regions>{layer}</Regions></Annotation>" for layer in layers)
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"{name}.xml").write_text(f'<?xml version="1.0"?>\n<Annotations>{text}</Annotations>')
    return root


def test_nuclei_that_touch_lie_in_each_other_or_leave_the_image_stay_apart(tmp_path: Path) -> None:
    touching, nested = square(2, 2, 6), square(20, 4, 12)
    shapes = [touching, square(8, 2, 6), nested, square(23, 7, 4), square(44, 34, 12)]
    root = slide(tmp_path, "".join(region(corners, id=n + 1) for n, corners in enumerate(shapes)))
    dataset = open_dataset(root)
    assert "1 image with polygons of 1 class (object) in ImageScope" in said(dataset)
    sample = load(dataset.cases[0], labels=dataset.labels)
    expected = np.zeros((40, 50), int)
    expected[2:8, 2:8], expected[2:8, 8:14] = 1, 2
    expected[4:16, 20:32] = 3
    expected[7:11, 23:27] = 4
    expected[34:, 44:] = 5
    assert np.array_equal(sample.instances, expected)
    assert np.array_equal(sample.masks[0][0], expected > 0)
    assert "1 polygon beyond the border of the image (TCGA-18-5592-01Z-00-DX1.tif); cut there" in check(dataset).text()


def test_holes_kinds_and_layers_are_read_as_they_were_drawn(tmp_path: Path) -> None:
    hole = region(square(6, 6, 4), id=2, more='NegativeROA="1" InputRegionId="1"')
    strange = region([(1, 1), (30, 30)], id=3, kind=4) + region(square(1, 1, 2), id=4, more='NegativeROA="1"')
    round_ = region([(20, 4), (40, 24)], id=1, kind=2)
    dataset = open_dataset(slide(tmp_path, region(square(4, 4, 8), id=1) + hole + strange, round_))
    assert dataset.labels is not None
    assert dataset.labels.names == ("layer-1", "layer-2")
    mask = load(dataset.cases[0], labels=dataset.labels).masks[0][0]
    assert (mask == 1).sum() == 64 - 16
    assert (mask == 2).sum() == pytest.approx(np.pi * 100, rel=0.02)
    assert "2 shapes without an area, or of a kind that is not read, left out" in check(dataset).text()


def test_an_outline_that_crosses_itself_is_said_and_one_outside_is_too(tmp_path: Path) -> None:
    bow = [(4.0, 4.0), (14.0, 14.0), (14.0, 4.0), (4.0, 14.0)]
    dataset = open_dataset(slide(tmp_path, region(bow, id=1) + region(square(80, 80, 5), id=2)))
    text = check(dataset).text()
    assert "1 polygon whose outline crosses itself" in text
    assert "1 polygon outside of the image" in text
    assert 40 < int(load(dataset.cases[0], labels=dataset.labels).masks[0].sum()) < 60


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><Annotations>&b;</Annotations>', "it declares a document type"),
        ("<Annotations>" + "<a>" * 40, "its elements lie more than 32 deep"),
        ("<Annotations><Annotation>", "no element found"),
        ("<Other><Annotations/></Other>", "its first element is <Other>, not <Annotations>"),
    ],
)
def test_xml_that_is_not_as_it_should_be_is_refused_in_a_sentence(tmp_path: Path, text: str, reason: str) -> None:
    root = slide(tmp_path, "")
    next((root / "annotations").iterdir()).write_text(text)
    with pytest.raises(FileError, match=f"it is no ImageScope file as it should be .*{reason}"):
        open_dataset(root)


def test_a_coordinate_that_is_none_is_refused_with_its_region(tmp_path: Path) -> None:
    root = slide(tmp_path, region([(1, 1), (2, float("nan")), (3, 3)], id=7))
    with pytest.raises(FileError, match="region 7: a coordinate is not finite"):
        open_dataset(root)
