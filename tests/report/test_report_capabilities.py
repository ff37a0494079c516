"""Classifiers and registrars on the page: what an evaluation has recorded stands there, and what is to be doubted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from made import write
from reported import Page, settled_run, write_run
from scantling.cli.main import main
from scantling.core.errors import FileError
from scantling.evaluation import evaluate_everything
from scantling.methods.catalogue import added
from scantling.metrics.catalogue import CLASS_METRICS
from scantling.records.classes_csv import ClassRow, write_classes
from scantling.records.evaluation import EvaluationRecord
from scantling.records.record import read_json, read_record
from scantling.records.registration_scores import RegistrationScoresRecord
from scantling.report import report
from toys_capabilities import TOYS
from toys_registration import CARD

NAMES = ("bright", "dark")


@pytest.fixture(scope="module", autouse=True)
def toys() -> Iterator[None]:
    with added(*TOYS.values(), CARD):
        yield


def run(*words: str | Path, code: int = 0) -> None:
    assert main([str(word) for word in words]) == code


def scored(folder: Path, *, count: int = 12, wrong: tuple[int, ...] = (1,), people: int = 0) -> Path:
    """An evaluation of image classes by two sites, each of which has both classes."""
    folder.mkdir(parents=True)
    rows, lines = [], ["id,class,subject,stratum site"]
    for number in range(count):
        true = NAMES[number % 2]
        dark = 0.9 if (true == "dark") != (number in wrong) else 0.1
        rows.append(ClassRow(f"c{number}", NAMES[dark > 0.5], {"bright": round(1 - dark, 6), "dark": dark}))
        site = "" if number == count - 1 else "AB"[number // 2 % 2]
        lines.append(f"c{number},{true},s{number % people if people else number},{site}")
    write_classes(folder / "classes.csv", rows, NAMES)
    (folder / "true.csv").write_text("\n".join(lines) + "\n")
    path = folder / "scores.json"
    evaluate_everything(folder, folder / "true.csv").record().write(path)
    return path


def test_an_evaluation_of_image_classes_comes_back_from_its_file(tmp_path: Path) -> None:
    path = scored(tmp_path / "p")
    record = read_record(EvaluationRecord, path)
    assert record.facts() == read_json(path), "nothing is lost"
    assert record.image_classes is not None
    assert record.image_classes.scores["accuracy"].value == pytest.approx(11 / 12)
    assert record.image_classes.strata.names["site"].unknown == ("c11",)
    broken = record.facts()
    broken["image_classes"]["confusion"]["cases"] = [[1]]
    path.write_text(json.dumps(broken))
    with pytest.raises(FileError, match="confusion matrix has other classes"):
        read_record(EvaluationRecord, path)


def test_the_page_shows_the_scores_of_image_classes_as_they_are_recorded(tmp_path: Path) -> None:
    path = scored(tmp_path / "p")
    facts = read_json(path)["image_classes"]
    page = Page(report([path]))
    for name, one in facts["scores"].items():
        low, high = one["interval"] or (None, None)
        assert CLASS_METRICS[name].title in page.text
        assert f"{one['value']:.3f}" in page.text
        assert low is None or f"{low:.3f} to {high:.3f}" in page.text
    rows = page.rows
    assert ["bright", "6", "0"] in rows, "the confusion of true classes in rows"
    assert ["dark", "1", "5"] in rows
    gap = facts["strata"]["names"]["site"]["gaps"]["accuracy"]
    assert f"{gap['high']} above {gap['low']}" in page.text
    assert f"{gap['difference']:.3f}" in page.text
    assert "Of 1 case it is not known" in page.text
    assert "share that is right" in page.text
    assert "The class bright is shown by 6 subjects, too few" in page.text


def test_the_page_doubts_a_classifier_that_is_no_better_than_the_commonest_class(tmp_path: Path) -> None:
    page = Page(report([scored(tmp_path / "p", count=6, wrong=(0, 1, 2), people=3)]))
    assert "50 % of the cases are bright: an accuracy of 0.500 is no better than always answering that" in page.text
    assert "Only 3 subjects were scored" in page.text


def test_classifiers_and_segmenters_stand_in_tables_of_their_own(tmp_path: Path) -> None:
    first, second, other = (scored(tmp_path / name, wrong=(n,)) for n, name in enumerate("pqr"))
    (tmp_path / "r" / "true.csv").write_text("id,class\nc0,bright\nc1,bright\n")
    evaluate_everything(tmp_path / "r", tmp_path / "r" / "true.csv").record().write(other)
    segmenter = settled_run(tmp_path)
    page = Page(report([first, segmenter, second], out=tmp_path / "a.html"))
    assert page.text.count("All were scored on the 12 same cases.") == 1
    assert "not scored yet" not in page.text
    assert {f"#t{n}" for n in (1, 2, 3)} <= {of.get("href") for tag, of in page.tags if tag == "a"}
    page = Page(report([first, other], out=tmp_path / "b.html"))
    assert "Do not compare these scores: they differ in the cases and the true classes." in page.text


def test_scores_of_a_classifier_are_kept_in_its_run_and_shown_with_it(tmp_path: Path) -> None:
    data, draws = tmp_path / "data", np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 4)):
        rows = ["id,class"]
        for number in range(count):
            image = 60 + 100 * (number % 2) + draws.normal(0, 4, (24, 24))
            write(data / part / "images", f"{part}{number}", image.astype(np.uint8))
            rows.append(f"{part}{number},{NAMES[1 - number % 2]}")
        (data / part / "labels.csv").write_text("\n".join(rows) + "\n")
    trained = tmp_path / "run"
    run("train", "toy-classifier", "--data", data, "--out", trained, "--preset", "tiny")
    text = Page(report([trained])).text
    assert "Image classes of the validation cases" in text
    assert "--probabilities" not in text, "a classifier has no maps"
    run("predict", trained, data, "--out", tmp_path / "out")
    run("evaluate", tmp_path / "out", data)
    (kept,) = (trained / "evaluations").iterdir()
    assert read_record(EvaluationRecord, kept).image_classes is not None
    run("evaluate", tmp_path / "out", data)
    assert list((trained / "evaluations").iterdir()) == [kept], "the same evaluation replaces itself"
    text = Page(report([trained])).text
    assert "Image classes of out on data, test split" in text
    assert "Nothing has been scored" not in text
    assert f"scantling evaluate {tmp_path / 'out'} {data} --split test" in text


def registrations(**changes: Any) -> dict[str, Any]:
    """An evaluation of two pairs in which registration has won."""
    pairs = [
        {"id": f"p{n}", "fixed": f"f{n}", "moving": f"m{n}", "subject": f"s{n}", "dice": 0.8 + 0.1 * n,
         "dice_before": 0.5, "landmarks": 1.5, "landmarks_before": 6.0, "folded": 0.0}
        for n in range(2)
    ]  # fmt: skip
    mean = {"dice": 0.85, "dice_before": 0.5, "landmarks": 1.5, "landmarks_before": 6.0, "folded": 0.0}
    return {
        "version": 1, "prediction": "/out/warped", "truth": "/data", "run": None, "method": "toy", "model": None,
        "classes": ["a"], "mean": mean, "std": dict.fromkeys(mean, 0.01), "count": dict.fromkeys(mean, 2),
        "interval": {"dice": [0.7, 0.9], "dice_before": None, "landmarks": None}, "subjects": dict.fromkeys(mean, 2),
        "units": {"landmarks": "mm", "landmarks_before": "mm"},
        "pairs": pairs, "failed": [{"id": "p9", "error": "it broke"}], "notes": [], "conventions": ["Folded: so."],
    } | changes  # fmt: skip


def test_the_page_shows_registrations_before_and_after(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps(registrations()))
    page = Page(report([tmp_path / "s.json"]))
    assert ["Dice, higher is better", "0.8500.700 to 0.900", "0.500", "2"] in [
        [cell.replace("↑", "") for cell in row] for row in page.rows
    ]
    assert "Landmark error (mm)" in page.text
    assert "1 pair could not be scored: p9" in page.text
    assert "scantling evaluate /out/warped /data" in page.text
    assert "Folded: so." in page.text


def test_the_page_doubts_folds_and_a_registration_that_has_lost(tmp_path: Path) -> None:
    facts = registrations()
    facts["mean"] |= {"dice": 0.4, "folded": 0.02}
    facts["pairs"][0]["folded"] = 0.04
    (tmp_path / "s.json").write_text(json.dumps(facts))
    text = Page(report([tmp_path / "s.json"])).text
    assert "Dice is worse after registration (0.400) than before (0.500)" in text
    assert "2.0 % of the pixels are folded, in 1 of 2 pairs" in text


def test_scores_of_registrations_are_kept_in_the_run_and_shown_with_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for number, (row, column) in enumerate(((8, 9), (11, 13), (9, 12))):
        mask = np.zeros((24, 28), np.uint8)
        mask[row : row + 6, column : column + 6] = 1
        for kind, array in (("images", 20 + 200 * mask), ("masks", mask)):
            (data / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(data / kind / f"i{number}.png")
    trained = tmp_path / "run"
    run("train", CARD.name, "--data", data, "--out", trained, "--validation", "0", "--device", "cpu")
    assert "scantling register" in Page(report([trained])).text
    run("register", trained, data, "--out", tmp_path / "out", "--split", "all")
    run("evaluate", tmp_path / "out", data)
    (kept,) = (trained / "evaluations").iterdir()
    record = read_record(RegistrationScoresRecord, kept)
    assert record.facts() == read_json(kept)
    text = Page(report([trained])).text
    assert "Registrations of out" in text
    assert f"{record.mean['dice']:.3f}" in text
    assert "Nothing has been scored" not in text


def test_broken_scores_in_a_run_are_said_and_the_rest_is_shown(tmp_path: Path) -> None:
    folder = settled_run(tmp_path)
    (folder / "evaluations" / "r.json").write_text(json.dumps({"pairs": 3, "mean": {}}))
    text = Page(report([folder])).text
    assert "is no evaluation of registrations" in text
    assert "Scores of masks" in text


def test_scores_of_masks_by_stratum_stand_on_the_page(tmp_path: Path) -> None:
    folder = settled_run(tmp_path)
    (path,) = (folder / "evaluations").iterdir()
    estimate = {"value": 0.75, "interval": [0.7, 0.8], "cases": 6, "subjects": 6}
    stratum = {
        "values": {"dark": {"dice": estimate}, "light": {"dice": estimate | {"value": 0.85, "interval": None}}},
        "gaps": {"dice": {"high": "light", "low": "dark", "difference": 0.1, "interval": [-0.02, 0.22]}},
        "unknown": [],
    }
    strata = {"convention": "So it is worked out.", "names": {"skin": stratum}}
    path.write_text(json.dumps(read_json(path) | {"strata": strata}))
    page = Page(report([folder]))
    assert ["dark", "6 cases, 6 subjects", "0.7500.700 to 0.800"] in page.rows
    assert ["Largest gap", "", "0.100−0.020 to 0.220light above dark"] in page.rows
    assert "So it is worked out." in page.text


def test_a_run_without_scores_is_written_about_all_the_same(tmp_path: Path) -> None:
    facts = {"method": "toy", "data": [], "split": {}, "command": []}
    assert "Nothing has been scored" in Page(report([write_run(tmp_path / "run", facts, [])])).text
