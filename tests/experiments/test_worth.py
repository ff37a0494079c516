"""What made data are worth: which cases each arm gets, whom made cases come from, and the verdict in words."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_curve import TINY, WORDS
from test_curve import made as real_data

import scantling
from commands import command
from made import blobs, write
from reported import Page
from scantling.cli.commands import Worth
from scantling.core.errors import DataError, ScantlingError, SettingsError
from scantling.core.machine import Compute
from scantling.data.dataset import open_dataset
from scantling.evaluation.boxes import BoxCase, BoxEvaluation
from scantling.experiments.boxes_by_case import box_scores
from scantling.experiments.cells import Cell, labelled_subjects
from scantling.experiments.comparison import Cost
from scantling.experiments.curve_result import Point, ScoredCell
from scantling.experiments.made_sets import check_made, drawn_cases, learned_subjects, sources_of
from scantling.experiments.worth import BUDGETS, prepare, worth
from scantling.experiments.worth_arms import DEFAULT, Amount, arms_of, parsed
from scantling.experiments.worth_recipe import WorthRecipe
from scantling.experiments.worth_result import WorthResult
from scantling.methods.catalogue import added
from scantling.metrics.catalogue import METRICS
from scantling.metrics.detection import FoundBoxes
from scantling.records.run import read_run
from scantling.records.run_folder import identity_of
from scantling.records.worth import WorthRecord
from scantling.report.worth import write_worth
from scantling.testing.trainings import quiet
from scantling.training import Options, train
from toys_capabilities import TOYS


def painted(
    root: Path, *, count: int = 12, parents: int = 6, masks: bool = True, model: str = "painter 0123", **facts: Any
) -> Path:
    """Made pictures of blobs, number n from the real case n (of so many) with its mask."""
    generator, cases = np.random.default_rng(1), []
    for number in range(count):
        mask = blobs((25, 29), generator, 1)
        image = np.clip(60 + 60 * mask + generator.normal(0, 15, mask.shape), 0, 255)
        write(root / "images", f"m{number:02d}", image.astype(np.uint8))
        write(root / "masks", f"m{number:02d}", mask * np.uint8(255))
        origin = {"kind": "synthetic", "model": model, "hand_drawn": parents}
        origin |= {"parents": [f"case{number % parents}"]} if parents else {}
        case: dict[str, Any] = {"id": f"m{number:02d}", "images": f"images/m{number:02d}.png", "split": "train"}
        case |= {"masks": [f"masks/m{number:02d}.png"]} if masks else {}
        cases.append(case | {"origin": origin} | facts)
    (root / "scantling.json").write_text(
        json.dumps({"name": root.name, "case": cases} | ({"classes": {"foreground": 255}} if masks else {}))
    )
    return root


@pytest.fixture(scope="module", name="data")
def the_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six real pictures to train on, three to test, and twelve made ones beside them."""
    root = tmp_path_factory.mktemp("worth")
    painted(root / "painted")
    return real_data(root / "data")


@pytest.fixture(scope="module", name="run")
def a_run(data: Path) -> Path:
    """A model that has seen all real training subjects, as if it were a generator."""
    run = data.parent / "gan"
    train("unet", [data], run, replace(TINY, steps=1, validation=0.0), console=quiet())
    return run


def recipe_of(data: Path, made: Path, arms: tuple[str, ...], *, augment: Any = "strong") -> WorthRecipe:
    sources = sources_of([made], data.parent / "none")
    plan = arms_of(arms, [one.name for one in sources], augment=augment)
    return WorthRecipe(
        data=data, out=data.parent / "none", options=TINY, control="real", augment=augment, metric="dice",
        method="unet", plan=plan, sources={one.name: one for one in sources},
    )  # fmt: skip


# the grammar


