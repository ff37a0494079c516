"""Splits never divide a subject, depend on no seed and no order, and keep tests out of training."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scantling.core.case import Address, Case, Origin
from scantling.core.errors import DataError, FileError
from scantling.data.dataset import Dataset, join, open_dataset
from scantling.data.division import blindly, divide, store_split
from scantling.data.splits import StoredSplit, assign, inherited
from scantling.records.run import RunRecord
from scantling.training import Options, train
from scantling.training.leakage import learned_from

IMAGE = {"image": Address(Path("x.png"))}
MASK = (Address(Path("y.png")),)


def case(id: str, subject: str = "", *, labelled: bool = True, **fields: object) -> Case:
    plain = Case(id=id, subject=subject or id, images=IMAGE, masks=MASK if labelled else ())
    return replace(plain, **fields)  # type: ignore[arg-type]


def cases(labelled: int, unlabelled: int = 0) -> list[Case]:
    return [case(f"l{n}") for n in range(labelled)] + [case(f"u{n}", labelled=False) for n in range(unlabelled)]


def dataset(*found: Case) -> Dataset:
    return Dataset("d", Path("d"), assign(found))


def splits(found: tuple[Case, ...]) -> dict[str, str | None]:
    return {one.id: one.split for one in found}


@pytest.mark.parametrize(("labelled", "held"), [(1, 0), (2, 1), (5, 1), (7, 1), (8, 2), (20, 4), (100, 20)])
def test_a_fifth_of_the_subjects_is_for_testing(labelled: int, held: int) -> None:
    assert sum(one.split == "test" for one in assign(cases(labelled))) == held


def test_labelled_and_unlabelled_subjects_are_shared_out_alike() -> None:
    found = assign(cases(5, 100))
    assert sum(one.split == "test" for one in found if one.masks) == 1
    assert sum(one.split == "test" for one in found if not one.masks) == 20


def test_a_blind_draw_is_the_same_whatever_is_labelled_and_the_usual_one_where_everything_is() -> None:
    everything = splits(assign(cases(20), blind=True))
    assert everything == splits(assign(cases(20)))
    for labelled in (0, 3, 7, 19):
        partly = [replace(one, masks=MASK if number < labelled else ()) for number, one in enumerate(cases(20))]
        assert splits(assign(partly, blind=True)) == everything
        assert splits(blindly(dataset(*partly)).cases) == everything
    said = Dataset("d", Path("d"), assign([case("a", split="test"), case("b")]), parted=True)
    assert blindly(said) is said


def test_the_split_does_not_depend_on_the_order_of_the_files() -> None:
    found = [case(f"{subject}_{frame}", f"p{subject}") for subject in range(12) for frame in range(3)]
    expected = splits(assign(found))
    for seed in range(5):
        random.Random(seed).shuffle(found)
        assert splits(assign(found)) == expected


def test_a_subject_is_never_divided() -> None:
    found = [case(f"{s}_{f}", f"p{s}", labelled=f == 0) for s in range(20) for f in range(4)]
    done = divide(Dataset("d", Path("d"), assign(found)), validation=0.3)
    for subject in {one.subject for one in found}:
        assert len({one.split for one in done.cases if one.subject == subject}) == 1
    # so the unlabelled frames of those held out are held out too
    assert {one.split for one in done.cases if not one.masks} == {"train", "validation", "test"}


def test_linked_cases_share_a_split() -> None:
    found = [case(f"a{n}", links={"background": f"b{n}"}) for n in range(20)]
    found += [case(f"b{n}", labelled=False) for n in range(20)]
    done = splits(divide(Dataset("d", Path("d"), assign(found))).cases)
    assert all(done[f"a{n}"] == done[f"b{n}"] for n in range(20))
    assert {"train", "validation", "test"} == set(done.values())


def test_what_folders_say_stays_and_the_rest_is_for_training() -> None:
    found = assign([case("a", split="test"), case("b"), case("c"), case("d", "a", labelled=False)])
    assert splits(found) == {"a": "test", "b": "train", "c": "train", "d": "test"}


def test_cases_without_an_image_are_for_training() -> None:
    shapes = [Case(id=f"m{n}", subject=f"m{n}", masks=MASK) for n in range(20)]
    assert {one.split for one in assign(shapes)} == {"train"}


@pytest.mark.parametrize(("share", "held"), [(0, 0), (0.01, 1), (0.2, 4), (0.25, 5), (0.9, 18)])
def test_validation_takes_its_share_of_the_labelled_training_subjects(share: float, held: int) -> None:
    found = [replace(one, split="train") for one in cases(20, 30)] + [case("t", split="test")]
    done = divide(dataset(*found), validation=share)
    assert len(done.split("validation")) == held
    assert all(one.masks for one in done.split("validation"))
    assert [one.id for one in done.split("test")] == ["t"]


def test_validation_subjects_of_a_smaller_share_are_among_those_of_a_larger() -> None:
    found = dataset(*(replace(one, split="train") for one in cases(20)))
    few, many = ({one.id for one in divide(found, validation=share).split("validation")} for share in (0.1, 0.4))
    assert few < many


def test_validation_that_leaves_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(DataError, match="leave none to learn from; pass --validation 0"):
        divide(dataset(case("a", split="train"), case("u", labelled=False)), validation=0.2)
    with pytest.raises(DataError, match="leave none to learn from"):
        divide(dataset(*(replace(one, split="train") for one in cases(4))), validation=0.95)
    with pytest.raises(DataError, match="expected 0 or more and less than 1"):
        divide(dataset(case("a")), validation=1.0)


def test_data_without_labels_give_no_validation_subjects() -> None:
    assert not divide(dataset(*cases(0, 10))).split("validation")


def test_validation_that_the_data_have_is_kept_as_it_is() -> None:
    found = dataset(case("a", split="validation"), *(replace(one, split="train") for one in cases(10)))
    for share in (0.0, 0.5):
        assert [one.id for one in divide(found, validation=share).split("validation")] == ["a"]


def synthetic(id: str, *parents: str, **fields: object) -> Case:
    return case(id, origin=Origin(kind="synthetic", model="m", seed=1, parents=parents), **fields)


def test_synthetic_cases_inherit_the_strictest_split_of_their_parents() -> None:
    found = inherited(
        [
            case("a", split="train"), case("b", split="validation"), case("c", split="test"),
            synthetic("from-a", "a", split="test"), synthetic("from-ab", "a", "b", split="train"),
            synthetic("from-bc", "b", "c", split="train"), synthetic("grandchild", "from-ab", split="train"),
            synthetic("orphan", "elsewhere", split="train"), synthetic("self", "self", split="train"),
        ]
    )  # fmt: skip
    assert splits(found) == {
        "a": "train", "b": "validation", "c": "test", "from-a": "train", "from-ab": "validation", "from-bc": "test",
        "grandchild": "validation", "orphan": "train", "self": "train",
    }  # fmt: skip


def test_synthetic_cases_follow_their_parents_into_validation() -> None:
    found = [replace(one, split="train") for one in cases(10)]
    found += [synthetic(f"s{n}", f"l{n}", split="train") for n in range(10)]
    done = splits(divide(dataset(*found), validation=0.3).cases)
    assert all(done[f"s{n}"] == done[f"l{n}"] for n in range(10))
    assert sum(split == "validation" for split in done.values()) == 6


def test_parents_in_different_splits_are_refused_for_training() -> None:
    found = dataset(case("a", split="train"), case("b", split="test"), synthetic("s", "a", "b"))
    with pytest.raises(DataError, match=r"s was made from cases in different splits \(a: train, b: test\)"):
        divide(found)


def folder(root: Path, ids: str) -> Path:
    for number, id in enumerate(ids):
        for role in ("images", "masks"):
            (root / role).mkdir(parents=True, exist_ok=True)
            pixels = np.full((4, 4), 255, np.uint8)
            pixels[0, number % 4] = 0
            Image.fromarray(pixels).save(root / role / f"{id}.png")
    return root


def test_a_stored_split_stays_when_cases_are_added(tmp_path: Path) -> None:
    first = divide(open_dataset(folder(tmp_path, "abcdefgh")), validation=0.25)
    assert not (tmp_path / "scantling-split.json").exists()  # only on request
    store_split(first)
    assert splits(open_dataset(tmp_path).cases) == splits(first.cases)
    again = open_dataset(folder(tmp_path, "abcdefghijkl"))
    assert {id: split for id, split in splits(again.cases).items() if id in "abcdefgh"} == splits(first.cases)
    assert {split for id, split in splits(again.cases).items() if id in "ijkl"} == {"train"}
    assert splits(divide(again).cases) == splits(again.cases)


def test_a_stored_split_counts_before_folders(tmp_path: Path) -> None:
    folder(tmp_path / "train", "ab")
    folder(tmp_path / "test", "c")
    (tmp_path / "scantling-split.json").write_text(json.dumps({"train": ["a"], "validation": ["b"]}))
    assert splits(open_dataset(tmp_path).cases) == {"a": "train", "b": "validation", "c": "test"}


@pytest.mark.parametrize("text", ["{", "[]", '{"train": 3}', '{"tset": []}', '{"train": ["a"], "test": ["a"]}'])
def test_a_stored_split_that_makes_no_sense_is_told(tmp_path: Path, text: str) -> None:
    folder(tmp_path, "ab")
    (tmp_path / "scantling-split.json").write_text(text)
    with pytest.raises(FileError, match=r"scantling-split\.json"):
        open_dataset(tmp_path)


def test_a_subject_in_two_splits_cannot_be_stored(tmp_path: Path) -> None:
    torn = dataset(case("a", "p", split="train"), case("b", "p", split="test"))
    with pytest.raises(DataError, match="p is in train and test"):
        store_split(replace(torn, root=tmp_path))


def test_stored_splits_know_no_other_names() -> None:
    assert StoredSplit(train=("a",)).model_dump() == {"train": ("a",), "validation": (), "test": ()}


# Several datasets


def named(name: str, **split: str) -> Dataset:
    """Two images of each subject, which the data name."""
    found = [
        case(f"{name}-{subject}-{n}", subject, named=True, split=part) for subject, part in split.items() for n in "12"
    ]
    return Dataset(name, Path(name), tuple(found))


def test_a_subject_that_several_datasets_name_has_the_strictest_split_of_all_and_it_is_told() -> None:
    one, two = named("one", p="test", q="train", r="validation"), named("two", p="train", q="train", r="train")
    for joined in (join([one, two]), join([two, one])):
        found = {one.id: one.split for one in joined.cases}
        assert {found[f"{name}-p-{n}"] for name in ("one", "two") for n in "12"} == {"test"}
        assert {found[f"{name}-q-{n}"] for name in ("one", "two") for n in "12"} == {"train"}
        assert {found[f"{name}-r-{n}"] for name in ("one", "two") for n in "12"} == {"validation"}
        told = [remark for remark in joined.remarks if remark.kind == "joined subject"]
        assert [set(remark.cases) for remark in told] == [{"two-r-1", "two-r-2"}, {"two-p-1", "two-p-2"}]
        assert "2 cases (two-p-1, two-p-2) of 1 subject (p) went to test" in told[1].sentence


def test_what_is_linked_to_or_made_from_a_shared_subject_goes_with_it() -> None:
    link = case("l", "s", named=True, split="train", links={"background": "two-p-1"})
    made = case("m", split="train", origin=Origin(kind="synthetic", parents=("two-p-1",)))
    two = named("two", p="train", q="train")
    joined = join([named("one", p="test"), replace(two, cases=(*two.cases, link, made))])
    assert splits(joined.cases) | {"l": "test", "m": "test", "two-p-2": "test", "two-q-1": "train"} == splits(
        joined.cases
    )


def test_subjects_called_after_files_of_equal_names_are_different_people() -> None:
    one = Dataset("one", Path("one"), (case("1", split="test"), case("2", split="train")))
    two = Dataset("two", Path("two"), (case("1", split="train"), case("3", split="train")))
    manifest = Dataset("three", Path("three"), (case("x", "2", named=True, split="test"),))
    joined = join([one, two, manifest])
    assert splits(joined.cases) == {"one_1": "test", "2": "train", "two_1": "train", "3": "train", "x": "test"}
    assert len({one.subject for one in joined.cases}) == 5
    assert not joined.remarks


def test_the_validation_share_keeps_a_subject_of_several_datasets_together() -> None:
    subjects = {f"p{n}": "train" for n in range(10)}
    joined = divide(join([named("one", **subjects), named("two", **subjects)]))
    by_subject = {subject: {one.split for one in joined.cases if one.subject == subject} for subject in subjects}
    assert all(len(found) == 1 for found in by_subject.values())
    assert sum(found == {"validation"} for found in by_subject.values()) == 2


def test_manifests_and_nnunet_name_subjects_and_folders_do_not(tmp_path: Path) -> None:
    for part in ("images", "imagesTr"):
        (tmp_path / part).mkdir()
        Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4)).save(tmp_path / part / "p1_0000.png")
    assert not open_dataset(tmp_path).cases[0].named
    said = {"channel_names": {"0": "grey"}, "labels": {}, "file_ending": ".png"}
    (tmp_path / "dataset.json").write_text(json.dumps(said))
    assert open_dataset(tmp_path).cases[0].named
    for text, is_named in (
        ('[[group]]\npattern = "images/{subject}_{n}.png"\n', True),
        ('[[group]]\npattern = "images/{id}_{n}.png"\nsubject = "{n}"\n', True),
        ('[[group]]\npattern = "images/{id}_{n}.png"\n', False),
        ('[[case]]\nid = "a"\nsubject = "p"\nimages = "images/p1_0000.png"\n', True),
        ('[[case]]\nid = "a"\nimages = "images/p1_0000.png"\n', False),
    ):
        (tmp_path / "scantling.toml").write_text(text)
        assert open_dataset(tmp_path).cases[0].named is is_named


def test_a_model_has_learned_from_a_subject_that_both_datasets_name(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for subject in "pq" if name == "one" else "ps":
            Image.fromarray(generator.integers(0, 256, (4, 4), dtype=np.uint8)).save(tmp_path / name / f"{subject}.png")
        (tmp_path / name / "scantling.toml").write_text('[[group]]\npattern = "{subject}.png"\n')
    record = {"method": "unet", "data": [{"path": str(tmp_path / "one")}], "split": {"train": ["p", "q"]}}
    other = open_dataset(tmp_path / "two")
    assert learned_from([RunRecord.model_validate(record)], other, among={one.id for one in other.cases}) == {"p"}


def test_training_says_which_cases_a_joined_dataset_holds_out(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name, split in (("one", 'test = ["p"]\ntrain = ["q"]'), ("two", 'train = ["p", "s"]')):
        for subject in "pq" if name == "one" else "ps":
            for kind in ("images", "masks"):
                (tmp_path / name / kind).mkdir(parents=True, exist_ok=True)
                array = generator.integers(0, 2, (32, 32), dtype=np.uint8) * 255
                Image.fromarray(array).save(tmp_path / name / kind / f"{subject}.png")
        group = '[[group]]\npattern = "images/{subject}.png"\nmasks = "masks/{subject}.png"\n'
        (tmp_path / name / "scantling.toml").write_text(f"{group}[split]\n{split}\n")
    options = Options(preset="tiny", steps=1, validation=0.0)
    facts = train("unet", [tmp_path / "one", tmp_path / "two"], tmp_path / "run", options)
    assert [len(facts["split"][name]) for name in ("train", "validation", "test")] == [2, 0, 2]
    assert any("1 case (two_images_p) of 1 subject (p) went to test" in warning for warning in facts["warnings"])
