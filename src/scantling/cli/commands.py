"""The verbs of `scantling`, one dataclass each; what a field says below it is its help."""

from __future__ import annotations

import math
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import tyro

from scantling.cli.command import Outcome, counting, talk, tell
from scantling.core.errors import SettingsError
from scantling.core.outputs import REGISTRATIONS, check_file

if TYPE_CHECKING:
    from scantling.core.machine import Compute
    from scantling.data.opening import Opening


@dataclass(kw_only=True)
class Command:
    examples: ClassVar[tuple[str, ...]] = ()

    json: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the result as JSON to this file; - for standard output."""


@dataclass(kw_only=True)
class Opened(Command):
    manifest: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A manifest (TOML) that says what the files are; folders with a layout that is recognised need none."""
    root: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The folder that the manifest's paths start from."""

    def opening(self) -> Opening:
        """The typed form of these options."""
        from scantling.data.opening import Opening

        return Opening(manifest=self.manifest, root=self.root, untrusted=getattr(self, "untrusted", False))


@dataclass(kw_only=True)
class Computed(Command):
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    threads: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Processor threads; numbers repeat bit for bit only with the same count."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """auto is bf16 on a GPU that has it and, to train, on a processor that has it; float32 elsewhere."""

    def compute(self) -> Compute:
        """The typed form of these options."""
        from scantling.core.machine import Compute

        return Compute(device=self.device, threads=self.threads, precision=self.precision)


def shard_of(text: str) -> tuple[int, int]:
    """Which of how many jobs `--shard` names.

    Raises:
        SettingsError: it names none.
    """
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and text.isascii()):
        raise SettingsError(f"--shard {text}: expected i/n, e.g. 1/4")
    return int(part), int(parts)


@dataclass(kw_only=True)
class Check(Opened):
    """Look at a data set before anything is trained: integrity, leakage, fingerprint, and which methods can run."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling check scans",
        "scantling check scans --contact-sheet sheet.png --json check.json",
    )

    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """A folder, a file or a manifest."""
    contact_sheet: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Draw all cases with their masks into this PNG."""
    store_split: bool = False
    """Write the split into the data folder, so that it stays when cases are added."""
    untrusted: bool = False
    """Decode in a process of its own with limits on time and memory."""

    def run(self) -> Outcome:
        """Check, and say what was found."""
        from scantling.contract.card import lacking
        from scantling.data.dataset import open_dataset
        from scantling.data.integrity import check
        from scantling.data.splits import store_split
        from scantling.methods.catalogue import cards

        dataset = open_dataset(self.data, manifest=self.manifest, root=self.root)
        if self.contact_sheet is not None:
            check_file(self.contact_sheet, suffix=".png", inputs=dataset.files())
        with counting("checking") as progress:
            found = check(dataset, untrusted=self.untrusted, progress=progress)
        methods = {name: lacking(card, dataset.split("train")) for name, card in cards().items() if card.needs}
        tell(found.text())
        for name, missing in methods.items():
            tell(f"method {name}: " + (f"cannot run: {'; '.join(missing)}" if missing else "can run"))
        if self.contact_sheet is not None:
            from scantling.data.contact_sheet import contact_sheet

            contact_sheet(dataset, self.contact_sheet, untrusted=self.untrusted)
            tell(f"contact sheet: {self.contact_sheet}")
        if self.store_split:
            tell(f"split: {store_split(dataset)}")
        errors = [finding.sentence for finding in found.findings if finding.level == "error"]
        return Outcome({**found.facts(), "methods": methods}, errors)


@dataclass(kw_only=True)
class Methods(Command):
    """List the methods, or show one with its settings."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling methods",
        "scantling methods unet",
    )

    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="METHOD")] = None
    """A method, to see its settings and presets."""

    def run(self) -> Outcome:
        """List cards."""
        from scantling.contract.options import FLAGS
        from scantling.methods.catalogue import card_of, cards, implementation_of, left_out

        if self.name is None:
            width = max(len(name) for name in cards())
            for card in cards().values():
                dimensions = "/".join(f"{d}-D" for d in card.dimensions)
                tell(f"{card.name:<{width}}  {dimensions:<7}  {', '.join(card.gives):<9}  {card.title} ({card.year})")
            for sentence in left_out():
                talk().print(sentence, style="yellow", markup=False, soft_wrap=True)
            return Outcome([card.summary() for card in cards().values()])
        card = card_of(self.name)
        method = implementation_of(card)
        kind = method.Settings
        fields: dict[str, dict[str, Any]] = {}
        tell(f"{card.name}: {card.title} ({card.authors}, {card.year})")
        tell(textwrap.indent(textwrap.dedent("    " + (kind.__doc__ or "")).strip(), "  "))
        for name in kind.model_fields:
            values = {preset: getattr(kind.preset(preset), name) for preset in ("paper", *kind.presets)}
            fields[name] = values
            shown = f"{values['paper']}" + "".join(
                f", {preset}: {value}" for preset, value in values.items() if value != values["paper"]
            )
            tell(f"  --settings.{name:<14} {shown}")
        for role, capability in (card.uses | card.may_use).items():
            needed = "" if role in card.uses else ", if you like"
            tell(f"  --use {role}=RUN{'':<{max(1, 12 - len(role))}} a model that can {capability}{needed}")
        options = {
            name: field.default
            for gives in card.gives
            for name, field in getattr(method, f"{gives}_with").model_fields.items()
            if name not in FLAGS
        }
        for name, value in options.items():
            tell(f"  --options.{name:<15} {value} (at inference)")
        return Outcome({**card.summary(), "settings": fields, "options": options})


