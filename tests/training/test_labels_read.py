"""Labels that a training reads: counted, hashed wherever they stand, and refused where no card tells of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from torch.nn import functional as F

from scantling.contract.capabilities import Segmenter
from scantling.contract.card import Card
from scantling.contract.method import Method
from scantling.contract.results import Segmentation
from scantling.contract.stage import Calibration, Game, Prepared, Stage
from scantling.contract.step import Inference, Step
from scantling.core.errors import RunError, SettingsError
from scantling.core.samples import Batch, Traits
from scantling.core.streams import Partner, Stream
from scantling.methods.catalogue import added
from scantling.records.run import run_facts
from scantling.testing.data import make_data
from scantling.testing.subject import Subject
from scantling.testing.trainings import quiet
from scantling.training import Options, train
from toys_capabilities import TOYS, Coder, Pseudo, Shade, Toy, ToySettings, summary

OPTIONS = Options(preset="tiny", seed=5, validation=0.25)


def card(kind: str, of: Card, **changes: Any) -> Card:
    facts = of.model_dump() | {"name": f"toy-{kind.lower()}", "implementation": f"{__name__}:{kind}"}
    return Card.model_validate(facts | changes)


class Weak(Toy, Segmenter):
    """Learns from image classes and answers with masks."""

    card = card("Weak", TOYS["toy-classifier"], gives=("segment",))

    def __init__(self, settings: ToySettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        self.layer = nn.Linear(2, len(traits.image_classes))

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        of = batch["all"]
        yield "all", {"cross_entropy": F.cross_entropy(self.layer(summary(of.image)), of.image_class)}

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        return Segmentation(probabilities=batch.image[:, :1].sigmoid())


class OfMasks(Pseudo):
    """Prepares a field from masks, and its one stage reads that alone."""

    card = card("OfMasks", TOYS["toy-pseudo"])

    def stages(self) -> Sequence[Stage]:
        _, second = super().stages()
        made = Prepared(name="pseudo", kind="probabilities", make=self.make, reads=("image", "mask"))
        return (replace(second, prepares=(made,)),)


class Hidden(Coder):
    """Its card needs images alone, and its stream wants scribbles."""

    card = card("Hidden", TOYS["toy-encoder"])

    def streams(self) -> tuple[Stream, ...]:
        return (replace(super().streams()[0], wants=("scribbles",)),)


class Paired(Shade):
    """Would calibrate itself on pairs of validation cases."""

    card = card("Paired", TOYS["toy-classifier"])

    def calibration(self) -> Calibration:
        stream = Stream(name="pairs", reads=("image", "image_class"), companions=(Partner("other"),))
        return Calibration(stream=stream, split="validation", fit=lambda batches, step: None)


def made(place: Path, *words: str) -> Path:
    return make_data(TOYS["toy-encoder"].model_copy(update={"needs": (words,)}), place / "data", dimensions=2)


def test_a_segmenter_that_learns_from_image_classes_is_trained_where_validation_cases_have_both(tmp_path: Path) -> None:
    with added(Weak.card):
        data = made(tmp_path, "image", "mask", "image_class")
        train(Weak.card.name, [data], tmp_path / "run", OPTIONS, console=quiet())
    assert run_facts(tmp_path / "run")["finished"]


def test_masks_that_a_prepared_field_is_made_from_are_counted(tmp_path: Path) -> None:
    with added(OfMasks.card):
        method = Subject(OfMasks.card, 2, tmp_path).method()
    assert method.hand_drawn == method.traits.labelled > 0


def test_a_label_that_no_card_tells_of_is_refused(tmp_path: Path) -> None:
    with added(Hidden.card):
        data = made(tmp_path, "image", "scribbles")
        with pytest.raises(SettingsError, match="its training reads scribbles, which its card does not need"):
            train(Hidden.card.name, [data], tmp_path / "run", OPTIONS, console=quiet())
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_run_is_not_taken_for_that_of_other_image_classes(tmp_path: Path) -> None:
    data = made(tmp_path, "image", "image_class")
    with added(*TOYS.values()):
        train("toy-classifier", [data], tmp_path / "run", OPTIONS, console=quiet())
        train("toy-classifier", [data], tmp_path / "run", OPTIONS, console=quiet())
        facts = json.loads((data / "scantling.json").read_text())
        for case in facts["case"]:
            case["image_class"] = {"bright": "dark", "dark": "bright"}[case["image_class"]]
        (data / "scantling.json").write_text(json.dumps(facts))
        with pytest.raises(RunError, match=r"have changed .* image_class"):
            train("toy-classifier", [data], tmp_path / "run", OPTIONS, console=quiet())


def test_a_calibration_without_a_partner_for_its_case_is_left_out(tmp_path: Path) -> None:
    with added(Paired.card):
        data = made(tmp_path, "image", "image_class")
        train(Paired.card.name, [data], tmp_path / "run", OPTIONS, console=quiet())
    assert run_facts(tmp_path / "run")["finished"]
