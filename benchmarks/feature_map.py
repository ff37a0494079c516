"""Which blocks and timesteps of a diffusion model serve a head best: one `fedd` for each, scored on validation cases.

    python benchmarks/feature_map.py --data DATA --encoder RUN --out feature-map [--labels 20] [--blocks 2,6,8]
        [--timesteps 0,100,250] [--preset quick] [--steps N]

Writes `feature-map.json` and draws `feature-map.svg`; prints the table. Blocks are all of the decoder unless named, of
the 18 of the public network 2 to 14; timesteps nine from 0 to the end of the chain. No test case is read. A training
that is done is not done again, so the command can be stopped and repeated.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scantling.core.atomic import write_json, write_text
from scantling.core.errors import ScantlingError, SettingsError
from scantling.methods.features.pretrain import DiffusionPretrain
from scantling.records.run_folder import load_model
from scantling.training import Options, train

NOISE = (0, 0.05, 0.1, 0.15, 0.25, 0.4, 0.6, 0.8, 1)
"""The timesteps, as shares of the chain."""
PUBLIC = 18
SIDE = 64
"""Pixels of a cell of the picture."""


@dataclass(frozen=True)
class Sweep:
    """What is tried, and how."""

    data: Path
    encoder: Path
    out: Path
    labels: str | None
    blocks: tuple[int, ...]
    timesteps: tuple[int, ...]
    preset: str
    steps: int | None
    seed: int = 0

    def scores(self) -> dict[str, dict[str, float]]:
        """Validation Dice by block and timestep."""
        return {str(b): {str(t): self.score(b, t) for t in self.timesteps} for b in self.blocks}

    def score(self, block: int, timestep: int) -> float:
        """Validation Dice of one head on one map, trained if it is not yet."""
        run = self.out / f"block-{block:02d}-timestep-{timestep:04d}"
        options = Options(
            preset=self.preset, steps=self.steps, seed=self.seed, labels=self.labels, uses={"encoder": self.encoder},
            settings={"blocks": (block,), "timesteps": (timestep,), "heads": 1},
        )  # fmt: skip
        train("fedd", [self.data], run, options)
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        found = [line["validation"]["dice"] for line in lines if "validation" in line]
        if not found:
            raise SettingsError(f"{self.data}: found no validation case with a mask; add cases, or raise --labels")
        return float(found[-1])


def drawn(scores: Mapping[str, Mapping[str, float]]) -> str:
    """The map as SVG: a row for each block, a column for each timestep, the best cell framed."""
    columns = list(next(iter(scores.values())))
    known = [value for row in scores.values() for value in row.values() if math.isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=1.0)
    width, height = (len(columns) + 1) * SIDE, (len(scores) + 2) * SIDE // 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        'font-size="12" text-anchor="middle">',
        f'<text x="{width // 2}" y="14">Validation Dice by block (rows) and timestep (columns)</text>',
    ]
    for row, (block, values) in enumerate([("", dict.fromkeys(columns, math.nan)), *scores.items()], start=1):
        y = row * SIDE // 2
        parts.append(f'<text x="{SIDE // 2}" y="{y + SIDE // 3}">{block}</text>')
        for column, (timestep, value) in enumerate(values.items(), start=1):
            x = column * SIDE
            told = timestep if not block else f"{value:.3f}"
            share = (value - low) / (high - low) if high > low and math.isfinite(value) else 0.0
            frame = ' stroke="black" stroke-width="2"' if value == high else ""
            if block:
                parts.append(
                    f'<rect x="{x + 1}" y="{y + 1}" width="{SIDE - 2}" height="{SIDE // 2 - 2}" '
                    f'fill="rgb({round(255 - 155 * share)},{round(255 - 75 * share)},255)"{frame}/>'
                )
            parts.append(f'<text x="{x + SIDE // 2}" y="{y + SIDE // 3}">{told}</text>')
    return "\n".join([*parts, "</svg>", ""])


def table(scores: Mapping[str, Mapping[str, float]]) -> str:
    """The map as Markdown."""
    columns = list(next(iter(scores.values())))
    rows = [["Block", *(f"t = {timestep}" for timestep in columns)], ["---"] * (len(columns) + 1)]
    rows += [[block, *(f"{value:.3f}" for value in row.values())] for block, row in scores.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def swept(arguments: argparse.Namespace) -> Sweep:
    """The sweep that the arguments ask for.

    Raises:
        SettingsError: the encoder is no diffusion model.
    """
    model = load_model(arguments.encoder)
    if not isinstance(model, DiffusionPretrain):
        raise SettingsError(f"{arguments.encoder}: found a model of {model.card.name}, expected diffusion-pretrain")
    count, last = len(model.decoded), model.settings.chain - 1
    blocks = range(2, 15) if count == PUBLIC else range(count)
    return Sweep(
        data=arguments.data,
        encoder=arguments.encoder,
        out=arguments.out,
        labels=arguments.labels,
        blocks=_numbers(arguments.blocks) or tuple(blocks),
        timesteps=_numbers(arguments.timesteps) or tuple(dict.fromkeys(round(share * last) for share in NOISE)),
        preset=arguments.preset,
        steps=arguments.steps,
    )


def _numbers(given: str | None) -> tuple[int, ...]:
    return () if given is None else tuple(int(word) for word in given.split(","))


def main(words: Sequence[str] | None = None) -> int:
    """Try all and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True, help="a run of diffusion-pretrain")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--labels", help="how many labelled subjects, or a share such as 10%%; all unless said")
    parser.add_argument("--blocks")
    parser.add_argument("--timesteps")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--steps", type=int)
    arguments = parser.parse_args(words)
    try:
        sweep = swept(arguments)
        scores = sweep.scores()
    except ScantlingError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    best = max(((value, b, t) for b, row in scores.items() for t, value in row.items()), key=lambda one: one[0])
    found: dict[str, Any] = {
        "made_by": "benchmarks/feature_map.py", "data": str(sweep.data), "encoder": str(sweep.encoder),
        "labels": sweep.labels, "dice": scores, "best": {"block": int(best[1]), "timestep": int(best[2])},
    }  # fmt: skip
    write_json(sweep.out / "feature-map.json", found)
    write_text(sweep.out / "feature-map.svg", drawn(scores))
    sys.stdout.write(
        f"{table(scores)}\n\nbest on validation: block {best[1]}, timestep {best[2]}, Dice {best[0]:.3f}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
