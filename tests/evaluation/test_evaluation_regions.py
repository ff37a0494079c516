"""Regions that join classes are scored in place of the classes, as BraTS scores what is labelled exclusively."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reported import page_of
from scantling.core.errors import DataError
from scantling.data.dataset import open_dataset
from scantling.data.manifest_file import write_manifest
from scantling.evaluation import evaluate, keeping

CLASSES = {"necrosis": 1, "oedema": 2, "enhancing": 4}
REGIONS = {"whole": [*CLASSES], "core": ["necrosis", "enhancing"], "enhancing": ["enhancing"]}
VALUES = np.array([0, 1, 2, 4], np.uint8)
ARRAYS = [VALUES[np.random.default_rng(seed).integers(0, 4, (12, 10))] for seed in range(4)]


def tumours(folder: Path, regions: dict[str, list[str]] | None = None) -> Path:
    """Two images with masks of three classes, and a manifest that may join them to regions."""
    for place in ("images", "masks"):
        (folder / place).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(ARRAYS[number]).save(folder / place / f"p{number}.png")
    named = "".join(f"{name} = {value}\n" for name, value in CLASSES.items())
    joined = "".join(f"{name} = {json.dumps(classes)}\n" for name, classes in (regions or {}).items())
    (folder / "scantling.toml").write_text(f"[classes]\n{named}" + (f"[regions]\n{joined}" if regions else ""))
    return folder


def answers(folder: Path, *, maps: bool = False) -> Path:
    """Masks as `predict` writes them, with the classes in another order and other values; probabilities if wanted."""
    names, values = ("enhancing", "necrosis", "oedema"), {4: 1, 1: 2, 2: 3, 0: 0}
    cases = []
    for number in range(2):
        folder.mkdir(exist_ok=True)
        mask = np.vectorize(values.get)(ARRAYS[2 + number]).astype(np.uint8)
        Image.fromarray(mask).save(folder / f"p{number}.png")
        case = {"id": f"p{number}", "mask": f"p{number}.png"}
        if maps:
            np.save(folder / f"map-p{number}.npy", np.stack([0.6 * (mask == k) + 0.1 for k in (1, 2, 3)]).astype("f4"))
            case["probability"] = f"map-p{number}.npy"
        cases.append(case)
    facts = {"classes": names, "values": [[1], [2], [3]], "exclusive": True, "cases": cases, "failed": []}
    (folder / "predictions.json").write_text(json.dumps(facts))
    return folder


def overlap(number: int, classes: list[str]) -> float:
    values = [CLASSES[name] for name in classes]
    mask, truth = (np.isin(ARRAYS[place], values) for place in (2 + number, number))
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


def test_regions_are_scored_as_the_union_of_their_classes(tmp_path: Path) -> None:
    found = evaluate(answers(tmp_path / "out"), tumours(tmp_path / "data", REGIONS), metrics=["dice"])
    assert found.classes == tuple(REGIONS)
    for number, case in enumerate(found.cases):
        expected = {name: overlap(number, classes) for name, classes in REGIONS.items()}
        assert {name: scores["dice"] for name, scores in case.scores.classes.items()} == pytest.approx(expected)
    assert found.notes[0].endswith(
        "whole = necrosis + oedema + enhancing; core = necrosis + enhancing; enhancing = enhancing."
    )
    plain = evaluate(tmp_path / "out", tumours(tmp_path / "classes"), metrics=["dice"])
    assert plain.classes == tuple(CLASSES)
    assert not any("regions" in note for note in plain.notes)


def test_predictions_that_lack_a_class_of_a_region_are_a_sentence(tmp_path: Path) -> None:
    masks = answers(tmp_path / "out")
    facts = json.loads((masks / "predictions.json").read_text())
    (masks / "predictions.json").write_text(
        json.dumps(facts | {"classes": ["enhancing", "necrosis"], "values": [[1], [2]]})
    )
    for file in masks.glob("*.png"):
        array = np.array(Image.open(file))
        Image.fromarray(np.where(array == 3, 0, array).astype(np.uint8)).save(file)
    with pytest.raises(DataError, match="has no class 'oedema', which the region 'whole' of the manifest joins; found"):
        evaluate(masks, tumours(tmp_path / "data", REGIONS), metrics=["dice"])


def test_a_record_of_regions_says_them_and_no_score_that_was_expected_of_classes(tmp_path: Path) -> None:
    masks = answers(tmp_path / "out")
    facts = json.loads((masks / "predictions.json").read_text())
    for case in facts["cases"]:
        case["expected"] = {"dice": 0.7, "low": 0.6, "high": 0.8, "coverage": 0.9}
    (masks / "predictions.json").write_text(json.dumps(facts))
    record = evaluate(masks, tumours(tmp_path / "data", REGIONS), metrics=["dice"]).record()
    assert record.regions == {name: tuple(joined) for name, joined in REGIONS.items()}
    assert all(case.expected is None for case in record.cases)
    plain = evaluate(masks, tumours(tmp_path / "classes"), metrics=["dice"]).record()
    assert plain.regions == {}
    assert all(case.expected is not None for case in plain.cases)
    kept = list[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeping, "write", lambda record, made, *, file_name: kept.append(file_name))
        for one in (record, record.model_copy(update={"regions": {}})):
            keeping.keep(one, "data")
    assert len({*kept}) == 2


def test_one_region_alone_leaves_the_other_classes_to_the_background(tmp_path: Path) -> None:
    data = tumours(tmp_path / "data", {"core": REGIONS["core"]})
    found = evaluate(answers(tmp_path / "out"), data, metrics=["dice"])
    assert [case.scores.mean["dice"] for case in found.cases] == pytest.approx(
        [overlap(number, REGIONS["core"]) for number in range(2)]
    )
    masks = tmp_path / "of any tool"
    masks.mkdir()
    for number in range(2):
        Image.fromarray(ARRAYS[2 + number]).save(masks / f"p{number}.png")
    assert evaluate(masks, data, metrics=["dice"]).summary.mean["dice"] == pytest.approx(found.summary.mean["dice"])


def test_the_probability_of_a_region_is_that_of_any_of_its_classes(tmp_path: Path) -> None:
    data = tumours(tmp_path / "data", REGIONS)
    found = evaluate(answers(tmp_path / "out", maps=True), data, metrics=["brier"])
    for number, case in enumerate(found.cases):
        values = [CLASSES[name] for name in REGIONS["core"]]
        likely = 0.2 + 0.6 * np.isin(ARRAYS[2 + number], values)
        expected = ((likely - np.isin(ARRAYS[number], values)) ** 2).mean()
        assert case.scores.classes["core"]["brier"] == pytest.approx(expected, abs=1e-5)


def test_a_page_of_regions_shows_their_masks(tmp_path: Path) -> None:
    found = evaluate(answers(tmp_path / "out", maps=True), tumours(tmp_path / "data", REGIONS))
    found.record().write(tmp_path / "scores.json")
    page = page_of(tmp_path / "scores.json")
    assert "Scored are the regions of the manifest" in page.text
    assert "whole core enhancing" in " ".join(page.text.split())
    assert "cannot be" not in page.text


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ({"core": ["necrosis", "edema"]}, "the region 'core' joins 'edema', which is no class; expected some of"),
        ({"core": []}, "the region 'core' joins no class"),
    ],
)
def test_a_region_of_what_is_no_class_is_a_sentence(
    tmp_path: Path, regions: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        open_dataset(tumours(tmp_path / "data", regions))


def test_classes_that_overlap_are_joined_to_no_region(tmp_path: Path) -> None:
    data = tumours(tmp_path / "data")
    (data / "scantling.toml").write_text('[classes]\nwhole = [1, 2, 4]\ncore = [1, 4]\n[regions]\nall = ["whole"]\n')
    with pytest.raises(DataError, match="the classes whole, core overlap"):
        open_dataset(data)


def test_a_written_manifest_keeps_its_regions(tmp_path: Path) -> None:
    data = open_dataset(tumours(tmp_path / "data", REGIONS))
    (tmp_path / "data" / "scantling.toml").unlink()
    write_manifest(data, tmp_path / "data" / "scantling.toml", data.labels)
    assert open_dataset(tmp_path / "data").regions == {name: tuple(of) for name, of in REGIONS.items()}
