"""What a model answers about an image, in memory: masks, probabilities, samples, doubt; and how it is looked at."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scantling.api.calls import public
from scantling.api.images import Form
from scantling.contract.results import Objects
from scantling.core.case import Labels, Sample
from scantling.core.errors import SettingsError
from scantling.data.files import stem_of
from scantling.data.pictures import View, outlined
from scantling.inference.bands import Decided
from scantling.inference.objects import as_file_has_them
from scantling.inference.writing import mask_values, values_of, write_mask
from scantling.report.pictures import png_uri

SHOWN = 384
"""Pixels of the longer side of a picture in a notebook."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Answer:
    """What a model answers about one image, in the type and the geometry in which the image came.

    Arrays have the axes of the image, channels left out: (*S). In a MetaTensor and in TorchIO one channel stands in
    front. What does not apply is None or empty: a classifier gives no mask, one answer alone no samples.

    Attributes:
        mask: a label map (*S), 0 where no class is, else `values`; where classes overlap (K, *S) of 0 and 255.
        probabilities: (K, *S) float32 in [0, 1], one for each of `classes`; of exclusive classes what remains to 1 is
            background. SimpleITK: K components; nibabel: K along the fourth axis.
        samples: masks like `mask`, one for each sample: an array (N, ...) of NumPy or torch, of other types a list.
        uncertainty: maps (*S) float32 by name ("entropy", "deviation", ...; see docs/metrics.md).
        classes: the names of the classes of masks.
        values: what each of them is in a mask.
        expected: the Dice that is expected: "dice", "estimate" and, where validation cases promise it, "low", "high"
            and "coverage"; else "reason" says why not.
        unlike: in what the image differs from all training images ("intensity", "scale", ...); none if it is alike, or
            if that is not known.
        distance: how far it lies from the nearest training image; above 1 it is unlike; None if that is not known.
        objects: what was found, where the method finds objects: classes from 0, boxes (N, D, 2) in pixels, scores.
        image_class: of a classifier, the class of the image.
        image_class_probabilities: by class.
        image_class_uncertainty: by name; "entropy" in nats.
        spacing: of the axes that came in, in mm, or 1 where nobody says it.
        affine: (4, 4) from indices to millimetres to the right, the front and the head; None where nobody says it.
        notes: sentences that a reader should know.

    Example:
        >>> answer = scantling.load_model("runs/unet").predict("scan.png", samples=4)
        >>> answer.mask.shape, answer.uncertainty["entropy"].max()
        >>> answer.plot().save("scan-with-mask.png")
        >>> answer.save("masks/scan.png")
    """

    mask: Any = None
    probabilities: Any = None
    samples: Any = ()
    uncertainty: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    values: tuple[int, ...] = ()
    expected: Mapping[str, Any] | None = None
    unlike: tuple[str, ...] = ()
    distance: float | None = None
    objects: Objects | None = None
    image_class: str | None = None
    image_class_probabilities: Mapping[str, float] = field(default_factory=dict)
    image_class_uncertainty: Mapping[str, float] = field(default_factory=dict)
    spacing: tuple[float, ...] = ()
    affine: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    _sample: Sample
    _form: Form
    _labels: Labels | None = None
    _decided: Decided | None = None

    @public
    def plot(self, *, longest: int = 768) -> Image.Image:
        """A picture of the image with the outline of each class; of a volume the slice with most of the mask.

        Args:
            longest: pixels of its longer side.
        """
        sample, decided, labels = self._sample, self._decided, self._labels
        layers: list[np.ndarray] = []
        if decided is not None and labels is not None:
            numbers = range(1, len(labels.names) + 1)
            mask = decided.decision
            layers = [mask == number for number in numbers] if labels.exclusive else [layer == 1 for layer in mask]
        shown = np.asarray(np.any(layers, axis=0)) if layers else None
        return Image.fromarray(outlined(sample.image, layers, View.of(sample.geometry, shown), longest=longest))

    @public
    def save(self, path: str | Path) -> list[Path]:
        """Write the mask as `predict` does: a PNG of a picture, NIfTI of a volume; returns the files.

        Args:
            path: the file, "masks/scan.png" or "masks/scan.nii.gz"; where classes overlap each of them goes into a
                folder of its own beside it, "masks/liver/scan.png".

        Raises:
            SettingsError: there is no mask, or the file has another suffix.
            FileError: the file cannot be written.
        """
        path, geometry = Path(path), self._sample.geometry
        if self._decided is None or self._labels is None:
            raise SettingsError("this answer has no mask that could be saved; it says the class of the image")
        suffix = ".png" if geometry.container == "raster" else ".nii.gz"
        if not path.name.lower().endswith(suffix):
            raise SettingsError(f"path {path}: found another suffix; expected {suffix}, as the mask is written")
        written = write_mask(path.parent, stem_of(path), self._decided.decision, geometry, self._labels)
        return [path.parent / name for name in ([written] if isinstance(written, str) else written)]

    def __repr__(self) -> str:
        return f"Answer({', '.join(self._facts())})"

    def _repr_html_(self) -> str:
        facts = "<br>".join(html.escape(line) for line in (*self._facts(), *self.notes))
        return f'<img alt="the image and its mask" src="{png_uri(np.asarray(self.plot(longest=SHOWN)))}"><br>{facts}'

    def _facts(self) -> list[str]:
        facts = []
        if self._decided is not None:
            shape = " x ".join(map(str, self._decided.decision.shape[-len(self._sample.geometry.shape) :]))
            facts.append(f"mask of {shape}: {', '.join(self.classes)}")
        if len(self.samples):
            facts.append(f"{len(self.samples)} samples")
        if self.image_class is not None:
            facts.append(f"{self.image_class} ({self.image_class_probabilities[self.image_class]:.2f})")
        if self.expected is not None:
            limits = f" ({self.expected['low']:.2f} to {self.expected['high']:.2f})" if "low" in self.expected else ""
            facts.append(f"expected Dice {self.expected['dice']:.2f}{limits}")
        return facts


def answer_of(
    sample: Sample,
    form: Form,
    decided: Decided | None,
    facts: Mapping[str, Any],
    *,
    labels: Labels | None,
    notes: Sequence[str] = (),
) -> Answer:
    """An answer as the caller receives it, from what `inference.prediction.Answerer` has found of a sample.

    Args:
        facts: what the record of `predict` says of the case.
        labels: the classes of its mask.
    """
    maps: dict[str, Any] = {}
    if decided is not None and labels is not None:
        found = decided.objects
        maps = {
            "mask": form.back(mask_values(decided.decision, labels), labels=True),
            "probabilities": None if decided.probabilities is None else form.back(decided.probabilities),
            "samples": form.several([mask_values(one, labels) for one in decided.samples]),
            "uncertainty": {name: form.back(map_) for name, map_ in decided.uncertainty.items()},
            "classes": labels.names,
            "values": values_of(labels),
            "objects": None if found is None else as_file_has_them(found, sample.geometry),
        }
    return Answer(
        **maps,
        expected=facts.get("expected"),
        unlike=tuple(facts.get("unlike", ())),
        distance=facts.get("distance"),
        image_class=facts.get("image_class"),
        image_class_probabilities=facts.get("classes", {}),
        image_class_uncertainty=facts.get("class_uncertainty", {}),
        spacing=form.stored.spacing,
        affine=form.stored.affine,
        notes=tuple(notes),
        _sample=sample,
        _form=form,
        _labels=labels,
        _decided=decided,
    )
