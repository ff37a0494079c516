"""The settings and options of `vessels`, and what it decides by itself where they leave it open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from scantling.contract.options import SegmentOptions
from scantling.core.errors import SettingsError
from scantling.core.samples import Traits
from scantling.methods.supervised.unet_settings import UNetSettings
from scantling.methods.without_labels.vesselness import COLOUR
from scantling.phantoms.kinds import Kind, for_each

TUBES = ("bright tubes", "dark tubes")
"""The kinds that volumes may take."""
SHARE = 0.12
"""The share of a retina's field that experts mark as vessel, about; see `vesselness`."""
SHARE_OF_VOLUMES = 0.02
"""Ours; Otsu's threshold of the filter may mark half of a volume in which little is a tube."""
PRIOR = 5
"""As many masks as one of these shares counts as beside masks that are learned from; ours."""


class VesselsSettings(UNetSettings):
    """Settings of `vessels`: those of `unet`, whose network, plan and presets it has, and what is learned from. All
    ours.

    Attributes:
        dimensions: 2 reads volumes slice by slice; None: as the data are.
        kind: of phantoms. None: "retina" for colour, "bright tubes" for volumes, else "angiogram". Fluorescence and the
            like are "bright tubes". "fractal curves" are those of FreeCOS (Shi et al., 2023).
        look: of phantoms: that of their rule, or with the strength of low frequencies that the real image has, in whose
            size each is made, as FreeCOS does it ("fourier").
        phantoms: how many there are for all images together, if these are as large as photographs of DRIVE; of
            larger ones there are fewer, as many pixels in all; one for each image at least, 64 at most.
        rounds: how often the network labels the real images, together with the filter, and goes on with these.
        first: the share of the steps that learn from phantoms alone.
        share: of the region that vessels take: in the answer of the filter in each image (see `vesselness`), in
            pseudo-labels in all images together. None: 0.12, of volumes 0.02; where it learns from masks, the mean of
            what vessels take in these and of that, which counts as five masks.
        with_masks: whether it learns from masks, too, where images have one: in the rounds, as large a part of a batch
            as of the images, one sample at least and half of it at most; all of it where every image has one.
        with_centre_lines: the same of centre lines, which scribbles hold. Beside the line of a vessel, which is widened
            (`mending.widening`), and where background was drawn, the image has a label; elsewhere its pseudo-label.
    """

    kind: Kind | None = None
    look: Literal["rule", "fourier"] = "rule"
    phantoms: Annotated[int, Field(ge=1)] = 200
    rounds: Annotated[int, Field(ge=0, le=10)] = 1
    first: Annotated[float, Field(gt=0, lt=1)] = 0.6
    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    with_masks: bool = False
    with_centre_lines: bool = False

    reads_masks: ClassVar[bool] = False
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **UNetSettings.presets,
        "tiny": {**UNetSettings.presets["tiny"], "phantoms": 1},
    }

    def resolve(self, traits: Traits) -> Self:
        """Plan as `unet` does, and choose the kind of phantoms."""
        if self.with_masks and self.with_centre_lines:
            raise SettingsError("found --settings.with_masks and --settings.with_centre_lines; expected one of them")
        if (self.with_masks or self.with_centre_lines) and len(traits.classes) > 1:
            raise SettingsError(
                f"vessels learns one class; found labels of {', '.join(traits.classes)}; leave labels out, or join the "
                "classes in a manifest: classes = { vessel = [1, 2] }"
            )
        volumes, colour = self.seen(traits).dimensions == 3, traits.channels == COLOUR
        kind = self.kind or ("bright tubes" if volumes else "retina" if colour else "angiogram")
        if volumes and (kind not in TUBES or self.with_centre_lines or self.look != "rule"):
            what = "with_centre_lines" if self.with_centre_lines else f"look {self.look}"
            what = f"kind {kind}" if kind not in TUBES else what
            raise SettingsError(
                f"--settings.{what}: expected pictures, found volumes; volumes take {' or '.join(TUBES)}, or are read "
                "slice by slice with --settings.dimensions 2"
            )
        if kind == "retina" and not colour:
            raise SettingsError(
                f"--settings.kind retina: expected images in red, green and blue, found {', '.join(traits.channels)}; "
                "choose another kind"
            )
        least, share = (0.001, SHARE_OF_VOLUMES) if volumes else (0.01, SHARE)
        if self.with_masks and (taken := traits.foreground_inside or traits.foreground):
            # one image may have far less or more than all have
            drawn = (traits.labelled * taken[0] + PRIOR * share) / (traits.labelled + PRIOR)
            share = min(max(drawn, least), 0.5)
        return super().resolve(traits).model_copy(update={"kind": kind, "share": self.share or share})

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """As of `unet`, and which phantoms it learns from."""
        begun = f"phantoms ({self.kind}), {self.each(traits)} for each image"
        return (*super().explain(traits), self.learned_from(begun, traits))

    def learned_from(self, begun: str, traits: Traits) -> str:
        """What it learns from, in words, of which `begun` is the first."""
        if self.with_masks and not traits.unlabelled:
            return f"learns from {begun}, then from the masks that all images have"
        turns = f"then from what it and a filter say of the images, {self.rounds} time{'s' * (self.rounds != 1)}"
        labels = "no label of theirs is read"
        if self.with_masks or self.with_centre_lines:
            labels = f"{'masks' if self.with_masks else 'widened centre lines'} are learned from beside that"
        return f"learns from {begun}, {turns}; {labels}"

    def each(self, traits: Traits) -> int:
        """Phantoms for each image."""
        traits = self.seen(traits)
        return for_each(self.phantoms, images=traits.labelled + traits.unlabelled, shape=traits.shape)


class VesselsOptions(SegmentOptions):
    """How vessels are found.

    Attributes:
        mended: close gaps along vessels and drop small pieces, as where no truth is known (`mending.choose.UNSEEN`).
    """

    mended: bool = False
