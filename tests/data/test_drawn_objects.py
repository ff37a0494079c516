"""Of an image of which only some objects were drawn, the rest is unknown; a budget of objects makes such images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scantling.core.case import IGNORE, Origin, Sample
from scantling.core.errors import DataError, FileError, SettingsError
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.division import within_budget
from scantling.data.integrity import check
from scantling.data.label_budget import label_order
from scantling.data.loading import load
from scantling.data.object_budget import keep_objects
from scantling.evaluation import evaluate
from scantling.methods.catalogue import card_of
from scantling.training.material import open_material
from scantling.training.options import Options

SIDE = 40


def discs(number: int, *, side: int = SIDE) -> np.ndarray:
    """(side, side) of so many discs of 21 pixels on a grid, numbered from 1."""
    numbers, (y, x) = np.zeros((side, side), np.uint8), np.indices((side, side))
    for place in range(number):
        row, column = 5 + 10 * (place // 4), 5 + 10 * (place % 4)
        numbers[(y - row) ** 2 + (x - column) ** 2 < 7] = place + 1
    return numbers


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def cells(root: Path, counts: tuple[int, ...], manifest: str = "", *, binary: bool = False) -> Path:
    for number, count in enumerate(counts):
        numbers = discs(count)
        noise = np.random.default_rng(number).integers(0, 40, numbers.shape)
        save(root / f"images/c{number}.png", (noise + 150 * (numbers > 0)).astype(np.uint8))
        save(root / f"maps/c{number}.png", (numbers > 0).astype(np.uint8) * 255 if binary else numbers)
    group = '[[group]]\npattern = "images/{id}.png"\nmasks = "maps/{id}.png"\n' + manifest
    head = "classes = { cell = 255 }\n" if binary else 'others = "object"\nclasses = { cell = 1 }\n'
    (root / "scantling.toml").write_text(head + group)
    return root


def loaded(root: Path, place: int = 0) -> Sample:
    dataset = open_dataset(root)
    return load(dataset.cases[place], labels=dataset.labels, reads=("image", "mask", "instances"))


def test_what_was_not_drawn_is_unknown_and_a_rim_around_what_was_is_background(tmp_path: Path) -> None:
    root = cells(tmp_path, (6,), 'drawn_objects = [2, "4-5"]\ndrawn_rim = 4\n')
    numbers, (sample, everything) = discs(6), (loaded(root), discs(6) > 0)
    kept = np.isin(numbers, (2, 4, 5))
    assert sample.mask is not None
    assert sample.instances is not None
    mask = sample.mask[0]
    assert np.array_equal(sample.instances, np.where(kept, numbers, 0))
    assert np.array_equal(mask == 1, kept)
    assert (mask[everything & ~kept] == IGNORE).all()
    y, x = np.indices(numbers.shape)
    far = np.min([np.hypot(y - row, x - column) for row, column in np.argwhere(kept)], axis=0)
    assert np.array_equal(mask == 0, (far <= 4) & ~everything)
    cells(tmp_path, (6,), 'drawn_objects = "marked"\n')
    assert np.array_equal(loaded(root).mask[0], np.where(everything, 1, IGNORE))  # type: ignore[index]
    again = open_dataset(root)
    report = check(again)
    assert "of the pixels of 1 mask are known; the others count nowhere" in report.text()


def test_objects_of_a_binary_mask_are_its_components(tmp_path: Path) -> None:
    root = cells(tmp_path, (3,), "drawn_objects = [3]\n", binary=True)
    assert np.array_equal(loaded(root).mask[0] == 1, discs(3) == 3)  # type: ignore[index]


def test_a_number_that_is_not_there_and_what_is_no_number_are_refused(tmp_path: Path) -> None:
    root = cells(tmp_path, (3,), "drawn_objects = [2, 9]\n")
    with pytest.raises(DataError, match="'drawn_objects' names 9, and its map of objects has none of that number"):
        loaded(root)
    for wrong in ("[0]", '["x"]', "[]", '"some"'):
        cells(tmp_path, (3,), f"drawn_objects = {wrong}\n")
        with pytest.raises(FileError, match="drawn_objects"):
            open_dataset(root)


def test_an_instance_map_says_what_is_known_however_many_objects_it_has(tmp_path: Path) -> None:
    numbers = np.kron(np.arange(1, 101, dtype=np.uint8).reshape(10, 10), np.pad(np.ones((3, 3), np.uint8), 1))
    save(tmp_path / "images/a.png", numbers)
    save(tmp_path / "maps/a.png", numbers)
    save(tmp_path / "blurred/a.png", (np.hypot(*(np.indices((50, 50)) - 25)).clip(0, 25) / 25 * 255).astype(np.uint8))
    text = (
        'classes = { cell = 1 }\nothers = "object"\n[[group]]\npattern = "images/{id}.png"\nmasks = "maps/{id}.png"\n'
    )
    (tmp_path / "scantling.toml").write_text(text + 'known = "maps/{id}.png"\n')
    assert np.array_equal(loaded(tmp_path).mask[0], np.where(numbers, 1, IGNORE))  # type: ignore[index]
    (tmp_path / "scantling.toml").write_text(text + 'instances = "images/{id}.png"\nknown = "maps/{id}.png"\n')
    assert np.array_equal(loaded(tmp_path).mask[0], np.where(numbers, 1, IGNORE))  # type: ignore[index]
    (tmp_path / "scantling.toml").write_text(text + 'known = "blurred/{id}.png"\n')
    grey = np.asarray(Image.open(tmp_path / "blurred/a.png"))
    assert np.array_equal(loaded(tmp_path).mask[0] != IGNORE, grey >= 128)  # type: ignore[index]


def test_a_predicted_object_that_meets_only_what_is_unknown_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    root = cells(tmp_path, (6,), 'split = "test"\ndrawn_objects = [1, 2]\n')
    save(tmp_path / "answers/c0.png", discs(6))
    found = evaluate(tmp_path / "answers", root, metrics=["pq", "count_error"]).cases[0]
    assert found.scores.mean == {"pq": 1.0, "count_error": 0.0}


def drawn(dataset: Dataset) -> set[tuple[str, int]]:
    """Which objects training and validation know."""
    kept = set[tuple[str, int]]()
    for case in dataset.cases:
        if case.split != "test" and case.masks:
            sample = load(case, labels=dataset.labels, reads=("mask", "instances"))
            kept |= {(case.id, int(number)) for number in np.unique(sample.instances) if number}
    return kept


@pytest.mark.parametrize("binary", [False, True])
def test_budgets_of_objects_are_nested_exact_and_by_subject(tmp_path: Path, binary: bool) -> None:
    root = cells(tmp_path, (6, 3, 8, 5, 9, 4), 'split = "train"\n', binary=binary)
    dataset = open_dataset(root)
    if binary:  # components have their numbers in the order of their first pixel, as the discs have
        whole = [len(np.unique(discs(count))) - 1 for count in (6, 3, 8, 5, 9, 4)]
        assert sum(whole) == 35
    before = set[tuple[str, int]]()
    for number in (1, 7, 20, 35):
        within = keep_objects(dataset, number, seed=3, validation=0.3)
        partly = [case for case in within.dataset.cases if case.drawn_objects is not None]
        assert len(partly) <= 1
        if not binary:
            now = drawn(within.dataset)
            assert before <= now
            assert len(now) == number
            before = now
    assert f"{number} drawn objects are read (--label-instances 35)" in within.sentences[0]
    assert "labels of 6 of 6 labelled subjects are read (--label-instances 35, label seed 3" in within.sentences[1]
    few = keep_objects(dataset, "10%", seed=3)
    assert "3 drawn objects are read (--label-instances 10%); of c" in few.sentences[0]
    assert "and a rim of 3 pixels around them: all else is unknown" in few.sentences[0]
    with pytest.raises(DataError, match="--label-instances 36: found 35 objects in 6 labelled training subjects"):
        keep_objects(dataset, 36)
    with pytest.raises(SettingsError, match="--label-instances none: expected a number of objects from 1 on"):
        keep_objects(dataset, "none")


def test_no_map_beyond_the_last_subject_is_opened_and_what_was_made_of_a_part_teaches_nothing(tmp_path: Path) -> None:
    dataset = open_dataset(cells(tmp_path, (4, 4, 4), 'split = "train"\n'))
    order = label_order(dataset.cases, seed=0)
    (tmp_path / f"maps/{order[2]}.png").unlink()
    (tmp_path / f"maps/{order[1]}.png").rename(tmp_path / "gone.png")
    made = tuple(
        replace(dataset.cases[0], id=f"made{n}", subject=f"made{n}", origin=Origin(kind="synthetic", parents=(parent,)))
        for n, parent in enumerate((order[0], "made0"))
    )
    beside = replace(dataset, cases=(*dataset.cases, *made))
    for number, taught in ((4, 2), (3, 0)):  # of a part the others would be seen in what was made of it
        within = keep_objects(beside, number)
        assert sum(bool(case.masks) for case in within.dataset.cases if case.origin.parents) == taught
        assert [case.id for case in within.dataset.cases if case.masks and not case.origin.parents] == [order[0]]


def test_objects_that_were_not_drawn_tell_no_class(tmp_path: Path) -> None:
    numbers = discs(4)
    save(tmp_path / "images/a.png", numbers)
    save(tmp_path / "instances/a.png", numbers)
    save(tmp_path / "masks/a.png", np.array([0, 1, 1, 2, 3], np.uint8)[numbers])
    source = open_dataset(tmp_path)
    for maps in (source.cases, tuple(replace(case, instances=None) for case in source.cases)):
        cases = tuple(replace(case, split="train", drawn_objects=(1, 2, 4)) for case in maps)
        within = within_budget(replace(source, cases=cases))
        assert within.labels is not None
        assert within.labels.values == ((1,), (3,))


def test_numbers_of_drawn_objects_mean_the_same_to_a_method_that_learns_objects(tmp_path: Path) -> None:
    root = cells(tmp_path, (6, 6, 6), binary=True)
    options = Options(preset="tiny", label_instances=4, validation=0.0)
    material = open_material(card_of("unet-watershed"), [root], None, options)
    (case,) = [one for one in material.dataset.cases if one.split == "train" and one.masks]
    sample = load(case, labels=material.dataset.labels, reads=("mask", "instances"))
    assert isinstance(case.drawn_objects, tuple)
    assert len(case.drawn_objects) == 4
    assert sample.instances is not None
    assert np.array_equal(sample.instances > 0, np.isin(discs(6), case.drawn_objects))
