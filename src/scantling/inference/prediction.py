"""The command `predict`: one model or several over a file, a folder, a glob or a dataset, one case at a time.

A broken case fails alone and is listed; a run that was interrupted goes on where it was; `shard` shares the
cases among array jobs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from scantling.contract.options import InferenceOptions, SegmentOptions
from scantling.contract.results import DISPUTED
from scantling.core.case import Case, Sample
from scantling.core.errors import DataError, SettingsError
from scantling.core.machine import COMPUTE, Compute
from scantling.core.outputs import RUN
from scantling.data.channels import narrowed
from scantling.data.contents import count, some
from scantling.data.dataset import Dataset
from scantling.data.hashing import content_of
from scantling.data.loading import load
from scantling.data.opening import OPENING, Opening
from scantling.inference.answering import segment
from scantling.inference.bands import Decided, answer_in_bands
from scantling.inference.classifying import classify
from scantling.inference.expected import doubt, expected, sentences_on_expected
from scantling.inference.listing import Listing
from scantling.inference.models import Models, given_options, open_models
from scantling.inference.reliabilities import (
    learn,
    learnt_earlier,
    wants_learning,
    with_learnt,
    with_reliabilities,
)
from scantling.inference.runner import Job, Progress, check_shard, run_job
from scantling.inference.scale import answer_at_scale, sentences_on_scale
from scantling.inference.tiles import Tiler
from scantling.inference.unlike import likeness, sentences_on_likeness
from scantling.inference.writing import write_answer, written_values
from scantling.metrics.catalogue import unit_name
from scantling.metrics.confidence import dice_confidence
from scantling.records.classes_csv import CLASSES, ClassRow, write_classes
from scantling.records.expectations import AppearanceRecord, ExpectedRecord, of_model
from scantling.records.predictions import PredictedCase
from scantling.records.run import RunRecord, read_run

AGREEMENT = "it is the Dice of the mask and a second one that the model makes another way"
OTHER_SCALE = "calibrated on images of the scale of the training images"
READS = ("image", "region")
"""What is read of a case to answer about it."""


def predict(
    run: Path,
    source: Path | str | Dataset,
    *,
    out: Path,
    options: Mapping[str, Any] | InferenceOptions | None = None,
    ensemble: Sequence[Path] = (),
    split: str | None = None,
    probabilities: bool = False,
    shard: tuple[int, int] = (1, 1),
    opening: Opening = OPENING,
    compute: Compute = COMPUTE,
    progress: Progress | None = None,
) -> Listing:
    """Answer about all cases of `source` with the model of `run`: masks, image classes or both, written into `out`.

    Args:
        source: a file, a folder, a glob, a manifest, or a dataset.
        options: of the model's capabilities, by name (`contract.options`): samples, steps, fuse, views, seed, ...
        ensemble: runs that answer together with `run`, each a sample of its own (a deep ensemble).
        split: "train", "validation", "test" or "all"; None takes the test cases where the source has its own
            test split or the model was trained on this very data, and all cases elsewhere.
        probabilities: also write float32 maps.
        shard: (i, n) does every n-th case, the i-th of n jobs, counted from 1.
        progress: called with (done, total, id) after each case.

    Raises:
        ScantlingError: nothing can be started. Cases that fail are listed, not raised.
    """
    given = given_options(options)
    InferenceOptions.of({name: given[name] for name in InferenceOptions.model_fields if name in given})
    check_shard(shard)
    device = compute.prepare()
    models = open_models((run, *ensemble), given)
    dataset = source if isinstance(source, Dataset) else opening.open(source)
    place = dataset.root if isinstance(source, Dataset) else Path(source)
    split, cases = select_cases(dataset, run, split)
    header = {
        "run": str(run.resolve()),
        "input": str(place.absolute()),
        **opening.facts(),
        "split": split,
        **described(models),
        "requested": given,
        "options": {"probabilities": probabilities, "precision": compute.precision, **resolved(models)},
        "calls": calls(models),
    }
    models.to(device)
    notes = models.notes
    if wants_learning(models):
        learnt = learnt_earlier(out, header)
        if learnt is None:
            learnt = learn(models, device=device, autocast=compute.autocast(device, training=False))
        models, header = with_reliabilities(models, learnt), with_learnt(header, learnt)
        notes = (*notes, learnt.sentence)
    predictor = Predictor(
        models=models, out=out, device=device, autocast=compute.autocast(device, training=False), maps=probabilities,
        opening=opening,
    )  # fmt: skip
    done = run_job(
        Job(out=out, header=header, shard=shard), cases, predictor, inputs=dataset.files(), content=_content,
        finish=predictor.finish, progress=progress,
    )  # fmt: skip
    done.left_out = dataset.unnamed()
    done.notes = (
        *notes,
        *predictor.notes,
        *sentences_on_scale([PredictedCase.model_validate(case) for case in done.cases], given=given.get("scale")),
        *sentences_on_likeness(done.cases, predictor.known),
        *sentences_on_expected(done.cases, predictor.calibration),
    )
    return done


@dataclass(kw_only=True)
class Answerer:
    """Answers about samples: what `predict` writes, and what `scantling.load_model(...).predict` gives back.

    Attributes:
        maps: whether the probabilities of a large image, which is answered in bands, are wanted too.
        scales: whether pictures of another scale are answered at that of the training images.
    """

    models: Models
    device: torch.device
    autocast: torch.dtype | None = None
    maps: bool = False
    scales: bool = True
    tilers: list[Tiler] = field(default_factory=list)
    other_unit: list[str] = field(default_factory=list)
    """The cases whose spacing is in another unit than that of the training images, where images are resampled; "x" is
    an image in memory without an id."""

    lacking: dict[tuple[str, ...], list[str]] = field(default_factory=dict)
    """The answered cases by the channels that they lack, where the models do without; and how many were answered."""
    answered: int = field(init=False, default=0)

    known: AppearanceRecord | None = field(init=False, default=None)
    """What the training images of the leading model look like."""
    calibration: ExpectedRecord | None = field(init=False, default=None)
    """How far its scores lie from their estimates."""
    doubt: str = field(init=False, default="")
    """Why no interval of a score can be promised; empty where one can, and of a model in memory."""

    def __post_init__(self) -> None:
        for run in self.models.runs[:1]:
            self.known, self.calibration = of_model(AppearanceRecord, run), of_model(ExpectedRecord, run)
            self.doubt = doubt(self.calibration, kind_of_answer(self.models))
        given = self.models.segment or self.models.classify or InferenceOptions()
        memory = None if given.memory is None else int(given.memory * 2**30)
        self.tilers = [Tiler(memory=memory) for _ in self.models.methods]

    def answer(self, sample: Sample) -> tuple[Decided | None, dict[str, Any]]:
        """The segmentation of a sample, if the models segment, and what its entry says beside the files of it.

        Raises:
            DataError: it has another number of axes than the training images.
        """
        self._check(sample)
        facts, decided = dict[str, Any](), None
        if (labels := self.models.labels) is not None and self.models.segment is not None:
            (method, tiler), *others = zip(self.models.segmenters, self.tilers, strict=True)
            about = partial(
                segment, method, tiler=tiler, others=others, device=self.device, autocast=self.autocast,
                options=self.models.segment,
            )  # fmt: skip
            whole = partial(
                answer_in_bands, about, models=self.models.segmenters, exclusive=labels.exclusive, maps=self.maps,
            )  # fmt: skip
            decided, facts = answer_at_scale(
                whole,
                sample,
                self.models.segmenters,
                scale=self.models.segment.scale if self.scales else 1,
                known=self.known,
            )
            if (sums := decided.confidence_sums) is not None:
                alone = self.calibration is None and DISPUTED in decided.uncertainty
                reason = AGREEMENT if alone else OTHER_SCALE if "scale" in facts else self.doubt
                facts["expected"] = expected(dice_confidence(sums), self.calibration, reason=reason)
        if self.models.classify is not None:
            facts |= classify(
                self.models.classifiers, sample, tilers=self.tilers, device=self.device, autocast=self.autocast,
                options=self.models.classify,
            )  # fmt: skip
        first = narrowed(sample, self.models.channels, self.models.methods[0].channels)
        self.answered += 1
        if sample.channels is not None:
            lost = (name for name, there in zip(self.models.channels, sample.channels, strict=True) if not there)
            self.lacking.setdefault(tuple(lost), []).append(sample.case.id or "x")
        return decided, facts | likeness(first, self.models.methods[0].channels, self.known)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the cases that were answered."""
        return (*self._of_channels(), *self._of_units())

    def _of_channels(self) -> tuple[str, ...]:
        found = []
        for names, ids in self.lacking.items():
            whom = "none" if len(ids) == self.answered else f"{count(len(ids), 'image')} ({some(ids, most=3)})"
            verb = f"of {count(self.answered, 'image')} has" if whom == "none" else "without"
            rest, lost = some([one for one in self.models.channels if one not in names]), some(names)
            found.append(f"{whom} {verb} {lost}: answered from {rest} alone, as if {lost} said nothing")
        return tuple(found)

    def _of_units(self) -> tuple[str, ...]:
        if not self.other_unit:
            return ()
        traits, ids = self.models.methods[0].traits, self.other_unit
        spacing = " x ".join(f"{value:.3g}" for value in traits.spacing) + f" {unit_name(traits.unit)}"
        found = "no spacing" if traits.unit == "mm" else "a spacing in mm"
        return (
            f"{count(len(ids), 'image')} ({some(ids, most=3)}) with {found}, unlike the training images: taken to have "
            f"theirs, {spacing}",
        )

    def _check(self, sample: Sample) -> None:
        method, geometry = self.models.methods[0], sample.geometry
        found, expected = len(geometry.shape), method.traits.dimensions
        if found != expected:
            raise DataError(f"{sample.case.id}: found {found} dimensions, expected {expected} as in training")
        if method.preprocessing.spacing is not None and method.traits.unit not in (None, geometry.unit):
            self.other_unit.append(sample.case.id or "x")


