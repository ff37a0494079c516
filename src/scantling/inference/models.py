"""The models that answer: one run, or several as an ensemble, with the options that each of them resolves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from scantling.contract.capabilities import Classifier, Segmenter
from scantling.contract.method import Method
from scantling.contract.options import LEARN, ClassifyOptions, InferenceOptions, SegmentOptions
from scantling.core.case import Labels
from scantling.core.errors import RunError, SettingsError
from scantling.core.samples import Traits
from scantling.data.channels import unnamed
from scantling.data.contents import some
from scantling.inference.answering import channels_of
from scantling.records.run_folder import identity_of, load_model


@dataclass(frozen=True, kw_only=True)
class Models:
    """Models of the same images and classes that answer together; the first one leads.

    Attributes:
        runs: their folders; empty for a model in memory.
        identities: short names of their weights.
        segment, classify: the options that were given, by what the models can do; None where they cannot.
    """

    methods: tuple[Method, ...]
    runs: tuple[Path, ...] = ()
    identities: tuple[str, ...] = ()
    segment: SegmentOptions | None = None
    classify: ClassifyOptions | None = None
    notes: tuple[str, ...] = ()
    """Sentences on options that were given and that the models do without."""

    @property
    def segmenters(self) -> list[Segmenter]:
        """Those that segment, which is all of them or none."""
        return [each for each in self.methods if isinstance(each, Segmenter)] if self.segment is not None else []

    @property
    def classifiers(self) -> list[Classifier]:
        """Those that classify, which is all of them or none."""
        return [each for each in self.methods if isinstance(each, Classifier)] if self.classify is not None else []

    @property
    def channels(self) -> tuple[str, ...]:
        """Those that any of them reads, in the order of the models."""
        return channels_of(self.methods)

    @property
    def partial(self) -> bool:
        """Whether images may lack channels: where a method says so, or where one of several models can do without."""
        return any(each.partial or each.channels != self.channels for each in self.methods)

    @property
    def labels(self) -> Labels | None:
        """The classes of their masks."""
        return self.segmenters[0].labels_of(self.segment) if self.segment is not None else None

    def to(self, device: torch.device) -> None:
        """Bring them to a device."""
        for each in self.methods:
            each.to(device)


def open_models(runs: Sequence[Path], options: Mapping[str, Any]) -> Models:
    """The models of runs, and the options by capability, before any image is read.

    Raises:
        RunError: a run has no model, cannot answer about images, or does not fit the first.
        SettingsError: an option that the models do not know or cannot do.
    """
    methods = tuple(load_model(run) for run in runs)
    able = [sorted({"segment", "classify"} & {*method.gives}) for method in methods]
    for run, method, gives in zip(runs, methods, able, strict=True):
        if not gives:
            raise RunError(f"{run}: {method.card.name} cannot segment or classify; it can {', '.join(method.gives)}")
        if gives != able[0]:
            raise RunError(
                f"{run}: can {' and '.join(gives)}, {runs[0]} can {' and '.join(able[0])}; an ensemble needs models "
                "that can do the same"
            )
    identities = _agree(methods, runs)
    return models_of(methods, options, runs=tuple(runs), identities=identities)


def models_of(
    methods: Sequence[Method],
    options: Mapping[str, Any],
    *,
    runs: tuple[Path, ...] = (),
    identities: tuple[str, ...] = (),
) -> Models:
    """Models with the options that were given, by capability.

    Raises:
        SettingsError: an option that they do not know or cannot do.
    """
    first, kinds = methods[0], dict[str, type[InferenceOptions]]()
    if isinstance(first, Segmenter) and "segment" in first.gives:
        kinds["segment"] = first.segment_with
    if isinstance(first, Classifier) and "classify" in first.gives:
        kinds["classify"] = first.classify_with
    known = {name for kind in kinds.values() for name in kind.model_fields}
    if unknown := {name: value for name, value in options.items() if name not in known}:
        next(iter(kinds.values())).of(unknown)  # says which there are
    given: dict[str, Any] = {
        name: kind.of({key: value for key, value in options.items() if key in kind.model_fields})
        for name, kind in kinds.items()
    }
    models = Models(methods=tuple(methods), runs=runs, identities=identities, **given)
    if models.segment is not None:
        _check_reliabilities(models.segment, len(methods), models.labels)
        if models.segment.fuse == "dempster" and len(methods) == 1:
            raise SettingsError(
                "--fuse dempster: combines models, each of which is one source, and there is one; name others with "
                "--ensemble, or take another rule for the samples of one"
            )
        if models.segment.reliabilities == LEARN and models.labels != models.segmenters[0].traits.labels:
            raise SettingsError(
                "--options.reliabilities learn: validation masks show the classes of the training, and other options "
                "ask for others; leave out --options.vocabulary, or give numbers"
            )
        samples = models.segmenters[0].segment_options(models.segment).samples or 1
        if models.segment.views and samples > 1:
            raise SettingsError(
                "--views averages what samples would tell apart; leave one of them out, or ask for --samples 1"
            )
        without = [reason for each in models.segmenters if models.segment.views and (reason := each.without_views())]
        return replace(models, notes=tuple(f"--views: {reason}; images are answered as they are" for reason in without))
    return models


def _check_reliabilities(options: SegmentOptions, models: int, labels: Labels | None) -> None:
    """Refuse reliabilities that belong to no models, or to a rule that discounts nothing."""
    given = options.reliabilities
    if given and options.fuse != "dempster":
        raise SettingsError("--options.reliabilities: only the rule dempster discounts; expected --fuse dempster")
    if given and models == 1:
        raise SettingsError(
            "--options.reliabilities: they weigh several models against each other; found one; name others with "
            "--ensemble, or leave them out"
        )
    if not given or given == LEARN:
        return
    if len(given) != models:
        raise SettingsError(
            f"--options.reliabilities: found {len(given)} for {models} models; expected one for "
            "each, the run first, then --ensemble in their order"
        )
    exclusive = labels is None or labels.exclusive
    classes = (("background",) if exclusive else ()) + (labels.names if labels is not None else ("foreground",))
    if len(given[0]) not in (1, len(classes)):
        raise SettingsError(
            f"--options.reliabilities: found {len(given[0])} for each model; expected one, or {len(classes)} "
            f"({some(classes)})"
        )


def given_options(options: Mapping[str, Any] | InferenceOptions | None) -> dict[str, Any]:
    """Options by name, without those that nobody has chosen."""
    if isinstance(options, InferenceOptions):
        return options.model_dump(exclude_unset=True)
    return dict(options or {})


def _agree(methods: Sequence[Method], runs: Sequence[Path]) -> tuple[str, ...]:
    """Make sure that the models of an ensemble are several and know the same classes; who they are.

    They may read other channels of the same images, models of single modalities, where these have names.
    """
    first = methods[0].traits
    identities = tuple(identity_of(run) for run in runs)
    for number, (identity, run) in enumerate(zip(identities, runs, strict=True)):
        if identity in identities[:number]:
            raise RunError(
                f"{run}: is the model of {runs[identities.index(identity)]} again; name each model of an ensemble once"
            )
    for method, run in zip(methods[1:], runs[1:], strict=True):
        traits = method.traits
        for what, one, other in (
            ("classes", _classes(first), _classes(traits)),
            ("image classes", first.image_classes, traits.image_classes),
            ("dimensions", first.dimensions, traits.dimensions),
        ):
            if one != other:
                raise RunError(
                    f"{run}: was trained for other {what} than {runs[0]}; an ensemble needs models of the same data"
                )
        if method.channels != methods[0].channels and (unnamed(method.channels) or unnamed(methods[0].channels)):
            raise RunError(
                f"{run}: reads the channels {some(method.channels)}, {runs[0]} reads {some(methods[0].channels)}; an "
                "ensemble needs models of the same channels, or of images that a manifest names (flair, t1)"
            )
    return identities


def _classes(traits: Traits) -> tuple[object, ...]:
    """What the classes of two models have to agree in; a single class matches a single class."""
    several = len(traits.classes) > 1
    return len(traits.classes), traits.classes if several else (), traits.labels is None or traits.labels.exclusive
