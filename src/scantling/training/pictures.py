"""What a method has to show of itself on one image: PNGs in `samples/`, with their captions, for the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from scantling.contract.method import Method
from scantling.contract.step import Inference
from scantling.core.atomic import write_json
from scantling.core.case import Case, Geometry, Sample
from scantling.core.errors import ScantlingError
from scantling.data.files import write_image
from scantling.data.loading import load
from scantling.data.pictures import View, lettered, resized
from scantling.data.preprocessing import preprocess
from scantling.inference.one_model import batches_of

SAMPLES, CAPTIONS = "samples", "captions.json"
SMALLEST = 256
"""Pixels of the longer side of a picture that has letters at its borders or pixels that are not square, at least."""


def _readable(method: Method, cases: Sequence[Case]) -> Iterator[Sample]:
    """The images that can be read; of the others the answers to the validation cases say why."""
    for case in cases:
        if case.has("image"):
            with suppress(ScantlingError):
                yield load(case, channels=method.channels, reads=("image", "region"), partial=method.partial)


def draw(method: Method, cases: Sequence[Case], run: Path, *, device: torch.device) -> None:
    """Draw the pictures of `method`, if it looks at images, on the first that is read, of a volume on its middle."""
    sample = next(_readable(method, cases), None) if method.channels else None
    if sample is None:
        return
    case = sample.case
    shape, slicing = sample.geometry.shape, method.preprocessing.dimensions == 2 and len(sample.geometry.shape) == 3
    axis = method.traits.slice_axis if slicing else 0
    middle = shape[axis] // 2 if len(shape) == 3 else 0
    batches = batches_of(
        preprocess(sample, method.preprocessing, method.traits.only(method.channels)), slicing=slicing, many=1
    )
    batch = next(islice(batches, middle if slicing else 0, None))
    with torch.no_grad():
        pictures = method.pictures(batch.to(device, method.dtype), Inference(seed=0, stage="pictures", device=device))
    view = View.of(sample.geometry, index=(axis, middle) if len(shape) == 3 else None)
    plane = view(np.zeros(shape, np.uint8))
    captions = {}
    for number, (caption, picture) in enumerate(pictures.items(), start=1):
        values = view.turn((picture.clamp(0, 1) * 255).round().byte().movedim(0, -1).cpu().numpy())
        if view.marks is not None or view.pixel[0] != view.pixel[1]:
            values = lettered(resized(values, view.size(plane, max(SMALLEST, *values.shape))), view.marks)
        values = np.ascontiguousarray(np.moveaxis(values, -1, 0))
        geometry = Geometry(shape=values.shape[1:], spacing=(1.0, 1.0))
        path = write_image(run / SAMPLES, f"{number:02d}", values, geometry)
        captions[path.name] = " ".join(filter(None, (f"{caption}. Case {case.id}.", view.note)))
    if captions:
        write_json(run / SAMPLES / CAPTIONS, captions)
