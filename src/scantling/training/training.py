"""The command `train`: data and a method in, a run folder out; the same command goes on where it stopped."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console

from scantling.contract.capabilities import Segmenter
from scantling.contract.card import Card
from scantling.contract.method import Method
from scantling.contract.views import views_of_training
from scantling.core.atomic import to_json
from scantling.core.errors import SettingsError
from scantling.core.fields import is_weak
from scantling.core.machine import autocast_type, device_of, memory_free, steady, unrepeatable
from scantling.core.outputs import RUN, check_record, locked
from scantling.core.samples import Traits
from scantling.data.dataset import Dataset
from scantling.data.mirroring import sides_told_apart
from scantling.data.traits import readable_traits, spacing_remarks
from scantling.methods.catalogue import card_of
from scantling.records.run import RunRecord, never_found
from scantling.training.building import build_method
from scantling.training.callbacks import Callback
from scantling.training.finishing import finish
from scantling.training.leakage import check_apart, start_remarks
from scantling.training.material import Material, asking_for_labels, budget_remarks, counts, open_material, undrawn
from scantling.training.minutes import fitted, usual_steps
from scantling.training.options import DEFAULTS, Options
from scantling.training.plan import (
    DATA_FILES,
    DataFiles,
    check_same,
    earlier_facts,
    hashes_of,
    plan_of,
    recorded,
)
from scantling.training.pools import pool_remarks
from scantling.training.prepared import prepared_fields
from scantling.training.preview import Preview
from scantling.training.processes import Processes, processes
from scantling.training.readers import augmented, can_be_judged, readers_of
from scantling.training.starting_model import score_starting_model
from scantling.training.trainer import Trainer
from scantling.training.validation import validation_of


def train(
    method: str | type[Method],
    data: Sequence[Path | str | Dataset],
    out: Path,
    options: Options = DEFAULTS,
    *,
    console: Console | None = None,
    begun: float | None = None,
    callbacks: Sequence[Callback] = (),
    command: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Train `method` on the training cases of `data` into the run folder `out`; returns its `run.json`.

    A run that exists goes on where it stopped, one that has not done a step begins anew, and one that is finished is
    left alone.

    Args:
        method: its name, or its class.
        begun: when the command began, by `time.monotonic`, for `options.minutes`; now if None.
        callbacks: called with each logged step, in the first process; one that raises `StopTraining` stops the
            training as a signal does.
        command: the words that the record keeps; None: those of this process.

    Raises:
        ScantlingError: nothing can be started, the run was made with other settings, or it was asked to stop.
    """
    begun, words = time.monotonic() if begun is None else begun, list(sys.argv if command is None else command)
    card, options, device, console = _checked(method, data, options, console)
    with processes(device) as group, nullcontext() if card.repeats else unrepeatable():
        if group.first:
            check_record(out, RUN)
            with locked(out):
                return _train(card, data, out, options, device, group, console, begun, words, callbacks)
        return _train(card, data, out, options, device, group, Console(quiet=True), begun, words)


def preview(
    method: str | type[Method],
    data: Sequence[Path | str | Dataset],
    options: Options = DEFAULTS,
    *,
    console: Console | None = None,
) -> Preview:
    """What `train` with the same arguments would do; nothing is trained or written.

    Raises:
        ScantlingError: nothing could be started.
    """
    card, options, device, console = _checked(method, data, options, console)
    material, traits = _measured(card, data, options, console)
    for sentence in material.remarks:
        console.print(sentence, highlight=False, markup=False)
    model, pretrained = build_method(card, traits, options)
    for sentence in _unmirrored(model, traits):
        console.print(sentence, highlight=False, markup=False)
    options = _selecting(options, model, material.dataset)
    _trainer(material.dataset, device, Processes(), options, model, Path())
    if pretrained is not None:
        console.print(pretrained.summary, highlight=False, markup=False)
    if options.minutes is not None:
        usual_steps(model)
        console.print("--minutes: a training fits its steps after it has timed some; those of the plan are not fitted")
    return Preview(model, options.preset, (*material.budget, *model.explain(traits)))


