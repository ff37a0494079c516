"""The commands that answer about images: `predict`, `register` and `mend`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from scantling.cli.command import Outcome, counting, tell
from scantling.cli.commands.common import Computed, Opened, Spread, shard_of
from scantling.core.errors import SettingsError


@dataclass(kw_only=True)
class Predict(Opened, Computed, Spread):
    """Segment images with a trained run; broken files are listed, an interrupted command goes on."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling predict runs/unet scans --out masks --probabilities",
        'scantling predict runs/unet "new/*.png" --out masks --no-views --shard 1/4',
        "scantling predict runs/berdiff scans --out masks --samples 16 --sampling-steps 10 --fuse staple",
        "scantling predict runs/seed-0 scans --out masks --ensemble runs/seed-1 --ensemble runs/seed-2",
        "scantling predict runs/flair scans --out masks --ensemble runs/t1 --fuse dempster",
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
    """Average over the mirrored and turned views that the training showed, unless they hurt on validation; what unet
    does without being asked."""
    no_views: bool = False
    """Answer each image as it is: several times faster."""
    scale: Annotated[float | None, tyro.conf.arg(metavar="F")] = None
    """How many times as large as the training images the images are, in pixels for the same thing; 1 answers them as
    they are. By default pictures whose spacing, field of view or sides say so are answered at the training's scale."""
    samples: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Masks to draw for each image: by methods that draw, and by dropout, left on, in those that do not."""
    sampling_steps: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Steps of the chain that draws a mask, for methods that run one."""
    fuse: Literal["mean", "vote", "staple", "uncertainty", "dempster"] | None = None
    """How samples become one mask; by default as the method says."""
    ensemble: Annotated[tyro.conf.UseAppendAction[list[Path]], tyro.conf.arg(metavar="RUN")] = field(
        default_factory=list
    )
    """Another run that answers too, as one more sample; may be given several times. It may read other channels."""
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

        if self.views and self.no_views:
            raise SettingsError("--views and --no-views: expected at most one of them")
        flags = {
            "samples": self.samples, "steps": self.sampling_steps, "fuse": self.fuse,
            "views": self.views if self.views or self.no_views else None,
            "scale": self.scale, "memory": self.memory, "seed": self.seed,
        }  # fmt: skip
        options = {name: value for name, value in flags.items() if value is not None} | self.options
        how: dict[str, Any] = {
            "out": self.out, "options": options, "ensemble": self.ensemble, "split": self.split,
            "probabilities": self.probabilities, "opening": self.opening(), "compute": self.compute(),
        }  # fmt: skip
        with self.cluster() as cluster, counting("predicting") as progress:
            if cluster is None:
                shard = shard_of(self.shard)
                done = predict(self.run_folder, self.input, **how, shard=shard, progress=progress)
            else:
                from scantling.inference.shards import predict_on

                done = predict_on(cluster, self.run_folder, self.input.absolute(), **how, progress=progress)
        earlier = f", {done.skipped} of them in an earlier run" if done.skipped else ""
        what = "masks" if done.header["classes"] else "image classes"
        for note in done.notes:
            tell(note)
        tell(f"{self.out}: {len(done.cases)} {what}{earlier}")
        return Outcome(done.facts(), [*(f"{case['id']}: {case['error']}" for case in done.failed), *done.left_out])


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
    fuse: Literal["mean", "vote", "staple", "uncertainty", "dempster"] | None = None
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
        for note in done.notes:
            tell(note)
        tell(f"{self.out}: {len(done.cases)} registrations{earlier}")
        return Outcome(done.facts(), [*(f"{case['id']}: {case['error']}" for case in done.failed), *done.left_out])


@dataclass(kw_only=True)
class Mend(Opened):
    """Mend broken vessels in the probability maps of any tool: diffuse along them, use two thresholds, drop specks."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling mend masks/probabilities --out mended --iterations 100",
        "scantling mend masks/probabilities --out mended --rule both --iterations auto",
        "scantling mend masks/probabilities --out mended --rule both --iterations auto --validation scans",
        "scantling mend nnunet-probabilities --out mended --rule hysteresis",
    )

    maps: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="probabilities", metavar="PROBABILITIES")]
    """A folder of maps, or one map: PNG (8 or 16 bits), TIFF, NPY, NPZ (nnU-Net's too) or NIfTI."""
    out: Path
    """Masks go here, mended maps into its folder `probabilities`."""
    rule: Literal["threshold", "hysteresis", "anisotropic", "both", "closing"] = "anisotropic"
    """anisotropic diffuses along the vessels, hysteresis uses two thresholds, both does both; closing grows and
    shrinks the mask by a radius, whatever its direction; threshold does nothing and is the control."""
    iterations: Annotated[str, tyro.conf.arg(metavar="N|auto")] = "100"
    """Steps of the diffusion; auto chooses them, the thresholds and the smallest piece on validation cases, or takes
    what was best elsewhere where there are none."""
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
    parallel: float = 1.0
    """Conductivity along the direction."""
    perpendicular: float = 0.0
    """Conductivity across it; as much as along it diffuses alike in all directions, the control."""
    rectified: bool = True
    """--no-rectified lets the map fall, too, as in ordinary diffusion: the control."""
    radius: float = 3.0
    """Of the closing, in pixels: gaps of thick vessels of up to twice as much close."""
    validation: Annotated[Path | None, tyro.conf.arg(metavar="DATA")] = None
    """A data set with true masks of validation cases, by which auto chooses."""
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
            "parallel": self.parallel, "perpendicular": self.perpendicular, "rectified": self.rectified,
            "radius": self.radius,
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
        elif auto and self.validation is None:
            tell(f"no truth to choose by: what was best on validation images of DRIVE, {spelled(used)}")
        elif auto:
            tell(f"chosen on validation cases by an earlier command: {spelled(used)}")
        tell(f"{self.out}: {len(done.cases)} masks")
        return Outcome(facts, [f"{case['id']}: {case['error']}" for case in done.failed])
