"""The strip of a method: what it takes, what it gives, and the truth where there is one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

import scantling
from gallery import panels
from gallery.images import data_set
from gallery.panels import Panel, plane
from gallery.recipes import RECIPES, UNTRAINED, Recipe, label_of
from scantling.contract.card import Card
from scantling.contract.step import Inference
from scantling.core.case import Address
from scantling.data.files import read
from scantling.data.loading import load
from scantling.data.preprocessing import preprocess
from scantling.inference.one_model import batches_of
from scantling.methods.catalogue import CARDS


def strip_of(name: str, work: Path) -> list[Panel]:
    """Make data, train where the recipe says so, ask for an answer, and draw all of it."""
    recipe = RECIPES[name]
    return (_takes if name in UNTRAINED else _DRAWERS[recipe.shows])(name, recipe, work)


def run_of(name: str, work: Path, *, data: str = "") -> Path:
    """The run of a method, trained unless it is there; on other `data` where another method is built on it."""
    recipe = RECIPES[name] if not data else replace(RECIPES[name], data=data)
    out = work / "runs" / f"{name}-{recipe.data}"
    uses = {role: run_of(other, work, data=recipe.data) for role, other in recipe.uses.items()}
    scantling.train(
        name, data_set(recipe.data, work / "data"), out, preset=recipe.preset, steps=recipe.steps or None,
        settings=dict(recipe.settings), labels=None if recipe.labels is None else str(recipe.labels), uses=uses,
        validation=0.0, threads=1,
    )  # fmt: skip
    return out


def _segment(name: str, recipe: Recipe, work: Path) -> list[Panel]:
    card, folder = CARDS[name], data_set(recipe.data, work / "data")
    given, truth = scantling.open_dataset(folder), _with_masks(recipe, work)
    run, test = run_of(name, work), _cases(truth, "test")[0]
    sample = test.load(reads=("image", "mask", *(["instances"] if recipe.data.startswith("cells") else [])))
    answer = scantling.load_model(run).predict(test, **recipe.options)
    image, at = plane(sample.image), None
    found = [Panel(image, "a new image")]
    if len(answer.samples):
        found += [
            Panel(panels.outlined(image, _numbers(answer, each)), "one of its samples") for each in answer.samples[:1]
        ]
    found.append(Panel(_answered(image, answer), "the answer"))
    if sample.instances is not None and label_of(card) in ("instances", "boxes"):
        found.append(Panel(panels.outlined(image, panels.flat(sample.instances, at), each=True), "the truth"))
    else:
        found.append(Panel(panels.outlined(image, panels.flat(sample.mask[0], at)), "the truth"))
    return [*_learns_from(card, recipe, given), *found]


def _cases(data: Any, split: str) -> list[Any]:
    return [case for case in data if case.split == split]


def _takes(name: str, recipe: Recipe, work: Path) -> list[Panel]:
    """What a method learns from; of one that answers about images also a new one and the truth."""
    card, given = CARDS[name], scantling.open_dataset(data_set(recipe.data, work / "data"))
    answers = {"segment", "classify"} & {*card.gives}
    found = [_learned(card, recipe, case) for case in _cases(given, "train")[: 1 if answers else 3]]
    if answers:
        case = _cases(_with_masks(recipe, work), "test")[0]
        sample = case.load(reads=("image", "mask"))
        picture = plane(sample.image)
        found += [Panel(picture, "a new image"), Panel(_labelled(picture, sample, "mask"), "the truth")]
    return found


def _learned(card: Card, recipe: Recipe, case: Any) -> Panel:
    """A training case with what is read of it."""
    read = tuple(word for needed in card.needs for word in needed)
    label = label_of(card)
    if label == "image_class":
        return Panel(plane(case.load(reads=("image",)).image), f"learns: {case.image_class}")
    sample = case.load(reads=("image", *read))
    picture = plane(sample.image)
    if read == ("mask",):
        return Panel(_white(sample.mask[0]), "learns from masks")
    return Panel(_labelled(picture, sample, label) if label else picture, f"learns from {WORDS.get(label, 'images')}")


def _with_masks(recipe: Recipe, work: Path) -> Any:
    return scantling.open_dataset(data_set(recipe.data.partition("+")[0], work / "data"))


def _learns_from(card: Card, recipe: Recipe, given: Any) -> list[Panel]:
    """A training image with the label that is read, and one without where there are such."""
    training, label = _cases(given, "train"), label_of(card)
    if not label:
        return [Panel(plane(training[0].load(reads=("image",)).image), "learns from images")] if recipe.steps else []
    sample = training[0].load(reads=("image", label))
    picture = plane(sample.image)
    drawn = _labelled(picture, sample, label)
    if recipe.labels is None:
        return [Panel(drawn, f"learns from {WORDS[label]}")]
    return [Panel(drawn, f"{recipe.labels} of 12 have masks")]


SURE = 0.5
"""Boxes with a higher score are drawn."""
WORDS = {
    "mask": "masks", "scribbles": "scribbles", "boxes": "boxes", "points": "points", "instances": "instance maps",
    "image_class": "image classes",
}  # fmt: skip


def _labelled(picture: np.ndarray, sample: Any, label: str) -> np.ndarray:
    if label == "scribbles":
        return panels.filled(picture, panels.flat(sample.scribbles[0]))
    if label == "boxes":
        return panels.with_boxes(picture, sample.boxes)
    if label == "points":
        return panels.with_points(picture, sample.points)
    if label == "instances":
        return panels.outlined(picture, panels.flat(sample.instances), each=True)
    return panels.outlined(picture, panels.flat(np.where(sample.mask[0] == 255, 0, sample.mask[0])))


def _numbers(answer: Any, mask: np.ndarray) -> np.ndarray:
    """The class numbers (H, W) of a mask with the values of its files."""
    numbers = np.zeros(mask.shape, np.uint8)
    for number, value in enumerate(answer.values, start=1):
        numbers[mask == value] = number
    return panels.flat(numbers)


def _answered(picture: np.ndarray, answer: Any) -> np.ndarray:
    objects = answer.objects
    if objects is not None and len(objects.crops):
        labels = np.zeros(picture.shape[:2], np.int32)
        for number, (crop, corner) in enumerate(zip(objects.crops, objects.corners, strict=True), start=1):
            part = np.asarray(crop)
            top, left = (int(n) for n in corner)
            labels[top : top + part.shape[0], left : left + part.shape[1]][part] = number
        return panels.outlined(picture, labels, each=True)
    if objects is not None:
        return panels.with_boxes(picture, np.asarray(objects.boxes)[np.asarray(objects.scores) > SURE])
    return panels.outlined(picture, _numbers(answer, np.asarray(answer.mask)))


def _classify(name: str, recipe: Recipe, work: Path) -> list[Panel]:
    run, cases = run_of(name, work), scantling.open_dataset(data_set(recipe.data, work / "data"))
    model, found = scantling.load_model(run), []
    for case in _cases(cases, "test"):
        answer = model.predict(case)
        sure = answer.image_class_probabilities[answer.image_class]
        found.append(
            Panel(plane(case.load(reads=("image",)).image), f"{answer.image_class} {sure:.2f} ({case.image_class})")
        )
    return found


def _generate(name: str, recipe: Recipe, work: Path) -> list[Panel]:
    card, data = CARDS[name], data_set(recipe.data, work / "data") if recipe.data else None
    model = scantling.load_model(run_of(name, work) if card.needs else name)
    asks = {"data": data} if (card.asks and card.asks != ("image",)) or card.may_ask or name == "dkm-kinetics" else {}
    size = {} if card.needs else {"size": 96}
    made = model.generate(3, seed=1, **asks, **size, **recipe.options)
    found = []
    if data is not None:
        cases, read = _cases(scantling.open_dataset(data), "train"), [word for needed in card.needs for word in needed]
        sample = cases[0].load(reads=("image", *[word for word in read if word != "image_class"]))
        label = label_of(card)
        picture = plane(sample.image)
        shown = picture if label in ("", "image_class") else _labelled(picture, sample, label)
        if read == ["mask"]:
            shown = _white(sample.mask[0])
        found.append(
            Panel(shown, f"learns from {WORDS.get(label, 'images')}" if label != "image_class" else "learns from both")
        )
    return [*found, *_made(made, "made")]


def _made(made: list[Any], words: str) -> list[Panel]:
    found = []
    for each in made:
        mask = None if each.mask is None else panels.flat(_of_values(each))
        if each.image is None:
            found.append(Panel(_white(mask), words))
            continue
        picture = plane(each.image)
        found.append(Panel(picture if mask is None else panels.outlined(picture, mask), words))
    return found


def _of_values(made: Any) -> np.ndarray:
    numbers = np.zeros(made.mask.shape[-len(made.spacing) :], np.uint8)
    layers = made.mask if made.mask.ndim > numbers.ndim else [made.mask == value for value in made.values]
    for number, layer in enumerate(layers, start=1):
        numbers[layer > 0] = number
    return numbers


def _white(mask: np.ndarray) -> np.ndarray:
    return np.repeat((panels.flat(mask) > 0)[..., None] * np.uint8(255), 3, axis=-1)


def _register(name: str, recipe: Recipe, work: Path) -> list[Panel]:
    run, data = run_of(name, work), scantling.open_dataset(data_set(recipe.data, work / "data"))
    out = work / "registered" / name
    listing = scantling.register(run, data, out=out, split="test")
    first = listing.cases[0]
    fixed, moving = (data[id].load(reads=("image", "mask")) for id in (first["fixed"], first["moving"][0]))
    warped = out / first["files"][0]["image"]
    field = np.squeeze(np.asarray(nib.load(out / first["files"][0]["displacement"]).dataobj))
    field = field if field.shape[0] in (2, 3) else np.moveaxis(field, -1, 0)
    return [
        Panel(panels.outlined(plane(fixed.image), fixed.mask[0]), "fixed, with its mask"),
        Panel(panels.outlined(plane(moving.image), fixed.mask[0]), "moving, before"),
        Panel(panels.outlined(plane(read(Address(warped)).array), fixed.mask[0]), "moving, warped"),
        Panel(panels.grid_of(field[:2]), "the displacement"),
    ]


def _encode(name: str, recipe: Recipe, work: Path) -> list[Panel]:
    run, data = run_of(name, work), scantling.open_dataset(data_set(recipe.data, work / "data"))
    method, case = scantling.load_model(run).method, _cases(data, "test")[0]
    sample = load(case, channels=method.channels, reads=("image", "region"))
    batch = next(
        iter(
            batches_of(
                preprocess(sample, method.preprocessing, method.traits.only(method.channels)), slicing=False, many=1
            )
        )
    )
    inference = Inference(seed=0, stage="gallery", options=method.encode_options(method.encode_with()))
    with torch.no_grad():
        features = method.encode(batch, inference).features
    found = [Panel(plane(sample.image), "an image")]
    for key, value in list(features.items())[-3:]:
        array = value[0].numpy()
        array = array[..., array.shape[-1] // 2].swapaxes(1, 2)[:, ::-1] if array.ndim == 4 else array
        found.append(Panel(panels.components_of(array), f"features: {key}"[:24]))
    return found


def _annotate(name: str, recipe: Recipe, work: Path) -> list[Panel]:
    given = scantling.open_dataset(data_set(recipe.data, work / "data"))
    made = scantling.open_dataset(data_set(f"{recipe.data}+{name}", work / "data"))
    card, truth = CARDS[name], _with_masks(recipe, work)
    case = _cases(made, "train")[0]
    label = next(word for word in ("boxes", "points", "scribbles", "mask") if case.has(word))
    sample, asked = case.load(reads=("image", label)), card.asks[-1]
    before = given[case.id].load(reads=("image", asked))
    masks = truth[case.id].load(reads=("mask",))
    at = None
    if name in ("slices", "slice-filling"):
        return _through(sample, before, masks)
    picture = plane(sample.image)
    drawn = (
        panels.filled(picture, panels.flat(sample.mask[0], at))
        if label == "mask"
        else _labelled(picture, sample, label)
    )
    found = [Panel(_labelled(picture, before, asked), f"takes {WORDS[asked]}"), Panel(drawn, f"gives {WORDS[label]}")]
    if asked != "mask":
        found.append(Panel(panels.outlined(picture, masks.mask[0]), "the truth"))
    return [Panel(picture, "an image"), *found]


def _through(sample: Any, before: Any, masks: Any) -> list[Panel]:
    """A volume cut across its slices, so that drawn and undrawn ones are seen."""

    def side(array: np.ndarray) -> np.ndarray:
        return np.asarray(array[array.shape[0] // 2].T[::-1])

    picture = plane(side(sample.image[0].astype(float))[None])
    picture = np.repeat(picture, 2, axis=0)
    return [
        Panel(picture, "a volume, from the side"),
        *(
            Panel(panels.filled(picture, np.repeat(side(each.mask[0]), 2, axis=0)), words)
            for each, words in ((before, "takes"), (sample, "gives"), (masks, "all of the masks"))
        ),
    ]


_DRAWERS: dict[str, Callable[[str, Recipe, Path], list[Panel]]] = {
    "segment": _segment, "classify": _classify, "generate": _generate, "register": _register, "encode": _encode,
    "annotate": _annotate,
}  # fmt: skip
os.environ.setdefault("OMP_NUM_THREADS", "1")
