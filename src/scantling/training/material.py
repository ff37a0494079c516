"""The data of a training: opened, joined, divided, and whether the method can learn from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scantling.contract.card import Card, lacking
from scantling.core.errors import DataError
from scantling.core.fields import reads_labels
from scantling.core.outputs import check_inputs
from scantling.data.contents import Finding, count, some
from scantling.data.dataset import Dataset, distinct, join
from scantling.data.division import blindly, divide, keep_labels
from scantling.data.globs import folders_of
from scantling.data.opening import Opening
from scantling.data.order import belongs
from scantling.data.splits import MASKS
from scantling.training.options import Options


@dataclass(frozen=True)
class Material:
    """What a method learns from.

    Attributes:
        opened: the data sets, as they were named.
        dataset: all of them as one, with their splits.
        reads: the fields that the method needs.
        remarks: sentences on what is odd.
    """

    opened: tuple[Dataset, ...]
    dataset: Dataset
    reads: frozenset[str]
    remarks: tuple[str, ...]


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


def open_material(card: Card, data: Sequence[Path | str], out: Path, options: Options) -> Material:
    """Open the data of a training; nothing of them lies in `out`.

    A method that needs no label gets data whose labels nobody looks at. A part whose share is 0 is left out at once, so
    that nothing of the training depends on it.

    Raises:
        DataError: nothing is there, or the method cannot learn from it.
        SettingsError: a share or a number of labels that the data do not have.
    """
    opening = Opening(manifest=options.manifest, root=options.root, subjects=options.subjects)
    opened = distinct([opening.open(place) for path in data for place in folders_of(Path(path)) or (path,)])
    check_inputs(out, (file for part in opened for file in part.files()))
    reads = frozenset(word for words in card.needs for word in words)
    blind = not reads_labels(reads)
    opened = [_reachable(blindly(part) if blind else part) for part in opened]
    labels = {"mask" if word == "masks" else word for word in reads if reads_labels([word])} or MASKS
    dataset = divide(join(opened), validation=options.validation, labelled=not blind, labels=labels)
    options.sampling.check(dataset.split("train"))
    unwanted = [name for name, share in options.share.items() if share == 0]
    if unwanted:
        kept = [c for c in dataset.cases if c.split != "train" or not any(belongs(c, name) for name in unwanted)]
        dataset = replace(dataset, cases=tuple(kept))
    if options.labels is not None:
        dataset = keep_labels(dataset, options.labels, labels=labels)
    missing = lacking(card, dataset.split("train"))
    if missing:
        raise DataError(f"{card.name} cannot learn from {dataset.root}: {'; '.join(missing)}")
    remarks = tuple(
        remark.sentence for remark in dataset.remarks if remark.level != "note" or remark.kind == "subjects"
    )
    return Material(tuple(opened), dataset, reads, remarks)


def counts(dataset: Dataset) -> str:
    """How many cases of which kind there are, for a sentence."""
    training = dataset.split("train")
    labelled = sum(case.has("mask") and case.has("image") for case in training)
    alone = sum(case.has("mask") and not case.has("image") for case in training)
    parts = [f"{labelled} training cases with masks"]
    parts += [f"{bare} without masks"] if (bare := len(training) - labelled - alone) else []
    parts += [f"{alone} that are only a mask"] if alone else []
    others = [f"{len(dataset.split(name))} {name}" for name in ("validation", "test") if dataset.split(name)]
    return ", ".join([" and ".join(parts), *others])
