"""Scores by stratum: where strata come from, and the gap between two of them against sums by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from scantling.core.case import Geometry
from scantling.core.errors import DataError, FileError
from scantling.data.dataset import join, open_dataset
from scantling.data.files import write_labels
from scantling.evaluation import evaluate, evaluate_classes
from scantling.evaluation.strata import Estimate, largest_gap, strata_of_masks
from scantling.evaluation.summary import summarise
from scantling.records.classes_csv import ClassRow, write_classes

UNIT = {"dice": (0.0, 1.0)}


def images(root: Path, ids: list[str]) -> Path:
    for id in ids:
        write_labels(root, id, np.arange(48).reshape(6, 8), Geometry(shape=(6, 8), spacing=(1.0, 1.0)))
    return root


# Where strata come from


def test_a_manifest_names_strata_by_pattern_and_by_case(tmp_path: Path) -> None:
    images(tmp_path, ["A_1_dark", "B_2_light", "odd"])
    (tmp_path / "scantling.toml").write_text(
        '[[group]]\npattern = "{site}_{subject}_{skin}.png"\nstrata = { skin = "{skin}", site = "{site}" }\n'
        '[[case]]\nid = "odd"\nimages = "odd.png"\nstrata = { site = "A" }\n'
    )
    found = {case.id: case.strata for case in open_dataset(tmp_path).cases}
    assert found == {
        "odd": {"site": "A"},
        "A_1_dark": {"skin": "dark", "site": "A"},
        "B_2_light": {"skin": "light", "site": "B"},
    }


def test_a_field_that_the_pattern_lacks_is_named(tmp_path: Path) -> None:
    images(tmp_path, ["1"])
    (tmp_path / "scantling.toml").write_text('[[group]]\npattern = "{id}.png"\nstrata = { skin = "{skin}" }\n')
    with pytest.raises(DataError, match=r"'strata'.*unknown field \{skin\}"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("key", ["id", "subject"])
def test_a_table_in_the_folder_gives_strata_in_any_layout(tmp_path: Path, key: str) -> None:
    images(tmp_path / "images", ["1", "2", "3"])
    (tmp_path / "scantling-strata.csv").write_text(f"{key},skin,site\n1,dark,A\n2,,B\n9,light,A\n")
    dataset = open_dataset(tmp_path)
    assert [case.strata for case in dataset.cases] == [{"skin": "dark", "site": "A"}, {"site": "B"}, {}]
    assert ["1 row of no case (9)" in remark.sentence for remark in dataset.remarks if remark.kind == "strata"] == [
        True
    ]
    assert not any(remark.kind == "unused files" for remark in dataset.remarks)
    assert join([dataset]).cases[0].strata["skin"] == "dark"


def test_a_table_that_names_no_case_is_refused(tmp_path: Path) -> None:
    images(tmp_path / "images", ["1"])
    (tmp_path / "scantling-strata.csv").write_text("name,skin\n1,dark\n")
    with pytest.raises(FileError, match="'id' or 'subject'"):
        open_dataset(tmp_path)
    (tmp_path / "scantling-strata.csv").write_text("id,skin\n1,dark\n1,light\n")
    with pytest.raises(FileError, match="there twice"):
        open_dataset(tmp_path)


# What is made of them


def test_each_value_has_the_summary_of_its_own_cases() -> None:
    skin = ["dark", "light", "dark", "light", "dark", ""]
    scores = [{"dice": value} for value in (0.5, 0.9, 0.7, 0.8, math.nan, 0.1)]
    strata = [{"skin": value} if value else {} for value in skin]
    (found,) = strata_of_masks(list("abcdef"), strata, scores=scores, subjects=list("123456"), ranges=UNIT)
    dark = summarise([scores[0], scores[2], scores[4]], ["1", "3", "5"], ranges=UNIT)
    assert found.values["dark"]["dice"].value == pytest.approx(0.6)
    assert found.values["dark"]["dice"].interval == dark.interval["dice"]
    assert (found.values["dark"]["dice"].cases, found.values["dark"]["dice"].subjects) == (2, 2)
    assert found.unknown == ("f",)
    assert (found.gaps["dice"].high, found.gaps["dice"].low) == ("light", "dark")
    assert found.gaps["dice"].difference == pytest.approx(0.25)


def test_the_gap_of_two_values_is_worked_out_from_their_intervals() -> None:
    one, other = Estimate(0.9, (0.8, 0.94), 9, 9), Estimate(0.6, (0.4, 0.75), 9, 9)
    gap = largest_gap({"a": one, "b": other}, 0, 1)
    assert gap is not None
    assert gap.difference == pytest.approx(0.3)
    assert gap.interval == pytest.approx((0.3 - math.hypot(0.1, 0.15), 0.3 + math.hypot(0.04, 0.2)))


def test_the_gap_of_more_values_is_wider_since_it_was_chosen() -> None:
    estimates = {"a": Estimate(0.9, (0.8, 0.94), 9, 9), "b": Estimate(0.6, (0.4, 0.75), 9, 9)}
    two, three = (
        largest_gap({**estimates, **more}, 0, 1) for more in ({}, {"c": Estimate(0.7, (0.6, 0.8), 9, 9)})
    )  # fmt: skip
    assert two is not None
    assert three is not None
    assert (two.high, two.low) == (three.high, three.low)
    assert three.interval[0] < two.interval[0] < two.interval[1] < three.interval[1]


def test_subjects_that_are_in_both_values_narrow_the_gap() -> None:
    without = {"1": 0.5, "2": 0.6, "3": 0.7}
    higher = {subject: value + 0.2 for subject, value in without.items()}
    same = dict(zip("xyz", without.values(), strict=True))
    apart = largest_gap(
        {"a": Estimate(0.8, (0.5, 0.9), 3, 3, higher), "b": Estimate(0.6, (0.4, 0.8), 3, 3, same)}, 0, 1
    )
    both = largest_gap(
        {"a": Estimate(0.8, (0.5, 0.9), 3, 3, higher), "b": Estimate(0.6, (0.4, 0.8), 3, 3, without)}, 0, 1
    )
    assert apart is not None
    assert both is not None
    assert apart.interval[0] < both.interval[0] == pytest.approx(0.2 - abs(0.3 - 0.2))  # correlation 1


def test_a_value_of_one_subject_has_no_interval_and_is_in_no_gap() -> None:
    strata = [{"site": value} for value in "AAABBBC"]
    scores = [{"dice": value} for value in (0.5, 0.6, 0.7, 0.6, 0.8, 0.9, 0.01)]
    (found,) = strata_of_masks(list("abcdefg"), strata, scores=scores, subjects=list("1234567"), ranges=UNIT)
    assert found.values["C"]["dice"].value == 0.01
    assert found.facts()["values"]["C"]["dice"]["interval"] is None
    assert (found.gaps["dice"].high, found.gaps["dice"].low) == ("B", "A")
    (alone,) = strata_of_masks(list("abc"), strata[4:], scores=scores[4:], subjects=list("567"), ranges=UNIT)
    assert alone.gaps == {}


def test_the_interval_of_a_gap_that_is_chance_rarely_misses_nought() -> None:
    random = np.random.default_rng(1)
    outside = 0
    for _ in range(200):
        scores = [{"dice": float(value)} for value in random.beta(8, 3, 24)]
        strata = [{"site": "AB"[number % 2]} for number in range(24)]
        ids = [str(number) for number in range(24)]
        (found,) = strata_of_masks(ids, strata, scores=scores, subjects=ids, ranges=UNIT)
        low, high = found.gaps["dice"].interval
        outside += not low <= 0 <= high
    assert outside <= 20  # 5 % are 10 of 200; more than 20 happen once in a thousand times


# In evaluations


def test_masks_and_classes_are_reported_by_stratum(tmp_path: Path) -> None:
    mask = np.zeros((6, 8), np.int32)
    mask[2:4] = 255
    rows = []
    for number in range(6):
        id, part = str(number), np.zeros_like(mask)
        part[2:4, : 3 + number // 3 * 3 + number % 3] = 255
        for folder, array in (("truth/images", mask), ("truth/masks", mask), ("p", part)):
            write_labels(tmp_path / folder, id, array, Geometry(shape=(6, 8), spacing=(1.0, 1.0)))
        rows.append(ClassRow(id, "ab"[number % 2], {"a": 1 - number % 2, "b": number % 2}))
    (tmp_path / "truth/labels.csv").write_text("stem,label\n" + "".join(f"{n},{'ab'[n > 2]}\n" for n in range(6)))
    (tmp_path / "truth/scantling-strata.csv").write_text(
        "id,site\n" + "".join(f"{n},{'AB'[n > 2]}\n" for n in range(6))
    )
    write_classes(tmp_path / "p/classes.csv", rows, ("a", "b"))
    found = evaluate(tmp_path / "p", tmp_path / "truth", split="all")
    facts = json.loads(json.dumps(found.facts(), allow_nan=False))
    site = facts["strata"]["names"]["site"]
    dice = [case["dice"] for case in facts["cases"]]
    assert site["values"]["A"]["dice"]["value"] == pytest.approx(np.mean(dice[:3]))
    assert site["gaps"]["dice"]["difference"] == pytest.approx(np.mean(dice[3:]) - np.mean(dice[:3]))
    assert facts["cases"][0]["strata"] == {"site": "A"}
    assert "Dice, largest gap by site:" in found.table()
    classes = evaluate_classes(tmp_path / "p", tmp_path / "truth", split="all")
    accuracy = classes.facts()["strata"]["names"]["site"]["values"]
    assert accuracy["A"]["accuracy"]["value"] == pytest.approx(2 / 3)
    assert accuracy["B"]["accuracy"]["value"] == pytest.approx(2 / 3)
    assert "Accuracy, largest gap by site:" in classes.table()


def test_without_strata_nothing_is_said_of_them(tmp_path: Path) -> None:
    images(tmp_path / "p", ["1"])
    images(tmp_path / "t", ["1"])
    found = evaluate(tmp_path / "p", tmp_path / "t")
    assert found.facts()["strata"] == {}
    assert "gap" not in found.table()
