"""The settings of `nuclei-diffusion`, and what may change from one made case to the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from scantling.contract.options import GenerateOptions
from scantling.core.errors import SettingsError
from scantling.core.samples import Traits
from scantling.methods.features.pretrain_settings import Positive
from scantling.methods.generation.mask_to_image import GuidedOptions, MaskToImageSettings

Condition = Literal["distances", "edges"]
Layout = Literal["as drawn", "moved", "rebalanced"]
Share = Annotated[float, Field(gt=0, le=1)]


class NucleiDiffusionSettings(MaskToImageSettings):
    """Settings of `nuclei-diffusion`: those of `mask-to-image` for the images, where batch, rate and decay are the
    authors', and for the structures those that begin with `structure_`.

    All of `quick` is ours.

    Attributes:
        patch: the side of the squares that are cut from images, and made.
        turns: turn by a right angle, at random; the maps are made of what was turned, and so have the right signs.
        steps: of all stages together: 200,000 of structures, and 300,000 of images (the authors').
        shares: of them that train structures, then images, then images at `guided_rate`, in which the share `dropped`
            of the structures is taken away. Where the last is 0, they are taken away from the first image on.
        warmup: steps in which the rate of the images rises; then it falls in cosines of `cycle` steps each.
        decay: L2 penalty on the weights that paint.
        condition: what leads the images: "distances", the classes with a horizontal and a vertical map of the objects
            (NuDiff); "edges", the classes with the edges of the objects (DiffMix).
        with_classes: read the classes of the objects from masks; else all objects are of one.
        smallest: an object of fewer pixels, such as the corner of one that a patch cuts, has no distances, and none
            is made.
        kernel: side of the Sobel kernel by which the edges of made objects are found, an odd number.
        opening: radius of the disc that opens their markers.
        structure_batch, structure_rate, structure_decay: of the network that draws structures.
        structure_widths: its channels at each level; as those of `widths` if empty.
    """

    size: Positive | None = None
    patch: Positive | None = 256
    turns: bool = True
    steps: Positive = 500_000
    shares: tuple[Share, Share, Annotated[float, Field(ge=0, lt=1)]] = (0.4, 0.3, 0.3)
    batch: Positive = 1
    warmup: Annotated[int, Field(ge=0)] = 2000
    cycle: Positive | None = 10_000
    decay: Annotated[float, Field(ge=0)] = 0.01
    guided_rate: Annotated[float, Field(gt=0)] = 2e-5
    condition: Condition = "distances"
    with_classes: bool = False
    smallest: Positive = 30
    kernel: Annotated[int, Field(ge=3)] = 21
    opening: Annotated[int, Field(ge=0)] = 2
    structure_batch: Positive = 4
    structure_rate: Annotated[float, Field(gt=0)] = 1e-4
    structure_decay: Annotated[float, Field(ge=0)] = 0.05
    structure_widths: tuple[Positive, ...] = ()

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            **MaskToImageSettings.presets["quick"],
            "longest": None,
            "patch": 96,
            "steps": 3000,
            "shares": (0.5, 0.5, 0.0),
            "batch": 4,
            "warmup": 0,
            "cycle": None,
            "decay": 0.0,
            "smallest": 10,
            "kernel": 11,
            "opening": 1,
            "structure_batch": 8,
            "structure_rate": 1e-3,
            "structure_decay": 0.0,
        },
        "tiny": {
            **MaskToImageSettings.presets["tiny"],
            "size": None,
            "patch": 16,
            "steps": 6,
            "warmup": 0,
            "cycle": 2,
            "guided_rate": 1e-2,
            "smallest": 2,
            "kernel": 3,
            "opening": 1,
            "structure_batch": 2,
            "structure_rate": 1e-2,
        },
    }
    architecture: ClassVar[tuple[str, ...]] = (
        *MaskToImageSettings.architecture, "condition", "with_classes", "structure_widths",
    )  # fmt: skip

    led_by: ClassVar[str] = "instance map"

    @property
    def stage_steps(self) -> tuple[int, int, int]:
        """The steps of structures, of images, and of images of which some are learned without a structure."""
        whole = sum(self.shares)
        drawn, _, guided = (max(1, round(self.steps * each / whole)) if each else 0 for each in self.shares)
        return drawn, max(1, self.steps - drawn - guided), guided

    def resolve(self, traits: Traits) -> Self:
        """Refuse a Sobel kernel that has no middle."""
        if self.kernel % 2 == 0:
            raise SettingsError(f"--settings.kernel {self.kernel}: expected an odd number")
        return super().resolve(traits)

    def check_classes(self, traits: Traits) -> None:
        """Make sure that there are masks of classes that exclude each other, where classes are to be read.

        Raises:
            SettingsError: there are none.
        """
        if self.with_classes and not (traits.classes and traits.labels is not None and traits.labels.exclusive):
            raise SettingsError(
                "--settings.with_classes: found no masks of classes that exclude each other; expected those of the "
                "objects, or leave it out"
            )

    def of_structures(self) -> Self:
        """The settings of the network that draws structures."""
        return self.model_copy(update={"widths": self.structure_widths or self.widths})


class NucleiOptions(GuidedOptions):
    """How cases are made.

    Attributes:
        layout: of the objects of `--from`: "as drawn"; "moved", each to another place; "rebalanced", most of those of
            the most frequent class are of a rarer one (DiffMix).
        start: the share of the chain at which an image begins: 1, noise alone; less, the image of `--from` under that
            noise, so that stain and surroundings stay (0.55 in DiffMix).
        whole: images of `--from` are taken whole; else of larger ones a square as those of training, anywhere in them.
    """

    layout: Layout = "as drawn"
    start: Share = 1.0
    whole: bool = False


def given_alone(options: GenerateOptions) -> str:
    """Which of the options need `--from`; empty where none does."""
    if getattr(options, "layout", "as drawn") != "as drawn":
        return "layout"
    if getattr(options, "start", 1.0) < 1:
        return "start"
    return "whole" if getattr(options, "whole", False) else ""
