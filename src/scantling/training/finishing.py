"""What is left behind when the last stage has ended: what is calibrated and learnt, the model, validation answers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from scantling.contract.capabilities import Segmenter
from scantling.contract.method import Method
from scantling.contract.stage import Calibration, Stage
from scantling.core.case import Case
from scantling.core.errors import DataError, SettingsError
from scantling.core.fields import reads_labels, reads_masks
from scantling.core.machine import autocast_type
from scantling.core.outputs import PREDICTIONS, RUN
from scantling.core.samples import Batch
from scantling.data.corrections import corrections_read
from scantling.data.dataset import Dataset
from scantling.data.traits import hand_drawn
from scantling.inference.models import models_of
from scantling.inference.prediction import Predictor, described, kind_of_answer
from scantling.inference.runner import Job, work_through
from scantling.inference.unlike import appearance_of_cases
from scantling.records.expectations import AppearanceRecord
from scantling.records.run import RunRecord
from scantling.records.run_folder import MODEL, identity_of, save_model
from scantling.training.expected import calibrate_expected
from scantling.training.labels_read import labels_read
from scantling.training.options import Options
from scantling.training.pictures import draw
from scantling.training.postprocessing import learn_postprocessing
from scantling.training.prepared import forget_fields
from scantling.training.readers import readers_of
from scantling.training.stage_runner import StageRunner
from scantling.training.starting_model import score_against
from scantling.training.state import PREPARED, PREVIOUS, Position
from scantling.training.validation import with_truth
from scantling.training.views import compared_views


def finish(
    out: Path,
    model: Method,
    dataset: Dataset,
    facts: dict[str, Any],
    position: Position,
    options: Options,
    device: torch.device,
) -> dict[str, Any]:
    """Calibrate and save the model, answer the validation cases, and write what there is to say into `run.json`."""
    calibrate(model, dataset, seed=options.seed, device=device)
    held_out = with_truth(model, dataset.split("validation"))
    if isinstance(model, Segmenter) and "segment" in model.gives:
        autocast = autocast_type(options.precision, device, training=False)
        model.views = compared_views(model, dataset, options, device)
        model.postprocessing = learn_postprocessing(model, held_out, device=device, autocast=autocast)
    save_model(model, out / MODEL)
    if {"segment", "classify"} & {*model.gives}:
        appearance_of_cases(model, dataset.split("train")).write(out / MODEL / AppearanceRecord.name)
    warnings, marked = _answered(out, model, held_out, facts, options, device) if held_out else ([], {})
    if not held_out:
        calibrate_expected(model, out / MODEL, (), None, options={})
    if facts.get("starting_model"):
        autocast = autocast_type(options.precision, device, training=True)
        starting, sentences = score_against(
            facts["starting_model"], model, dataset.split("validation"), run=facts["base"], device=device,
            autocast=autocast, seed=options.seed,
        )  # fmt: skip
        facts, warnings = facts | {"starting_model": starting}, [*warnings, *sentences]
    draw(model, held_out or dataset.split("train"), out, device=device)
    name, step, value = position.finished[-1] if position.finished else ("", 0, None)
    rule = options.select
    if rule == "best" and value is None and position.finished:
        rule = "last"
        warnings.append(
            f"--select best: stage {name!r} was never worth a number on validation; its last weights were kept"
        )
    chosen = rule == "best" and all(stage.criterion is None for stage in model.stages()[-1:])
    corrections = corrections_read(dataset.cases) if reads_labels(fields_read(model)) else None
    facts = facts | {
        **({"corrections": corrections.model_dump()} if corrections is not None else {}),
        "warnings": [*facts["warnings"], *warnings],
        "finished": clock(),
        "seconds": round(position.seconds, 1),
        "labels_read": labels_read(model, dataset, held_out, reads=fields_read(model), chosen=chosen).model_dump(),
        "marked": marked,
        "learned": {name: float(number) for name, number in model.learned().items()},
        "selected": {"rule": rule, "stage": name, "step": step, "value": value},
    }
    RunRecord.model_validate(facts).write(out / RUN)
    for leftover in (PREVIOUS, PREPARED):
        (out / leftover).unlink(missing_ok=True)
    forget_fields(out)
    return facts


def fields_read(model: Method) -> frozenset[str]:
    """The fields that a training reads of images: by its streams, for what its stages prepare, by its calibration."""
    calibration = model.calibration()
    streams = [stream for stage in model.stages() for stream in stage.streams]
    streams += [calibration.stream] if calibration is not None else []
    words = {word for stream in streams if "image" not in stream.without for word in stream.fields}
    words |= {"masks" for stream in streams if stream.annotator == "drawn"}
    return frozenset(words | {word for stage in model.stages() for each in stage.prepares for word in each.reads})


def check_labels(model: Method) -> None:
    """Make sure that no label is read of which the card of a method does not tell.

    Where a card needs some label, its streams may want others too; a calibration may not.

    Raises:
        SettingsError: one is read, so that nobody would know of it.
    """
    calibration = model.calibration()
    needed = {word for words in model.card.needs for word in words}
    read = {*(calibration.stream.fields if calibration else ())} if reads_labels(needed) else fields_read(model)
    hidden = sorted(word for word in read - needed if reads_labels([word]))
    if hidden:
        what = "its calibration reads" if reads_labels(needed) else "its training reads"
        raise SettingsError(
            f"{model.card.name}: {what} {' and '.join(hidden)}, which its card does not need; name it in `needs`"
        )


def calibrate(model: Method, dataset: Dataset, *, seed: int, device: torch.device) -> None:
    """Let the method learn what it learns after its training; masks that it reads are counted.

    Raises:
        DataError: there is no case to visit, and it cannot do without.
    """
    calibration = model.calibration()
    if calibration is None:
        return
    stage = _as_stage(calibration)
    cases = [case for case in dataset.split(calibration.split) if calibration.stream.takes(case)]
    readers = readers_of(stage, model, dataset, seed=seed, split=calibration.split) if cases else {}
    if calibration.stream.name not in readers:
        if calibration.optional:
            return
        raise DataError(
            f"{model.card.name} calibrates itself on {calibration.split} cases with "
            f"{' and '.join(calibration.stream.reads)}; found none"
        )
    reader = readers[calibration.stream.name]

    def visit() -> Iterator[Batch]:
        for batch in reader.visit():
            yield batch.to(device, model.dtype)

    model.eval().requires_grad_(False)
    with torch.no_grad():
        calibration.fit(visit(), StageRunner.start(stage, seed, device))
    if reads_masks(calibration.stream.fields) and calibration.split == "validation":
        before = model.hand_drawn + hand_drawn(cases)
        model.traits = model.traits.model_copy(update={"hand_drawn_before": before})


def clock() -> str:
    """Now."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _as_stage(calibration: Calibration) -> Stage:
    """The stage that its stream belongs to; it is never trained."""
    return Stage(
        name="calibration",
        players=(),
        streams=(calibration.stream,),
        steps=0,
        objectives=lambda batch, step: iter(()),  # type: ignore[arg-type,return-value]
    )


