"""Maps of objects that are not as they should be: holes in the numbers, torn objects, single pixels, none, many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from scantling.data.dataset import open_dataset
from scantling.data.drawn_objects import separate
from scantling.data.integrity import check
from scantling.data.loading import load
from scantling.evaluation import evaluate
from scantling.methods.catalogue import card_of
from scantling.training.material import open_material
from scantling.training.options import Options


def scene(root: Path, numbers: np.ndarray, *, instances: bool = True) -> Path:
    """Five images with one map of objects, and its mask."""
    image = (np.indices(numbers.shape).sum(0) % 97 + 60 * (numbers > 0)).astype(np.uint8)
    parts = {"images": image, "masks": ((numbers > 0) * 255).astype(np.uint8)}
    for number in range(5):
        for folder, array in parts.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.roll(array, number if folder == "images" else 0)).save(root / folder / f"n{number}.png")
        if instances:
            (root / "instances").mkdir(exist_ok=True)
            tifffile.imwrite(root / "instances" / f"n{number}.tif", numbers.astype(np.uint32))
    return root


def answers(root: Path, numbers: np.ndarray) -> dict[str, float]:
    """The scores of predictions that are the truth."""
    (root / "answers").mkdir()
    for number in range(5):
        tifffile.imwrite(root / "answers" / f"n{number}.tif", numbers.astype(np.uint32))
    found = evaluate(root / "answers", root, metrics=["pq", "count_error"])
    return dict(found.cases[0].scores.mean) | {"objects": float(found.record().objects["foreground"]["true"])}


def test_holes_in_the_numbers_mean_nothing(tmp_path: Path) -> None:
    numbers = np.zeros((20, 20), int)
    numbers[2:5, 2:5], numbers[2:5, 8:12], numbers[10:14, 3:9] = 7, 900, 70_000
    root = scene(tmp_path, numbers)
    assert answers(root, numbers) == {"pq": 1.0, "count_error": 0.0, "objects": 15.0}
    assert not any(finding.kind == "instances" for finding in check(open_dataset(root)).findings)
    assert np.array_equal(separate(numbers), numbers)


def test_one_number_for_two_separate_objects_is_two_objects_and_is_said(tmp_path: Path) -> None:
    numbers = np.zeros((20, 20), int)
    numbers[2:5, 2:5] = numbers[2:5, 8:12] = 3
    numbers[10:14, 3:9] = 4
    numbers[14, 9] = 4  # at a corner
    root = scene(tmp_path, numbers)
    text = check(open_dataset(root)).text()
    assert (
        "case n0: 1 of the numbers of its objects mark several separate ones; each piece is taken for an object" in text
    )
    assert len(np.unique(separate(numbers))) == 1 + 3
    assert answers(root, numbers)["objects"] == 15.0


def test_components_stand_for_objects_where_a_method_needs_them_and_there_are_masks_alone(tmp_path: Path) -> None:
    numbers = np.zeros((20, 20), int)
    numbers[2:5, 2:5], numbers[2:5, 8:12] = 1, 2
    root = scene(tmp_path, numbers, instances=False)
    options = Options(preset="tiny", settings={"boxes_from": "instances"})
    material = open_material(card_of("ssd"), [root], None, options)
    said = " ".join(material.remarks)
    assert "masks tell no objects apart; connected components (corners count) stand for them" in said
    (case, *_) = material.dataset.split("train")
    sample = load(case, labels=material.dataset.labels, reads=("instances",))
    assert sample.instances is not None
    assert len(np.unique(separate(sample.instances))) == 3


@pytest.mark.parametrize("number", [0, 1])
def test_objects_of_one_pixel_count_and_so_does_an_image_without_any(tmp_path: Path, number: int) -> None:
    numbers = np.zeros((20, 20), int)
    numbers[4, 4] = number
    numbers[0, 0] = 2 * number
    root = scene(tmp_path, numbers)
    found = answers(root, numbers)
    assert found["count_error"] == 0
    assert found["objects"] == 10 * number
    assert np.isnan(found["pq"]) if number == 0 else found["pq"] == 1


def test_more_objects_than_16_bits_number_are_read_and_scored(tmp_path: Path) -> None:
    numbers = np.zeros((600, 600), int)
    numbers[::2, ::2] = np.arange(1, 90_001).reshape(300, 300)
    root = scene(tmp_path, numbers)
    sample = load(open_dataset(root).cases[0], reads=("instances",))
    assert sample.instances is not None
    assert int(sample.instances.max()) == 90_000