def steps_that_fit(
    method: str | type[Method],
    data: Sequence[Path | str | Dataset],
    options: Options,
    *,
    console: Console | None = None,
) -> tuple[int, int | None]:
    """The steps of a training that takes `options.minutes`, timed as `train` does, and its batch if that is smaller.

    Raises:
        ScantlingError: nothing could be started.
    """
    begun = time.monotonic()
    card, options, device, console = _checked(method, data, options, console)
    material, traits = _measured(card, data, options, console)
    group = Processes()
    with TemporaryDirectory() as folder:
        found = fitted(
            Path(folder), None, options, lambda each: build_method(card, traits, each)[0],
            partial(_trainer, material.dataset, device, group), cases=material.dataset.split("train"), group=group,
            begun=begun, console=console, command=(),
        )  # fmt: skip
    return found.options.steps or 1, found.timed.batch


def _measured(
    card: Card, data: Sequence[Path | str | Dataset], options: Options, console: Console
) -> tuple[Material, Traits]:
    """The data of a training that is not begun, and their traits."""
    material = open_material(card, data, None, options)
    traits, failed = _traits(material, None, options, Processes(), console)
    return material.without(failed, card, options), traits


def _checked(
    method: str | type[Method], data: Sequence[Path | str | Dataset], options: Options, console: Console | None
) -> tuple[Card, Options, torch.device, Console]:
    """The card of the method, the options, the device and where sentences go, after making sure that all can be."""
    card = card_of(method)
    if card.gives == ("annotate",):
        runs = f"`scantling synthesize {card.name} --from DATA`"
        raise SettingsError(f"{card.name} is a rule that is not trained; {runs} labels images by it")
    if not data:
        raise SettingsError("found no data; name at least one data set with --data")
    options.check()
    steady(threads=options.threads)
    return (
        card,
        asking_for_labels(card, options),
        device_of(options.device),
        console or Console(stderr=True, markup=False),
    )


