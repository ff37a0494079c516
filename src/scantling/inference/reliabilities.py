"""How far each model of an ensemble is to be believed, learnt on validation cases that all of its runs held out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from scantling.contract.options import LEARN, SegmentOptions
from scantling.core.case import IGNORE, Case
from scantling.core.errors import RunError, ScantlingError
from scantling.core.outputs import RUN
from scantling.core.randomness import numpy_generator
from scantling.data.contents import count, some
from scantling.data.hashing import content_of
from scantling.data.loading import load
from scantling.evidence import contours_of, learn_reliabilities, reliability_intervals
from scantling.inference.answering import opinion
from scantling.inference.listing import lists_in
from scantling.inference.models import Models
from scantling.inference.tiles import Tiler
from scantling.records.record import read_json
from scantling.records.run_data import dataset_of

CASES = 48
"""Validation cases that are answered, at most, spread over the subjects (ours)."""
PIXELS = 100_000
"""About so many pixels of all of them are looked at (ours)."""
REPEATS = 40
"""Of the bootstrap over subjects; with fewer than `LEAST` of them there is no interval (ours)."""
LEAST = 5


@dataclass(frozen=True)
class Learnt:
    """What was learnt, as `predictions.json` has it.

    Attributes:
        facts: `sources`, N names; `classes`, C, the background first where they exclude each other; `believed`, (N, C)
            in [0, 1]; `low` and `high`, the same (95 %, none with few subjects); `cases` and `subjects`, how many;
            `unread`, the ids of those that could not be read.
    """

    facts: Mapping[str, Any]

    @property
    def believed(self) -> tuple[tuple[float, ...], ...]:
        """(N, C), a row for each model."""
        return tuple(tuple(float(b) for b in row) for row in self.facts["believed"])

    @property
    def sentence(self) -> str:
        """From how much it was learnt, and what."""
        facts = self.facts
        believed = "; ".join(
            f"{source} " + ", ".join(f"{name} {b:.2f}" for name, b in zip(facts["classes"], row, strict=True))
            for source, row in zip(facts["sources"], self.believed, strict=True)
        )
        unread = facts.get("unread", ())
        left_out = f" ({count(len(unread), 'case')} could not be read, {some(unread)})" if unread else ""
        return (
            f"reliabilities learnt on {count(facts['cases'], 'validation case')} of "
            f"{count(facts['subjects'], 'subject')}, whose masks were read{left_out}: {believed}"
        )


def wants_learning(models: Models) -> bool:
    """Whether the reliabilities of models are to be learnt."""
    return models.segment is not None and models.segment.reliabilities == LEARN


def with_reliabilities(models: Models, learnt: Learnt) -> Models:
    """The models with what was learnt in place of the word."""
    options = models.segment or SegmentOptions()
    return replace(models, segment=options.model_copy(update={"reliabilities": learnt.believed}))


def learnt_earlier(out: Path, header: Mapping[str, Any]) -> Learnt | None:
    """What an earlier command has learnt for the masks of a folder, which are otherwise made in the same way.

    Raises:
        RunError: the folder lists masks that were made otherwise.
    """
    for path in sorted(out.glob("predictions*.json")):
        listed = read_json(path)
        found = listed.get("reliabilities") if isinstance(listed, dict) else None
        learnt = Learnt(found) if isinstance(found, dict) and found.get("believed") else None
        lists_in(out, header if learnt is None else with_learnt(header, learnt))
        return learnt
    return None


def with_learnt(header: Mapping[str, Any], learnt: Learnt) -> dict[str, Any]:
    """The header of a record with what was learnt."""
    rows = [list(row) for row in learnt.believed]
    return {**header, "options": {**header["options"], "reliabilities": rows}, "reliabilities": dict(learnt.facts)}


def learn(models: Models, *, device: torch.device, autocast: torch.dtype | None) -> Learnt:
    """The reliabilities of the models of runs, for each class, by `learn_reliabilities`.

    Each run answers about its own data, so that runs of single modalities need no data set that holds all of them.

    Raises:
        RunError: a run has no record, they share no validation case with a mask, or none of them shows a class.
        ScantlingError: the data of a run are not where they were.
    """
    options, labels = models.segment, models.labels
    if options is None or labels is None:
        raise RunError("reliabilities are of models that segment; found others")
    cases = _shared(models)
    chosen = _spread(cases[0], CASES)
    names = (*(("background",) if labels.exclusive else ()), *labels.names)
    pixels = max(1, PIXELS // len(chosen))
    target = torch.full((len(chosen), 1 if labels.exclusive else len(labels.names), 1, pixels), IGNORE)
    said = [torch.zeros(len(chosen), len(labels.names), 1, pixels) for _ in models.methods]
    tilers, widest = [Tiler() for _ in models.methods], 1
    unread = dict[str, str]()
    for row, id in enumerate(chosen):
        try:
            samples = [
                load(
                    cases[place][id], labels=method.traits.labels, channels=method.channels, partial=method.partial,
                    reads=("image", "region") if place else ("image", "mask", "region"),
                )
                for place, method in enumerate(models.segmenters)
            ]  # fmt: skip
        except ScantlingError as error:
            unread[id] = str(error)  # its row stays unknown, and counts nowhere
            continue
        for place, (method, tiler, sample) in enumerate(zip(models.segmenters, tilers, samples, strict=True)):
            if not place:
                mask = sample.masks[0] if sample.region is None else np.where(sample.region, sample.masks[0], IGNORE)
                at = _places(mask, id, pixels)
                widest = max(widest, len(at))
                target[row, :, 0, : len(at)] = torch.from_numpy(mask.reshape(len(mask), -1)[:, at].astype(np.int64))
            seen = opinion(method, sample, number=place, device=device, tiler=tiler, options=options, autocast=autocast)
            if seen.shape[1:] != mask.shape[1:]:
                raise RunError(f"{id}: the images of the runs have several sizes; expected those of one case")
            said[place][row, :, 0, : len(at)] = torch.from_numpy(seen.reshape(len(seen), -1)[:, at]).clamp(0, 1)
    if len(unread) == len(chosen):
        raise RunError(
            f"--options.reliabilities learn: no validation case could be read; {next(iter(unread.values()))}"
        )
    if not ((target > 0) & (target != IGNORE)).any():
        raise RunError(
            f"--options.reliabilities learn: of {count(len(chosen), 'validation case')} that the runs share, no pixel "
            "that was looked at shows a class; give numbers, or leave the option out"
        )
    read = [row for row, id in enumerate(chosen) if id not in unread]
    said, target = [one[read] for one in said], target[read]
    subjects = [cases[0][chosen[row]].subject for row in read]
    said, target = [one[..., :widest] for one in said], target[..., :widest]  # small images fill no more
    b, interval = _fitted(said, target, subjects, exclusive=labels.exclusive)
    limits = {} if interval is None else {"low": _rounded(interval[0]), "high": _rounded(interval[1])}
    return Learnt({
        "sources": list(_sources(models)), "classes": list(names), "believed": _rounded(b), **limits,
        "cases": len(read), "subjects": len(set(subjects)), **({"unread": sorted(unread)} if unread else {}),
    })  # fmt: skip


def _rounded(table: Tensor) -> list[list[float]]:
    return [[round(float(one), 4) for one in row] for row in table]


def _fitted(
    said: Sequence[Tensor], target: Tensor, subjects: Sequence[str], *, exclusive: bool
) -> tuple[Tensor, Tensor | None]:
    """(N, C), and its interval (2, N, C) where there are subjects enough."""
    frames = [(said, target)]
    if not exclusive:  # each class is a frame of its own, "it" and "not it"
        frames = [([one[:, [k]] for one in said], target[:, [k]]) for k in range(target.shape[1])]
    found, limits = list[Tensor](), list[Tensor]()
    for probabilities, truth in frames:
        contours = [contours_of(one) for one in probabilities]
        by: Literal["class", "source"] = "class" if exclusive else "source"
        if not ((truth > 0) & (truth != IGNORE)).any():  # nothing says how far to believe whom of this class
            found.append(torch.ones(len(said), 1))
            limits.append(torch.tensor([0.0, 1.0]).view(2, 1, 1).expand(2, len(said), 1))
            continue
        found.append(learn_reliabilities(contours, truth, by=by))
        if len(set(subjects)) >= LEAST:
            draws = torch.Generator().manual_seed(0)
            limits.append(reliability_intervals(contours, truth, subjects, repeats=REPEATS, by=by, generator=draws))
    whole = len(limits) == len(frames) and len(set(subjects)) >= LEAST
    return torch.cat(found, 1), torch.cat(limits, 2) if whole else None


def _sources(models: Models) -> Iterator[str]:
    """What each model is called: its channel, where it alone reads that one, else its run."""
    channels = [method.channels for method in models.methods]
    apart = all(len(one) == 1 for one in channels) and len(set(channels)) == len(channels)
    for one, run in zip(channels, models.runs, strict=True):
        yield one[0] if apart else run.name if run.name != "model" else run.resolve().parent.name


def _shared(models: Models) -> list[dict[str, Case]]:
    """For each run the validation cases with a mask that all of them held out, by id.

    None shows a subject that one of the runs has been trained on.
    """
    found, trained = list[dict[str, Case]](), set[str]()
    for run in models.runs:
        held_out, subjects = _divided(run if (run / RUN).is_file() else run.parent)
        found.append(held_out)
        trained |= subjects
    ids = set.intersection(*({*each} for each in found))
    ids = {id for id in ids if found[0][id].masks and trained.isdisjoint(each[id].subject for each in found)}
    ids = {id for id in ids if len({_truth_of(each[id]) for each in found}) == 1}
    if not ids:
        raise RunError(
            "--options.reliabilities learn: the runs hold out no validation case in common that has a mask; train "
            "them on the same data with --validation, or give a number for each run"
        )
    return [{id: each[id] for id in sorted(ids)} for each in found]


def _truth_of(case: Case) -> tuple[str, str]:
    """Whom a case shows and what its mask holds, so that cases of one id but of other data are told apart."""
    try:
        return case.subject, content_of(case, reads=("mask",))
    except ScantlingError:
        return case.subject, ""


def _divided(run: Path) -> tuple[dict[str, Case], set[str]]:
    """The validation cases of a run by their id, with the labels that it has of them, and the subjects that it learned
    from."""
    cases = dataset_of(run).cases
    held_out = {c.id: c for c in cases if c.split == "validation" and c.images and c.drawn_classes is None}
    return held_out, {case.subject for case in cases if case.split == "train"}


def _spread(cases: Mapping[str, Case], most: int) -> list[str]:
    """At most so many ids, evenly spread over the subjects."""
    ids = sorted(cases, key=lambda id: (cases[id].subject, id))
    return ids if len(ids) <= most else [ids[place] for place in np.linspace(0, len(ids) - 1, most).round().astype(int)]


def _places(mask: np.ndarray, id: str, most: int) -> np.ndarray:
    """At most so many of the known pixels of a mask (1 or K, *S), drawn by the id."""
    known = np.flatnonzero((mask != IGNORE).all(0))
    if len(known) <= most:
        return known
    return np.sort(numpy_generator("reliabilities", id).choice(known, most, replace=False))
