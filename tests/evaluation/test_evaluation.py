"""Folders of masks, scored: what is compared with what, what counts, what fails alone, and how sure the mean is."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, ornt_transform
from scipy import stats

from scantling.core.case import IGNORE, Geometry
from scantling.core.errors import DataError, FileError, SettingsError
from scantling.data.files import write_labels, write_map
from scantling.evaluation import Evaluation, evaluate, scores_of_arrays
from scantling.evaluation.summary import summarise
from scantling.records.predictions import Failure
from scantling.records.run_folder import identity_of
from scantling.report.targets import open_evaluation
from script import script

FLAT = Geometry(shape=(6, 8), spacing=(1.0, 1.0))


def bar(rows: slice, columns: slice, value: int = 255) -> np.ndarray:
    mask = np.zeros(FLAT.shape, np.int32)
    mask[rows, columns] = value
    return mask


HALF = bar(slice(1, 3), slice(0, 4))  # 8 pixels
WHOLE = bar(slice(1, 3), slice(0, 8))  # 16 pixels; Dice with HALF is 2 * 8 / 24 = 2 / 3


def folder(path: Path, masks: dict[str, np.ndarray]) -> Path:
    for id, mask in masks.items():
        write_labels(path, id, mask, Geometry(shape=mask.shape, spacing=(1.0,) * mask.ndim))
    return path


def dataset(root: Path, splits: dict[str, dict[str, np.ndarray]]) -> Path:
    """`train/images`, `train/masks`, ... with the given masks."""
    for split, masks in splits.items():
        folder(root / split / "masks", masks)
        folder(root / split / "images", {id: np.arange(48).reshape(6, 8) for id in masks})
    return root


def listed(out: Path, ids: Sequence[str], **more: object) -> Path:
    """A `predictions.json` beside masks."""
    facts: dict[str, object] = {
        "run": None, "method": "unet", "input": "elsewhere", "split": "all", "classes": ["vessel"], "values": [[255]],
        "exclusive": True, "cases": [{"id": id, "mask": f"{id}.png", "probability": None} for id in ids], "failed": [],
    }  # fmt: skip
    (out / "predictions.json").write_text(json.dumps(facts | more))
    return out


def ids(evaluation: Evaluation) -> list[str]:
    return [case.id for case in evaluation.cases]


def dice(evaluation: Evaluation) -> list[float]:
    return [case.scores.mean["dice"] for case in evaluation.cases]


# What is compared


def test_masks_of_0_and_1_are_compared_with_masks_of_0_and_255(tmp_path: Path) -> None:
    predictions = folder(tmp_path / "p", {"a": HALF // 255, "b": WHOLE // 255})
    truth = folder(tmp_path / "t", {"a": WHOLE, "b": WHOLE})
    found = evaluate(predictions, truth)
    assert dice(found) == pytest.approx([2 / 3, 1])
    assert found.mean["dice"] == pytest.approx(5 / 6)
    assert found.summary.std["dice"] == pytest.approx(math.sqrt(2 * (1 / 6) ** 2))  # n - 1
    assert found.summary.count["dice"] == 2
    assert found.failed == ()


def test_ids_may_carry_an_ending_and_what_has_no_partner_is_noted(tmp_path: Path) -> None:
    predictions = folder(tmp_path / "p", {"a_seg": HALF, "strange": HALF})
    truth = folder(tmp_path / "t", {"a": WHOLE, "c": WHOLE, "d": WHOLE})
    found = evaluate(predictions, truth)
    assert ids(found) == ["a"]
    assert found.notes == (
        "1 prediction without a true mask left out (strange).",
        "2 true masks without a prediction left out (c, d).",
    )


def test_no_id_in_common_is_said_with_examples_of_both(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found x1, x2, expected a; give both the same stems"):
        evaluate(folder(tmp_path / "p", {"x1": HALF, "x2": HALF}), folder(tmp_path / "t", {"a": WHOLE}))


def test_two_files_for_one_id_are_refused(tmp_path: Path) -> None:
    predictions = folder(tmp_path / "p", {"a": HALF, "a_seg": HALF})
    with pytest.raises(DataError, match=r"a\.png and a_seg\.png both belong to a"):
        evaluate(predictions, folder(tmp_path / "t", {"a": WHOLE}))


def test_a_folder_without_masks_is_refused(tmp_path: Path) -> None:
    truth = folder(tmp_path / "t", {"a": WHOLE})
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="found no masks"):
        evaluate(tmp_path / "empty", truth)
    with pytest.raises(DataError, match="there is no such folder"):
        evaluate(tmp_path / "absent", truth)
    with pytest.raises(DataError, match="absent: there is no such file or folder"):
        evaluate(truth, tmp_path / "absent")


def test_a_truth_with_its_own_split_is_scored_on_its_test_cases(tmp_path: Path) -> None:
    truth = dataset(tmp_path / "t", {"train": {"a": WHOLE, "b": WHOLE}, "test": {"c": WHOLE, "d": WHOLE}})
    predictions = folder(tmp_path / "p", {"a": WHOLE, "b": WHOLE, "c": HALF})
    found = evaluate(predictions, truth)
    assert (found.split, ids(found)) == ("test", ["c"])
    assert [failure.id for failure in found.failed] == ["d"]
    assert "there is no prediction for d" in found.failed[0].error
    assert ids(evaluate(predictions, truth, split="train")) == ["a", "b"]
    assert ids(evaluate(predictions, truth, split="all")) == ["a", "b", "c"]
    with pytest.raises(DataError, match="no case with a mask is in the split 'validation'"):
        evaluate(predictions, truth, split="validation")
    with pytest.raises(SettingsError, match="expected train, validation, test or all"):
        evaluate(predictions, truth, split="tset")


def test_a_truth_whose_split_is_only_a_hash_is_scored_where_both_sides_have_a_mask(tmp_path: Path) -> None:
    root = dataset(tmp_path / "t", {"": dict.fromkeys("abcdef", WHOLE)})
    found = evaluate(folder(tmp_path / "p", dict.fromkeys("abcdef", HALF)), root)
    assert (found.split, ids(found)) == (None, list("abcdef"))


# What predictions.json says


def test_the_list_of_predictions_says_which_cases_and_which_were_lost(tmp_path: Path) -> None:
    truth = folder(tmp_path / "t", dict.fromkeys("abcd", WHOLE))
    predictions = folder(tmp_path / "p", dict.fromkeys("abc", HALF))
    listed(predictions, ["a", "b"], failed=[{"id": "d", "error": "the file ends"}, {"id": "unlabelled", "error": "x"}])
    found = evaluate(predictions, truth)
    assert ids(found) == ["a", "b"]
    assert found.failed == (Failure(id="d", error="it was not predicted: the file ends"),)
    assert found.classes == ("vessel",)


def test_predictions_made_of_a_split_of_the_same_data_must_cover_it(tmp_path: Path) -> None:
    truth = dataset(tmp_path / "t", {"train": {"a": WHOLE}, "test": {"c": WHOLE, "d": WHOLE}})
    predictions = listed(folder(tmp_path / "p", {"c": HALF}), ["c"], input=str(truth), split="test")
    found = evaluate(predictions, truth)
    assert (found.split, ids(found), [each.id for each in found.failed]) == ("test", ["c"], ["d"])


def test_the_split_of_the_run_counts_and_training_cases_are_noted(tmp_path: Path) -> None:
    truth = dataset(tmp_path / "t", {"train": {"a": WHOLE, "b": WHOLE}, "test": {"c": WHOLE}})
    run = tmp_path / "run"
    run.mkdir()
    split = {"train": ["a"], "validation": ["b"], "test": ["c"]}
    (run / "run.json").write_text(json.dumps({"data": [{"path": str(truth)}], "split": split}))
    predictions = folder(tmp_path / "p", dict.fromkeys("abc", HALF))
    listed(predictions, list("abc"), run=str(run))
    assert ids(evaluate(predictions, truth, split="validation")) == ["b"]
    assert evaluate(predictions, truth, split="test").notes == ()
    assert "The model was trained on 1 of these cases (a)" in evaluate(predictions, truth).notes[0]


def test_classes_match_by_name_whatever_their_order_and_values(tmp_path: Path) -> None:
    truth = folder(tmp_path / "t", {"a": bar(slice(0, 2), slice(0, 4), 1) + bar(slice(3, 5), slice(0, 4), 2)})
    manifest = tmp_path / "m.toml"
    manifest.write_text(
        'classes = { left = 1, right = 2 }\n[[group]]\npattern = "{id}.png"\nimages = {}\nmasks = "{path}"'
    )
    predicted = bar(slice(0, 2), slice(0, 4), 7) + bar(slice(3, 5), slice(0, 8), 5)
    predictions = listed(folder(tmp_path / "p", {"a": predicted}), ["a"], classes=["right", "left"], values=[[5], [7]])
    probability = np.stack([predicted == 5, predicted == 7]) * np.float32(0.9)
    write_map(tmp_path / "q", "a", probability, FLAT)
    found = evaluate(predictions, truth, manifest=manifest, root=truth, probabilities=tmp_path / "q")
    assert found.classes == ("left", "right")
    assert found.classes_mean["left"]["dice"] == 1
    assert found.classes_mean["right"]["dice"] == pytest.approx(2 / 3)
    assert found.mean["dice"] == pytest.approx((1 + 2 / 3) / 2)
    assert found.classes_mean["left"]["brier"] == pytest.approx(8 * 0.1**2 / 48)
    assert found.classes_mean["right"]["brier"] == pytest.approx((8 * 0.1**2 + 8 * 0.9**2) / 48)
    listed(predictions, ["a"], classes=["right", "middle"], values=[[5], [7]])
    with pytest.raises(DataError, match="the predictions have the classes right, middle, the truth has left, right"):
        evaluate(predictions, truth, manifest=manifest, root=truth)


def test_names_that_nobody_declared_come_from_the_predictions(tmp_path: Path) -> None:
    truth = folder(tmp_path / "t", {"a": bar(slice(0, 2), slice(0, 4), 1) + bar(slice(3, 5), slice(0, 4), 2)})
    predictions = folder(tmp_path / "p", {"a": bar(slice(0, 2), slice(0, 4), 1)})
    assert evaluate(predictions, truth).classes == ("class-1", "class-2")
    listed(predictions, ["a"], classes=["back", "front", "top"], values=[[2], [1], [3]])
    found = evaluate(predictions, truth, metrics=["dice"])
    assert found.classes == ("front", "back", "top")
    scores = {name: one["dice"] for name, one in found.cases[0].scores.classes.items()}
    assert scores == pytest.approx({"front": 1, "back": 0, "top": math.nan}, nan_ok=True)


@pytest.mark.parametrize("text", ["{", "[]", '{"classes": ["a"], "values": [], "cases": []}'])
def test_a_list_of_predictions_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    predictions = folder(tmp_path / "p", {"a": HALF})
    (predictions / "predictions.json").write_text(text)
    with pytest.raises(FileError, match=r"is no list of predictions|is not JSON"):
        evaluate(predictions, folder(tmp_path / "t", {"a": WHOLE}))


def test_masks_that_are_not_finished_are_said_to_be(tmp_path: Path) -> None:
    truth = folder(tmp_path / "t", {"a": HALF, "b": HALF})
    predictions = folder(tmp_path / "p", {"a": HALF, "b": HALF})
    listed(predictions, ["a"], total=2)
    assert any("1 of 2 cases are listed" in note for note in evaluate(predictions, truth).notes)
    listed(predictions, ["a", "b"], total=2)
    assert not any("not finished" in note for note in evaluate(predictions, truth).notes)


# Classes that overlap


def test_overlapping_classes_lie_in_a_folder_each(tmp_path: Path) -> None:
    for name, mask in (("inner", HALF), ("outer", WHOLE)):
        folder(tmp_path / "t" / name, {"a": mask, "b": mask})
        folder(tmp_path / "p" / name, {"a": WHOLE // 255, "b": mask})
    (tmp_path / "p" / "inner" / "b.png").unlink()
    found = evaluate(tmp_path / "p", tmp_path / "t", metrics=["dice"])
    assert found.classes == ("inner", "outer")
    assert found.cases[0].scores.classes == {"inner": {"dice": pytest.approx(2 / 3)}, "outer": {"dice": 1}}
    assert [failure.id for failure in found.failed] == ["b"]
    assert "the prediction for b has no mask of inner" in found.failed[0].error


def test_regions_that_share_values_are_scored_from_label_maps_of_other_tools(tmp_path: Path) -> None:
    truth = folder(tmp_path / "t", {"a": bar(slice(1, 3), slice(0, 4), 1) + bar(slice(1, 3), slice(4, 8), 2)})
    predictions = folder(tmp_path / "p", {"a": bar(slice(1, 3), slice(0, 8), 1)})
    manifest = tmp_path / "m.toml"
    manifest.write_text(
        'classes = { whole = [1, 2], core = 1 }\n[[group]]\npattern = "{id}.png"\nimages = {}\nmasks = "{path}"'
    )
    found = evaluate(predictions, truth, manifest=manifest, root=truth, metrics=["dice"])
    assert found.cases[0].scores.classes == {"whole": {"dice": 1}, "core": {"dice": pytest.approx(2 / 3)}}


# What fails alone


def test_what_is_broken_fails_alone(tmp_path: Path) -> None:
    masks = dict.fromkeys(("good", "broken", "small", "many"), WHOLE)
    truth = folder(tmp_path / "t", masks)
    predictions = folder(
        tmp_path / "p", {"good": HALF, "small": HALF[:3], "many": HALF + bar(slice(4, 5), slice(0, 8), 7)}
    )
    (predictions / "broken.png").write_bytes((truth / "broken.png").read_bytes()[:40])
    told: list[tuple[int, int, str]] = []
    found = evaluate(predictions, truth, progress=lambda done, total, id: told.append((done, total, id)))
    assert ids(found) == ["good"]
    errors = {failure.id: failure.error for failure in found.failed}
    assert set(errors) == {"broken", "small", "many"}
    assert "small.png: it does not fit the true mask: found 3 x 8 pixels, expected 6 x 8" in errors["small"]
    assert "broken.png" in errors["broken"]
    assert "many.png: the mask of one class holds the values 7, 255" in errors["many"]
    assert told == [(1, 4, "broken"), (2, 4, "good"), (3, 4, "many"), (4, 4, "small")]


def test_a_value_that_the_truth_does_not_know_fails_the_case(tmp_path: Path) -> None:
    truth = folder(tmp_path / "t", {"a": bar(slice(0, 2), slice(0, 8), 1) + bar(slice(2, 4), slice(0, 8), 2)})
    found = evaluate(folder(tmp_path / "p", {"a": bar(slice(0, 2), slice(0, 8), 3)}), truth)
    assert found.cases == ()
    assert "the value 3" in found.failed[0].error
    assert found.table() == "no case could be scored"
    assert found.facts()["mean"]["dice"] is None


def test_a_broken_true_mask_fails_alone(tmp_path: Path) -> None:
    truth = folder(tmp_path / "t", {"a": WHOLE, "b": WHOLE})
    (truth / "b.png").write_bytes(b"no image")
    found = evaluate(folder(tmp_path / "p", {"a": HALF, "b": HALF}), truth)
    assert (ids(found), [failure.id for failure in found.failed]) == (["a"], ["b"])


# Probabilities


def test_probability_maps_give_ranking_and_calibration(tmp_path: Path) -> None:
    truth, predictions = folder(tmp_path / "t", {"a": WHOLE}), folder(tmp_path / "p", {"a": WHOLE})
    write_map(tmp_path / "q", "a", np.where(WHOLE, 0.75, 0.25)[None].astype(np.float32), FLAT)
    found = evaluate(predictions, truth, probabilities=tmp_path / "q")
    assert found.mean["auc"] == 1
    assert found.mean["ece"] == pytest.approx(0.25)
    assert found.mean["brier"] == pytest.approx(0.0625)
    table = found.facts()["reliability"]
    assert (sum(table["count"]), len(table["edges"]), table["confidence"][0]) == (48, 16, None)
    assert "auc" not in evaluate(predictions, truth).mean
    assert evaluate(predictions, truth).facts()["reliability"] is None


def test_maps_that_the_list_names_are_used_where_they_are_there(tmp_path: Path) -> None:
    truth, predictions = folder(tmp_path / "t", {"a": WHOLE}), folder(tmp_path / "p", {"a": WHOLE})
    listed(predictions, [], cases=[{"id": "a", "mask": "a.png", "probability": "probabilities/a.tif"}])
    assert "auc" not in evaluate(predictions, truth).mean
    write_map(predictions / "probabilities", "a", (WHOLE // 255)[None].astype(np.float32), FLAT)
    assert evaluate(predictions, truth).mean["auc"] == 1


def test_maps_that_are_no_probabilities_fail_their_case(tmp_path: Path) -> None:
    names = ("scaled", "mask", "channels", "missing", "nan", "small", "good")
    truth, predictions = (folder(tmp_path / side, dict.fromkeys(names, WHOLE)) for side in "tp")
    good = np.where(WHOLE, 0.75, 0.25)[None].astype(np.float32)
    mask = (WHOLE // 255)[None].astype(np.float32)
    maps = {
        "good": good,
        "scaled": mask * 255,
        "mask": mask,
        "channels": np.concatenate([good, good]),
        "nan": good * np.nan,
    }
    for name, values in maps.items():
        write_map(tmp_path / "q", name, values, FLAT)
    write_map(tmp_path / "q", "small", good[:, :3], Geometry(shape=(3, 8), spacing=(1.0, 1.0)))
    found = evaluate(predictions, truth, probabilities=tmp_path / "q")
    errors = {failure.id: failure.error for failure in found.failed}
    assert ids(found) == ["good"]
    assert "found values from 0 to 255; expected probabilities from 0 to 1" in errors["scaled"]
    assert "found 2 channels; expected 1" in errors["channels"]
    assert "there is no probability map for missing" in errors["missing"]
    assert "NaN" in errors["nan"]
    assert "is a mask of zeros and ones" in errors["mask"]
    assert "found 3 x 8 pixels" in errors["small"]


def test_measures_are_chosen_by_name(tmp_path: Path) -> None:
    truth, predictions = folder(tmp_path / "t", {"a": WHOLE}), folder(tmp_path / "p", {"a": HALF})
    assert list(evaluate(predictions, truth, metrics=["hd95", "dice"]).mean) == ["dice", "hd95"]
    with pytest.raises(SettingsError, match="no metric is called f1"):
        evaluate(predictions, truth, metrics=["f1"])
    with pytest.raises(SettingsError, match="auc needs probability maps"):
        evaluate(predictions, truth, metrics=["auc"])
    with pytest.raises(DataError, match="expected a folder of probability maps"):
        evaluate(predictions, truth, probabilities=tmp_path / "absent")


# Which pixels count


def test_only_a_region_that_is_asked_for_counts(tmp_path: Path) -> None:
    root = dataset(tmp_path / "t", {"": {"a": WHOLE, "b": WHOLE, "c": WHOLE}})
    left = bar(slice(0, 6), slice(0, 4))
    folder(root / "fov", {"a": left, "b": left * 0})
    folder(tmp_path / "r", {"a": 255 - left})
    predictions = folder(tmp_path / "p", {"a": HALF, "b": HALF, "c": HALF})
    assert dice(evaluate(predictions, root)) == pytest.approx([2 / 3] * 3)
    inside = evaluate(predictions, root, region="dataset")
    assert dict(zip(ids(inside), dice(inside), strict=True)) == {"a": 1}
    errors = {failure.id: failure.error for failure in inside.failed}
    assert "the region of interest is empty" in errors["b"]
    assert "has no region of interest" in errors["c"]
    assert inside.facts()["cases"][0]["files"]["region"] == str(root / "fov" / "a.png")
    assert dice(evaluate(predictions, root, region=tmp_path / "r")) == [0]
    assert "regions" in inside.conventions[0]
    with pytest.raises(DataError, match="no case has a region of interest"):
        evaluate(predictions, folder(tmp_path / "bare", {"a": WHOLE}), region="dataset")


def test_pixels_of_which_the_truth_knows_nothing_do_not_count() -> None:
    truth = np.array([[[1, 0, IGNORE, IGNORE]]], np.uint8)
    prediction = np.array([[[1, 0, 1, 0]]], np.uint8)
    assert scores_of_arrays(prediction, truth, classes=["a"]).mean["dice"] == 1
    region = np.array([[False, True, True, True]])
    everything = scores_of_arrays(prediction, truth, classes=["a"], region=region, metrics=None).mean
    assert (everything["false_alarm"], everything["accuracy"]) == (0, 1)  # one pixel of background counts
    assert math.isnan(everything["dice"])
    with pytest.raises(ValueError, match="no pixel to compare"):
        scores_of_arrays(prediction, np.full_like(truth, IGNORE), classes=["a"])


def test_an_ignore_value_in_the_files_is_left_out(tmp_path: Path) -> None:
    truth = folder(tmp_path / "t", {"a": bar(slice(1, 3), slice(0, 4), 1) + bar(slice(1, 3), slice(4, 8), 9)})
    manifest = tmp_path / "m.toml"
    manifest.write_text(
        'classes = { vessel = 1 }\nignore = 9\n[[group]]\npattern = "{id}.png"\nimages = {}\nmasks = "{path}"'
    )
    for name, predicted in (("p", WHOLE), ("nine", WHOLE // 255 * 9)):  # 9 means nothing in a prediction
        found = evaluate(folder(tmp_path / name, {"a": predicted}), truth, manifest=manifest, root=truth)
        assert dice(found) == [1]


def test_arrays_of_overlapping_and_of_exclusive_classes_score_alike() -> None:
    numbers = np.array([[[0, 1, 2, 2]]], np.uint8)
    layers = np.concatenate([numbers == 1, numbers == 2]).astype(np.uint8)
    wrong = np.array([[[0, 1, 2, 1]]], np.uint8)
    one = scores_of_arrays(wrong, numbers, classes=["a", "b"], metrics=None)
    other = scores_of_arrays(wrong, layers, classes=["a", "b"], metrics=None)
    assert one.classes == other.classes
    assert one.mean["dice"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    with pytest.raises(ValueError, match="for 3 classes"):
        scores_of_arrays(wrong, layers, classes=["a", "b", "c"])
    with pytest.raises(ValueError, match="probabilities have shape"):
        scores_of_arrays(wrong, numbers, classes=["a", "b"], probability=numbers.astype(float))


# Volumes


def test_distances_in_volumes_are_in_millimetres_of_the_truth(tmp_path: Path) -> None:
    truth, predicted = np.zeros((2, 5, 6, 7), np.int32)
    truth[1, 2, 3], predicted[4, 2, 3] = 1, 1
    affine = np.diag([2.0, 1.0, 1.0, 1.0])
    geometry = Geometry((5, 6, 7), (2.0, 1.0, 1.0), affine, "volume", 2)
    for side, mask in (("t", truth), ("p", predicted)):
        write_labels(tmp_path / side, "a", mask, geometry)
    found = evaluate(tmp_path / "p", tmp_path / "t")
    assert found.mean["hd95"] == 6
    assert not found.notes


def nifti(path: Path, array: np.ndarray, affine: np.ndarray | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


@pytest.mark.parametrize("codes", ["LPS", "SAR", "PIL"])
def test_a_prediction_in_another_orientation_is_turned_to_the_truth(tmp_path: Path, codes: str) -> None:
    truth = np.zeros((6, 7, 8), np.uint8)
    truth[1:3, 2:6, 1:4] = 1
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    nifti(tmp_path / "t/a.nii.gz", truth, affine)
    to = ornt_transform(axcodes2ornt(("R", "A", "S")), axcodes2ornt(tuple(codes)))
    (tmp_path / "p").mkdir()
    nib.save(nib.Nifti1Image(truth, affine).as_reoriented(to), tmp_path / "p/a.nii.gz")
    found = evaluate(tmp_path / "p", tmp_path / "t")
    assert (found.mean["dice"], found.mean["hd95"]) == (1, 0)
    assert found.notes[0] == "1 prediction stored in another orientation than the truth, turned: a."
    turned = np.asarray(nib.load(tmp_path / "p/a.nii.gz").dataobj)
    other = nib.load(tmp_path / "p/a.nii.gz").affine
    nifti(tmp_path / "t/a.nii.gz", turned, other)  # the truth has an affine, the prediction is an array in its order
    (tmp_path / "p/a.nii.gz").unlink()
    np.save(tmp_path / "p/a.npy", turned)
    assert evaluate(tmp_path / "p", tmp_path / "t").mean["dice"] == 1
    nifti(tmp_path / "p/a.nii.gz", turned, other)
    (tmp_path / "p/a.npy").unlink()
    (tmp_path / "t/a.nii.gz").unlink()
    np.save(tmp_path / "t/a.npy", turned)  # and the other way round
    assert evaluate(tmp_path / "p", tmp_path / "t").mean["dice"] == 1


def test_a_prediction_on_a_finer_grid_is_resampled_and_one_elsewhere_is_refused_with_numbers(tmp_path: Path) -> None:
    truth = np.zeros((6, 8, 10), np.uint8)
    truth[2:4, 3:6, 4:7] = 1
    nifti(tmp_path / "t/a.nii.gz", truth, np.diag([2.0, 2.0, 2.0, 1.0]))
    fine = np.eye(4)
    fine[:3, 3] = -0.5
    nifti(tmp_path / "p/a.nii.gz", truth.repeat(2, 0).repeat(2, 1).repeat(2, 2), fine)
    found = evaluate(tmp_path / "p", tmp_path / "t")
    assert found.mean["dice"] == 1
    assert found.notes[0] == "1 prediction on another grid than the truth, resampled by the nearest value: a."
    far = np.diag([2.0, 2.0, 2.0, 1.0])
    far[0, 3] = 40
    nifti(tmp_path / "p/a.nii.gz", truth, far)
    (failure,) = evaluate(tmp_path / "p", tmp_path / "t").failed
    assert "its grid lies up to 40 mm away (affine), expected at most 0.02 mm, and its grid holds 0%" in failure.error


def test_a_true_mask_that_reaches_beyond_its_image_is_brought_onto_the_grid_of_the_image(tmp_path: Path) -> None:
    truth = np.zeros((12, 12, 12), np.uint8)
    truth[4:8, 5:7, 3:9] = 1
    wide, inner = np.eye(4), np.eye(4)
    wide[:3, 3] = -3
    nifti(tmp_path / "d/masks/a.nii.gz", np.pad(truth, 3), wide)
    nifti(tmp_path / "d/images/a.nii.gz", truth * 100, inner)
    nifti(tmp_path / "p/a.nii.gz", truth, inner)
    found = evaluate(tmp_path / "p", tmp_path / "d", split="all")
    assert found.mean["dice"] == 1
    assert "resampled by the nearest value: a" in found.notes[0]
    nifti(tmp_path / "p/a.nii.gz", truth[:, :6], inner)  # an answer to a part of the image is no answer
    (failure,) = evaluate(tmp_path / "p", tmp_path / "d", split="all").failed
    assert "does not fit" in failure.error
    (tmp_path / "d/images/a.nii.gz").unlink()  # and nobody knows without an image
    nifti(tmp_path / "p/a.nii.gz", truth, inner)
    (failure,) = evaluate(tmp_path / "p", tmp_path / "d/masks").failed
    assert "does not fit" in failure.error


# The mean and how sure it is


def test_the_interval_of_few_is_that_of_the_t_distribution() -> None:
    values = [0.2, 0.6, 0.5, 0.9]
    found = summarise([{"x": value} for value in values], list("abcd"))
    expected = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert found.interval["x"] == pytest.approx(expected)
    assert found.mean["x"] == pytest.approx(0.55)
    bounded = summarise([{"x": value} for value in values], list("abcd"), ranges={"x": (0, 1)}).interval["x"]
    assert 0 < bounded[0] < 0.55 < bounded[1] < 1
    distances = summarise([{"x": 10 * value} for value in values], list("abcd"), ranges={"x": (0, math.inf)})
    assert 0 < distances.interval["x"][0] < 5.5 < distances.interval["x"][1]


def test_equal_values_of_few_subjects_have_no_interval_and_skew_ones_one_of_their_size() -> None:
    ranges = {"x": (0.0, math.inf)}
    for value in (0.0, 1.0):
        found = summarise([{"x": value}] * 3, list("abc"), ranges=ranges)
        assert all(math.isnan(limit) for limit in found.interval["x"])
    skew = summarise([{"x": 2.0}, {"x": 20.0}], ["a", "b"], ranges=ranges).interval["x"]
    assert skew == (0.0, pytest.approx(11 + 12.706 * 9, rel=1e-3))


def test_a_class_of_which_the_truth_says_nothing_costs_the_others_nothing() -> None:
    known = np.array([[0, 1, 1, 0]])
    truth = np.stack([known, np.full_like(known, IGNORE)]).astype(np.uint8)
    found = scores_of_arrays(np.stack([known, known]).astype(np.uint8), truth, classes=["a", "b"], metrics=["dice"])
    assert found.classes["a"]["dice"] == found.mean["dice"] == 1
    assert math.isnan(found.classes["b"]["dice"])
    with pytest.raises(ValueError, match="no pixel to compare"):
        scores_of_arrays(truth % 2, np.full_like(truth, IGNORE), classes=["a", "b"], metrics=["dice"])


def test_a_share_of_all_or_none_has_an_interval_that_is_not_its_point() -> None:
    for hit in (0.0, 1.0):
        found = summarise([{"found": hit}] * 6, ["a", "a", "b", "b", "c", "d"], ranges={"found": (0, 1)})
        exact = stats.binomtest(round(4 * hit), 4).proportion_ci()  # of four subjects
        assert found.interval["found"] == pytest.approx((exact.low, exact.high))
    independent = [1.0] * 30 + [0.0] * 10
    found = summarise([{"found": hit} for hit in independent], [str(n) for n in range(40)], ranges={"found": (0, 1)})
    exact = stats.binomtest(30, 40).proportion_ci()
    assert found.interval["found"] == pytest.approx((exact.low, exact.high), abs=0.01)


@pytest.mark.parametrize("kind", ["Dice", "Dice, some cases fail", "found", "paired difference"])
def test_intervals_of_few_subjects_hold_the_truth_as_often_as_they_say(kind: str) -> None:
    benchmark = script("benchmarks/intervals.py")
    for subjects in (4, 10):
        held = benchmark.covered(kind, subjects, uneven=True, trials=300)
        assert held > 0.89, "the percentile bootstrap holds it in 0.8"  # 0.94 less four standard errors of 300 trials


def test_the_interval_of_many_is_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(0.8, 0.05, 400)
    found = summarise([{"dice": value} for value in values], [str(number) for number in range(400)])
    error = 1.96 * values.std(ddof=1) / math.sqrt(400)
    expected = (values.mean() - error, values.mean() + error)
    assert found.interval["dice"] == pytest.approx(expected, abs=0.01 * error)


def test_images_of_one_subject_are_drawn_together() -> None:
    draw = np.random.default_rng(0)
    means = draw.normal(0.8, 0.05, 12)
    scores = [{"dice": mean} for mean in means for _ in range(10)]
    subjects = [str(number) for number in range(12) for _ in range(10)]
    alone = summarise(scores, [str(number) for number in range(120)])
    together = summarise(scores, subjects)
    once = summarise(scores[::10], subjects[::10])
    assert together.interval["dice"] == pytest.approx(once.interval["dice"])  # ten copies say no more than one
    width = {
        name: found.interval["dice"][1] - found.interval["dice"][0]
        for name, found in (("alone", alone), ("together", together))
    }
    few, many = stats.t.ppf(0.975, 11) / math.sqrt(11), stats.t.ppf(0.975, 119) / math.sqrt(119)
    assert width["together"] / width["alone"] == pytest.approx(few / many)


def test_undefined_values_are_left_out_and_counted() -> None:
    scores = [{"dice": 0.5, "auc": math.nan}, {"dice": 0.7, "auc": 0.9}, {"dice": 0.9, "auc": math.nan}]
    found = summarise(scores, ["a", "b", "c"])
    assert found.count == {"dice": 3, "auc": 1}
    assert found.mean["auc"] == 0.9
    assert math.isnan(found.std["auc"])
    assert all(math.isnan(limit) for limit in found.interval["auc"])
    assert found.std["dice"] == pytest.approx(0.2)
    assert math.isnan(summarise([{"dice": math.nan}], ["a"]).mean["dice"])
    assert summarise([], []).mean == {}


def test_the_same_scores_have_the_same_interval_every_time() -> None:
    scores = [{"dice": value} for value in (0.1, 0.4, 0.5, 0.9)]
    assert summarise(scores, list("abcd")) == summarise(scores, list("abcd"))


# What is written


def test_the_report_reads_what_is_written_and_undefined_is_null(tmp_path: Path) -> None:
    truth = folder(tmp_path / "t", {"a": WHOLE, "b": WHOLE * 0})
    found = evaluate(folder(tmp_path / "p", {"a": HALF, "b": HALF}), truth)
    facts = found.facts()
    assert facts["cases"][1]["vca"] is None
    assert facts["count"]["vca"] == 1
    assert facts["interval"]["vca"] is None
    assert facts["classes_mean"] == {}
    assert "classes" not in facts["cases"][0]
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(facts, allow_nan=False))
    record = open_evaluation(path).record
    assert record.mean["dice"] == pytest.approx(found.mean["dice"])
    assert record.cases[0].files.truth == str(truth / "a.png")
    assert record.cases[0].files.image == ()


def test_the_table_for_spreadsheets_has_a_line_for_each_case_and_class(tmp_path: Path) -> None:
    mask = bar(slice(0, 2), slice(0, 4), 1) + bar(slice(3, 5), slice(0, 4), 2)
    truth, predictions = (folder(tmp_path / side, {"a": mask, "b": mask // 2}) for side in "tp")
    found = evaluate(predictions, truth, metrics=["dice", "vca"])
    found.write_csv(tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["subject"], row["class"]) for row in rows] == [
        (id, id, name) for id in "ab" for name in ("class-1", "class-2")
    ]
    assert [row["dice"] for row in rows] == ["1.0", "1.0", "1.0", ""], "b has no class-2"


def test_scores_are_kept_in_the_run_that_made_the_masks(tmp_path: Path) -> None:
    truth, predictions = folder(tmp_path / "truth", {"a": WHOLE}), folder(tmp_path / "masks", {"a": HALF})
    assert evaluate(predictions, truth).keep() is None
    run = tmp_path / "run"
    listed(predictions, ["a"], run=str(run), model=model_of(tmp_path / "other"))
    assert evaluate(predictions, truth).keep() is None  # the run is gone
    listed(predictions, ["a"], run=str(run), model=model_of(run))
    found = evaluate(predictions, truth, split="all")
    path = found.keep()
    assert path is not None
    assert path.parent == run / "evaluations"
    assert path.name.startswith("masks-truth-all-")
    assert json.loads(path.read_text())["mean"]["dice"] == found.mean["dice"]


def model_of(run: Path) -> str:
    """A run folder with weights; what they are called in `predictions.json`."""
    (run / "model").mkdir(parents=True)
    (run / "model" / "weights.safetensors").write_bytes(str(run).encode())
    (run / "run.json").write_text("{}")
    return identity_of(run)


def test_each_evaluation_is_kept_in_a_file_of_its_own_and_replaces_only_itself(tmp_path: Path) -> None:
    run = tmp_path / "run"
    model = model_of(run)
    truths = [folder(tmp_path / name / "truth", {"a": WHOLE}) for name in "pq"]
    folder(tmp_path / "fov", {"a": WHOLE})
    sides = [folder(tmp_path / name / "masks", {"a": HALF}) for name in "ab"]
    for side in sides:
        listed(side, ["a"], run=str(run), model=model)
    ways: list[dict[str, Any]] = [
        {}, {"split": "all"}, {"region": tmp_path / "fov"}, {"metrics": ["dice"]}, {"metrics": ["dice", "iou"]},
    ]  # fmt: skip
    done = [(side, truth, way) for side in sides for truth in truths for way in ways]
    kept = [evaluate(side, truth, **way).keep() for side, truth, way in done]
    assert len({*kept}) == len(done) == len([*(run / "evaluations").iterdir()])
    again = [evaluate(side, truth, **way).keep() for side, truth, way in done]
    assert again == kept
    assert evaluate(sides[0], truths[0], metrics=["iou", "dice"]).keep() == kept[4], "the order says nothing"
    for path, (side, truth, _) in zip(kept, done, strict=True):
        assert path is not None
        facts = json.loads(path.read_text())
        assert (facts["prediction"], facts["truth"]) == (str(side), str(truth))


def test_a_name_of_the_data_leads_nowhere_else(tmp_path: Path) -> None:
    truth, masks, run = (
        folder(tmp_path / "truth", {"a": WHOLE}),
        folder(tmp_path / "masks", {"a": HALF}),
        tmp_path / "r",
    )
    group = {"pattern": "{id}.png", "images": {}, "masks": ["{id}.png"]}
    (truth / "scantling.json").write_text(json.dumps({"name": "../../../x", "classes": {"v": 255}, "group": [group]}))
    listed(masks, ["a"], run=str(run), model=model_of(run))
    kept = evaluate(masks, truth).keep()
    assert kept is not None
    assert kept.parent == run / "evaluations"


@pytest.mark.parametrize(
    "trick", ["no model", "another model", "relative", "linked run", "linked evaluations", "no run"]
)
def test_a_strangers_list_makes_no_one_write_into_a_run(
    trick: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    model: object = model_of(run)
    elsewhere.mkdir()
    named = str(run)
    if trick in ("no model", "another"):
        model = None if trick == "no model" else "0" * 16
    elif trick == "relative":
        named = "run"
    elif trick == "linked run":
        named = str(tmp_path / "link")
        (tmp_path / "link").symlink_to(run)
    elif trick == "linked evaluations":
        (run / "evaluations").symlink_to(elsewhere)
    else:
        (run / "run.json").unlink()
    truth, masks = folder(tmp_path / "truth", {"a": WHOLE}), folder(tmp_path / "masks", {"a": HALF})
    listed(masks, ["a"], run=named, model=model)
    before = sorted(tmp_path.rglob("*"))
    assert evaluate(masks, truth).keep() is None
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("key", ["mask", "probability", "samples", "uncertainty_maps"])
@pytest.mark.parametrize("path", ["../secret.png", "{absolute}", "link.png", "a/../../secret.png"])
def test_a_list_names_files_of_its_own_folder_only(key: str, path: str, tmp_path: Path) -> None:
    truth, masks = folder(tmp_path / "truth", {"a": WHOLE}), folder(tmp_path / "masks", {"a": HALF})
    folder(tmp_path, {"secret": WHOLE})
    (masks / "link.png").symlink_to(tmp_path / "secret.png")
    named = path.format(absolute=tmp_path / "secret.png")
    value = {"samples": [named], "uncertainty_maps": {"deviation": named}}.get(key, named)
    listed(masks, ["a"], cases=[{"id": "a", "mask": "a.png", key: value}])
    with pytest.raises(DataError, match=r"predictions\.json: the case a lists .*, which does not lie in"):
        evaluate(masks, truth)


def test_ids_of_a_run_on_joined_data_stand_behind_the_name_of_their_data_set(tmp_path: Path) -> None:
    truth = dataset(tmp_path / "A", {"test": {"21": WHOLE, "22": WHOLE}, "train": {"23": WHOLE}})
    predictions, run = folder(tmp_path / "masks", {"21": WHOLE, "22": WHOLE, "23": WHOLE}), tmp_path / "run"
    run.mkdir()
    listed(predictions, ["21", "22", "23"], run=str(run))
    split = {"train": ["A_22", "23"], "test": ["A_21", "B_21", "B_22"]}
    (run / "run.json").write_text(json.dumps({"data": [{"path": str(truth)}], "split": split}))
    assert ids(evaluate(predictions, truth, split="test")) == ["21"]
    (note,) = evaluate(predictions, truth, split="all").notes
    assert note.startswith("The model was trained on 2 of these cases (22, 23)")


def test_the_table_for_people_has_a_line_for_each_measure(tmp_path: Path) -> None:
    truth = folder(tmp_path / "t", {"a": WHOLE, "b": WHOLE})
    lines = (
        evaluate(folder(tmp_path / "p", {"a": HALF, "b": WHOLE}), truth, metrics=["dice", "vca"]).table().splitlines()
    )
    assert len(lines) == 4
    assert lines[1].split()[:4] == ["Dice", "0.8333", "±", "0.2357"]
    assert lines[1].split()[-1] == "2"
    assert lines[3].startswith("2 subjects are few")


# Real data


def test_the_second_observer_of_drive_has_the_score_that_others_report(shared_data: Path) -> None:
    """bob.ip.binseg's documentation has F1 0.788 ± 0.021 for the second annotator, inside the field of view."""
    drive = shared_data / "drive"
    found = evaluate(drive / "test" / "masks-2nd", drive, region="dataset", metrics=["dice"])
    assert found.summary.count["dice"] == 20
    assert found.mean["dice"] == pytest.approx(0.788, abs=0.0005)
    assert found.summary.std["dice"] == pytest.approx(0.021, abs=0.0005)
