"""The command `export --to onnx`: the network of a segmenter for other programs, checked against the original.

What can be exported is found out, not listed: the method draws nothing, its network is passed once, and what that gives
is the answer. The file takes batches and images of any size where the network does.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scantling.contract.capabilities import Segmenter
from scantling.contract.method import Method
from scantling.contract.options import SegmentOptions
from scantling.contract.step import Finder, Inference, Network
from scantling.core import atomic
from scantling.core.atomic import write_json
from scantling.core.errors import RunError, ScantlingError, SettingsError
from scantling.core.outputs import EXPORT, output_folder
from scantling.core.samples import Batch
from scantling.inference.export_rules import surroundings
from scantling.records.record import read_json
from scantling.records.run_folder import identity_of, load_model, model_folder

MODEL = "model.onnx"
TOLERANCE = 1e-4
"""The most that a probability of the exported network may differ from that of the original."""
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
LONGEST = {2: 97, 3: 41}
"""The sides of the image that a network is recorded on, at most; odd, so that padding is a part of what is recorded."""


def export_onnx(run: Path, out: Path) -> dict[str, Any]:
    """Write the network of a run as `out/model.onnx`, and beside it `out/export.json`: all that surrounds the network.

    The network takes `image` (B, C, *S) float32 on the grid and in the units of `preprocessing`, and gives
    `probabilities` (B, K, *S) of the foreground classes, activation included, before `postprocessing`. It is run by
    onnxruntime on random images of several sizes, and no probability may differ by more than `TOLERANCE`. Where it
    takes one size alone, `input.shape` says so; then larger images are cut into overlapping tiles.

    Args:
        run: a run folder, or a model folder.
        out: a folder that is new, empty, or holds the export of the same run.

    Returns:
        The contents of `export.json`.

    Raises:
        SettingsError: ONNX is not installed (pip install 'scantling[onnx]'), or the folder holds something else.
        RunError: there is no model, its answer is not one pass through one network, or the exported network differs.
    """
    for package in PACKAGES:
        _package(package)
    method = load_model(run).float()
    image = example(method)
    network = OnePass(method)
    if reason := network.refusal(image):
        raise RunError(f"{run}: {method.card.name} cannot be exported: {reason}")
    before = out / EXPORT
    facts = {"made_by": "scantling export", "format": "onnx", "run": str(run.resolve())}
    if before.is_file() and read_json(before).get("run") != facts["run"]:
        raise SettingsError(f"--out {out}: holds the export of another run; choose another folder")
    with output_folder(out, record=EXPORT, inputs=[path for path in model_folder(run).iterdir() if path.is_file()]):
        write_json(before, facts)
        check = written(network, image, out / MODEL)
        facts |= {"method": method.card.name, "model": identity_of(run), "file": MODEL}
        facts |= surroundings(method, check)
        write_json(before, facts)
    return facts


class OnePass(nn.Module):
    """The answer of a segmenter to images (B, C, *S): probabilities (B, K, *S), if one pass of a network gives them."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, image: Tensor) -> Tensor:
        """The probabilities; the sizes of the image may be symbols."""
        given: list[Tensor] = []

        def once(network: Network, canvas: Tensor) -> Tensor:
            given.append(network(canvas))
            return given[-1]

        count = image.shape[0]
        number = torch.zeros((count,), dtype=torch.int64)
        fields = {"image": image, "region": torch.ones_like(image[:, :1], dtype=torch.bool)}
        present = {name: torch.ones((count, field.shape[1]), dtype=torch.bool) for name, field in fields.items()}
        options = self.method.segment_options(SegmentOptions())  # type: ignore[operator]
        inference = WithoutDraws(seed=0, tile=once, find=_no_objects, options=options)
        answer = self.method.segment(Batch(number, number, fields, present=present), inference)  # type: ignore[operator]
        probabilities: Tensor | None = answer.probabilities
        if len(given) != 1 or probabilities is not given[0] or answer.decision is not None:
            raise RunError("its answer is not what one pass through one network gives")
        return probabilities

    def refusal(self, image: Tensor) -> str:
        """Why the method is not one pass of a network, as a clause; empty where it is."""
        if not isinstance(self.method, Segmenter) or "segment" not in self.method.gives:
            return "it does not segment"
        if self.method.draws:
            return "it draws its answers, in many passes"
        if next(self.method.parameters(), None) is None:
            return "it has no network"
        with torch.no_grad():
            try:
                self(image)
            except ScantlingError as error:
                return str(error)
        return ""


