"""Runs against each other on the same cases: who is better, by how much, whether it may be chance, at what cost."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from scipy import stats

from made import blobs, write
from reported import Page
from scantling.cli.main import main
from scantling.core.errors import DataError, ScantlingError, SettingsError
from scantling.data.dataset import Dataset, open_dataset
from scantling.evaluation import evaluate
from scantling.experiments.candidates import Candidate
from scantling.experiments.compare import compare
from scantling.experiments.comparison import Comparison
from scantling.experiments.pairs import Scored, compare_scores
from scantling.metrics.catalogue import METRICS
from scantling.records.evaluation import Region
from scantling.records.predictions import NO_PREDICTIONS
from scantling.records.run import RunRecord
from scantling.report.comparison import write_comparison
from scantling.training import Options, train
from scantling.training.leakage import learned_from

TESTED = 9


def made(folder: Path) -> Path:
    """Four training and nine test images of bright blobs."""
    generator = np.random.default_rng(0)
    for number in range(4 + TESTED):
        part = folder / ("train" if number < 4 else "test")
        mask = blobs((33, 37), generator, 1)
        image = np.clip(60 + 60 * mask + generator.normal(0, 15, mask.shape), 0, 255)
        write(part / "images", f"case{number:02d}", image.astype(np.uint8))
        write(part / "masks", f"case{number:02d}", mask * 255)
    return folder


def trained(data: Path, run: Path, **changes: Any) -> Path:
    train("unet", [data], run, Options(preset="tiny", validation=0.0, **changes), console=Console(quiet=True))
    return run


@pytest.fixture(scope="module", name="data")
def the_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("made") / "data")


@pytest.fixture(scope="module", name="runs")
def two_runs(data: Path) -> tuple[Path, Path]:
    """One that has learned something, one that has not."""
    return trained(data, data.parent / "long", steps=60), trained(data, data.parent / "short", steps=1)


def reseeded(run: Path, copy: Path, seed: int) -> Path:
    """A copy of a run that claims another seed."""
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("compared"))
    facts = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(facts | {"seed": seed}))
    return copy


def test_a_comparison_of_two_runs_from_the_command_line(
    data: Path, runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(data), "--json", str(tmp_path / "table.json"), "--out", str(tmp_path / "out")]
    assert main(["compare", *map(str, runs), *words]) == 0
    facts, told = json.loads((tmp_path / "table.json").read_text()), capsys.readouterr().out
    assert facts["metrics"] == ["dice", "found", "cldice", "hd95", "ece"], "no truth is empty, so no alarm is false"
    assert (facts["cases"], facts["subjects"], facts["left_out"]) == (TESTED, TESTED, 0)
    assert [one["name"] for one in facts["methods"]] == ["long", "short"], "two of one method go by their folders"
    # the same masks, scored by `evaluate` and tested by SciPy
    masks = [next((tmp_path / "out").glob(f"{run.name}-*")) for run in runs]
    dice = [[case.scores.mean["dice"] for case in evaluate(one, data, metrics=["dice"]).cases] for one in masks]
    difference = np.subtract(*dice)
    oracle = stats.permutation_test(
        (difference,), lambda x, axis: np.mean(x, axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    pair = next(pair for pair in facts["pairs"] if pair["metric"] == "dice")
    assert (pair["a"], pair["b"], pair["verdict"]) == ("short", "long", "b is better"), "the baseline is the best"
    assert pair["difference"] == pytest.approx(-difference.mean())
    assert pair["p"] == pair["p_holm"] == pytest.approx(oracle.pvalue)
    assert pair["interval"][0] < pair["difference"] < pair["interval"][1] < 0
    ranks = stats.rankdata(-np.array(dice), axis=0).mean(axis=1)
    for one, scores, rank in zip(facts["methods"], dice, ranks, strict=True):
        assert one["mean"]["dice"] == pytest.approx(np.mean(scores))
        assert one["rank"]["dice"] == pytest.approx(rank)
        assert one["cost"]["parameters"] > 0
        assert one["cost"]["seconds"] > 0
        assert one["cost"]["calls"] == 8  # the views
        assert one["cost"]["training_seconds"] is not None
    assert [pair["p"] for pair in facts["pairs"] if pair["metric"] != "dice"] == [None] * 4, "one metric is tested"
    assert facts["sentences"][0].startswith("long is better than short: Dice is higher by 0.")
    for sentence in facts["sentences"]:
        assert sentence in told
    page = Page(tmp_path / "out" / "compare.html")
    assert facts["sentences"][0] in page.text
    assert facts["page"] == str(tmp_path / "out" / "compare.html")


def test_copies_of_one_run_under_two_seeds_do_not_differ(data: Path, runs: tuple[Path, Path], tmp_path: Path) -> None:
    other = reseeded(runs[0], tmp_path / "other", 1)
    found = compare([runs[0], other], data, out=tmp_path / "out")
    assert [one.seeds for one in found.methods] == [(0,), (1,)], "seeds of one method alone are held against each other"
    assert {(pair.difference, pair.interval) for pair in found.pairs} == {(0.0, (0.0, 0.0))}
    (pair,) = found.tested
    assert (pair.p, pair.verdict) == (1.0, "no difference shown")
    sentence = "No difference could be shown: other and long differ in Dice by 0.000 (95 % 0.000 to 0.000, p = 1)."
    assert found.sentences == (sentence, "9 subjects are few: the intervals rest on how these few scatter.")
    assert any("hold the same weights" in note for note in found.notes)
    assert all(one.rank["dice"] == 1.5 for one in found.methods)


def test_seeds_of_one_method_are_one_method(data: Path, runs: tuple[Path, Path], tmp_path: Path) -> None:
    other = reseeded(runs[0], tmp_path / "long-1", 1)
    found = compare([runs[0], runs[1], other], data, out=tmp_path / "out", metrics=["dice"], baseline="short")
    assert [(one.title, one.seeds) for one in found.methods] == [("long (2 seeds)", (0, 1)), ("short", (0,))]
    assert found.baseline == "short"
    assert found.methods[0].seed_std["dice"] == 0
    assert found.methods[0].seed_mean["dice"] == pytest.approx((found.methods[0].mean["dice"],) * 2, rel=1e-12)


def test_what_was_predicted_is_used_again_by_the_same_weights_alone(
    data: Path, runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = reseeded(runs[0], tmp_path / "one", 0), reseeded(runs[1], tmp_path / "other", 0)
    first = compare([one, other], data, metrics=["dice"])
    (kept,) = (one / "compared").iterdir()

    def refuses(*_: object, **__: object) -> None:
        raise ScantlingError("predicted again")

    with monkeypatch.context() as patch:
        patch.setattr("scantling.inference.prediction.segment", refuses)
        assert compare([one, other], data, metrics=["dice"]).facts() == first.facts()
        shutil.copytree(other / "model", one / "model", dirs_exist_ok=True)
        with pytest.raises(DataError, match="one: no case could be predicted; the first failed: predicted again"):
            compare([one, other], data, metrics=["dice"])
    assert {path != kept for path in (one / "compared").iterdir()} == {True, False}, "other weights, another folder"


def test_other_images_under_the_same_names_are_predicted_anew(
    data: Path, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    own = Path(shutil.copytree(data, tmp_path / "own"))
    first = compare(runs, own, out=tmp_path / "out", metrics=["dice"])
    for path in (own / "test" / "images").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    second = compare(runs, own, out=tmp_path / "out", metrics=["dice"])
    assert [one.mean for one in second.methods] != [one.mean for one in first.methods]
    shutil.rmtree(tmp_path / "out")
    anew = compare(runs, own, out=tmp_path / "out", metrics=["dice"])
    assert [one.mean for one in anew.methods] == [one.mean for one in second.methods]


def test_of_an_evaluation_only_the_cases_of_the_split_take_part(
    data: Path, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copytree(data / "test" / "masks", tmp_path / "masks")
    for path in (data / "train" / "masks").iterdir():
        shutil.copy(path, tmp_path / "masks")
    for split in ("all", "train"):
        (tmp_path / f"{split}.json").write_text(json.dumps(evaluate(tmp_path / "masks", data, split=split).facts()))
    found = compare([runs[0], tmp_path / "all.json"], data, out=tmp_path / "out", metrics=["dice"])
    assert (len(found.cases), found.left_out) == (TESTED, ())
    both = [tmp_path / "all.json", tmp_path / "train.json"]
    with pytest.raises(DataError, match=r"train\.json: holds no score of a case of the split 'test'"):
        compare(both, data, metrics=["dice"])
    assert len(compare(both, data, split="train", metrics=["dice"]).cases) == 4


def test_what_was_learned_from_any_data_set_of_a_run_counts(
    data: Path, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    for kind in ("images", "masks"):
        (other / "train" / kind).mkdir(parents=True)
        shutil.copy(data / "test" / kind / "case05.png", other / "train" / kind / "twin.png")
    record = json.loads((runs[0] / "run.json").read_text())
    record["data"].append({"path": str(other), "name": "other", "sha256": None, "cases": {"train": 1}})
    record["split"]["train"].append("twin")
    dataset = open_dataset(data)
    learned = learned_from([RunRecord.model_validate(record)], dataset, among={case.id for case in dataset.cases})
    assert learned == {"case00", "case01", "case02", "case03", "case05"}


def test_runs_that_differ_in_split_or_in_what_their_base_learned_are_no_seeds_of_one_method(
    data: Path, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    facts = json.loads((runs[0] / "run.json").read_text())
    bases = [trained(data, tmp_path / f"base-{seed}", steps=1, seed=seed) for seed in (0, 1)]

    def alike(**changes: Any) -> str | None:
        return Candidate(Path("run"), "run", RunRecord.model_validate(facts | changes)).alike()

    assert alike() == alike(seed=7)
    few, more = ({"settings": facts["settings"] | {"steps": steps}} for steps in (90, 100))
    assert alike(**few) != alike(**more)
    assert alike(**few, minutes=1) == alike(**more, minutes=1), "what fits into the same minutes is no other method"
    assert alike() != alike(split=facts["split"] | {"train": ["case00"]})
    assert alike(base=str(bases[0])) == alike(base=str(bases[1])), "bases that differ in their seed alone are alike"
    assert alike(base=str(bases[0])) != alike(base=str(runs[0]))


def test_cases_that_a_run_has_learned_from_are_a_warning_that_nobody_misses(
    data: Path, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    found = compare(runs, data, split="train", out=tmp_path / "out", metrics=["dice"])
    assert [len(one.seen) for one in found.methods] == [4, 4]
    assert found.warnings[0].startswith(f"{found.methods[0].name} has learned from 4 of these 4 cases")
    assert found.table().startswith("WARNING: ")
    page = Page(write_comparison(found, tmp_path / "page.html"))
    assert "Serious" in page.text
    assert "has seen 4 of these cases" in page.text
    assert "no difference could have been shown, however large" in found.sentences[1], "four subjects are too few"


def test_copies_of_the_data_do_not_hide_what_was_learned(data: Path, runs: tuple[Path, Path], tmp_path: Path) -> None:
    mixed = Path(shutil.copytree(data, tmp_path / "mixed"))
    for kind in ("images", "masks"):
        (mixed / "train" / kind / "case00.png").rename(mixed / "test" / kind / "renamed.png")
    found = compare(runs, mixed, out=tmp_path / "out", metrics=["dice"])
    assert {one.seen for one in found.methods} == {("renamed",)}, "by the image, whatever it is called"
    moved = Path(shutil.copytree(data, tmp_path / "moved"))
    dataset, record = open_dataset(moved), json.loads((runs[0] / "run.json").read_text())
    record["data"][0]["path"] = "gone"
    ids = {case.id for case in dataset.cases}
    learned = {"case00", "case01", "case02", "case03"}
    assert learned_from([RunRecord.model_validate(record)], dataset, among=ids) == learned, "by the hash of the whole"
    assert learned_from([RunRecord.model_validate({**record, "data": []})], dataset, among=ids) == set()
    above = {**record, "data": [], "base": str(runs[0])}
    assert learned_from([RunRecord.model_validate(above)], dataset, among=ids) == learned, (
        "what it is built on has seen them"
    )
    assert learned_from([RunRecord.model_validate(record)], open_dataset(mixed), among=ids) == set(), (
        "the data are gone, and these are others"
    )


def test_masks_and_evaluations_take_part_and_only_common_cases_count(
    data: Path, runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = Path(shutil.copytree(data / "test" / "masks", tmp_path / "reader"))
    (masks / "case04.png").unlink()
    facts = evaluate(data / "test" / "masks", data, split="test").facts()
    facts["cases"] = [case for case in facts["cases"] if case["id"] != "case05"]
    (tmp_path / "perfect.json").write_text(json.dumps(facts))
    out, table = tmp_path / "out", tmp_path / "table.json"
    words = ["--data", str(data), "--out", str(out), "--json", str(table)]
    assert main(["compare", str(runs[0]), str(masks), str(tmp_path / "perfect.json"), *words]) == 1, "a case failed"
    found = json.loads(table.read_text())
    assert found["metrics"] == ["dice", "found", "cldice", "hd95"], "masks alone have no calibration"
    assert (found["cases"], found["left_out_cases"]) == (TESTED - 2, ["case04", "case05"])
    assert {one["name"]: one["cost"]["parameters"] is None for one in found["methods"]} == {
        "reader": True, "perfect": True, "unet": False,
    }  # fmt: skip
    assert "2 cases left out, because not every run has a score there: case04, case05." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "options", "told"),
    [
        (["long"], {}, "found only .*long to compare; expected two or more"),
        ([], {}, "found no run to compare"),
        (["long", "long"], {}, "is named twice"),
        (["long", "nowhere"], {}, "nowhere: does not exist; expected a run"),
        (["long", "short"], {"split": "tests"}, "--split tests: expected train, validation, test or all"),
        (["long", "short"], {"metrics": ["dise"]}, "--metrics: no metric is called dise"),
        (["long", "short"], {"metrics": ["dice"], "baseline": "nobody"}, "--baseline nobody: .*one of long, short"),
        (["long", "data/test/masks"], {"metrics": ["ece"]}, "masks: has no probability maps, as are needed for ece"),
        (["long", "short"], {"metrics": ["dice", "ged"]}, "--metrics: ged needs"),
        (["long", "short"], {"metrics": ["uncertainty_auc"]}, "long: has no uncertainty maps, as are needed for unc"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_sentence(
    data: Path, runs: tuple[Path, Path], tmp_path: Path, names: list[str], options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ScantlingError, match=told):
        compare([data.parent / name for name in names], data, out=tmp_path, **options)


def test_data_without_truth_and_runs_with_other_classes_are_refused_before_anything_is_predicted(
    data: Path, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(data / "test" / "images", bare / "test" / "images")
    with pytest.raises(DataError, match="none of its cases has a true mask"):
        compare(runs, bare, out=tmp_path / "out")
    for kind in ("images", "masks"):
        shutil.copytree(data / "train" / kind, bare / "train" / kind)
    with pytest.raises(DataError, match="no case of the split 'test' has a true mask, those of train have"):
        compare(runs, bare, out=tmp_path / "out")
    other = reseeded(runs[0], tmp_path / "three", 0)
    facts = json.loads((other / "model" / "settings.json").read_text())
    facts["traits"]["labels"] |= {"names": ["a", "b"], "values": [[1], [255]]}
    (other / "model" / "settings.json").write_text(json.dumps(facts))
    with pytest.raises(ScantlingError, match="weights and the settings do not belong together"):
        compare([runs[0], other], data, out=tmp_path / "out")
    scores = evaluate(data / "test" / "masks", data).facts() | {"classes": ["artery", "vein"], "labels": None}
    (tmp_path / "two.json").write_text(json.dumps(scores))
    with pytest.raises(DataError, match=r"has the classes .*, .*two.json has artery, vein; expected the same"):
        compare([runs[0], tmp_path / "two.json"], data, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("scores.json", "[]", r"is no evaluation \(.*\); expected what `scantling evaluate --json` writes"),
        ("scores.json", '{"cases": [{"dice": 1}]}', "is no evaluation"),
        ("scores.json", '{"cases": [{"id": "a"}], "failed": ["b"]}', "is no evaluation"),
        ("scores.json", "{", "is not JSON"),
        (
            "masks/predictions.json",
            '{"cases": [1]}',
            r"is no list of predictions \(.*\); expected what `scantling predict`",
        ),
        ("masks/predictions.json", '{"cases": [], "options": []}', "is no list of predictions"),
    ],
)
def test_a_broken_file_is_said_in_a_sentence(
    data: Path, runs: tuple[Path, Path], tmp_path: Path, name: str, content: str, told: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    with pytest.raises(ScantlingError, match=told):
        compare([runs[0], path.parent if name.startswith("masks") else path], data, out=tmp_path / "out")


# The arithmetic, on scores that are given.


def scored(
    name: str, values: Mapping[str, Sequence[float]], *, seed: int | None = None, subjects: Sequence[str] = ()
) -> Scored:
    """Cases 0, 1, … with these values by metric; of a run if it has a seed."""
    count = len(next(iter(values.values())))
    run = {"method": name, "settings": {}, "data": [], "split": {}, "seed": seed}
    path = Path(name if seed is None else f"{name}-{seed}")
    return Scored(
        Candidate(path, "masks", None if seed is None else RunRecord.model_validate(run)),
        values={f"c{n}": {key: each[n] for key, each in values.items()} for n in range(count)},
        subjects={f"c{n}": (subjects or [f"s{n}" for n in range(count)])[n] for n in range(count)},
        failed={},
        made=NO_PREDICTIONS,
        region=Region(),
    )


def contested(field: Sequence[Scored], *metrics: str, baseline: str = "best") -> Comparison:
    dataset = Dataset("made", Path("nowhere"), ())
    return compare_scores(field, dataset, [METRICS[name] for name in metrics], split="test", baseline=baseline)


def test_a_case_of_several_seeds_has_their_mean() -> None:
    one = [scored("a", {"dice": row}, seed=seed) for seed, row in enumerate(([0.9, 0.7], [0.7, 0.7], [0.8, 0.4]))]
    found = contested([*one, scored("b", {"dice": [0.5, 0.5]}, seed=0)], "dice")
    a, b = found.methods
    assert (a.name, a.seeds, b.name, b.seeds) == ("a", (0, 1, 2), "b", (0,))
    assert a.seed_mean["dice"] == pytest.approx((0.8, 0.7, 0.6))
    assert a.seed_std["dice"] == pytest.approx(0.1)
    assert math.isnan(b.seed_std["dice"])
    assert a.mean["dice"] == pytest.approx(0.7)
    assert a.std["dice"] == pytest.approx(np.std([0.8, 0.6], ddof=1)), "over cases, whose value is the mean over seeds"


def test_the_same_seed_twice_is_not_two_seeds() -> None:
    found = contested([scored("a", {"dice": [0.5]}, seed=0), scored("a", {"dice": [0.6]}, seed=0)], "dice")
    assert [len(one.runs) for one in found.methods] == [1, 1]


def test_holm_counts_all_pairs_of_the_first_measure() -> None:
    draws = np.random.default_rng(0)
    base = draws.uniform(0.5, 0.7, 12)
    rows = {"a": base + 0.2, "b": base + 0.19 + draws.normal(0, 0.05, 12), "c": base}
    found = contested([scored(name, {"dice": [*row], "hd95": [*row]}) for name, row in rows.items()], "dice", "hd95")
    pairs = {frozenset((pair.a, pair.b)): pair for pair in found.tested}
    assert len(pairs) == 3
    assert len(found.pairs) == 5, "in the other metric each against the baseline"
    apart = pairs[frozenset("ac")]
    assert apart.p == 2 / 2**12, "of all patterns of signs only these and the opposite are as far"
    assert apart.p_holm == pytest.approx(3 * apart.p)
    assert pairs[frozenset("ab")].verdict == "no difference shown"
    assert {pair.verdict for pair in found.pairs if pair.metric == "hd95"} == {"not tested"}
    told = " ".join(found.sentences)
    assert "after Holm's correction for 3 pairs" in told
    assert "No difference could be shown: a and b differ in Dice by 0.0" in told


def test_a_difference_whose_interval_holds_0_is_not_shown_whatever_the_permutations_say() -> None:
    high = [0.9] * 10
    low = [0.89 - n / 1000 for n in range(9)] + [0.1]  # all lower, one by far: rare among signs, and wide as a mean
    found = contested([scored("a", {"dice": high}), scored("b", {"dice": low})], "dice")
    (pair,) = found.tested
    assert pair.p_holm < 0.05
    assert min(pair.interval) < 0 < max(pair.interval)
    assert pair.verdict == "no difference shown"


def test_of_a_distance_less_is_better() -> None:
    near, far = [1.0 + n / 10 for n in range(8)], [3.0 + n / 5 for n in range(8)]
    found = contested([scored("far", {"hd95": far}), scored("near", {"hd95": near})], "hd95")
    assert [one.name for one in found.methods] == ["near", "far"]
    assert found.methods[0].rank["hd95"] == 1.0
    assert found.tested[0].verdict == "b is better"
    assert found.sentences[0].startswith(
        "near is better than far: 95 % Hausdorff distance (mm or pixels) is lower by 2.35 "
    )


def test_of_a_ratio_the_distances_from_one_are_compared() -> None:
    found = contested([scored("half", {"vca": [0.5] * 8}), scored("twice", {"vca": [1.25] * 8})], "vca")
    assert [one.name for one in found.methods] == ["twice", "half"]
    assert found.tested[0].difference == 0.25
    assert found.methods[0].mean["vca"] == 1.25


def test_a_case_that_is_undefined_for_one_counts_for_none_in_that_measure() -> None:
    one, other = {"dice": [0.9, 0.8, 0.7], "log_vca": [0.1, math.nan, 0.3]}, {"dice": [0.5] * 3, "log_vca": [0.2] * 3}
    found = contested([scored("one", one), scored("other", other)], "dice", "log_vca")
    assert found.count == {"dice": 3, "log_vca": 2}
    means = {method.name: method.mean["log_vca"] for method in found.methods}
    assert means == pytest.approx({"one": 0.2, "other": 0.2})
    nowhere = contested([scored("one", {"log_vca": [math.nan]}), scored("other", {"log_vca": [0.1]})], "log_vca")
    assert "is defined for all methods in no case" in nowhere.sentences[0]
    json.dumps(nowhere.facts())
    assert nowhere.table()


def test_images_of_one_subject_count_as_one_unit_of_chance() -> None:
    subjects = ["s0"] * 4 + ["s1"] * 4
    one, other = scored("one", {"dice": [0.9] * 8}, subjects=subjects), scored("other", {"dice": [0.5] * 8})
    found = contested([one, other], "dice")
    assert found.tested[0].p == 0.5, "two subjects have four patterns of signs, of which two are as far"
    assert found.scope.startswith("2 methods on 8 cases of 2 subjects")


def test_the_baseline_may_be_named() -> None:
    field = [
        scored("a", {"dice": [0.5, 0.6]}, seed=0),
        scored("b", {"dice": [0.9, 0.8]}),
        scored("c", {"dice": [0, 0.1]}),
    ]
    for said, expected in (("best", "b"), ("first", "a"), ("c", "c"), ("a-0", "a")):
        found = contested(field, "dice", baseline=said)
        assert found.baseline == expected
        assert sum(pair.b == expected for pair in found.tested) == 2, "the others minus the baseline"
    with pytest.raises(SettingsError, match="expected best, first, or one of a, b, c"):
        contested(field, "dice", baseline="d")


def test_scores_of_other_pixels_are_refused() -> None:
    one, other = scored("one", {"dice": [0.5]}), scored("other", {"dice": [0.6]})
    other = Scored(**{**vars(other), "region": Region(of="cases")})
    with pytest.raises(DataError, match="were not scored on the same pixels"):
        contested([one, other], "dice")
    with pytest.raises(DataError, match="no case of the split 'test' for which every run has a score"):
        contested([one, Scored(**{**vars(one), "values": {"x": {"dice": 1.0}}})], "dice")


def test_the_page_says_all_and_escapes_names(tmp_path: Path) -> None:
    draws = np.random.default_rng(1)
    field = [
        scored(f"<b>{n}</b>", {"dice": [*draws.uniform(0.4, 0.9, 10)], "hd95": [*draws.uniform(1, 9, 10)]})
        for n in "xyz"
    ]
    seeds = [scored("many", {"dice": [*draws.uniform(0.4, 0.9, 10)], "hd95": [4.0] * 10}, seed=n) for n in (3, 7)]
    found = contested([*field, *seeds], "dice", "hd95")
    page = Page(write_comparison(found, tmp_path / "page.html", command=("scantling", "compare", "a b")))
    for sentence in (*found.sentences, *found.conventions, *found.notes):
        assert sentence in page.text
    assert "(seed 3)" in page.text
    assert "scantling compare 'a b'" in page.text
    assert "<b>x</b>" not in page.source
    assert len(page.all("svg")) == 4, "of each metric the differences, and its values case by case"
    assert not page.all("link")
