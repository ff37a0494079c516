"""The verb `train`: data and a method in, a run folder out; the same command goes on where it stopped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console

from scantling.contract.card import LABELS, Card, lacking
from scantling.contract.method import Method, build
from scantling.contract.settings import Settings
from scantling.contract.stage import Stage
from scantling.core.case import Split
from scantling.core.errors import DataError, RunError, SettingsError
from scantling.core.machine import Precision, autocast_type, device_of, memory_free, record, steady
from scantling.core.outputs import RUN, check_inputs, check_record, locked
from scantling.core.samples import Traits
from scantling.data.dataset import Dataset, file_hashes, fingerprint, join, open_dataset
from scantling.data.splits import blindly, divide, keep_labels
from scantling.data.streams import Reader
from scantling.data.traits import measure_traits
from scantling.methods.catalogue import card_of, implementation_of
from scantling.records.differences import differences
from scantling.records.run import RunRecord, read_run
from scantling.records.run_folder import load_model
from scantling.training.finishing import check_calibration, clock, finish
from scantling.training.processes import Processes, processes
from scantling.training.readers import can_be_judged, readers_of
from scantling.training.state import PREPARED, PREVIOUS, STATE, has_progress
from scantling.training.trainer import Trainer
from scantling.training.validation import validation_of

FIXED = ("method", "settings", "base", "uses", "data", "split", "seed", "options")
"""What must not change between the parts of one training."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to train, beside what the method's settings say; see `train`."""

    preset: str = "paper"
    steps: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    labels: int | None = None
    validation: float = 0.2
    select: Literal["last", "best"] = "last"
    base: Path | None = None
    uses: Mapping[str, Path] = field(default_factory=dict)
    device: str = "auto"
    precision: Precision = "auto"
    threads: int | None = None
    accumulation: int = 1
    manifest: Path | None = None
    root: Path | None = None
    saved_every: float = 60.0


def train(
    method: str, data: Sequence[Path | str], out: Path, options: Options = Options(), *, console: Console | None = None
) -> dict[str, Any]:
    """Train `method` on the training cases of `data` into the run folder `out`; returns its `run.json`.

    A run that exists goes on where it stopped, one that has not done a step begins anew, and one that is finished is
    left alone.

    Raises:
        ScantlingError: nothing can be started, the run was made with other settings, or it was asked to stop.
    """
    card = card_of(method)
    if not data:
        raise SettingsError("found no data; name at least one data set with --data")
    console = console or Console(stderr=True)
    _check(options)
    steady(threads=options.threads)
    device = device_of(options.device)
    with processes(device) as group:
        if group.first:
            check_record(out, RUN)
            with locked(out):
                return _train(card, data, out, options, device, group, console)
        return _train(card, data, out, options, device, group, Console(quiet=True))


