"""`--minutes`: as many steps as fit into a time on this machine, found by taking real steps and timing them (ours).

No clock ever ends a training. What is found is a number of steps, from which schedules and weights follow just as they
do from `--steps`; the models that are timed are thrown away.
"""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from rich.console import Console

from scantling.contract.method import Method
from scantling.core.case import Case
from scantling.core.errors import RunError, SettingsError
from scantling.core.outputs import RUN
from scantling.inference import unlike
from scantling.inference.models import models_of
from scantling.inference.prediction import calls
from scantling.records.run import RunRecord, Timed, read_run, typed
from scantling.training import trainer as trainers
from scantling.training.log import spoken
from scantling.training.options import Options
from scantling.training.postprocessing import cases_learnt_from
from scantling.training.processes import Processes
from scantling.training.signals import Stopping
from scantling.training.stage_runner import StageRunner
from scantling.training.trainer import StageTraining, Trainer
from scantling.training.validation import DiceValidation
from scantling.training.views import MOST, SHARE

WARM = 2
"""Steps that are taken first and not counted: memory and kernels are new to them."""
FILLED = 0.93
"""The share of the time left that the steps may fill; the rest is for checkpoints and for what was timed too short."""
LONG = 10_000
"""Steps of a stage at least while its first ones are timed: more of them may be taken than a short one has."""
LOOKS = 0.2
"""The share of the time that looks at the validation cases may take; there are fewer of them where they take more."""
FEW = 0.2
"""Of the preset's steps: below this share a warning says that less is to be expected."""
SCRATCH = ".timing"
"""In a run folder, while steps are timed: what stages prepare."""

Build = Callable[[Options], Method]
Trainers = Callable[[Options, Method, Path], Trainer]


@dataclass(frozen=True)
class Fitted:
    """Options with the steps (and the batch) that fit into their minutes, what was timed to find them, and warnings."""

    options: Options
    timed: Timed
    warnings: tuple[str, ...] = ()

    def facts(self, command: Sequence[str]) -> dict[str, Any]:
        """What `run.json` says of it; `command` is the command line."""
        words = repeated(command, steps=self.options.steps or 1, batch=self.timed.batch)
        return {
            "minutes": self.options.minutes,
            "timed": self.timed.model_dump(),
            "repeats": shlex.join(typed(words)) if words is not None else None,
        }


def fitted(
    out: Path, facts: Mapping[str, Any] | None, options: Options, build: Build, trainer: Trainers, *,
    cases: Sequence[Case], group: Processes, begun: float, console: Console, command: Sequence[str],
) -> Fitted:  # fmt: skip
    """What fits into `options.minutes`; a run that exists keeps what it has chosen.

    Args:
        facts: of a run that goes on; one that has done no step keeps its choice where the command and the settings are
            still these.
        build: makes the untrained method of some options.
        trainer: makes what trains it in a folder.
        cases: of the training.
        begun: when the command began, by `time.monotonic`; what has passed since then counts.
        command: its words.

    Raises:
        RunError: the run was begun with other minutes, or without.
        SettingsError: the method has no stages, or no setting `steps`.
    """
    before = group.agreed(read_run(out).facts() if group.first and (out / RUN).exists() else None)
    record = RunRecord.model_validate(before or {})
    if facts is not None and record.minutes != options.minutes:
        named = f"--minutes {record.minutes:g}" if record.minutes else f"{record.steps} steps"
        raise RunError(
            f"{out}: was begun with {named}, not with --minutes {options.minutes:g}; repeat the first command or "
            "choose another --out"
        )
    if record.timed is not None and record.minutes == options.minutes:
        batch = None if "batch" in options.settings else record.timed.batch
        chosen = _with(options, steps=record.settings.get("steps"), batch=batch)
        typed_again = group.agreed(list(record.command) == list(command))
        if facts is not None or (typed_again and build(chosen).settings.model_dump(mode="json") == record.settings):
            kept = tuple(sentence for sentence in record.warnings if sentence.startswith("--minutes"))
            return Fitted(chosen, record.timed, kept)
    return _fit(out, options, build, trainer, cases=cases, group=group, begun=begun, console=console)


