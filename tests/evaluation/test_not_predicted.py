"""Classes of the truth that predictions cannot have are reported: they fail no case and are not dropped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from scantling.core.errors import DataError
from scantling.data.files import read_labels
from scantling.evaluation.folders import evaluate
from scantling.inference import mend_folder
from scantling.inference.prediction import predict
from scantling.records.evaluation import EvaluationRecord
from scantling.training import Options, train


def written(root: Path, folder: str, masks: dict[str, np.ndarray]) -> Path:
    for name, mask in masks.items():
        path = root / folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
    return root


def mask_of(*values: int) -> np.ndarray:
    """A row of 10 x 10 pixels for each value, on 0."""
    mask = np.zeros((40, 40), np.uint8)
    for row, value in enumerate(values):
        mask[10 * row : 10 * row + 10, :10] = value
    return mask


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Classes 1 and 2 in training, 3 in one of the test masks."""
    root = tmp_path / "data"
    for split, masks in (
        ("train", {"a": mask_of(1, 2), "b": mask_of(1, 2)}),
        ("test", {"c": mask_of(1, 2), "d": mask_of(1, 2, 3)}),
    ):
        written(root, f"{split}/masks", masks)
        written(root, f"{split}/images", {name: mask + 9 for name, mask in masks.items()})
    return root


def test_a_value_that_training_never_saw_is_reported_and_fails_no_case(data: Path, tmp_path: Path) -> None:
    predicted = written(tmp_path, "out", {"c": mask_of(1, 2), "d": mask_of(1, 2)}) / "out"
    found = evaluate(predicted, data)
    assert not found.failed
    assert len(found.cases) == 2
    assert found.mean["dice"] == 1
    facts = json.loads(json.dumps(found.facts()))
    assert facts["not_predicted"] == [{"value": 3, "name": None, "cases": 1, "pixels": 100}]
    for text in (found.table(), " ".join(facts["notes"])):
        assert "Not predicted: the value 3, 100 pixels in 1 true mask" in text
    again = EvaluationRecord.model_validate(facts)
    assert again.not_predicted[0].value == 3
    assert again.labels is not None
    assert again.labels.truth.others == "background", "the report reads the masks as the scores did"


def test_what_is_predicted_there_counts_as_wrong(data: Path, tmp_path: Path) -> None:
    predicted = written(tmp_path, "out", {"c": mask_of(1, 2), "d": mask_of(1, 2, 2)}) / "out"
    found = evaluate(predicted, data)
    assert found.classes_mean["class-2"]["dice"] == pytest.approx((1 + 200 / 300) / 2)


def test_a_folder_of_true_masks_may_have_more_classes_than_the_predictions_say(tmp_path: Path) -> None:
    written(tmp_path, "truth", {"c": mask_of(1, 2), "d": mask_of(2, 3)})
    written(tmp_path, "out", {"c": mask_of(1, 2), "d": mask_of(2)})
    (tmp_path / "out/predictions.json").write_text(
        json.dumps(
            {
                "classes": ["first", "second"],
                "values": [[1], [2]],
                "cases": [{"id": "c", "mask": "c.png"}, {"id": "d", "mask": "d.png"}],
            }
        )
    )
    found = evaluate(tmp_path / "out", tmp_path / "truth")
    assert found.classes == ("first", "second")
    assert [(one.name, one.value, one.pixels) for one in found.not_predicted] == [("class-3", 3, 100)]


def test_a_declared_class_that_the_predictions_lack_is_called_by_its_name(data: Path, tmp_path: Path) -> None:
    (data / "scantling.toml").write_text("classes = { left = 1, right = 2, middle = 3 }\n")
    written(tmp_path, "out", {"c": mask_of(1, 2), "d": mask_of(1, 2)})
    cases = [{"id": name, "mask": f"{name}.png"} for name in "cd"]
    (tmp_path / "out/predictions.json").write_text(
        json.dumps({"classes": ["left", "right"], "values": [[1], [2]], "cases": cases})
    )
    found = evaluate(tmp_path / "out", data, split="test")
    assert found.classes == ("left", "right")
    assert "the class 'middle' (value 3), 100 pixels" in found.not_predicted[0].sentence
    (tmp_path / "out/predictions.json").write_text(
        json.dumps({"classes": ["left", "other"], "values": [[1], [2]], "cases": cases})
    )
    with pytest.raises(DataError, match="the predictions have the classes left, other"):
        evaluate(tmp_path / "out", data, split="test")


def test_a_picture_among_the_true_masks_still_fails(data: Path, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    written(data, "test/masks", {"d": picture})
    predicted = written(tmp_path, "out", {"c": mask_of(1, 2), "d": mask_of(1, 2)}) / "out"
    found = evaluate(predicted, data)
    assert [one.id for one in found.failed] == ["d"]
    assert f"{len(np.unique(read_labels(data / 'test/masks/d.png')[0])) - 3} values" in found.failed[0].error


def in_colour(root: Path, *colours: tuple[int, int, int]) -> Path:
    """Images with a square of each colour in their masks."""
    for number in range(4):
        image, mask = np.full((24, 40), 30, np.uint8), np.zeros((24, 40, 3), np.uint8)
        for place, colour in enumerate(colours):
            mask[6:14, 4 + 18 * place : 14 + 18 * place] = colour
            image[6:14, 4 + 18 * place : 14 + 18 * place] = 120 + 90 * place
        for kind, array in (("images", image), ("masks", mask)):
            (root / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / kind / f"c{number}.png")
    return root


def test_colours_match_across_data_sets_of_which_one_has_fewer(tmp_path: Path) -> None:
    red, green = (255, 0, 0), (0, 255, 0)
    both, one = in_colour(tmp_path / "both", green, red), in_colour(tmp_path / "one", red)
    for learnt, asked in ((both, one), (one, both)):
        run, out = tmp_path / f"run-{learnt.name}", tmp_path / f"masks-{learnt.name}"
        train("unet", [learnt], run, Options(preset="tiny", steps=2, validation=0.0), console=Console(quiet=True))
        predict(run, asked, out=out, split="all", probabilities=True)
        mend_folder(out / "probabilities", tmp_path / f"mended-{learnt.name}", {"rule": "hysteresis"})
        for folder in (out, tmp_path / f"mended-{learnt.name}"):
            scored = evaluate(folder, asked)
            assert len(scored.cases) == 4
            assert "red" in scored.classes or scored.classes == ("foreground",)
            assert [found.value for found in scored.not_predicted] == ([] if asked is one else ["#00ff00"])


def test_values_that_only_a_further_annotator_drew_are_reported_too(tmp_path: Path) -> None:
    for folder, mask in (("first", mask_of(1, 2)), ("second", mask_of(1, 2, 9)), ("answers", mask_of(1, 2))):
        written(tmp_path, folder, {"a": mask, "b": mask})
    (tmp_path / "scantling.toml").write_text(
        '[classes]\none = 1\ntwo = 2\n[[group]]\npattern = "first/{id}.png"\nimages = "first/{id}.png"\n'
        'masks = ["first/{id}.png", "second/{id}.png"]\n'
    )
    scored = evaluate(tmp_path / "answers", tmp_path)
    assert not scored.failed
    assert [(found.value, found.cases, found.pixels) for found in scored.not_predicted] == [(9, 2, 200)]