def _train(
    card: Card,
    data: Sequence[Path | str],
    out: Path,
    options: Options,
    device: torch.device,
    group: Processes,
    console: Console,
) -> dict[str, Any]:
    # 1. the data, and whether the method can learn from it
    opened = [open_dataset(path, manifest=options.manifest, root=options.root) for path in data]
    check_inputs(out, (file for part in opened for file in part.files()))
    reads = {word for words in card.needs for word in words}
    blind = not LABELS & reads
    opened = [blindly(part) for part in opened] if blind else opened
    dataset = divide(join(opened), validation=options.validation, labelled=not blind)
    remarks = [remark.sentence for remark in dataset.remarks if remark.level != "note"]
    for sentence in remarks:
        console.print(sentence, highlight=False, markup=False)
    if options.labels is not None:
        dataset = keep_labels(dataset, options.labels)
    cases = dataset.split("train")
    missing = lacking(card, cases)
    if missing:
        raise DataError(f"{card.name} cannot learn from {dataset.root}: {'; '.join(missing)}")
    # 2. the method
    kind = implementation_of(card)
    changes = dict(options.settings) | ({"steps": options.steps} if options.steps is not None else {})
    settings = kind.Settings.preset(options.preset, changes)
    facts = group.agreed(_earlier(out) if group.first else None)
    if facts is None:
        console.print(f"{dataset.name}: {_counts(dataset)}; measuring", highlight=False)
        measured = measure_traits(dataset, reads=reads).model_dump() if group.first else None
        traits = Traits.model_validate(group.agreed(measured))
    else:
        traits = Traits.model_validate(facts["traits"])
    autocast = autocast_type(options.precision, device, training=True)
    base = load_model(options.base) if options.base is not None else None
    uses = _used(card, options.uses)
    before = [model.hand_drawn for model in (*uses.values(), *([base] if base is not None else []))]
    traits = traits.model_copy(update={"hand_drawn_before": max(traits.hand_drawn_before, *before, 0)})
    model = _model(kind, settings.resolve(traits), traits, options, base, uses)
    check_calibration(model)
    held_out = dataset.split("validation")
    validation = validation_of(model, held_out, device=device, autocast=autocast, seed=options.seed, group=group)
    if options.select == "best" and validation is None and not can_be_judged(model, dataset, options.seed):
        raise SettingsError("--select best: found no validation case to choose by; pass --validation above 0")
    for stage in model.stages():
        for reader in readers_of(stage, model, dataset, seed=options.seed).values():
            reader.share(group.count * options.accumulation)
    # 3. the run folder
    plan = group.agreed(_plan(card, model, dataset, opened, options, reads) if group.first else None)
    if facts is None:
        facts = {
            "version": RunRecord.newest, "command": sys.argv, **plan, "preset": options.preset,
            "traits": traits.model_dump(), "started": clock(), "finished": None, "seconds": None,
            "parameters": _parameters(model), "steps": sum(stage.steps for stage in model.stages()), "selected": None,
            "warnings": [*remarks, *_taught(card, model), *_unsteady(card, device)], **record(device),
        }  # fmt: skip
    else:
        _same(out, facts, plan)
        if facts.get("finished"):
            console.print(f"{out}: finished on {facts['finished']}; nothing is left to do", highlight=False)
            return facts
        facts["warnings"] = [*facts["warnings"], *_elsewhere(facts, record(device))]
    if group.first:
        RunRecord.model_validate(facts).write(out / RUN)
    # 4. the training
    model.to(device, torch.float64 if options.precision == "float64" else torch.float32)

    def readers(split: Split) -> Callable[[Stage], dict[str, Reader]]:
        budget = memory_free() // (3 * group.here)
        return lambda stage: readers_of(stage, model, dataset, seed=options.seed, split=split, budget=budget)

    course = Trainer(
        run=out, method=model, seed=options.seed, device=device, group=group,
        readers=readers("train"), held_out=readers("validation") if dataset.split("validation") else None,
        validation=validation,
        select=options.select, accumulation=options.accumulation, autocast=autocast, console=console,
        saved_every=options.saved_every,
        faster="--preset quick takes minutes" if options.preset == "paper" and "quick" in kind.Settings.presets else "",
    )  # fmt: skip
    position = course.go()
    # 5. what is left behind
    if group.first:
        facts = finish(out, model, dataset, facts, position, options, device)
        done = f"trained {facts['steps']} steps in {position.seconds:.0f} s" if model.stages() else "nothing to train"
        console.print(f"{out}: {done}", highlight=False)
    group.agreed(None)
    return facts


def _used(card: Card, runs: Mapping[str, Path]) -> dict[str, Method]:
    """The models that a method is built on, by role.

    Raises:
        SettingsError: a role is not filled, not known, or filled by a model that cannot do it.
    """
    roles = card.uses | card.may_use
    for role in runs:
        if role not in roles:
            known = f"it uses: {', '.join(roles)}" if roles else "it is built on no other model"
            raise SettingsError(f"--use {role}={runs[role]}: {card.name} has no such role; {known}")
    models = {}
    for role, capability in roles.items():
        if role not in runs and role in card.may_use:
            continue
        if role not in runs:
            raise SettingsError(
                f"{card.name} is built on a model that can {capability}; name its run with --use {role}=RUN"
            )
        models[role] = load_model(runs[role])
        if capability not in models[role].gives:
            raise SettingsError(
                f"--use {role}={runs[role]}: {models[role].card.name} can {', '.join(models[role].gives)}; expected a "
                f"model that can {capability}"
            )
    return models


def _model(
    kind: type[Method],
    settings: Settings,
    traits: Traits,
    options: Options,
    base: Method | None,
    uses: Mapping[str, Method],
) -> Method:
    """A fresh method on the models that it uses, with the weights of `--from` where a run is named."""
    method = build(kind, settings, traits, seed=options.seed, uses=uses)
    if base is not None:
        try:
            method.load_model_state(base.model_state())
        except RuntimeError:
            raise SettingsError(
                f"--from {options.base}: a model of {base.card.name} for {len(base.traits.channels)} channels and "
                f"{len(base.traits.classes)} classes does not fit; expected {kind.card.name} with the same "
                f"architecture, {len(traits.channels)} channels and {len(traits.classes)} classes"
            ) from None
    return method


