"""What corrections are worth: an annotator by rule corrects what `next` proposes, against cases by chance.

A run on few labels (`--labels`) says its masks of the other training images. For each rule of `--by` the first cases
that it proposes are corrected: the annotator replaces the mask by the true one, through the same address that the
browser writes to, so that nothing but what a person could have sent reaches the training. Then the method is trained
again, from nothing, on the same labels and the corrections. The Dice is that of the test patients, before and after.

The seconds of a correction are a guess that is said with it (`--seconds-a-case`): nobody was timed.

    python benchmarks/corrections.py data/acdc --out runs/corrections --by both random foreground --count 10 \\
        --labels 7 --steps 1000 --seeds 3
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

import scantling
from scantling.core.case import Case
from scantling.data.dataset import Dataset, open_dataset
from scantling.report.viewer_planes import Upright
from scantling.viewing.opened import open_correctable
from scantling.viewing.server import CaseServer


def runs_of(layer: np.ndarray) -> list[int]:
    """The lengths of runs of 0, 1, 0, ... of a layer."""
    flat = layer.astype(np.uint8).ravel()
    ends = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1, [flat.size]])
    runs: list[int] = np.diff(ends).tolist()
    return [0, *runs] if flat[0] else runs


def corrected(server: CaseServer, dataset: Dataset, case: Case, *, seconds: float) -> None:
    """Send the true mask of a case to the server as a page would."""
    sample = dataset[case.id].load(reads=("image", "mask"))
    labels = dataset.labels
    if sample.mask is None or labels is None:
        raise SystemExit(f"{case.id}: has no true mask to correct by")
    upright = Upright.of(sample.geometry)
    one = len(sample.mask) == 1
    layers = [
        upright(sample.mask[0] == number if one else sample.mask[number - 1] == 1)
        for number in range(1, len(labels.names) + 1)
    ]
    content = {
        "shape": list(layers[0].shape), "layers": [runs_of(layer) for layer in layers], "seconds": seconds,
        "slices": None, "author": "by rule",
    }  # fmt: skip
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", f"/{server.token}/save/{case.id}", json.dumps(content), headers)
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"{case.id}: {answer.read().decode()}")
    connection.close()


def dice_of(run: Path, data: Path, out: Path, threads: int | None) -> float:
    """The mean Dice of a run on the test cases."""
    masks = scantling.predict(run, data, out=out, split="test", threads=threads)
    if masks.failed:
        raise SystemExit(f"{run}: {masks.failed[0]}")
    return float(scantling.evaluate(out, data, split="test", metrics=["dice"]).facts()["mean"]["dice"])


def main(arguments: list[str]) -> None:
    """Train, correct, train on, and tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--by", nargs="+", default=["both", "random"])
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--labels", default="7")
    parser.add_argument("--preset", default="quick", choices=("quick", "paper", "tiny"))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--dimensions", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--seconds-a-case", type=float, default=120.0)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args(arguments)
    dataset = open_dataset(given.data)
    how: dict[str, Any] = {
        "preset": given.preset, "steps": given.steps, "settings": {"dimensions": given.dimensions},
        "labels": given.labels, "threads": given.threads,
    }  # fmt: skip
    before, after = list[float](), dict[str, list[float]]()
    for seed in range(given.seeds):
        place = given.out / f"seed-{seed}"
        first = scantling.train("unet", given.data, place / "first", seed=seed, label_seed=seed, **how)
        before.append(dice_of(first.path, given.data, place / "first-masks", given.threads))
        print(f"seed {seed}: {given.labels} labelled subjects: Dice {before[-1]:.4f}", flush=True)
        for by in given.by:
            found = scantling.next_cases(
                first.path, given.data, count=given.count, by=by, seed=seed, threads=given.threads
            )
            folder = place / f"corrections-{by}"
            opened = open_correctable(found.predictions, data=given.data, out=folder, author="by rule")
            server = CaseServer(opened.shown, save=opened.save, state=opened.corrections.state)
            thread = threading.Thread(target=server.run, daemon=True)
            thread.start()
            for one in found.proposed:
                if opened.corrections.of(one.case.id) is None:
                    corrected(server, dataset, one.case, seconds=given.seconds_a_case)
            server.close()
            thread.join()
            again = scantling.train(
                "unet", [given.data, folder], place / f"then-{by}", seed=seed, label_seed=seed, **how
            )
            score = dice_of(again.path, given.data, place / f"then-{by}-masks", given.threads)
            after.setdefault(by, []).append(score)
            minutes = opened.corrections.state()["minutes"]
            print(
                f"seed {seed}: {len(found.proposed)} corrected by {by} ({minutes} min, a guess): Dice {score:.4f}, "
                f"{score - before[-1]:+.4f}",
                flush=True,
            )
    print(f"\n{'':<14}Dice of {given.seeds} seed(s) on the test cases")
    print(f"{'before':<14}{statistics.mean(before):.4f}")
    for by, scores in after.items():
        gains = [one - other for one, other in zip(scores, before, strict=True)]
        print(f"{by:<14}{statistics.mean(scores):.4f}  gain {statistics.mean(gains):+.4f}")


if __name__ == "__main__":
    main(sys.argv[1:])
