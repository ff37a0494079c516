"""How the evidential diffusion of several modalities is set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from scantling.core.errors import SettingsError
from scantling.core.samples import Traits
from scantling.methods.mask_diffusion.chain_settings import MaskDiffusionSettings, Positive
from scantling.methods.mask_diffusion.gaussian_masks import GaussianMaskSettings

Weight = Annotated[float, Field(ge=0)]


class EIDDPMSettings(GaussianMaskSettings):
    """Settings of `ei-ddpm`. No code was released: T is that of the paper's figure, the evidence is as in the code of
    Huang et al. for the same data, and the rest is ours.

    Attributes:
        evidence: "full" discounts each modality by class; "no-discount" believes all of them alike; "none" is the mean
            of the label maps of the modalities, without evidence (the paper's ablation).
        fusion: "contour" multiplies discounted contours, with a reliability for each modality and class; "scalar" has
            one for each modality (`evidence.scalar_fusion`), as the notes have it that this method was built from.
        prototypes: I, of the evidential layer of each modality.
        denoising, dice, dice_alone: weights of the squared error of the noise, of the Dice loss of what is fused, and
            of that of each modality by itself.
        refitted: images of the training from whose chains the reliabilities are learnt once more at the end, with the
            fusion of contours; 0: they stay as the training leaves them (the paper says nothing of it).
        evidence_rate: the learning rate of the evidential layers and of the reliabilities.
        learned_variance: nothing to set, the paper's σ is fixed.
    """

    chain: Positive = 500
    sampling_steps: Positive = 500
    samples: Positive = 1
    batch: Positive = 8
    flips: bool = True
    evidence: Literal["full", "no-discount", "none"] = "full"
    fusion: Literal["contour", "scalar"] = "contour"
    prototypes: Positive = 20
    denoising: Annotated[float, Field(gt=0)] = 1.0
    dice: Weight = 1.0
    dice_alone: Weight = 0.5
    evidence_rate: Annotated[float, Field(gt=0)] = 1e-2
    refitted: Annotated[int, Field(ge=0)] = 0
    learned_variance: Literal[False] = False

    architecture: ClassVar[tuple[str, ...]] = (*MaskDiffusionSettings.architecture, "evidence", "fusion", "prototypes")
    binary: ClassVar[bool] = False

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "steps": 800,
            "rate": 2e-3,
            "schedule_of_rate": "one-cycle",
            "average": 0.99,
            "size": None,
            "longest": 64,
            "foreground": 0.33,
            "turns": True,
            "rotation": 30.0,
            "zoom": 0.2,
            "jitter": 0.2,
            "predicts": "x0",
            "sampler": "ddim",
            "sampling_steps": 10,
            "widths": (16, 32, 64),
            "blocks": 1,
            "attention": (),
            "refitted": 48,
        },
        "tiny": {
            "steps": 4,
            "batch": 2,
            "rate": 1e-2,
            "average": 0.9,
            "size": 16,
            "chain": 20,
            "predicts": "x0",
            "sampling_steps": 2,
            "widths": (8,),
            "blocks": 1,
            "attention": (),
            "prototypes": 2,
            "refitted": 2,
        },
    }

    def resolve(self, traits: Traits) -> Self:
        """Refuse a single modality, classes that overlap, and a fusion of evidence where there is none, too."""
        if len(traits.channels) < 2:
            raise SettingsError(
                f"EIDDPM weighs modalities against each other; found one channel ({', '.join(traits.channels)}); "
                "expected two or more, each a modality"
            )
        if traits.labels is not None and not traits.labels.exclusive:
            raise SettingsError(
                f"EIDDPM needs classes that exclude each other; {', '.join(traits.classes)} overlap; declare the parts "
                "that regions are joined from (necrosis, oedema, enhancing), and [regions] in the manifest for scores"
            )
        if self.evidence == "none" and self.fusion == "scalar":
            raise SettingsError(
                "--settings.fusion scalar with --settings.evidence none: there is no evidence to fuse; leave one of "
                "them out"
            )
        resolved: Self = super().resolve(traits)
        return resolved
