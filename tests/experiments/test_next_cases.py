"""`next` proposes unlabelled training cases alone, by each rule and its controls, and opens no mask of the data."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from commands import command
from scantling.core.errors import DataError, SettingsError
from scantling.experiments.core_set import k_centre_greedy
from scantling.experiments.next_cases import By, NextCases, ids_in, next_cases
from scantling.experiments.unlabelled import entries_of, folder_of, uncertainty_of
from scantling.records.predictions import ExpectedScore, PredictedCase
from scantling.testing.trainings import quiet
from scantling.training import Options, train
from served import pictures, save

OPTIONS = Options(preset="tiny", steps=2, settings={"patch": [16, 16], "widths": [4, 8]}, validation=0.0, labels=2)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("next")
    pictures(place / "data", labelled=6, unlabelled=2)
    train("unet", [place / "data"], place / "run", OPTIONS, console=quiet())
    return place


def proposed(place: Path, by: By, *, count: int = 3, seed: int = 0) -> NextCases:
    return next_cases(place / "run", [place / "data"], count=count, by=by, seed=seed)


@pytest.mark.parametrize("by", ["uncertainty", "diversity", "both", "random"])
def test_unlabelled_training_cases_alone_are_proposed_and_twice_the_same(place: Path, by: By) -> None:
    hidden = [*(place / "data").rglob("masks/*.png")]
    kept = {path: path.read_bytes() for path in hidden}
    for path in hidden:
        path.write_bytes(b"nobody may read this")
    try:
        found, again = proposed(place, by), proposed(place, by)
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    assert found.facts()["cases"] == again.facts()["cases"]
    assert len(found.proposed) == 3
    assert (found.unlabelled, found.labelled) == (6, 2), "a budget of the run makes the others unlabelled"
    from scantling.records.run import read_run

    record = read_run(place / "run")
    assert {one.case.split for one in found.proposed} == {"train"}
    assert not {one.case.id for one in found.proposed} & {*(record.labelled or ())}
    assert all(Path(path).is_file() for one in found.proposed for path in one.mask)


def test_the_most_uncertain_come_first_and_those_without_foreground_last(place: Path) -> None:
    found = proposed(place, "uncertainty", count=6)
    values = [one.uncertainty for one in found.proposed]
    known = [value for value in values if value is not None]
    assert known == sorted(known, reverse=True)
    assert None not in values[: len(known)]
    entries = entries_of(found.predictions)
    for one in found.proposed:
        assert one.uncertainty == uncertainty_of(entries[one.case.id])
    case = PredictedCase(id="x", expected=ExpectedScore(estimate=0.75))
    assert uncertainty_of(case) == 0.25
    assert uncertainty_of(PredictedCase(id="x", expected=ExpectedScore())) is None


def test_chance_depends_on_the_seed_and_the_second_control_takes_cases_with_foreground(place: Path) -> None:
    orders = {tuple(one.case.id for one in proposed(place, "random", count=6, seed=seed).proposed) for seed in range(4)}
    assert len(orders) > 1
    everything = proposed(place, "random", count=6)
    if any(one.foreground for one in everything.proposed):
        found = proposed(place, "foreground", count=6)
        assert [one.case.id for one in found.proposed] == [o.case.id for o in everything.proposed if o.foreground]
    else:
        with pytest.raises(SettingsError, match="the model finds nothing in any case"):
            proposed(place, "foreground")


def test_the_table_is_a_file_that_tools_open_and_says_where_images_and_masks_are(place: Path, tmp_path: Path) -> None:
    path = tmp_path / "next.csv"
    done = command("next", place / "run", place / "data", "--count", "2", "--by", "random", "--csv", path)
    assert done.returncode == 0, done.stderr
    assert "2 cases of 6 unlabelled ones, by random" in done.stdout
    with path.open() as file:
        rows = [*csv.DictReader(file)]
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert all(Path(row["image"]).is_file() and Path(row["mask"]).is_file() for row in rows)
    assert ids_in(path) == tuple(row["id"] for row in rows)
    again = command("next", place / "run", place / "data", "--count", "2", "--by", "random", "--csv", path)
    assert again.returncode == 0, again.stderr


def test_wrong_inputs_are_a_sentence_each(place: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--count"):
        proposed(place, "random", count=0)
    with pytest.raises(SettingsError, match="by"):
        proposed(place, "chance")  # type: ignore[arg-type]
    many = proposed(place, "random", count=50)
    assert many.notes[-1] == "asked for 50: there are no more"
    other = pictures(tmp_path / "all", labelled=3, unlabelled=0)
    with pytest.raises(DataError, match="all of them labelled; nothing is left to label; the run knows other data"):
        next_cases(place / "run", [other])
    save(tmp_path / "one.png", np.zeros((4, 4), np.uint8))
    done = command("next", place / "nothing", place / "data")
    assert (done.returncode, "found no run" in done.stderr) == (2, True)


def test_masks_are_kept_below_the_run_for_these_weights_and_cases(place: Path) -> None:
    found = proposed(place, "random")
    assert found.predictions.parent == place / "run" / "unlabelled"
    assert folder_of(place / "run", [one.case for one in found.proposed]) != found.predictions


def test_k_centre_greedy_takes_the_farthest_each_time_and_covers_within_twice_the_best() -> None:
    rows = np.random.default_rng(0).normal(size=(30, 2))
    taken = rows[:2]
    order = k_centre_greedy(rows[2:], taken, count=5)
    nearest = np.linalg.norm(rows[2:, None] - taken[None], axis=2).min(1)
    for place_, distance in order:
        assert distance == pytest.approx(nearest.max())
        nearest = np.minimum(nearest, np.linalg.norm(rows[2:] - rows[2:][place_], axis=1))
    assert [distance for _, distance in order] == sorted((one for _, one in order), reverse=True)
    assert k_centre_greedy(rows, np.zeros((0, 2)), count=1)[0][0] == 0
    assert len(k_centre_greedy(rows[:3], taken, count=9)) == 3
    with pytest.raises(DataError, match="not finite"):
        k_centre_greedy([[np.nan, 1.0]], taken, count=1)
