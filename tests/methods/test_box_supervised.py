"""Boxes teach a mask: what its objectives minimise is what a mask with these boxes has."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from scantling.contract.step import Step
from scantling.core.errors import DataError
from scantling.core.samples import Batch
from scantling.data.dataset import open_dataset
from scantling.data.division import divide
from scantling.data.loading import load
from scantling.data.traits import measure_traits
from scantling.methods.catalogue import CARDS
from scantling.methods.weakly_supervised.box_supervised import inside_of
from scantling.records.run_folder import identity_of
from scantling.testing.data import make_data
from scantling.training import Options, train
from scantling.training.readers import readers_of
from semi_supervised import noise, played, segmenter, value_of


def boxed() -> Batch:
    batch = noise(0, count=2)
    boxes = torch.tensor([[[4.0, 12.0], [5.0, 11.0]], [[14.0, 20.0], [3.0, 9.0]]])
    boxes = torch.stack([boxes, torch.zeros_like(boxes)])  # the second patch has none
    fields = {"image": batch.image, "boxes": boxes}
    counts, classes = {"boxes": torch.tensor([2, 0])}, {"boxes": torch.tensor([[0, 1], [-1, -1]])}
    return Batch(batch.index, batch.case, fields, counts=counts, classes=classes)


def test_a_mask_that_fills_its_boxes_and_nothing_else_costs_nothing_but_pairs() -> None:
    method, batch = segmenter("box-supervised", classes=2), boxed()
    inside = inside_of(batch)
    assert inside[0].sum() == 8 * 6 + 6 * 6
    assert not inside[1].any()
    logits = torch.zeros(2, 3, 24, 24, dtype=torch.float64)
    logits[:, 0] = 20
    logits[0, 1, 4:12, 5:11], logits[0, 2, 14:20, 3:9] = 40, 40
    method.network = torch.nn.Identity()
    method.network.forward = lambda image: logits  # type: ignore[method-assign]
    terms = played(method.objectives({"boxed": batch}, Step(seed=0, number=9, count=9)))["unet"]
    assert value_of(terms["background"]) == pytest.approx(0, abs=1e-6)
    assert value_of(terms["projection"]) == pytest.approx(0, abs=1e-6)
    logits[0, 1:], logits[0, 0] = 0, 20
    terms = played(method.objectives({"boxed": batch}, Step(seed=0, number=9, count=9)))["unet"]
    assert value_of(terms["projection"]) == pytest.approx(0.5, abs=1e-6)  # the mean with the patch without a box


@pytest.mark.parametrize("box", [[[6, 5], [3, 4]], [[500, 600], [3, 4]], [[-9, -2], [3, 4]]])
def test_a_box_that_is_none_is_refused_by_its_number(tmp_path: Path, box: list[list[int]]) -> None:
    case = open_dataset(make_data(CARDS["box-supervised"], tmp_path, dimensions=2)).cases[0]
    case = replace(case, boxes=(*case.boxes, tuple(map(tuple, box))))
    with pytest.raises(DataError, match=rf"case0: box {len(case.boxes)} runs from .* pixels; expected each axis"):
        load(case, reads=("image", "boxes"))


def test_a_training_from_boxes_opens_no_mask_though_the_data_hold_subjects_out_and_counts_boxes(
    tmp_path: Path,
) -> None:
    card = CARDS["box-supervised"].model_copy(update={"needs": (("image", "boxes", "mask"),)})
    data = make_data(card, tmp_path / "data", dimensions=2)
    facts = json.loads((data / "scantling.json").read_text())
    facts["case"][0]["split"] = "validation"
    (data / "scantling.json").write_text(json.dumps(facts))
    options, weights = Options(preset="tiny", steps=2), list[str]()
    for run in ("whole", "broken"):
        said = io.StringIO()
        train("box-supervised", [data], tmp_path / run, options, console=Console(file=said, width=1000, markup=False))
        assert "3 training cases with boxes, 1 validation, 2 test" in said.getvalue()
        weights.append(identity_of(tmp_path / run))
        for path in (data / "masks").iterdir():
            path.write_bytes(b"")
    assert weights[0] == weights[1]


def test_boxes_are_not_rotated_and_some_patches_are_centred_in_one(tmp_path: Path) -> None:
    data = make_data(CARDS["box-supervised"], tmp_path, dimensions=2)
    dataset = divide(open_dataset(data), validation=0.0)
    method = segmenter("box-supervised", patch=(8, 8), foreground=1.0)
    (stage,) = method.stages()
    assert stage.streams[0].augment is not None
    assert stage.streams[0].augment.rotation == 0
    method.traits = measure_traits(dataset, reads=("image", "boxes"))
    assert (method.traits.labelled, method.traits.unlabelled) == (4, 0)
    reader = readers_of(stage, method, dataset, seed=0)["boxed"]
    counts = np.concatenate([reader.batch(step).counts["boxes"].numpy() for step in range(10)])
    assert (counts > 0).all()
