"""The commands that judge: `evaluate`, `compare` and `report`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from scantling.cli.command import Outcome, counting, tell, width
from scantling.cli.commands.common import Command, Computed, Opened, Spread, tell_figures
from scantling.core.errors import SettingsError
from scantling.core.outputs import REGISTRATIONS, check_file


@dataclass(kw_only=True)
class Evaluate(Opened, Spread):
    """Score masks, image classes or registrations against a data set, a folder of masks or a table of classes."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling evaluate masks scans --probabilities masks/probabilities --json scores.json",
        "scantling evaluate nnunet-output scans/test/masks",
        "scantling evaluate classes photographs/labels.csv",
    )

    prediction: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PREDICTION")]
    """A folder of masks, of a `classes.csv`, of both, or of registrations."""
    truth: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TRUTH")]
    """A data set, a folder of masks, or a table (CSV) with the columns `id` and `class`."""
    split: Literal["train", "validation", "test", "all"] | None = None
    """The cases that must be there; by default those that were predicted."""
    probabilities: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """A folder of probability maps, for AUC, average precision, calibration and Brier."""
    region: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None
    """A folder of regions to score inside of; `dataset` for those of the data set. By default the whole image."""
    metrics: Annotated[list[str] | None, tyro.conf.arg(metavar="NAME")] = None
    """What to measure; by default all that can be computed. Where several readers marked an image, ged, hm_iou,
    max_dice and soft_dice too. hd95, assd and nsd are in mm where a file or the manifest says the spacing, else in
    pixels."""
    csv: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the scores of each case as a table; of classes beside masks into NAME-classes.csv."""

    def run(self) -> Outcome:
        """Evaluate."""
        from scantling.evaluation.everything import beside, evaluate_everything

        if (self.prediction / REGISTRATIONS).is_file():
            return self._of_registrations()
        for table in () if self.csv is None else (self.csv, beside(self.csv)):
            check_file(table, suffix=".csv", inputs=(self.truth, self.prediction / "classes.csv"))
        with self.cluster() as cluster, counting("scoring") as progress:
            scores = evaluate_everything(
                self.prediction, self.truth, split=self.split, probabilities=self.probabilities,
                region=self.region, metrics=self.metrics, manifest=self.manifest, root=self.root,
                subjects=self.subjects, cluster=cluster, progress=progress,
            )  # fmt: skip
        tell(scores.table(width=width()))
        if self.csv is not None:
            scores.write_csv(self.csv)
        if (kept := scores.keep()) is not None:
            tell(f"kept for the report of its run: {kept}")
        return Outcome(scores.facts(), scores.failed)

    def _of_registrations(self) -> Outcome:
        """What warping has won."""
        from scantling.evaluation import evaluate_registrations

        if self.csv is not None:
            check_file(self.csv, suffix=".csv", inputs=(self.truth,))
        if self.engine != "local":
            raise SettingsError(f"--engine {self.engine}: registrations are scored in one process; leave it out")
        flags = ("split", "probabilities", "region", "metrics")
        if wrong := [f"--{name}" for name in flags if getattr(self, name) is not None]:
            raise SettingsError(
                f"{self.prediction}: holds registrations, of which all are scored; leave {wrong[0]} out"
            )
        with counting("scoring") as progress:
            scores = evaluate_registrations(self.prediction, self.truth, opening=self.opening(), progress=progress)
        tell(scores.table(width=width()))
        if self.csv is not None:
            scores.write_csv(self.csv)
        if (kept := scores.keep()) is not None:
            tell(f"kept for the report of its run: {kept}")
        return Outcome(scores.facts(), [f"{failure.id}: {failure.error}" for failure in scores.failed])


@dataclass(kw_only=True)
class Compare(Opened, Computed):
    """Compare runs on the same cases: paired differences, a test, ranks, costs, and plainly whether they differ."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling compare runs/unet runs/fr-unet --data scans --json table.json",
        "scantling compare runs/unet-0 runs/unet-1 runs/fr-0 runs/fr-1 --data scans --metrics cldice dice --out both",
        "scantling compare masks nnunet-output --data scans --baseline first",
        "scantling compare runs/classifier runs/other --data photographs --metrics accuracy brier",
    )

    runs: Annotated[list[Path], tyro.conf.Positional, tyro.conf.arg(metavar="RUN|PREDICTIONS|EVALUATION")]
    """Run folders, folders of predictions or evaluation files (JSON); runs that differ in their seed and label seed
    alone are one method. Masks are compared where all have them, else image classes."""
    data: Path
    """A data set with true masks, or with true image classes."""
    split: Literal["train", "validation", "test", "all"] = "test"
    """The cases to compare on."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The page and the predictions of the runs go here; by default predictions go below each run (and are used
    again), and compare.html into the folder that holds all of the runs."""
    baseline: Annotated[str, tyro.conf.arg(metavar="best|first|NAME")] = "best"
    """The method that the others are held against."""
    metrics: Annotated[list[str] | None, tyro.conf.arg(metavar="NAME")] = None
    """What to compare; the first is tested. By default dice, found, false_alarm, cldice, hd95 and ece; of
    image classes accuracy and brier, which are all that a case has by itself."""
    region: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None
    """A folder of regions to score inside of; `dataset` for those of the data set. By default the whole image."""

    figures: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Also write figures for a paper into this folder: charts as SVG and PDF, panels as PNG with a scale bar, tables in
    LaTeX and CSV."""

    def run(self) -> Outcome:
        """Compare."""
        from scantling.experiments.compare import compare
        from scantling.report.comparison import page_of, write_comparison
        from scantling.report.figures import check_figures

        target = page_of(self.runs, self.out)
        check_file(target, suffix=".html")
        check_figures(self.figures)
        with counting("comparing") as progress:
            found = compare(
                self.runs, self.data, split=self.split, out=self.out, baseline=self.baseline, metrics=self.metrics,
                region=self.region, opening=self.opening(), compute=self.compute(), progress=progress,
            )  # fmt: skip
        tell(found.table(width=width()))
        command = ("scantling", *sys.argv[1:])
        page = write_comparison(found, target, figures=self.figures, command=command)
        tell(str(page))
        facts = {**found.facts(), "page": str(page)}
        return Outcome(facts | tell_figures(self.figures), list(found.failed))


@dataclass(kw_only=True)
class Report(Command):
    """Make one self-contained page from runs or evaluations, from predictions, or on the masks of data sets."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling report runs/unet",
        "scantling report runs/unet runs/other --out both.html",
        "scantling report masks",
        "scantling report runs/unet --figures figures",
        "scantling report painted vessels data/drive --out quality.html",
    )

    targets: Annotated[list[Path], tyro.conf.Positional, tyro.conf.arg(metavar="RUN|EVALUATION|MASKS|DATA")]
    """Run folders or evaluation files (JSON); a folder that `predict` wrote, for a page without truth; or folders of
    masks, made or real, to be held against each other."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The page; by default report.html in the run folder, masks.html in a folder of predictions, mask-quality.html
    beside folders of masks."""
    figures: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Also write figures for a paper into this folder: charts as SVG and PDF, panels as PNG with a scale bar, tables in
    LaTeX and CSV."""
    csv: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Of predictions without truth: the table of volumes; by default volumes.csv beside the page."""
    most: Annotated[int, tyro.conf.arg(metavar="N")] = 200
    """Masks of each data set that are measured; of more a hash draws so many."""

    def run(self) -> Outcome:
        """Write the page."""
        from scantling.report import holds_masks, holds_unscored, report, report_masks, report_unscored
        from scantling.report.figures import check_figures

        if not self.targets:
            raise SettingsError("found no run, no evaluation and no data set; name at least one")
        check_figures(self.figures)
        command = ("scantling", *sys.argv[1:])
        if holds_unscored(self.targets[0]) and len(self.targets) == 1:
            with counting("reading masks") as progress:
                page, table, lost = report_unscored(
                    self.targets[0], out=self.out, csv=self.csv, figures=self.figures, command=command,
                    progress=progress,
                )  # fmt: skip
            tell(f"{page}\n{table}")
            return self._done({"page": str(page), "csv": str(table)}, lost)
        if self.csv is not None:
            raise SettingsError("--csv: goes with one folder of predictions without truth; --figures writes tables")
        if any(holds_masks(target) for target in self.targets):
            with counting("measuring") as progress:
                page, sets = report_masks(
                    self.targets, out=self.out, most=self.most, figures=self.figures, command=command,
                    progress=progress,
                )  # fmt: skip
            tell(str(page))
            failed = [f"{each.name}: {sentence}" for each in sets for sentence in each.failed]
            return self._done({"page": str(page), "folders": [each.facts() for each in sets]}, failed)
        page = report(self.targets, out=self.out, figures=self.figures, command=command)
        tell(str(page))
        return self._done({"page": str(page)})

    def _done(self, facts: dict[str, Any], failed: Sequence[str] = ()) -> Outcome:
        """What was written, the figures included."""
        return Outcome(facts | tell_figures(self.figures), list(failed))
