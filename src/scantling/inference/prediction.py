"""The verb `predict`: a model over a file, a folder, a glob or a dataset, one case at a time.

A broken case fails alone and is listed; a run that was interrupted goes on where it was; `shard` shares the
cases among array jobs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scantling.contract.capabilities import Segmenter
from scantling.contract.options import SEGMENT_DEFAULTS, SegmentOptions
from scantling.core.case import Case, Geometry, Labels
from scantling.core.errors import DataError, RunError, ScantlingError, SettingsError, out_of_memory
from scantling.core.machine import Precision, autocast_type, device_of, steady
from scantling.core.outputs import PREDICTIONS, output_folder
from scantling.core.randomness import seed_of
from scantling.core.samples import Traits
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.files import Limits, safe_id, write_labels, write_map
from scantling.data.labels import class_folder
from scantling.data.loading import load
from scantling.inference.answering import Answered, decide, segment, views_of
from scantling.inference.listing import Predictions, merge, resumed, shard_name
from scantling.inference.tiles import Tiler
from scantling.records.run import run_facts as read_run
from scantling.records.run_folder import identity_of, load_model

SAVED_EVERY = 10.0
"""Seconds between two writings of the list of what is done."""


def predict(
    run: Path,
    source: Path | str,
    *,
    out: Path,
    split: str | None = None,
    probabilities: bool = False,
    views: bool = False,
    options: SegmentOptions = SEGMENT_DEFAULTS,
    others: Sequence[Path] = (),
    shard: tuple[int, int] = (1, 1),
    device: str = "auto",
    threads: int | None = None,
    precision: Precision = "auto",
    memory: int | None = None,
    limits: Limits | None = None,
    untrusted: bool = False,
    manifest: Path | None = None,
    root: Path | None = None,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> Predictions:
    """Segment all cases of `source` with the model of `run` and write masks into `out`.

    Args:
        split: "train", "validation", "test" or "all"; None takes the test cases where the source has its own
            test split or the model was trained on this very data, and all cases elsewhere.
        probabilities: also write float32 maps.
        views: average over mirrored and turned views of each image.
        asked: samples, their steps and how they become one mask; see `SegmentOptions`.
        others: runs that answer together with `run`, each a sample of its own (a deep ensemble).
        shard: (i, n) does every n-th case, the i-th of n jobs, counted from 1.
        memory: bytes that a forward pass may take; None: half of what is free.
        progress: told (done, total, id) after each case.

    Raises:
        ScantlingError: nothing can be started. Cases that fail are listed, not raised.
    """
    part, parts = shard
    if not 1 <= part <= parts:
        raise SettingsError(f"--shard {part}/{parts}: expected i/n with i from 1 to n")
    steady(threads=threads)
    methods = [_loaded(path) for path in (run, *others)]
    method, labels = methods[0], methods[0].traits.labels
    if labels is None:
        raise RunError(f"{run}: the model knows no classes; train it again")
    models = _agree(methods, (run, *others))
    plans = [each.segment_options(options) for each in methods]
    if views and (len(methods) > 1 or (plans[0].samples or 1) > 1):
        raise SettingsError(
            "--views averages what samples would tell apart; leave one of them out, or ask for --samples 1"
        )
    where = device_of(device)
    for each in methods:
        each.to(where)
    dataset = open_dataset(source, manifest=manifest, root=root)
    split, cases = chosen(dataset, run, split)
    header = {
        "run": str(run.resolve()),
        "method": method.card.name,
        "model": models[0],
        "input": str(Path(source).absolute()),
        "manifest": str(manifest.resolve()) if manifest else None,
        "root": str(root.resolve()) if root else None,
        "split": split,
        "classes": list(labels.names),
        "values": written_values(labels),
        "exclusive": labels.exclusive,
        "requested": options.model_dump(),
        "options": {
            "probabilities": probabilities,
            "views": views,
            "seed": seed,
            "precision": precision,
            "memory": memory,
        }
        | plans[0].model_dump()
        | {
            "ensemble": [
                {"run": str(path.resolve()), "model": model} for path, model in zip(others, models[1:], strict=True)
            ]
        },
        "calls": sum(each.calls(plan) for each, plan in zip(methods, plans, strict=True))
        * (len(views_of(method.preprocessing.dimensions)) if views else 1),
    }
    of = f"{seed_of(*(case.id for case in cases)):016x}"
    own = f"{part}-of-{parts}" if parts > 1 else ""
    with output_folder(out, record=PREDICTIONS, inputs=dataset.files(), shard=own):
        done = predict_cases(
            methods,
            cases[part - 1 :: parts],
            out=out,
            name=shard_name(part, parts),
            header=header,
            of=of,
            probabilities=probabilities,
            memory=memory,
            load_options={"limits": limits, "untrusted": untrusted},
            answer_options={
                "device": where,
                "views": views,
                "options": options,
                "seed": seed,
                "autocast": autocast_type(precision, where, training=False),
            },
            progress=progress,
        )
        if parts > 1:
            merge(out, parts, header, of=of)
    return done


def predict_cases(
    methods: Sequence[Segmenter],
    cases: Sequence[Case],
    *,
    out: Path,
    header: dict[str, Any],
    name: str = PREDICTIONS,
    of: str = "",
    probabilities: bool,
    memory: int | None = None,
    load_options: Mapping[str, Any],
    answer_options: Mapping[str, Any],
    progress: Callable[[int, int, str], None] | None = None,
) -> Predictions:
    """Answer cases one by one, writing masks and the list `name` into `out`; what the list holds is not done again."""
    done = resumed(out, header, name, [case.id for case in cases], of=of)
    finished = {case["id"] for case in done.cases}
    done.save()  # from now on the folder is known to be that of these predictions
    saved = time.monotonic()
    models = [(method, Tiler(memory=memory)) for method in methods]
    for number, case in enumerate(cases, start=1):
        if case.id not in finished:
            try:
                facts = _one(models, case, out, load_options, answer_options, maps=probabilities)
                done.cases.append(facts)
            except (ScantlingError, OSError) as error:
                done.failed.append({"id": case.id, "error": str(error)})
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                done.failed.append({"id": case.id, "error": "too large for the memory that is free; lower --memory"})
            if time.monotonic() - saved > SAVED_EVERY:
                done.save()
                saved = time.monotonic()
        if progress is not None:
            progress(number, len(cases), case.id)
    done.save()
    return done


def chosen(dataset: Dataset, run: Path, split: str | None) -> tuple[str, list[Case]]:
    """The split that is meant and its cases that have an image, by id."""
    facts = read_run(run) if (run / "run.json").is_file() else {}
    roots = {entry.get("path") for entry in facts.get("data", [])}
    trained_on = str(dataset.root.resolve()) in roots
    if split is None:
        split = "test" if dataset.parted or trained_on else "all"
    cases = [case for case in dataset.cases if case.images]
    if split != "all":
        if split not in ("train", "validation", "test"):
            raise SettingsError(f"--split {split}: expected train, validation, test or all")
        if trained_on:
            ids = set(facts["split"].get(split, []))
            # where several data sets were joined, an id that two of them use stands behind the name of its own
            cases = [case for case in cases if case.id in ids or f"{dataset.name}_{case.id}" in ids]
        else:
            cases = [case for case in cases if case.split == split]
    if not cases:
        raise DataError(f"{dataset.root}: found no image to predict (split {split}); choose another --split")
    return split, sorted(cases, key=lambda case: case.id)


def written_values(labels: Labels) -> list[list[int]]:
    """What the classes are in the masks that are written: as in the data, or 1..K where the data's 0 is a class."""
    if any(0 in values for values in labels.values):
        return [[number] for number in range(1, len(labels.names) + 1)]
    return [list(values) for values in labels.values]


