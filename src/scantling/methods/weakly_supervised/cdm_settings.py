"""The settings of `cdm`, and what may change at inference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from scantling.contract.settings import Names
from scantling.core.errors import SettingsError
from scantling.core.samples import Traits
from scantling.methods.features.pretrain_settings import PretrainSettings
from scantling.methods.weakly_supervised.class_maps import ClassMapOptions, classes_with_object, shown_and_not

Positive = Annotated[int, Field(gt=0)]
Variant = Literal["cdm", "cg-cdm", "cg-diff"]


class CdmOptions(ClassMapOptions):
    """How the map of an image is made; None is as in the settings. `--sampling-steps` is R.

    Attributes:
        variant, noise_level, tau, guidance, guided: see `CdmSettings`.
    """

    variant: Variant | None = None
    noise_level: Annotated[int, Field(ge=1)] | None = None
    tau: Annotated[float, Field(ge=0, lt=1)] | None = None
    guidance: Annotated[float, Field(ge=0)] | None = None
    guided: Literal["shown", "mixed"] | None = None


class CdmSettings(PretrainSettings):
    """Settings of `cdm`: those of `diffusion-pretrain` with the values of Hu et al., and these.

    Levels, width of the last of them, `steps` and all of `quick` are ours.

    Attributes:
        shown: the image classes that show the object; all but one that is called "normal", "no …" or the like.
        variant: "cdm"; "cg-cdm", which a classifier of noisy images leads; or "cg-diff", the difference to what the
            image would look like without the object, as the control of the paper.
        noise_level: Q; the image is noised to it, and the first of the steps goes down from Q - 1.
        sampling_steps: R, of each of the two trajectories (10 in the code; in the paper's sweep 50 is best).
        tau: how near the other condition is to that of the image.
        guidance: s of the guidance, in "cg-cdm" and "cg-diff" (10 in the code; in the paper's sweep 100 is best).
        guided: towards what it leads the second trajectory of "cg-cdm": the class with the object too ("shown"), or τ
            of that and 1 - τ of the other ("mixed", ours).
        sign: of the map: that by which the classifier's evidence falls most where the region is levelled in training
            images ("learnt"), as it comes ("kept", as in the code), the opposite ("flipped"), or its absolute value.
        largest: keep the largest component of a mask alone.
        gate: see `ClassMapOptions`.
        classifier_rate: of the learning of the classifier of noisy images.
        classifier_widths, classifier_blocks, classifier_attention: of its levels.
    """

    steps: Annotated[int, Field(ge=0)] = 150_000
    batch: Positive = 4
    size: Positive | None = 224
    chain: Annotated[int, Field(ge=2)] = 4000
    widths: Annotated[tuple[Positive, ...], Field(min_length=1)] = (128, 128, 256, 256, 512, 512)
    blocks: Positive = 3
    attention: tuple[Annotated[int, Field(ge=0)], ...] = (4, 5)
    head_channels: Positive = 128
    resample: Literal["convolution", "block"] = "convolution"
    sampling_steps: Positive = 10
    shown: Names = ()
    variant: Variant = "cdm"
    noise_level: Annotated[int, Field(ge=1)] = 400
    tau: Annotated[float, Field(ge=0, lt=1)] = 0.95
    guidance: Annotated[float, Field(ge=0)] = 10.0
    guided: Literal["shown", "mixed"] = "shown"
    sign: Literal["learnt", "kept", "flipped", "absolute"] = "learnt"
    largest: bool = False
    gate: Annotated[float, Field(ge=0, le=1)] = 0.0
    classifier_rate: Annotated[float, Field(gt=0)] = 3e-4
    classifier_widths: Annotated[tuple[Positive, ...], Field(min_length=1)] = (128, 128, 256, 256, 512, 512)
    classifier_blocks: Positive = 2
    classifier_attention: tuple[Annotated[int, Field(ge=0)], ...] = (3, 4, 5)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            **PretrainSettings.presets["quick"],
            "steps": 2500,
            "size": 64,
            "longest": None,
            "chain": 1000,
            "widths": (24, 48, 96),
            "attention": (2,),
            "classifier_rate": 1e-3,
            "classifier_widths": (16, 32, 64),
            "classifier_blocks": 1,
            "classifier_attention": (),
            "sampling_steps": 10,
        },
        "tiny": {
            **PretrainSettings.presets["tiny"],
            "noise_level": 8,
            "classifier_rate": 1e-2,
            "classifier_widths": (8, 16),
            "classifier_blocks": 1,
            "classifier_attention": (),
            "shown": ("bright",),
        },
    }
    architecture: ClassVar[tuple[str, ...]] = (
        *PretrainSettings.architecture, "classifier_widths", "classifier_blocks", "classifier_attention",
    )  # fmt: skip

    def resolve(self, traits: Traits) -> Self:
        """Decide which image classes show the object; refuse a walk that the chain does not have."""
        resolved = super().resolve(traits)
        check_walk_of(self.noise_level, self.sampling_steps, self.chain)
        if any(level >= len(self.classifier_widths) for level in self.classifier_attention):
            raise SettingsError(
                f"--settings.classifier_attention {self.classifier_attention}: the levels are 0 to "
                f"{len(self.classifier_widths) - 1}; name some of them"
            )
        shown = classes_with_object("cdm", self.shown, traits)
        return resolved.model_copy(update={"shown": shown})

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """Which images show the object, and how the map is made."""
        height, width = self.shape(traits)
        return (
            f"{shown_and_not(self.shown, traits)}; of the labels only this class of an image is read, and no mask",
            f"learns from {traits.slices().classified} images on a grid of {height} x {width}",
            f"the map of an image: {self.variant}, Q {self.noise_level}, R {self.sampling_steps}, tau {self.tau:g}"
            + ("" if self.variant == "cdm" else f", guidance {self.guidance:g}"),
        )


def check_walk_of(noise_level: int, steps: int, chain: int) -> None:
    """Refuse a level beyond the chain, and more steps than lie below it.

    Raises:
        SettingsError: one of both.
    """
    if noise_level >= chain:
        raise SettingsError(f"the noise level is {noise_level}; this chain has the levels 1 to {chain - 1}")
    if steps > noise_level:
        raise SettingsError(
            f"--sampling-steps {steps}: below the noise level of {noise_level} there are no more than that"
        )
