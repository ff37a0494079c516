"""Conformance sees what is broken: toys that break one promise each fail the check of it, and no other toy does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.contract.card import Capability, Card
from scantling.contract.method import Method
from scantling.contract.options import ClassifyOptions
from scantling.contract.results import Classification, Registration
from scantling.contract.stage import Calibration, Game, Stage
from scantling.contract.step import Inference, Step
from scantling.core.samples import Batch, Traits
from scantling.core.streams import Stream
from scantling.methods.catalogue import added
from scantling.testing import ConformanceError, answers
from scantling.testing.checks import (
    goes_on_where_it_was_interrupted,
    is_saved_and_loaded,
    trains_what_its_stage_names,
)
from scantling.testing.subject import Subject
from toys_capabilities import IMAGE_AND_CLASS, Pseudo, Shade, ToySettings
from toys_registration import ToyShift


def card(kind: str, needs: tuple[tuple[str, ...], ...], gives: Capability, fits: str) -> Card:
    return Card(
        name=f"toy-{kind.lower()}", title="A toy", authors="nobody", year=2026, needs=needs, gives=(gives,),
        dimensions=(2,), fits=fits, implementation=f"{__name__}:{kind}",
    )  # fmt: skip


class Forgetful(Shade):
    """Learns a temperature after its training, which `answering` leaves out of the model."""

    card = card("Forgetful", IMAGE_AND_CLASS, "classify", "cross_entropy")
    answering = ("layer",)
    temperature: Tensor

    def __init__(self, settings: ToySettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        self.register_buffer("temperature", torch.ones(()))

    def calibration(self) -> Calibration:
        stream = Stream(name="all", reads=("image", "image_class"))
        return Calibration(stream=stream, split="train", fit=lambda batches, step: self.temperature.fill_(3.0))  # type: ignore[arg-type,return-value]

    def classify(self, batch: Batch, inference: Inference) -> Classification:
        return Classification(probabilities=(self.logits(batch.image) / self.temperature).softmax(1))


class Remembering(Forgetful):
    """The same, whole."""

    card = card("Remembering", IMAGE_AND_CLASS, "classify", "cross_entropy")
    answering = ("layer", "temperature")


class Counting(Pseudo):
    """In its last stage a step depends on a number that no checkpoint holds."""

    card = card("Counting", (("image", "mask"),), "segment", "bce")
    counted = 0

    def on_pseudo(self, batch: Mapping[str, Batch], step: Step) -> Game:
        self.counted += 1
        yield "student", {"agreement": self.student(batch["every"].image).square().mean() * self.counted}


class Sharpness(ClassifyOptions):
    """Sharpness: of the probabilities."""

    sharpness: float = 1.0


class Sharp(Shade):
    """Has an option of its own."""

    card = card("Sharp", IMAGE_AND_CLASS, "classify", "cross_entropy")
    classify_with = Sharpness

    def classify(self, batch: Batch, inference: Inference) -> Classification:
        return Classification(probabilities=F.softmax(self.logits(batch.image) * inference.options.sharpness, 1))


class Mixed(Pseudo):
    """Draws a stream of unlabelled cases where there are some."""

    card = card("Mixed", (("image", "mask"),), "segment", "bce")

    def stages(self) -> Sequence[Stage]:
        first, second = super().stages()
        unlabelled = Stream(name="unlabelled", reads=("image",), without=("mask",), optional=True)
        streams = (*first.streams, unlabelled)
        return replace(first, streams=streams, draws=lambda step: ("labelled", "unlabelled")), second


class Halved(ToyShift):
    """A displacement on half of the grid."""

    card = card("Halved", ToyShift.card.needs, "register", ToyShift.card.fits)

    def register(self, fixed: Batch, moving: Batch, inference: Inference) -> Registration:
        return Registration(displacement=super().register(fixed, moving, inference).displacement[..., ::2])


def subject(kind: type[Method], place: Path) -> Subject:
    return Subject(kind.card, 2, place)


def test_a_model_that_lacks_what_calibration_learned_is_seen(tmp_path: Path) -> None:
    with added(Forgetful.card, Remembering.card):
        is_saved_and_loaded(subject(Remembering, tmp_path / "whole"))
        with pytest.raises(ConformanceError, match="a loaded model differs in the classes of image 0"):
            is_saved_and_loaded(subject(Forgetful, tmp_path / "broken"))


def test_a_last_stage_that_does_not_go_on_where_it_was_is_seen(tmp_path: Path) -> None:
    with added(Counting.card), pytest.raises(ConformanceError, match="after an interruption"):
        goes_on_where_it_was_interrupted(subject(Counting, tmp_path))


def test_a_displacement_on_another_grid_is_seen(tmp_path: Path) -> None:
    with added(Halved.card), pytest.raises(ConformanceError, match="the displacement has the shape"):
        answers.has_the_right_shape(subject(Halved, tmp_path))


def test_options_of_a_method_reach_it(tmp_path: Path) -> None:
    with added(Sharp.card):
        sharp = subject(Sharp, tmp_path)
        answers.has_the_right_shape(sharp)
    assert sharp.answers, "it was asked, and the check did not fail"


def test_a_stream_that_no_case_belongs_to_is_left_out(tmp_path: Path) -> None:
    with added(Mixed.card):
        mixed = subject(Mixed, tmp_path)
        trains_what_its_stage_names(mixed)  # raises where a step fails or a weight stays
    assert mixed.data.is_dir()
