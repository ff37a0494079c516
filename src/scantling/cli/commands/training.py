"""The command `train`."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from scantling.cli.command import Outcome, talk, tell
from scantling.cli.commands.common import Computed, Opened, roles_of
from scantling.core.errors import SettingsError


@dataclass(kw_only=True)
class Train(Opened, Computed):
    """Train a method. The same command goes on where an interrupted training stopped."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling train unet --data scans --out runs/unet --preset quick --seed 0",
        "scantling train unet --data scans --preset quick --plan",
        "scantling train unet --data scans --out runs/unet --preset quick --minutes 10",
        "scantling train unet --data scans --out runs/five --labels 5 --label-seed 1 --settings.rate 0.001",
        "scantling train unet --data scans --out runs/few --labels 10% --label-slices 3",
        "scantling train direction --data scans --out runs/direction --use segmenter=runs/fr-unet",
        "torchrun --nproc-per-node 4 -m scantling train unet --data scans --out runs/unet",
    )

    method: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="METHOD")]
    """One of `scantling methods`."""
    data: Annotated[list[Path], tyro.conf.UseAppendAction]
    """A data set; may be given several times."""
    out: Path | None = None
    """The run folder; only --plan goes without it."""
    plan: bool = False
    """Say what would be decided from the data, and why: grid, patch, batch, steps, parameters; train and write
    nothing."""
    preset: Literal["paper", "quick", "tiny"] = "paper"
    """quick takes minutes on a laptop's processor."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Optimiser steps, instead of the preset's."""
    minutes: Annotated[float | None, tyro.conf.arg(metavar="N")] = None
    """Minutes that the command may take, instead of --steps: steps are timed on this machine, and as many trained as
    fit; run.json says how many, and the command that repeats them anywhere."""
    seed: int = 0
    """All randomness is a function of it."""
    labels: Annotated[str | None, tyro.conf.arg(metavar="N|N%")] = None
    """Keep the labels of this many subjects, or of this percentage of the labelled ones, those for validation
    included; all other images count as unlabelled. The subjects of 5 are among those of 10."""
    label_seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Which subjects --labels keeps, whatever --seed is."""
    label_instances: Annotated[str | None, tyro.conf.arg(metavar="N|N%")] = None
    """Keep this many drawn objects, instead of --labels: subjects with all their objects in the order of --label-seed,
    and of the last image as many as are left, where nothing else is known but a rim around them."""
    label_slices: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Keep this many slices of the masks of each volume; the others are unknown."""
    label_slices_from: Literal["even", "middle"] = "even"
    """Which slices --label-slices keeps: spread evenly, or those around the middle."""
    validation: float = 0.2
    """The share of the labelled training subjects held out to watch the training; 0 trains on all. With --labels it
    is a share of these, rounded down."""
    select: Literal["last", "best"] = "last"
    """Which weights are kept: the last, or the best on the validation subjects."""
    base: Annotated[Path | None, tyro.conf.arg(name="from", metavar="RUN")] = None
    """A run to take the first weights from; its channels, classes and patch may be others."""
    pretrained_rate: Annotated[float | None, tyro.conf.arg(metavar="FACTOR")] = None
    """The factor on the learning rate of the weights of --from; 1 where all of them fit, else 0.1."""
    use: Annotated[tyro.conf.UseAppendAction[list[str]], tyro.conf.arg(metavar="ROLE=RUN")] = field(
        default_factory=list
    )
    """A run that the method is built on, by its role (`scantling methods NAME`); may be given several times."""
    share: Annotated[tyro.conf.UseAppendAction[list[str]], tyro.conf.arg(metavar="NAME=FRACTION")] = field(
        default_factory=list
    )
    """The share of the samples that come from a pool, or from "real" or "synthetic" cases; may be given several
    times, the other cases share what is left."""
    order: Literal["shuffled", "sequential", "synthetic-first", "real-first"] = "shuffled"
    """The order in which cases come: drawn anew each epoch, by id, or all synthetic or all real ones first: those get
    the share of the steps that they have of the cases, or that --share says."""
    augment: Literal["own", "none", "strong"] = "own"
    """Changes to the training images: the method's own, none, or the strong default set."""
    augment_share: Annotated[float, tyro.conf.arg(metavar="FRACTION")] = 1.0
    """The share of the samples that --augment changes; the others stay as they are."""
    accumulation: int = 1
    """Micro-batches a step, where a batch does not fit into memory."""
    settings: tyro.conf.Suppress[dict[str, Any]] = field(default_factory=dict)

    def run(self) -> Outcome:
        """Train."""
        begun = time.monotonic()
        from scantling.training import Options, preview, train

        if self.out is None and not self.plan:
            raise SettingsError("--out: found no run folder; name one, or look at what would be done with --plan")
        uses = roles_of(self.use)
        shares = dict[str, float]()
        for word in self.share:
            name, _, number = word.rpartition("=")
            try:
                fraction = float(number)
            except ValueError:
                fraction = math.nan
            if not name or math.isnan(fraction) or name in shares:
                raise SettingsError(f"--share {word}: expected NAME=FRACTION, such as synthetic=0.5, each name once")
            shares[name] = fraction
        options = Options(
            preset=self.preset, steps=self.steps, minutes=self.minutes, settings=self.settings, seed=self.seed,
            labels=self.labels, label_seed=self.label_seed, label_instances=self.label_instances,
            label_slices=self.label_slices, label_slices_from=self.label_slices_from, validation=self.validation,
            select=self.select, base=self.base,
            pretrained_rate=self.pretrained_rate, uses=uses,
            device=self.device, precision=self.precision, threads=self.threads, accumulation=self.accumulation,
            share=shares, order=self.order, augment=self.augment, augment_share=self.augment_share,
            manifest=self.manifest, root=self.root, subjects=self.subjects,
        )  # fmt: skip
        if self.out is None or self.plan:
            planned = preview(self.method, self.data, options, console=talk())
            tell("\n".join(planned.lines()))
            return Outcome(planned.facts())
        return Outcome(train(self.method, self.data, self.out, options, console=talk(), begun=begun))
