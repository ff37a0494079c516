"""How far the scores of a trained model lie from what it expects of them, from its answers to the validation cases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scantling.contract.capabilities import Segmenter
from scantling.contract.method import Method
from scantling.core.case import Case, Labels
from scantling.core.errors import ScantlingError
from scantling.core.fields import reads_masks
from scantling.data.files import read_labels
from scantling.data.loading import load
from scantling.inference.expected import calibrated
from scantling.inference.listing import Listing, strings_in
from scantling.inference.writing import written_values
from scantling.records.expectations import ExpectedRecord
from scantling.training.validation import dice_of, marked_in


def calibrate_expected(
    model: Method,
    folder: Path,
    cases: Sequence[Case],
    done: Listing | None,
    *,
    options: Mapping[str, Any],
    fitted: Sequence[str] = (),
) -> dict[str, tuple[int, int]]:
    """Write `expected.json` into the folder of a model that segments and learns from masks; others have none.

    Args:
        folder: of the model.
        cases: of validation, with a mask.
        done: the answers to them; None where there are none.
        options: how they were answered (`inference.prediction.kind_of_answer`).
        fitted: what was chosen or trained on the same cases, in words.

    Returns:
        By class in how many of the cases whose truth has it the answer marks it, and of how many.
    """
    reads = reads_masks({word for words in model.card.needs for word in words})
    labels = model.traits.labels
    if not isinstance(model, Segmenter) or "segment" not in model.gives or not reads or labels is None:
        return {}
    calibration, fitted = model.calibration(), [*fitted]
    if calibration is not None and calibration.split == "validation" and reads_masks(calibration.stream.fields):
        fitted.append("the model was calibrated")
    if model.postprocessing.trials:
        fitted.append("its postprocessing was learnt")
    scores, known = [], {case.id: case for case in cases if case.masks}
    marked = dict[str, tuple[int, int]]()
    for entry in done.cases if done is not None else ():
        case, estimate = known.get(entry["id"]), entry.get("expected", {}).get("estimate")
        if case is None or done is None:
            continue
        try:
            decided, truth = _answer(model, case, labels, [done.out / path for path in strings_in(entry["mask"])])
        except ScantlingError:  # of the mask: there is no score
            continue
        for name, found in marked_in(decided, truth, labels).items():
            some, all_ = marked.get(name, (0, 0))
            marked[name] = (some + found, all_ + 1)
        if estimate is not None and not math.isnan(dice := dice_of(decided, truth, labels)):
            scores.append((case.subject, float(estimate), dice))
    calibrated(scores, options=options, fitted=fitted).write(folder / ExpectedRecord.name)
    return marked


def _answer(model: Segmenter, case: Case, labels: Labels, paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """A written mask over the whole image and the truth, as `dice_of` takes them.

    Args:
        paths: its file; where classes overlap one for each class.

    Raises:
        ScantlingError: a file cannot be read.
    """
    sample = load(
        case, labels=labels, channels=model.channels, reads=("image", "mask"), partial=model.partial,
        layered=case.drawn_classes is not None,
    )  # fmt: skip
    layers = [read_labels(path)[0] for path in paths]
    decided = np.stack([layer != 0 for layer in layers]).astype(np.uint8)
    if labels.exclusive:
        decided = np.zeros_like(decided[0])
        for number, values in enumerate(written_values(labels), start=1):
            decided[layers[0] == values[0]] = number
    return decided, sample.masks[0]