@pytest.mark.parametrize(
    ("word", "name", "real", "made", "order"),
    [
        ("real", "real", 1, None, "shuffled"),
        ("half", "half", 1 / 2, None, "shuffled"),
        ("Real + x2", "real+200%", 1, 20, "shuffled"),
        ("real+20%", "real+20%", 1, 2, "shuffled"),
        ("real+2000", "real+2000", 1, 2000, "shuffled"),
        ("real+all", "real+all", 1, 77, "shuffled"),
        ("synthetic", "synthetic x1", 0, 10, "shuffled"),
        ("synthetic x3 then 10%", "synthetic x3 then 10%", 1 / 10, 30, "synthetic-first"),
        ("synthetic-first", "synthetic-first x1", 1, 10, "synthetic-first"),
        ("real-first x2", "real-first x2", 1, 20, "real-first"),
        ("mix-20/80", "mix-20/80", 1 / 5, 8, "shuffled"),
    ],
)
def test_an_arm_says_how_much_it_takes_and_in_which_order(
    word: str, name: str, real: float, made: int | None, order: str
) -> None:
    arm = parsed(word)
    assert (arm.name, float(arm.real), arm.order) == (name, real, order)
    assert (None if arm.made is None else arm.made.number(10, 77)) == made
    assert parsed(name) == arm, "the name is an arm, too"


@pytest.mark.parametrize("word", ["", "fake", "real+", "mix-50/40", "mix-0/100", "synthetic x1 then 0%", "real-50%"])
def test_what_is_no_arm_is_refused_with_examples(word: str) -> None:
    with pytest.raises(SettingsError, match=r"is no arm; expected one such as real, half"):
        parsed(word)


@pytest.mark.parametrize("word", ["real+0%", "synthetic x0", "real+0"])
def test_an_amount_of_nothing_is_refused(word: str) -> None:
    with pytest.raises(SettingsError, match="expected more than 0"):
        parsed(word)


def test_arms_are_told_apart_by_the_made_data_that_they_take() -> None:
    found = arms_of(["real+100%", "half", "real+5@b"], ["a", "b"], augment="strong")
    assert [*found] == ["real", "real+100%@a", "real+100%@b", "half", "real+5@b"]
    with pytest.raises(SettingsError, match="no made data 'c'; there are: a, b"):
        arms_of(["real+5@c"], ["a", "b"], augment="strong")
    with pytest.raises(SettingsError, match="half takes no made data"):
        arms_of(["half@a"], ["a"], augment="strong")
    with pytest.raises(SettingsError, match="every sample of every arm is changed already"):
        arms_of(["augmented+100%"], ["a"], augment="strong")
    assert arms_of(["augmented+x1"], ["a"], augment="none")["augmented+100%"].augmented == Amount(times=Fraction(1))


# which cases an arm gets


def test_arms_share_real_subjects_and_validation_and_more_made_cases_hold_fewer(data: Path) -> None:
    words = ("half", "real+50%", "real+100%", "synthetic x1", "synthetic-first x1", "mix-50/50", "real+all")
    recipe = recipe_of(data, data.parent / "painted", words)
    taken = {name: recipe.taken(Cell(name, "4", 0, 0)) for name in recipe.plan}
    real = {case.id for case in taken["real"].real}
    assert len(real) == 4, "of four subjects none is held out"
    assert {case.id for case in taken["half"].real} < real
    assert [len(taken[f"{name}@painted"].made) for name in words[1:6]] == [2, 4, 4, 4, 2]
    made = [{case.id for case in taken[f"{name}@painted"].made} for name in ("real+50%", "real+100%", "real+all")]
    assert made[0] < made[1] < made[2]
    assert taken["synthetic x1@painted"].real == ()
    assert len(taken["mix-50/50@painted"].real) == 2
    whole = {name: recipe.taken(Cell(name, "all", 0, 0)) for name in recipe.plan}
    assert {tuple(case.id for case in one.validation) for one in whole.values()} == {
        tuple(case.id for case in whole["real"].validation)
    }
    assert len(whole["real"].validation) == 1


def test_parents_lie_in_the_budget_and_made_cases_reach_neither_validation_nor_test(data: Path) -> None:
    recipe = recipe_of(data, data.parent / "painted", ("real+all",))
    for labels, draw in (("2", 0), ("2", 1), ("all", 0)):
        cell = Cell("real+all@painted", labels, draw, 0)
        own = {case.id for case in recipe.taken(cell).real}
        parents = {parent for case in recipe.taken(cell).made for parent in case.origin.parents}
        assert parents == own, "each real case has made ones"
        parts = recipe.parts_of(cell)
        kinds = {(case.origin.kind, case.split) for part in parts for case in part.cases}
        assert {split for kind, split in kinds if kind == "synthetic"} == {"train"}
        labelled = {case.id for case in parts[0].cases if case.masks and case.split != "test"}
        assert labelled == {case.id for case in recipe.budget(labels, draw).train} | {
            case.id for case in recipe.budget(labels, draw).validation
        }


