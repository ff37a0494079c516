"""The fields that stages prepare: made once whatever the number of processes, and again where what they depend on has
changed."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from scantling.contract.method import Method
from scantling.contract.stage import Prepared, Stage
from scantling.contract.step import Step
from scantling.core.atomic import write_json
from scantling.core.errors import RunError
from scantling.core.streams import Stream
from scantling.data.prepared_fields import FOLDER, PreparedField
from scantling.data.reader import Reader
from scantling.records.record import read_json
from scantling.training.processes import Processes

INDEX = "made-of.json"
"""In the folder of a field: the hash of what it depends on."""


def prepared_fields(run: Path, stages: Sequence[Stage]) -> dict[str, PreparedField]:
    """The fields that the stages of a method prepare, by name, whether they have been made or not.

    Raises:
        RunError: two stages prepare a field of one name.
    """
    found: dict[str, PreparedField] = {}
    for stage in stages:
        for name, kind in ((name, each.kind) for each in stage.prepares for name in each.fields):
            if name in found:
                raise RunError(f"stage {stage.name!r}: prepares {name!r}, as an earlier stage does; rename one")
            found[name] = PreparedField.of(run, name, kind)
    return found


def prepare_fields(
    run: Path,
    method: Method,
    stage: Stage,
    *,
    readers: Callable[[Stage], Mapping[str, Reader]],
    step: Step,
    plan: str,
    group: Processes,
) -> None:
    """Make the fields of a stage for all training cases; the processes share the cases.

    Args:
        readers: makes the readers of a stage.
        step: before the first step of the stage.
        plan: a hash of the data, settings and seed of the training.
    """
    digest = hashlib.sha256(f"{plan} {stage.name}".encode())
    for name, tensor in sorted(method.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    key = digest.hexdigest()
    for each in stage.prepares:
        fields = {name: PreparedField.of(run, name, each.kind) for name in each.fields}
        for field in fields.values() if group.first else ():
            if _key(field) != key:
                shutil.rmtree(field.folder, ignore_errors=True)
                write_json(field.folder / INDEX, {"key": key, "stage": stage.name, "kind": each.kind})
        group.agreed(None)
        _make(each, fields, method, stage, readers=readers, step=step, group=group)
    group.agreed(None)


def check_fields(run: Path, stages: Sequence[Stage]) -> None:
    """Make sure that the fields that these stages have made are there: without them all would be as if absent.

    Raises:
        RunError: one has gone.
    """
    for name, field in prepared_fields(run, stages).items():
        if _key(field) is None:
            raise RunError(
                f"{run}: the field {name!r} that was prepared for its training has gone from {FOLDER}/; put it "
                "back, or train into another folder"
            )


def _make(
    each: Prepared,
    fields: Mapping[str, PreparedField],
    method: Method,
    stage: Stage,
    *,
    readers: Callable[[Stage], Mapping[str, Reader]],
    step: Step,
    group: Processes,
) -> None:
    stream = Stream(name=f"prepare {each.name}", reads=each.reads, optional=True)
    reader = readers(replace(stage, streams=(stream,))).get(stream.name)
    if reader is None:
        return
    for position in range(group.rank, len(reader.places), group.count):
        place = reader.places[position]
        if all(field.has(place.case.id, place.slice) for field in fields.values()):
            continue
        batch = reader.at(position).to(step.device, method.dtype)
        with torch.no_grad():
            made = each.make(batch, replace(step, stage=f"{stage.name}, {stream.name}", number=position))
        parts = {each.name: made} if isinstance(made, torch.Tensor) else made
        for name, field in fields.items():
            shape = tuple(parts[name].shape) if name in parts else "nothing"
            if name not in parts or parts[name].ndim < 2 or len(parts[name]) != 1:
                raise RunError(
                    f"stage {stage.name!r}: prepared {name!r} of the shape {shape} for one case; expected (1, C, ...)"
                )
            field.save(place.case.id, place.slice, parts[name][0])


def forget_fields(run: Path) -> None:
    """Remove all prepared fields, when the training has ended."""
    shutil.rmtree(run / FOLDER, ignore_errors=True)


def _key(field: PreparedField) -> str | None:
    """The hash of what the field that is there was made of."""
    path = field.folder / INDEX
    found = read_json(path) if path.is_file() else None
    return str(found["key"]) if isinstance(found, dict) and "key" in found else None
