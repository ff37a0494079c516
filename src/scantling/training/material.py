"""The data of a training: opened, joined, divided, and whether the method can learn from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from scantling.contract.card import Card, lacking
from scantling.core.case import Address, Case
from scantling.core.errors import DataError, SettingsError
from scantling.core.fields import drawn_field, is_weak, label_map_of, reads_labels, reads_masks, title_of
from scantling.core.outputs import check_inputs
from scantling.core.samples import Traits
from scantling.data.contents import Finding, count, some
from scantling.data.corrections import corrections_read
from scantling.data.dataset import Dataset, distinct, join
from scantling.data.described import DERIVED
from scantling.data.division import blindly, divide, within_budget, without_labels
from scantling.data.globs import folders_of
from scantling.data.label_budget import keep_labels, keep_slices
from scantling.data.object_budget import FLAG, keep_objects
from scantling.data.opening import Opening
from scantling.data.order import belongs
from scantling.data.splits import MASKS, is_labelled
from scantling.methods.catalogue import implementation_of
from scantling.training.options import Options

SHOWN = 3
"""Cases that cannot be read whose reasons are shown."""


@dataclass(frozen=True)
class Material:
    """What a method learns from.

    Attributes:
        opened: the data sets, as they were named; with a budget of labels without those that it forbids to open.
        dataset: all of them as one, with their splits.
        reads: the fields that the method needs.
        remarks: sentences on what is odd.
        budget: sentences on the labels that a budget leaves.
        left_out: why, by id, of cases that cannot be read.
        beside: whether its labels are read because a setting says so, by a method that learns without any, too.
    """

    opened: tuple[Dataset, ...]
    dataset: Dataset
    reads: frozenset[str]
    remarks: tuple[str, ...]
    budget: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    beside: bool = False

    @property
    def taught_by(self) -> frozenset[str]:
        """The fields that label an image for the method; masks where it needs no label."""
        words = frozenset("mask" if word == "masks" else word for word in self.reads if reads_labels([word]))
        return words or frozenset(MASKS)

    @property
    def labelled(self) -> list[str]:
        """The ids of the training and validation images that have any label."""
        cases = [case for case in self.dataset.cases if case.split != "test" and case.images]
        return [case.id for case in cases if without_labels(case) != case]

    def without(self, failed: Mapping[str, str], card: Card, options: Options) -> Material:
        """The same without cases that cannot be read, nor those that link to them; remarks say which and how many.

        Raises:
            DataError: more than half of the training cases cannot be read, the method cannot learn from those that
                are left, or they have fewer labels than `--labels` says.
        """
        if not failed:
            return self
        linked = any(word.startswith("link:") for word in self.reads)
        torn = {
            case.id: f"it links to {gone[0]}, which was left out"
            for case in self.dataset.cases
            if linked and case.id not in failed and (gone := [id for id in case.links.values() if id in failed])
        }
        failed = {**failed, **torn}
        before = self.dataset.split("train")
        dataset = replace(self.dataset, cases=tuple(case for case in self.dataset.cases if case.id not in failed))
        left = dataset.split("train")
        kept = sum(is_labelled(case, self.taught_by) for case in left)
        sentence = (
            f"{count(len(failed), 'case')} cannot be read and {'is' if len(failed) == 1 else 'are'} left out ("
            + "; ".join(f"{id}: {reason}" for id, reason in list(failed.items())[:SHOWN])
            + (f"; and {len(failed) - SHOWN} more" if len(failed) > SHOWN else "")
            + f"); {len(left)} of {count(len(before), 'training case')} left, {kept} of them labelled"
        )
        within = [case for case in self.dataset.cases if case.split != "test" and is_labelled(case, self.taught_by)]
        asked = {"--labels": options.labels, FLAG: options.label_instances}
        flag = next((f"{flag} {number}" for flag, number in asked.items() if number is not None), None)
        if flag is not None and any(case.id in failed for case in within):
            raise DataError(f"{flag}: {sentence}; mend the files, or take them out of the data")
        if 2 * len(left) < len(before):
            raise DataError(f"{dataset.root}: {sentence}; expected at least half of them; mend the files")
        if missing := lacking(card, left):
            raise DataError(f"{card.name} cannot learn from {dataset.root}: {'; '.join(missing)}: {sentence}")
        return replace(self, dataset=dataset, remarks=(*self.remarks, sentence), left_out=failed)


def _reachable(part: Dataset) -> Dataset:
    """A dataset without the cases with a file behind a symbolic link that leads nowhere, which a warning lists."""
    gone = {
        case.id: address
        for case in part.cases
        for _, address in case.addresses()
        if address.path.is_symlink() and not address.path.exists()
    }
    if not gone:
        return part
    sentence = f"{some(map(str, gone.values()))}: a symbolic link that leads nowhere; "
    sentence += f"{count(len(gone), 'case')} left out"
    warning = Finding(level="warning", kind="unreadable", cases=tuple(gone), sentence=sentence)
    kept = tuple(case for case in part.cases if case.id not in gone)
    return replace(part, cases=kept, remarks=(*part.remarks, warning))


def open_material(card: Card, data: Sequence[Path | str | Dataset], out: Path | None, options: Options) -> Material:
    """Open the data of a training; nothing of them lies in `out`, if there is one.

    A method that needs no label gets data whose labels nobody looks at, and from one that learns from scribbles alone
    no subject is held out, since no mask may judge it. A part whose share is 0 is left out at once, so
    that nothing of the training depends on it.

    Raises:
        DataError: nothing is there, or the method cannot learn from it.
        SettingsError: a share or a number of labels that the data do not have.
    """
    unaided = not reads_labels({word for words in card.needs for word in words})
    card = card_of_settings(card, asking_for_labels(card, options))
    opening = Opening(manifest=options.manifest, root=options.root, subjects=options.subjects)
    opened = distinct([part for place in data for part in _opened(place, opening)])
    if out is not None:
        check_inputs(out, (file for part in opened for file in part.files()))
    reads = frozenset(word for words in card.needs for word in words)
    blind = not reads_labels(reads)
    opened = [_reachable(blindly(part) if blind else part) for part in opened]
    labels = {"mask" if word == "masks" else word for word in reads if reads_labels([word])} or {*MASKS}
    if "instances" in reads and not any(case.instances for part in opened for case in part.cases):
        labels |= {*MASKS}  # which may be instance maps: nobody looks before it is decided whose labels are kept
    validation = 0.0 if is_weak(reads) else options.validation
    dataset, budget = join(opened), tuple[str, ...]()
    budgeted = options.labels is not None or options.label_instances is not None
    if not budgeted or blind:
        dataset = divide(dataset, validation=validation, labelled=not blind, labels=labels)
    options.sampling.check(dataset.split("train"))
    unwanted = [name for name, share in options.share.items() if share == 0]
    if unwanted:
        kept = [c for c in dataset.cases if c.split != "train" or not any(belongs(c, name) for name in unwanted)]
        dataset = replace(dataset, cases=tuple(kept))
    if options.labels is not None:
        within = keep_labels(
            dataset, options.labels, seed=options.label_seed, fields=labels,
            validation=0.0 if blind else validation,
        )  # fmt: skip
        dataset, budget = within.dataset, () if blind else within.sentences
    if options.label_instances is not None:
        if blind or not (reads_masks(reads) or "instances" in reads):
            raise SettingsError(f"{FLAG}: {card.name} does not learn from masks or instance maps; leave it out")
        within = keep_objects(
            dataset, options.label_instances, seed=options.label_seed, fields=labels, validation=validation
        )
        dataset, budget = within.dataset, within.sentences
    if budgeted:
        opened = [without_others(part, dataset) for part in opened]
    if options.label_slices is not None:
        if "instances" in reads or not reads_masks(reads):
            raise SettingsError(f"--label-slices: {card.name} does not learn from masks by class; leave it out")
        within = keep_slices(dataset, options.label_slices, spread=options.label_slices_from)
        dataset, budget = within.dataset, (*budget, *within.sentences)
    dataset = within_budget(dataset)
    if not blind and (read := corrections_read(dataset.cases)) is not None:
        budget = (*budget, f"masks that people corrected stand in for those of their images: {read}")
    components = tuple[str, ...]()
    if "instances" in reads:
        dataset = _with_instance_maps(dataset)
        dataset, components = _with_components(dataset)
        _check_unknown_is_read(card, dataset, reads)
    missing = lacking(card, dataset.split("train"))
    if missing:
        look = "`scantling check` says what the folder was taken for"
        raise DataError(f"{card.name} cannot learn from {dataset.root}: {'; '.join(missing)}; {look}")
    told = {"subjects", *((DERIVED,) if "image_class" in reads else ())}
    remarks = tuple(remark.sentence for remark in dataset.remarks if remark.level != "note" or remark.kind in told)
    beside = unaided and not blind
    return Material(tuple(opened), dataset, reads, (*remarks, *components), budget, beside=beside)


def asking_for_labels(card: Card, options: Options) -> Options:
    """`reading_masks` where `--labels` or `--label-slices` names a budget."""
    budgeted = options.labels is not None or options.label_slices is not None
    return reading_masks(card, options) if budgeted else options


def reading_masks(card: Card, options: Options) -> Options:
    """A segmenter that reads no mask unless a setting says so reads them, if no such setting is given."""
    flags = [name for name, words in card.labels_by.items() if " or " not in words]
    masks = next((name for name in flags if card.labels_by[name] == "mask"), None)
    if masks is None or "segment" not in card.gives or {*flags} & {*options.settings}:
        return options
    return replace(options, settings={**options.settings, masks: True})


def card_of_settings(card: Card, options: Options) -> Card:
    """The card of a method as the settings of a training have it read its labels."""
    if not card.labels_by:
        return card
    return card.chosen(implementation_of(card).Settings.preset(options.preset, options.settings))


def without_others(part: Dataset, dataset: Dataset) -> Dataset:
    """One of the opened data sets without the labels that no training or validation case of `dataset` has any more."""
    held = {address for case in dataset.cases if case.split != "test" for _, address in case.addresses()}

    def kept(case: Case) -> bool:
        return all(a in held for role, a in case.addresses() if role.split()[0] in ("mask", "scribbles", "instances"))

    return replace(part, cases=tuple(case if kept(case) else without_labels(case) for case in part.cases))


def _check_unknown_is_read(card: Card, dataset: Dataset, reads: frozenset[str]) -> None:
    """Make sure that a method that learns from instance maps also reads the masks that say where nothing is known.

    Raises:
        SettingsError: it would take what is unknown for background.
    """
    partly = [
        case.id
        for case in dataset.split("train")
        if case.instances and any(part is not None for part in (case.known, case.drawn_slices, case.drawn_objects))
    ]
    if partly and not reads_masks(reads):
        raise SettingsError(
            f"{card.name} learns from instance maps alone, and of {some(partly, most=3)} only a part was drawn: it "
            "would take the rest for background; have it learn from masks, or leave these images out"
        )


def _with_instance_maps(dataset: Dataset) -> Dataset:
    """The dataset with masks that turn out to be instance maps as the instances of their cases, too."""
    sources = [one for one in dataset.label_source.undeclared if one.labels is not None]
    maps = {mask for one in sources if one.labels and one.labels.others == "object" for mask in one.masks}
    cases = (
        replace(case, instances=mask)
        if case.instances is None and isinstance(mask := next(iter(case.masks), None), Address) and mask in maps
        else case
        for case in dataset.cases
    )
    return replace(dataset, cases=tuple(cases))


def _with_components(dataset: Dataset) -> tuple[Dataset, tuple[str, ...]]:
    """The dataset with masks that tell no objects apart as instance maps, if it has none; and a sentence that says so.

    Preprocessing numbers the components (`drawn_objects.separate`).
    """
    labels = None if any(case.instances for case in dataset.cases) else dataset.labels
    if labels is None or labels.background != (0,) or labels.ignore is not None or labels.others != "error":
        return dataset, ()
    able = {case.id for case in dataset.cases if case.masks and isinstance(case.masks[0], Address)}
    able -= {case.id for case in dataset.cases if case.threshold is not None}
    cases = tuple(replace(c, instances=c.masks[0]) if c.id in able else c for c in dataset.cases)  # type: ignore[arg-type]
    sentence = (
        f"{dataset.name}: {count(len(able), 'mask')} tell no objects apart; connected components (corners count) stand "
        "for them, so that objects that touch are one; add instance maps if there are any"
    )
    return replace(dataset, cases=cases), (sentence,) if able else ()


def _opened(data: Path | str | Dataset, opening: Opening) -> list[Dataset]:
    """One data set, or those of a pattern of folders."""
    if isinstance(data, Dataset):
        return [data]
    return [opening.open(place) for place in folders_of(Path(data)) or (data,)]


def undrawn(material: Material, traits: Traits, budget: int | str | None = None) -> list[str]:
    """A warning for each class that no training mask, or scribble, has; the others can still be learnt.

    Args:
        budget: of labels, to which the class may be lost.

    Raises:
        DataError: none has any; or scribbles mark classes and no background, and nothing else is learned from.
    """
    name, scribbled = material.dataset.name, label_map_of(material.reads) == "scribbles"
    word = "scribbles" if scribbled else "masks"
    empty = [one for one, share in zip(traits.classes, traits.foreground, strict=False) if not share]
    if empty and len(empty) == len(traits.foreground):
        raise DataError(
            f"{name}: all training {word} are empty: no pixel is of {some(empty)}; expected {word} with a foreground; "
            f"check that the {word} are the right files, and that a manifest declares the values they hold"
        )
    if scribbled and not material.beside and traits.labels is not None and sum(traits.foreground) > 1 - 1e-9:
        value = traits.labels.background[0] if traits.labels.background else 0
        marked = [one for one in traits.classes if one not in empty]
        raise DataError(
            f"{name}: the training scribbles mark {some(marked)}, and nothing as background; expected some "
            f"pixels with the value {value}, without which everything would become a class; draw them"
        )
    more = "" if budget is None else f"; more than --labels {budget}, or another --label-seed, may have it"
    what = "no training scribble marks" if scribbled else "no training mask has a pixel of"
    return [f"{name}: {what} the class {one!r}; it cannot be learnt{more}" for one in empty]


def budget_remarks(material: Material, traits: Traits, budget: int | str | None) -> list[str]:
    """A sentence on classes that were found in few masks, because a budget of labels forbids to open the others."""
    masks = sum(len(source.masks) for source in material.dataset.label_source.undeclared)
    if budget is None or not masks or not reads_masks(material.reads):
        return []
    return [
        f"{material.dataset.name}: the classes ({some(traits.classes)}) were found in {count(masks, 'mask')}: those "
        f"that --labels {budget} keeps; a class that only others have is not known; if there is one, declare 'classes' "
        "in a manifest (scantling.toml)"
    ]


def counts(dataset: Dataset, reads: Collection[str]) -> str:
    """How many cases of which kind there are, for a sentence.

    Args:
        reads: the fields that a method needs.
    """
    training, field = dataset.split("train"), drawn_field(reads)
    labelled = sum(case.has(field) and case.has("image") for case in training)
    alone = sum(case.has("mask") and not case.has("image") for case in training)
    parts = [f"{labelled} training cases with {title_of(field)}"]
    parts += [f"{bare} without {title_of(field)}"] if (bare := len(training) - labelled - alone) else []
    parts += [f"{alone} that are only a mask"] if alone else []
    others = [f"{len(dataset.split(name))} {name}" for name in ("validation", "test") if dataset.split(name)]
    return ", ".join([" and ".join(parts), *others])
