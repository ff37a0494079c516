"""Learning curves: cells that are ordinary runs, done once, apart from each other; and what they say together."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import scantling
from commands import command
from made import blobs, write
from reported import Page
from scantling.core.engines import Share
from scantling.core.errors import DataError, RunError, SettingsError
from scantling.core.outputs import locked
from scantling.experiments import cells
from scantling.experiments.cells import Cell, Recipe, budgets, cells_of, do_cell, labelled_subjects
from scantling.experiments.comparison import Cost
from scantling.experiments.curve import Ready, curve, prepare
from scantling.experiments.curve_result import Curve, Point, ScoredCell, Worth
from scantling.methods.catalogue import CARDS
from scantling.metrics.catalogue import METRICS
from scantling.records.curve import CurveRecord
from scantling.records.run import read_run
from scantling.records.run_folder import identity_of
from scantling.report.curve import write_curve
from scantling.testing.data import make_data
from scantling.testing.trainings import quiet
from scantling.training import Options, train
from scantling.training.callbacks import StoppedError

TINY = Options(preset="tiny", steps=3, settings={"widths": [2, 4], "patch": [16, 16]})
WORDS = ("--preset", "tiny", "--steps", "3", "--settings.widths", "2,4", "--settings.patch", "16,16")


def made(root: Path, *, training: int = 6, testing: int = 3, classes: int = 1) -> Path:
    """Pictures of bright blobs, each of its own subject."""
    generator = np.random.default_rng(0)
    for number in range(training + testing):
        part = root / ("train" if number < training else "test")
        mask = blobs((25, 29), generator, classes)
        image = np.clip(60 + 60 * mask + generator.normal(0, 15, mask.shape), 0, 255)
        write(part / "images", f"case{number}", image.astype(np.uint8))
        write(part / "masks", f"case{number}", mask * np.uint8(255 if classes == 1 else 1))
    return root


@pytest.fixture(scope="module", name="data")
def the_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("curve") / "data")


@pytest.fixture(scope="module", name="done")
def a_curve(data: Path) -> tuple[Path, dict[str, Any], str]:
    """Two methods with two labels, drawn twice, and with all: the folder, the JSON, what was told."""
    out = data.parent / "curve"
    words = ("--labels", "2", "all", "--label-seeds", "2", "--out", out, "--json", data.parent / "found.json")
    found = command("curve", "unet", "mean-teacher", "--data", data, *words, "--csv", data.parent / "t.csv", *WORDS)
    assert found.returncode == 0, found.stderr
    return out, json.loads((data.parent / "found.json").read_text()), found.stdout


def weights_in(out: Path) -> dict[Path, str]:
    return {path.parent.relative_to(out): identity_of(path.parent) for path in out.rglob("run.json")}


def test_a_curve_is_a_table_a_page_and_a_run_folder_for_each_training(
    data: Path, done: tuple[Path, dict[str, Any], str]
) -> None:
    out, facts, told = done
    runs = {path.parent.relative_to(out / "runs").as_posix() for path in out.rglob("run.json")}
    draws = ("labels-2/draw-0/seed-0", "labels-2/draw-1/seed-0", "labels-all/seed-0")
    assert runs == {f"{method}/{draw}" for method in ("unet", "mean-teacher") for draw in draws}
    record = CurveRecord.model_validate(facts)
    assert [(point.method, point.subjects, point.cells) for point in record.points] == [
        ("unet", 2, 2), ("unet", 6, 1), ("mean-teacher", 2, 2), ("mean-teacher", 6, 1)
    ]  # fmt: skip
    scores = [
        json.loads((out / f"runs/unet/labels-2/draw-{draw}/seed-0/test.json").read_text())["mean"]["dice"]
        for draw in (0, 1)
    ]
    assert record.points[0].mean == pytest.approx(np.mean(scores)), "the mean over the label seeds"
    assert "2 methods in 6 of 6 trainings on 3 test cases of data" in told
    page = Page(out / "curve.html")
    assert "Dice over labelled subjects" in page.text
    rows = list(csv.DictReader((data.parent / "t.csv").read_text().splitlines()))
    assert [(row["method"], row["labels"], row["label_seed"]) for row in rows][:3] == [
        ("unet", "2", "0"), ("mean-teacher", "2", "0"), ("unet", "all", "")
    ]  # fmt: skip


def test_methods_share_subjects_and_steps_and_the_control_has_strong_augmentation(
    done: tuple[Path, dict[str, Any], str],
) -> None:
    runs = {name: read_run(done[0] / f"runs/{name}/labels-2/draw-1/seed-0") for name in ("unet", "mean-teacher")}
    assert runs["unet"].labelled == runs["mean-teacher"].labelled
    assert {run.steps for run in runs.values()} == {3}
    assert (runs["unet"].options["augment"], runs["mean-teacher"].options["augment"]) == ("strong", "own")
    other = read_run(done[0] / "runs/unet/labels-2/draw-0/seed-0")
    assert other.labelled != runs["unet"].labelled, "label seeds draw other subjects"


def test_a_cell_is_what_train_makes(data: Path, done: tuple[Path, dict[str, Any], str], tmp_path: Path) -> None:
    alone = replace(TINY, labels=2, label_seed=1)
    train("mean-teacher", [data], tmp_path / "run", alone, console=quiet())
    assert identity_of(tmp_path / "run") == identity_of(done[0] / "runs/mean-teacher/labels-2/draw-1/seed-0")


def test_what_is_done_is_not_done_again_and_a_budget_can_be_added(
    data: Path, done: tuple[Path, dict[str, Any], str]
) -> None:
    out, before = done[0], {path: path.stat().st_mtime_ns for path in done[0].rglob("*.safetensors")}
    found = curve(["unet"], data, out, labels=["all", "50%"], options=TINY)
    assert [(point.labels, point.cells) for point in found.points] == [("50%", 1), ("all", 1)]
    assert (out / "runs/unet/labels-50-percent/draw-0/seed-0/run.json").is_file()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    record = json.loads((out / "curve.json").read_text())
    assert (record["methods"], record["labels"]) == (["unet", "mean-teacher"], ["2", "all", "50%"])


def test_damaged_scores_are_scored_again_and_a_damaged_record_is_a_cell_that_failed(
    data: Path, done: tuple[Path, dict[str, Any], str]
) -> None:
    first, second = (done[0] / f"runs/unet/labels-2/draw-{draw}/seed-0" for draw in (0, 1))
    scores, record = (first / "test.json").read_text(), (second / "run.json").read_text()
    (first / "test.json").write_text(scores[:100])
    (second / "run.json").write_text(record[:100])
    try:
        found = curve(["unet"], data, done[0], labels=["2", "all"], label_seeds=2, options=TINY)
    finally:
        (second / "run.json").write_text(record)
    assert json.loads((first / "test.json").read_text())["mean"] == json.loads(scores)["mean"]
    assert [point.cells for point in found.points] == [1, 1]
    (failure,) = found.failed
    assert "unet with 2 labels, label seed 1, seed 0" in failure
    assert "run.json" in failure


def test_other_settings_and_other_data_are_refused(data: Path, done: tuple[Path, dict[str, Any], str]) -> None:
    with pytest.raises(RunError, match=r"a curve made otherwise: settings.steps was 3, is 4"):
        curve(["unet", "mean-teacher"], data, done[0], options=replace(TINY, steps=4))
    with pytest.raises(RunError, match=r"settings.control was unet, is mean-teacher"):
        curve(["mean-teacher"], data, done[0], options=TINY)
    with pytest.raises(RunError, match="data was "):
        curve(["unet"], made(data.parent / "other"), done[0], options=TINY)
    before = data.parent / "data/train/images/case0.png"
    kept = before.read_bytes()
    try:
        Image.fromarray(np.zeros((25, 29), np.uint8)).save(before)
        with pytest.raises(RunError, match="the files of the data have changed"):
            curve(["unet"], data, done[0], options=TINY)
    finally:
        before.write_bytes(kept)


def test_an_interrupted_cell_goes_on_and_ends_with_the_same_weights(
    data: Path, done: tuple[Path, dict[str, Any], str], tmp_path: Path
) -> None:
    def stop(share: float, total: int, name: str) -> None:
        if share > 0:
            raise KeyboardInterrupt

    def of(**how: Any) -> Curve:
        return curve(["unet"], data, tmp_path, labels=[2], options=TINY, **how)

    with pytest.raises(StoppedError, match="the same command goes on from there"):
        of(progress=stop)
    cell = Path("runs/unet/labels-2/draw-0/seed-0")
    assert not read_run(tmp_path / cell).finished
    assert of().failed == ()
    assert identity_of(tmp_path / cell) == identity_of(done[0] / cell)


def test_shards_do_each_a_part_and_a_cell_that_another_process_is_at_is_named_while_the_rest_stands(
    data: Path, tmp_path: Path
) -> None:
    words = ("curve", "unet", "--data", data, "--labels", "2", "--label-seeds", "2", "--out", tmp_path, *WORDS)
    assert command(*words, "--shard", "1/2").stdout == "", "a part makes no table"
    assert [path.parent.parent.name for path in tmp_path.rglob("run.json")] == ["draw-0"]
    with locked(tmp_path / "runs/unet/labels-2/draw-1", shard="seed-0"):
        found = command(*words)
    assert found.returncode == 1
    assert "failed: unet with 2 labels, label seed 1, seed 0: " in found.stderr
    assert "is in use by process" in found.stderr
    assert "1 of 2 trainings" in found.stdout
    assert command(*words, "--shard", "2/2").returncode == 0
    assert "2 of 2 trainings" in command(*words).stdout


def test_the_runs_of_a_curve_are_methods_to_compare_whatever_labels_were_drawn(
    data: Path, done: tuple[Path, dict[str, Any], str]
) -> None:
    runs = [
        done[0] / f"runs/{method}/labels-2/draw-{draw}/seed-0" for method in ("unet", "mean-teacher") for draw in (0, 1)
    ]
    found = scantling.compare(runs, data, metrics=["dice"], out=data.parent / "compared")
    assert {(one.name, one.label_seeds) for one in found.methods} == {("unet", (0, 1)), ("mean-teacher", (0, 1))}


@pytest.mark.parametrize(
    ("methods", "changes", "sentence"),
    [
        (["unet"], {"labels": [9]}, "--labels 9: found 6 labelled training subjects; expected 1 to 6"),
        (["unet", "unet"], {}, "unet: is named twice"),
        (["fractal-vessels"], {}, "fractal-vessels: cannot segment; it can generate"),
        (["direction"], {}, "direction: is built on another model"),
        (["unett"], {}, "did you mean unet"),
        ([], {}, "found no method"),
        (["unet"], {"labels": []}, "found no budget"),
        (["unet"], {"labels": [3, "3"]}, "--labels 3: is named twice"),
        (["unet"], {"labels": [3, "50%"]}, "50% of the labels are 3 subjects, as are 3 labels"),
        (["unet"], {"labels": ["some"]}, "--labels some: expected a number"),
        (["unet"], {"seeds": 0}, "--seeds: found 0; expected a whole number from 1"),
        (["unet"], {"label_seeds": 1.5}, "--label-seeds: found 1.5; expected a whole number from 1"),
        (["unet"], {"engine": "slurm"}, "--engine: found 'slurm'; expected one of local, ray"),
        (["unet"], {"share": Share(cpus=2)}, "--cpus-per-cell and --gpus-per-cell: go with --engine ray or slurm"),
        (["unet"], {"shard": "1/2"}, "--shard '1/2': expected i/n"),
        (["unet"], {"metric": "vca"}, "--metric vca: expected one of masks: dice"),
        (["unet"], {"shard": (3, 2)}, "--shard 3/2"),
        (["unet", "fixmatch"], {"options": replace(TINY, settings={"confidence": 0.9})}, "--settings.confidence"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence_before_anything_is_written(
    data: Path, tmp_path: Path, methods: list[str], changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises((SettingsError, DataError), match=sentence.replace("(", r"\(")):
        curve(methods, data, tmp_path / "out", **{"labels": [2], "options": TINY} | changes)
    assert not (tmp_path / "out").exists()


def test_a_curve_needs_test_masks(tmp_path: Path) -> None:
    data = made(tmp_path / "data", testing=0)
    (data / "split.json").unlink(missing_ok=True)
    with pytest.raises(DataError, match="no test case has an image and a mask"):
        curve(["unet"], data, tmp_path / "out", options=TINY)


def test_a_class_that_no_labelled_subject_has_is_a_sentence(tmp_path: Path) -> None:
    data = made(tmp_path / "data", classes=2)
    lost = next(iter(sorted((data / "train/masks").iterdir())))
    for path in (data / "train/masks").iterdir():  # only one subject has the second class
        if path != lost:
            Image.fromarray((np.asarray(Image.open(path)) > 0).astype(np.uint8)).save(path)
    recipe = Recipe(
        data=data, out=tmp_path / "out", options=TINY, control="unet", augment=None, metric="dice"
    )  # fmt: skip
    without = [seed for seed in range(4) if lost.stem not in labelled_in(recipe, Cell("unet", "1", seed, 0))]
    with pytest.raises(DataError, match=rf"the 1 labelled subject of label seed {without[0]} .*no pixel of class-2"):
        do_cell(recipe, Cell("unet", "1", without[0], 0))


def labelled_in(recipe: Recipe, cell: Cell) -> list[str]:
    """The ids of the labelled cases of a cell."""
    from scantling.methods.catalogue import card_of
    from scantling.training.material import open_material

    return open_material(card_of(cell.method), [recipe.dataset], None, recipe.options_of(cell)).labelled


def changed(data: Path, change: Callable[[list[dict[str, Any]]], None]) -> Path:
    """Apply a function to the cases of the manifest."""
    facts = json.loads((data / "scantling.json").read_text())
    change(facts["case"])
    (data / "scantling.json").write_text(json.dumps(facts))
    return data


def test_images_whose_labels_were_drawn_by_rule_are_subjects_of_a_budget(tmp_path: Path) -> None:
    def simulated(cases: list[dict[str, Any]]) -> None:
        for case in cases:
            case["origin"] = {"kind": "simulated", "model": "scribbles", "seed": 0}

    data = changed(make_data(CARDS["unet"], tmp_path / "data", dimensions=2), simulated)
    recipe = Recipe(data=data, out=tmp_path / "out", options=TINY, control="unet", augment=None, metric="dice")
    assert len(labelled_subjects(recipe, Cell("unet", "2", 0, 0))) == 2
    assert len(labelled_subjects(recipe, Cell("unet", "all", 0, 0))) == 4


def test_methods_that_learn_from_labels_of_other_subjects_are_told_apart(tmp_path: Path) -> None:
    def bare(cases: list[dict[str, Any]]) -> None:
        del cases[0]["scribbles"]

    card = CARDS["partial"].model_copy(update={"needs": (("image", "scribbles", "mask"),)})
    data = changed(make_data(card, tmp_path / "data", dimensions=2), bare)

    def ready(*methods: str) -> Ready:
        return prepare(
            methods, data, tmp_path / "-".join(methods), labels=["all"], seeds=1, label_seeds=1, options=TINY,
            augment=None, metric="dice", console=quiet(),
        )  # fmt: skip

    assert ready("partial", "scribble").warnings == []
    found = ready("partial", "unet")
    assert found.subjects == {"all": 3}, "a mask without scribbles teaches the control nothing"
    assert found.warnings == [
        "unet learns from labels that other subjects have than those of partial: they are not compared at the same "
        "subjects, nor at the same number of them with all labels."
    ]


def test_what_can_learn_from_masks_does_with_all_labels_as_with_few(data: Path, tmp_path: Path) -> None:
    recipe = Recipe(data=data, out=tmp_path, options=TINY, control="unet", augment=None, metric="dice")
    for labels in ("2", "all"):
        few, control = Cell("vessels", labels, 0, 0), Cell("unet", labels, 0, 0)
        assert recipe.options_of(few).settings == {**TINY.settings, "with_masks": True}
        assert recipe.options_of(control).settings == TINY.settings
        assert labelled_subjects(recipe, few) == labelled_subjects(recipe, control)
    asked = replace(recipe, options=replace(TINY, settings={"with_masks": False}))
    assert asked.options_of(few).settings == {"with_masks": False}


def test_without_labels_that_teach_the_control_there_are_no_budgets(tmp_path: Path) -> None:
    data = made(tmp_path / "data")
    shutil.rmtree(data / "train" / "masks")
    with pytest.raises(DataError, match="found no training subject with labels that vesselness learns from"):
        curve(["vesselness"], data, tmp_path / "out", options=Options())


def test_no_mask_of_a_test_case_is_opened_before_its_answer_is_there(data: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(data, tmp_path / "data"))
    for path in (copied / "test" / "masks").iterdir():
        path.write_bytes(b"")
    recipe = Recipe(data=copied, out=tmp_path / "out", options=TINY, control="unet", augment=None, metric="dice")
    with pytest.raises(DataError, match="no test case could be scored"):
        do_cell(recipe, Cell("unet", "2", 0, 0))
    assert identity_of(recipe.out / "runs/unet/labels-2/draw-0/seed-0")


def test_a_training_without_enough_memory_is_a_cell_that_failed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(cells, "train", full)
    found = curve(["unet"], data, tmp_path, labels=[2], options=TINY)
    assert [one.error for one in found.cells] == [
        f"{tmp_path}/runs/unet/labels-2/draw-0/seed-0: too large for the memory that is free; choose a smaller batch "
        "or patch"
    ]
    assert write_curve(found, tmp_path / "curve.html").is_file(), "where no training is done"


def test_sentences_say_which_budgets_were_tried_but_once() -> None:
    def of(*tried: tuple[str, int, int]) -> tuple[str, ...]:
        done = tuple(ScoredCell(Cell("unet", *one), Path(), 0.5) for one in tried)
        return Curve(Path(), "toys", Path(), "unet", METRICS["dice"], {}, (), done, cases=("a",), subjects=20).sentences

    rest = "would change is not in these numbers."
    both = [("3", draw, seed) for draw in (0, 1) for seed in (0, 1)]
    assert of(*both, ("all", 0, 0), ("all", 0, 1)) == ()
    assert of(*both, ("all", 0, 0)) == (f"Trained once with all labels: what another seed {rest}",)
    assert of(("3", 0, 0), ("all", 0, 0)) == (
        f"Trained once with 3 labels, all labels: what other labelled subjects or another seed {rest}",
    )
    assert of(("3", 0, 0), ("3", 0, 1)) == (f"Drawn once for 3 labels: what other labelled subjects {rest}",)


def test_all_labels_are_drawn_once_and_the_first_cells_are_a_whole_curve() -> None:
    every = cells_of(["a", "b"], budgets([3, "ALL"]), seeds=2, label_seeds=2)
    assert len(every) == 2 * (2 * 2 + 2)
    assert [(cell.method, cell.labels) for cell in every[:4]] == [("a", "3"), ("b", "3"), ("a", "all"), ("b", "all")]


def point(method: str, subjects: int, difference: float, interval: tuple[float, float], worth: Worth | None) -> Point:
    nothing = Cost(None, None, None, None)
    return Point(
        method, str(subjects), subjects, 3, 0.8, (0.7, 0.9), difference, interval, worth, {}, nothing
    )  # fmt: skip


def test_sentences_say_what_labels_a_method_equals_or_that_nothing_could_be_shown() -> None:
    nan = math.nan
    points = (
        point("unet", 7, nan, (nan, nan), None),
        point("good", 7, 0.03, (0.01, 0.05), Worth(12.2, (9.1, 17.4), 3, 70)),
        point("good", 14, 0.004, (-0.003, 0.011), Worth(16.0, (12.0, 21.0), 3, 70)),
        point("good", 70, 0.02, (0.01, 0.03), Worth(math.inf, (41.0, math.inf), 3, 70)),
        point("bad", 7, -0.03, (-0.05, -0.01), Worth(0.0, (0.0, 4.4), 3, 70)),
    )
    found = Curve(Path(), "toys", Path(), "unet", METRICS["dice"], {}, points, (), cases=("a",), subjects=20)
    assert found.sentences == (
        "At 7 labelled subjects, `good` is better than `unet`: Dice +0.030 (95 % +0.010 to +0.050); it equals 12 (9.1 "
        "to 17) labelled subjects of `unet`.",
        "At 14 labelled subjects, no difference between `good` and `unet` could be shown: Dice +0.004 (95 % −0.003 to "
        "+0.011).",
        "At 70 labelled subjects, `good` is better than `unet`: Dice +0.020 (95 % +0.010 to +0.030); it equals more "
        "than 70 (41 to more than 70) labelled subjects of `unet`.",
        "At 7 labelled subjects, `bad` is worse than `unet`: Dice −0.030 (95 % −0.050 to −0.010); it equals fewer than "
        "3 (fewer than 3 to 4.4) labelled subjects of `unet`.",
    )
