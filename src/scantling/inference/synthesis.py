"""The verb `synthesize`: labelled images or masks from a rule or a trained run, as a dataset folder with origins."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scantling.contract.capabilities import Generator
from scantling.contract.method import Method, build
from scantling.contract.results import Generation
from scantling.contract.step import Inference
from scantling.core.atomic import write_json
from scantling.core.case import Geometry, Labels
from scantling.core.errors import RunError, SettingsError
from scantling.core.machine import Precision, autocast_type, device_of, steady
from scantling.core.outputs import MADE, output_folder
from scantling.data.files import write_image, write_labels
from scantling.inference.answering import decide
from scantling.methods.catalogue import cards, implementation_of
from scantling.records.record import read_json
from scantling.records.run_folder import identity_of, load_model

AT_ONCE = 8
"""How many pictures are made together, of volumes one; the number of a case in its eight is part of its seed."""
FOLDERS = {"region": "fov", "centre line": "centre-lines", "sketch": "sketches"}
"""What is known of an image beside its mask, and the folder that it goes into."""


def synthesize(
    source: Path | str,
    *,
    count: int,
    out: Path,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    threads: int | None = None,
    precision: Precision = "auto",
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Make `count` cases and write them into `out` as a data set for training; what is there is not made again.

    Args:
        source: a method of the catalogue that needs no training, or a run whose method generates.
        seed: case number n of a seed is the same however many are made.
        settings: of a method that needs no training.
        progress: told (done, total, id) after each case.

    Returns:
        The contents of the manifest that was written.

    Raises:
        ScantlingError: nothing can be made, or the folder holds something else.
    """
    if count < 1:
        raise SettingsError(f"--count {count}: expected 1 or more")
    steady(threads=threads)
    method, made_by = _method(source, settings or {})
    labels = method.traits.labels
    if labels is None:
        raise RunError(f"{source}: the model knows no classes, so that its masks would mean nothing")
    where = device_of(device)
    method.to(where).eval()
    name = method.card.name
    ids = [f"{name}-{seed}-{number:06d}" for number in range(count)]
    header = {
        "name": out.resolve().name,
        "classes": {n: v[0] for n, v in zip(labels.names, labels.values, strict=True)},
    }
    origin = {"kind": "synthetic", "model": made_by, "seed": seed}
    if method.hand_drawn:
        origin["hand_drawn"] = method.hand_drawn
    with output_folder(out, record=MADE, inputs=()):
        done = _earlier(out, header, made_by, ids)
        if not (out / MADE).exists():
            write_json(out / MADE, {**header, "case": []})  # from now on the folder is known to be ours
        autocast = autocast_type(precision, where, training=False)
        at_once = 1 if method.traits.dimensions == 3 else AT_ONCE
        cases: list[dict[str, Any]] = []
        for first in range(0, count, at_once):
            some = ids[first : first + at_once]
            if all(id in done for id in some):
                cases += [done[id] for id in some]
            else:
                inference = Inference(seed=seed, stage="synthesis", number=first, device=where)
                with torch.no_grad(), torch.autocast(where.type, dtype=autocast, enabled=autocast is not None):
                    answer = method.generate(len(some), inference)
                cases += [_written(out, id, each, labels, origin) for id, each in zip(some, _rows(answer), strict=True)]
            if progress is not None:
                progress(min(first + at_once, count), count, some[-1])
            if first // at_once % 16 == 15:
                listed = {case["id"] for case in cases}
                left = [case for id, case in done.items() if id not in listed]
                write_json(out / MADE, {**header, "case": [*cases, *left]})
        facts = {**header, "case": cases}
        write_json(out / MADE, facts)
    return facts


