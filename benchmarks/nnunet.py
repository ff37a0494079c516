"""The planned U-Net against nnU-Net v2: the same training data, the same number of training samples.

    python benchmarks/nnunet.py --data DATA --out nnunet [--sets NAME ...] [--threads N] [--seed S] [--iterations N]

`unet --preset quick` is trained, then nnU-Net with its own plan, preprocessing, augmentation, loss and predictor
(Isensee et al., Nature Methods, 2021), and both are scored on the test cases. A training sample is a pixel or voxel of
a patch: steps * batch * prod(patch). nnU-Net trains for as many iterations as show it at least as many, with its
learning rate falling over them. It trains on all training cases (fold "all") without validation; the U-Net, as by
default, keeps a fifth of their subjects for validation. nnU-Net computes in float32, as it always does on a processor.

By default on the two of the eight sets of `regret.py` with the fewest pixels in their training images: stu-hospital
(0.56 million) and msd-hippocampus (3.2 million; the next is glas with 3.3). What is done is not done again, so the
command can be stopped and repeated. Exits with 1 if the U-Net is below nnU-Net by more than the 95 % interval on a set.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from scantling.core.atomic import write_json
from scantling.core.errors import RunError, ScantlingError, SettingsError
from scantling.experiments.statistics import Paired, paired

SETS = ("stu-hospital", "msd-hippocampus")
PACKAGES = (
    "nnunetv2==2.8.1 dynamic-network-architectures==0.4.4 batchgenerators==0.25.5 batchgeneratorsv2==0.3.6 "
    "acvl-utils==0.2.6 connected-components-3d==4.1.1 blosc2==4.14.1 httpx==0.28.1 msgpack==1.2.4 ndindex==1.10.1 "
    "numexpr==2.14.2 pandas==3.1.1 scikit-learn==1.9.1 joblib==1.6.0 cloudpickle==3.1.3 narwhals==2.29.0 "
    "seaborn==0.13.2 threadpoolctl==3.8.0"
)
"""nnU-Net, and of what it needs all that must not bring a torch, numpy or SimpleITK of its own."""
MISSING = (
    "nnunetv2 is not installed; install it in a folder of its own, without dependencies, so that torch stays as it is: "
    f"`pip install --no-deps --target nnunet-site {PACKAGES}`, then `pip install einops matplotlib python-dateutil "
    "requests simpleitk tqdm`, and repeat the command with PYTHONPATH=nnunet-site"
)
SAVED_EVERY, TOLD_EVERY = 300.0, 60.0
"""Seconds between two checkpoints of nnU-Net and between two lines on its progress."""


@dataclass(frozen=True)
class Result:
    """One training and its test scores.

    Attributes:
        dice: of each test case, the mean over its classes; NaN where undefined.
        subjects: whom each shows.
        steps: of training.
        batch, patch: how many patches a step has, and their shape.
        seconds: of training.
    """

    dice: dict[str, float]
    subjects: dict[str, str]
    steps: int
    batch: int
    patch: tuple[int, ...]
    seconds: float

    @property
    def samples(self) -> int:
        """Pixels or voxels of the patches of all steps."""
        return self.steps * self.batch * math.prod(self.patch)

    def line(self) -> str:
        """A row of the table."""
        shape = f"{self.batch} x " + " x ".join(map(str, self.patch))
        dice = float(np.nanmean([*self.dice.values()]))
        return f"{dice:>8.4f}{self.steps:>9,}  {shape:<19}{self.samples / 1e6:>9.1f} M{self.seconds:>11,.0f}"


@dataclass(frozen=True)
class Cell:
    """A data set, the folder for what is made of it, and how to train."""

    data: Path
    out: Path
    seed: int
    iterations: int | None = None
    threads: int | None = None

    def once(self, name: str, compute: Callable[[], Result]) -> Result:
        """What `compute` gives, kept in `out/NAME.json`.

        Raises:
            RunError: the file there is of another data set, seed or number of iterations.
        """
        file = self.out / f"{name}.json"
        asked = {"data": str(self.data.resolve()), "seed": self.seed, "iterations": self.iterations}
        if not file.is_file():
            write_json(file, {"asked": asked, "result": asdict(compute())})
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["asked"] != asked:
            raise RunError(f"{file}: holds {kept['asked']}, expected {asked}; choose another --out")
        found = kept["result"]
        dice = {id: math.nan if value is None else value for id, value in found["dice"].items()}
        return Result(**found | {"dice": dice, "patch": tuple(found["patch"])})

    def unet(self) -> Result:
        """Train, answer and score with the U-Net."""
        run, masks = self.out / "unet", self.out / "unet-masks"
        threads = [] if self.threads is None else ["--threads", self.threads]
        steps = [] if self.iterations is None else ["--steps", self.iterations]
        words = ("--preset", "quick", "--seed", self.seed)
        scantling("train", "unet", "--data", self.data, "--out", run, *words, *steps, *threads)
        scantling("predict", run, self.data, "--split", "test", "--out", masks, *threads)
        facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
        settings = facts["settings"]
        return Result(
            *self.scores(masks), facts["steps"], settings["batch"], tuple(settings["patch"]), facts["seconds"]
        )

    def nnunet(self, samples: int) -> Result:
        """Train, answer and score with nnU-Net for at least so many samples.

        Raises:
            SettingsError: nnU-Net is not installed.
        """
        if find_spec("nnunetv2") is None:
            raise SettingsError(MISSING)
        folder = self.out / "nnunet"
        threads = self.threads or os.cpu_count() or 1
        os.environ |= {f"nnUNet_{part}": str(folder / part) for part in ("raw", "preprocessed", "results")}
        os.environ |= {"nnUNet_def_n_proc": str(threads)}  # also bounds the threads of its predictor
        scantling("export", self.data, "--to", "nnunet", "--out", folder / "raw", "--number", 501)
        (raw,) = (folder / "raw").glob("Dataset501_*")
        with (folder / "log.txt").open("a", encoding="utf-8") as log, redirect_stdout(log):
            plans, name = planned(folder, raw.name)
            plan = plans["configurations"][name]
            batch, patch = plan["batch_size"], tuple(plan["patch_size"])
            iterations = self.iterations or iterations_for(samples, batch, patch)
            trained = self.trained(raw, plans, name, iterations, threads)
            masks = answered(trained.parent.parent, raw / "imagesTs", folder / "masks")
        seconds = json.loads((trained.parent / "progress.json").read_text(encoding="utf-8"))["seconds"]
        return Result(*self.scores(masks), iterations, batch, patch, seconds)

    def trained(self, raw: Path, plans: Mapping[str, Any], name: str, iterations: int, threads: int) -> Path:
        """The weights of nnU-Net's own trainer, an iteration an epoch for its schedule; goes on where it stopped."""
        import torch
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer as Trainer

        torch.set_num_threads(threads)
        os.environ |= {"nnUNet_n_proc_DA": "0"}  # augmentation in this process
        data = json.loads((raw / "dataset.json").read_text(encoding="utf-8"))
        trainer = Trainer({**plans, "continue_training": False}, name, "all", data, torch.device("cpu"))
        trainer.num_epochs = iterations
        folder = Path(trainer.output_folder)
        final, latest, progress = (
            folder / part for part in ("checkpoint_final.pth", "checkpoint_latest.pth", "progress.json")
        )
        if final.is_file():
            return final
        if latest.is_file():
            trainer.load_checkpoint(str(latest))
        first = trainer.current_epoch
        before = json.loads(progress.read_text(encoding="utf-8"))["seconds"] if first else 0.0
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(1_000_003 * self.seed + first)
        trainer.on_train_start()
        trainer.network.train()
        begun = saved = told = time.perf_counter()
        for iteration in range(first, iterations):
            trainer.lr_scheduler.step(iteration)
            trainer.train_step(next(trainer.dataloader_train))
            now, done = time.perf_counter(), iteration + 1
            if done == iterations or now - told > TOLD_EVERY:
                each = (now - begun) / (done - first)
                tell(f"{self.data.name}: nnU-Net, {done:,} of {iterations:,} iterations, {each:.2f} s each")
                told = now
            if done == iterations or now - saved > SAVED_EVERY:
                trainer.current_epoch = iteration  # a checkpoint says the next one
                trainer.save_checkpoint(f"{latest}.part")
                write_json(progress, {"iterations": done, "seconds": before + now - begun})
                os.replace(f"{latest}.part", final if done == iterations else latest)
                saved = now
        latest.unlink(missing_ok=True)
        return final

    def scores(self, masks: Path) -> tuple[dict[str, float], dict[str, str]]:
        """Dice and subject of each test case."""
        file = masks.with_name(f"{masks.name}-scores.json")
        scantling("evaluate", masks, self.data, "--split", "test", "--metrics", "dice", "--json", file)
        cases = json.loads(file.read_text(encoding="utf-8"))["cases"]
        return {case["id"]: case["dice"] for case in cases}, {case["id"]: case["subject"] for case in cases}


