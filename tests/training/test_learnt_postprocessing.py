"""A postprocessing is learnt where it helps validation subjects beyond noise, and not where it does not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from scipy import ndimage
from scipy.special import expit, logit

from made import images_for
from scantling.contract.capabilities import Segmenter
from scantling.core.case import IGNORE, Case, Geometry, Sample
from scantling.core.postprocessing import AS_ANSWERED, Postprocessing
from scantling.data.dataset import open_dataset
from scantling.data.files import read
from scantling.inference import predict
from scantling.inference.postprocessing import drop_components, with_temperature
from scantling.methods.catalogue import CARDS
from scantling.metrics.overlap import confusion
from scantling.records.run import read_run
from scantling.records.run_folder import load_model, read_postprocessing
from scantling.report import report
from scantling.training import Options, train
from scantling.training.evidence import THRESHOLDS, Components, Evidence
from scantling.training.postprocessing import fitted, learn_postprocessing
from scantling.training.processes import Processes
from scantling.training.validation import validation_of

SHAPE = (64, 64)


def sigmoid(values: np.ndarray) -> np.ndarray:
    return expit(values).astype(np.float32)


def evidence(likely: np.ndarray, masks: np.ndarray, subject: str, *, exclusive: bool = True) -> Evidence:
    """Of probabilities (K, *S) and a mask (1 or K, *S)."""
    geometry = Geometry(masks.shape[1:], (1.0,) * (masks.ndim - 1))
    sample = Sample(Case(id=subject, subject=subject), np.zeros((1, *masks.shape[1:])), geometry, (masks,))
    return Evidence.of(likely, sample, exclusive=exclusive)


def drawn(draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The logits (*S) of a blob at a random place, and a truth that is drawn from their probabilities."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    row, column = draw.uniform(20, 44, 2)
    logits = 4 - np.hypot(rows - row, columns - column) / 2.5
    return logits, (draw.random(SHAPE) < sigmoid(logits)).astype(np.uint8)


def blob(draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (1, *S) around a disc, and the disc (1, *S)."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance = np.hypot(rows - draw.uniform(20, 44), columns - draw.uniform(20, 44))
    likely = sigmoid(12 - distance + draw.normal(0, 0.3))
    return likely[None], (distance < 12).astype(np.uint8)[None]


def kept(found: Postprocessing) -> list[str]:
    return [trial.part for trial in found.trials if trial.kept]


@pytest.mark.parametrize("temperature", [0.6, 2.5])
def test_a_known_temperature_is_recovered(temperature: float) -> None:
    draw = np.random.default_rng(0)
    cases = [drawn(draw) for _ in range(8)]
    seen = [
        evidence(sigmoid(temperature * logits)[None], truth[None], str(number))
        for number, (logits, truth) in enumerate(cases)
    ]
    found = fitted(seen, ("lesion",), exclusive=True)
    assert found.temperature == pytest.approx(temperature, rel=0.06)  # tried 5 % apart
    assert found.ece is not None
    assert found.ece[1] < found.ece[0] / 2


def test_a_known_temperature_of_exclusive_classes_is_recovered() -> None:
    draw, seen = np.random.default_rng(1), []
    for number in range(6):
        logits = draw.normal(0, 1.5, (3, *SHAPE))
        right = np.exp(logits) / np.exp(logits).sum(0)
        truth = (draw.random(SHAPE) > right.cumsum(0)[:, None].reshape(3, *SHAPE)).sum(0).astype(np.uint8)
        seen.append(
            evidence(with_temperature(right[1:].astype(np.float32), 0.5, exclusive=True), truth[None], str(number))
        )
    found = fitted(seen, ("a", "b"), exclusive=True)
    assert found.temperature == pytest.approx(2.0, rel=0.06)
    assert found.thresholds == ()  # of several exclusive classes the most likely one is decided


def test_calibrated_answers_and_right_masks_are_left_as_they_are() -> None:
    draw = np.random.default_rng(2)
    seen = [
        evidence(sigmoid(logits)[None], truth[None], str(number))
        for number, (logits, truth) in enumerate(drawn(draw) for _ in range(8))
    ]
    assert fitted(seen, ("lesion",), exclusive=True).temperature == 1
    for number in range(8):
        likely, disc = blob(draw)
        seen[number] = evidence(likely, disc, str(number))
    found = fitted(seen, ("lesion",), exclusive=True)
    assert not found.components
    assert not found.thresholds
    assert {trial.part for trial in found.trials} == {"temperature", "threshold", "components"}


def test_specks_beside_the_object_are_dropped_and_dice_is_that_of_the_cleaned_masks() -> None:
    draw, seen, scores = np.random.default_rng(3), [], []
    for number in range(6):
        likely, disc = blob(draw)
        spots = draw.random(SHAPE) < 0.02
        likely[0, spots] = np.maximum(likely[0, spots], 0.95)
        seen.append(evidence(likely, disc, str(number)))
        decided = (likely[0] > 0.5).astype(np.uint8)
        cleaned = drop_components(decided, ["largest"], exclusive=True, pixel=1.0)
        scores.append((confusion(decided, disc[0]).dice, confusion(cleaned, disc[0]).dice))
    found = fitted(seen, ("lesion",), exclusive=True)
    trial = next(trial for trial in found.trials if trial.part == "components")
    assert trial.kept
    assert found.components != ()
    assert found.components[0] is not None
    assert (trial.before, trial.after) == pytest.approx(tuple(np.mean(scores, 0)), abs=2e-3)
    table = seen[0].tables[0][0]
    assert (table.dice(None), table.dice("largest")) == pytest.approx(scores[0], abs=1e-12)


def test_noise_is_kept_in_one_of_twenty_trainings_at_most() -> None:
    """Answers and truths that have nothing to do with each other: what seems to gain gains by chance."""
    chosen = 0
    for seed in range(40):
        draw, seen = np.random.default_rng(seed), []
        for number in range(6):
            fields = [ndimage.gaussian_filter(draw.normal(size=(24, 24)), 2) for _ in range(2)]
            likely, truth = sigmoid(20 * fields[0]), (fields[1] > 0).astype(np.uint8)
            tables = evidence(likely[None], truth[None], str(number))
            one = tables.tables[0][0]  # the threshold gains where all that matters is to find more
            seen.append(replace(tables, tables=((one,) * len(THRESHOLDS),)))
        chosen += "components" in kept(fitted(seen, ("lesion",), exclusive=True))
    assert chosen <= 2


def test_the_luckiest_of_many_thresholds_is_kept_in_one_of_twenty_trainings_at_most() -> None:
    """Scores that differ by chance alone, independently for each threshold: then what wins is the luckiest."""
    draw, none, many, chosen = np.random.default_rng(0), np.zeros(0), 150, 0
    pixels = (np.zeros((0, 1), np.float32), np.zeros((0, 1), np.bool_))
    truths = (Components(none, none, none, 1000),)
    for _ in range(many):
        right = 800 + draw.normal(0, 20, (20, len(THRESHOLDS), 1))  # of 1,000 that are found: Dice .80 +- .02
        right[:, 0] = 800
        tables = [tuple(Components(np.ones(1), np.full(1, 1000), one, 1000) for one in ways) for ways in right]
        seen = [Evidence(str(number), *pixels, (table,), truths) for number, table in enumerate(tables)]
        chosen += "threshold" in kept(fitted(seen, ("lesion",), exclusive=True))
    assert chosen <= 0.05 * many + 2.5 * np.sqrt(many * 0.05 * 0.95), f"{chosen} of {many}"


def test_a_threshold_is_kept_and_decides_the_same_after_the_temperature() -> None:
    draw, seen, answers = np.random.default_rng(4), [], []
    for number in range(6):
        likely, disc = blob(draw)
        shifted = sigmoid(2 * (logit(likely) - 2.0))  # 0.5 is now too high, and too sure
        answers.append(shifted)
        seen.append(evidence(shifted, disc, str(number)))
    found = fitted(seen, ("lesion",), exclusive=True)
    trial = next(trial for trial in found.trials if trial.part == "threshold")
    assert trial.kept
    assert found.thresholds[0] < 0.5
    raw = np.stack(answers)
    warm = np.stack([with_temperature(answer, found.temperature, exclusive=True) for answer in answers])
    same = [one for one in THRESHOLDS if ((raw > one) == (warm > found.thresholds[0])).all()]
    assert same
    assert max(same) < 0.5


def test_classes_that_overlap_have_a_threshold_and_a_rule_each() -> None:
    draw, seen = np.random.default_rng(5), []
    for number in range(6):
        likely, disc = blob(draw)
        dirty = likely.copy()
        dirty[0, draw.random(SHAPE) < 0.02] = 0.95
        both = np.concatenate([likely, dirty])
        seen.append(evidence(both, np.concatenate([disc, disc]), str(number), exclusive=False))
    found = fitted(seen, ("clean", "dirty"), exclusive=False)
    assert found.components[0] is None
    assert found.components[1] is not None


def test_unknown_pixels_say_nothing_and_fewer_than_five_subjects_choose_nothing() -> None:
    draw, seen = np.random.default_rng(6), []
    for number in range(6):
        likely, disc = blob(draw)
        wrong = draw.random(SHAPE) < 0.02
        likely[0, wrong] = 0.95
        unknown = np.where(wrong & (disc[0] == 0), np.uint8(IGNORE), disc[0])[None]
        seen.append(evidence(likely, unknown, str(number)))
    assert "components" not in kept(fitted(seen, ("lesion",), exclusive=True))
    assert fitted(seen[:4], ("lesion",), exclusive=True).trials == ()


def test_an_empty_truth_counts_as_right_where_the_answer_is_empty() -> None:
    likely, disc = blob(np.random.default_rng(7))
    likely[:], disc[:] = 0.1, 0
    likely[0, 3, 3] = 0.9
    table = evidence(likely, disc, "a").tables[0][0]
    assert (table.dice(None), table.dice(2.0)) == (0.0, 1.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A U-Net after a moment's training, far from calibrated, with six validation subjects."""
    folder = tmp_path_factory.mktemp("postprocessing")
    data = images_for(CARDS["unet"], folder / "data", dimensions=2, count=14)
    options = Options(preset="tiny", steps=60, validation=0.5, seed=1)
    train("unet", [data], folder / "run", options, console=Console(quiet=True))
    return folder / "run"