def write_answer(
    out: Path,
    case: Case,
    answer: Answered,
    geometry: Geometry,
    labels: Labels,
    *,
    maps: bool,
    region: np.ndarray | None = None,
) -> dict[str, Any]:
    """Write the mask of a case, 0 where no class is, its probability map if wanted, its samples and its doubt.

    The doubt of an image is one number for each name: the mean over the pixels of its region of interest, or all.
    """

    def mask(folder: Path, name: str, probabilities: np.ndarray) -> list[str]:
        decided = decide(probabilities, exclusive=labels.exclusive)
        written = write_mask(folder, name, decided, geometry, labels)
        listed = written if isinstance(written, list) else [written]
        return [(folder / path).relative_to(out).as_posix() for path in listed]

    def one_or_all(files: list[str]) -> str | list[str]:
        return files[0] if labels.exclusive else files

    facts: dict[str, Any] = {"id": case.id, "mask": one_or_all(mask(out, case.id, answer.probabilities))}
    facts["probability"] = write_probabilities(out, case.id, answer.probabilities, geometry) if maps else None
    if len(answer.samples):
        own = out / "samples" / safe_id(case.id)
        facts["samples"] = [
            one_or_all(
                mask(own, f"{number:02d}", sample)
                if labels.exclusive
                else mask(own / f"{number:02d}", safe_id(case.id), sample)
            )
            for number, sample in enumerate(answer.samples)
        ]
    if answer.uncertainty:
        counted = {
            name: map_[region] if region is not None and region.any() else map_
            for name, map_ in answer.uncertainty.items()
        }
        facts["uncertainty"] = {name: round(float(values.mean()), 6) for name, values in counted.items()}
        facts["uncertainty_maps"] = {
            name: write_map(out / "uncertainty" / name, case.id, map_[None].astype(np.float32), geometry)
            .relative_to(out)
            .as_posix()
            for name, map_ in answer.uncertainty.items()
        }
    return facts


