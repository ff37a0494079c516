"""Whether made images follow the structures that they were painted after, and how alike they are.

    scantling train multimodal-gan --data DATA --out RUN --preset quick [--settings.painting_rate 0.001]
    scantling synthesize RUN --count 32 --out MADE
    python benchmarks/painting.py MADE [MADE ...] [--channel N] [--rule planned]

Of each folder: the overlap (Dice) of the structure of each image, by the rule, with the structure that it was painted
after, and with those of other cases; the correlation of pairs of images; the mean intensity, in units of the greatest.
An image that follows its structure overlaps with its own much more than with others.
"""

from __future__ import annotations

import argparse
import sys
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from scantling.core.errors import DataError, ScantlingError
from scantling.data.dataset import open_dataset
from scantling.data.loading import load
from scantling.metrics.overlap import confusion
from scantling.phantoms.structure import plane_of, rule_named, structure_map


def followed(made: Path, *, channel: int | None, rule: str) -> dict[str, float]:
    """The measures of one folder.

    Raises:
        ScantlingError: it holds fewer than two cases with an image and a sketch.
    """
    images, drawn, again = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
    for case in open_dataset(made).cases:
        sketch = made / "sketches" / f"{case.id}.png"
        if not (case.images and sketch.is_file()):
            continue
        plane = plane_of(load(case, reads=("image",)).image, channel)
        images.append(plane.astype(np.float64))
        drawn.append(np.asarray(Image.open(sketch)) > 0)
        again.append(structure_map(plane, rule_named(rule)))
    if len(images) < 2:
        raise DataError(f"{made}: found {len(images)} cases with an image and a sketch; expected what a run has made")
    pairs = range(len(images))
    overlaps = {(a, b): confusion(again[a], drawn[b]).dice for a, b in product(pairs, pairs)}
    greatest = max(float(image.max()) for image in images) or 1.0
    return {
        "own": float(np.nanmean([value for (a, b), value in overlaps.items() if a == b])),
        "other": float(np.nanmean([value for (a, b), value in overlaps.items() if a != b])),
        "alike": float(np.mean(np.corrcoef([image.ravel() for image in images])[~np.eye(len(images), dtype=bool)])),
        "mean": float(np.mean([image.mean() for image in images])) / greatest,
    }


def main() -> int:
    """Print a line for each folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("made", nargs="+", type=Path)
    parser.add_argument("--channel", type=int, default=None, help="whose structure is looked at; the mean of all")
    parser.add_argument("--rule", default="planned")
    given = parser.parse_args()
    print("made                             own   other   alike    mean")
    try:
        for folder in given.made:
            found = followed(folder, channel=given.channel, rule=given.rule)
            print(f"{folder.name:<30}" + "".join(f"{value:8.3f}" for value in found.values()))
    except ScantlingError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