def test_a_training_learns_it_and_its_answers_are_those_of_predict(run: Path) -> None:
    method = load_model(run)
    assert isinstance(method, Segmenter)
    found = method.postprocessing
    assert found.subjects == 6
    assert [trial.part for trial in found.trials] == ["temperature", "threshold", "components"]
    assert found.temperature != 1
    record = read_run(run)
    options = {"postprocess": False}
    predict(run, Path(record.data[0].path), out=run.parent / "with", split="validation", probabilities=True)
    predict(
        run, Path(record.data[0].path), out=run.parent / "without", split="validation", probabilities=True,
        options=options,
    )  # fmt: skip
    listed = [json.loads((folder / "predictions.json").read_text()) for folder in (
        run / "validation", run.parent / "with", run.parent / "without"
    )]  # fmt: skip
    assert listed[0]["postprocessing"] == listed[1]["postprocessing"] == [found.applied]
    assert "postprocessing" not in listed[2]
    reasons = [one["cases"][0]["expected"]["reason"] for one in listed]
    assert reasons[0] == "these are the validation cases"
    assert "expected 10 or more" in reasons[1]
    for case, again, plain in zip(*(one["cases"] for one in listed), strict=True):
        for what in ("mask", "probability"):
            assert (run / "validation" / case[what]).read_bytes() == (run.parent / "with" / again[what]).read_bytes()
        assert case["expected"]["estimate"] == again["expected"]["estimate"]
        raw = read(run.parent / "without" / plain["probability"]).array
        heated = read(run.parent / "with" / again["probability"]).array
        wanted = with_temperature(raw, found.temperature, exclusive=True)
        np.testing.assert_allclose(heated, wanted, atol=1e-6)