@dataclass(frozen=True, kw_only=True)
class WithoutDraws(Inference):
    """An answer that may use no randomness.

    Raises:
        RunError: it does.
    """

    def generator(self, purpose: str) -> torch.Generator:
        """Refuse to draw."""
        raise RunError(f"it draws random numbers ({purpose})")

    def _rows(self, draw: Callable[..., Tensor], purpose: str, like: Tensor) -> Tensor:
        del draw, like
        raise RunError(f"it draws random numbers ({purpose})")


def _no_objects(finder: Finder, canvas: Tensor) -> Any:
    del finder, canvas
    raise RunError("it finds objects")


def example(method: Method) -> Tensor:
    """Two random images on the grid of a method, of odd sides of which no two are equal."""
    most = LONGEST[method.preprocessing.dimensions]
    sides = [min(side, most - 2 * len(method.median_shape)) | 1 for side in method.median_shape]
    generator = torch.Generator().manual_seed(0)
    shape = [side + 2 * axis for axis, side in enumerate(sides)]
    return torch.randn((2, len(method.channels), *shape), generator=generator)


def written(network: OnePass, image: Tensor, path: Path) -> dict[str, Any]:
    """Write a network as ONNX, with sizes that are free where it allows that; what the check of it found.

    Raises:
        RunError: it cannot be exported, or gives other probabilities.
    """
    network.eval().requires_grad_(False)
    reasons = []
    for free in (True, False):
        try:
            with atomic.replacing(path) as aside, quietly():
                exported(network, image, free=free).save(str(aside))
                return checked(network, image, aside, free=free)
        except Exception as error:  # whatever tracing, conversion or the runtime cannot do
            reasons.append(" ".join(str(error).split())[:200])
    raise RunError(f"the network cannot be exported: {'; '.join(dict.fromkeys(reasons))}")


def exported(network: nn.Module, image: Tensor, *, free: bool) -> Any:
    """The ONNX program of a network; `free` leaves batch and sides open, as far as the network does."""
    auto = torch.export.Dim.AUTO
    sizes = {axis: auto for axis in range(image.ndim) if axis != 1} if free else None
    with torch.no_grad():
        program = torch.export.export(network, (image,), dynamic_shapes=(sizes,) if free else None, strict=False)
        return torch.onnx.export(
            program, (image,), dynamo=True, input_names=["image"], output_names=["probabilities"], verbose=False
        )


def checked(network: nn.Module, image: Tensor, path: Path, *, free: bool) -> dict[str, Any]:
    """What onnxruntime makes of a file, against the network.

    Raises:
        RunError: a probability differs by more than `TOLERANCE`.
    """
    runtime = _package("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    shape = [side if isinstance(side, int) else None for side in session.get_inputs()[0].shape]
    generator, images = torch.Generator().manual_seed(1), [image]
    if free:
        if any(side is not None for axis, side in enumerate(shape) if axis != 1):
            raise RunError(f"the shape {shape} is not free")
        for count, more in ((1, 10), (3, 7)):
            larger = [side + more + axis for axis, side in enumerate(image.shape[2:])]
            images.append(torch.randn((count, image.shape[1], *larger), generator=generator))
        even = [-(-side // 32) * 32 for side in image.shape[2:]]
        images.append(torch.randn((1, image.shape[1], *even), generator=generator))
    greatest = 0.0
    for one in images:
        with torch.no_grad():
            expected = network(one).numpy()
        found = session.run(None, {"image": one.numpy()})[0]
        greatest = max(greatest, float(np.abs(found - expected).max()))
    if not greatest <= TOLERANCE:
        raise RunError(f"a probability differs by {greatest:.2g} on onnxruntime; expected at most {TOLERANCE:g}")
    return {
        "shape": shape,
        "runtime": f"onnxruntime {runtime.__version__}",
        "images": [list(one.shape) for one in images],
        "greatest_difference": greatest,
        "tolerance": TOLERANCE,
    }


@contextmanager
def quietly() -> Iterator[None]:
    """Without what exporters tell on their own behalf: warnings of torch about itself and about absent packages."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise SettingsError(f"{name} cannot be imported ({error}); install it: pip install 'scantling[onnx]'") from None
