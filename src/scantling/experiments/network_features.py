"""What a trained network sees in whole images: the means of its deepest feature map, one row for each image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scantling.core.case import Case
from scantling.core.errors import SettingsError
from scantling.core.machine import COMPUTE, Compute
from scantling.data.loading import load
from scantling.data.opening import OPENING, Opening
from scantling.inference.models import open_models
from scantling.inference.prediction import READS, Answerer
from scantling.inference.runner import Progress


def image_features(
    run: Path,
    cases: Sequence[Case],
    *,
    opening: Opening = OPENING,
    compute: Compute = COMPUTE,
    progress: Progress | None = None,
) -> np.ndarray:
    """(N, F) float64: of each image the mean over pixels, slices and windows of the deepest map of the network.

    That is what describes an image in suggestive annotation (Yang et al., MICCAI 2017). The deepest map is the last of
    those with the fewest pixels, but more than one, that a module gives while the first image is answered (ours).

    Args:
        run: a model that segments.
        cases: of which the images alone are read.

    Raises:
        SettingsError: the model has no network.
        ScantlingError: an image cannot be read.
    """
    device = compute.prepare()
    models = open_models((run,), {})
    models.to(device)
    answerer = Answerer(models=models, device=device, autocast=compute.autocast(device, training=False), scales=False)
    method = models.methods[0]
    rows, deepest = list[np.ndarray](), None
    for number, case in enumerate(cases, start=1):
        sample = load(
            case, channels=method.channels, reads=READS, partial=method.partial, limits=opening.limits,
            untrusted=opening.untrusted,
        )  # fmt: skip
        if deepest is None:
            with hooked(method, (found := _Deepest())):
                answerer.answer(sample)
            deepest = found.name
            if not deepest:
                raise SettingsError(
                    f"--by diversity: {method.card.name} has no network whose features tell images apart; use --by "
                    "uncertainty or --by random"
                )
        mean = _Mean(deepest)
        with hooked(method, mean):
            answerer.answer(sample)
        rows.append(mean.total / max(1, mean.count))
        if progress is not None:
            progress(number, len(cases), case.id)
    return np.stack(rows) if rows else np.zeros((0, 1))


@contextmanager
def hooked(network: nn.Module, seen: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Show every map (B, C, *s) that a module of the network gives, with its name, for the length of the block."""

    def hook_of(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, given: Any, answer: Any) -> None:
            del module, given
            if isinstance(answer, Tensor) and answer.ndim >= 4 and answer.is_floating_point():
                seen(name, answer.detach())

        return hook

    handles = [module.register_forward_hook(hook_of(name)) for name, module in network.named_modules() if name]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Deepest:
    """Finds the last module with the fewest pixels."""

    def __init__(self) -> None:
        self.name, self._pixels = "", 0

    def __call__(self, name: str, answer: Tensor) -> None:
        pixels = prod(answer.shape[2:])
        if pixels > 1 and (not self.name or pixels <= self._pixels):
            self.name, self._pixels = name, pixels


class _Mean:
    """The mean over all that one module gives."""

    def __init__(self, name: str) -> None:
        self._name, self.count = name, 0
        self.total = np.zeros(1)

    def __call__(self, name: str, answer: Tensor) -> None:
        if name == self._name:
            means = answer.to(torch.float64).flatten(2).mean(2).sum(0).cpu().numpy()
            self.total = self.total + means
            self.count += len(answer)
