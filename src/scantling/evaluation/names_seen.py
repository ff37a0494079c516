"""Scores of classes by whether the model had learned them, where it was asked for classes by name (a vocabulary)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from scantling.core.errors import FileError
from scantling.core.outputs import RUN
from scantling.records.evaluation import NamesRecord
from scantling.records.predictions import PredictionsRecord
from scantling.records.record import read_record
from scantling.records.run import RunRecord

SAID = {"iou": "mIoU", "pq": "PQ"}
"""The measures that open-vocabulary segmentation is compared by."""


def names_seen(classes: Sequence[str], listing: PredictionsRecord | None) -> dict[str, tuple[str, ...]]:
    """The `classes` that are "seen", learned by the run that was asked for a vocabulary, and those that are "unseen".

    Empty where no vocabulary was asked for, or the run cannot be read. A class is seen if one of its words was learned.
    """
    asked = listing.options.get("vocabulary") if listing is not None else None
    if listing is None or not listing.run or not isinstance(asked, list | tuple) or not asked:
        return {}
    folder = Path(listing.run)
    try:
        record = read_record(RunRecord, (folder if (folder / RUN).is_file() else folder.parent) / RUN)
    except (FileError, ValueError):
        return {}
    labels = (record.traits or {}).get("labels")
    learned = {_plain(str(name)) for name in labels.get("names", ())} if isinstance(labels, dict) else set()
    words = {entry.split("|")[0].strip(): entry.split("|") for entry in map(str, asked)}
    seen = [name for name in classes if learned & {_plain(word) for word in words.get(name, [name])}]
    groups = {"seen": tuple(seen), "unseen": tuple(name for name in classes if name not in seen)}
    return {group: names for group, names in groups.items() if names}


def scores_of_names(
    names: Mapping[str, Sequence[str]], means: Mapping[str, Mapping[str, float]]
) -> dict[str, NamesRecord]:
    """For each group of classes the mean over them of every measure, where it is defined.

    Args:
        means: of each class over the cases.
    """
    found = {}
    for group, classes in names.items():
        measures = dict.fromkeys(name for one in classes for name in means[one])
        values = {name: [means[one][name] for one in classes if not math.isnan(means[one][name])] for name in measures}
        mean: dict[str, float | None] = {name: math.fsum(each) / len(each) for name, each in values.items() if each}
        found[group] = NamesRecord(classes=tuple(classes), mean=mean)
    return found


def sentences_on_names(found: Mapping[str, NamesRecord]) -> list[str]:
    """For people: the scores of each group, the mean over its classes."""
    whom = {"seen": "Classes that the model has learned", "unseen": "Classes that it knows by their words alone"}
    sentences = []
    for group, one in found.items():
        known = {SAID[name]: value for name, value in one.mean.items() if name in SAID and value is not None}
        if known:
            scores = ", ".join(f"{title} {value:.4f}" for title, value in known.items())
            sentences.append(f"{whom.get(group, group)} ({', '.join(one.classes)}): {scores}.")
    return sentences


def _plain(name: str) -> str:
    """A name without what does not tell names apart: capitals and blanks."""
    return " ".join(name.casefold().split())
