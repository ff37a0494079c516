"""With a budget of labels no other mask is opened, and none of a test case: what is gone cannot have been read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from scantling.core.case import Address
from scantling.core.errors import RunError, SettingsError
from scantling.data.dataset import Dataset, join, open_dataset
from scantling.data.division import within_budget
from scantling.data.label_budget import keep_labels
from scantling.records.run import Drawn, LabelsRead, read_run
from scantling.records.run_data import dataset_of
from scantling.report.headers import header_of
from scantling.report.targets import open_run
from scantling.testing.trainings import quiet
from scantling.training import Options, train
from scantling.training.leakage import learned_from
from scantling.training.material import open_material
from toys_capabilities import TOYS

TINY = Options(preset="tiny", steps=2, settings={"patch": [16, 16], "widths": [4, 8]}, labels=2)


def made(root: Path, *, classes: int = 1, count: int = 8) -> Path:
    """Pictures with masks; no folder says who is for testing."""
    for number in range(count):
        image = np.random.default_rng(number).integers(0, 99, (24, 24), np.uint8)
        mask = np.zeros((24, 24), np.uint8)
        for value in range(1, classes + 1):
            mask[4 * value : 4 * value + 3, 4 + number : 12 + number] = value
        for kind, array in (("images", image + 40 * mask), ("masks", mask)):
            path = root / kind / f"c{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
    return root


def masks_of(dataset: Dataset, *splits: str) -> set[Path]:
    return {
        mask.path for case in dataset.cases if case.split in splits for mask in case.masks if isinstance(mask, Address)
    }


def only_the_budget(dataset: Dataset, options: Options) -> set[Path]:
    """Delete every mask that may not be opened; return those that may."""
    kept = masks_of(
        keep_labels(dataset, options.labels or 0, validation=options.validation).dataset, "train", "validation"
    )
    for path in masks_of(dataset, "train", "validation", "test") - kept:
        path.unlink()
    return kept


def test_a_copy_of_the_data_is_known_as_what_was_learned_from(tmp_path: Path) -> None:
    data = made(tmp_path / "data")
    train("unet", [data], tmp_path / "run", TINY, console=quiet())
    record = read_run(tmp_path / "run")
    opened = open_dataset(data.rename(tmp_path / "moved"))
    ids = {case.id for case in opened.cases}
    assert learned_from([record], opened, among=ids) == {*record.split["train"]}


@pytest.mark.parametrize("validation", [0.0, 0.5])
def test_masks_outside_of_the_budget_can_be_gone_and_nothing_changes(tmp_path: Path, validation: float) -> None:
    data, options = made(tmp_path / "data"), replace(TINY, validation=validation)
    first = train("unet", [data], tmp_path / "one", options, console=quiet())
    opened = open_dataset(data)
    kept = only_the_budget(opened, options)
    assert len(kept) == 2, "those for validation are of the budget"
    second = train("unet", [opened], tmp_path / "two", options, console=quiet())
    assert second["traits"] == first["traits"]
    assert second["data"] == first["data"], "the hashes are of what is read"
    one, two = ((tmp_path / name / "model/weights.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
    assert train("unet", [opened], tmp_path / "two", options, console=quiet())["finished"] == second["finished"]
    learnt, watched = (Drawn(subjects=n, cases=n) for n in ((1, 1) if validation else (2, 0)))
    read = read_run(tmp_path / "one").labels_read
    assert read == LabelsRead(training=learnt, thresholds=watched, all=Drawn(subjects=2, cases=2), behind=learnt.cases)
    assert set(masks_of(dataset_of(tmp_path / "two"), "train", "validation")) == kept


def test_masks_of_test_cases_tell_no_class_without_a_budget_either(tmp_path: Path) -> None:
    opened = open_dataset(made(tmp_path / "data"))
    for path in masks_of(opened, "test"):
        Image.fromarray(np.full((24, 24), 9, np.uint8)).save(path)
    facts = train("unet", [opened], tmp_path / "run", replace(TINY, labels=None), console=quiet())
    assert facts["traits"]["labels"]["values"] == ((1,),)


def test_a_subject_that_another_data_set_tests_on_tells_no_class(tmp_path: Path) -> None:
    first, second = (open_dataset(made(tmp_path / name)) for name in ("a", "b"))
    named = [replace(part, cases=tuple(replace(c, named=True) for c in part.cases)) for part in (first, second)]
    held = {case.subject for case in first.split("test")}
    named[1] = replace(named[1], cases=tuple(replace(c, split="train") for c in named[1].cases))
    joined = join(named)
    moved = [case for case in joined.cases if case.subject in held]
    assert {case.split for case in moved} == {"test"}
    told = {mask.path for source in within_budget(joined).label_source.undeclared for mask in source.masks}
    assert told == masks_of(joined, "train", "validation")


def test_a_class_that_no_mask_of_the_budget_has_is_not_known_and_that_is_said(tmp_path: Path) -> None:
    data = made(tmp_path / "data", classes=1)
    opened = open_dataset(data)
    kept = masks_of(keep_labels(opened, 2).dataset, "train")
    for path in masks_of(opened, "train") - kept:
        Image.fromarray(np.pad(np.full((9, 9), 2, np.uint8), (3, 12))).save(path)
    said = StringIO()
    options = replace(TINY, validation=0.0)
    facts = train("unet", [data], tmp_path / "run", options, console=Console(file=said, width=1000))
    assert facts["traits"]["labels"]["names"] == ("foreground",)
    assert "the classes (foreground) were found in 2 masks" in said.getvalue()
    (data / "scantling.toml").write_text("classes = { thing = 1, other = 2 }\n")
    said = StringIO()
    facts = train("unet", [data], tmp_path / "told", options, console=Console(file=said, width=1000))
    assert facts["traits"]["labels"]["names"] == ("thing", "other")
    assert "were found in" not in said.getvalue()
    assert "no training mask has a pixel of the class 'other'" in said.getvalue()


def instance_maps(root: Path) -> Path:
    for number in range(8):
        mask = np.zeros((48, 48), np.uint8)
        for value in range(1, 4 + number % 4):
            mask[6 * value : 6 * value + 5, 6 + number : 12 + number] = value
        for kind in ("images", "masks"):
            path = root / kind / f"c{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path)
    return root


def test_instance_maps_within_the_budget_are_instances_and_no_other_is_opened(tmp_path: Path) -> None:
    data = instance_maps(tmp_path / "data")
    opened, options = open_dataset(data), replace(TINY, labels=4, validation=0.0)
    only_the_budget(opened, options)
    card = TOYS["toy-classifier"].model_copy(update={"needs": (("image", "instances"),)})
    material = open_material(card, [opened], tmp_path / "run", options)
    assert sum(case.has("instances") for case in material.dataset.split("train")) == 4
    facts: Mapping[str, Any] = {case.id: case.masks for case in material.dataset.cases if case.has("instances")}
    assert all(case.instances == facts[case.id][0] for case in material.dataset.cases if case.has("instances"))


def test_few_labels_choose_no_weights_and_an_earlier_run_with_a_budget_is_not_gone_on_with(tmp_path: Path) -> None:
    data, said = made(tmp_path / "data"), StringIO()
    options = replace(TINY, labels="35%", select="best")
    facts = train("unet", [data], tmp_path / "run", options, console=Console(file=said, width=1000))
    assert "labels of 2 of 6 labelled subjects are read (--labels 35%, label seed 0: " in said.getvalue()
    assert "none of so few is held out (--validation 0.2): labels choose no weights" in said.getvalue()
    assert facts["selected"]["rule"] == facts["options"]["select"] == "last"
    assert train("unet", [data], tmp_path / "run", options, console=quiet())["finished"] == facts["finished"]
    header = header_of(open_run(tmp_path / "run"), (), (), block=None, classes=None)
    assert dict(header.facts)["Labels read"] == "training 2 subjects (2 cases); selection none; thresholds none"
    with pytest.raises(RunError, match=r"options\.label_seed was 0, is 1"):
        train("unet", [data], tmp_path / "run", replace(options, label_seed=1), console=quiet())
    path = tmp_path / "run" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "labelled": None}))
    with pytest.raises(RunError, match="was begun with --labels 35% by an earlier version, which kept the labels of"):
        train("unet", [data], tmp_path / "run", options, console=quiet())
    with pytest.raises(RunError, match="of an earlier version does not say whose labels it has kept"):
        dataset_of(tmp_path / "run")


def test_what_is_drawn_in_other_slices_changes_no_weight(tmp_path: Path) -> None:
    weights = []
    for name in ("one", "two"):
        root = tmp_path / name
        for kind in ("images", "masks"):
            (root / kind).mkdir(parents=True)
        (root / "scantling.toml").write_text("classes = { thing = 1 }\n")
        for number in range(5):
            draw = np.random.default_rng(number)
            mask = (draw.random((16, 17, 6)) > 0.5).astype(np.uint8)
            image = draw.integers(0, 99, mask.shape, np.uint8) + 40 * mask
            if name == "two":
                mask[..., [0, 2, 3, 5]] = 1
            for kind, array in (("images", image), ("masks", mask)):
                nib.save(nib.Nifti1Image(array, np.eye(4)), root / kind / f"v{number}.nii.gz")
        options = replace(TINY, labels=3, label_slices=2, settings={"widths": [4, 8]})
        facts = train("unet", [root], root / "run", options, console=quiet())
        weights.append((root / "run/model/weights.safetensors").read_bytes())
    assert facts["labels_read"]["training"] == {"subjects": 3, "cases": 3, "slices": 6}
    assert {one.drawn_slices for one in dataset_of(root / "run").split("train") if one.masks} == {(1, 4)}
    assert weights[0] == weights[1]
    with pytest.raises(SettingsError, match="--label-slices: toy-classifier does not learn from masks by class"):
        open_material(TOYS["toy-classifier"], [root], None, replace(options, labels=None))