def test_what_can_learn_from_masks_learns_from_those_of_its_cases(data: Path) -> None:
    unet = recipe_of(data, data.parent / "painted", ("real",))
    vessels = replace(unet, method="vessels", known={})
    for labels in ("2", "all"):
        cell = Cell("real", labels, 0, 0)
        assert vessels.options_of(cell).settings["with_masks"]
        assert vessels.budget(labels, 0).train == unet.budget(labels, 0).train


def test_too_few_made_cases_are_told_with_what_there_is(data: Path) -> None:
    recipe = recipe_of(data, data.parent / "painted", ("real+5",))
    with pytest.raises(DataError, match=r"takes 5 made cases .* holds 4 cases for training \(of 12 cases\)"):
        recipe.taken(Cell("real+5@painted", "2", 0, 0))


def test_ordinary_augmentation_in_the_same_amount_changes_a_share_of_the_samples(data: Path) -> None:
    recipe = recipe_of(data, data.parent / "painted", ("augmented+300%",), augment="none")
    options = recipe.options_of(Cell("augmented+300%", "2", 0, 0))
    assert (options.augment, options.augment_share) == ("strong", 3 / 4)
    assert recipe.options_of(Cell("real", "2", 0, 0)).augment == "none"


def test_one_image_of_several_is_what_a_recogniser_of_one_modality_sees(data: Path) -> None:
    recipe = replace(recipe_of(data, data.parent / "painted", ()), modality="flair", known={})
    assert recipe.dataset.cases == ()
    assert {*replace(recipe, modality="image").dataset.cases[0].images} == {"image"}


# whom made cases come from


def changed(folder: Path, into: Path, *, top: Mapping[str, Any] | None = None, **case: Any) -> Path:
    """A copy, every case of which has other facts."""
    shutil.copytree(folder, into)
    facts = json.loads((folder / "scantling.json").read_text()) | dict(top or {})
    for one in facts["case"]:
        one |= case
    (into / "scantling.json").write_text(json.dumps(facts))
    return into


def synthetic(**more: Any) -> dict[str, Any]:
    return {"kind": "synthetic", "model": "painter 0123", **more}


def test_made_data_that_cannot_be_used_are_refused_in_a_sentence(data: Path, tmp_path: Path) -> None:
    folder, real = data.parent / "painted", open_dataset(data)
    held = real.split("test")[0].id
    cases: list[tuple[Path, str]] = [
        (changed(folder, tmp_path / "a", origin={"kind": "real"}), "nothing says that its 12 cases are made"),
        (changed(folder, tmp_path / "b", masks=[]), "its images have no masks to learn from"),
        (changed(folder, tmp_path / "c", images={}), "holds masks without images"),
        (changed(folder, tmp_path / "d", origin=synthetic(parents=[held])), "were made from test subjects"),
        (
            changed(folder, tmp_path / "e", top={"classes": {"one": 255, "two": 7}}),
            "has the classes one, two; expected those of",
        ),
    ]
    volume = tmp_path / "f"
    write(volume, "v", np.zeros((25, 29, 4), np.uint8))
    one = {"id": "v", "images": "v.nii.gz", "masks": ["v.nii.gz"], "origin": synthetic()}
    (volume / "scantling.json").write_text(json.dumps({"case": [one], "classes": {"foreground": 255}}))
    cases.append((volume, "its images have 3 axes; expected 2"))
    for place, sentence in cases:
        with pytest.raises(DataError, match=sentence):
            check_made("painted", open_dataset(place), real)


def test_made_images_of_another_size_and_unknown_parents_are_told(data: Path, tmp_path: Path) -> None:
    folder, real = data.parent / "painted", open_dataset(data)
    assert check_made("painted", open_dataset(folder), real) == []
    strange = changed(folder, tmp_path / "strange", origin=synthetic(parents=["nobody"]))
    assert "have parents that are not in" in check_made("painted", open_dataset(strange), real)[0]
    large = tmp_path / "large"
    write(large, "x", np.zeros((90, 80), np.uint8))
    one = {"id": "x", "images": "x.png", "masks": ["x.png"], "origin": synthetic()}
    (large / "scantling.json").write_text(json.dumps({"case": [one], "classes": {"foreground": 255}}))
    assert "are about 90 pixels long, the real ones 29" in check_made("large", open_dataset(large), real)[-1]


