"""The same few objects on small pictures, as every annotation tool writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scantling.core.case import Case
from scantling.data.dataset import Dataset

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


def write_imagescope(folder: Path, scene: Boxes) -> None:
    for name, boxes in scene.items():
        layers = ""
        for number, (label, box) in enumerate(boxes, start=1):
            vertices = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in corners(box))
            region = f'<Region Id="1" Type="0" NegativeROA="0"><Vertices>{vertices}</Vertices></Region>'
            attributes = f'<Attributes><Attribute Name="{label}" Id="0" Value=""/></Attributes>'
            layers += f'<Annotation Id="{number}" Name="">{attributes}<Regions>{region}</Regions></Annotation>'
        (folder / "xml").mkdir(exist_ok=True)
        (folder / "xml" / f"{name}.xml").write_text(f'<Annotations MicronsPerPixel="0.25">{layers}</Annotations>')


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
    "ImageScope": write_imagescope,
    "VIA": write_via,
    "VIA table": write_via_table,
}


def box_map(*drawn: tuple[int, tuple[float, float, float, float]]) -> np.ndarray:
    wanted = np.zeros(SHAPE, int)
    for value, (left, top, right, bottom) in drawn:
        wanted[int(top) : int(bottom), int(left) : int(right)] = value
    return wanted


def case_of(dataset: Dataset, id: str) -> Case:
    return next(case for case in dataset.cases if case.id == id)


def said(dataset: Dataset, kind: str = "layout") -> str:
    return "\n".join(remark.sentence for remark in dataset.remarks if remark.kind == kind)
