"""The features of a network that the user has named, one row for each image; there is no default network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from scantling.contract.capabilities import Encoder, Segmenter
from scantling.contract.method import Method
from scantling.core.case import Sample
from scantling.core.errors import DataError, RunError, SettingsError
from scantling.core.machine import COMPUTE, Compute
from scantling.core.samples import Batch
from scantling.data.contents import count
from scantling.data.preprocessing import preprocess
from scantling.inference.common_grid import CommonGrid
from scantling.inference.one_model import batches_of
from scantling.methods.features.factories import made_by, name_factory
from scantling.methods.features.reader import IMAGENET, encoder_read
from scantling.methods.features.sliding import Read
from scantling.records.run_folder import identity_of, load_model

SLICES = 8
"""Slices of a volume that a network in 2-D reads together."""
HOW_TO = (
    "FID, KID, precision, recall, density and coverage need the features of a network: name one with --features RUN (a "
    "segmenter or an encoder trained on the real images, e.g. `scantling train unet`) or --features MODULE:FACTORY"
)
"""What is said where none was named."""


@dataclass(frozen=True)
class NamedFeatures:
    """What a network says of images.

    Attributes:
        name: of the network, as the page gives it.
        read: (F,) float64 of the images of a case.
    """

    name: str
    read: Callable[[Sample], np.ndarray]


def open_features(name: str | Path, grid: CommonGrid, *, compute: Compute = COMPUTE) -> NamedFeatures:
    """The features of a run or of a network of the user.

    Of each map of a run the mean and the deviation over the image count; of a volume that is read as slices the mean
    over these. A network of the user gets colour images (B, 3, H, W) on the common grid, scaled as those of ImageNet,
    and gives rows (B, F), or maps, whose mean counts.

    Args:
        name: a run folder with a segmenter or an encoder, or MODULE:FACTORY.

    Raises:
        RunError: the run has no model, or one without features.
        SettingsError: it is neither, or the network cannot be made.
    """
    device = compute.prepare()
    if Path(name).exists():
        return _of_run(Path(name), device)
    text = str(name)
    name_factory(text, flag="--features", others="the folder of a run that is there, ")
    network = made_by(text, flag="--features").eval().to(device)
    return NamedFeatures(text, lambda sample: _of_network(network, sample, grid, text, device))


def _of_run(run: Path, device: torch.device) -> NamedFeatures:
    method = load_model(run).to(device).eval()
    read: Read
    if isinstance(method, Encoder):
        read = encoder_read(method, {})
    elif isinstance(method, Segmenter):
        segmenter = method

        def read(batch: Batch) -> dict[str, Tensor]:
            return {"last": segmenter.features(batch.image)[0]}
    else:
        raise RunError(f"{run}: {method.card.name} has no features of images; name a run of a segmenter or an encoder")
    return NamedFeatures(f"{method.card.name} {identity_of(run)}", lambda sample: _of_method(method, read, sample))


def _of_method(method: Method, read: Read, sample: Sample) -> np.ndarray:
    """The means and deviations of the maps of a method, its images read as it takes them."""
    recipe, traits = method.preprocessing, method.traits.only(method.channels)
    axes = len(sample.geometry.shape)
    if axes != method.traits.dimensions:
        raise DataError(
            f"--features: {method.card.name} was trained on images with {method.traits.dimensions} axes; case "
            f"{sample.case.id} has {axes}"
        )
    if len(sample.image) != len(method.channels):
        raise DataError(
            f"--features: {method.card.name} was trained on images with {count(len(method.channels), 'channel')}; case "
            f"{sample.case.id} has {len(sample.image)}"
        )
    prepared, rows = preprocess(sample, recipe, traits), []
    like = next(method.parameters(), torch.zeros(()))
    with torch.no_grad():
        for batch in batches_of(prepared, slicing=recipe.dimensions == 2 and axes == 3, many=SLICES):
            maps = [one.flatten(2).double() for one in read(batch.to(like.device, method.dtype)).values()]
            rows.append(torch.cat([part for one in maps for part in (one.mean(2), one.std(2, correction=0))], 1).cpu())
    return torch.cat(rows).mean(0).numpy()


def _of_network(network: nn.Module, sample: Sample, grid: CommonGrid, name: str, device: torch.device) -> np.ndarray:
    image = torch.from_numpy(grid.bring(sample.image)).to(device)
    pictures = image[None] if image.ndim == 3 else image.movedim(1 + grid.slice_axis, 0)
    if pictures.shape[1] not in (1, 3):
        raise DataError(f"--features {name}: images of {pictures.shape[1]} channels; expected colour or grey ones")
    mean, deviation = (pictures.new_tensor(values).view(3, 1, 1) for values in IMAGENET)
    rows = []
    for some in pictures.expand(-1, 3, -1, -1).split(SLICES):
        try:
            with torch.no_grad():
                found = network((some - mean) / deviation)
        except (RuntimeError, TypeError, ValueError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise SettingsError(f"--features {name}: it does not take an image (B, 3, H, W): {first}") from None
        if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != len(some):
            raise SettingsError(f"--features {name}: it gives no rows (B, F) or maps (B, F, H, W)")
        rows.append(found.flatten(2).double().mean(2).cpu() if found.ndim > 2 else found.double().cpu())
    return torch.cat(rows).mean(0).numpy()