def _answered(
    out: Path, model: Method, cases: list[Case], facts: dict[str, Any], options: Options, device: torch.device
) -> tuple[list[str], dict[str, tuple[int, int]]]:
    """Answer the validation cases into `validation/`; a sentence for each that failed, and what `marked` is."""
    folder = out / "validation"
    models = models_of([model], {}, identities=(identity_of(out),))
    header = {
        "run": str(out.resolve()), "input": facts["data"][0]["path"],
        "manifest": str(options.manifest.resolve()) if options.manifest else None,
        "root": str(options.root.resolve()) if options.root else None, "subjects": options.subjects,
        "split": "validation", **described(models), "options": {},
    }  # fmt: skip
    (folder / PREDICTIONS).unlink(missing_ok=True)
    autocast = autocast_type(options.precision, device, training=False)
    predictor = Predictor(models=models, out=folder, device=device, autocast=autocast, maps=True)
    predictor.doubt = "these are the validation cases"
    done = work_through(Job(out=folder, header=header), cases, predictor)
    predictor.finish(done)
    fitted = ["the weights were chosen"] if options.select == "best" else []
    if (facts.get("starting_model") or {}).get("seen"):
        fitted.append("the starting model was trained")
    marked = calibrate_expected(model, out / MODEL, cases, done, options=kind_of_answer(models), fitted=fitted)
    return [f"validation case {case['id']} could not be answered: {case['error']}" for case in done.failed], marked
