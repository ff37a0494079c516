"""Whether the mean over views is worth its time: both are scored on validation cases when a training has ended."""

from __future__ import annotations

import math

import torch

from scantling.contract.capabilities import Segmenter
from scantling.contract.views import Views
from scantling.core.errors import ScantlingError
from scantling.core.machine import autocast_type
from scantling.data.dataset import Dataset
from scantling.data.preprocessing import grid_of
from scantling.training.options import Options
from scantling.training.processes import Processes
from scantling.training.validation import DiceValidation, validation_of

MOST = 20
"""Validation cases, spread evenly, of which the mean is taken."""
SHARE = 0.1
"""Of the work of the training that the comparison may take, in pixels; one that is trained on counts three times."""


def compared_views(model: Segmenter, dataset: Dataset, options: Options, device: torch.device) -> Views:
    """The views of a training, with the Dice of the last weights on validation cases with and without them.

    Both are left out where there is no labelled validation case, no view but the image as it is, or a method that draws
    samples, which `--views` does not go with, or finds objects, of which the Dice of a mask says little; and where the
    training was too short for a comparison (`SHARE`).
    """
    views = model.resolved_views()
    if model.finds_objects:
        return views
    validation = validation_of(
        model, dataset.split("validation"), device=device, seed=options.seed, group=Processes(),
        autocast=autocast_type(options.precision, device, training=False),
    )  # fmt: skip
    if not isinstance(validation, DiceValidation) or model.draws or len(views.each) == 1:
        return views
    cases, left, chosen = validation.cases, SHARE * _work(model), []
    for number in range(min(MOST, len(cases))):
        case = cases[number * len(cases) // min(MOST, len(cases))]
        try:
            grid = grid_of(validation.sample(case), model.preprocessing, model.traits)
        except ScantlingError:  # its answer says why
            continue
        left -= (1 + len(views.each)) * math.prod(grid)
        if left < 0:
            break
        chosen.append(case)
    validation.cases = chosen
    scores = []
    for validation.views in (False, True):
        scores.append(validation.value())
    if not all(map(math.isfinite, scores)):
        return views
    return views.model_copy(update={"cases": len(chosen), "dice": scores[0], "dice_of_views": scores[1]})


def _work(model: Segmenter) -> float:
    """The pixels that a training goes through, those of the way back included."""
    streams = [(stage.steps, stream) for stage in model.stages() for stream in stage.streams]
    return 3.0 * sum(steps * stream.batch * math.prod(stream.patch or model.median_shape) for steps, stream in streams)