def test_a_generator_that_has_seen_test_subjects_is_refused_and_one_that_has_seen_more_is_known(
    data: Path, run: Path, tmp_path: Path
) -> None:
    real = open_dataset(data)
    model = f"painter {identity_of(run)}"
    made = open_dataset(painted(tmp_path / "made", count=2, model=model))
    assert learned_subjects("made", made, [], real)[0] is None
    assert "no record says from whom painter has learned" in learned_subjects("made", made, [], real)[1][0]
    seen, remarks = learned_subjects("made", made, [run], real)
    assert (seen, remarks) == ({case.subject for case in real.split("train")}, [])
    other = replace(real, cases=tuple(replace(c, split="test" if c.id == "case0" else "train") for c in real.cases))
    with pytest.raises(DataError, match=r"its generator has learned from 1 test subject of .* \(case0\)"):
        learned_subjects("made", made, [run], other)
    judged = (
        f"other 4567 accepted: new, of 4 training images ab, accepted: labels, Dice of 0.7 by {model}; masks by {model}"
    )
    chosen = open_dataset(painted(tmp_path / "chosen", count=2, model=judged))
    assert "from whom other has learned" in learned_subjects("chosen", chosen, [run], real)[1][0], "its gate is known"
    judged = f"{model} accepted: labels, Dice of 0.7 by unet 4567"
    chosen = open_dataset(painted(tmp_path / "judged", count=2, model=judged))
    assert "from whom unet has learned" in learned_subjects("judged", chosen, [run], real)[1][0], "its gate is not"
    ruled = open_dataset(painted(tmp_path / "ruled", count=2, parents=0, model="retina-phantoms {}"))
    assert learned_subjects("ruled", ruled, [], real) == (frozenset(), []), "a rule has learned from nobody"