def iterations_for(samples: int, batch: int, patch: Sequence[int]) -> int:
    """The fewest iterations of `batch` patches of the shape `patch` that hold so many pixels or voxels, at least 1."""
    return max(1, -(-samples // (batch * math.prod(patch))))


def planned(folder: Path, name: str) -> tuple[dict[str, Any], str]:
    """nnU-Net's plans and the configuration of them that is used, for which the training data are preprocessed."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as planning

    done = folder / "planned.json"
    if not done.is_file():
        os.environ |= {"nnUNet_n_proc_DA": "1"}  # its planner takes this for its threads
        tell(f"{name}: nnU-Net plans and preprocesses")
        planning.extract_fingerprint_dataset(501, num_processes=1, verbose=False, show_progress_bar=False)
        plans, _ = planning.plan_experiment_dataset(501)
        chosen = "3d_fullres" if "3d_fullres" in plans["configurations"] else "2d"
        planning.preprocess_dataset(501, configurations=(chosen,), num_processes=(1,), show_progress_bar=False)
        write_json(done, {"configuration": chosen})
    plans = json.loads((folder / "preprocessed" / name / "nnUNetPlans.json").read_text(encoding="utf-8"))
    return plans, json.loads(done.read_text(encoding="utf-8"))["configuration"]


def answered(model: Path, images: Path, masks: Path) -> Path:
    """The masks of nnU-Net's own predictor, tiled and mirrored as it does by default."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor as Predictor

    masks.mkdir(parents=True, exist_ok=True)
    predictor = Predictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), ("all",), "checkpoint_final.pth")
    tell(f"{masks.parent.parent.name}: nnU-Net predicts")
    predictor.predict_from_files_sequential(str(images), str(masks))
    return masks