def _method(source: Path | str, settings: Mapping[str, Any]) -> tuple[Generator, str]:
    """The method behind a name or a run, and what is written as the model of each origin."""
    if str(source) in cards():
        card = cards()[str(source)]
        kind = implementation_of(card)
        if not issubclass(kind, Generator):
            able = ", ".join(each.name for each in cards().values() if "generate" in each.gives)
            raise SettingsError(f"{card.name} makes no images; those that do are: {able}")
        chosen = kind.Settings.preset("paper", dict(settings))
        method = build(kind, chosen, kind.blank(chosen))
        return method, f"{card.name} {chosen.model_dump_json()}{_weights(method)}"
    if settings:
        raise SettingsError("--settings belong to a method; those of a run were decided when it was trained")
    if not Path(source).exists():
        able = ", ".join(each.name for each in cards().values() if each.gives == ("generate",) and not each.needs)
        raise SettingsError(f"{source}: there is no such method and no such run; rules to make masks by are: {able}")
    model = load_model(Path(source))
    if not isinstance(model, Generator):
        raise RunError(f"{source}: {model.card.name} cannot generate; it can {', '.join(model.card.gives)}")
    return model, f"{model.card.name} {identity_of(Path(source))}"


def _weights(method: Method) -> str:
    """A short name for weights that a method has read from files of the user; nothing for a rule, which has none."""
    tensors = method.state_dict()
    if not tensors:
        return ""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return f" {digest.hexdigest()[:16]}"


def _rows(answer: Generation) -> Iterator[Generation]:
    """One answer for each that was made."""
    if answer.masks is None:
        raise RunError("this model makes no masks")
    for row in range(len(answer.masks)):
        one = slice(row, row + 1)
        mask = answer.masks[one].cpu()
        yield replace(
            answer,
            masks=mask if mask.dtype == torch.bool else mask.float(),
            images=None if answer.images is None else answer.images[one].float().cpu(),
            fields={name: tensor[one].cpu() for name, tensor in answer.fields.items()},
        )


def _written(out: Path, id: str, made: Generation, labels: Labels, origin: Mapping[str, Any]) -> dict[str, Any]:
    """Write one case; returns its entry in the manifest."""
    if made.masks is None:
        raise RunError("this model makes no masks")
    probabilities = made.masks[0].numpy()
    shape = probabilities.shape[1:]
    geometry = Geometry(shape, (1.0,) * len(shape))
    if len(shape) == 3:
        geometry = replace(geometry, affine=np.eye(4), container="volume")
    values = np.array([0, *(named[0] for named in labels.values)], np.int32)
    decided = decide(probabilities, exclusive=True)
    entry: dict[str, Any] = {
        "id": id,
        "split": "train",
        "masks": [_below(out, write_labels(out / "masks", id, values[decided], geometry))],
        "origin": origin,
    }
    if made.images is not None:
        picture = (made.images[0].numpy() * 255).round().clip(0, 255).astype(np.uint8)
        entry["images"] = {"image": _below(out, write_image(out / "images", id, picture, geometry))}
    for name, tensor in made.fields.items():
        layer = (tensor[0, 0].numpy() > 0).astype(np.uint8) * np.uint8(255)
        path = write_labels(out / FOLDERS.get(name, name), id, layer, geometry)
        if name == "region":
            entry["region"] = _below(out, path)
    return entry


def _below(out: Path, path: Path) -> str:
    return path.relative_to(out).as_posix()


def _earlier(out: Path, header: Mapping[str, Any], model: str, ids: list[str]) -> dict[str, dict[str, Any]]:
    """The cases that an interrupted command has made; a folder that holds anything else is refused."""
    path = out / MADE
    if not path.exists():
        return {}
    facts = read_json(path)
    try:
        cases = {str(case["id"]): case for case in facts["case"]}
        strange = any(case["origin"]["model"] != model or not case["masks"] for case in cases.values())
        strange |= facts["classes"] != header["classes"] or not facts.keys() <= {*header, "case"}
    except (KeyError, TypeError, AttributeError):
        strange, cases = True, {}
    if strange or {id.rpartition("-")[0] for id in cases} - {ids[0].rpartition("-")[0]}:
        raise RunError(f"{path}: lists cases that were made otherwise; choose another --out")
    if set(cases) - set(ids):
        raise SettingsError(
            f"--count {len(ids)}: {out} holds {len(cases)} cases already; ask for {len(cases)} or more, or choose "
            "another --out"
        )
    return {
        id: case
        for id, case in cases.items()
        if all((out / name).is_file() for name in [*case["masks"], *case.get("images", {}).values()])
    }
