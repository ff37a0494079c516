"""The commands that make images or write them in another layout: `synthesize`, `export` and `demo`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from scantling.cli.command import Outcome, counting, tell
from scantling.cli.commands.common import Command, Computed, Opened, Spread, roles_of, shard_of


@dataclass(kw_only=True)
class Synthesize(Opened, Computed, Spread):
    """Make masks or labelled images by a rule or with a trained run: a data set to train on, origins written down."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling synthesize fractal-vessels --count 1000 --size 512 --out vessels",
        "scantling synthesize retina-phantoms --count 200 --out phantoms --seed 1",
        "scantling synthesize runs/painter --count 1000 --out painted",
        "scantling synthesize runs/pretrain --count 200 --accept --out new",
        "scantling synthesize runs/painter --count 500 --accept labels --use segmenter=runs/unet --out painted",
        "scantling synthesize runs/translator --from masks --count 500 --out images",
        "scantling synthesize runs/volumes --count 200 --use segmenter=runs/unet --out made",
        "scantling synthesize scribbles --from scans --out scribbled",
    )

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="METHOD|RUN")]
    """A method that needs no training (`scantling methods` says which can generate), or a run."""
    count: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """How many to make; what labels the images of --from labels all of them unless said."""
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
    accept: Annotated[Literal["new", "labels", "both"] | None, tyro.conf.arg(metavar="new|labels|both")] = None
    """new, or --accept alone: keep only images that copy no training image of the run, which `scantling assess`
    explains. labels: only images in which the segmenter of --use finds the labels that they were made from. Others are
    made anew, and counted by reason."""
    accept_dice: Annotated[float | None, tyro.conf.arg(metavar="DICE")] = None
    """With --accept labels: the Dice from which on labels are found; 0.7 unless said."""
    use: Annotated[tyro.conf.UseAppendAction[list[str]], tyro.conf.arg(metavar="ROLE=RUN")] = field(
        default_factory=list
    )
    """segmenter=RUN marks the images of a method that makes no masks; with --accept labels it was trained on real data,
    and judges the masks of one that makes them."""
    shard: Annotated[str, tyro.conf.arg(metavar="I/N")] = "1/1"
    """i/n makes every n-th part: for array jobs."""
    options: tyro.conf.Suppress[dict[str, Any]] = field(default_factory=dict)
    settings: tyro.conf.Suppress[dict[str, Any]] = field(default_factory=dict)

    def run(self) -> Outcome:
        """Make them."""
        from scantling.evaluation.acceptance import gate_of
        from scantling.inference import synthesize
        from scantling.inference.annotating import effort_of
        from scantling.inference.conditions import Conditions

        settings = self.settings if self.size is None else {**self.settings, "size": self.size}
        flags = {"seed": self.seed, "steps": self.sampling_steps, "memory": self.memory}
        options = {name: value for name, value in flags.items() if value is not None} | self.options
        conditions = Conditions(
            data=self.given, split=self.split, image_class=self.image_class, opening=self.opening()
        )  # fmt: skip
        gate, uses = gate_of(
            self.source, self.accept, uses=roles_of(self.use), least=self.accept_dice, settings=settings,
            compute=self.compute(),
        )  # fmt: skip
        how: dict[str, Any] = {
            "count": self.count, "out": self.out, "options": options, "settings": settings, "conditions": conditions,
            "compute": self.compute(), "accept": gate, "uses": uses,
        }  # fmt: skip
        with self.cluster() as cluster, counting("making") as progress:
            if cluster is None:
                made = synthesize(self.source, **how, shard=shard_of(self.shard), progress=progress)
            else:
                from scantling.inference.shards import synthesize_on

                made = synthesize_on(cluster, self.source, **how, progress=progress)
        effort = effort_of(made["case"])
        tell(f"{self.out}: {len(made['case'])} cases" + (f"; drawn by hand about {effort}" if effort else ""))
        if counts := made["rejected"]:
            listed = ", ".join(f"{reason} ({number})" for reason, number in counts.items())
            total = sum(counts.values())
            tell(f"{total} rejected ({total / (total + len(made['case'])):.0%} of all that were made): {listed}")
        return Outcome(made)


@dataclass(kw_only=True)
class Export(Opened):
    """Write a network, a data set or predicted objects for other programs."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling export scans --to nnunet --out nnUNet_raw",
        "scantling export runs/unet --to nnunet --out nnUNet_raw --number 512 --name Vessels",
        "scantling export runs/unet --to onnx --out unet-onnx",
        "scantling export predicted --to qupath --out for-qupath",
    )

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|DATA|PREDICTIONS")]
    """A data set, or a run: its data as it saw them; for onnx a run: its network; for qupath and coco what `predict`
    wrote: its objects."""
    to: Literal["nnunet", "onnx", "qupath", "coco"]
    """nnunet is the raw data folder of nnU-Net, version 2; onnx is model.onnx, checked on onnxruntime, and export.json,
    which says what comes before and after the network; qupath is ID.geojson for each picture; coco is objects.json."""
    out: Path
    """For nnunet where such folders lie (nnUNet_raw); Dataset###_NAME is made in it. For onnx a folder of its own."""
    number: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """The number of the data set; by default the first that is free from 501 on, or that of its last export."""
    name: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """The name of the data set; by default its folder's."""

    def run(self) -> Outcome:
        """Write it."""
        from scantling.core.errors import SettingsError
        from scantling.core.outputs import RUN
        from scantling.data.contents import count
        from scantling.data.nnunet_export import export_nnunet

        if self.to != "nnunet" and (self.number is not None or self.name is not None):
            raise SettingsError(f"--number and --name are of data sets; leave them out with --to {self.to}")
        if self.to in ("qupath", "coco"):
            return self._objects()
        if self.to == "onnx":
            from scantling.inference.exporting import export_onnx

            facts = export_onnx(self.source, self.out)
            check = facts["check"]
            tell(
                f"{self.out}: {facts['file']} differs from {facts['method']} by {check['greatest_difference']:.1g} at "
                f"most on {check['runtime']}; export.json says what comes before and after it"
            )
            return Outcome(facts)
        opening = self.opening()
        if (self.source / RUN).is_file():
            from scantling.records.run_data import dataset_of

            dataset = dataset_of(self.source)
        else:
            dataset = opening.open(self.source)
        with counting("writing") as progress:
            done = export_nnunet(
                dataset, self.out, number=self.number, name=self.name, opening=opening, progress=progress
            )
        tell(f"{done.folder}: {count(done.training, 'case')} to train on, {done.testing} to test")
        for note in done.notes:
            tell(note)
        return Outcome(done.facts(), [*done.failed, *dataset.unnamed()])

    def _objects(self) -> Outcome:
        from scantling.evaluation.exported_objects import export_objects

        with counting("writing") as progress:
            form: Literal["qupath", "coco"] = "coco" if self.to == "coco" else "qupath"
            facts = export_objects(self.source, self.out, form=form, progress=progress)
        tell(f"{self.out}: {facts['objects']:,} objects of {facts['cases']:,} pictures")
        for note in facts["notes"]:
            tell(note)
        return Outcome(facts, facts["failed"])


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
        """Show all commands."""
        from scantling.cli.demo import demo

        return demo(self.out, steps=self.steps, seed=self.seed)
