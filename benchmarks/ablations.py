"""The ablation tables of the papers of mask diffusion and of DARL, row by row on one data set, beside what they print.

    python benchmarks/ablations.py --data data/isic-2017 --out ablations [--tables berdiff,mb-diff] [--steps N]
        [--minutes M] [--seeds 3] [--preset quick] [--labels 20] [--split validation] [--threads 2]
    python benchmarks/ablations.py --data data/drive --out ablations --tables darl

Every row is a method with settings; rows of different papers that are the same run are trained once. All have the same
images, seeds and steps (`--steps`; `--minutes` lets each take as many as fit). The table has the mean over test images
and seeds and, of Dice, the difference to the paper's whole system on the same images with its 95 % interval; of data
with several readers also GED and HM-IoU. Published figures are of other images, networks and steps: they say which way
a switch went there, and no score here can be held against them. What is done is not done again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scantling.core.errors import ScantlingError, SettingsError
from scantling.data.dataset import open_dataset
from scantling.data.division import divide
from scantling.experiments.kept_scores import kept_scores, scores_once, subjects_of, values_of
from scantling.experiments.statistics import paired
from scantling.records.evaluation import EvaluationRecord
from scantling.training import Options, train


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        says: what the paper calls it, or "ours: ..." where it has no such row.
        method: that stands for it; empty where there is none, and why not stands in `says`.
        settings: that differ from the preset.
        published: the figures as printed.
        samples: of an answer; None for those of the preset.
    """

    says: str
    method: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    published: str = "–"
    samples: int | None = None


@dataclass(frozen=True)
class Table:
    """A paper's table; the last row that has a published figure and a method is its whole system."""

    title: str
    figures: str
    rows: tuple[Row, ...]

    @property
    def whole(self) -> Row:
        """The row that the others are held against."""
        return [row for row in self.rows if row.method and row.published != "–"][-1]


TABLES: Mapping[str, Table] = {
    "berdiff": Table(
        "BerDiff, tables 1 and 2", "GED16, HM-IoU16 on LIDC-IDRI",
        (
            Row("KL alone", "berdiff", {"cross_entropy": 0.0}, ".332, .517"),
            Row("BCE alone", "berdiff", {"divergence": 0.0}, ".251, .566"),
            Row("BCE and KL, target mask", "berdiff", {"predicts": "mask"}, ".277, .509"),
            Row("BCE and KL, target noise", "berdiff", {}, ".249, .575"),
            Row("Gaussian, 86,500 iterations", "berdiff", {"kernel": "gaussian"}, ".251, .587"),
            Row("Bernoulli, 86,500 iterations", "berdiff", {}, ".238, .596"),
            Row("ours: no chain", "berdiff", {"chain": 0}),
        ),
    ),
    "dtu-net": Table(
        "DTU-Net, table 3 and the table of comparison", "Dice/IoU on Kvasir-SEG, CVC-ClinicDB, ISIC18, ISIC17, REFUGE",
        (
            Row(
                "U-Net", "plain-diffusion", {"chain": 0},
                ".775/.714, .856/.805, .813/.691, .794/.659, .769/.692",
            ),
            Row(
                "U-Net and diffusion", "plain-diffusion", {},
                ".873/.843, .879/.842, .885/.801, .853/.734, .815/.732",
            ),
            Row(
                "and cross-attention (a U-Net with it is not built)",
                published=".905/.875, .932/.875, .901/.841, .889/.763, .831/.763",
            ),
            Row(
                "and a plain transformer", "dtu-net", {"windows": (8,)},
                ".921/.889, .939/.894, .913/.863, .914/.784, .847/.782",
            ),
            Row(
                "DTU-Net", "dtu-net", {},
                ".946/.916, .954/.920, .931/.879, .935/.801, .887/.815",
            ),
            Row("ours: without cross-attention", "dtu-net", {"cross_attention": False}),
        ),
    ),
    "medsegdiff": Table(
        "MedSegDiff, table 2 (of its ++; here: of the preset)", "Dice % on optic cup, brain tumour, thyroid nodule",
        (
            Row("neither", "medsegdiff", {"dynamic": False}, "84.6, 88.2, 84.1"),
            Row("dynamic condition", "medsegdiff", {"parser": False}, "86.7, 89.8, 85.9"),
            Row("with FF-Parser", "medsegdiff", {}, "87.5, 90.5, 86.6"),
            Row("ours: plain-diffusion", "plain-diffusion"),
        ),
    ),
    "medsegdiff-v2": Table(
        "MedSegDiff-V2, table 3", "Dice % on optic cup, brain tumour, thyroid nodule",
        (
            Row("neither", "medsegdiff-v2", {"anchors": 0, "ss_former": False}, "84.6, 88.2, 84.1"),
            Row("anchor", "medsegdiff-v2", {"ss_former": False}, "86.2, 89.4, 86.5"),
            Row("with SS-Former", "medsegdiff-v2", {}, "87.9, 90.8, 88.7"),
            Row("ours: SS-Former alone", "medsegdiff-v2", {"anchors": 0}),
            Row("ours: sine in place of the filter", "medsegdiff-v2", {"ss_filter": "sine"}),
            Row("ours: plain-diffusion", "plain-diffusion"),
        ),
    ),
    "mb-diff": Table(
        "MB-Diff, figure 3", "mean IoU read off a plot, ±.005; data not named",
        (
            Row("no evolution, no fusion", "mb-diff", {"chain": 0}, ".831"),
            Row("no fusion", "mb-diff", {}, ".856", samples=1),
            Row("MB-Diff", "mb-diff", {}, ".871"),
            Row("ours: plain-diffusion", "plain-diffusion"),
        ),
    ),
    "darl": Table(
        "DARL, table 3", "IoU, Dice, precision; data not named, the whole system as on XCAD",
        (
            Row("(a) no diffusion module", "darl", {"diffusion": False}, ".449, .616, .646"),
            Row("(b) as (a), no switchable SPADE", "darl", {"diffusion": False, "switched": False}, ".439, .606, .620"),
            Row("(c) no cycle loss", "darl", {"cycle": 0}, ".322, .485, .580"),
            Row("(d) cross-entropy in the cycle", "darl", {"cycle_loss": "cross-entropy"}, ".346, .508, .672"),
            Row("DARL", "darl", {}, ".471, .636, .701"),
        ),
    ),
}  # fmt: skip
"""As the papers print them; `plain-diffusion` stands where they have a diffusion U-Net without their addition."""
VESSELS = ("darl",)
"""Tables of vessels, which are made where they are asked for."""
READERS = ("ged", "hm_iou")