def _fit(
    out: Path, options: Options, build: Build, trainer: Trainers, *,
    cases: Sequence[Case], group: Processes, begun: float, console: Console,
) -> Fitted:  # fmt: skip
    """Time steps, and choose how many of them there will be.

    The batch of a preset that is not the paper's is halved, twice at most, while fewer than half of the preset's steps
    fit, halving lets a quarter more of them fit, and a batch still holds an image with each class on average (ours:
    where steps are few, more of them are worth smaller ones, but steps without a class teach silence alone).
    """
    budget = 60 * float(options.minutes or 0)
    model = build(options)
    usual, minutes = usual_steps(model), f"--minutes {options.minutes:g}"
    console.print(f"{minutes}: timing steps", highlight=False)
    scratch = out / SCRATCH
    if group.first:
        shutil.rmtree(scratch, ignore_errors=True)  # of a timing that was killed: all has to be prepared again
    group.agreed(None)
    try:
        timed = _timed(trainer(options, model, scratch), budget)
        timed = timed.model_copy(update={"appearance": group.agreed(_seconds_of_appearance(model, cases))})
        if options.base is not None:  # that model is scored before the training, and this one after it, by one process
            timed = timed.model_copy(update={"starting_model": (1 + group.count) * timed.look})
        if options.select == "last" and timed.looks * timed.look > LOOKS * budget:  # where they choose no weights
            timed = timed.model_copy(update={"looks": max(1, int(LOOKS * budget / timed.look))})
        for _ in range(0 if "batch" in options.settings else 2):
            smaller = _halved(options, model, slots=group.count * options.accumulation)
            if smaller is None or not 0 < group.agreed(_share(timed, model, budget, begun)) < 0.5:
                break
            other = build(smaller)
            quicker = _timed(trainer(smaller, other, scratch), budget, known=timed)
            if 1.25 * _seconds(quicker, other) > _seconds(timed, model):
                break
            options, model, timed = smaller, other, quicker
        share = group.agreed(_share(timed, model, budget, begun))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    fitting, least = int(usual * share), len(model.stages())
    parts = timed.looks if timed.look and fitting > timed.looks else 1  # after each of which the weights are scored
    steps = max(fitting // parts * parts, least)
    several = len(timed.step) > 1
    pace = ", ".join(f"{seconds:.2g} s a step{f' of {name}' * several}" for name, seconds in timed.step.items())
    batch = f" with a batch of {timed.batch}" if timed.batch else ""
    console.print(
        f"{minutes}: {pace}, {spoken(timed.validation)} for validation; steps that fit{batch}: {steps:,} "
        f"({options.preset} takes {usual:,})",
        highlight=False,
    )
    warnings = []
    if steps < FEW * usual:
        made = options.preset == "paper" and "quick" in model.Settings.presets
        warnings.append(
            f"{minutes} gives {steps:,} of the {usual:,} steps that {options.preset} takes: expect less"
            + "; --preset quick is made for minutes" * made
        )
    if timed.validation > budget / 3:
        warnings.append(
            f"{minutes}: validation takes about {spoken(timed.validation)} of them; --validation 0 gives them to the "
            "training"
        )
    if fitting < least:
        warnings.append(f"{minutes}: not one step fits beside reading the data and validation; it will take longer")
    for sentence in warnings:
        console.print(sentence, highlight=False)
    return Fitted(_with(options, steps=steps, batch=timed.batch), timed, tuple(warnings))


def repeated(command: Sequence[str], *, steps: int, batch: int | None) -> list[str] | None:
    """A command with the steps (and the batch) that were chosen in place of its `--minutes`; None where it has none."""
    words: list[str] = []
    rest = iter(command)
    for word in rest:
        name, equals, _ = word.partition("=")
        if name != "--minutes":
            words.append(word)
            continue
        if not equals:
            next(rest, None)
        words += ["--steps", str(steps), *(["--settings.batch", str(batch)] if batch else [])]
    return words if words != list(command) else None


def usual_steps(model: Method) -> int:
    """The steps of the preset.

    Raises:
        SettingsError: the method has no stages, or no setting `steps`.
    """
    name, fields = model.card.name, type(model.settings).model_fields
    if not model.stages():
        raise SettingsError(f"--minutes: {name} is not trained; leave it out")
    if "steps" not in fields:
        known = ", ".join(f"--settings.{one}" for one in fields if "steps" in one or "epochs" in one)
        raise SettingsError(
            f"--minutes: {name} has no setting `steps` that could be fitted; "
            + (f"its length is decided by {known}" if known else "its length is fixed")
        )
    return int(model.settings.steps)


def _timed(trainer: Trainer, budget: float, *, known: Timed | None = None) -> Timed:
    """What takes how long.

    Args:
        known: what was timed with a larger batch, of which all but the steps is taken over.
    """
    stages = list(trainer.method.stages())
    found = Timed(looks=trainer.validated) if known is None else known
    preparing = look = 0.0
    step: dict[str, float] = {}
    for number, stage in enumerate(stages):
        longer = [*stages[:number], replace(stage, steps=max(stage.steps, LONG)), *stages[number + 1 :]]
        training = StageTraining(trainer, longer, number, None, Stopping())
        begun = time.monotonic()
        runner = training.runner()
        preparing += time.monotonic() - begun
        step[stage.name] = _seconds_a_step(training, runner, budget)
        if known is None and training.validates:
            with runner.averaged(), torch.no_grad():
                seconds = _seconds_of_validation(training, runner, budget)
            look += seconds.pop("look")
            found = found.model_copy(update=seconds)
    if known is None:
        found = found.model_copy(update={"preparing": preparing, "look": look})
    else:
        found = found.model_copy(update={"batch": trainer.method.settings.batch})
    return Timed.model_validate(trainer.group.agreed(found.model_copy(update={"step": step}).model_dump()))


def _seconds_a_step(training: StageTraining, runner: StageRunner, budget: float) -> float:
    """The mean of the later half of steps that take ten seconds together, or about a twentieth of the time.

    The first ones read the data; what others do on the machine is a part of the mean.
    """

    def wanted(times: Sequence[float]) -> bool:
        counted, spent = len(times) - WARM, sum(times)
        enough = counted >= 5 and spent >= min(10.0, 0.04 * budget)
        return not training.trainer.group.agreed(enough or (counted >= 2 and spent >= 0.06 * budget))

    times = training.rehearse(runner, 0, wanted=wanted)
    return mean(times[max(WARM, len(times) // 2) :])


def _seconds_of_validation(training: StageTraining, runner: StageRunner, budget: float) -> dict[str, float]:
    """Of one look at the validation cases, and of what is done with them at the end (`Timed`)."""
    trainer, begun = training.trainer, time.monotonic()
    if training.criterion is not None:
        training.criterion.values(training.visit_held_out, runner.at(0))
        return {"look": time.monotonic() - begun}
    validation, model = trainer.validation, trainer.method
    if validation is None:
        return {"look": 0.0}
    look = validation.seconds(most=0.05 * budget)
    # one process answers at the end, and in float32, which takes about twice as long on a processor that has bf16
    slower = 2 if trainer.autocast is not None and trainer.device.type == "cpu" else 1
    alone = look * trainer.group.count * slower
    passes = [calls(models_of([model], options)) for options in ({}, {"samples": 1, "views": False})]
    views = 0
    if isinstance(validation, DiceValidation) and not validation.method.draws:
        views = len(validation.method.resolved_views().each)
    compared = (1 + views) * min(1.0, MOST / len(validation.cases)) if views > 1 else 0.0
    learnt = len(cases_learnt_from(model, validation.cases)) / len(validation.cases)
    answers = alone * passes[0] / max(passes[1], 1) * (1 + learnt)
    return {"look": look, "answers": answers, "views": alone * compared}


def _seconds_of_appearance(model: Method, cases: Sequence[Case]) -> float:
    """Of telling at the end what the training images look like, from a few of them."""
    chosen = unlike.cases_looked_at(model, cases) if {"segment", "classify"} & {*model.gives} else []
    if not chosen:
        return 0.0
    unlike.appearance_of_cases(model, chosen[:1])
    few, begun = chosen[1:9] or chosen, time.monotonic()
    unlike.appearance_of_cases(model, few)
    return (time.monotonic() - begun) * len(chosen) / len(few)


def _seconds(timed: Timed, model: Method) -> float:
    """Of all steps of a model's settings."""
    return sum(stage.steps * timed.step[stage.name] for stage in model.stages())


def _share(timed: Timed, model: Method, budget: float, begun: float) -> float:
    """The share of the steps of a model's settings that fits into what is left of the time."""
    besides = timed.preparing + timed.validation + timed.appearance + trainers.REHEARSED * sum(timed.step.values())
    left = FILLED * (budget - (time.monotonic() - begun) - besides)
    left -= min(timed.views, left * SHARE / (1 + SHARE))  # no more than that share of the training itself
    return left / _seconds(timed, model)


def _halved(options: Options, model: Method, *, slots: int) -> Options | None:
    """The options with half of the batch; None where it is the paper's or the user's, or cannot be halved.

    Args:
        slots: the parts that a batch is divided into.
    """
    batch = getattr(model.settings, "batch", None)
    fixed = options.preset == "paper" or any(stage.prepares for stage in model.stages())
    if fixed or not isinstance(batch, int) or batch % (2 * slots) or batch < 4:
        return None
    shares = [one.present for one in model.traits.thickness if one is not None and one.present is not None]
    if batch // 2 * min(shares, default=1.0) < 1:
        return None
    return _with(options, steps=None, batch=batch // 2)


def _with(options: Options, *, steps: int | None, batch: int | None) -> Options:
    return replace(options, steps=steps, settings={**options.settings, **({"batch": batch} if batch else {})})