def test_methods_that_draw_or_calibrate_or_read_no_masks_and_small_validations_are_left_alone(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, record = load_model(run), read_run(run)
    dataset = open_dataset(Path(record.data[0].path))
    held = [case for case in dataset.cases if case.id in record.split["validation"]]
    how = {"device": torch.device("cpu"), "autocast": None}
    assert learn_postprocessing(method, held[:4], **how) == Postprocessing(of=4)
    assert learn_postprocessing(method, [], **how) == AS_ANSWERED
    monkeypatch.setattr(type(method), "draws", True)
    assert learn_postprocessing(method, held, **how) == AS_ANSWERED
    monkeypatch.setattr(type(method), "draws", False)
    with monkeypatch.context() as patch:
        patch.setattr(type(method), "calibration", lambda _: object())
        assert learn_postprocessing(method, held, **how) == AS_ANSWERED
    assert learn_postprocessing(method, held, **how) == method.postprocessing
    monkeypatch.setattr(type(method), "card", method.card.model_copy(update={"needs": (("image",),)}))
    assert learn_postprocessing(method, held, **how) == AS_ANSWERED


def test_a_validation_scores_the_weights_without_what_was_learnt_on_its_cases(run: Path) -> None:
    method, record = load_model(run), read_run(run)
    assert isinstance(method, Segmenter)
    dataset = open_dataset(Path(record.data[0].path))
    held = [case for case in dataset.cases if case.id in record.split["validation"]]
    values = []
    for method.postprocessing in (AS_ANSWERED, Postprocessing(thresholds=(0.999,), components=("largest",))):
        found = validation_of(method, held, device=torch.device("cpu"), autocast=None, seed=0, group=Processes())
        assert found is not None
        values.append(found.value())
    assert values[0] == values[1]


def test_with_fewer_than_five_validation_subjects_the_report_says_that_nothing_was_learnt(tmp_path: Path) -> None:
    data = images_for(CARDS["unet"], tmp_path / "data", dimensions=2, count=8)
    train("unet", [data], tmp_path / "run", Options(preset="tiny", validation=0.25), console=Console(quiet=True))
    found = read_postprocessing(tmp_path / "run")
    assert (found.subjects, found.applied) == (0, {})
    assert found.of > 0
    assert f"there are {found.of} validation subjects with a mask" in report([tmp_path / "run"]).read_text()