@dataclass(kw_only=True)
class Train(Opened, Computed):
    """Train a method. The same command goes on where an interrupted training stopped."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling train unet --data scans --out runs/unet --preset quick --seed 0",
        "scantling train unet --data scans --out runs/five --labels 5 --settings.rate 0.001",
        "scantling train direction --data scans --out runs/direction --use segmenter=runs/fr-unet",
        "torchrun --nproc-per-node 4 -m scantling train unet --data scans --out runs/unet",
    )

    method: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="METHOD")]
    """One of `scantling methods`."""
    data: Annotated[list[Path], tyro.conf.UseAppendAction]
    """A data set; may be given several times."""
    out: Path
    """The run folder."""
    preset: Literal["paper", "quick", "tiny"] = "paper"
    """quick takes minutes on a laptop's processor."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Optimiser steps, instead of the preset's."""
    seed: int = 0
    """All randomness is a function of it."""
    labels: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Keep this many labelled training cases; the others count as unlabelled."""
    validation: float = 0.2
    """The share of the training subjects held out to watch the training; 0 trains on all."""
    select: Literal["last", "best"] = "last"
    """Which weights are kept: the last, or the best on the validation subjects."""
    base: Annotated[Path | None, tyro.conf.arg(name="from", metavar="RUN")] = None
    """A run to take the first weights from."""
    use: Annotated[tyro.conf.UseAppendAction[list[str]], tyro.conf.arg(metavar="ROLE=RUN")] = field(
        default_factory=list
    )
    """A run that the method is built on, by its role (`scantling methods NAME`); may be given several times."""
    share: Annotated[tyro.conf.UseAppendAction[list[str]], tyro.conf.arg(metavar="NAME=FRACTION")] = field(
        default_factory=list
    )
    """The share of the samples that come from a pool, or from "real" or "synthetic" cases; may be given several
    times, the other cases share what is left."""
    order: Literal["shuffled", "sequential"] = "shuffled"
    """The order in which cases come: drawn anew each epoch, or by id."""
    augment: Literal["own", "none", "strong"] = "own"
    """Changes to the training images: the method's own, none, or the strong default set."""
    accumulation: int = 1
    """Micro-batches a step, where a batch does not fit into memory."""
    settings: tyro.conf.Suppress[dict[str, Any]] = field(default_factory=dict)

    def run(self) -> Outcome:
        """Train."""
        from scantling.training import Options, train

        uses = dict[str, Path]()
        for word in self.use:
            role, equals, run = word.partition("=")
            if not (role and equals and run) or role in uses:
                raise SettingsError(f"--use {word}: expected ROLE=RUN, each role once")
            uses[role] = Path(run)
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
            preset=self.preset, steps=self.steps, settings=self.settings, seed=self.seed, labels=self.labels,
            validation=self.validation, select=self.select, base=self.base, uses=uses, device=self.device,
            precision=self.precision, threads=self.threads, accumulation=self.accumulation,
            share=shares, order=self.order, augment=self.augment,
            manifest=self.manifest, root=self.root,
        )  # fmt: skip
        return Outcome(train(self.method, self.data, self.out, options, console=talk()))


