"""How many labels of people a training has looked at: to learn from, to choose weights by, to learn thresholds from."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from scantling.contract.capabilities import Segmenter
from scantling.contract.method import Method
from scantling.core.case import Case
from scantling.core.errors import FileError
from scantling.core.fields import gives_truth, reads_labels, reads_masks
from scantling.data.dataset import Dataset
from scantling.data.files import probe
from scantling.data.splits import is_labelled
from scantling.records.run import Drawn, LabelsRead

DRAWN = ("mask", "masks", "scribbles", "instances")
"""The labels that are drawn slice by slice in a volume."""


def labels_read(
    model: Method, dataset: Dataset, held_out: Sequence[Case], *, reads: frozenset[str], chosen: bool
) -> LabelsRead:
    """The labels of real cases that a training of `model` looks at.

    Args:
        held_out: the validation cases with a truth for what the method answers.
        reads: the fields that the training reads of images.
        chosen: whether the weights were chosen by the truth of `held_out`.
    """
    words = {word for word in reads if reads_labels([word])}
    streams = [stream for stage in model.stages() for stream in stage.streams]
    alone = any(reads_masks(stream.fields) and "image" not in stream.reads for stream in streams)
    training = [
        case
        for case in dataset.split("train")
        if is_labelled(case, words) or (alone and case.has("mask") and not case.images)
    ]
    needed = {word for words in model.card.needs for word in words}
    judged = reads_masks(needed) or not isinstance(model, Segmenter)  # masks are closed to one that learns from classes
    validation = [*held_out] if judged and gives_truth(needed) else []
    thresholds = isinstance(model, Segmenter) and "segment" in model.gives
    calibration = model.calibration()
    thresholds |= (
        calibration is not None and calibration.split == "validation" and reads_labels(calibration.stream.fields)
    )
    drawn = partial(_drawn, slices=not words.isdisjoint(DRAWN))
    return LabelsRead(
        training=drawn(training),
        selection=drawn(validation if chosen else ()),
        thresholds=drawn(validation if thresholds else ()),
        all=drawn([*training, *validation]),
        behind=model.hand_drawn,
    )


def _drawn(cases: Sequence[Case], *, slices: bool) -> Drawn:
    """What people drew of these cases, and whether in slices; of made ones nothing."""
    real = [case for case in cases if case.origin.kind != "synthetic"]
    number = 0
    for case in real if slices else ():
        with suppress(FileError):
            geometry = probe(next(address for _, address in case.addresses())).geometry
            if len(geometry.shape) == 3:
                named, whole = case.drawn_slices, geometry.shape[geometry.slice_axis]
                number += len(named) if isinstance(named, tuple) else case.origin.effort.get("slices", whole)
    return Drawn(subjects=len({case.subject for case in real}), cases=len(real), slices=number)