def _train(
    card: Card,
    data: Sequence[Path | str | Dataset],
    out: Path,
    options: Options,
    device: torch.device,
    group: Processes,
    console: Console,
    begun: float,
    command: list[str],
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    # 1. the data, and whether the method can learn from them
    material = open_material(card, data, out, options)
    for sentence in material.remarks:
        console.print(sentence, highlight=False, markup=False)
    # 2. the method
    facts = group.agreed(earlier_facts(out) if group.first else None)
    traits, failed = _traits(material, facts, options, group, console)
    material = material.without(failed, card, options)
    if failed and facts is None:
        console.print(material.remarks[-1], highlight=False, markup=False)
    build, trainer = partial(build_method, card, traits), partial(_trainer, material.dataset, device, group)
    model, pretrained = build(options)
    options = _selecting(options, model, material.dataset)
    if facts is None:
        apart = [*check_apart(options.uses, material.dataset), *start_remarks(options.base, material.dataset)]
        found = [*apart, *(pool_remarks(model, material.dataset.split("train")) if group.first else [])]
        for sentence in (*_unmirrored(model, traits), *found):
            console.print(sentence, highlight=False, markup=False)
        material = replace(material, remarks=(*material.remarks, *found))
    hashes = hashes_of(model, material) if group.first else None
    chosen = None
    if options.minutes is not None:
        chosen = fitted(
            out, facts, options, lambda each: build(each)[0], trainer, cases=material.dataset.split("train"),
            group=group, begun=begun, console=console, command=command,
        )  # fmt: skip
        options = chosen.options
        model, pretrained = build(options)
    training = trainer(options, model, out)
    training.rates = pretrained.rates(model) if pretrained is not None else {}
    # 3. the run folder
    plan = None if hashes is None else plan_of(card, model, material, options, hashes=hashes, pretrained=pretrained)
    plan = group.agreed(plan)
    starting = None
    if facts is not None:
        check_same(out, facts, plan=plan, hashes=hashes)
    elif pretrained is not None:
        starting = score_starting_model(pretrained, model, training.validation, material.opened)
        console.print(starting["summary"], highlight=False, markup=False)
    facts, finished = recorded(facts, plan, model, traits, material, options, device, starting, command)
    if finished:
        console.print(f"{out}: finished on {facts['finished']}; nothing is left to do", highlight=False)
        return facts
    if chosen is not None and "minutes" not in facts:
        facts |= {**chosen.facts(command), "warnings": [*facts["warnings"], *chosen.warnings]}
    if chosen is not None and facts.get("repeats"):
        console.print(f"the same again: {facts['repeats']}", highlight=False, soft_wrap=True)
    if hashes is not None:
        RunRecord.model_validate(facts).write(out / RUN)
        DataFiles(files=tuple(hashes)).write(out / DATA_FILES)
    for sentence in facts.get("plan", ()):
        console.print(f"{card.name}: {sentence}", highlight=False, markup=False)
    # 4. the training
    training.console, training.plan, training.callbacks = console, to_json(plan, indent=None), callbacks
    training.validated = facts.get("timed", {}).get("looks", training.validated)
    position = training.go()
    # 5. what is left behind
    if group.first:
        facts = finish(out, model, material.dataset, facts, position, options, device)
        done = f"trained {facts['steps']} steps in {position.seconds:.0f} s" if model.stages() else "nothing to train"
        console.print(f"{out}: {done}", highlight=False)
        for sentence in never_found(facts.get("marked", {})):
            console.print(sentence, highlight=False, markup=False, style="yellow")
    group.agreed(None)
    return facts


def _traits(
    material: Material, facts: dict[str, Any] | None, options: Options, group: Processes, console: Console
) -> tuple[Traits, dict[str, str]]:
    """The traits of the data and the cases that cannot be read: of a run that goes on those that it began with, else
    measured by the first process."""
    if facts is not None:
        return Traits.model_validate(facts["traits"]), dict(facts.get("left_out", {}))
    dataset = material.dataset
    console.print(f"{dataset.name}: {counts(dataset, material.reads)}; measuring", highlight=False)
    measured = None
    if group.first:
        found, failed = readable_traits(dataset, reads=material.reads, partial=True)
        measured = found.model_dump(), {id: str(error) for id, error in failed.items()}
    facts_of_all, lost = group.agreed(measured)
    traits = Traits.model_validate(facts_of_all)
    for sentence in (
        *dataset.label_source.remarks,
        *budget_remarks(material, traits, options.labels),
        *spacing_remarks(traits),
        *undrawn(material, traits, options.labels),
    ):
        console.print(sentence, highlight=False, markup=False)
    return traits, lost


def _unmirrored(model: Method, traits: Traits) -> list[str]:
    """A sentence on the axes along which a training does not mirror, where it changes its images and heeds sides."""
    changes = [stream.augment for stage in model.stages() for stream in stage.streams if stream.augment is not None]
    return sides_told_apart(traits) if changes and not any(each.ignore_sides for each in changes) else []


def _selecting(options: Options, model: Method, dataset: Dataset) -> Options:
    """The options, of which a budget of labels that leaves none to choose weights by makes `select` "last"."""
    if options.select == "last" or options.labels is None or can_be_judged(model, dataset, options.seed):
        return options
    device, held_out = torch.device("cpu"), dataset.split("validation")
    judged = validation_of(model, held_out, device=device, seed=options.seed, group=Processes(), autocast=None)
    return options if judged is not None else replace(options, select="last")


def _trainer(
    dataset: Dataset, device: torch.device, group: Processes, options: Options, model: Method, run: Path
) -> Trainer:
    """What trains a method into a folder, after making sure that it can go as it is asked to; it says nothing yet.

    Raises:
        SettingsError: there is nothing to choose weights by, or a batch cannot be divided.
    """
    autocast = autocast_type(options.precision, device, training=True)
    held_out = dataset.split("validation")
    validation = validation_of(model, held_out, device=device, seed=options.seed, group=group, autocast=autocast)
    if options.select == "best" and validation is None and not can_be_judged(model, dataset, options.seed):
        weak = is_weak({word for words in model.card.needs for word in words})
        remedy = f"{model.card.name} learns from no mask, and none may choose" if weak else "pass --validation above 0"
        raise SettingsError(f"--select best: found no validation case to choose by; {remedy}")
    made = prepared_fields(Path(), model.stages())
    for stage in model.stages():
        readers = readers_of(stage, model, dataset, seed=options.seed, sampling=options.sampling, prepared=made)
        for reader in readers.values():
            reader.share(group.count * options.accumulation)
    if isinstance(model, Segmenter):
        model.views = views_of_training(model, partial(augmented, method=model, sampling=options.sampling))
    model.to(device, torch.float64 if options.precision == "float64" else torch.float32)
    reading = partial(
        readers_of, method=model, dataset=dataset, seed=options.seed, sampling=options.sampling,
        budget=memory_free() // (3 * group.here), prepared=prepared_fields(run, model.stages()),
    )  # fmt: skip
    return Trainer(
        run=run, method=model, seed=options.seed, device=device, group=group,
        readers=partial(reading, split="train"), held_out=partial(reading, split="validation") if held_out else None,
        validation=validation, select=options.select, accumulation=options.accumulation, autocast=autocast,
        console=Console(quiet=True), saved_every=options.saved_every,
        faster="--preset quick takes minutes" * (options.preset == "paper" and "quick" in model.Settings.presets),
    )  # fmt: skip
