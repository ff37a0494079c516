"""A trained model, several together or a rule, in memory: it answers about images and makes new ones."""

from __future__ import annotations

import html
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, overload

import torch

from scantling.api.answers import Answer, answer_of
from scantling.api.arrays import Order
from scantling.api.calls import public, python_words
from scantling.api.images import sample_of
from scantling.api.made import Made, made_of
from scantling.contract.capabilities import Generator
from scantling.contract.card import Capability
from scantling.contract.method import Method
from scantling.core.errors import RunError, SettingsError
from scantling.core.machine import Compute, Precision
from scantling.core.paths import path_of
from scantling.data.dataset import Dataset
from scantling.inference.conditions import Conditions
from scantling.inference.expected import sentences_on_expected
from scantling.inference.made_cases import arrays_of
from scantling.inference.models import models_of, open_models
from scantling.inference.prediction import Answerer
from scantling.inference.scale import sentences_on_scale
from scantling.inference.synthesis import generator_of, maker_of
from scantling.inference.unlike import sentences_on_likeness
from scantling.methods.catalogue import card_of, cards
from scantling.records.predictions import PredictedCase
from scantling.records.run_folder import WEIGHTS, identity_of, model_folder
from scantling.records.run_folder import load_model as read_model

Run = str | os.PathLike[str]
DATA = "a data set, or its folder"
ARGUMENTS: Mapping[str, str] = {
    "options": "", "sampling-steps": "steps", "from": "data", "class": "image_class",
    "ensemble": "scantling.load_model([...])",
}  # fmt: skip
"""Flags of `predict` and `synthesize` whose argument here has another name, or is one of `load_model`."""


