"""What evidence of several modalities is worth: `ei-ddpm` beside stacked channels and beside runs of single modalities.

    python benchmarks/evidence.py --data DATA --out evidence [--channels T1,FLAIR,T1ce] [--seeds 3]
        [--minutes 5 | --steps N] [--preset quick] [--labels N] [--kinds noise,blank,missing] [--small]

Trains, for each seed, `ei-ddpm` and a `unet` on all channels (`stacked`, early fusion), and a `unet` on each channel
alone, which share the minutes of one. The single ones answer each by itself (`single`, the mean of their scores),
together by their mean (`mean`) and by Dempster's rule (`dempster`), discounted by reliabilities that are learnt on
validation cases. Then every channel of the test cases in turn is given noise of its own deviation (`noise`), set to 0
(`blank`) or left out (`missing`; `stacked`, which cannot do without, is then given 0, and of `single` the others
answer), and all answer again. Prints Dice on the test cases, clean and corrupted, and what each loses by it; writes
`evidence.json`, with the reliabilities of each modality.

The channels of a file become files of their own below the output folder. What is trained or scored is not done again,
so that the command can be stopped and repeated. `--small` is a try of moments, whose figures say nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from scantling.contract.options import LEARN
from scantling.core.atomic import write_json
from scantling.core.case import IGNORE, Address, Case
from scantling.core.errors import DataError, RunError, ScantlingError, SettingsError
from scantling.core.machine import Compute
from scantling.core.randomness import numpy_generator
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.files import write_image, write_labels
from scantling.data.loading import load
from scantling.data.manifest_file import write_manifest
from scantling.experiments.kept_scores import scores_once
from scantling.inference.models import open_models
from scantling.inference.reliabilities import learn
from scantling.records.run_folder import load_model
from scantling.training import Options, train

ARMS = ("ei-ddpm", "stacked", "single", "mean", "dempster")
KINDS = ("noise", "blank", "missing")
CLEAN = "clean"
SMALL: Mapping[str, Any] = {"preset": "tiny", "minutes": None, "steps": 2, "seeds": 1, "few": True}
FEW: Mapping[str, int] = {"train": 10, "test": 2}
"""Subjects of each split that `--small` takes, and `FEW_CASES` cases of each."""
FEW_CASES = 4


@dataclass(frozen=True)
class Trial:
    """What is trained, and how; minutes of None are the steps given, or those of the preset."""

    data: Path
    out: Path
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    seeds: int
    labels: str | None
    minutes: float | None
    steps: int | None
    preset: str
    threads: int | None
    few: bool = False

    # The data, a file for each channel

    def whole(self) -> Dataset:
        """The data set with its channels in files of their own, written once."""
        folder = self.out / "data"
        if not (folder / "scantling.json").is_file():
            source = open_dataset(self.data)
            if source.labels is None or not source.labels.exclusive:
                raise DataError(f"{self.data}: expected masks of classes that exclude each other")
            cases = [case for case in source.cases if case.has("image")]
            entries = [self._written(case, source, folder) for case in (_few(cases) if self.few else cases)]
            classes = {name: number for number, name in enumerate(source.labels.names, start=1)}
            facts = {"name": source.name, "classes": classes, "ignore": IGNORE, "case": entries}
            write_json(folder / "scantling.json", facts)
        return open_dataset(folder)

    def _written(self, case: Case, source: Dataset, folder: Path) -> dict[str, Any]:
        sample = load(case, labels=source.labels, reads=("image", "mask"))
        names = self.names or (tuple(case.images) if len(case.images) == len(sample.image) else ())
        names = names or tuple(f"channel {n}" for n in range(1, len(sample.image) + 1))
        if len(names) != len(sample.image):
            raise SettingsError(f"--channels: found {len(names)} names; {case.id} has {len(sample.image)} channels")
        images = {
            name: write_image(folder / "images" / name, case.id, channel[None], sample.geometry, colour=False)
            for name, channel in zip(names, sample.image, strict=True)
        }
        found: dict[str, Any] = {"id": case.id, "subject": case.subject}
        if case.split is not None:
            found["split"] = case.split
        found["images"] = {name: path.relative_to(folder).as_posix() for name, path in images.items()}
        if sample.masks:
            mask = write_labels(folder / "masks", case.id, sample.masks[0][0], sample.geometry)
            found["masks"] = [mask.relative_to(folder).as_posix()]
        return found

    def only(self, whole: Dataset, channel: str) -> Path:
        """A manifest of the same cases with one channel."""
        path = whole.root / f"only {channel}.toml"
        if not path.is_file():
            cases = tuple(replace(case, images={channel: case.images[channel]}) for case in whole.cases)
            write_manifest(replace(whole, cases=cases), path, whole.labels)
        return path

    def corrupted(self, whole: Dataset, kind: str, channel: str) -> Dataset:
        """The data set whose test cases have a channel that is noisy, blank or missing."""
        folder, cases = self.out / "data" / kind / channel, list[Case]()
        for case in whole.cases:
            if case.split != "test":
                cases.append(case)
                continue
            images = dict(case.images)
            if kind == "missing":
                del images[channel]
            else:
                images[channel] = _corrupted_file(case, channel, kind, folder)
            cases.append(replace(case, images=images))
        return replace(whole, cases=tuple(cases))

    # The runs

    def run(self) -> dict[str, Any]:
        """The scores of all seeds, and the reliabilities."""
        whole = self.whole()
        channels = list(dict.fromkeys(name for case in whole.cases for name in case.images))
        sets = {CLEAN: whole} | {
            f"{kind} {channel}": self.corrupted(whole, kind, channel) for kind in self.kinds for channel in channels
        }
        found: dict[str, Any] = {"channels": channels, "seeds": []}
        for seed in range(self.seeds):
            ours = self.trained("ei-ddpm", [self.out / "data"], f"ei-ddpm-{seed}", seed)
            stacked = self.trained("unet", [self.out / "data"], f"stacked-{seed}", seed)
            share = None if self.minutes is None else self.minutes / len(channels)
            singles = {
                name: self.trained("unet", [self.only(whole, name)], f"{name}-{seed}", seed, share) for name in channels
            }
            learnt = self.reliabilities(list(singles.values()))
            scores = {
                name: self.arms(name, data, sets, ours, stacked, singles, learnt["believed"])
                for name, data in sets.items()
            }
            found["seeds"].append({"dice": scores, "ei-ddpm": dict(load_model(ours).learned()), "dempster": learnt})
        return found

    def trained(self, method: str, data: list[Path], name: str, seed: int, minutes: float | None = None) -> Path:
        """A run, trained if it is not yet."""
        run = self.out / name
        minutes = self.minutes if minutes is None else minutes
        steps = None if minutes is not None else self.steps
        options = Options(
            preset=self.preset, minutes=minutes, steps=steps, seed=seed, labels=self.labels, threads=self.threads
        )
        train(method, data, run, options)
        return run

    def reliabilities(self, runs: Sequence[Path]) -> dict[str, Any]:
        """How far each run of a single modality is to be believed, learnt on validation cases, with intervals."""
        models = open_models(runs, {"fuse": "dempster", "reliabilities": LEARN})
        try:
            return dict(learn(models, device=Compute(threads=self.threads).prepare(), autocast=None).facts)
        except RunError as error:  # none was held out, or none shows a class
            return {"believed": [[1.0]] * len(runs), "why": str(error)}

    # The scores

    def arms(
        self,
        name: str,
        data: Dataset,
        sets: Mapping[str, Dataset],
        ours: Path,
        stacked: Path,
        singles: Mapping[str, Path],
        believed: Sequence[Sequence[float]],
    ) -> dict[str, float]:
        """Dice of each arm on one of the data sets."""
        missing = name.removeprefix("missing ") if name.startswith("missing ") else ""
        blank = f"blank {missing}"
        whole = sets[CLEAN]
        filled = data if not missing else sets.get(blank) or self.corrupted(whole, "blank", missing)
        hit = name.partition(" ")[2]  # the corrupted channel
        alone = [
            self.score([run], *((data, name) if channel == hit else (whole, CLEAN)))
            for channel, run in singles.items()
            if channel != missing
        ]
        runs = list(singles.values())
        return {
            "ei-ddpm": self.score([ours], data, name),
            "stacked": self.score([stacked], filled, blank if missing else name),
            "single": mean(alone),
            "mean": self.score(runs, data, name, fuse="mean"),
            "dempster": self.score(runs, data, name, fuse="dempster", reliabilities=believed),
        }

    def score(self, runs: Sequence[Path], data: Dataset, name: str, **options: Any) -> float:
        """The mean Dice on the test cases of a data set, of runs together."""
        name = "_".join(filter(None, ("test", options.get("fuse", ""), name.replace(" ", "-"))))
        found = scores_once(
            runs, data, runs[0] / f"{name}.json", split="test", metrics=["dice"], options=options,
            compute=Compute(threads=self.threads),
        )  # fmt: skip
        return float(found.mean["dice"] or 0.0)


def _few(cases: Sequence[Case]) -> list[Case]:
    """Some cases of some subjects with masks, evenly spread over those of each."""
    found = list[Case]()
    for split, most in FEW.items():
        masked = [case for case in cases if case.masks and case.split == split]
        for subject in sorted({case.subject for case in masked})[:most]:
            own = [case for case in masked if case.subject == subject]
            places = np.linspace(0, len(own) - 1, 2 * min(len(own), FEW_CASES) + 1).round().astype(int)
            found += [own[place] for place in dict.fromkeys(places[1::2].tolist())]
    return found


def _corrupted_file(case: Case, channel: str, kind: str, folder: Path) -> Address:
    for path in folder.glob(f"{case.id}.*"):
        return Address(path)
    sample = load(replace(case, images={channel: case.images[channel]}), reads=("image",))
    image = sample.image
    if kind == "blank":
        image = np.zeros_like(image)
    else:
        noise = numpy_generator(0, case.id, channel).normal(0, max(float(image.std()), 1e-6), image.shape)
        noisy = image + noise
        if np.issubdtype(image.dtype, np.integer):
            bounds = np.iinfo(image.dtype)
            noisy = np.clip(np.rint(noisy), bounds.min, bounds.max)
        image = noisy.astype(image.dtype)
    return Address(write_image(folder, case.id, image, sample.geometry, colour=False))


def losses(found: Mapping[str, Any]) -> Iterator[tuple[str, str, float, float]]:
    """(corruption, arm, Dice, what it loses against the clean test cases), the means over the seeds."""
    names = list(found["seeds"][0]["dice"])
    for name in names:
        for arm in ARMS:
            dice = mean(one["dice"][name][arm] for one in found["seeds"])
            clean = mean(one["dice"][CLEAN][arm] for one in found["seeds"])
            yield name, arm, dice, clean - dice


def table(found: Mapping[str, Any]) -> str:
    """Dice and losses by corruption and arm, as lines."""
    lines = [f"{'':24}" + "".join(f"{arm:>20}" for arm in ARMS)]
    rows: dict[str, list[str]] = {}
    for name, _, dice, loss in losses(found):
        rows.setdefault(name, []).append(f"{dice:.3f}" + (f" (-{loss:.3f})" if name != CLEAN else ""))
    lines += [f"{name:24}" + "".join(f"{cell:>20}" for cell in cells) for name, cells in rows.items()]
    return "\n".join(line.replace("(--", "(+") for line in lines)


def main(words: Sequence[str] | None = None) -> int:
    """Train all, corrupt, score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--channels", default="", help="names for the channels, in their order")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--labels", help="how many labelled subjects, or a share such as 10%%; all unless said")
    parser.add_argument("--minutes", type=float, help="of each training; those of single modalities share them")
    parser.add_argument("--steps", type=int, help="of each training, in place of --minutes")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--small", action="store_true")
    arguments = vars(parser.parse_args(words))
    arguments |= SMALL if arguments.pop("small") else {}
    names = tuple(filter(None, arguments.pop("channels").split(",")))
    kinds = tuple(filter(None, arguments.pop("kinds").split(",")))
    try:
        if unknown := [kind for kind in kinds if kind not in KINDS]:
            raise SettingsError(f"--kinds: found {unknown[0]!r}; there are {', '.join(KINDS)}")
        trial = Trial(names=names, kinds=kinds, **arguments)
        found = trial.run()
    except ScantlingError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    write_json(trial.out / "evidence.json", {"made_by": "benchmarks/evidence.py", **found})
    sys.stdout.write(f"{table(found)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
