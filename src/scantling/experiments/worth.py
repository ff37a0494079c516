"""The command `worth`: what made data are worth beside real ones, at several budgets of real subjects.

Its cells and their scores are those of `curve`: where a curve has methods, there are arms here (`worth_arms`), all of
one method, in which real and made cases are mixed in some amount and order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rich.console import Console

from scantling.contract.card import Card, learns_objects
from scantling.core.checks import check_count
from scantling.core.engines import Share
from scantling.core.errors import DataError, ScantlingError, SettingsError
from scantling.core.fields import title_of
from scantling.core.machine import Compute
from scantling.core.outputs import WORTH, check_inputs, check_record, locked
from scantling.data.contents import count, some
from scantling.data.dataset import Dataset
from scantling.data.division import within_budget
from scantling.data.manifest_file import write_manifest
from scantling.data.memory import in_memory
from scantling.evaluation.generated import Assessment
from scantling.experiments.boxes_by_case import detects
from scantling.experiments.cell_runs import Engine, Progress, check_spread, do_cells
from scantling.experiments.cells import ALL, Cell, budgets, cells_of, labels_in_words
from scantling.experiments.curve import Ready, masks_metric, summary
from scantling.experiments.experiment_folder import labels_hash, registered
from scantling.experiments.image_classes import OF_A_CASE
from scantling.experiments.made_images import looked_at
from scantling.experiments.made_sets import Source, check_made, is_run, learned_subjects, opened, sources_of
from scantling.experiments.validity import Validity, measured
from scantling.experiments.worth_arms import DEFAULT, arms_of
from scantling.experiments.worth_recipe import WorthRecipe, one_image
from scantling.experiments.worth_result import WorthResult
from scantling.inference.synthesis import synthesize
from scantling.methods.catalogue import card_of, implementation_of
from scantling.metrics.catalogue import BOX_METRICS_OF_A_CASE, CLASS_METRICS, Metric
from scantling.records.curve import ArmRecord
from scantling.records.run_folder import identity_of
from scantling.records.worth import WorthFolder
from scantling.training.options import DEFAULTS, Options

BUDGETS = ("5", "all")
MINUTES = 3.0
"""Of a training where neither steps nor minutes are said."""


def worth(
    method: str,
    data: Path | str | Dataset,
    made: Sequence[str | Path],
    out: Path,
    *,
    arms: Sequence[str] = DEFAULT,
    labels: Sequence[int | str] = BUDGETS,
    seeds: int = 1,
    label_seeds: int = 1,
    generators: Sequence[Path] = (),
    options: Options = DEFAULTS,
    augment: Literal["own", "none", "strong"] = "strong",
    metric: str | None = None,
    modality: str = "",
    validity: bool = False,
    shard: tuple[int, int] = (1, 1),
    engine: Engine = "local",
    share: Share | None = None,
    console: Console | None = None,
    progress: Progress | None = None,
) -> WorthResult:
    """Train a segmenter on real, made and mixed data at budgets of real subjects, and say what made data are worth.

    Args:
        method: of the catalogue, a segmenter, a classifier of images, or a detector.
        data: real data with masks, or with image classes; its test cases are tested.
        made: see `made_sets.sources_of`.
        out: the folder of the experiment; new, empty, or that of one with the same data and settings.
        arms: see `worth_arms`; "real", the control, is always among them.
        labels: budgets of real subjects, those for validation included.
        seeds, label_seeds: as of `curve`; a label seed also draws which made cases an arm takes.
        generators: runs that made the folders of `made`, so that their records say whom they have learned from.
        options: of all trainings; `minutes` become steps once for all.
        augment: of all arms alike.
        metric: that answers are scored by; None: Dice, AJI of a method that learns from instance maps, accuracy, or of
            a detector the average precision at 0.5.
        modality: the one image of each case that every training sees; empty: all.
        validity: also hold what a training on real cases scores on made ones against its scores on real test cases,
            and made images against real training images (`evaluation.generated.assess`).
        shard, engine, share, console, progress: as of `curve`.

    Raises:
        StoppedError: a signal has stopped a training, which is saved.
        ScantlingError: nothing can be started. Cells that fail are listed, not raised.
    """
    check_spread(engine, share, shard)
    console = console or Console(quiet=True)
    ready = prepare(
        method, data, made, out, arms=arms, labels=labels, seeds=seeds, label_seeds=label_seeds,
        generators=generators, options=options, augment=augment, metric=metric, modality=modality, console=console,
    )  # fmt: skip
    own = ready.cells[shard[0] - 1 :: shard[1]]
    failed = do_cells(ready.recipe, own, engine=engine, share=share, console=console, progress=progress)
    tables: Sequence[Validity] = ()
    images: Mapping[str, Assessment] = {}
    if validity and shard[1] == 1:
        tables = measured(ready.recipe, own, ready.metric, console=console)
        images = looked_at(ready.recipe, own, console=console)
    recipe = ready.recipe
    taken = {(cell.method, cell.labels): recipe.taken(cell) for cell in own if cell.seed == cell.label_seed == 0}
    amounts = {key: (len(one.real), len(one.made)) for key, one in taken.items()}
    found = summary(ready, own, failed)
    return WorthResult(
        **found, arms=tuple(recipe.plan.values()), amounts=amounts, validity=tuple(tables), images=images
    )


@dataclass(frozen=True)
class ReadyWorth(Ready):
    """What can be begun."""

    recipe: WorthRecipe


def prepare(
    method: str,
    data: Path | str | Dataset,
    made: Sequence[str | Path],
    out: Path,
    *,
    arms: Sequence[str],
    labels: Sequence[int | str],
    seeds: int,
    label_seeds: int,
    generators: Sequence[Path],
    options: Options,
    augment: Literal["own", "none", "strong"],
    metric: str | None,
    console: Console,
    modality: str = "",
) -> ReadyWorth:
    """Make sure that all cells can be begun, make what runs are to make, and write the record of the folder.

    Raises:
        ScantlingError: one cannot.
    """
    card, budget = card_of(method), budgets(labels)
    if not {"segment", "classify"} & {*card.gives} or card.uses:
        raise SettingsError(
            f"{card.name}: expected a segmenter or a classifier that is trained alone; see `scantling methods`"
        )
    known = _metric(metric, card)
    check_count(seeds, argument="--seeds", least=1)
    check_count(label_seeds, argument="--label-seeds", least=1)
    options.check()
    if options.steps is None and options.minutes is None and "steps" not in options.settings:
        options = replace(options, minutes=MINUTES)
    opened.cache_clear()  # a folder may have grown since this process has opened it
    sources = sources_of(made, out)
    plan = arms_of(arms, [one.name for one in sources], augment=augment)
    recipe = WorthRecipe(
        data=data if isinstance(data, Dataset) else Path(data), out=out, options=options, control=next(iter(plan)),
        augment=augment, metric=known.name, method=card.name, plan=plan, sources={one.name: one for one in sources},
        modality=modality,
    )  # fmt: skip
    cells = cells_of([*plan], budget, seeds=seeds, label_seeds=label_seeds)
    subjects = _checked(recipe, cells, budget)
    folders = [place for one in sources for place in one.places.values() if not is_run(place)]
    remarks = [line for one in sources for line in _checked_made(recipe, one, cells, generators, runs=False)]
    _check_taken(recipe, cells, runs=False)
    for folder in folders:
        check_inputs(out, opened(folder).files())
    others = {name: _record_of(place) for name, place in _places(sources)}
    options = registered(
        recipe, [*plan], budget, seeds, label_seeds, console, record=WORTH, kind=WorthFolder, others=others
    )
    _described(recipe, cells)
    _synthesised(recipe, cells, console)
    remarks += [line for one in sources for line in _checked_made(recipe, one, cells, generators, runs=True)]
    _check_taken(recipe, cells, runs=True)
    return ReadyWorth(replace(recipe, options=options), cells, subjects, known, remarks)


def _metric(name: str | None, card: Card) -> Metric:
    if detects(card) and name in (None, *BOX_METRICS_OF_A_CASE):
        return BOX_METRICS_OF_A_CASE[name or "ap50"]
    if "segment" in card.gives:
        return masks_metric(name or ("aji" if learns_objects(card) else "dice"))
    if name not in (None, *OF_A_CASE):
        raise SettingsError(f"--metric {name}: expected one of image classes: {', '.join(OF_A_CASE)}")
    return CLASS_METRICS[name or OF_A_CASE[0]]


def _places(sources: Sequence[Source]) -> list[tuple[str, Path]]:
    named = [(one.name, budget, place) for one in sources for budget, place in one.places.items()]
    return [(f"{name}@{budget}" if budget else name, place) for name, budget, place in named]


def _record_of(place: Path) -> ArmRecord:
    sha256 = identity_of(place) if is_run(place) else labels_hash(opened(place))
    return ArmRecord(data=str(place.resolve()), sha256=sha256)


def _checked(recipe: WorthRecipe, cells: Sequence[Cell], labels: Sequence[str]) -> dict[str, int]:
    """How many real subjects each budget is, after making sure that each can be drawn.

    Raises:
        SettingsError: a setting that the method does not have, or two budgets that are the same.
        DataError: there are fewer subjects, or no test case with a mask.
    """
    options = recipe.options
    changes = dict(options.settings) | ({} if options.steps is None else {"steps": options.steps})
    implementation_of(card_of(recipe.method)).Settings.preset(options.preset, changes)
    if recipe.modality:
        _check_modality(recipe)
    dataset = recipe.dataset
    check_inputs(recipe.out, dataset.files())
    check_record(recipe.out, WORTH)
    if not any(case.has(recipe.label) and case.images for case in dataset.split("test")):
        raise DataError(f"{dataset.root}: no test case has {title_of(recipe.label)}; expected some to be measured on")
    drawn = {(cell.labels, cell.label_seed) for cell in cells}
    held = {key: recipe.budget(*key).all_subjects for key in drawn}
    subjects = {budget: len(held[budget, 0]) for budget in labels}
    if not all(subjects.values()):
        raise DataError(f"{dataset.root}: found no training subject with labels that {recipe.method} learns from")
    for number, budget in enumerate(labels):
        alike = [other for other in labels[:number] if subjects[other] == subjects[budget]]
        if alike:
            raise SettingsError(
                f"--labels {budget}: are {count(subjects[budget], 'subject')}, as --labels {alike[0]}; leave one out"
            )
    return subjects


def _check_modality(recipe: WorthRecipe) -> None:
    """Make sure that cases have several images, of which one is named.

    Raises:
        SettingsError: they have not.
    """
    names = dict.fromkeys(name for case in recipe.whole.cases for name in case.images)
    if len(names) < 2 or recipe.modality not in names:
        raise SettingsError(
            f"--modality {recipe.modality}: the cases have the images {some([*names], most=9)}; expected one of "
            "several, each in a file of its own"
        )


def _checked_made(
    recipe: WorthRecipe, source: Source, cells: Sequence[Cell], generators: Sequence[Path], *, runs: bool
) -> list[str]:
    """Sentences on made data whose origin is not known, or whose generator has seen more subjects than a budget has.

    Args:
        runs: whether those made by runs are looked at, or those in folders.

    Raises:
        DataError: they cannot be used, or come from test subjects.
    """
    remarks = list[str]()
    for budget, place in source.places.items():
        folder = source.folders[budget]
        if is_run(place) != runs or not folder.exists():
            continue
        made = one_image(opened(folder), recipe.modality)
        remarks += check_made(source.name, made, recipe.dataset, label=recipe.label)
        known = [*generators, *([place] if runs else [])]
        seen, unknown = learned_subjects(source.name, made, known, recipe.dataset)
        remarks += unknown
        drawn = {(c.labels, c.label_seed): None for c in cells if source.place(c.labels) == place}
        remarks += _seen_more(recipe, source.name, made, seen, [*drawn])
    return list(dict.fromkeys(remarks))


def _seen_more(
    recipe: WorthRecipe, name: str, made: Dataset, seen: frozenset[str] | None, drawn: Sequence[tuple[str, int]]
) -> list[str]:
    """A sentence for each budget that its generator has seen more of than the arms: a gain there is partly of these."""
    found = dict[tuple[str, int], str]()
    drawn_masks = max((case.origin.hand_drawn for case in made.cases), default=0)
    for labels, draw in drawn:
        budget = recipe.budget(labels, draw)
        more = (seen or frozenset()) - budget.all_subjects - {case.subject for case in recipe.bare(budget)}
        masks = len(budget.train) + len(budget.validation)
        if labels in (known for known, _ in found):
            continue
        if more:
            found[labels, draw] = (
                f"has learned from {count(len(more), 'real subject')} outside of it ({some(sorted(more))})"
            )
        elif seen is None and drawn_masks > masks:
            found[labels, draw] = f"has learned from {drawn_masks} masks that people drew, and the budget has {masks}"
    listed = {key: f" (train --manifest {_manifest(recipe, *key)})" if _can_be_listed(recipe) else "" for key in found}
    return [
        f"{name} with {labels_in_words(labels)}: its generator {sentence}; a gain may come from them. Train a "
        f"generator on the budget alone{listed[labels, draw]}, and name it with --made {name}@{labels}=RUN."
        for (labels, draw), sentence in found.items()
    ]


def _check_taken(recipe: WorthRecipe, cells: Sequence[Cell], *, runs: bool) -> None:
    """Make sure that there are as many made cases as each cell takes.

    Raises:
        DataError: there are fewer.
    """
    for cell in cells:
        source = recipe.plan[cell.method].source
        place = recipe.sources[source].place(cell.labels) if source else None
        if source and (place is None or is_run(place) == runs) and cell.seed == 0:
            recipe.taken(cell)


def _manifest(recipe: WorthRecipe, labels: str, label_seed: int) -> Path:
    """Where the cases of a budget are listed."""
    return recipe.out / "budgets" / f"labels-{labels.replace('%', '-percent')}-draw-{label_seed}.toml"


def _can_be_listed(recipe: WorthRecipe) -> bool:
    """Whether there is a manifest of each budget: not of data in memory, or of several folders."""
    return not (in_memory(recipe.dataset.root) or recipe.dataset.label_source.parts)


def _described(recipe: WorthRecipe, cells: Sequence[Cell]) -> None:
    """Write a manifest of each budget, so that a generator can be trained on its cases alone."""
    if not _can_be_listed(recipe):
        return
    for cell in cells:
        path = _manifest(recipe, cell.labels, cell.label_seed)
        if cell.method != recipe.control or cell.seed or cell.labels == ALL:
            continue
        with locked(recipe.out, shard="budgets", wait=True):
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                write_manifest(recipe.parts_of(cell)[0], path, within_budget(recipe.dataset).labels)


def _synthesised(recipe: WorthRecipe, cells: Sequence[Cell], console: Console) -> None:
    """Make the cases that arms take of runs, as many as the largest takes.

    Raises:
        SettingsError: an arm takes all of what a run makes, which has no end.
        ScantlingError: the run makes nothing by itself.
    """
    wanted = dict[tuple[Path, Path], int]()
    for cell in cells:
        arm = recipe.plan[cell.method]
        source = recipe.sources.get(arm.source)
        place, folder = (source.place(cell.labels), source.folder(cell.labels)) if source else (None, None)
        if arm.made is None or place is None or folder is None or not is_run(place):
            continue
        if arm.made.times is None and arm.made.cases is None:
            raise SettingsError(f"--arms {arm.name}: a run makes as many as are asked for; name a number")
        number = arm.made.number(len(recipe.budget(cell.labels, cell.label_seed).train), 0)
        wanted[place, folder] = max(number, wanted.get((place, folder), 0))
    of = recipe.options
    compute = Compute(device=of.device, threads=of.threads, precision=of.precision)
    for (place, folder), number in wanted.items():
        with locked(recipe.out, shard="made", wait=True):
            there = 0
            with suppress(ScantlingError):  # nothing is there, or it was interrupted before the first
                there = len(opened(folder).cases)
            opened.cache_clear()
            if there < number:
                console.print(f"{place}: making {count(number, 'case')}", highlight=False, markup=False)
                synthesize(place, count=number, out=folder, compute=compute)


__all__ = ["BUDGETS", "DEFAULT", "MINUTES", "prepare", "worth"]
