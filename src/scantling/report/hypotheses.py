"""One case as several see it: its annotators, the first samples of the model, and where those disagree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scantling.data.pictures import View, class_colours, grey
from scantling.records.evaluation import CaseRecord
from scantling.report.case_files import Layer, Mask, read_set
from scantling.report.exemplars import DIM, Picture, choose, picture
from scantling.report.pictures import GLOW, glow, luminance, paint
from scantling.report.targets import EvaluationFile
from scantling.report.uncertainty import scale_of
from scantling.report.words import plural

MOST = 8
"""Samples side by side."""


@dataclass(frozen=True)
class Hypotheses:
    """A case with what was drawn of it; what could not be read is said in `missing`."""

    case: CaseRecord
    shown: str
    pictures: tuple[Picture, ...]
    classes: tuple[tuple[str, str], ...]
    """Colours of the classes by name, where there are several."""
    notes: tuple[str, ...]
    missing: tuple[str, ...]


def hypotheses_of(evaluation: EvaluationFile, *, longest: int) -> Hypotheses | None:
    """The median case (the worst of two), if it has samples or uncertainty maps, else the first case that has any.

    Args:
        longest: pixels of the longer side of a picture, at most.
    """
    ranked = dict(choose(evaluation)[1])
    ordered = [*(ranked[rank] for rank in ("Median", "Worst") if rank in ranked), *evaluation.record.cases]
    case = next((case for case in ordered if case.files.samples or case.files.uncertainty), None)
    if case is None:
        return None
    found = read_set(case, evaluation, most=MOST)
    layers: tuple[Layer | Mask, ...] = (*found.annotators, *found.samples, *found.uncertainty.values())
    pictures: list[Picture] = []
    notes = list(found.notes)
    colours = class_colours(len(found.classes))
    if layers:
        geometry = next((each.geometry for each in layers if each.geometry.affine is not None), layers[0].geometry)
        view = View.of(geometry, found.annotators[0].labelled if found.annotators else None)
        notes += [view.note] if view.note else []
        photo = np.zeros(view(np.zeros(geometry.shape, np.uint8)).shape, np.uint8)
        if found.image is not None:
            photo = grey(view(found.image.array))
            pictures.append(picture("Image", f"Image of case {case.id}", [photo], view, longest))
        annotators = [f"Annotator {number}" for number in range(1, len(found.annotators) + 1)]
        named = [
            *zip(annotators if len(annotators) > 1 else ["Truth"], found.annotators, strict=False),
            *((f"Sample {number}", layer) for number, layer in enumerate(found.samples, start=1)),
        ]
        for name, mask in named:
            plane = mask.numbers(view)
            alt = f"{name} of case {case.id}, {np.mean(plane > 0):.1%} of the pixels labelled"
            pictures.append(picture(name, alt, [paint(plane, colours)], view, longest))
        numbers = next((one.uncertainty for one in evaluation.predictions.cases if one.id == case.id), {})
        for name, layer in found.uncertainty.items():
            plane, mean = view(layer.array), numbers.get(name)
            scale = scale_of(
                name, classes=len(found.classes), exclusive=not isinstance(case.files.prediction, dict),
                values=[float(layer.array.max())],
            )  # fmt: skip
            title = f"{name.capitalize()}, 0 to {scale.highest:.3g}" + ("" if mean is None else f", mean {mean:.2g}")
            notes.append(scale.sentence(name))
            under = np.asarray(luminance(photo) * DIM, np.uint8)
            painted = glow(plane, highest=scale.highest, colour=GLOW)
            pictures.append(picture(title, f"{title}, of case {case.id}", [under, painted], view, longest))
    drawn = len(case.files.samples)
    first = f"the first {MOST} of {drawn} samples" if drawn > MOST else plural(drawn, "sample")
    shown = f"Case {case.id}: {first if drawn else 'where its mask is uncertain'}."
    names = [(name, colours[number]) for number, name in enumerate(found.classes, start=1)]
    classes = tuple(names) if len(names) > 1 else ()
    return Hypotheses(case, shown, tuple(pictures), classes, tuple(notes), found.missing)
