"""What a method has to show of itself on one image: PNGs in `samples/`, with their captions, for the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from scantling.atomic import write_json
from scantling.data.files import write_image
from scantling.data.intake import take
from scantling.data.loading import load
from scantling.data.types import Case, Geometry
from scantling.inference.answering import batches_of
from scantling.methods.contract import Method, Now

SAMPLES, CAPTIONS = "samples", "captions.json"


def draw(method: Method, cases: Sequence[Case], run: Path, *, device: torch.device) -> None:
    """Draw the pictures of `method`, if it looks at images, on the first case that has one."""
    case = next((case for case in cases if case.has("image")), None)
    if case is None or not method.traits.channels:
        return
    sample = load(case, channels=method.traits.channels, reads=("image", "region"))
    slicing = method.intake.dimensions == 2 and len(sample.geometry.shape) == 3
    batch = next(batches_of(take(sample, method.intake, method.traits), slicing=slicing, many=1))
    with torch.no_grad():
        pictures = method.pictures(batch.to(device, method.dtype), Now(seed=0, stage="pictures", device=device))
    captions = {}
    for number, (caption, picture) in enumerate(pictures.items(), start=1):
        values = (picture.clamp(0, 1) * 255).round().byte().cpu().numpy()
        geometry = Geometry(shape=values.shape[1:], spacing=(1.0, 1.0))
        path = write_image(run / SAMPLES, f"{number:02d}", np.ascontiguousarray(values), geometry)
        captions[path.name] = f"{caption}. Case {case.id}."
    if captions:
        write_json(run / SAMPLES / CAPTIONS, captions)
