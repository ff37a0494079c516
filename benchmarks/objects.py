"""How much of a data set's objects each rule finds again from perfect maps: what no network can get better than.

    python benchmarks/objects.py DATA

DATA has instance maps. Each is made into the maps that `hover-net` and `unet-watershed` learn, and these into objects
again; "components" are the connected pieces of the mask, which know nothing of objects. One table over all objects.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from scantling.data.dataset import open_dataset
from scantling.metrics.instances import instances
from scantling.objects import distance_map, hover_instances, hover_maps, rim_map, seeded_instances

Rule = Callable[[np.ndarray], np.ndarray]


def by_maps(numbers: np.ndarray, *, kernel: int = 21, keep_unmarked: bool = True) -> np.ndarray:
    """The energy watershed."""
    return hover_instances(numbers > 0, hover_maps(numbers), kernel=kernel, keep_unmarked=keep_unmarked)


def by_rim(numbers: np.ndarray, *, width: int) -> np.ndarray:
    """From what is not the rim."""
    return seeded_instances(numbers > 0, ~rim_map(numbers, width=width))


RULES: Mapping[str, Rule] = {
    "maps": by_maps,
    "maps, unmarked pieces dropped": partial(by_maps, keep_unmarked=False),
    "maps, Sobel kernel of 5": partial(by_maps, kernel=5),
    "rim of 1": partial(by_rim, width=1),
    "rim of 2": partial(by_rim, width=2),
    "distance": lambda numbers: seeded_instances(numbers > 0, distance_map(numbers)),
    "components": lambda numbers: seeded_instances(numbers > 0, numbers > 0),
}


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 1 where the data have no instance maps."""
    parser = argparse.ArgumentParser(description="objects from perfect maps")
    parser.add_argument("data")
    dataset = open_dataset(parser.parse_args(arguments).data)
    dataset = dataset.with_instances(dataset.labels)
    maps = [
        numbers for case in dataset if (numbers := case.load(reads=("instances",)).instances) is not None
    ]  # fmt: skip
    if not maps:
        print(f"{dataset.root}: found no instance maps; expected a folder instances", file=sys.stderr)
        return 1
    print("| Rule | AJI | F1 at .5 | objects found | true | merges | splits | s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, rule in RULES.items():
        start = time.process_time()
        found = [rule(numbers) for numbers in maps]
        took = time.process_time() - start
        first, *others = [instances(one, true, distances=False) for one, true in zip(found, maps, strict=True)]
        all_of = sum(others, first)
        print(
            f"| {name} | {all_of.aji:.3f} | {all_of.f1(0.5):.3f} | {all_of.predicted} | {all_of.true} "
            f"| {all_of.merges} | {all_of.splits} | {took:.1f} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
