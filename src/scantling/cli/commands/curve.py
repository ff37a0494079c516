"""The command `curve`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import tyro

from scantling.cli.command import Outcome, counting, talk, tell, width
from scantling.cli.commands.common import Trainings, array_job, shard_of, tell_figures
from scantling.core.errors import SettingsError

if TYPE_CHECKING:
    from scantling.core.engines import Share
    from scantling.training.options import Options


@dataclass(kw_only=True)
class Curve(Trainings):
    """Train methods at several budgets of labels and say how many labels each is worth; the same command goes on."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling curve unet mean-teacher --data scans --labels 3 7 14 all --seeds 3 --label-seeds 3 --out curve",
        "scantling curve unet fixmatch --data scans --labels 5 10 --preset quick --minutes 10 --out curve",
        "scantling curve unet partial@scribbled box-supervised@boxed --data scans --labels 3 7 all --out curve",
        "scantling curve unet unet@corrections --data scans --labels 7 --out curve",
    )

    methods: Annotated[list[str], tyro.conf.Positional, tyro.conf.arg(metavar="METHOD")]
    """Segmenters of `scantling methods`; the first is the control that the others are held against. METHOD@FOLDER
    learns from the labels of another data set of the same images, such as `synthesize scribbles` makes, or from masks
    that were corrected in `view --correct`, beside the budget; what it takes to draw or correct them is then told
    beside what they are worth."""
    data: Path
    """A data set with true masks. Its test cases are looked at when a training has ended, and choose nothing."""
    out: Path
    """A run folder for each training, curve.html and curve.json go here; later commands may add methods, budgets and
    seeds to it."""
    labels: Annotated[list[str], tyro.conf.arg(metavar="N|N%|all")] = field(default_factory=lambda: ["all"])
    """Budgets: numbers of labelled subjects, percentages of them, all; as --labels of train."""
    label_instances: Annotated[list[str], tyro.conf.arg(metavar="N|N%|all")] = field(default_factory=list)
    """Budgets in drawn objects instead: numbers, percentages of them, all; as --label-instances of train."""
    seeds: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """How many training seeds each budget is trained with."""
    label_seeds: Annotated[int, tyro.conf.arg(metavar="N")] = 3
    """How many times the labelled subjects of a budget are drawn; the same for all methods."""
    preset: Literal["paper", "quick", "tiny"] = "paper"
    """quick takes minutes on a laptop's processor."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Optimiser steps of every training; by default those of the control's preset."""
    minutes: Annotated[float | None, tyro.conf.arg(metavar="N")] = None
    """Minutes that a training of the control may take, instead of --steps: its steps are timed once, and every
    training takes as many as fit."""
    augment: Literal["own", "none", "strong"] | None = None
    """Changes to the training images of all methods; by default strong for the control's method and their own for
    the others, so that no gain is one of more augmentation."""
    metric: Annotated[str, tyro.conf.arg(metavar="NAME")] = "dice"
    """What the test masks are scored by."""
    figures: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Also write figures for a paper into this folder: charts as SVG and PDF, tables in LaTeX and CSV."""

    def run(self) -> Outcome:
        """Do what is not yet done, and say what it is worth."""
        from scantling.experiments.curve import curve
        from scantling.report.curve import PAGE_NAME, write_curve
        from scantling.report.figures import check_figures

        shard, page = shard_of(self.shard), self.out / PAGE_NAME
        check_figures(self.figures)
        options, share = self.checked(page, preset=self.preset, steps=self.steps, minutes=self.minutes)
        if self.engine == "slurm":
            return self._slurm(options, share)
        with counting("trainings") as progress:
            found = curve(
                self.methods, self.data, self.out, labels=self.labels, label_instances=self.label_instances,
                seeds=self.seeds, label_seeds=self.label_seeds, options=options, augment=self.augment,
                metric=self.metric, shard=shard, engine=self.engine,
                share=share, console=talk(), progress=progress,
            )  # fmt: skip
        facts = found.facts()
        if shard[1] == 1:
            tell(found.table(width=width()))
            tell(str(write_curve(found, page, figures=self.figures, command=("scantling", *sys.argv[1:]))))
            facts |= {"page": str(page)} | tell_figures(self.figures)
        if self.csv is not None:
            found.write_csv(self.csv)
        return Outcome(facts, list(found.failed))

    def _slurm(self, options: Options, share: Share) -> Outcome:
        """Write, and submit if asked, an array job that does what is not yet done."""
        from scantling.experiments.curve import prepare

        if self.minutes is not None or self.shard != "1/1":
            raise SettingsError("--engine slurm: every job does one training of fixed steps; pass --steps, no --shard")
        if self.csv is not None:
            raise SettingsError("--csv: goes with the command that makes the table, without --engine slurm")
        ready = prepare(
            self.methods, self.data, self.out, labels=self.labels, label_instances=self.label_instances,
            seeds=self.seeds, label_seeds=self.label_seeds, options=options, augment=self.augment,
            metric=self.metric, console=talk(),
        )  # fmt: skip
        return array_job(ready, self._words(ready.recipe.options.steps), share, submit=self.submit)

    def _words(self, steps: int | None) -> list[str]:
        """The command of a job, but for its shard."""
        values = {
            "--data": self.data.absolute(), "--out": self.out.absolute(), "--seeds": self.seeds,
            "--label-seeds": self.label_seeds, "--preset": self.preset, "--steps": steps, "--augment": self.augment,
            "--metric": self.metric, "--device": self.device, "--precision": self.precision,
            "--threads": self.threads, "--subjects": self.subjects,
            "--manifest": self.manifest and self.manifest.absolute(), "--root": self.root and self.root.absolute(),
        }  # fmt: skip
        given = [word for name, value in values.items() if value is not None for word in (name, str(value))]
        settings = [
            word
            for name, value in self.settings.items()
            for word in (f"--settings.{name}", value if isinstance(value, str) else json.dumps(value))
        ]
        parts = [word.partition("@") for word in self.methods]
        methods = [f"{name}@{Path(folder).absolute()}" if at else name for name, at, folder in parts]
        objects = self.label_instances
        budgets = ("--label-instances", *objects) if objects else ("--labels", *self.labels)
        return ["curve", *methods, *given, *budgets, *settings]
