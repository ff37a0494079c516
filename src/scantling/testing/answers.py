"""What a method answers on toy data, whatever it can do: arrays by name, their shapes, their repetition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from scantling.contract.capabilities import Annotator, Classifier, Encoder, Generator, Registrar, Segmenter
from scantling.contract.method import Method
from scantling.contract.results import Generation
from scantling.contract.step import Inference
from scantling.core.case import IGNORE, Case
from scantling.core.randomness import numpy_generator
from scantling.core.samples import Batch
from scantling.data.loading import load
from scantling.data.preprocessing import preprocess
from scantling.inference.answering import segment
from scantling.inference.conditions import Conditions, open_conditions
from scantling.inference.one_model import batches_of
from scantling.inference.tiles import Tiler
from scantling.testing.subject import Subject

MADE = 3


def of(method: Method, subject: Subject, *, seed: int) -> dict[str, np.ndarray]:
    """The answers of a method by name: on the test cases of the toy data, or what it makes of nothing."""
    found: dict[str, np.ndarray] = {}
    with torch.no_grad():
        if isinstance(method, Generator):
            found |= made(method, subject, MADE, seed=seed)
        if isinstance(method, Annotator):
            found |= drawn(method, subject, seed=seed)
        if isinstance(method, Segmenter):
            for case in subject.dataset.split("test"):
                if not case.images:
                    continue
                sample = load(case, channels=method.channels, reads=("image", "region"))
                options = method.segment_with.of({"seed": seed})
                answer = segment(method, sample, device=torch.device("cpu"), tiler=Tiler(), options=options)
                found[f"the probabilities of {case.id}"] = answer.probabilities
                if answer.decision is not None:
                    found[f"the decision about {case.id}"] = answer.decision
        if isinstance(method, Classifier | Encoder | Registrar):
            batches = images(method, subject)
            inference = Inference(seed=seed, stage="check")
            if isinstance(method, Classifier):
                one = replace(inference, options=method.classify_options(method.classify_with()))
                for number, batch in enumerate(batches):
                    found[f"the classes of image {number}"] = method.classify(batch, one).probabilities.numpy()
            if isinstance(method, Encoder):
                one = replace(inference, options=method.encode_options(method.encode_with()))
                for name, features in method.encode(batches[0], one).features.items():
                    found[f"the features {name}"] = features.numpy()
            if isinstance(method, Registrar):
                one = replace(inference, options=method.register_options(method.register_with()))
                fixed, moving = batches[0], batches[min(1, len(batches) - 1)]
                if fixed.image.shape != moving.image.shape:
                    moving = fixed
                found["the displacement"] = method.register(fixed, moving, one).displacement.numpy()
    return found


def untrained(subject: Subject) -> dict[str, np.ndarray]:
    """What the untrained method answers, worked out once."""
    if not subject.answers:
        subject.answers.update(of(subject.method(), subject, seed=0))
    return subject.answers


def images(method: Method, subject: Subject) -> list[Batch]:
    """The images of the test cases as the method takes them; of a volume for a method in 2-D the first slices."""
    recipe, traits, batches = method.preprocessing, method.traits.only(method.channels), list[Batch]()
    for case in subject.dataset.split("test"):
        if case.images:
            sample = load(case, channels=method.channels, reads=("image", "region"))
            slicing = recipe.dimensions == 2 and len(sample.geometry.shape) == 3
            batches.append(next(iter(batches_of(preprocess(sample, recipe, traits), slicing=slicing, many=2))))
    return batches


def made(method: Generator, subject: Subject, count: int, *, seed: int) -> dict[str, np.ndarray]:
    """What a method generates, by name; of one that asks for something, what it makes of the first case each time."""
    inference = Inference(seed=seed, stage="synthesis", options=method.generate_options(method.generate_with()))
    if not method.card.asks:
        return parts_of(method.generate(count, inference))
    given = open_conditions(method, Conditions(data=subject.data, split="all"), source=method.card.name)
    batch = given.batch(0)[0] if given is not None else None
    each = [parts_of(method.generate(1, replace(inference, number=n), batch)) for n in range(count)]
    return {name: np.concatenate([one[name] for one in each]) for name in each[0]}


def drawn(method: Annotator, subject: Subject, *, seed: int) -> dict[str, np.ndarray]:
    """The labels that a rule draws on the test cases, by name; where it completes masks, of them one slice in three."""
    found: dict[str, np.ndarray] = {}
    labels = subject.dataset.labels
    for case in subject.dataset.split("test"):
        if labels is None:
            continue
        sample = load(case, labels=labels, reads=(*method.card.asks, "region"))
        shape = sample.geometry.shape
        if method.completes:
            masks = tuple(mask.copy() for mask in sample.masks)
            np.moveaxis(masks[0], 1 + sample.geometry.slice_axis, 0)[np.arange(shape[-1]) % 3 > 0] = IGNORE
            sample = replace(sample, masks=masks)
        made = method.annotate(sample, labels, numpy_generator(seed, method.card.name, case.id))
        for name in ("mask", "scribbles", "boxes", "points"):
            if (array := getattr(made, name)) is not None:
                gridded = name in ("mask", "scribbles")
                fits = array.shape[1:] == shape if gridded else array.shape[1] == len(shape)
                subject.require(fits, f"its {name} of {case.id} have the shape {array.shape}, expected that of {shape}")
                found[f"its {name} of {case.id}"] = array
        found |= {f"the uncertainty {name} of {case.id}": array for name, array in made.uncertainty.items()}
    return found


def parts_of(answer: Generation) -> dict[str, np.ndarray]:
    """The arrays of what was made, by name."""
    parts = {"the masks": answer.masks, "the images": answer.images}
    found = {name: tensor.numpy() for name, tensor in parts.items() if tensor is not None}
    return found | {f"the field {name}": tensor.numpy() for name, tensor in answer.fields.items()}


def has_the_right_shape(subject: Subject) -> None:
    """Answers have the shape of their images, whatever their size, and the range of what they are."""
    method, found = subject.method(), untrained(subject)
    subject.require(bool(found), "it answers nothing")
    shapes = {case.id: load(case, reads=("image",)).geometry.shape for case in _with_images(method, subject)}
    for name, array in found.items():
        subject.require(bool(np.isfinite(array.astype(np.float64)).all()), f"{name} are not all finite")
        if name.startswith("the probabilities of "):
            expected = (len(method.traits.classes), *shapes[name.removeprefix("the probabilities of ")])
            subject.require(array.shape == expected, f"{name} have the shape {array.shape}, expected {expected}")
        if name.startswith("the classes of "):
            sums = array.sum(1)
            subject.require(array.shape[1] == len(method.traits.image_classes), f"{name}: {array.shape[1]} classes")
            subject.require(bool(np.allclose(sums, 1, atol=1e-4)), f"{name} sum to {sums}, expected 1")
        if name.startswith(("the probabilities", "the classes", "the masks", "the field")):
            low, high = float(array.min()), float(array.max())
            subject.require(low >= -1e-6 and high <= 1 + 1e-6, f"{name} reach from {low} to {high}, expected 0 to 1")
    if isinstance(method, Generator):
        _made_well(subject, method, {name: array for name, array in found.items() if "features" not in name})
    if isinstance(method, Registrar):
        image, shape = images(method, subject)[0].image, found["the displacement"].shape
        expected = (len(image), image.ndim - 2, *image.shape[2:])
        subject.require(shape == expected, f"the displacement has the shape {shape}, expected {expected}")


def _with_images(method: Method, subject: Subject) -> list[Case]:
    return [case for case in subject.dataset.split("test") if case.images] if isinstance(method, Segmenter) else []


def _made_well(subject: Subject, method: Generator, found: dict[str, np.ndarray]) -> None:
    shape = next(iter(found.values())).shape[2:]
    subject.require(len(shape) == method.traits.dimensions, f"what it makes has {len(shape)} axes")
    channels = {"the masks": len(method.traits.classes), "the images": len(method.channels_out)}
    for name, array in found.items():
        expected = (MADE, channels.get(name, 1), *shape)
        subject.require(array.shape == expected, f"{name} have the shape {array.shape}, expected {expected}")
    labels = method.traits.labels
    if "the masks" in found and (labels is None or labels.exclusive):
        most = float(found["the masks"].astype(np.float64).sum(1).max())
        subject.require(most <= 1 + 1e-6, "exclusive classes share a pixel")


def repeats_with_a_seed(subject: Subject) -> None:
    """The same seed gives the same answer; number n of a seed is the same however many are made."""
    method = subject.method()
    one, other = of(method, subject, seed=4), of(method, subject, seed=4)
    for name, array in one.items():
        subject.require(np.array_equal(array, other[name]), f"{name} differ with one seed")
    if not isinstance(method, Generator):
        return
    with torch.no_grad():
        many, few = made(method, subject, MADE + 2, seed=3), made(method, subject, MADE, seed=3)
        another = made(method, subject, MADE, seed=4)
    for name, array in few.items():
        subject.require(bool(np.allclose(array, many[name][:MADE], atol=1e-5)), f"{name} depend on how many are made")
    if method.card.asks:  # what it is given may decide all
        return
    subject.require(any(not np.array_equal(a, another[name]) for name, a in few.items()), "two seeds make the same")
    first = next(iter(few.values()))
    subject.require(not np.array_equal(first[0], first[1]), "the first two that it makes are equal")