def test_made_cases_come_in_an_order_of_their_own_for_each_draw(data: Path) -> None:
    made, real = open_dataset(data.parent / "painted"), open_dataset(data)
    allowed = {case.subject for case in real.split("train")}
    orders = [[case.id for case in drawn_cases(made, allowed, real, draw=draw)] for draw in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert {*orders[0]} == {*orders[2]}


def test_cases_that_a_run_makes_later_come_after_those_that_it_has_made(data: Path, tmp_path: Path) -> None:
    real, orders = open_dataset(data), list[list[str]]()
    allowed = {case.subject for case in real.split("train")}
    for count in (6, 12):
        made = open_dataset(painted(tmp_path / f"{count}", count=count))
        orders.append([case.id for case in drawn_cases(made, allowed, real, draw=None)])
    assert orders[1][:6] == orders[0], "so that an arm that takes more leaves the smaller ones as they were"


def test_other_images_of_validation_subjects_are_not_trained_on(data: Path) -> None:
    whole = open_dataset(data)
    held = recipe_of(data, data.parent / "painted", ()).budget("all", 0).validation[0]
    others = [replace(held, id=f"bare {name}", subject=name, masks=(), split="train") for name in ("new", held.subject)]
    recipe = replace(
        recipe_of(data, data.parent / "painted", ()), data=replace(whole, cases=(*whole.cases, *others)), known={}
    )
    assert recipe.budget("all", 0).validation[0].subject == held.subject
    assert [case.subject for case in recipe.bare(recipe.budget("all", 0))] == ["new"]


def test_steps_are_timed_on_the_budget_with_most_subjects(data: Path) -> None:
    recipe = recipe_of(data, data.parent / "painted", ())
    found = [len(labelled_subjects(recipe, Cell("real", labels, 0, 0))) for labels in ("2", "4", "all")]
    assert found == [2, 4, 6], "of which the most counts"


# the command


def test_the_command_trains_tells_and_goes_on(data: Path) -> None:
    root, out = data.parent, data.parent / "out"
    words = ("--made", root / "painted", "--labels", "2", "--out", out, "--json", root / "found.json", *WORDS)
    found = command("worth", "--data", data, *words, "--arms", "synthetic-first", "--validity")
    assert found.returncode == 0, found.stderr
    record = WorthRecord.model_validate(json.loads((root / "found.json").read_text()))
    assert [point.method for point in record.points] == ["real", "synthetic-first x1@painted"]
    assert [(one.arm, one.real, one.made) for one in record.amounts] == [
        ("real", 2, 0), ("synthetic-first x1@painted", 2, 2)
    ]  # fmt: skip
    assert record.verdict[0].startswith("painted, Dice over augmentation alone: at 2 real subjects ")
    assert [(one.on, one.cases) for one in record.validity] == [("real test cases", 3), ("painted", 4)]
    assert record.validity[0].score == pytest.approx(record.points[0].mean)
    assert "painted with 2 labels: its generator has learned from 6 masks that people drew" in found.stdout
    runs = [read_run(out / f"runs/{name}/labels-2/draw-0/seed-0") for name in ("real", "synthetic-first-x1@painted")]
    assert [run.options["order"] for run in runs] == ["shuffled", "synthetic-first"]
    assert {run.options["augment"] for run in runs} == {"strong"}
    assert {run.steps for run in runs} == {3}
    page = Page(out / "worth.html").text
    assert "Are the made cases valid?" in page
    assert "Made images beside real ones" in page
    images = record.images["painted"]
    assert (images["images"]["made"], images["images"]["real measured"]) == (12, 6)
    assert images["features"]["network"].startswith("unet ")
    assert f"painted: MS-SSIM of made beside real images {images['ms_ssim']['generated-real']['mean']:.3f}" in page
    assert "What each arm trains on" in page
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    again = scantling.worth(
        data, root / "painted", out, labels=[2], arms=["synthetic-first", "half"], preset="tiny", steps=3,
        settings=dict(TINY.settings),
    )  # fmt: skip
    assert [point.method for point in again.points] == ["real", "synthetic-first x1@painted", "half"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    write(root / "painted/images", "m00", np.zeros((25, 29), np.uint8))
    found = command("worth", "--data", data, *words)
    assert found.returncode == 2
    assert "holds an experiment made otherwise: the made cases of painted have changed" in found.stderr


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"made": []}, "--made: found none"),
        ({"made": ["nowhere"]}, "--made nowhere: there is no nowhere; expected a folder of made cases"),
        ({"arms": ["fake"]}, "--arms fake: is no arm"),
        ({"arms": ["real+500"]}, "takes 500 made cases"),
        ({"labels": [9]}, "--labels 9: found 6 labelled training subjects"),
        ({"labels": [3, "50%"]}, "--labels 50%: are 3 subjects, as --labels 3"),
        ({"method": "fractal-vessels"}, "expected a segmenter or a classifier that is trained alone"),
        ({"metric": "vca"}, "--metric vca: expected one of masks"),
        ({"metric": "ap50"}, "--metric ap50: expected one of masks"),
        ({"modality": "flair"}, "--modality flair: the cases have the images image; expected one of several"),
        ({"seeds": 0}, "--seeds: found 0"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    data: Path, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    painted(tmp_path / "painted")
    how = {"method": "unet", "made": [tmp_path / "painted"], "labels": [2], "options": TINY} | changes
    with pytest.raises(ScantlingError, match=sentence):
        worth(how.pop("method"), data, how.pop("made"), tmp_path / "out", **how)
    assert not (tmp_path / "out").exists()


# the verdict


def result(*differences: tuple[str, str, int, float, tuple[float, float]], cells: int = 3) -> WorthResult:
    names = dict.fromkeys(name for name, *_ in differences)
    plan = arms_of([*names], ["gan"], augment="strong")
    points = [
        Point(
            method=f"{name}@gan", labels=labels, subjects=subjects, cells=cells, mean=0.8, interval=(0.7, 0.9),
            difference=difference, difference_interval=interval, worth=None, classes={},
            cost=Cost(None, None, None, None),
        )
        for name, labels, subjects, difference, interval in differences
    ]  # fmt: skip
    cell = ScoredCell(Cell("real", "5", 0, 0), Path("run"), 0.8)
    return WorthResult(
        data=Path("data"), name="data", out=Path("out"), control="real", metric=METRICS["dice"],
        shared={"augment": "strong", "steps": 9}, points=tuple(points), cells=(cell,), cases=("a",), subjects=20,
        arms=tuple(plan.values()),
    )  # fmt: skip


def test_the_verdict_says_plainly_whether_a_gain_could_be_shown() -> None:
    found = result(
        ("real+100%", "5", 5, 0.031, (0.010, 0.050)),
        ("real+100%", "all", 40, 0.003, (-0.004, 0.010)),
        ("synthetic x1", "5", 5, 0.001, (-0.02, 0.02)),
        ("synthetic x1", "all", 40, -0.2, (-0.3, -0.1)),
    )
    assert found.verdict == (
        "gan, Dice over augmentation alone: at 5 real subjects a gain of +0.031 (+0.010 to +0.050) with `real+100%`, "
        "the best of 2 arms; with all 40 real subjects no gain could be shown: the best of 2 arms, `real+100%`, has "
        "+0.003 (−0.004 to +0.010). Worse than augmentation alone: `synthetic x1` with all 40 real subjects.",
    )
    assert found.sentences[0] == found.verdict[0]
    wide = result(("real+100%", "5", 5, 0.05, (-0.01, 0.11)), ("real+50%", "5", 5, 0.03, (0.01, 0.05))).verdict[0]
    assert (
        "a gain of +0.03 (+0.01 to +0.05) with `real+50%`, the largest that could be shown of 2 arms"
        in wide.replace("0 ", " ").replace("0)", ")")
    )
    once = result(("real+100%", "5", 5, 0.031, (math.nan, math.nan)), cells=1).verdict[0]
    assert "no gain could be shown: `real+100%` has +0.031, without an interval" in once
    single = result(("real+100%", "5", 5, 0.031, (0.010, 0.050)), cells=1).verdict[0]
    assert "a gain of +0.031 (+0.010 to +0.050) with `real+100%` in one training." in single
    assert "Trained once: the chance of a training is not in the intervals" in once


# runs that make the cases, other machines


def test_a_run_makes_as_many_cases_as_arms_take_and_says_whom_it_has_seen(
    data: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def synthesize(source: Path, *, count: int, out: Path, compute: Compute) -> None:
        assert compute.threads == TINY.threads
        asked.append((source, count, out))
        painted(out, count=count, parents=0, model=f"gan {identity_of(source)}")

    monkeypatch.setattr("scantling.experiments.worth.synthesize", synthesize)
    how: dict[str, Any] = {
        "arms": ["real+100%", "synthetic x3"], "labels": [2, 4], "seeds": 1, "label_seeds": 1, "generators": [],
        "options": TINY, "augment": "strong", "metric": "dice", "console": quiet(),
    }  # fmt: skip
    ready = prepare("unet", data, [f"gan@2={run}", f"gan@4={run}"], tmp_path / "out", **how)
    assert asked == [(run, 6, tmp_path / "out/made/gan@2"), (run, 12, tmp_path / "out/made/gan@4")]
    assert [len(ready.recipe.taken(cell).made) for cell in ready.cells] == [0, 2, 6, 0, 4, 12]
    assert "gan with 2 labels: its generator has learned from 4 real subjects outside of it" in ready.warnings[0]
    assert "name it with --made gan@2=RUN" in ready.warnings[0]
    listed = open_dataset(data, manifest=tmp_path / "out/budgets/labels-4-draw-0.toml")
    assert {case.subject for case in listed.split("train")} == set(ready.recipe.budget("4", 0).subjects)
    assert {case.id for case in listed.split("test")} == {case.id for case in ready.recipe.dataset.split("test")}
    prepare("unet", data, [f"gan@2={run}", f"gan@4={run}"], tmp_path / "out", **how)
    assert len(asked) == 2, "what is made is not made again"
    with pytest.raises(SettingsError, match=r"a run makes as many as are asked for; name a number"):
        prepare("unet", data, [run], tmp_path / "new", **how | {"arms": ["real+all"]})


def test_an_array_job_does_the_cells_by_the_plain_command(data: Path, tmp_path: Path) -> None:
    words = ("--data", data, "--made", data.parent / "painted", "--labels", "2", "--out", tmp_path / "out", *WORDS)
    done = command("worth", *words, "--arms", "half", "--engine", "slurm")
    assert done.returncode == 0, done.stderr
    script = (tmp_path / "out/worth.sbatch").read_text()
    assert "--array=1-2" in script
    assert "-m scantling worth unet --data" in script
    assert f"--arms half --made {data.parent / 'painted'}" in script
    timed = command("worth", *words[:-6], "--engine", "slurm")
    assert "every job does one training of fixed steps" in timed.stderr


def test_the_command_and_the_function_have_the_same_defaults() -> None:
    assert Worth(data=Path(), made=[], out=Path()).arms == [*DEFAULT]
    assert tuple(Worth(data=Path(), made=[], out=Path()).labels) == BUDGETS


def test_a_detector_is_scored_by_its_boxes(data: Path) -> None:
    settings = {"boxes_from": "mask"}
    found = worth(
        "ssd", data, [data.parent / "painted"], data.parent / "boxes", labels=["all"], arms=["synthetic x1"],
        options=Options(preset="tiny", steps=2, validation=0.0, threads=1, settings=settings), validity=True,
    )  # fmt: skip
    assert found.failed == ()
    assert found.metric.title == "Average precision at 0.5, by image"
    assert all(0 <= point.mean <= 1 for point in found.points)
    assert [(one.on, math.isnan(one.error)) for one in found.validity] == [("real test cases", True), ("painted", True)]
    write_worth(found, data.parent / "boxes.html")
    assert "Average precision at 0.5, by image" in Page(data.parent / "boxes.html").text


def test_boxes_of_each_case_are_scored_by_themselves() -> None:
    def case(number: int, found: list[list[list[float]]], true: list[list[list[float]]]) -> BoxCase:
        boxes, there = (np.array(each, np.float64).reshape(-1, 2, 2) for each in (found, true))
        scores, classes = np.linspace(1, 0.5, len(boxes)), np.zeros(len(boxes), np.int64)
        one = FoundBoxes(
            boxes=boxes, scores=scores, classes=classes, true_boxes=there, true_classes=np.zeros(len(there), np.int64)
        )
        return BoxCase(f"case{number}", f"subject{number}", one)

    box, far = [[0.0, 4.0], [0.0, 4.0]], [[10.0, 14.0], [10.0, 14.0]]
    cases = (case(0, [box], [box]), case(1, [far], [box]), case(2, [far], []))
    whole = BoxEvaluation(Path("p"), Path("t"), "t", "test", None, ("lesion",), "boxes", cases)
    record = box_scores(whole)
    assert [one.values["ap50"] for one in record.cases] == [1.0, 0.0, None]
    assert record.mean["ap50"] == 0.5, "an image without a true box does not count"


def test_a_classifier_learns_from_made_images_of_a_class_and_is_scored_by_accuracy(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)

    def shades(folder: Path, count: int) -> list[tuple[str, str]]:
        for number in range(count):
            image = 60 + 100 * (number % 2) + generator.normal(0, 4, (24, 24))
            write(folder / "images", f"{folder.name}{number}", image.astype(np.uint8))
        return [(f"{folder.name}{number}", ("dark", "bright")[number % 2]) for number in range(count)]

    for part in ("train", "test"):
        rows = shades(tmp_path / "data" / part, 4)
        (tmp_path / "data" / part / "labels.csv").write_text("\n".join(["id,class", *map(",".join, rows)]) + "\n")
    cases = [
        {"id": id, "images": f"images/{id}.png", "class": name, "split": "train", "origin": synthetic()}
        for id, name in shades(tmp_path / "made", 4)
    ]
    (tmp_path / "made" / "scantling.json").write_text(json.dumps({"case": cases}))
    with added(*TOYS.values()):
        found = worth(
            "toy-classifier", tmp_path / "data", [tmp_path / "made"], tmp_path / "out", labels=["all"], validity=True,
            arms=["synthetic x1"], options=Options(preset="tiny", steps=2, validation=0.0, threads=1),
        )  # fmt: skip
    assert found.failed == ()
    assert found.metric.name == "accuracy"
    assert [point.method for point in found.points] == ["real", "synthetic x1@made"]
    assert {round(4 * point.mean) / 4 == point.mean for point in found.points} == {True}, "shares of four images"
    assert [(one.on, one.cases) for one in found.validity] == [("real test cases", 4), ("made", 4)]
    assert found.images["made"].features is None, "a classifier without features leaves out what needs them"
    write_worth(found, tmp_path / "page.html")
    assert "Accuracy" in Page(tmp_path / "page.html").text
    whole = open_dataset(tmp_path / "data")
    dark = replace(whole, cases=tuple(case for case in whole.cases if case.image_class == "dark"))
    with pytest.raises(DataError, match="has the image classes bright, which no real case has"):
        check_made("made", open_dataset(tmp_path / "made"), dark, label="image_class")