@dataclass(kw_only=True)
class Predict(Opened, Computed):
    """Segment images with a trained run; broken files are listed, an interrupted command goes on."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling predict runs/unet scans --out masks --probabilities",
        'scantling predict runs/unet "new/*.png" --out masks --views --shard 1/4',
        "scantling predict runs/berdiff scans --out masks --samples 16 --sampling-steps 10 --fuse staple",
        "scantling predict runs/seed-0 scans --out masks --ensemble runs/seed-1 --ensemble runs/seed-2",
    )

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="run", metavar="RUN")]
    """A run folder, or its model folder."""
    input: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="INPUT")]
    """A file, a folder, a quoted glob or a data set."""
    out: Path
    """Masks go here, as PNG for raster images and NIfTI for volumes."""
    split: Literal["train", "validation", "test", "all"] | None = None
    """The cases to take; by default the test cases where the data have their own test split or the run was
    trained on them, else all."""
    probabilities: bool = False
    """Also write probability maps (float32)."""
    views: bool = False
    """Average over mirrored and turned views: slower, a little better."""
    samples: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Masks to draw for each image: by methods that draw, and by dropout, left on, in those that do not."""
    sampling_steps: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Steps of the chain that draws a mask, for methods that run one."""
    fuse: Literal["mean", "vote", "staple", "uncertainty"] | None = None
    """How samples become one mask; by default as the method says."""
    ensemble: Annotated[tyro.conf.UseAppendAction[list[Path]], tyro.conf.arg(metavar="RUN")] = field(
        default_factory=list
    )
    """Another run that answers too, as one more sample; may be given several times."""
    shard: Annotated[str, tyro.conf.arg(metavar="I/N")] = "1/1"
    """i/n does every n-th case: for array jobs."""
    memory: Annotated[float | None, tyro.conf.arg(metavar="GIB")] = None
    """GiB that a forward pass may take; larger images go in blended tiles. By default half of what is free."""
    seed: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """What the randomness of the answers is a function of; 0 unless said."""
    untrusted: bool = False
    """Decode in a process of its own with limits on time and memory."""
    options: tyro.conf.Suppress[dict[str, Any]] = field(default_factory=dict)

    def run(self) -> Outcome:
        """Predict."""
        from scantling.inference import predict

        flags = {
            "samples": self.samples, "steps": self.sampling_steps, "fuse": self.fuse, "views": self.views or None,
            "memory": self.memory, "seed": self.seed,
        }  # fmt: skip
        options = {name: value for name, value in flags.items() if value is not None} | self.options
        with counting("predicting") as progress:
            done = predict(
                self.run_folder, self.input, out=self.out, options=options, ensemble=self.ensemble, split=self.split,
                probabilities=self.probabilities, shard=shard_of(self.shard), opening=self.opening(),
                compute=self.compute(), progress=progress,
            )  # fmt: skip
        earlier = f", {done.skipped} of them in an earlier run" if done.skipped else ""
        what = "masks" if done.header["classes"] else "image classes"
        tell(f"{self.out}: {len(done.cases)} {what}{earlier}")
        return Outcome(done.facts(), [f"{case['id']}: {case['error']}" for case in done.failed])


@dataclass(kw_only=True)
class Register(Opened, Computed):
    """Warp moving images and their masks onto fixed ones with a trained run; an interrupted command goes on."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling register runs/atlas fixed.nii.gz moving.nii.gz --out warped",
        "scantling register runs/atlas scans --out warped --pairs pairs.csv --jacobian",
        "scantling register runs/atlas scans --out labelled --atlas a01 --atlas a02 --atlas a03 --fuse staple",
    )

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="run", metavar="RUN")]
    """A run folder, or its model folder."""
    fixed: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FIXED")]
    """The images to warp onto: a file, a folder, a quoted glob or a data set."""
    moving: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="MOVING")] = None
    """The images to warp: a file, or a folder or data set with the same names; without it each image of FIXED is
    warped onto the one before it by id, the first onto the last."""
    out: Path
    """Warped images and masks, displacements and registrations.json go here."""
    pairs: Annotated[str, tyro.conf.arg(metavar="FILE|all")] = ""
    """A CSV file with the columns fixed and moving; all takes every ordered pair of two images."""
    atlas: Annotated[tyro.conf.UseAppendAction[list[str]], tyro.conf.arg(metavar="ID")] = field(default_factory=list)
    """A case that is warped onto each other one; may be given several times, whose masks are then fused."""
    fuse: Literal["mean", "vote", "staple", "uncertainty"] | None = None
    """How the masks of several atlases become one; mean, the majority, unless said."""
    jacobian: bool = False
    """Also write the Jacobian determinant of each displacement."""
    split: Literal["train", "validation", "test", "all"] | None = None
    """The cases to take as fixed images; by default the test cases where the data have their own test split or the
    run was trained on them, else all."""
    shard: Annotated[str, tyro.conf.arg(metavar="I/N")] = "1/1"
    """i/n does every n-th pair: for array jobs."""
    memory: Annotated[float | None, tyro.conf.arg(metavar="GIB")] = None
    """GiB that a forward pass may take; by default half of what is free."""
    seed: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """What the randomness of the answers is a function of; 0 unless said."""
    untrusted: bool = False
    """Decode in a process of its own with limits on time and memory."""
    options: tyro.conf.Suppress[dict[str, Any]] = field(default_factory=dict)

    def run(self) -> Outcome:
        """Register."""
        from scantling.inference import register

        flags = {"memory": self.memory, "seed": self.seed}
        options = {name: value for name, value in flags.items() if value is not None} | self.options
        with counting("registering") as progress:
            done = register(
                self.run_folder, self.fixed, self.moving, out=self.out, pairs=self.pairs, atlases=self.atlas,
                fuse=self.fuse, jacobian=self.jacobian, split=self.split, options=options, shard=shard_of(self.shard),
                opening=self.opening(), compute=self.compute(), progress=progress,
            )  # fmt: skip
        earlier = f", {done.skipped} of them in an earlier run" if done.skipped else ""
        tell(f"{self.out}: {len(done.cases)} registrations{earlier}")
        return Outcome(done.facts(), [f"{case['id']}: {case['error']}" for case in done.failed])


