"""Fields that a stage prepares: cut like the image, made once, made again where what they depend on has changed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scantling.contract.stage import Prepared, Stage
from scantling.contract.step import Step
from scantling.core.errors import DataError, RunError
from scantling.core.samples import Batch
from scantling.core.streams import Augmentation, Stream
from scantling.data.prepared_fields import PreparedField
from scantling.data.reader import Reader
from scantling.methods.catalogue import added
from scantling.testing.subject import Subject
from scantling.testing.trainings import interrupted, quickly, quiet, trained_weights
from scantling.training import Options, train
from scantling.training.prepared import check_fields, prepare_fields, prepared_fields
from scantling.training.processes import Processes
from scantling.training.readers import readers_of
from scantling.training.stage_runner import StageRunner
from toys_capabilities import TOYS, Pseudo

OPTIONS = Options(preset="tiny", seed=5, validation=0.25, saved_every=0.0)


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Subject]:
    with added(*TOYS.values()):
        yield Subject(TOYS["toy-pseudo"], 2, tmp_path)


def reader(subject: Subject, field: PreparedField, stream: Stream) -> Reader:
    method = subject.method()
    stage = Stage(name="s", players=(), streams=(stream,), steps=1, objectives=lambda batch, step: iter(()))  # type: ignore[arg-type,return-value]
    return readers_of(stage, method, subject.dataset, seed=0, prepared={field.field.name: field})[stream.name]


def test_a_field_is_cut_turned_and_mirrored_with_its_image(subject: Subject) -> None:
    field = PreparedField.of(subject.place, "copy", "image")
    plain = Stream(name="all", reads=("image", "copy"), batch=8)
    whole = reader(subject, field, plain)
    for position, place in enumerate(whole.places):
        field.save(place.case.id, None, whole.at(position).image[0])
    for augment in (None, Augmentation(), Augmentation(rotation=30, zoom=0.3, warped=1.0)):
        stream = Stream(name="all", reads=("image", "copy"), batch=8, patch=(16, 16), augment=augment)
        batch = reader(subject, field, stream).batch(0)
        assert torch.equal(batch.fields["copy"], batch.image)
        assert batch.present["copy"].all()


def test_a_case_without_the_field_says_so_and_one_on_a_coarser_grid_is_read_whole(subject: Subject) -> None:
    field = PreparedField.of(subject.place, "latent", "image")
    stream = Stream(name="all", reads=("image", "latent"), batch=4)
    whole = reader(subject, field, stream)
    for place in whole.places[1:]:
        field.save(place.case.id, None, torch.ones(3, 6, 6))
    batch = whole.at(1)
    assert batch.fields["latent"].shape == (1, 3, 6, 6)
    assert [bool(whole.at(place).present["latent"]) for place in range(len(whole.places))] == [False, True, True, True]
    cut = reader(subject, field, Stream(name="all", reads=("image", "latent"), batch=4, patch=(16, 16)))
    with pytest.raises(DataError, match=r"'latent' of case\d lies on a grid of \(6, 6\)"):
        cut.batch(0)


def test_a_stage_interrupted_after_its_fields_were_made_goes_on_with_them(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    original = Pseudo.make

    def counting(self: Pseudo, *args: object) -> torch.Tensor:
        made.append(1)
        return original(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Pseudo, "make", counting)
    place, data = subject.place, subject.data
    with quickly():
        train("toy-pseudo", [data], place / "whole", OPTIONS, console=quiet())
        once = len(made)
        assert once == len([case for case in subject.dataset.split("train") if case.id]) - 1  # one is held out
        with interrupted(after=8), suppress(KeyboardInterrupt):  # 1 + 4 steps of the first stage, 1 + 2 of the second
            train("toy-pseudo", [data], place / "broken", OPTIONS, console=quiet())
        assert sorted(path.suffix for path in (place / "broken" / "prepared" / "pseudo").iterdir()) == [
            ".json", *[".npy"] * once,
        ]  # fmt: skip
        train("toy-pseudo", [data], place / "broken", OPTIONS, console=quiet())
    assert len(made) == 2 * once
    whole, broken = (trained_weights(place / name) for name in ("whole", "broken"))
    assert all(torch.equal(tensor, broken[name]) for name, tensor in whole.items())
    assert not (place / "broken" / "prepared").exists()


def test_fields_left_by_other_weights_are_made_again(subject: Subject) -> None:
    field = PreparedField.of(subject.place / "run", "pseudo", "probabilities")
    for case in subject.dataset.split("train"):
        field.save(case.id, None, torch.full((1, 24, 24), 7.0))
    (field.folder / "made-of.json").write_text('{"key": "of other weights"}')
    seen = []
    original = Pseudo.on_pseudo

    def looking(self: Pseudo, batch: object, step: object) -> object:
        seen.append(float(batch["every"].fields["pseudo"].max()))  # type: ignore[index]
        return original(self, batch, step)  # type: ignore[arg-type]

    with quickly(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pseudo, "on_pseudo", looking)
        (subject.place / "run" / "prepared").rename(subject.place / "prepared")
        (subject.place / "run").rmdir()
        with interrupted(after=1), suppress(KeyboardInterrupt):
            train("toy-pseudo", [subject.data], subject.place / "run", OPTIONS, console=quiet())
        (subject.place / "prepared").rename(subject.place / "run" / "prepared")
        train("toy-pseudo", [subject.data], subject.place / "run", OPTIONS, console=quiet())
    assert seen
    assert np.max(seen) < 1


def test_a_stream_that_reads_a_field_has_only_cases_that_it_is_made_for(subject: Subject) -> None:
    method, field = subject.method(), PreparedField.of(subject.place, "pseudo", "probabilities")
    first, second = method.stages()
    needing = replace(second, prepares=(replace(second.prepares[0], reads=("image", "mask")),))
    stream = replace(second.streams[0], companions=())
    wanting = replace(stream, name="wanting", reads=("image",), wants=("pseudo",))
    dataset = subject.dataset
    bare = tuple(replace(case, masks=()) if case.id == "case0" else case for case in dataset.cases)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(method), "stages", lambda self: (first, needing))
        readers = readers_of(
            replace(needing, streams=(stream, wanting)), method, replace(dataset, cases=bare), seed=0,
            prepared={"pseudo": field},
        )  # fmt: skip
    assert [place.case.id for place in readers["every"].places] == ["case1", "case2", "case3"]
    assert [place.case.id for place in readers["wanting"].places] == ["case0", "case1", "case2", "case3"]


def test_a_field_of_several_channels_may_be_absent(subject: Subject) -> None:
    field = PreparedField.of(subject.place, "soft", "probabilities")
    stream = Stream(name="all", reads=("image",), wants=("soft",), batch=4, patch=(16, 16))
    read = reader(subject, field, stream)
    shapes = [read.at(position).image.shape[2:] for position in range(len(read.places))]
    for place, shape in list(zip(read.places, shapes, strict=True))[1:]:
        field.save(place.case.id, None, torch.ones(3, *shape))
    batch = read.batch(0)
    assert batch.fields["soft"].shape == (4, 3, 16, 16)
    there = batch.present["soft"][:, 0]
    assert there.sum() == 3
    assert not batch.fields["soft"][~there].any()


def test_what_is_drawn_to_make_a_field_is_not_what_a_step_draws(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, played = list[torch.Tensor](), list[torch.Tensor]()
    make, on_pseudo = Pseudo.make, Pseudo.on_pseudo

    def making(self: Pseudo, batch: Any, step: Any) -> torch.Tensor:
        made.append(step.randn("noise", like=torch.empty(1, 4)))
        return make(self, batch, step)

    def playing(self: Pseudo, batch: Any, step: Any) -> Any:
        played.append(step.randn("noise", like=torch.empty(1, 4)))
        return on_pseudo(self, batch, step)

    monkeypatch.setattr(Pseudo, "make", making)
    monkeypatch.setattr(Pseudo, "on_pseudo", playing)
    train("toy-pseudo", [subject.data], subject.place / "run", OPTIONS, console=quiet())
    assert not any(torch.equal(one, other) for one in made for other in played)
    assert len({one[0, 0].item() for one in made}) == len(made) == 3


def test_a_training_whose_prepared_fields_have_gone_does_not_go_on_without_them(subject: Subject) -> None:
    run = subject.place / "run"
    with quickly(), interrupted(after=8), suppress(KeyboardInterrupt):
        train("toy-pseudo", [subject.data], run, OPTIONS, console=quiet())
    shutil.rmtree(run / "prepared")
    with pytest.raises(RunError, match="the field 'pseudo' that was prepared for its training has gone"):
        train("toy-pseudo", [subject.data], run, OPTIONS, console=quiet())


def test_several_fields_are_made_in_one_pass_and_again_if_one_is_missing(subject: Subject) -> None:
    method, calls = subject.method(), list[int]()
    stage = method.stages()[1]

    def make(batch: Batch, step: Step) -> dict[str, torch.Tensor]:
        calls.append(int(batch.case))
        return {"fine": batch.image.half(), "coarse": batch.image[:, :, ::2, ::2]}

    both = Prepared(name="both", kind="image", make=make, parts=("fine", "coarse"))
    stream = Stream(name="all", reads=("image", "fine", "coarse"), batch=2, pixels=7)
    stage = replace(stage, streams=(stream,), prepares=(both,), prepare=None)
    fields = prepared_fields(subject.place, [stage])
    assert list(fields) == ["fine", "coarse"]

    def readers(stage: Stage) -> dict[str, Reader]:
        return readers_of(stage, method, subject.dataset, seed=0, prepared=fields)

    def prepare(make: Prepared) -> None:
        step = StageRunner.start(stage, 0, torch.device("cpu"))
        prepare_fields(
            subject.place, method, replace(stage, prepares=(make,)), readers=readers, step=step, plan="",
            group=Processes(),
        )  # fmt: skip

    prepare(both)
    assert len(calls) == 4
    prepare(both)
    assert len(calls) == 4
    next(fields["coarse"].folder.glob("*.npy")).unlink()
    prepare(both)
    assert len(calls) == 5
    check_fields(subject.place, [stage])
    batch = readers(stage)["all"].batch(0)
    assert batch.fields["fine"].shape == batch.fields["coarse"].shape == (2, batch.image.shape[1], 7)
    shutil.rmtree(subject.place / "prepared")
    lacking = replace(both, make=lambda batch, step: {"fine": batch.image})
    with pytest.raises(RunError, match="prepared 'coarse' of the shape nothing for one case"):
        prepare(lacking)
    with pytest.raises(RunError, match="the field 'fine' that was prepared for its training has gone"):
        check_fields(subject.place / "elsewhere", [stage])