def difference(unet: Result, nnunet: Result) -> Paired:
    """The Dice of the U-Net less that of nnU-Net, over the test cases that both have."""
    ids = sorted({*unet.dice} & {*nnunet.dice})
    one, other = (np.array([result.dice[id] for id in ids]) for result in (unet, nnunet))
    return paired(one, other, [unet.subjects[id] for id in ids], most=1.0)


def main(words: Sequence[str] | None = None) -> int:
    """Do what is left to do, and print the table; 1 if the U-Net is below, or a set cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds the sets")
    parser.add_argument("--out", type=Path, default=Path("nnunet"), help="for all that is made (default: nnunet)")
    parser.add_argument("--sets", nargs="+", default=SETS, help=f"data sets (default: {' '.join(SETS)})")
    parser.add_argument("--seed", type=int, default=0, help="of both trainings (default 0)")
    parser.add_argument("--threads", type=int, help="of both (default: all cores)")
    parser.add_argument("--iterations", type=int, help="of both, to try the command; the table then means nothing")
    of = parser.parse_args(words)
    print(f"{'':<26}{'Dice':>8}{'steps':>9}  {'batch, patch':<19}{'samples':>11}{'seconds':>11}")
    below = False
    try:
        for name in of.sets:
            cell = Cell(of.data / name, of.out.resolve() / name, of.seed, of.iterations, of.threads)
            unet = cell.once("unet", cell.unet)
            nnunet = cell.once("nnunet", lambda cell=cell, unet=unet: cell.nnunet(unet.samples))
            found = difference(unet, nnunet)
            low, high = found.interval
            below |= high < 0
            print(f"{name:<16}{'U-Net':<10}{unet.line()}\n{'':<16}{'nnU-Net':<10}{nnunet.line()}")
            print(f"{'':<16}U-Net - nnU-Net {found.difference:+.4f} [{low:+.4f}, {high:+.4f}] on {len(unet.dice)} test "
                  f"cases: {'below' if high < 0 else 'not below'} by more than the interval", flush=True)  # fmt: skip
    except ScantlingError as error:
        tell(str(error))
        return 1
    except subprocess.CalledProcessError as error:  # the command has said why
        return error.returncode
    return int(below)


def scantling(*words: object) -> None:
    """Run a command of the package; its log goes through."""
    subprocess.run([sys.executable, "-m", "scantling", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def tell(sentence: str) -> None:
    """On standard error."""
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