@dataclass(kw_only=True)
class Predictor(Answerer):
    """Answers about a case and writes the answer into `out`, with probability maps if `maps`."""

    out: Path
    opening: Opening = OPENING

    def __call__(self, case: Case) -> dict[str, Any]:
        """Answer about a case and write it; returns its entry in the list."""
        begun = time.monotonic()
        models, opening = self.models, self.opening
        sample = load(
            case, channels=models.channels, reads=READS, partial=models.partial, limits=opening.limits,
            untrusted=opening.untrusted,
        )  # fmt: skip
        decided, facts = self.answer(sample)
        written: dict[str, Any] = {"id": case.id}
        if decided is not None and (labels := self.models.labels) is not None:
            written = write_answer(
                self.out, case, decided, sample.geometry, labels, maps=self.maps, region=sample.region
            )
        return {**written, **facts, "seconds": round(time.monotonic() - begun, 3)}

    def finish(self, listing: Listing) -> None:
        """Write what is one file for all cases."""
        if self.models.classify is not None:
            rows = (ClassRow(str(case["id"]), case["image_class"], case["classes"]) for case in listing.cases)
            write_classes(self.out / CLASSES, rows, self.models.methods[0].traits.image_classes)


def described(models: Models) -> dict[str, Any]:
    """What a record says of the models and of what they can name."""
    method, labels = models.methods[0], models.labels
    applied = [each.postprocessing.applied for each in models.segmenters]
    wanted = models.segment is not None and models.segmenters[0].segment_options(models.segment).postprocess
    return {
        "method": method.card.name,
        "model": models.identities[0] if models.identities else "",
        "classes": list(labels.names) if labels is not None else [],
        "values": written_values(labels) if labels is not None else [],
        **(
            {"data_values": [list(values) for values in labels.values]}
            if labels is not None and labels.coloured
            else {}
        ),
        "exclusive": labels.exclusive if labels is not None else True,
        **({"postprocessing": applied} if any(applied) and wanted else {}),
        **({"image_classes": list(method.traits.image_classes)} if models.classify is not None else {}),
    }


