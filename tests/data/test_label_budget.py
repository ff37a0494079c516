"""A budget of labels keeps whole subjects, small budgets within larger ones, in proportion to the strata."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from scantling.core.case import IGNORE, Address, Case, Labels, Origin
from scantling.core.errors import DataError, SettingsError
from scantling.data.dataset import Dataset
from scantling.data.label_budget import keep_labels, keep_slices, label_order, written_labels
from scantling.data.loading import load

MASK = (Address(Path("y.png")),)
PLAIN = Case(id="", subject="", images={"image": Address(Path("x.png"))}, masks=MASK, split="train")


def case(id: str, subject: str = "", **fields: object) -> Case:
    return replace(PLAIN, id=id, subject=subject or id, **fields)  # type: ignore[arg-type]


def frames(patients: int, **fields: object) -> list[Case]:
    """Two frames of each patient, as in ACDC."""
    return [case(f"p{n}-{frame}", f"p{n}", **fields) for n in range(patients) for frame in ("ed", "es")]


def dataset(*found: Case) -> Dataset:
    return Dataset("d", Path("d"), found)


def labelled(found: Dataset, *splits: str) -> set[str]:
    return {one.subject for one in found.cases if one.split in splits and one.masks and one.images}


def test_all_cases_of_a_subject_keep_their_labels_and_the_rest_has_none() -> None:
    weak = frames(10, image_class="k", instances=MASK[0], scribbles=MASK[0], points=((1.0, 2.0),))
    whole = dataset(*weak, case("t", split="test"), Case(id="shape", subject="shape", masks=MASK, split="train"))
    kept = keep_labels(whole, 3).dataset
    assert Counter(one.subject for one in kept.split("train") if one.masks and one.images) == dict.fromkeys(
        labelled(kept, "train"), 2
    )
    assert len(labelled(kept, "train")) == 3
    for one in kept.split("train"):
        if one.images and not one.masks:
            assert not any(one.has(word) for word in ("image_class", "instances", "scribbles", "points"))
    assert kept.split("test") == whole.split("test")
    assert next(one for one in kept.cases if one.id == "shape").masks, "a mask without an image is no label of one"


def test_budgets_are_nested_with_their_validation_subjects_and_reproducible_from_the_label_seed() -> None:
    whole, draws = dataset(*frames(70)), []
    for seed in range(3):
        before = [set[str](), set[str]()]
        for budget, number in ((1, 1), ("5%", 3), (7, 7), (14, 14), ("50%", 35), (70, 70)):
            kept = keep_labels(whole, budget, seed=seed, validation=0.2).dataset
            now = [labelled(kept, name) for name in ("train", "validation")]
            assert len(now[0] | now[1]) == number
            assert len(now[1]) == number // 5
            assert before[0] <= now[0]
            assert before[1] <= now[1]
            assert not any(one.masks for one in kept.cases if one.subject not in now[0] | now[1])
            before = now
        draws.append(frozenset(labelled(keep_labels(whole, 7, seed=seed).dataset, "train")))
    assert len({*draws}) == 3
    backwards = keep_labels(dataset(*whole.cases[::-1]), 7, seed=2).dataset
    assert labelled(backwards, "train") == draws[2], "the order of the files has no say"


@pytest.mark.parametrize("seed", range(4))
def test_every_prefix_of_the_order_is_within_one_subject_of_the_share_of_each_value(seed: int) -> None:
    diseases = ["a"] * 20 + ["b"] * 12 + ["c"] * 6 + ["d"] * 2
    strata = [{"disease": disease, "site": "xy"[n % 2], "age": str(n)} for n, disease in enumerate(diseases)]
    found = [case(f"s{n}", strata=of) for n, of in enumerate(strata)]
    order = label_order(found, seed=seed)
    of = {one.subject: one.strata for one in found}
    assert sorted(order) == sorted(of)
    for name in ("disease", "site"):
        shares = Counter(one[name] for one in strata)
        for size in range(1, len(order) + 1):
            counts = Counter(of[subject][name] for subject in order[:size])
            assert all(abs(counts[value] - size * total / len(order)) <= 1.5 for value, total in shares.items())


@pytest.mark.parametrize(
    ("labels", "of", "number"), [("10%", 70, 7), ("5%", 70, 3), ("29%", 100, 29), ("1%", 3, 1), (" 2.5 %", 80, 2)]
)
def test_a_percentage_is_of_the_labelled_subjects_rounded_down_and_one_at_least(
    labels: str, of: int, number: int
) -> None:
    whole = dataset(*frames(of), *(case(f"u{n}", masks=()) for n in range(50)))
    assert len(labelled(keep_labels(whole, labels).dataset, "train")) == number


@pytest.mark.parametrize("labels", [0, -1, "0%", "101%", "ten", "", "1e3", "nan%", 2.5, True, "9999999999"])
def test_what_is_no_number_of_labels_is_refused(labels: int | str) -> None:
    with pytest.raises(SettingsError, match="expected a number of subjects from 1 on, such as 10, or a percentage"):
        written_labels(labels)


def test_the_same_budget_is_written_in_one_form() -> None:
    assert (written_labels("07"), written_labels(7), written_labels("7.0 %")) == (7, 7, "7%")


def test_more_than_there_are_is_refused_with_how_many_there_are() -> None:
    with pytest.raises(DataError, match=r"d: --labels 11: found 10 labelled training subjects; expected 1 to 10"):
        keep_labels(dataset(*frames(10), *frames(9, split="test")), 11)
    with pytest.raises(DataError, match=r"--labels 10%: found 0 labelled training subjects; expected at least one"):
        keep_labels(dataset(case("u", masks=())), "10%")


def test_validation_subjects_that_the_data_name_cost_no_label_outside_of_the_budget() -> None:
    named = [replace(one, id=f"v{one.id}", subject=f"v{one.subject}", split="validation") for one in frames(10)]
    kept = keep_labels(dataset(*frames(10), *named), 5, validation=0.2)
    assert len(labelled(kept.dataset, "train")) == 4
    assert labelled(kept.dataset, "validation") < {f"p{n}" for n in range(10)}
    assert {one.id for one in named} <= {one.id for one in kept.dataset.split("validation")}, "nor an image"
    assert "the labels of 10 subjects that the data hold out for validation are not read" in kept.sentences


def test_a_budget_too_small_for_a_validation_subject_is_all_for_training_and_that_is_said() -> None:
    kept = keep_labels(dataset(*frames(10)), 4, validation=0.2)
    assert not kept.dataset.split("validation")
    assert "none of so few is held out (--validation 0.2)" in kept.sentences[1]
    assert len(keep_labels(dataset(*frames(10)), 4).sentences) == 1, "nobody wanted any"


def test_made_cases_keep_their_masks_unless_a_parent_lost_its_own() -> None:
    real = frames(4)
    synthetic = Origin(kind="synthetic", hand_drawn=3)
    children = [
        case(f"m-{one.id}", one.subject, origin=synthetic.model_copy(update={"parents": (one.id,)})) for one in real
    ]
    grandchild = case("g", "g", origin=synthetic.model_copy(update={"parents": (children[0].id, children[-1].id)}))
    alone = case("rule", "rule", origin=Origin(kind="synthetic"))
    kept = keep_labels(dataset(*real, *children, grandchild, alone), 1)
    (subject,) = {one.subject for one in kept.dataset.cases if one.masks and one.origin.kind == "real"}
    made = {one.id for one in kept.dataset.cases if one.masks and one.origin.kind == "synthetic"}
    assert made == {f"m-{one.id}" for one in real if one.subject == subject} | {"rule"}
    told = "3 made cases beside them keep their labels, made by what learned from 3 masks that people drew"
    assert told in kept.sentences
    only = keep_labels(dataset(*(case(f"s{n}", origin=Origin(kind="synthetic")) for n in range(5))), 2)
    assert len(labelled(only.dataset, "train")) == 2


def test_linked_subjects_are_held_out_together_and_are_refused_where_none_is_left() -> None:
    ring = [case(f"c{n}", links={"before": f"c{(n + 1) % 6}"}) for n in range(6)]
    with pytest.raises(DataError, match=r"the 6 labelled subjects are kin, .* leave none to learn from"):
        keep_labels(dataset(*ring), 6, validation=0.2)


def volume(root: Path, depth: int = 10, **fields: object) -> Case:
    """A volume whose slices lie along the last axis of the file, which runs from superior to inferior."""
    affine = np.diag([1.0, 1, -4, 1])
    for name in ("image", "mask"):
        nib.save(nib.Nifti1Image(np.ones((8, 9, depth), np.uint8), affine), root / f"{name}.nii")
    fields = {"images": {"image": Address(root / "image.nii")}, "masks": (Address(root / "mask.nii"),), **fields}
    return case("v", **fields)


def known(found: Case) -> list[int]:
    """The slices of the file of which the mask says something."""
    mask = load(found, labels=Labels(names=("a",), values=((1,),)), channels=("image",)).masks[0]
    return np.flatnonzero((mask[0] != IGNORE).all(axis=(0, 1))[::-1]).tolist()


@pytest.mark.parametrize(
    ("number", "spread", "drawn", "slices"),
    [
        (1, "even", None, [5]),
        (2, "even", None, [2, 7]),
        (5, "even", None, [1, 3, 5, 7, 9]),
        (3, "middle", None, [3, 4, 5]),
        (12, "even", None, [*range(10)]),
        (2, "middle", (0, 4, 5, 9), [4, 5]),
    ],
)
def test_slices_are_those_of_the_file_and_the_others_are_unknown(
    tmp_path: Path, number: int, spread: str, drawn: tuple[int, ...] | None, slices: list[int]
) -> None:
    whole = volume(tmp_path, drawn_slices=drawn, scribbles=Address(tmp_path / "mask.nii"))
    kept = keep_slices(dataset(whole, case("t", split="test")), number, spread=spread)  # type: ignore[arg-type]
    assert known(kept.dataset.cases[0]) == slices
    assert not kept.dataset.cases[0].scribbles, "which lie in all slices"
    objects = replace(whole, instances=Address(tmp_path / "mask.nii"), drawn_objects=(1,))
    again = keep_slices(dataset(objects), number, spread=spread).dataset.cases[0]  # type: ignore[arg-type]
    assert again.instances == objects.instances, "whose numbers those of drawn objects are"
    assert kept.dataset.cases[1] == case("t", split="test")
    there = len(drawn or range(10))
    assert kept.sentences[0].startswith(f"{len(slices)} of the {there} slices of 1 labelled volume are read")


def test_slices_of_what_has_none_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(tmp_path / "x.png")
    with pytest.raises(DataError, match="case flat: --label-slices goes with volumes; found 2 axes"):
        keep_slices(dataset(case("flat", images={"image": Address(tmp_path / "x.png")})), 2)
    with pytest.raises(DataError, match="case v: --label-slices cannot choose among 'marked' slices"):
        keep_slices(dataset(volume(tmp_path, drawn_slices="marked")), 2)