@dataclass(kw_only=True)
class Mend(Opened):
    """Mend broken vessels in the probability maps of any tool: diffuse along them, use two thresholds, drop specks."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling mend masks/probabilities --out mended --iterations 100",
        "scantling mend masks/probabilities --out mended --rule both --iterations auto --validation scans",
        "scantling mend nnunet-probabilities --out mended --rule hysteresis",
    )

    maps: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="probabilities", metavar="PROBABILITIES")]
    """A folder of maps, or one map: PNG (8 or 16 bits), TIFF, NPY, NPZ (nnU-Net's too) or NIfTI."""
    out: Path
    """Masks go here, mended maps into its folder `probabilities`."""
    rule: Literal["threshold", "hysteresis", "anisotropic", "both"] = "anisotropic"
    """anisotropic diffuses along the vessels, hysteresis uses two thresholds, both does both; threshold does
    neither and is the control."""
    iterations: Annotated[str, tyro.conf.arg(metavar="N|auto")] = "100"
    """Steps of the diffusion; auto chooses them, the thresholds and the smallest piece on validation cases."""
    high: float = 0.5
    """A pixel above it is vessel."""
    low: float = 0.3
    """With two thresholds, a pixel above it is vessel where it touches vessel."""
    smallest: int = 0
    """Drop pieces of fewer pixels."""
    carry: float = 0.0
    """Carry directions into gaps over this many pixels."""
    coherence: float = 0.0
    """Diffuse less where the direction is uncertain: the power of the coherence."""
    validation: Annotated[Path | None, tyro.conf.arg(metavar="DATA")] = None
    """A data set with true masks of validation cases, for auto."""
    shard: Annotated[str, tyro.conf.arg(metavar="I/N")] = "1/1"
    """i/n does every n-th map: for array jobs."""

    def run(self) -> Outcome:
        """Mend."""
        from scantling.inference import mend_folder
        from scantling.mending.mend import spelled

        if self.iterations != "auto" and not (self.iterations.isdecimal() and self.iterations.isascii()):
            raise SettingsError(f"--iterations {self.iterations}: expected a number of steps, or auto")
        settings: dict[str, Any] = {
            "rule": self.rule, "high": self.high, "low": self.low,
            "smallest": self.smallest, "carry": self.carry, "coherence": self.coherence,
        }  # fmt: skip
        auto = self.iterations == "auto"
        if not auto:
            settings["iterations"] = int(self.iterations)
        with counting("mending") as progress:
            done, used, choice = mend_folder(
                self.maps, self.out, settings, auto=auto, validation=self.validation, shard=shard_of(self.shard),
                opening=self.opening(), progress=progress,
            )  # fmt: skip
        facts = done.facts()
        if choice is not None:
            tell(f"chosen on validation cases among {len(choice.table)}: {spelled(used)}")
            facts["tried"] = [
                {**row.settings.model_dump(), **row.scores, "admissible": row.admissible} for row in choice.table
            ]
        elif auto:
            tell(f"chosen on validation cases by an earlier command: {spelled(used)}")
        tell(f"{self.out}: {len(done.cases)} masks")
        return Outcome(facts, [f"{case['id']}: {case['error']}" for case in done.failed])


@dataclass(kw_only=True)
class Evaluate(Opened):
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
    max_dice and soft_dice too."""
    csv: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the scores of each case as a table; of classes beside masks into NAME-classes.csv."""

    def run(self) -> Outcome:
        """Evaluate."""
        from scantling.evaluation.everything import beside, evaluate_everything

        if (self.prediction / REGISTRATIONS).is_file():
            return self._of_registrations()
        for table in () if self.csv is None else (self.csv, beside(self.csv)):
            check_file(table, suffix=".csv", inputs=(self.truth, self.prediction / "classes.csv"))
        with counting("scoring") as progress:
            scores = evaluate_everything(
                self.prediction, self.truth, split=self.split, probabilities=self.probabilities,
                region=self.region, metrics=self.metrics, manifest=self.manifest, root=self.root, progress=progress,
            )  # fmt: skip
        tell(scores.table())
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
        flags = ("split", "probabilities", "region", "metrics")
        if wrong := [f"--{name}" for name in flags if getattr(self, name) is not None]:
            raise SettingsError(
                f"{self.prediction}: holds registrations, of which all are scored; leave {wrong[0]} out"
            )
        with counting("scoring") as progress:
            scores = evaluate_registrations(self.prediction, self.truth, opening=self.opening(), progress=progress)
        tell(scores.table())
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
    """Run folders, folders of predictions or evaluation files (JSON); runs that differ in their seed alone are one
    method. Masks are compared where all have them, else image classes."""
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

    def run(self) -> Outcome:
        """Compare."""
        from scantling.experiments.compare import compare
        from scantling.report.comparison import page_of, write_comparison

        target = page_of(self.runs, self.out)
        check_file(target, suffix=".html")
        with counting("comparing") as progress:
            found = compare(
                self.runs, self.data, split=self.split, out=self.out, baseline=self.baseline, metrics=self.metrics,
                region=self.region, opening=self.opening(), compute=self.compute(), progress=progress,
            )  # fmt: skip
        tell(found.table())
        page = write_comparison(found, target, command=("scantling", *sys.argv[1:]))
        tell(str(page))
        return Outcome({**found.facts(), "page": str(page)}, list(found.failed))


@dataclass(kw_only=True)
class Synthesize(Opened, Computed):
    """Make masks or labelled images by a rule or with a trained run: a data set to train on, origins written down."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling synthesize fractal-vessels --count 1000 --size 512 --out vessels",
        "scantling synthesize retina-phantoms --count 200 --out phantoms --seed 1",
        "scantling synthesize runs/painter --count 1000 --out painted",
        "scantling synthesize runs/translator --from masks --count 500 --out images",
    )

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="METHOD|RUN")]
    """A method that needs no training (`scantling methods` says which can generate), or a run."""
    count: Annotated[int, tyro.conf.arg(metavar="N")]
    """How many to make."""
    out: Path
    """The data set goes here; the same command goes on where it was interrupted."""
    size: Annotated[int | None, tyro.conf.arg(metavar="PIXELS")] = None
    """The side of an image; short for --settings.size."""
    seed: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Number n of a seed is the same however many are made; 0 unless said."""
    sampling_steps: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Steps of the chain that draws each, for methods that run one."""
    memory: Annotated[float | None, tyro.conf.arg(metavar="GIB")] = None
    """GiB that a forward pass may take, for methods that work in tiles. By default half of what is free."""
    given: Annotated[Path | None, tyro.conf.arg(name="from", metavar="DATA")] = None
    """A data set with the masks, images or image classes that the method asks for, walked in turn by id."""
    split: str = "train"
    """Whose cases of --from: train, validation, test or all; what is made from a case is in its split."""
    image_class: Annotated[str | None, tyro.conf.arg(name="class", metavar="NAME")] = None
    """The image class of all that is made."""
    shard: Annotated[str, tyro.conf.arg(metavar="I/N")] = "1/1"
    """i/n makes every n-th part: for array jobs."""
    options: tyro.conf.Suppress[dict[str, Any]] = field(default_factory=dict)
    settings: tyro.conf.Suppress[dict[str, Any]] = field(default_factory=dict)

    def run(self) -> Outcome:
        """Make them."""
        from scantling.inference import synthesize
        from scantling.inference.conditions import Conditions

        settings = self.settings if self.size is None else {**self.settings, "size": self.size}
        flags = {"seed": self.seed, "steps": self.sampling_steps, "memory": self.memory}
        options = {name: value for name, value in flags.items() if value is not None} | self.options
        conditions = Conditions(
            data=self.given, split=self.split, image_class=self.image_class, opening=self.opening()
        )  # fmt: skip
        with counting("making") as progress:
            made = synthesize(
                self.source, count=self.count, out=self.out, options=options, settings=settings, conditions=conditions,
                shard=shard_of(self.shard), compute=self.compute(), progress=progress,
            )  # fmt: skip
        tell(f"{self.out}: {len(made['case'])} cases")
        if counts := made["rejected"]:
            listed = ", ".join(f"{reason} ({number})" for reason, number in counts.items())
            tell(f"{sum(counts.values())} rejected: {listed}")
        return Outcome(made)


@dataclass(kw_only=True)
class Report(Command):
    """Make one self-contained page from runs or evaluations, or on what the masks of data sets are like."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling report runs/unet",
        "scantling report runs/unet runs/other --out both.html",
        "scantling report painted vessels data/drive --out quality.html",
    )

    targets: Annotated[list[Path], tyro.conf.Positional, tyro.conf.arg(metavar="RUN|EVALUATION|DATA")]
    """Run folders or evaluation files (JSON); or folders of masks, made or real, to be held against each other."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The page; by default report.html in the run folder, mask-quality.html beside folders of masks."""
    most: Annotated[int, tyro.conf.arg(metavar="N")] = 200
    """Masks of each data set that are measured; of more a hash draws so many."""

    def run(self) -> Outcome:
        """Write the page."""
        from scantling.report import holds_masks, report, report_masks

        if not self.targets:
            raise SettingsError("found no run, no evaluation and no data set; name at least one")
        if any(holds_masks(target) for target in self.targets):
            with counting("measuring") as progress:
                page, sets = report_masks(
                    self.targets, out=self.out, most=self.most, command=("scantling", *sys.argv[1:]), progress=progress
                )
            tell(str(page))
            failed = [f"{each.name}: {sentence}" for each in sets for sentence in each.failed]
            return Outcome({"page": str(page), "folders": [each.facts() for each in sets]}, failed)
        page = report(self.targets, out=self.out)
        tell(str(page))
        return Outcome({"page": str(page)})


@dataclass(kw_only=True)
class Demo(Command):
    """The whole way on images that it makes: draw, check, train, predict, evaluate, report."""

    examples: ClassVar[tuple[str, ...]] = ("scantling demo --out demo",)

    out: Path = Path("demo")
    """A folder for everything."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Training steps; by default about two minutes on two processor cores."""
    seed: int = 0

    def run(self) -> Outcome:
        """Show all verbs."""
        from scantling.cli.demo import demo

        return demo(self.out, steps=self.steps, seed=self.seed)


ALL: tuple[type[Command], ...] = (
    Check,
    Methods,
    Train,
    Predict,
    Register,
    Mend,
    Evaluate,
    Compare,
    Synthesize,
    Report,
    Demo,
)
