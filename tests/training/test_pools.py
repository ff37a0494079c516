"""Images with and without masks that look different are said, others are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scantling.contract.method import build
from scantling.core.case import Case, Geometry
from scantling.data.dataset import open_dataset
from scantling.data.files import write_labels
from scantling.data.traits import measure_traits
from scantling.methods.catalogue import CARDS, implementation_of
from scantling.methods.semi_supervised.mean_teacher import MeanTeacher
from scantling.testing.data import make_data
from scantling.training.pools import auc_of_pools, pool_remarks


def test_the_discriminant_is_chance_on_pools_that_are_alike_and_sure_on_pools_that_are_not() -> None:
    draw = np.random.default_rng(0)
    labelled, subjects = np.arange(40) < 10, np.arange(40)
    areas = [auc_of_pools(draw.normal(size=(40, 12)), labelled, subjects) for _ in range(40)]
    assert 0.35 < np.mean(areas) < 0.55  # leaving one out is a little below chance
    table = draw.normal(size=(40, 12))
    table[labelled, 3] += 6
    assert auc_of_pools(table, labelled, subjects) > 0.95
    constant = np.where(labelled, 1.0, 2.0)[:, None]  # no spread within a pool
    assert auc_of_pools(constant, labelled, subjects) == 1


def test_a_subject_is_scored_by_what_has_not_seen_it() -> None:
    draw = np.random.default_rng(1)
    table = draw.normal(size=(8, 200))  # more features than rows, which could all be learnt by heart
    labelled, subjects = np.arange(16) % 2 == 0, np.repeat(np.arange(8), 2)
    assert auc_of_pools(np.repeat(table, 2, axis=0), labelled, subjects) == pytest.approx(0.5)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(CARDS["unet"], tmp_path_factory.mktemp("pools"), dimensions=2)


def remarks(name: str, folder: Path, *, brighter: float) -> list[str]:
    """What is said of ten subjects with masks and twelve without, whose grey values are higher by so much."""
    draw, cases = np.random.default_rng(2), list[Case]()
    template = open_dataset(folder).cases[0]
    for number in range(22):
        image = 60 + brighter * (number >= 10) + draw.normal(0, 15, (30, 32)) + draw.normal(0, 5)
        path = write_labels(
            folder / "more", f"{brighter}-{number}", image.clip(0, 255).astype(np.uint8), Geometry((30, 32), (1.0, 1.0))
        )
        address = replace(template.images["image"], path=path)
        masks = template.masks if number < 10 else ()
        cases.append(
            replace(template, id=f"case{number}", subject=f"s{number}", images={"image": address}, masks=masks)
        )
    traits = measure_traits(open_dataset(folder), reads={"image", "mask"})
    kind = implementation_of(CARDS[name])
    return pool_remarks(build(kind, kind.Settings.preset("tiny").resolve(traits), traits), cases)


def test_brighter_images_without_masks_are_said_with_what_differs_most(dataset: Path) -> None:
    (sentence,) = remarks("mean-teacher", dataset, brighter=60)
    assert "AUC of 1.00" in sentence
    assert "10 subjects with masks and 12 without, most by intensity" in sentence


@pytest.mark.parametrize(("name", "brighter"), [("mean-teacher", 0), ("unet", 60)])
def test_nothing_is_said_of_images_alike_or_to_a_method_that_reads_no_others(
    dataset: Path, name: str, brighter: int
) -> None:
    assert remarks(name, dataset, brighter=brighter) == []


def test_few_subjects_cannot_be_told_apart(dataset: Path) -> None:
    traits = measure_traits(open_dataset(dataset), reads={"image", "mask"})
    method = build(MeanTeacher, MeanTeacher.Settings.preset("tiny").resolve(traits), traits)
    assert pool_remarks(method, open_dataset(dataset).cases[:2]) == []
