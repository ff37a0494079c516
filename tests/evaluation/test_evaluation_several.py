"""Folders of samples scored against several annotators: what is read, what stands in, and that every image counts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scantling.core.case import Geometry
from scantling.core.errors import SettingsError
from scantling.data.files import write_labels, write_map
from scantling.evaluation import Evaluation, evaluate, scores_of_arrays
from scantling.metrics.several import several
from scantling.report.targets import open_evaluation

FLAT = Geometry(shape=(6, 8), spacing=(1.0, 1.0))
SEVERAL = ("ged", "hm_iou", "max_dice", "soft_dice")


def save(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)


def marked(root: Path, annotators: dict[str, np.ndarray]) -> Path:
    """A dataset of cases, each marked by the masks (M, 6, 8) of its annotators."""
    for id, masks in annotators.items():
        save(root / "images" / f"{id}.png", np.ones((6, 8)))
        for folder, mask in zip(("masks", "masks-2nd", "masks-3rd"), masks, strict=False):
            save(root / folder / f"{id}.png", mask)
    return root


def predicted(out: Path, samples: dict[str, np.ndarray], **more: object) -> Path:
    """Masks by the vote of samples (N, 6, 8), which lie beside them, and their list."""
    cases = []
    for id, masks in samples.items():
        save(out / f"{id}.png", masks.mean(0) > 0.5)
        names = [f"samples/{id}/{number:02d}.png" for number in range(len(masks))]
        for name, mask in zip(names, masks, strict=True):
            save(out / name, mask)
        cases.append({"id": id, "mask": f"{id}.png", "probability": None, "samples": names} | more)
    listing = {"run": None, "split": "all", "classes": ["vessel"], "values": [[255]], "cases": cases, "failed": []}
    (out / "predictions.json").write_text(json.dumps(listing))
    return out


def masks(number: int, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return draw.random((number, 6, 8)) < draw.random((number, 1, 1))


def values(found: Evaluation, metric: str) -> dict[str, float]:
    return {case.id: case.scores.mean[metric] for case in found.cases}


def test_the_samples_of_a_list_are_held_against_all_annotators(tmp_path: Path) -> None:
    true, drawn = {"a": masks(3, 0), "b": masks(3, 1)}, {"a": masks(4, 2), "b": masks(4, 3)}
    found = evaluate(predicted(tmp_path / "p", drawn), marked(tmp_path / "t", true))
    for name in SEVERAL:
        expected = {id: getattr(several(drawn[id], true[id]), name) for id in true}
        assert values(found, name) == pytest.approx(expected), name
    assert "Of each case 4 samples and 3 annotators were compared." in found.notes
    assert any(sentence.startswith("GED") for sentence in found.conventions)


def test_the_first_annotator_is_the_truth_of_every_other_measure(tmp_path: Path) -> None:
    true, drawn = {"a": masks(2, 0)}, {"a": masks(3, 1)}
    folder = predicted(tmp_path / "p", drawn)
    both, alone = (marked(tmp_path / name, {"a": true["a"][:number]}) for name, number in (("2", 2), ("1", 1)))
    second, first = evaluate(folder, both), evaluate(folder, alone)
    assert set(second.mean) - set(first.mean) == set(SEVERAL)
    assert {name: second.mean[name] for name in first.mean} == pytest.approx(dict(first.mean), nan_ok=True)


def test_a_mask_without_samples_is_its_own_only_sample(tmp_path: Path) -> None:
    true, mask = masks(2, 0), masks(1, 1)
    save(tmp_path / "p" / "a.png", mask[0])
    found = evaluate(tmp_path / "p", marked(tmp_path / "t", {"a": true}))
    for name in SEVERAL:
        assert found.mean[name] == pytest.approx(getattr(several(mask, true), name)), name
    assert "Of each case the mask alone (it lists no samples) and 2 annotators were compared." in found.notes


def test_the_probability_stands_for_the_mean_of_samples_that_are_not_there(tmp_path: Path) -> None:
    true, mask, probability = masks(2, 0), masks(1, 1), np.random.default_rng(2).random((6, 8)).astype(np.float32)
    save(tmp_path / "p" / "a.png", mask[0])
    write_map(tmp_path / "q", "a", probability[None], FLAT)
    found = evaluate(tmp_path / "p", marked(tmp_path / "t", {"a": true}), probabilities=tmp_path / "q")
    expected = several(mask, true, mean=probability)
    assert found.mean["soft_dice"] == pytest.approx(expected.soft_dice)
    assert found.mean["ged"] == pytest.approx(expected.ged)


def test_a_case_that_one_annotator_marked_has_no_measure_of_several(tmp_path: Path) -> None:
    true = {"a": masks(2, 0), "b": masks(1, 1)}
    found = evaluate(predicted(tmp_path / "p", {id: masks(3, 2) for id in true}), marked(tmp_path / "t", true))
    assert found.summary.count["dice"] == 2
    assert [found.summary.count[name] for name in SEVERAL] == [1] * 4
    assert found.facts()["cases"][1]["ged"] is None


def test_one_annotator_everywhere_is_said_before_anything_is_scored(tmp_path: Path) -> None:
    root, told = marked(tmp_path / "t", {"a": masks(1, 0)}), []
    folder = predicted(tmp_path / "p", {"a": masks(3, 1)})
    with pytest.raises(SettingsError, match="ged needs masks by several annotators, and no case has more than one"):
        evaluate(folder, root, metrics=["dice", "ged"], progress=lambda *each: told.append(each))
    with pytest.raises(SettingsError, match="uncertainty_auc needs uncertainty maps, and the predictions list none"):
        evaluate(folder, root, metrics=["uncertainty_auc"], progress=lambda *each: told.append(each))
    assert told == []


def test_every_image_counts_however_many_there_are(tmp_path: Path) -> None:
    """Released evaluations stop at a fixed number of images for some metrics; here the mean is over all of them."""
    ids = [f"{number:03d}" for number in range(200)]
    true = {id: masks(2, number) for number, id in enumerate(ids)}
    drawn = {id: masks(2, 1000 + number) for number, id in enumerate(ids)}
    found = evaluate(predicted(tmp_path / "p", drawn), marked(tmp_path / "t", true), metrics=SEVERAL)
    assert len(found.cases) == 200
    for name in SEVERAL:
        each = [getattr(several(drawn[id], true[id]), name) for id in ids]
        assert found.mean[name] == pytest.approx(np.mean(each)), name
        assert found.summary.count[name] == 200, name


def test_images_on_which_everybody_finds_nothing_count_too(tmp_path: Path) -> None:
    empty = np.zeros((2, 6, 8), bool)
    true, drawn = {"a": empty, "b": masks(2, 0)}, {"a": empty, "b": masks(2, 1)}
    found = evaluate(predicted(tmp_path / "p", drawn), marked(tmp_path / "t", true), metrics=SEVERAL)
    assert [values(found, name)["a"] for name in SEVERAL] == [0, 1, 1, 1]
    assert all(found.summary.count[name] == 2 for name in SEVERAL)


def test_classes_are_compared_each_by_itself_exclusive_or_not() -> None:
    draw = np.random.default_rng(0)
    numbers = draw.integers(0, 3, (5, 1, 6, 8)).astype(np.uint8)
    layers = [np.concatenate([each == 1, each == 2]).astype(np.uint8) for each in numbers]
    one, other = (
        scores_of_arrays(
            each[0], each[1], classes=["a", "b"], others=[each[2]], samples=list(each[3:]), metrics=SEVERAL
        )
        for each in (list(numbers), layers)
    )
    assert one.classes == other.classes
    expected = several(numbers[3:, 0] == 2, numbers[1:3, 0] == 2)
    assert one.classes["b"] == pytest.approx({name: getattr(expected, name) for name in SEVERAL})
    assert one.mean["ged"] == pytest.approx((one.classes["a"]["ged"] + one.classes["b"]["ged"]) / 2)


def test_pixels_that_one_annotator_does_not_know_do_not_count_for_the_set() -> None:
    true, other = np.array([[[1, 1, 0, 0]]], np.uint8), np.array([[[1, 1, 255, 0]]], np.uint8)
    prediction = np.array([[[1, 1, 1, 0]]], np.uint8)
    found = scores_of_arrays(prediction, true, classes=["a"], others=[other], metrics=["dice", "ged"])
    assert (found.mean["ged"], found.mean["dice"]) == (0, pytest.approx(0.8))


def test_samples_of_overlapping_classes_lie_in_a_file_each(tmp_path: Path) -> None:
    names, root, out = ("inner", "outer"), tmp_path / "t", tmp_path / "p"
    true, drawn = (
        {name: masks(2, at) for at, name in enumerate(names)},
        {name: masks(3, 9 + at) for at, name in enumerate(names)},
    )
    manifest = "classes = { inner = [], outer = [] }\n[[group]]\npattern = 'inner/{id}.png'\nimages = {}\n"
    manifest += "masks = [{ inner = 'inner/{id}.png', outer = 'outer/{id}.png' },"
    manifest += " { inner = 'inner2/{id}.png', outer = 'outer2/{id}.png' }]\n"
    for name in names:
        save(root / name / "a.png", true[name][0])
        save(root / f"{name}2" / "a.png", true[name][1])
        save(out / name / "a.png", drawn[name][0])
        for number, mask in enumerate(drawn[name]):
            save(out / f"samples/a/{number:02d}/{name}.png", mask)
    samples = [[f"samples/a/{number:02d}/{name}.png" for name in names] for number in range(3)]
    case = {"id": "a", "mask": [f"{name}/a.png" for name in names], "samples": samples}
    (out / "predictions.json").write_text(json.dumps({"classes": names, "values": [[], []], "cases": [case]}))
    path = tmp_path / "m.toml"
    path.write_text(manifest)
    found = evaluate(out, root, manifest=path, root=root, metrics=["ged"])
    assert found.failed == ()
    expected = {name: {"ged": pytest.approx(several(drawn[name], true[name]).ged)} for name in names}
    assert found.cases[0].scores.classes == expected
    assert found.facts()["cases"][0]["files"]["samples"][2]["outer"] == str(out / "samples/a/02/outer.png")


def test_samples_that_are_gone_or_do_not_fit_fail_their_case_alone(tmp_path: Path) -> None:
    true = {id: masks(2, 0) for id in "abc"}
    folder = predicted(tmp_path / "p", {id: masks(2, 1) for id in "abc"})
    (folder / "samples" / "b" / "01.png").unlink()
    save(folder / "samples" / "c" / "00.png", np.ones((3, 8)))
    found = evaluate(folder, marked(tmp_path / "t", true))
    errors = {failure.id: failure.error for failure in found.failed}
    assert list(values(found, "dice")) == ["a"]
    assert "01.png: does not exist" in errors["b"]
    assert "00.png: it does not fit the true mask: found 3 x 8 pixels, expected 6 x 8" in errors["c"]
    assert len(evaluate(folder, tmp_path / "t", metrics=["dice"]).cases) == 3, "what no metric needs is not read"


def test_volumes_have_samples_too(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    geometry = Geometry((4, 5, 6), (1.0, 1.0, 1.0), np.eye(4), "volume", 2)
    true, drawn = draw.random((2, 4, 5, 6)) > 0.5, draw.random((3, 4, 5, 6)) > 0.5
    root, out = tmp_path / "t", tmp_path / "p"
    for folder, mask in zip(("images", "masks", "masks-2nd"), (true[0], *true), strict=True):
        write_labels(root / folder, "a", mask.astype(np.uint8), geometry)
    write_labels(out, "a", drawn[0].astype(np.uint8), geometry)
    names = [write_labels(out / "samples" / "a", f"{at:02d}", mask, geometry).name for at, mask in enumerate(drawn)]
    case = {"id": "a", "mask": "a.nii.gz", "samples": [f"samples/a/{name}" for name in names]}
    (out / "predictions.json").write_text(json.dumps({"classes": ["x"], "values": [[1]], "cases": [case]}))
    found = evaluate(out, root, metrics=["ged"])
    assert found.failed == ()
    assert found.mean["ged"] == pytest.approx(several(drawn, true).ged)


def test_an_uncertainty_map_that_is_listed_is_asked_where_the_mask_is_wrong(tmp_path: Path) -> None:
    true, drawn = {"a": masks(1, 0)}, {"a": masks(3, 1)}
    maps = {"deviation": "uncertainty/deviation/a.tif", "entropy": "uncertainty/entropy/a.tif"}
    folder = predicted(tmp_path / "p", drawn, uncertainty_maps=maps, uncertainty={"deviation": 0.25})
    wrong = (drawn["a"].mean(0) > 0.5) != true["a"][0]
    for name, values_of_map in (("deviation", wrong), ("entropy", ~wrong)):
        write_map(folder / "uncertainty" / name, "a", values_of_map[None].astype(np.float32), FLAT)
    root = marked(tmp_path / "t", true)
    found = evaluate(folder, root)
    assert found.mean["uncertainty_auc"] == 1
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(found.facts()))
    read = open_evaluation(path)
    assert read.record.cases[0].files.uncertainty["entropy"] == str(folder / maps["entropy"])
    assert read.predictions.cases[0].uncertainty == {"deviation": 0.25}
    write_map(folder / "uncertainty" / "deviation", "a", np.full((1, 6, 8), np.nan, np.float32), FLAT)
    assert "values that are not finite" in evaluate(folder, root).failed[0].error


def test_the_readers_of_stare_are_both_read(shared_data: Path) -> None:
    """The second reader against both: half a match with the first and a whole one with the second."""
    stare = shared_data / "stare"
    found = evaluate(stare / "masks-2nd", stare, split="all", metrics=["iou", "hm_iou", "max_dice", "dice"])
    assert found.summary.count["hm_iou"] == 20
    assert found.mean["hm_iou"] == pytest.approx((1 + found.mean["iou"]) / 2)
    assert found.mean["max_dice"] == pytest.approx((1 + found.mean["dice"]) / 2)
