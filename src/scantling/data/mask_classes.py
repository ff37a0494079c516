"""Classes of images from their masks: a picture with an empty mask is of the class without the object."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from scantling.core.case import IGNORE, Case, Labels
from scantling.core.errors import DataError
from scantling.data.dataset import Dataset
from scantling.data.loading import load


def classes_of_masks(dataset: Dataset, labels: Labels | None) -> Dataset:
    """The data set with a class for each picture that is not for testing, as far as its mask tells.

    The classes are called after the class of the masks ("tumour", "no tumour"), or "object" where there are several. A
    mask that marks nothing and does not know every pixel tells none.

    Raises:
        DataError: there are no masks, an image has a class already, there is a volume, or all are of one class.
    """
    if labels is None:
        raise DataError(f"--classes-of-masks: {dataset.root} has no masks; expected some; leave it out")
    named = labels.names[0] if len(labels.names) == 1 else "object"
    if classed := next((case.id for case in dataset.cases if case.image_class), None):
        raise DataError(f"--classes-of-masks: {classed} has an image class already; leave it out, or take that away")
    masked = [case for case in dataset.cases if case.masks and case.images and case.split != "test"]
    told = {case.id: marked for case in masked if (marked := _marked(case, labels)) is not None}
    found = {id: named if marked else f"no {named}" for id, marked in told.items()}
    if len(number_of := Counter(found.values())) < 2:
        one = f"all {len(found)} are of the class {next(iter(number_of))!r}" if found else "none has a mask"
        raise DataError(
            f"--classes-of-masks: of the images of {dataset.root} that are not for testing {one}; expected images with "
            "the object and without"
        )
    return replace(dataset, cases=tuple(replace(case, image_class=found.get(case.id)) for case in dataset.cases))


def _marked(case: Case, labels: Labels) -> bool | None:
    """Whether any pixel is marked; None where the mask does not tell."""
    sample = load(case, labels=labels, reads=("mask",))
    if sample.mask is None:
        return None
    if sample.mask.ndim > 3:
        raise DataError(
            f"--classes-of-masks: {case.id} is a volume, and its class would be that of all its slices; expected "
            "pictures; write its slices as pictures first"
        )
    unknown = sample.mask == IGNORE
    if bool(((sample.mask > 0) & ~unknown).any()):
        return True
    return None if unknown.any() else False