def write_mask(out: Path, id: str, decided: np.ndarray, geometry: Geometry, labels: Labels) -> str | list[str]:
    """Write class numbers (*S), or (K, *S) of 0 and 1 where classes overlap; returns the paths below `out`."""
    if labels.exclusive:
        values = np.array([0, *(named[0] for named in written_values(labels))])
        return write_labels(out, id, values[decided], geometry).relative_to(out).as_posix()
    return [
        write_labels(out / folder, id, layer * 255, geometry).relative_to(out).as_posix()
        for folder, layer in zip(map(class_folder, labels.names), decided, strict=True)
    ]


def write_probabilities(out: Path, id: str, probabilities: np.ndarray, geometry: Geometry) -> str:
    """Write maps (K, *S); returns the path below `out`."""
    path = write_map(out / "probabilities", id, probabilities.astype(np.float32), geometry)
    return path.relative_to(out).as_posix()


def _one(
    models: Sequence[tuple[Segmenter, Tiler]],
    case: Case,
    out: Path,
    load_options: Mapping[str, Any],
    answer_options: Mapping[str, Any],
    *,
    maps: bool,
) -> dict[str, Any]:
    begun = time.monotonic()
    (method, tiler), *others = models
    traits, labels = method.traits, method.traits.labels
    if labels is None:
        raise RunError(f"{method.card.name} was trained without classes; it cannot name any")
    sample = load(case, channels=traits.channels, reads=("image", "region"), **load_options)
    found = len(sample.geometry.shape)
    if found != traits.dimensions:
        raise DataError(f"{case.id}: found {found} dimensions, expected {traits.dimensions} as in training")
    answer = segment(method, sample, tiler=tiler, others=others, **answer_options)
    facts = write_answer(out, case, answer, sample.geometry, labels, maps=maps, region=sample.region)
    return {**facts, "seconds": round(time.monotonic() - begun, 3)}


def _classes(traits: Traits) -> tuple[object, ...]:
    """What the classes of two models have to agree in; a single class matches a single class."""
    several = len(traits.classes) > 1
    return len(traits.classes), traits.classes if several else (), traits.labels is None or traits.labels.exclusive


def _loaded(run: Path) -> Segmenter:
    method = load_model(run)
    if not isinstance(method, Segmenter):
        raise RunError(f"{run}: {method.card.name} cannot segment; it can {', '.join(method.card.gives)}")
    return method


def _agree(methods: Sequence[Segmenter], runs: Sequence[Path]) -> list[str]:
    """Make sure that the models of an ensemble are several and speak of the same images and classes; who they are."""
    first = methods[0].traits
    models = [identity_of(run) for run in runs]
    for number, (model, run) in enumerate(zip(models, runs, strict=True)):
        if model in models[:number]:
            raise RunError(
                f"{run}: is the model of {runs[models.index(model)]} again; name each model of an ensemble once"
            )
    for method, run in zip(methods[1:], runs[1:], strict=True):
        traits = method.traits
        for what, one, other in (
            ("classes", _classes(first), _classes(traits)),
            ("channels", first.channels, traits.channels),
            ("dimensions", first.dimensions, traits.dimensions),
        ):
            if one != other:
                raise RunError(
                    f"{run}: was trained for other {what} than {runs[0]}; an ensemble needs models of the same data"
                )
    return models
