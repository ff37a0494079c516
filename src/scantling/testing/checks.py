"""What the contract promises, as checks of one method with its `tiny` preset on toy data."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from scantling.contract.capabilities import CAPABILITIES
from scantling.contract.card import Card
from scantling.contract.method import Method
from scantling.contract.stage import Stage
from scantling.core.atomic import write_json
from scantling.core.errors import DataError
from scantling.core.fields import reads_masks
from scantling.core.samples import Batch
from scantling.data.reader import Reader
from scantling.methods.catalogue import added, implementation_of
from scantling.records.run_folder import load_model, save_model
from scantling.testing import answers
from scantling.testing.data import make_data
from scantling.testing.processes import as_processes, together
from scantling.testing.subject import Subject
from scantling.testing.trainings import interrupted, quickly, quiet, swapped, trained_weights
from scantling.training import Options, stage_runner, train, training
from scantling.training.prepared import prepare_fields, prepared_fields
from scantling.training.processes import Processes
from scantling.training.readers import readers_of

FITTED, FALLEN = 60, 0.8
"""Steps on one batch after which a method has to fit it better, and the share that is left of the term by then."""


Check = Callable[[Subject], None]


def check_method(method: Card | type[Method], *, uses: Mapping[str, Card] | None = None) -> None:
    """Run all checks that apply to a method, in every number of dimensions that its card names.

    A method that is in no catalogue is added to it meanwhile; its card then has to say where it is (`implementation`).

    Args:
        uses: the cards of the models that it is built on, by role; any that gives what is needed where none is named.

    Raises:
        ConformanceError: the method does not keep what the contract promises.
    """
    card = method if isinstance(method, Card) else method.card
    with added(card, *(uses or {}).values()):
        for dimensions in card.dimensions:
            with tempfile.TemporaryDirectory() as place:
                subject = Subject(card, dimensions, Path(place), dict(uses or {}))
                for check in checks_of(card):
                    check(subject)


def checks_of(card: Card) -> list[Check]:
    """The checks that apply to a method."""
    trained = bool(card.fits)
    applicable: list[tuple[Check, bool]] = [
        (gives_what_its_card_says, True),
        (answers.has_the_right_shape, not card.extra),
        (answers.repeats_with_a_seed, not card.extra),
        (is_saved_and_loaded, not card.extra),
        (fits_a_batch, trained),
        (trains_what_its_stage_names, trained),
        (goes_on_where_it_was_interrupted, trained),
        (is_divided_in_any_way, trained),
        (refuses_data_that_lack_what_it_needs, card.needs not in ((), (("image",),))),
        (reads_no_mask, trained and not reads_masks({word for words in card.needs for word in words})),
    ]
    return [check for check, applies in applicable if applies]


def gives_what_its_card_says(subject: Subject) -> None:
    """The bases of its class are what its card gives."""
    kind = implementation_of(subject.card)
    found = [name for name, base in CAPABILITIES.items() if issubclass(kind, base)]
    subject.require(
        set(found) == set(subject.card.gives), f"its card gives {subject.card.gives}, its bases give {found}"
    )


def is_saved_and_loaded(subject: Subject) -> None:
    """A saved model gives the same answers, and equal models are equal files."""
    if not subject.card.needs:
        return
    method, folder = subject.method(), subject.place / "saved"
    with torch.no_grad():  # all that a training may have changed, what calibration sets among it
        for tensor in method.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(0.97).add_(0.01)
    save_model(method, folder)
    found = answers.of(load_model(folder), subject, seed=0)
    for name, one in answers.of(method, subject, seed=0).items():
        subject.require(np.array_equal(one, found[name]), f"a loaded model differs in {name}")
    for _ in range(4):  # a model is known by the hash of its file
        save_model(method, subject.place / "saved again")
        for name in ("weights.safetensors", "settings.json", "card.json"):
            equal = (folder / name).read_bytes() == (subject.place / "saved again" / name).read_bytes()
            subject.require(equal, f"two savings of one model differ in {name}")


def fits_a_batch(subject: Subject) -> None:
    """The term that its card names falls on one batch that is seen again and again."""
    method, fits, values = subject.method(steps=FITTED), subject.card.fits, list[float]()
    for stage in method.stages():
        readers, runner = _begun(subject, method, stage)
        batch: dict[str, Batch] = {name: reader.batch(0) for name, reader in readers.items()}
        for step in range(FITTED):
            losses = runner.step(step, [batch])
            values += [float(terms[fits]) for terms in losses.values() if fits in terms]
            if len(values) >= 10 and np.mean(values[-5:]) < FALLEN * np.mean(values[:5]):
                break
    subject.require(bool(values), f"no stage has the term {fits!r} that its card names")
    before, after = np.mean(values[:5]), np.mean(values[-5:])
    went = f"{fits} went from {before:.3g} to {after:.3g} on one batch in {FITTED} steps"
    subject.require(bool(after < FALLEN * before), f"{went}; expected less than {FALLEN:g} of it")


def _begun(subject: Subject, method: Method, stage: Stage) -> tuple[dict[str, Reader], stage_runner.StageRunner]:
    """A stage before its first step, with all that it prepares."""
    run, cpu = subject.place / "begun", torch.device("cpu")
    fields = prepared_fields(run, method.stages())

    def readers(stage: Stage) -> dict[str, Reader]:
        return readers_of(stage, method, subject.dataset, seed=0, prepared=fields)

    own, step = readers(stage), stage_runner.StageRunner.start(stage, 0, cpu)
    method.eval().requires_grad_(False)
    with torch.no_grad():
        prepared = dict(stage.prepare(lambda name: own[name].visit(), step)) if stage.prepare is not None else {}
    prepare_fields(
        run, method, stage, readers=readers, step=replace(step, prepared=prepared), plan="", group=Processes()
    )
    return own, stage_runner.StageRunner(method, stage, seed=0, device=cpu, prepared=prepared)


def trains_what_its_stage_names(subject: Subject) -> None:
    """What players own changes, and nothing else does."""
    method = subject.method()
    for stage in method.stages():
        readers, runner = _begun(subject, method, stage)
        before = {name: parameter.clone() for name, parameter in method.named_parameters()}
        owned = {id(parameter) for parameters in runner.owned.values() for parameter in parameters}
        owned |= {id(each) for teacher in stage.teachers for each in teacher.module.parameters()}
        for step in range(4):  # what starts at zero hides what is below it for a step
            names = stage.draws(runner.at(step)) if stage.draws is not None else list(readers)
            runner.step(step, [{name: readers[name].batch(step) for name in names if name in readers}])
        for name, parameter in method.named_parameters():
            changed = not torch.equal(parameter, before[name])
            what = "does not change" if not changed else "changes though no player owns it"
            subject.require(changed == (id(parameter) in owned), f"stage {stage.name}: {name} {what}")


def goes_on_where_it_was_interrupted(subject: Subject) -> None:
    """Interrupted in its first and in its last stage and resumed, its weights are the same bit for bit.

    The whole training that it is compared with has saved no step and has rehearsed none.
    """
    stages, run = subject.method().stages(), subject.place / "broken"
    for stage in dict.fromkeys((stages[0].name, stages[-1].name)):
        with interrupted(after=2, stage=stage), suppress(KeyboardInterrupt):
            subject.train(run.name, rehearsed=True, saved_every=0.0)
        subject.require(not (run / "model").exists(), f"stage {stage} of `tiny` has to take 2 steps at least")
    whole, broken = subject.whole, subject.train(run.name, rehearsed=True)
    different = [name for name, tensor in whole.items() if not torch.equal(tensor, broken[name])]
    subject.require(not different, f"after an interruption {different[:3]} differ")


def is_divided_in_any_way(subject: Subject) -> None:
    """Its weights in float64 are the same with one batch, two processes or two micro-batches."""
    own = threading.local()

    def work(group: Processes) -> None:
        own.group = group
        subject.start("two processes")

    with quickly(rehearsed=False), swapped(training, "processes", lambda device: as_processes(own.group)):
        together(2, work)
    ways = {
        "two processes": trained_weights(subject.place / "two processes"),
        "two micro-batches": subject.train("two micro-batches", accumulation=2),
    }
    for way, other in ways.items():
        for name, tensor in subject.whole.items():
            far = (tensor.double() - other[name].double()).abs().max().item() if tensor.numel() else 0.0
            subject.require(far <= 1e-9, f"with {way} {name} is {far:.2g} from its value with one batch")


def refuses_data_that_lack_what_it_needs(subject: Subject) -> None:
    """Bare images are refused in a sentence that says what is missing, and nothing is written."""
    bare = make_data(
        subject.card.model_copy(update={"needs": (("image",),)}), subject.place / "bare", dimensions=subject.dimensions
    )
    run, found = subject.place / "refused", ""
    try:
        train(subject.card.name, [bare], run, Options(preset="tiny"), console=quiet())
    except DataError as error:
        found = str(error)
    subject.require("no training case has" in found, f"data without what it needs gave {found or 'a run'!r}")
    subject.require(not (run / "run.json").exists(), "a refused training has left a run")


def reads_no_mask(subject: Subject) -> None:
    """A method that needs no mask gives the same weights where there are none and where there are unreadable ones.

    Nor are scribbles read by one that needs none of them.
    """
    masked = make_data(
        subject.card.model_copy(update={"needs": (*subject.card.needs, ("image", "mask"))}),
        subject.place / "masked",
        dimensions=subject.dimensions,
    )
    for path in sorted((masked / "masks").iterdir()):
        path.write_bytes(b"")  # whoever opens it fails
    manifest = json.loads((masked / "scantling.json").read_text(encoding="utf-8"))
    for case in manifest["case"]:
        if "masks" in case:
            case.setdefault("scribbles", case["masks"][0])
    write_json(masked / "scantling.json", manifest)
    whole, other = subject.whole, subject.train("with masks", data=masked)
    subject.require(all(torch.equal(t, other[name]) for name, t in whole.items()), "masks change its weights")