@dataclass(frozen=True)
class Cell:
    """One training and its scores; everything that they are a function of but the files themselves."""

    data: str
    method: str
    settings: Mapping[str, Any]
    samples: int | None
    seed: int
    preset: str
    steps: int | None
    minutes: float | None
    labels: str | None
    split: str

    @property
    def run(self) -> str:
        """The name of its run, shared by all rows and samplings of it."""
        facts = {name: value for name, value in asdict(self).items() if name not in ("samples", "split")}
        words = json.dumps(facts, sort_keys=True)
        return f"{Path(self.data).name}-{self.method}-{self.seed}-{hashlib.sha256(words.encode()).hexdigest()[:8]}"


def scores_of(cell: Cell, out: Path, threads: int | None) -> EvaluationRecord:
    """The scores of a cell, trained if it is not yet.

    Raises:
        ScantlingError: it cannot be trained, or a case could not be scored.
    """
    place, truth = out / cell.run, divide(open_dataset(cell.data))
    several = any(len(case.masks) > 1 for case in truth.split(cell.split))
    metrics = ("dice", "iou", "precision", *(READERS if several else ()))
    scores = place / f"{cell.split}-{cell.samples or 'preset'}.json"
    if (found := kept_scores(scores, metrics)) is not None:
        return found
    options = Options(
        preset=cell.preset, steps=cell.steps, minutes=cell.minutes, seed=cell.seed, settings=cell.settings,
        labels=cell.labels, threads=threads,
    )  # fmt: skip
    train(cell.method, [cell.data], place / "run", options)
    samples = {} if cell.samples is None else {"samples": cell.samples}
    return scores_once([place / "run"], truth, scores, split=cell.split, metrics=metrics, options=samples)


def lines(table: Table, found: Mapping[int, Sequence[EvaluationRecord]]) -> list[str]:
    """The table in Markdown; `found` has the scores of each row, by its place, seed by seed."""
    several = any("ged" in one.mean for cells in found.values() for one in cells)
    metrics = ("dice", "iou", "precision", *(READERS if several else ()))
    whole = found[table.rows.index(table.whole)]
    subjects = subjects_of(whole[0])
    names = {"dice": "Dice", "iou": "IoU", "precision": "Precision", "ged": "GED", "hm_iou": "HM-IoU"}
    head = ["Row", f"Published: {table.figures}", *(names[metric] for metric in metrics), "Dice − whole system"]
    text = [f"### {table.title}", "", f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for number, row in enumerate(table.rows):
        words = [row.says, row.published]
        if number in found:
            words += [f"{np.nanmean(values_of(found[number], metric).mean(0)):.3f}" for metric in metrics]
            pair = paired(*(values_of(records, "dice").mean(0) for records in (found[number], whole)), subjects)
            same = found[number] == whole
            words += ["" if same else f"{pair.difference:+.3f} [{pair.interval[0]:+.3f}, {pair.interval[1]:+.3f}]"]
        else:
            words += ["–"] * (len(metrics) + 1)
        text += [f"| {' | '.join(words)} |"]
    return [*text, ""]


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is left to do, and print the tables; 1 if it cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a data set with masks of one class")
    parser.add_argument("--out", type=Path, required=True, help="a folder for runs, masks and scores")
    parser.add_argument(
        "--tables",
        default=",".join(name for name in TABLES if name not in VESSELS),
        help=(f"divided by commas, of {', '.join(TABLES)} (all but {', '.join(VESSELS)}, which is of vessels)"),
    )
    parser.add_argument("--preset", choices=("quick", "paper", "tiny"), default="quick")
    parser.add_argument("--steps", type=int, help="of each training; those of the preset unless said")
    parser.add_argument("--minutes", type=float, help="of each training, in place of --steps")
    parser.add_argument("--seeds", type=int, default=1, help="(default 1)")
    parser.add_argument("--labels", help="how many labelled subjects, or a share such as 10%%; all unless said")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--threads", type=int, help="processor threads of a training")
    of = parser.parse_args(arguments)
    try:
        wanted = of.tables.split(",")
        if unknown := [name for name in wanted if name not in TABLES]:
            raise SettingsError(f"--tables: found {unknown[0]!r}; there are {', '.join(TABLES)}")
        for name in wanted:
            found = dict[int, list[EvaluationRecord]]()
            for number, row in enumerate(TABLES[name].rows):
                if not row.method:
                    continue
                cells = [
                    Cell(
                        str(Path(of.data).resolve()), row.method, row.settings, row.samples, seed, of.preset, of.steps,
                        of.minutes, of.labels, of.split,
                    )
                    for seed in range(of.seeds)
                ]  # fmt: skip
                found[number] = [scores_of(cell, of.out, of.threads) for cell in cells]
            print("\n".join(lines(TABLES[name], found)), flush=True)
    except ScantlingError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
