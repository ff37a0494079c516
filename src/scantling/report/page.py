"""One page from runs and evaluations, whole in itself: what was run, how good it is, and what to doubt."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from scantling.core import atomic
from scantling.core.errors import RunError, ScantlingError, SettingsError
from scantling.core.outputs import PREDICTIONS, RUN, check_file
from scantling.data.dataset import join
from scantling.data.opening import Opening
from scantling.evaluation import evaluate_everything
from scantling.records.evaluation import EvaluationRecord
from scantling.records.predictions import PredictionsRecord
from scantling.records.record import read_json, read_record
from scantling.records.run import RunRecord
from scantling.report.blocks import Header, NumbersBlock
from scantling.report.boxes import BoxBlock, box_block_of
from scantling.report.commands import data_flags, repeating, shell
from scantling.report.curves import StageCurves, curves_of
from scantling.report.figures import check_figures
from scantling.report.headers import header_of
from scantling.report.image_classes import CLASS_CHECKS, ClassBlock, class_block_of, compare_classes
from scantling.report.learned import believed_block, learned_block
from scantling.report.mended import mended_block
from scantling.report.postprocessing import PostprocessingBlock, postprocessing_block
from scantling.report.registrations import REGISTRATION_CHECKS, RegistrationBlock, registration_block_of
from scantling.report.rendering import VIEWER, rendered
from scantling.report.samples import samples_of
from scantling.report.tables import Comparison, ScoreBlock, block_of, compare
from scantling.report.targets import EvaluationFile, RegistrationFile, Run, holds_scores, open_run, open_scores
from scantling.report.titles import title_of, told_apart
from scantling.report.viewer_block import Viewer
from scantling.report.viewer_cases import MOST as MOST_IN_VIEWER
from scantling.report.warnings import Findings, look
from scantling.report.warnings_on_scores import SCORE_CHECKS, Scores
from scantling.report.warnings_on_training import ABOUT_TRAINING
from scantling.report.words import plural

MOST_DRAWN = 8
"""Above this many evaluations on a page no more cases are drawn, so that it stays a few megabytes."""


@dataclass(frozen=True)
class Missing:
    """A part that is not there yet, and the command that makes it."""

    sentence: str
    command: str = ""


@dataclass(frozen=True)
class Section:
    """All that the page says of one target."""

    header: Header
    findings: Findings
    blocks: tuple[ScoreBlock, ...]
    classes: tuple[ClassBlock, ...]
    boxes: tuple[BoxBlock, ...]
    registrations: tuple[RegistrationBlock, ...]
    validation: ScoreBlock | None
    """Scores of the validation cases, where other scores stand above them."""
    postprocessing: PostprocessingBlock | None
    numbers: tuple[NumbersBlock, ...]
    curves: tuple[StageCurves, ...]
    samples: tuple[tuple[str, str], ...]
    """Pictures that the method drew of itself: caption and data URI."""
    missing: tuple[Missing, ...]
    conventions: tuple[str, ...]
    commands: tuple[str, ...]


@dataclass(frozen=True)
class _Target:
    run: Run | None
    evaluations: tuple[EvaluationFile, ...]
    registrations: tuple[RegistrationFile, ...]
    page: Path
    """Where its page goes unless told."""
    home: Path
    """Where a page on several goes."""


def report(
    targets: Sequence[Path], *, out: Path | None = None, figures: Path | None = None, command: Sequence[str] = ()
) -> Path:
    """Write one self-contained HTML page on runs and evaluations.

    Args:
        targets: run folders (they hold run.json), evaluations (JSON), or folders that hold scores.json.
        out: the page; unless said report.html in the run folder, NAME.html beside the evaluation, or
            comparison.html in the folder that holds all of several targets.
        figures: a folder for charts, panels and tables for a paper (`report_figures`); it is new, empty or holds those
            of an earlier command.
        command: what makes them again.

    Returns:
        The page.

    Raises:
        RunError: a target is neither; SettingsError: no target, or `out` is no HTML file; FileError: a file of
            a target is broken.
    """
    if not targets:
        raise SettingsError("report: no run or evaluation was named; name a run folder or an evaluation's JSON file")
    found = [_open(Path(target)) for target in targets]
    page = _destination(found, out)
    check_file(page, suffix=".html")
    check_figures(figures)
    drawn = sum(max(1, len(target.evaluations)) for target in found)
    most = max(3, MOST_IN_VIEWER // drawn)
    longest = 512 if drawn == 1 else 384 if drawn <= 3 else 256
    named = iter(told_apart([one for target in found for one in target.evaluations]))
    found = [replace(target, evaluations=tuple(islice(named, len(target.evaluations)))) for target in found]
    sections: list[Section] = []
    room = MOST_DRAWN
    for target in found:
        sections.append(_section(target, longest=longest, room=room, most=most, number=len(sections) + 1))
        room -= len(target.evaluations)
    atomic.write_text(atomic.named(page), _render(sections, _comparisons(sections)))
    if figures is not None:
        from scantling.report.report_figures import write_figures

        write_figures(sections, figures, command=command)
    return page


def _open(target: Path) -> _Target:
    if target.name == RUN:
        target = target.parent
    if (target / RUN).is_file():
        score_validation(target)
        run = open_run(target)
        home = target.resolve().parent
        return _Target(run, run.evaluations, run.registrations, target / "report.html", home)
    path = target / "scores.json" if (target / "scores.json").is_file() else target
    if path.is_file() and path.suffix == ".json" and holds_scores(read_json(path)):
        found, page, home = open_scores(path), path.with_suffix(".html"), path.resolve().parent
        if isinstance(found, RegistrationFile):
            return _Target(_run_of(found), (), (found,), page, home)
        return _Target(_run_of(found), (found,), (), page, home)
    if not target.exists():
        why = "there is no such file or folder"
    elif (target / PREDICTIONS).is_file():
        command = shell("scantling", "evaluate", target, "TRUTH", "--json", target / "scores.json")
        why = f"these predictions have not been scored; do it with {command}"
    else:
        why = "is neither a run nor an evaluation"
    raise RunError(f"{target}: {why}; expected a run folder (with run.json) or an evaluation's JSON file")


def score_validation(run: Path) -> None:
    """Score what training has predicted for its validation cases, once for its weights; without the data it goes on."""
    listing, scores = run / "validation" / PREDICTIONS, run / "validation" / "scores.json"
    if not listing.is_file():
        return
    try:
        masks = read_record(PredictionsRecord, listing)
        if scores.exists():
            before = read_record(EvaluationRecord, scores)
            if (before.labels or before.image_classes or before.boxes) and before.made.get("model") == masks.model:
                return
        manifest, root = (Path(path) if path else None for path in (masks.manifest, masks.root))
        record = read_record(RunRecord, run / RUN)
        places = [Path(part.path) for part in record.data]
        if len(places) == 1:
            found = evaluate_everything(
                listing.parent, places[0], split="validation", manifest=manifest, root=root, subjects=record.subjects
            )
        else:
            opening = Opening(manifest=manifest, root=root, subjects=record.subjects)
            joined = join([opening.open(place) for place in places])
            held = set(record.split.get("validation", ()))
            held_out = tuple(case for case in joined.cases if case.id in held)
            found = evaluate_everything(listing.parent, replace(joined, cases=held_out), split="all")
        found.record().write(scores)
    except (ScantlingError, OSError):
        return


def _run_of(evaluation: EvaluationFile | RegistrationFile) -> Run | None:
    """The run that an evaluation names, if it can be read from here."""
    named, home = evaluation.record.run, evaluation.path.resolve().parent
    folders = [Path(named), home / named] if named else []
    if home.name in ("evaluations", "validation"):
        folders.append(home.parent)
    return next((open_run(folder) for folder in folders if (folder / RUN).is_file()), None)


def _destination(targets: list[_Target], out: Path | None) -> Path:
    if out is None:
        if len(targets) == 1:
            return targets[0].page
        return Path(os.path.commonpath([target.home for target in targets])) / "comparison.html"
    if out.is_dir():
        return out / ("report.html" if len(targets) == 1 else "comparison.html")
    if out.suffix.lower() not in (".html", ".htm"):
        raise SettingsError(f"{out}: the page would end in {out.suffix or 'nothing'!r}; name a file that ends in .html")
    return out


def _section(target: _Target, *, longest: int, room: int, most: int, number: int) -> Section:
    """What the page says of its `number`-th target, with pictures of `room` evaluations and `most` cases of each."""
    run, evaluations = target.run, target.evaluations
    findings = look(ABOUT_TRAINING, run) if run is not None else Findings()
    blocks, classes, boxes = [], [], []
    several = len(evaluations) + len(target.registrations) > 1
    for place, evaluation in enumerate(evaluations):
        found = _doubts(evaluation, run)
        findings += found.said_of(title_of(evaluation)) if several else found
        if _of_masks(evaluation.record):
            viewer = Viewer(f"t{number}-viewer{place + 1}", most)
            blocks.append(block_of(evaluation, drawn=place < room, longest=longest, viewer=viewer))
        if evaluation.record.image_classes is not None:
            classes.append(class_block_of(evaluation, evaluation.record.image_classes))
        if evaluation.record.boxes is not None:
            boxes.append(box_block_of(evaluation, evaluation.record.boxes))
    for file in target.registrations:
        found = look(REGISTRATION_CHECKS, file.record)
        findings += found.said_of(f"Registrations {file.name}") if several else found
    held, validation = run.validation if run is not None else None, None
    if held is not None and _of_masks(held.record):
        drawn = not evaluations and room > 0
        viewer = Viewer(f"t{number}-viewer0", most)
        validation = block_of(held, drawn=drawn, longest=longest, viewer=viewer, validation=True)
    if held is not None and not evaluations:
        findings += _doubts(held, run).said_of("On the validation cases")
        blocks, validation = [validation] if validation is not None else [], None
    if held is not None and held.record.image_classes is not None and not classes:
        title = "Image classes of the validation cases"
        classes = [class_block_of(held, held.record.image_classes, title=title)]
    if held is not None and held.record.boxes is not None and not boxes:
        boxes = [box_block_of(held, held.record.boxes, title="Boxes of the validation cases")]
    records = [one.record for one in (*evaluations, *([held] if held is not None else []))]
    parts = [part for one in records for part in (one, one.image_classes, one.boxes) if part is not None]
    scored = (*parts, *(file.record for file in target.registrations))
    return Section(
        header_of(
            run, evaluations, target.registrations, block=next(iter(blocks), None), classes=next(iter(classes), None)
        ),
        findings,
        tuple(blocks),
        tuple(classes),
        tuple(boxes),
        tuple(registration_block_of(file) for file in target.registrations),
        validation,
        postprocessing_block(run.postprocessing, run.record.traits) if run is not None else None,
        tuple(_numbers(run, evaluations)),
        curves_of(run) if run is not None else (),
        samples_of(run.folder, longest=longest) if run is not None else (),
        tuple(_missing(run, scored=bool(evaluations or target.registrations))),
        tuple(dict.fromkeys(sentence for one in scored for sentence in one.conventions)),
        tuple(repeating(run, evaluations, target.registrations)),
    )


def _numbers(run: Run | None, evaluations: Sequence[EvaluationFile]) -> Iterator[NumbersBlock]:
    """What the model has learned, how far each run of an ensemble is believed, and what mending has changed."""
    if run is not None and (block := learned_block(run.record.learned)) is not None:
        yield block
    for one in evaluations:
        of = f" ({title_of(one)})" if len(evaluations) > 1 else ""
        if (block := believed_block(one.record.made, of=of)) is not None:
            yield block
        if (block := mended_block(Path(one.record.prediction), one.record.made, of=of)) is not None:
            yield block


def _of_masks(record: EvaluationRecord) -> bool:
    """Whether masks were scored, be it that none could be."""
    return bool(record.cases) or (record.image_classes is None and record.boxes is None)


def _doubts(evaluation: EvaluationFile, run: Run | None) -> Findings:
    """What is to be doubted of the masks and of the image classes of an evaluation."""
    record = evaluation.record
    found = look(SCORE_CHECKS, Scores(evaluation, run)) if _of_masks(record) else Findings()
    return found + look(CLASS_CHECKS, record.image_classes) if record.image_classes is not None else found


def _comparisons(sections: Sequence[Section]) -> list[Comparison]:
    """The targets side by side, by their masks and by their image classes; none of one target alone."""
    if len(sections) < 2:
        return []
    numbered = list(enumerate(sections, start=1))
    classes = [(number, one.header, one.classes[0]) for number, one in numbered if one.classes]
    masks = [
        (number, one.header, next(iter(one.blocks), None))
        for number, one in numbered
        if one.blocks or not (one.classes or one.registrations)
    ]
    return [*([compare(masks)] if masks else []), *([compare_classes(classes)] if classes else [])]


def _missing(run: Run | None, *, scored: bool) -> list[Missing]:
    if run is None:
        return [
            Missing("The run that made what was scored is not known or not here, so nothing is said of its training.")
        ]
    parts = []
    record = run.record
    if record.finished is None:
        sentence = "The training has not finished. This takes it up where it stopped:"
        parts.append(Missing(sentence, shell(*run.command)))
    if not scored:
        data = record.data[0].path if record.data else "DATA"
        tested = bool(record.split.get("test"))
        split: list[str] = [*(["--split", "test"] if tested else []), *data_flags(run)]
        where = f"the {plural(len(record.split['test']), 'test case')}" if tested else "cases that it has not seen"
        out = run.folder / "predictions"
        make = shell("scantling", "predict", run.folder, data, "--out", out, *split)
        score = shell("scantling", "evaluate", out, data, *split)
        if run.gives("segment"):
            make = shell("scantling", "predict", run.folder, data, "--out", out, "--probabilities", *split)
            score = shell("scantling", "evaluate", out, data, "--probabilities", out / "probabilities", *split)
        elif run.gives("register"):
            out = run.folder / "registrations"
            make = shell("scantling", "register", run.folder, data, "--out", out, *split)
            score = shell("scantling", "evaluate", out, data, *data_flags(run))
        sentence = f"Nothing has been scored on {where}. These commands predict and score:"
        parts.append(Missing(sentence, "\n".join((make, score, shell("scantling", "report", run.folder)))))
    if run.validation is None and (run.folder / "validation" / PREDICTIONS).is_file() and record.data:
        masks = run.folder / "validation"
        maps: list[str | Path] = ["--probabilities", masks / "probabilities"] if run.gives("segment") else []
        flags = ["--split", "validation", *data_flags(run)]
        sentence = "The validation cases were predicted but not scored. This scores them:"
        parts.append(Missing(sentence, shell("scantling", "evaluate", masks, record.data[0].path, *maps, *flags)))
    if run.validation is None and record.split and not record.split.get("validation"):
        parts.append(
            Missing(
                "No validation cases were held out, so there is no validation curve; "
                "--validation 0.2 would hold out a fifth of the subjects."
            )
        )
    return parts


def _render(sections: list[Section], comparisons: list[Comparison]) -> str:
    script: tuple[str, ...] = ("page.js",)
    style: tuple[str, ...] = ("page.css",)
    if any(block.viewer is not None for section in sections for block in section.blocks):
        script, style = ("page.js", *VIEWER, "viewer_page.js"), ("page.css", "viewer.css")
    return rendered("page.html.j2", script=script, style=style, sections=sections, comparisons=comparisons)
