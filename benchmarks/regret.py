"""Configuration regret: what the U-Net's own plan loses against the best of hand-chosen grids, patches and depths.

    python benchmarks/regret.py --data DATA --out regret [--small] [--minutes 10] [--sets NAME ...]

Every set is trained with the plan and with each configuration of the sweep, one seed, for the same minutes
(`train --minutes`). The configuration of the sweep with the best validation score is chosen; then test masks are read
once, for it and for the plan. Regret is the test Dice of the chosen one less that of the plan. `--small`: four sets,
three minutes each, about an hour and a half. A training that is done is not done again, so the command can be stopped
and repeated (after a change of a recipe it needs another `--out`); two sets can run on two machines with `--sets`.
Exits with 1 if the mean regret is above .01, or one is above .02.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MEAN, MOST = 0.01, 0.02
SMALL = ("isic-2017", "drive", "dsb2018-nuclei", "msd-hippocampus")
SETS = (*SMALL, "kvasir-seg", "stu-hospital", "glas", "acdc-slices")
PICTURES: dict[str, list[str]] = {
    "full, patches of 128, 4 levels": ["pixels=16384", "spacing=1,1", "widths=16,32,64,128"],
    "full, patches of 256, 5 levels": ["pixels=65536", "spacing=1,1", "widths=16,32,64,128,128", "batch=2"],
    "whole at 128, 4 levels": ["longest=128", "widths=16,32,64,128"],
    "whole at 192, 6 levels": ["longest=192", "pixels=36864", "widths=16,32,64,128,128,128", "batch=4"],
    "whole at 64, 5 levels": ["longest=64", "widths=16,32,64,128,128", "batch=16"],
}
VOLUMES: dict[str, list[str]] = {
    "full, 32 x 40 x 32, 3 levels": ["spacing=1,1,1", "patch=32,40,32", "widths=16,32,64"],
    "full, 32 x 40 x 32, 4 levels": ["spacing=1,1,1", "patch=32,40,32", "widths=16,32,64,128"],
    "full, 32 x 48 x 32, batch 1": ["spacing=1,1,1", "patch=32,48,32", "widths=16,32,64,128", "batch=1"],
    "1.5 times coarser, whole": ["spacing=1.5,1.5,1.5", "patch=24,32,24", "widths=16,32,64,128"],
    "2 times coarser, whole": ["spacing=2,2,2", "patch=16,24,16", "widths=32,64,128", "batch=4"],
}
PLAN = "plan"


@dataclass(frozen=True)
class Cell:
    """One training of the table."""

    data: Path
    run: Path
    minutes: float
    settings: tuple[str, ...] = ()

    def validation(self) -> float:
        """Dice on the validation cases at the end, trained if it is not yet."""
        words = [word for setting in self.settings for word in _flag(setting)]
        scantling("train", "unet", "--data", self.data, "--out", self.run, "--preset", "quick",
                  "--minutes", self.minutes, "--seed", 0, *words)  # a run that is finished is left alone  # fmt: skip
        lines = [json.loads(line) for line in (self.run / "log.jsonl").read_text().splitlines()]
        return float([line["validation"]["dice"] for line in lines if "validation" in line][-1])

    def test(self) -> float:
        """Mean Dice on the test cases."""
        scores = self.run / "test.json"
        if not scores.is_file():
            masks = self.run / "test"
            scantling("predict", self.run, self.data, "--split", "test", "--out", masks)
            scantling("evaluate", masks, self.data, "--split", "test", "--json", scores)
        mean: dict[str, Any] = json.loads(scores.read_text())["mean"]  # over the classes, then over the cases
        return float("nan") if mean["dice"] is None else float(mean["dice"])


def main() -> int:
    """Print the table; 1 if the regret is above the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds the sets")
    parser.add_argument("--out", type=Path, default=Path("regret"), help="where the runs go (default: regret)")
    parser.add_argument("--small", action="store_true", help="four sets, three minutes")
    parser.add_argument("--minutes", type=float, help="of each training (default 10, or 3 with --small)")
    parser.add_argument("--sets", nargs="+", choices=SETS, help="only these")
    arguments = parser.parse_args()
    minutes = arguments.minutes or (3.0 if arguments.small else 10.0)
    regrets = []
    print(f"{'':<16}{'plan, val.':>11}{'test':>8}{'sweep, val.':>13}{'test':>8}{'regret':>9}  the best of the sweep")
    for name in arguments.sets or (SMALL if arguments.small else SETS):
        data = (
            acdc_slices(arguments.data / "acdc", arguments.out / name)
            if name == "acdc-slices"
            else arguments.data / name
        )
        sweep = VOLUMES if name == "msd-hippocampus" else PICTURES
        folder = arguments.out / f"{name}-{minutes:g}"
        plan = Cell(data, folder / PLAN, minutes)
        cells = {title: Cell(data, folder / _safe(title), minutes, tuple(words)) for title, words in sweep.items()}
        own = plan.validation()
        values = {title: cell.validation() for title, cell in cells.items()}
        best = max(values, key=lambda title: values[title])
        tested, chosen = plan.test(), cells[best].test()
        regrets.append(chosen - tested)
        print(f"{name:<16}{own:>11.4f}{tested:>8.4f}{values[best]:>13.4f}{chosen:>8.4f}{regrets[-1]:>9.4f}  {best}",
              flush=True)  # fmt: skip
    mean, most = float(np.mean(regrets)), max(regrets)
    print(f"mean regret {mean:.4f} (target {MEAN}), greatest {most:.4f} (target {MOST})")
    return int(mean > MEAN or most > MOST)


def scantling(*words: object) -> None:
    """Run a command of the package; its log goes through."""
    subprocess.run([sys.executable, "-m", "scantling", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def _flag(setting: str) -> list[str]:
    name, _, value = setting.partition("=")
    return [f"--settings.{name}", value]


def _safe(title: str) -> str:
    return title.replace(",", "").replace(" ", "-")


def acdc_slices(data: Path, out: Path) -> Path:
    """The slices of ACDC as pictures with masks and scribbles, and a manifest that keeps patients and splits."""
    manifest = out / "scantling.toml"
    if manifest.is_file():
        return out
    for split in ("train", "validation"):
        for file in sorted((data / split).glob("*.npz")):
            with np.load(file, allow_pickle=False) as arrays:
                image, label, scribble = arrays["image"], arrays["label"], arrays["scribble"]
            low, high = float(image.min()), float(image.max())
            grey = ((image - low) / max(high - low, 1e-9) * 65535).round().astype(np.uint16)
            for number, (one, *labels) in enumerate(zip(grey, label, scribble, strict=True)):
                planes = (one, *(each.astype(np.uint8) for each in labels))
                for kind, plane in zip(("images", "masks", "scribbles"), planes, strict=True):
                    path = out / split / kind / f"{file.stem}-{number:02d}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(plane).save(path)
    groups = "".join(
        f'\n[[group]]\npattern = "{split}/images/{{subject}}_{{rest}}.png"\nid = "{{subject}}_{{rest}}"\n'
        f'masks = "{split}/masks/{{subject}}_{{rest}}.png"\n'
        f'scribbles = "{split}/scribbles/{{subject}}_{{rest}}.png"\nspacing = [1.5, 1.5]\nsplit = "{role}"\n'
        for split, role in (("train", "train"), ("validation", "test"))
    )
    classes = '\n[classes]\n"right ventricle" = 1\nmyocardium = 2\n"left ventricle" = 3\n'
    manifest.write_text(f'name = "acdc-slices"\nignore = 4\n{classes}{groups}')
    return out


if __name__ == "__main__":
    sys.exit(main())