def resolved(models: Models) -> dict[str, Any]:
    """The options that the models work with, as a record says them."""
    found = dict[str, Any]()
    if models.classify is not None:
        found |= models.classifiers[0].classify_options(models.classify).model_dump()
    if models.segment is not None:
        # what postprocessing does stands beside the options, if anything (`described`)
        besides = {"postprocess", "reliabilities"}
        found |= models.segmenters[0].segment_options(models.segment).model_dump(exclude=besides)
        found["views"] = any(each.uses_views(models.segment) for each in models.segmenters)
        found |= {"votes": models.segment.votes} if len(models.methods) > 1 else {}
        found |= {"reliabilities": _listed(models.segment)} if models.segment.reliabilities else {}
    others = zip(models.runs[1:], models.identities[1:], strict=True)
    return found | {"ensemble": [{"run": str(run.resolve()), "model": identity} for run, identity in others]}


def _listed(options: SegmentOptions) -> str | list[float] | list[list[float]]:
    """Reliabilities as a record says them: a number for each model, where each has one."""
    given = options.reliabilities
    if isinstance(given, str):
        return given
    return [row[0] for row in given] if all(len(row) == 1 for row in given) else [[*row] for row in given]


def kind_of_answer(models: Models) -> dict[str, Any]:
    """What expected scores were calibrated for: the options, and what is done to the answers."""
    return {**resolved(models), "postprocessing": described(models).get("postprocessing", [])}


def calls(models: Models) -> int:
    """Passes through networks that the answer about an image takes."""
    total = 0
    if models.segment is not None:
        for each in models.segmenters:
            views = len(each.resolved_views().each) if each.uses_views(models.segment) else 1
            total += views * each.calls(each.segment_options(models.segment))
    if models.classify is not None:
        total += sum(each.classify_options(models.classify).samples or 1 for each in models.classifiers)
    return total


def select_cases(dataset: Dataset, run: Path, split: str | None) -> tuple[str, list[Case]]:
    """The split that is meant and its cases that have an image, by id.

    Raises:
        SettingsError: there is no such split.
        DataError: it has no image.
    """
    record = read_run(run) if (run / RUN).is_file() else RunRecord()
    trained_on = str(dataset.root.resolve()) in {part.path for part in record.data}
    if split is None:
        split = "test" if dataset.parted or trained_on else "all"
    cases = [case for case in dataset.cases if case.images]
    if split != "all":
        if split not in ("train", "validation", "test"):
            raise SettingsError(f"--split {split}: expected train, validation, test or all")
        if trained_on:
            ids = set(record.split.get(split, ()))
            cases = [case for case in cases if ids & record.names_of(case.id, dataset.root, dataset.name)]
        else:
            cases = [case for case in cases if case.split == split]
    if not cases:
        raise DataError(f"{dataset.root}: found no image to predict (split {split}); choose another --split")
    return split, sorted(cases, key=lambda case: case.id)


def _content(case: Case) -> str:
    return content_of(case, reads=READS)