def _plan(
    card: Card, model: Method, dataset: Dataset, opened: Sequence[Dataset], options: Options, reads: set[str]
) -> dict[str, Any]:
    """What a training is a function of."""
    return {
        "method": card.name,
        "settings": model.settings.model_dump(mode="json"),
        "base": str(options.base) if options.base else None,
        "uses": {role: str(run.resolve()) for role, run in options.uses.items()},
        "data": [
            {
                "path": str(part.root.resolve()),
                "name": part.name,
                "sha256": fingerprint(file_hashes(part, reads={*reads, "region"})),
                "cases": {name: len(part.split(name)) for name in ("train", "validation", "test")},
            }
            for part in opened
        ],
        "split": {name: [case.id for case in dataset.split(name)] for name in ("train", "validation", "test")},
        "seed": options.seed,
        "manifest": str(options.manifest.resolve()) if options.manifest else None,
        "root": str(options.root.resolve()) if options.root else None,
        "options": {
            "labels": options.labels,
            "validation": options.validation,
            "select": options.select,
            "precision": options.precision,
            "accumulation": options.accumulation,
        },
    }


def _same(out: Path, facts: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
    changed = [line for key in FIXED for line in differences(key, facts.get(key), plan[key])]
    if changed:
        shown = "; ".join(changed[:6]) + (f"; and {len(changed) - 6} more" if len(changed) > 6 else "")
        raise RunError(
            f"{out}: was begun with other settings: {shown}; repeat the first command or choose another --out"
        )


def _elsewhere(facts: Mapping[str, Any], machine: Mapping[str, Any]) -> list[str]:
    """Sentences on what changed under a resumed run, which then is no longer bit-identical."""
    changed = [
        f"{key} was {facts.get(key)}, is {value}"
        for key, value in machine.items()
        if key in ("device", "device_name", "threads", "versions") and facts.get(key) != value
    ]
    return [f"resumed on {clock()} where {'; '.join(changed)}: numbers may differ in the last bits"] if changed else []


def _taught(card: Card, model: Method) -> list[str]:
    """A sentence on labels that reach a method which needs none."""
    if any({"mask", "masks"} & {*words} for words in card.needs) or not model.hand_drawn:
        return []
    return [
        f"the run is not free of labels: behind the masks that it learns from stand {model.hand_drawn} that people "
        "drew (or of which nothing says that they are synthetic), read as they are or by the model that made them"
    ]


def _unsteady(card: Card, device: torch.device) -> list[str]:
    """A sentence where a training does not repeat bit for bit on this device."""
    if card.repeats or device.type == "cpu":
        return []
    return [
        f"{card.name} uses operations that have no deterministic form on a GPU: repetition is exact on the processor "
        "only"
    ]


def _earlier(out: Path) -> dict[str, Any] | None:
    """The facts of a run that is to go on; one that has not done a step binds nobody and is begun anew."""
    if (out / RUN).exists():
        facts = read_run(out).facts()
        if facts.get("finished") or has_progress(out):
            return facts
        for name in (STATE, PREVIOUS, PREPARED):
            (out / name).unlink(missing_ok=True)
        return None
    check_record(out, RUN)
    return None


def _check(options: Options) -> None:
    if not 0 <= options.validation < 1:
        raise SettingsError(f"--validation {options.validation}: expected a share of at least 0 and below 1")
    if options.labels is not None and options.labels < 1:
        raise SettingsError(f"--labels {options.labels}: expected 1 or more")
    if options.steps is not None and options.steps < 1:
        raise SettingsError(f"--steps {options.steps}: expected 1 or more")
    if options.accumulation < 1:
        raise SettingsError(f"--accumulation {options.accumulation}: expected 1 or more")


def _counts(dataset: Dataset) -> str:
    training = dataset.split("train")
    labelled = sum(case.has("mask") and case.has("image") for case in training)
    alone = sum(case.has("mask") and not case.has("image") for case in training)
    parts = [f"{labelled} training cases with masks"]
    parts += [f"{bare} without masks"] if (bare := len(training) - labelled - alone) else []
    parts += [f"{alone} that are only a mask"] if alone else []
    others = [f"{len(dataset.split(name))} {name}" for name in ("validation", "test") if dataset.split(name)]
    return ", ".join([" and ".join(parts), *others])


def _parameters(model: Method) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
