"""The record of the folder of an experiment: what all of its trainings share, and what is asked of it over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from scantling.core.errors import RunError
from scantling.core.outputs import CURVE, check_record, locked
from scantling.data.contents import count
from scantling.data.dataset import Dataset, file_hashes, fingerprint, objects_in_tables
from scantling.experiments.cells import Cell, Recipe, labelled_subjects
from scantling.methods.catalogue import card_of, implementation_of
from scantling.records.curve import ArmRecord, CurveFolder
from scantling.records.differences import differences
from scantling.records.record import read_record
from scantling.training.options import Options
from scantling.training.training import steps_that_fit


def registered(
    recipe: Recipe,
    names: Sequence[str],
    labels: Sequence[str],
    seeds: int,
    label_seeds: int,
    console: Console,
    *,
    record: str = CURVE,
    kind: type[CurveFolder] = CurveFolder,
    others: Mapping[str, ArmRecord] | None = None,
) -> Options:
    """Write the record of the folder, and return the options with the steps that all cells take.

    Steps are those of the control's preset unless they are said; `minutes` are fitted once, to the control with most
    labels. Another process that works in the folder waits so long.

    Args:
        names: of the arms, the control first.
        record, kind: the file name of the record, and what it holds.
        others: what arms learn from beside the data, by name; None: `recipe.arms`.

    Raises:
        RunError: the folder is of other data, or of an experiment with other settings.
    """
    options, dataset, path = recipe.options, recipe.dataset, recipe.out / record
    with locked(recipe.out, shard="record", wait=True):
        check_record(recipe.out, record)
        before = read_record(kind, path) if path.is_file() else None
        if options.minutes is not None and before is not None and before.minutes == options.minutes:
            batch = before.shared.get("settings", {}).get("batch")
            options = _with_steps(options, before.shared.get("steps"), batch)
        elif options.minutes is not None and before is None:
            most = max(labels, key=lambda budget: len(labelled_subjects(recipe, Cell(names[0], budget, 0, 0))))
            cell = Cell(names[0], most, 0, 0)
            found = steps_that_fit(
                recipe.method_of(cell), recipe.parts_of(cell), recipe.options_of(cell), console=console
            )
            options = _with_steps(options, *found)
        elif options.steps is None and "steps" not in options.settings:
            method = implementation_of(card_of(recipe.method_of(Cell(names[0], labels[0], 0, 0))))
            steps = getattr(method.Settings.preset(options.preset, options.settings), "steps", None)
            options = replace(options, steps=steps if isinstance(steps, int) else None)
        if others is None:
            others = {
                name: ArmRecord(data=str(folder.resolve()), sha256=labels_hash(recipe.dataset_of(name)))
                for name, folder in recipe.arms.items()
            }
        now = kind(
            version=kind.newest, data=str(dataset.root.resolve()), sha256=fingerprint(file_hashes(dataset)),
            shared=replace(recipe, options=options).facts(), minutes=recipe.options.minutes, methods=tuple(names),
            labels=tuple(labels), seeds=seeds, label_seeds=label_seeds,
            arms=dict(others),
        )  # fmt: skip
        if before is not None:
            _check_same(recipe.out, before, now)
            added = {name: tuple(dict.fromkeys([*getattr(before, name), *getattr(now, name)])) for name in _GROWING}
            most_seeds = {name: max(getattr(before, name), getattr(now, name)) for name in ("seeds", "label_seeds")}
            now = now.model_copy(update=added | most_seeds | {"arms": {**before.arms, **now.arms}})
        now.write(path)
    if options.steps is not None:
        console.print(f"every training takes {count(options.steps, 'step')}", highlight=False)
    return options


def labels_hash(dataset: Dataset) -> str:
    """Of all files of a data set, and of the objects in its tables."""
    return fingerprint(file_hashes(dataset) | objects_in_tables(dataset))


_GROWING = ("methods", "labels")
"""What later commands may add to a folder, beside seeds."""


def _with_steps(options: Options, steps: int | None, batch: int | None) -> Options:
    settings = {**options.settings, **({} if batch is None else {"batch": batch})}
    return replace(options, steps=steps, minutes=None, settings=settings)


def _check_same(out: Path, before: CurveFolder, now: CurveFolder) -> None:
    """Make sure that a folder is of the same data and settings.

    Raises:
        RunError: it is not; what differs is shown.
    """
    changed = [
        line for key in ("data", "minutes") for line in differences(key, getattr(before, key), getattr(now, key))
    ]
    changed += [] if changed or before.sha256 == now.sha256 else ["the files of the data have changed"]
    for name in before.arms.keys() & now.arms.keys():
        if before.arms[name] != now.arms[name]:
            changed.append(f"{before.besides} of {name} have changed ({before.arms[name].data}, {now.arms[name].data})")
    was, is_ = before.facts()["shared"], now.facts()["shared"]
    changed += [] if before.minutes != now.minutes else differences("settings", was, is_)
    if changed:
        raise RunError(
            f"{out}: holds {before.name} made otherwise: {'; '.join(changed[:3])}; repeat its settings, or choose "
            "another --out"
        )
