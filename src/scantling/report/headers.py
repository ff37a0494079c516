"""What was run, as a reader would want it told: a title, the few numbers that matter, and the circumstances."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scantling.records.run import RunRecord
from scantling.report.blocks import Figure, Header
from scantling.report.commands import shell
from scantling.report.image_classes import ClassBlock
from scantling.report.tables import ScoreBlock
from scantling.report.targets import EvaluationFile, RegistrationFile, Run
from scantling.report.titles import title_of
from scantling.report.words import NONE, duration, listing, metric, moment, plural


def header_of(
    run: Run | None,
    evaluations: tuple[EvaluationFile, ...],
    registrations: tuple[RegistrationFile, ...],
    *,
    block: ScoreBlock | None,
    classes: ClassBlock | None,
) -> Header:
    """The head of a run with its evaluations, or of one evaluation without a run.

    Args:
        block, classes: the scores of masks and of image classes that stand first.
    """
    figures = _score_figures(block) or _class_figures(classes)
    figures += [
        Figure(f"{len(one.record.pairs):,}", "Pairs scored", one.name) for one in registrations[:1] if not figures
    ]
    facts = (*_scored_facts(evaluations), *_registered_facts(registrations))
    if run is None:
        of = title_of(evaluations[0]) if evaluations else f"registrations {registrations[0].name}"
        truth = evaluations[0].record.truth if evaluations else registrations[0].record.truth
        compared = f"Compared with {truth}" if truth else ""
        return Header(f"Scores of {of}", "", compared, tuple(figures), facts, "", (), ())
    record = run.record
    if not figures and record.seconds is not None:
        per = f"{plural(record.steps, 'step')}" if record.steps else ""
        figures.append(Figure(duration(record.seconds), "Training time", per))
    settings = tuple((key, _written(value)) for key, value in _flat({**record.settings, **record.options}))
    versions = tuple((name, version) for name, version in record.versions.items() if version)
    data = listing([one.name or Path(one.path).name for one in record.data], most=3)
    return Header(
        f"{record.method} on {data}" if data else record.method,
        run.folder.resolve().name,
        f"{run.title}. {_trained(run)}" if run.title != record.method else _trained(run),
        tuple(figures),
        (*_run_facts(run), *facts),
        shell(*run.command),
        settings,
        versions,
    )


def _score_figures(block: ScoreBlock | None) -> list[Figure]:
    if block is None:
        return []
    means = {row.metric.key: row for group in block.groups for row in group.rows}
    wanted = [key for key in ("dice", "cldice", "hd95", "iou") if key in means and means[key].mean is not None][:2]
    kind = "Validation" if block.validation else "Mean"
    figures = [
        Figure(means[key].written_mean, f"{kind} {means[key].metric.short}", means[key].written_interval)
        for key in wanted
    ]
    return [*figures, Figure(f"{len(block.cases):,}", "Cases scored", block.where)]


def _class_figures(block: ClassBlock | None) -> list[Figure]:
    if block is None:
        return []
    rows = [row for row in block.rows if row[0].key in ("accuracy", "balanced_accuracy", "auc")]
    figures = [Figure(value, one.short, "" if limits == NONE else limits) for one, value, limits, _, _ in rows]
    return [*figures, Figure(f"{len(block.record.cases):,}", "Cases scored", block.where)]


def _trained(run: Run) -> str:
    record = run.record
    data = listing([one.name or one.path for one in record.data])
    parts = [
        f"trained on {data}" if data else "",
        f"preset {record.preset}" if record.preset else "",
        f"seed {record.seed}" if record.seed is not None else "",
        f"finished {moment(record.finished)}" if record.finished else "not finished",
    ]
    text = ", ".join(part for part in parts if part)
    return text[0].upper() + text[1:]


def _run_facts(run: Run) -> list[tuple[str, str]]:
    record, card = run.record, run.card
    facts: list[tuple[str, str | None]] = [("Method", record.method)]
    authors = card.get("authors")
    text = listing([str(one) for one in authors], most=3) if isinstance(authors, list | tuple) else str(authors or "")
    facts.append(("Published", ", ".join(str(part) for part in (text, card.get("year")) if part)))
    facts.append(("Preset", record.preset))
    for data in record.data:
        facts.append(("Data", f"{data.path or data.name}{f' (SHA-256 {data.sha256[:12]}…)' if data.sha256 else ''}"))
    counts = {split: len(ids) for split, ids in record.split.items()} or (record.data[0].cases if record.data else {})
    facts.append(("Cases", ", ".join(f"{count:,} {split}" for split, count in counts.items())))
    labelled, unlabelled = ((record.traits or {}).get(key) for key in ("labelled", "unlabelled"))
    if labelled is not None and run.blind:
        facts.append(
            ("Labels", f"no mask of an image is read; {plural(labelled + (unlabelled or 0), 'training image')}")
        )
    elif labelled is not None:
        facts.append(("Labels", f"{labelled} labelled, {unlabelled or 0} unlabelled training cases"))
    if record.labels_read is not None:
        facts.append(("Labels read", str(record.labels_read)))
    if record.corrections is not None:
        facts.append(("Corrected by hand", str(record.corrections)))
    if record.selected is not None:
        step = f", step {record.selected.step:,}" if record.selected.step is not None else ""
        value = f", validation {record.selected.value:.3f}" if record.selected.value is not None else ""
        facts.append(("Weights kept", f"{record.selected.rule}{step}{value}"))
    facts.append(("Seed", None if record.seed is None else str(record.seed)))
    facts.append(("Device", " – ".join(part for part in (record.device, record.device_name) if part)))
    facts.append(("Threads", None if record.threads is None else str(record.threads)))
    facts.append(("First weights from", _first_weights(record)))
    facts.append(("Built on", ", ".join(f"{path} ({role})" for role, path in record.uses.items()) or None))
    if isinstance(record.parameters, dict):
        facts.append(("Parameters", ", ".join(f"{name} {count:,}" for name, count in record.parameters.items())))
    elif record.parameters is not None:
        facts.append(("Parameters", f"{record.parameters:,}"))
    if record.seconds is not None:
        steps = f" ({plural(record.steps, 'step')})" if record.steps else ""
        facts.append(("Training time", duration(record.seconds) + steps))
    facts.append(("Started", moment(record.started) if record.started else None))
    facts.append(("Finished", moment(record.finished) if record.finished else "not yet"))
    return [(name, value) for name, value in facts if value]


def _first_weights(record: RunRecord) -> str | None:
    """The run that gave them, and its score beside that of the trained model."""
    starting = record.starting_model
    if starting is None or starting.before is None or starting.after is None or starting.metric is None:
        return record.base
    scores = f"{metric(starting.metric).title} {starting.before:.3f}, after the training {starting.after:.3f}"
    return f"{record.base} ({scores}, on {plural(starting.cases or 0, 'validation case')})"


def _scored_facts(evaluations: tuple[EvaluationFile, ...]) -> list[tuple[str, str]]:
    several = len(evaluations) > 1
    facts = []
    for evaluation in evaluations:
        record, of = evaluation.record, f" ({title_of(evaluation)})" if several else ""
        facts.append((f"{'Masks' if record.cases else 'Predictions'}{of}", record.prediction))
        facts.append((f"Truth{of}", record.truth + (f", split {record.split}" if record.split else "")))
        if len(record.classes) > 1:
            facts.append((f"Classes{of}", ", ".join(record.classes)))
    return [(name, value) for name, value in facts if value]


def _registered_facts(registrations: tuple[RegistrationFile, ...]) -> list[tuple[str, str]]:
    sides = [(("Registrations", one.record.prediction), ("Fixed images", one.record.truth)) for one in registrations]
    return [(name, value) for pair in sides for name, value in pair if value]


def _flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Settings in settings by dotted names."""
    flat: list[tuple[str, Any]] = []
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            flat += _flat(value, f"{prefix}{key}.")
        else:
            flat.append((f"{prefix}{key}", value))
    return flat


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
