"""Whether a training beats the model that it starts from: both are scored on the same validation cases."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from scantling.contract.method import Method
from scantling.core.case import Case
from scantling.core.outputs import RUN
from scantling.data.contents import count
from scantling.data.dataset import Dataset
from scantling.records.run import read_run
from scantling.training.pretrained import Pretrained
from scantling.training.processes import Processes
from scantling.training.validation import Validation, validation_of


def score_starting_model(
    pretrained: Pretrained, method: Method, validation: Validation | None, opened: Sequence[Dataset]
) -> dict[str, Any]:
    """The contents of `records.run.StartingModel` before the training; all processes take part.

    It is scored where it knows the channels and the classes of the training, by the metric and on the cases of that.

    Args:
        method: the method that is trained.
        validation: what scores it; None where nothing does.
        opened: the data sets of the training.
    """
    value, reason = math.nan, "no validation case has a truth"
    if validation is not None and not (reason := _unscorable(pretrained.base, method)):
        value, reason = _score(pretrained.base, method, validation), "no answer to a validation case has a score"
    if validation is None or math.isnan(value):
        return {"summary": f"{pretrained.summary}; it is not scored before the training: {reason}", "unscored": reason}
    number, seen = len(validation.cases), _learned_from(pretrained.run, validation.cases, opened)
    scored = f"{validation.metric} {value:.3f} on {count(number, 'validation case')} before the training"
    return {
        "summary": f"{pretrained.summary}; {scored}{_flattered(seen)}",
        "metric": validation.metric, "cases": number, "seen": seen, "before": value,
    }  # fmt: skip


def _score(base: Method, method: Method, validation: Validation) -> float:
    same = type(validation)(
        base.to(validation.device, method.dtype), validation.cases, device=validation.device,
        autocast=validation.autocast, seed=validation.seed, group=validation.group, labels=method.traits.labels,
    )  # fmt: skip
    value = same.value()
    base.cpu()
    return value


def _flattered(seen: int) -> str:
    return f", {seen} of which it has learned from" if seen else ""


def score_against(
    starting: Mapping[str, Any],
    method: Method,
    cases: Sequence[Case],
    *,
    run: str | None,
    device: torch.device,
    autocast: torch.dtype | None,
    seed: int,
) -> tuple[dict[str, Any], list[str]]:
    """The contents of `records.run.StartingModel` after the training, and a sentence where it did not help.

    Args:
        starting: the contents before.
        cases: the validation cases.
        run: of the starting model.
    """
    before = starting.get("before")
    validation = validation_of(method, cases, device=device, autocast=autocast, seed=seed, group=Processes())
    if before is None or validation is None:
        return dict(starting), []
    after = validation.value()
    facts = {**starting, "after": after}
    if after > before:
        return facts, []
    flattered = _flattered(starting.get("seen") or 0)
    return facts, [
        f"the training did not beat the model that it starts from: {starting['metric']} {after:.3f} on "
        f"{count(len(validation.cases), 'validation case')}, {before:.3f} before{flattered}; both are kept, and "
        f"`scantling predict {shlex.quote(str(run))} INPUT --out DIR` answers with that model"
    ]


def _unscorable(base: Method, method: Method) -> str:
    """Why a starting model cannot be scored as the method is; empty where it can."""
    if base.card.name != method.card.name:
        return f"{base.card.name} does not do what {method.card.name} does"
    if base.traits.dimensions != method.traits.dimensions:
        return f"it takes {base.traits.dimensions}-D images"
    if lacking := [name for name in base.channels if name not in method.traits.channels]:
        return f"it needs the {_named('channel', 'channels', lacking)}"
    for one, several, known, wanted in (
        ("class", "classes", base.traits.classes, method.traits.classes),
        ("image class", "image classes", base.traits.image_classes, method.traits.image_classes),
    ):
        if unknown := [name for name in wanted if name not in known]:
            return f"it does not know the {_named(one, several, unknown)}"
    return ""


def _named(one: str, several: str, names: Sequence[str]) -> str:
    return f"{one if len(names) == 1 else several} {', '.join(names)}"


def _learned_from(run: Path, cases: Sequence[Case], opened: Sequence[Dataset]) -> int:
    """How many of the cases the starting model was trained on, by its record, where it was trained on the same data.

    An id that several of the joined data sets use stands behind the name of its own, then and now.
    """
    if not (run / RUN).is_file():
        return 0
    record = read_run(run)
    learned, places = {*record.split.get("train", ())}, {part.path for part in record.data}
    known = {
        id
        for part in opened
        if str(part.root.resolve()) in places
        for case in part.cases
        if not learned.isdisjoint(record.names_of(case.id, part.root, part.name))
        for id in (case.id, f"{part.name}_{case.id}")
    }
    return sum(case.id in known for case in cases)
