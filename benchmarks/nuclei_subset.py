"""Which patches to label first: a data set of those nearest to the centres of clusters of features (as in NuDiff).

    python benchmarks/nuclei_subset.py --data data/monuseg --features runs/unet --share 10% --out subset-10
        [--patch 256] [--stride 128] [--clusters 6] [--seed 0]

The patches are of training slides, which the split of the data keeps apart from the others; those and their instance
maps are written beside them as they are. `--features` is a run of a segmenter or an encoder, or MODULE:FACTORY, as in
`scantling assess`; the paper takes a ResNet-50 of ImageNet. Made for `nuclei-diffusion` and for the control without it:
a smaller share lies in a larger one of the same seed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from scantling.core.atomic import write_json
from scantling.core.case import Case, Sample
from scantling.core.errors import DataError, ScantlingError
from scantling.data.dataset import Dataset
from scantling.data.division import divide
from scantling.data.files import write_image, write_labels
from scantling.data.label_budget import parsed_labels
from scantling.data.loading import load
from scantling.data.opening import OPENING
from scantling.evaluation.named_features import open_features
from scantling.experiments.representative import CLUSTERS, nearest_to_centres
from scantling.inference.common_grid import common_grid


@dataclass(frozen=True)
class Patch:
    """A square of a slide.

    Attributes:
        sample: its image and its instance map.
        objects: how many lie in it.
    """

    sample: Sample
    place: str
    objects: int


def patches_of(sample: Sample, *, patch: int, stride: int) -> Iterator[Patch]:
    """The patches of a slide, the last ones against its border; of a smaller slide the whole of it."""
    shape = sample.geometry.shape
    starts = [sorted({*range(0, max(n - patch, 0) + 1, stride), max(n - patch, 0)}) for n in shape]
    for y in starts[0]:
        for x in starts[1]:
            window = (slice(y, y + patch), slice(x, x + patch))
            instances = np.zeros(shape, np.int32) if sample.instances is None else sample.instances
            part = instances[window]
            geometry = replace(sample.geometry, shape=part.shape)
            cut = replace(sample, image=sample.image[:, *window], instances=part, geometry=geometry)
            yield Patch(cut, f"{y}-{x}", len(np.unique(part[part > 0])))


def slides_of(dataset: Dataset, split: str) -> Iterator[tuple[Case, Sample]]:
    """The slides of a split that have an image and an instance map."""
    for case in dataset.cases:
        if case.split == split and case.images and case.instances is not None:
            yield case, load(case, reads=("image", "instances"))


def written(out: Path, case: Case, sample: Sample, id: str) -> dict[str, Any]:
    """Write an image and its instance map; the entry of the manifest."""
    if sample.instances is None:
        raise DataError(f"{case.id}: found no instance map")
    colour = len(sample.image) == 3
    image = write_image(out / "images", id, sample.image, sample.geometry, colour=colour)
    instances = write_labels(out / "instances", id, sample.instances, sample.geometry)
    paths = {"images": image.relative_to(out).as_posix(), "instances": instances.relative_to(out).as_posix()}
    return {"id": id, "subject": case.subject, "split": case.split, **paths}


def subset(
    data: Path, features: str, out: Path, *, share: float, patch: int, stride: int, clusters: int, seed: int
) -> dict[str, Any]:
    """Write the data set; what was chosen, in numbers.

    Raises:
        ScantlingError: there are no training slides with instance maps, or the features cannot be read.
    """
    dataset = divide(OPENING.open(data), validation=0.2)
    dataset = dataset.with_instances(dataset.label_source.resolved)
    training = [case for case in dataset.split("train") if case.images and case.instances is not None]
    if not training:
        raise DataError(f"{data}: found no training slide with an instance map")
    read = open_features(features, common_grid(training))
    found = [
        (case, one)
        for case, sample in slides_of(dataset, "train")
        for one in patches_of(sample, patch=patch, stride=stride)
    ]
    rows = np.stack([read.read(one.sample) for _, one in found])
    objects = np.array([one.objects for _, one in found])
    chosen = nearest_to_centres(rows, objects, share=share, clusters=clusters, seed=seed)
    cases = [written(out, found[n][0], found[n][1].sample, f"{found[n][0].id}-{found[n][1].place}") for n in chosen]
    for split in ("validation", "test"):
        cases += [written(out, case, sample, case.id) for case, sample in slides_of(dataset, split)]
    write_json(out / "scantling.json", {"name": out.name, "case": cases})
    return {
        "features": read.name,
        "patches": len(found),
        "chosen": len(chosen),
        "objects": int(objects.sum()),
        "objects chosen": int(objects[chosen].sum()),
        "slides": len({found[n][0].subject for n in chosen}),
    }


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--features", required=True)
    parser.add_argument("--share", default="10%")
    parser.add_argument("--out", type=Path, required=True)
    for name, value in {"patch": 256, "stride": 128, "clusters": CLUSTERS, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    of = parser.parse_args()
    try:
        share = parsed_labels(of.share)
        if not isinstance(share, Fraction):
            raise DataError(f"--share {of.share}: expected a percentage of the objects, such as 10%")
        done = subset(
            of.data, of.features, of.out, share=float(share), patch=of.patch, stride=of.stride, clusters=of.clusters,
            seed=of.seed,
        )  # fmt: skip
    except ScantlingError as error:
        print(error, file=sys.stderr)
        return 1
    print(", ".join(f"{name} {value}" for name, value in done.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
