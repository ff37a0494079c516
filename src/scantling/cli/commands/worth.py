"""The command `worth`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import tyro

from scantling.cli.command import Outcome, counting, talk, tell, width
from scantling.cli.commands.common import Trainings, array_job, shard_of
from scantling.core.errors import SettingsError

if TYPE_CHECKING:
    from scantling.core.engines import Share
    from scantling.training.options import Options

ARMS = ("real", "real+50%", "real+100%", "synthetic x1", "synthetic-first x1")


@dataclass(kw_only=True)
class Worth(Trainings):
    """What made data are worth: train on real, made and mixed data at budgets of real subjects; one verdict."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling worth --data scans --made painted --out worth",
        "scantling worth unet --data scans --made painted phantoms --labels 5 10 all --seeds 3 --out worth",
        "scantling worth --data scans --made gan@5=runs/gan-5 gan@all=runs/gan --labels 5 all --out worth",
        'scantling worth --data scans --made painted --arms real+2000 "synthetic x3 then 10%" mix-80/20 --out worth',
        "scantling worth --data scans --made painted --generator runs/painter --validity --out worth",
    )

    method: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SEGMENTER")] = "unet"
    """A segmenter of `scantling methods`, a classifier, or a detector, which every arm trains."""
    data: Path
    """Real cases with true masks, or image classes. The test cases are looked at when a training has ended, and choose
    nothing."""
    made: Annotated[list[str], tyro.conf.arg(metavar="MADE|RUN")]
    """Folders of made cases with masks or classes, as `synthesize` writes them, or runs that make them; each is
    measured by itself. NAME@BUDGET=MADE is for one budget alone, whose generator has seen no other subjects."""
    out: Path
    """A run folder for each training, worth.html and worth.json go here; later commands may add arms, made data,
    budgets and seeds to it."""
    arms: Annotated[list[str], tyro.conf.arg(metavar="ARM")] = field(default_factory=lambda: list(ARMS))
    """What trainings get: real (always), half, real+50%, real+x2, real+2000, real+all, "synthetic x1", "synthetic x1
    then 10%", "synthetic-first x1", "real-first x1", mix-80/20, and with --augment none augmented+100%. x1 is as many
    as there are real training cases in the budget. ARM@NAME takes the made data of that name alone."""
    labels: Annotated[list[str], tyro.conf.arg(metavar="N|N%|all")] = field(default_factory=lambda: ["5", "all"])
    """Budgets: numbers of real subjects, percentages of them, all; other labelled cases are as if they were not
    there."""
    seeds: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """How many training seeds each arm is trained with."""
    label_seeds: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """How many times the subjects of a budget, and the made cases, are drawn; the same for all arms."""
    generator: Annotated[list[Path], tyro.conf.arg(metavar="RUN")] = field(default_factory=list)
    """Runs that made the folders of --made: their records say whose images they have learned from."""
    validity: bool = False
    """Also score trainings on real cases on made ones, beside real test cases (where cases have several images also
    with one of them at a time, which is trained for it), and hold made images against real ones, as `assess` does."""
    preset: Literal["paper", "quick", "tiny"] = "quick"
    """quick takes minutes on a laptop's processor."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Optimiser steps of every training."""
    minutes: Annotated[float | None, tyro.conf.arg(metavar="N")] = None
    """Minutes that a training on real cases may take, instead of --steps, 3 unless said: its steps are timed once, and
    every training takes as many as fit."""
    augment: Literal["own", "none", "strong"] = "strong"
    """Ordinary augmentation of all arms, so that no gain is one of more augmentation."""
    metric: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """What the test answers are scored by; unless said dice of a segmenter, aji of one that learns from instance maps,
    accuracy of a classifier, ap50 of a detector."""
    modality: Annotated[str, tyro.conf.arg(metavar="NAME")] = ""
    """The one image of each case that every training sees, where cases have several; else all together. Each has an
    OUT of its own."""

    def run(self) -> Outcome:
        """Do what is not yet done, and say what it is worth."""
        from scantling.experiments.worth import worth
        from scantling.report.worth import PAGE_NAME, write_worth

        shard, page = shard_of(self.shard), self.out / PAGE_NAME
        options, share = self.checked(page, preset=self.preset, steps=self.steps, minutes=self.minutes)
        if self.engine == "slurm":
            return self._slurm(options, share)
        with counting("trainings") as progress:
            found = worth(
                self.method, self.data, self.made, self.out, **self._how(options), validity=self.validity,
                shard=shard, engine=self.engine, share=share, progress=progress,
            )  # fmt: skip
        facts = found.facts()
        if shard[1] == 1:
            tell(found.table(width=width()))
            tell(str(write_worth(found, page, command=("scantling", *sys.argv[1:]))))
            facts["page"] = str(page)
        if self.csv is not None:
            found.write_csv(self.csv)
        return Outcome(facts, list(found.failed))

    def _how(self, options: Options) -> dict[str, Any]:
        names = ("arms", "labels", "seeds", "label_seeds", "augment", "metric", "modality")
        return {name: getattr(self, name) for name in names} | {
            "generators": self.generator, "options": options, "console": talk()
        }  # fmt: skip

    def _slurm(self, options: Options, share: Share) -> Outcome:
        """Write, and submit if asked, an array job that does what is not yet done."""
        from scantling.experiments.worth import prepare

        if self.minutes is not None or self.shard != "1/1" or self.steps is None:
            raise SettingsError("--engine slurm: every job does one training of fixed steps; pass --steps, no --shard")
        if self.csv is not None or self.validity:
            raise SettingsError("--csv and --validity: go with the command that makes the table, without slurm")
        ready = prepare(self.method, self.data, self.made, self.out, **self._how(options))
        return array_job(ready, self._words(), share, submit=self.submit)

    def _words(self) -> list[str]:
        """The command of a job, but for its shard."""
        values = {
            "--data": self.data.absolute(), "--out": self.out.absolute(), "--seeds": self.seeds,
            "--label-seeds": self.label_seeds, "--preset": self.preset, "--steps": self.steps,
            "--augment": self.augment, "--metric": self.metric, "--modality": self.modality or None,
            "--device": self.device,
            "--precision": self.precision, "--threads": self.threads, "--subjects": self.subjects,
            "--manifest": self.manifest and self.manifest.absolute(), "--root": self.root and self.root.absolute(),
        }  # fmt: skip
        given = [word for name, value in values.items() if value is not None for word in (name, str(value))]
        for name, value in self.settings.items():
            given += [f"--settings.{name}", value if isinstance(value, str) else json.dumps(value)]
        parts = [("", "", word) if Path(word).exists() else word.partition("=") for word in self.made]
        made = [f"{name}{equals}{Path(place).absolute()}" for name, equals, place in parts]
        generators = [str(run.absolute()) for run in self.generator]
        given += ["--labels", *self.labels, "--arms", *self.arms, "--made", *made]
        return ["worth", self.method, *given, *(["--generator", *generators] if generators else [])]
