"""What is drawn is what was counted: every way in which masks say their classes, scored and drawn."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from scantling.core.atomic import write_json
from scantling.evaluation import evaluate
from scantling.report.case_files import read_case
from scantling.report.exemplars import draw
from scantling.report.pictures import CONFUSED, EXTRA, HIT, MISSED, errors
from scantling.report.targets import open_evaluation

DRAWS = np.random.default_rng(4)
SHAPE = (24, 30)
Layers = Mapping[str, np.ndarray]


def blobs(names: str, *, shape: tuple[int, ...] = SHAPE) -> Layers:
    """A layer (*S) bool for each class, none over another."""
    numbers = DRAWS.integers(0, len(names) + 1, shape)
    return {name: numbers == number for number, name in enumerate(names, start=1)}


def written(values: Mapping[str, int], background: int = 0) -> Callable[[Path, Layers], None]:
    """Writes layers as one file with a value for each class."""

    def write(path: Path, layers: Layers) -> None:
        first = next(iter(layers.values()))
        array = np.full(first.shape, background, np.uint8)
        for name, layer in layers.items():
            array[layer] = values[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        if array.ndim == 2:
            Image.fromarray(array).save(path.with_suffix(".png"))
        else:
            nib.save(nib.Nifti1Image(array, np.diag([-1.0, 1.0, 2.0, 1.0])), path.with_suffix(".nii.gz"))

    return write


def apart(path: Path, layers: Layers) -> None:
    """Writes layers as CLASS/ID.png."""
    for name, layer in layers.items():
        written({name: 255})(path.parent / name / path.name, {name: layer})


def palette(path: Path, layers: Layers) -> None:
    """Writes layers as the indices of a palette of colours."""
    array = sum(number * layer for number, layer in enumerate(layers.values(), start=1))
    image = Image.fromarray(np.asarray(array, np.uint8), "P")
    image.putpalette([0, 0, 0, 200, 30, 30, 30, 200, 30])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path.with_suffix(".png"))


def told(folder: Path, ends: str = ".png", **said: object) -> None:
    """A manifest of masks alone."""
    group = {"pattern": f"{{id}}{ends}", "images": {}, "masks": [f"{{id}}{ends}"]}
    group |= {key: said.pop(key) for key in ("threshold", "spacing") if key in said}
    write_json(folder / "scantling.json", {**said, "group": [group]})


def listed(folder: Path, classes: list[str], values: list[list[int]]) -> None:
    """What `predict` writes beside its masks."""
    cases = [{"id": path.stem, "mask": path.name} for path in sorted(folder.glob("*.png"))]
    write_json(folder / "predictions.json", {"classes": classes, "values": values, "cases": cases})


CONVENTIONS: dict[
    str, tuple[str, tuple[int, ...], Callable[..., None], Callable[..., None], Callable[[Path, Path], None]]
]
CONVENTIONS = {
    "plain": ("v", SHAPE, written({"v": 255}), written({"v": 255}), lambda t, p: None),
    "other value": ("v", SHAPE, written({"v": 255}), written({"v": 1}), lambda t, p: None),
    "threshold": (
        "v", SHAPE, written({"v": 200}, 90), written({"v": 255}),
        lambda t, p: (told(t, threshold=128, classes={"v": 255}), listed(p, ["v"], [[255]])),
    ),
    "background": (
        "v", SHAPE, written({"v": 2}, 1), written({"v": 2}),
        lambda t, p: told(t, classes={"v": 2}, background=[0, 1]),
    ),
    "class of value 0": (
        "v", SHAPE, written({"v": 0}, 255), written({"v": 1}),
        lambda t, p: (told(t, classes={"v": 0}, background=[255]), listed(p, ["v"], [[1]])),
    ),
    "permuted numbers": (
        "abc", SHAPE, written({"a": 10, "b": 20, "c": 30}), written({"c": 1, "a": 2, "b": 3}),
        lambda t, p: (
            told(t, classes={"a": 10, "b": 20, "c": 30}), listed(p, ["c", "a", "b"], [[1], [2], [3]]),
        ),
    ),
    "undeclared, permuted names": (
        "ab", SHAPE, written({"a": 1, "b": 2}), written({"a": 1, "b": 2}),
        lambda t, p: listed(p, ["second", "first"], [[2], [1]]),
    ),
    "palette of colours": ("ab", SHAPE, palette, written({"a": 1, "b": 2}), lambda t, p: None),
    "a folder a class": ("ab", SHAPE, apart, apart, lambda t, p: None),
    "volume": ("ab", (9, 8, 7), written({"a": 1, "b": 2}), written({"a": 1, "b": 2}), lambda t, p: None),
    "volume with a spacing of its manifest": (
        "a", (9, 8, 7), written({"a": 1}), written({"a": 1}),
        lambda t, p: told(t, ".nii.gz", spacing=[1.0, 1.0, 4.0], classes={"a": 1}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_as_many_pixels_are_drawn_as_errors_as_the_scores_count(convention: str, tmp_path: Path) -> None:
    names, shape, write_truth, write_mask, describe = CONVENTIONS[convention]
    truth, mask = tmp_path / "truth", tmp_path / "masks"
    drawn = {"perfect": (layers := blobs(names, shape=shape), layers), "wrong": (layers, blobs(names, shape=shape))}
    for id, (true, predicted) in drawn.items():
        write_truth(truth / id, true)
        write_mask(mask / id, predicted)
    describe(truth, mask)
    found = evaluate(mask, truth, split="all")
    assert not found.failed
    write_json(tmp_path / "scores.json", found.facts())
    read = open_evaluation(tmp_path / "scores.json")
    for case in read.record.cases:
        arrays = read_case(case, read)
        assert arrays.truth is not None
        assert arrays.mask is not None
        codes = errors(arrays.truth.classes.reshape(len(names), 1, -1), arrays.mask.classes.reshape(len(names), 1, -1))
        true, predicted = (np.stack([*layers.values()]) for layers in drawn[case.id])
        counts = {code: int((codes == code).sum()) for code in (HIT, EXTRA, MISSED, CONFUSED)}
        assert counts[HIT] == (true & predicted).sum()
        assert counts[MISSED] + counts[CONFUSED] == (true & ~predicted).sum()
        assert counts[EXTRA] + counts[CONFUSED] == (predicted & ~true).sum()
        assert bool(counts[EXTRA] + counts[MISSED] + counts[CONFUSED]) == (case.id == "wrong")
        picture = draw("Only case", case, read)
        assert picture.overlay is not None
        if case.id == "perfect":
            assert case.values["dice"] == 1.0
            assert "0 pixels added (false positive), 0 pixels missed (false negative)" in picture.overlay.alt


def test_pixels_that_the_truth_ignores_are_no_errors(tmp_path: Path) -> None:
    true = blobs("v")["v"]
    array = np.where(true, 1, 0).astype(np.uint8)
    array[:, 10:] = 7
    (tmp_path / "truth").mkdir()
    Image.fromarray(array).save(tmp_path / "truth" / "a.png")
    told(tmp_path / "truth", classes={"v": 1}, ignore=7)
    wrong = np.where(np.arange(SHAPE[1]) >= 10, True, true)
    written({"v": 1})(tmp_path / "masks" / "a", {"v": wrong})
    found = evaluate(tmp_path / "masks", tmp_path / "truth", split="all")
    assert found.mean["dice"] == 1.0
    write_json(tmp_path / "scores.json", found.facts())
    read = open_evaluation(tmp_path / "scores.json")
    picture = draw("Only case", read.record.cases[0], read)
    assert picture.overlay is not None
    assert "0 pixels added (false positive), 0 pixels missed (false negative)" in picture.overlay.alt


@pytest.mark.parametrize(
    "labels",
    [
        {"order": [0, 1]}, {"order": [3]}, {"truth": {"names": ["v"], "values": []}}, {"truth": {"names": "v"}}, [],
        {"prediction": None},
    ],
)  # fmt: skip
def test_labels_that_do_not_fit_end_in_one_sentence(labels: object, tmp_path: Path) -> None:
    from scantling.core.errors import FileError

    layers = blobs("v")
    for side in ("truth", "masks"):
        written({"v": 255})(tmp_path / side / "a", layers)
    facts = json.loads(json.dumps(evaluate(tmp_path / "masks", tmp_path / "truth", split="all").facts()))
    facts["labels"] = {**facts["labels"], **labels} if isinstance(labels, dict) else labels
    write_json(tmp_path / "scores.json", facts)
    with pytest.raises(FileError, match=r"scores\.json"):
        open_evaluation(tmp_path / "scores.json")
