"""The class of an image: models answer about its canvas, of a volume about its slices, and their mean is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from scantling.contract.capabilities import Classifier
from scantling.contract.options import ClassifyOptions
from scantling.contract.step import Inference
from scantling.core.case import Sample
from scantling.core.errors import DataError
from scantling.core.randomness import seed_layers, seed_of
from scantling.data.preprocessing import preprocess
from scantling.inference.answering import seen_by
from scantling.inference.one_model import batches_of, dropping
from scantling.inference.tiles import Tiler
from scantling.records.classes_csv import TOLERANCE


def classify(
    methods: Sequence[Classifier],
    sample: Sample,
    *,
    tilers: Sequence[Tiler],
    options: ClassifyOptions,
    device: torch.device,
    autocast: torch.dtype | None = None,
    slices_at_once: int = 8,
) -> dict[str, Any]:
    """The image class of a sample, as the entry of its case: "image_class", "classes" (probabilities by name), and
    "class_uncertainty".

    The probabilities of several models and samples are averaged; so are those of the slices of a volume by a method in
    2-D, which is ours. "entropy" is that of the mean, in nats. A model is left out of whose channels the sample has
    none.

    Raises:
        DataError: the sample lacks channels (`answering.seen_by`), or the method answered for another number of classes
            than it was trained on, or with numbers that are no probabilities.
    """
    answers, maps = list[Tensor](), list[Mapping[str, float]]()
    each_sees = seen_by(methods, sample)
    for number, (method, tiler, seen) in enumerate(zip(methods, tilers, each_sees, strict=True)):
        if seen is None:
            continue
        root = seed_of(options.seed, sample.case.id, *(("model", number) if number else ()))
        resolved = method.classify_options(options)
        inference = Inference(seed=root, stage="classify", device=device, tile=tiler, options=resolved)
        one, uncertainty = _answer(method, seen, inference, autocast=autocast, many=slices_at_once)
        answers.append(one)
        maps.append(uncertainty)
    names = methods[0].traits.image_classes
    mean = torch.stack(answers).mean(0)
    if len(mean) != len(names):
        raise DataError(
            f"{sample.case.id}: {methods[0].card.name} answered for {len(mean)} classes; expected {len(names)} "
            f"({', '.join(names)})"
        )
    if not (float(mean.min()) >= 0 and abs(float(mean.sum()) - 1) <= TOLERANCE):  # nor where it is NaN
        found = ", ".join(f"{value:.4g}" for value in mean[:9].tolist())
        raise DataError(
            f"{sample.case.id}: {methods[0].card.name} answered {found}; expected probabilities that add up to 1; "
            "train it again"
        )
    entropy = float(-(mean * mean.clamp(min=1e-12).log()).sum())
    own = maps[0] if len(methods) == 1 else {}
    return {
        "image_class": names[int(mean.argmax())],
        "classes": {name: round(float(value), 6) for name, value in zip(names, mean, strict=True)},
        "class_uncertainty": {"entropy": round(entropy, 6), **own},
    }


def _answer(
    method: Classifier, sample: Sample, inference: Inference, *, autocast: torch.dtype | None, many: int
) -> tuple[Tensor, dict[str, float]]:
    """The probabilities (K,) of one model, on the processor, and its own uncertainties."""
    traits = method.traits.only(method.channels)
    prepared = preprocess(sample, method.preprocessing, traits)
    slicing = method.preprocessing.dimensions == 2 and len(sample.geometry.shape) == 3
    samples = inference.options.samples or 1
    parts, uncertainty = list[Tensor](), dict[str, list[Tensor]]()
    with torch.no_grad(), torch.autocast(inference.device.type, dtype=autocast, enabled=autocast is not None):
        for number, batch in enumerate(batches_of(prepared, slicing=slicing, many=many)):
            brought = batch.to(inference.device, method.dtype)
            moment = replace(inference, number=number)
            if samples > 1:
                with dropping(method, inference.device):
                    drawn = []
                    for draw in range(samples):
                        seed_layers(inference.device, inference.seed, "dropout", draw)
                        drawn.append(method.classify(brought, moment).probabilities.float().cpu())
                parts.append(torch.stack(drawn).mean(0))
                continue
            answer = method.classify(brought, moment)
            parts.append(answer.probabilities.float().cpu())
            for name, values in answer.uncertainty.items():
                uncertainty.setdefault(name, []).append(values.float().cpu())
    return torch.cat(parts).mean(0), {name: round(float(torch.cat(v).mean()), 6) for name, v in uncertainty.items()}