@public
def load_model(
    run: Run | Sequence[Run],
    device: str = "auto",
    *,
    threads: int | None = None,
    precision: Precision = "auto",
    method: type[Method] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Model:
    """The model of a run, of several runs together, or a rule that needs no training.

    Args:
        run: the folder of a run or of its model, or what `train` has returned; several of them answer together, each
            a sample of its own (a deep ensemble); or the name of a rule that makes images ("retina-phantoms").
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:1".
        threads: of the processor; numbers repeat bit for bit with the same count. None: torch's, at most the cores.
        precision: "auto" is bf16 on a GPU that has it, else float32; or "float32", "bf16".
        method: the class of the method, where it is in no catalogue; a module that can be imported holds it.
        settings: of a rule, by name.

    Raises:
        RunError: there is no such model, or several do not fit each other.
        SettingsError: the device, or a number of threads, is not there.

    Example:
        >>> model = scantling.load_model("runs/unet")
        >>> model.predict("scan.png").mask.shape
        (512, 512)
        >>> model = scantling.load_model(["runs/seed-0", "runs/seed-1"])  # an ensemble
        >>> made = scantling.load_model("retina-phantoms").generate(8, size=256)
    """
    compute = Compute(device=device, threads=threads, precision=precision)
    compute.prepare()
    runs = list(run) if isinstance(run, list | tuple) else [run]
    if not runs:
        raise SettingsError("run: found an empty list; expected a run, or several")
    paths = tuple(path_of(each, "run") for each in runs)
    card = cards().get(run) if isinstance(run, str) else None
    if card is not None and not (model_folder(paths[0]) / WEIGHTS).is_file():
        if card.needs or "generate" not in card.gives:
            if "annotate" in card.gives:
                raise RunError(f"{card.name} labels the images of a data set; scantling.synthesize runs it")
            raise RunError(f"{card.name} has to be trained first, with scantling.train; then pass its run")
        rule, made_by = generator_of(card.name, settings or {})
        return Model((rule,), compute=compute, source=card.name, made_by=made_by, settings=settings or {})
    if settings:
        raise SettingsError("settings belong to a rule; those of a run were decided when it was trained")
    if method is not None:
        card_of(method)  # which is known from here on
    if len(paths) > 1:
        together = open_models(paths, {})
        each = zip(paths, together.methods, strict=True)
        if other := [path for path, method_ in each if method_.channels != together.channels]:
            raise RunError(
                f"{other[0]}: reads other channels than the models beside it; images in memory are answered by models "
                "of the same channels; scantling.predict takes such runs together"
            )
        return Model(together.methods, compute=compute, runs=paths, identities=together.identities)
    if not paths[0].exists():
        rules = ", ".join(card.name for card in cards().values() if card.gives == ("generate",) and not card.needs)
        raise RunError(f"{paths[0]}: there is no such run and no such rule; rules are: {rules}")
    return Model((read_model(paths[0]),), compute=compute, runs=paths, identities=(identity_of(paths[0]),))


class Model:
    """What `load_model` returns; the networks stay on the device until it is closed.

    Several threads may ask for answers at a time; they are given one after the other.

    Attributes:
        method: the leading method, a torch module in evaluation mode.
        compute: where it computes.
        runs: the folders that it comes from; none of a rule.
    """

    def __init__(
        self,
        methods: tuple[Method, ...],
        *,
        compute: Compute,
        runs: tuple[Path, ...] = (),
        identities: tuple[str, ...] = (),
        source: str = "",
        made_by: str = "",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.compute, self.runs, self.device = compute, runs, compute.prepare()
        self._methods = tuple(each.to(self.device).eval() for each in methods)
        self._identities, self._source = identities, source or (str(runs[0]) if runs else "")
        self._made_by, self._settings = made_by, dict(settings or {})
        self._answerer: tuple[dict[str, Any], Answerer] | None = None
        self._lock = threading.Lock()

    @property
    def method(self) -> Method:
        """The leading method.

        Raises:
            RunError: the model is closed.
        """
        if not self._methods:
            raise RunError("this model is closed; load it again")
        return self._methods[0]

    @property
    def name(self) -> str:
        """Of the method ("unet")."""
        return self.method.card.name

    @property
    def gives(self) -> tuple[Capability, ...]:
        """What it can do: "segment", "classify", "generate", "register", "encode"."""
        return self.method.gives

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of its masks."""
        return self.method.traits.classes

    @property
    def image_classes(self) -> tuple[str, ...]:
        """The classes that it tells whole images apart by."""
        return self.method.traits.image_classes

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels of the images that it takes."""
        return self.method.channels

    @property
    def spatial_dims(self) -> int:
        """The axes of the images that it takes: 2 or 3."""
        return self.method.traits.dimensions

    @overload
    def predict(self, x: list[Any] | tuple[Any, ...], **how: Any) -> list[Answer]: ...
    @overload
    def predict(self, x: Any, **how: Any) -> Answer: ...
    @public
    def predict(
        self,
        x: Any,
        *,
        spacing: float | Sequence[float] | None = None,
        affine: Any = None,
        channels: Order | None = None,
        region: Any = None,
        id: str = "",
        samples: int | None = None,
        seed: int = 0,
        **options: Any,
    ) -> Answer | list[Answer]:
        """The answer about an image, in the type and the geometry in which it comes; `predict` writes the same.

        The axes of NumPy and torch are (H, W) of pictures and (X, Y, Z) of volumes, with the channels in front or
        behind, as the number of channels of the model tells; a shape with two readings is refused. Values are those of
        the file: an array of 8 bits is answered as the file that holds it. The axes of a volume without an affine are
        taken to be right, anterior and superior; all other types say how they lie, and are turned as files are. An
        array (z, y, x) that SimpleITK has made is none of these: pass the SimpleITK image.

        Args:
            x: a NumPy array, a torch tensor, a MONAI MetaTensor (channels first), an image of SimpleITK, nibabel,
                TorchIO or Pillow, a TorchIO Subject, a dictionary of images by the names of the channels, a file or a
                case of a data set, which answer in NumPy; or a list of them. A batch is passed as `[*x]`.
            spacing: in mm, one for each axis of `x` or one for all, in place of what `x` says.
            affine: of a NumPy or torch array: (4, 4) from indices to millimetres to the right, the front and the head.
            channels: "first" or "last", where the shape of an array does not tell.
            region: the pixels that count, an image of the shape of `x` or a file; in place of that of a case.
            id: with `seed` all randomness is a function of it; the command takes the name of the file without its
                suffix, and so does a path here. All of a list have the same.
            samples: masks that are drawn; None: as the method does.
            options: of the model by name, as `predict` has them: `steps` of the chain, `fuse`, `votes`, `views`,
                `memory` (GiB), `postprocess`, and what `scantling methods NAME` lists.

        Returns:
            The answer, or for a list the answers.

        Raises:
            DataError: `x` is no image for this model, or has two readings.
            SettingsError: an option that the model does not know or cannot do.
            RunError: the model can neither segment nor classify.

        Example:
            >>> answer = model.predict(numpy.zeros((256, 256), numpy.uint8))
            >>> answer.mask.shape, answer.probabilities.shape
            ((256, 256), (1, 256, 256))
            >>> model.predict(SimpleITK.ReadImage("ct.nii.gz")).mask.GetSpacing()
            (0.7, 0.7, 2.5)
        """
        how: dict[str, Any] = {"spacing": spacing, "affine": affine, "channels": channels, "region": region, "id": id}
        given = {"seed": seed, **({} if samples is None else {"samples": samples}), **options}
        with python_words(ARGUMENTS), self._lock:
            if isinstance(x, list | tuple):
                return [self._answer(each, how, given) for each in x]
            return self._answer(x, how, given)

    def _answer(self, x: Any, how: Mapping[str, Any], given: dict[str, Any]) -> Answer:
        """The answer about one image: `how` it is read, and the options that are `given`."""
        method = self.method
        if not {"segment", "classify"} & {*method.gives}:
            raise RunError(f"{method.card.name} cannot segment or classify; it can {', '.join(method.gives)}")
        self.compute.prepare()
        answerer = self._answering(given)
        sample, form = sample_of(x, method, **how)
        answerer.other_unit.clear()
        decided, facts = answerer.answer(sample)
        case = {"id": sample.case.id or "x", **facts}
        notes = (
            *form.notes,
            *answerer.models.notes,
            *answerer.notes,
            *sentences_on_scale([PredictedCase.model_validate(case)], given=given.get("scale")),
            *sentences_on_likeness([case], answerer.known),
            *sentences_on_expected([case], answerer.calibration),
        )
        return answer_of(sample, form, decided, facts, labels=answerer.models.labels, notes=notes)

    @public
    def generate(
        self,
        count: int = 1,
        *,
        size: int | None = None,
        seed: int = 0,
        data: Run | Dataset | None = None,
        split: str = "train",
        image_class: str | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> list[Made]:
        """Made images, masks or both, equal to the files that `synthesize` writes.

        Args:
            count: how many; number n of a seed is the same however many are made.
            size: of a rule: the side of an image in pixels.
            seed: what all randomness is a function of.
            data: a data set, or its folder, with what the method asks for (masks, sketches, images), walked by id.
            split: whose cases are taken: "train", "validation", "test" or "all".
            image_class: of every case that is made, where the method asks for one.
            settings: of a rule, by name, beside those of `load_model`.
            options: of the model by name: `steps`, `memory` (GiB), and what `scantling methods NAME` lists.

        Raises:
            RunError: the model makes no images.
            SettingsError: a setting or an option that it does not know, or nothing is given that it asks for.

        Example:
            >>> for made in scantling.load_model("retina-phantoms").generate(3, size=256, seed=7):
            ...     print(made.id, made.image.shape, made.mask.max())
        """
        chosen = {**(settings or {}), **({} if size is None else {"size": size})}
        method, device = self.method, self.compute.prepare()
        if not isinstance(method, Generator) or "generate" not in method.gives:
            raise RunError(f"{method.card.name} makes no images; it can {', '.join(method.gives)}")
        made_by = f"{method.card.name} {self._identities[0]}" if self.runs else self._made_by
        if chosen and self.runs:
            raise SettingsError(f"{', '.join(chosen)}: the settings of a run were decided when it was trained")
        if chosen:
            method, made_by = generator_of(self._source, {**self._settings, **chosen})
        conditions = Conditions(
            data=data if data is None or isinstance(data, Dataset) else path_of(data, "data", expected=DATA),
            split=split,
            image_class=image_class,
        )
        with python_words(ARGUMENTS):
            maker = maker_of(
                method, made_by, source=self._source, options={"seed": seed, **options}, conditions=conditions,
                device=device, autocast=self.compute.autocast(device, training=False),
            )  # fmt: skip
            ids = maker.ids(count)
            made = []
            for first in range(0, count, maker.at_once):
                some = ids[first : first + maker.at_once]
                for id, (one, facts, parent) in zip(some, maker(first, len(some)), strict=True):
                    arrays = arrays_of(id, one, method, parent=parent)
                    made.append(made_of(id, arrays, facts, labels=method.traits.labels))
            return made

    def close(self) -> None:
        """Free the networks; the model can then do nothing more."""
        self._methods, self._answerer = (), None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if not self._methods:
            return "Model(closed)"
        words = {"channels": self.channels, "classes": self.classes}
        facts = [f"{name} {' '.join(names)}" for name, names in words.items() if names]
        several = [f"{len(self._methods)} together"] if len(self._methods) > 1 else []
        return f"Model({', '.join([self.name, f'{self.spatial_dims}-D', *facts, *several])}, on {self.device})"

    def _repr_html_(self) -> str:
        return f"<b>{html.escape(self.name)}</b><br>{html.escape(repr(self))}" if self._methods else repr(self)

    def _answering(self, given: dict[str, Any]) -> Answerer:
        """What answers with these options; the last one is kept, since it knows how much memory a pass takes."""
        if self._answerer is None or self._answerer[0] != given:
            models = models_of(self._methods, given, runs=self.runs, identities=self._identities)
            autocast = self.compute.autocast(self.device, training=False)
            self._answerer = given, Answerer(models=models, device=self.device, autocast=autocast, maps=True)
        return self._answerer[1]
