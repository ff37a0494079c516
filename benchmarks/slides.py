"""What the answer of `hover-net` about a slide takes, and whether each object of a made one is found once.

    python benchmarks/slides.py [--sides 1920 3840]

Slides of discs on a jittered lattice, some of them touching, and a network that knows them: it reads the foreground and
the two maps from the channels of the image. The answer is written as `predict` does it, read again and evaluated as
`evaluate` does it. Each side is a process of its own; memory is the most that it held. Exits with 1 if the count of a
slide is wrong, or if the last slide takes more than `GROWTH` bytes for each pixel that it has more than the first: what
is kept of the whole are the image, the mask, the instance map and the masks of the objects.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scantling.core.case import Case, Geometry, Labels, Sample
from scantling.core.randomness import numpy_generator
from scantling.core.samples import Intensity, Traits
from scantling.data.files import read_labels
from scantling.inference.answering import segment
from scantling.inference.bands import answer_in_bands
from scantling.inference.tiles import Tiler
from scantling.inference.writing import write_answer
from scantling.methods.supervised.hover_net import HoVerNetSegmenter
from scantling.metrics.instance_overlaps import separated
from scantling.metrics.instances import instances
from scantling.objects import hover_maps

GROWTH = 40
BLOCK, STEP = 480, 24
"""Side of the block that a slide repeats, and of the lattice in it."""
LABELS = Labels(names=("disc",), values=((1,),))


class Known(HoVerNetSegmenter):
    """Answers what the channels of the image say."""

    def maps(self, image: Tensor) -> Tensor:
        return torch.cat([image[:, :1] / 255, image[:, 1:] / 127.5 - 1], 1)


def slide(side: int) -> tuple[np.ndarray, np.ndarray]:
    """The image (3, side, side) uint8 of a slide, whose side is a multiple of `BLOCK`, and its instance map."""
    draw, count = numpy_generator("slide"), BLOCK // STEP
    rows, columns = np.mgrid[:BLOCK, :BLOCK]
    block = np.zeros((BLOCK, BLOCK), np.int32)
    for number, place in enumerate(np.ndindex(count, count), start=1):
        row, column = (np.array(place) + 0.5) * STEP + draw.uniform(-1, 1, 2)
        inside = (rows - row) ** 2 + (columns - column) ** 2 <= (STEP / 2 - 0.5) ** 2
        block[inside & (block == 0)] = number
    image = np.concatenate([(block > 0)[None] * 255.0, (hover_maps(block) + 1) * 127.5]).round().astype(np.uint8)
    blocks = side // BLOCK
    first = np.arange(blocks**2, dtype=np.int32).reshape(blocks, blocks) * count**2
    repeated = np.tile(block, (blocks, blocks))
    return np.tile(image, (1, blocks, blocks)), np.where(
        repeated > 0, repeated + np.kron(first, np.ones_like(block)), 0
    )


def model() -> Known:
    """The method of a network without a training."""
    facts = Intensity(mean=0, std=1, low=0, high=1, minimum=0, maximum=255)
    traits = Traits(
        dimensions=2, channels=("inside", "right", "down"), spacing=(1.0, 1.0), shape=(256, 256), smallest=(256, 256),
        intensity=(facts,) * 3, labels=LABELS, labelled=1,
    )  # fmt: skip
    return Known(Known.Settings.preset("tiny", {"normalise": "none"}), traits).eval()


def alone(side: int) -> dict[str, float]:
    """Objects found and true, AJI, memory in 10^9 bytes when answered, written and evaluated, seconds of processor."""
    torch.set_num_threads(1)
    image, truth = slide(side)
    method, case = model(), Case(id="slide", subject="slide")
    geometry = Geometry((side, side), (1.0, 1.0), None, "raster")
    taken = {"side": float(side), "true": float(truth.max())}
    begun = time.process_time()
    about = partial(segment, method, tiler=Tiler(), device=torch.device("cpu"))
    found = answer_in_bands(about, Sample(case, image, geometry), [method], exclusive=True, maps=False)
    taken |= {"seconds": time.process_time() - begun, "answered": peak()}
    if found.objects is None:
        raise ValueError("hover-net finds objects")
    taken["found"] = float(len(found.objects.classes))
    with tempfile.TemporaryDirectory() as folder:
        written = write_answer(Path(folder), case, found, geometry, LABELS, maps=False)
        taken["written"] = peak()
        numbers, _ = read_labels(Path(folder) / written["files"][0])
        del found, image
        pair = (separated(each)[0] for each in (np.asarray(numbers).reshape(side, side), truth))
        taken["aji"] = instances(*pair, distances=False).aji
    return taken | {"evaluated": peak()}


def peak() -> float:
    """The most memory that this process has held, 10^9 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[1920, 3840])
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    of = parser.parse_args()
    if any(side < BLOCK or side % BLOCK for side in of.sides):
        parser.error(f"--sides: expected multiples of {BLOCK}")
    if of.alone:
        print(json.dumps(alone(of.sides[0])))
        return 0
    names = ("side", "true", "found", "aji", "seconds", "answered", "written", "evaluated")
    print("".join(f"{name:>11}" for name in names) + "   (memory in 10^9 bytes)")
    rows = []
    for side in of.sides:
        words = [sys.executable, __file__, "--sides", str(side), "--alone"]
        rows.append(json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout))
        print("".join(f"{rows[-1][name]:11.6g}" for name in names), flush=True)
    growth, right = 0.0, all(row["found"] == row["true"] for row in rows)
    if len(rows) > 1 and of.sides[-1] != of.sides[0]:
        more = of.sides[-1] ** 2 - of.sides[0] ** 2
        growth = (rows[-1]["written"] - rows[0]["written"]) * 1e9 / more
        print(f"{growth:.0f} bytes for each pixel more until written (at most {GROWTH})")
    print("each object once" if right else "the count of a slide is wrong")
    return 0 if right and growth <= GROWTH else 1


if __name__ == "__main__":
    raise SystemExit(main())
