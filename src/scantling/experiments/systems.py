"""The eighteen published systems: what each is here, what it is held against on which public set, what it claims.

One table, read by `benchmarks/eighteen.py`, which trains it, and by `scripts/make_docs.py`, which writes it down. What
a paper claims is as its tables print it, on the data that are named beside; no score of ours can be held against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from scantling.core.fields import reads_labels
from scantling.experiments.advice_rules import Structure
from scantling.methods.catalogue import card_of

DATA = "data"
"""The name of the data set of a system, among those that a training is given."""
Prepared = Literal["", "labelled", "classes"]
ANY: tuple[Structure, ...] = ("vessels", "objects", "regions")
VESSELS, OBJECTS = ANY[:1], ANY[1:2]


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training of an arm.

    Attributes:
        share: of the minutes of the arm; 0 of a method that is not trained.
        data: `DATA`, or the names of earlier makings.
        uses: the earlier training that the method is built on, by role.
        base: the earlier training whose weights it begins with.
        options: others of `scantling.training.Options`.
    """

    method: str
    share: float = 1.0
    data: tuple[str, ...] = (DATA,)
    settings: Mapping[str, Any] = field(default_factory=dict)
    uses: Mapping[str, str] = field(default_factory=dict)
    base: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Making:
    """Cases that an arm makes for its later trainings.

    Attributes:
        of: an earlier training, or a method that makes cases by rule.
        settings: of such a method.
    """

    of: str
    count: int
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What is trained, stage by stage; the last one answers.

    Attributes:
        says: what it is, in words.
        answer: options of the answers, by name.
    """

    says: str
    stages: Mapping[str, Training | Making]
    answer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def last(self) -> Training:
        """The training whose model answers.

        Raises:
            ValueError: the last stage is none.
        """
        stage = [*self.stages.values()][-1]
        if not isinstance(stage, Training):
            raise ValueError(f"{self.says}: ends with a making; expected a training, which answers")
        return stage


ENOUGH = 3
"""Seeds below which nothing is judged."""


def verdict(interval: tuple[float, float], direction: str, *, seeds: int) -> str:
    """What the difference of a system to its control says, in words.

    Args:
        interval: of the difference, the system minus the control; NaN where it is not known.
        direction: of the measure, "higher" or "lower".
        seeds: that stand behind it.
    """
    if seeds < ENOUGH:
        return "not judged yet"
    low, high = interval if direction == "higher" else (-interval[1], -interval[0])
    return "helps" if low > 0 else "does not help" if high < 0 else "could not be shown"


def one(method: str, says: str = "", **more: Any) -> Arm:
    """An arm of a single training."""
    answer = more.pop("answer", {})
    return Arm(says=says or f"`{method}`", stages={"model": Training(method=method, **more)}, answer=answer)


@dataclass(frozen=True, kw_only=True)
class System:
    """One line of the table.

    Attributes:
        name: what its paper calls it.
        method: that stands for it here.
        data: the public set, by the name of its folder in `data/`.
        prepared: "labelled" leaves the labelled subjects alone, and no others; "classes" gives image classes that the
            masks tell, and no mask to the training.
        labels: how many labelled subjects, or a share of them; None: all.
        metric: the measure by which the two arms are compared.
        claim: what its paper prints, the system first.
        on: what the claim is of.
        structures: that it is made for.
    """

    name: str
    method: str
    data: str
    ours: Arm
    control: Arm
    metric: str
    claim: str
    on: str
    prepared: Prepared = ""
    labels: int | str | None = None
    structures: tuple[Structure, ...] = ANY

    @property
    def budget(self) -> str:
        """The labels in words."""
        if self.labels is None:
            reads = {word for words in card_of(self.ours.last.method).needs for word in words}
            return (
                "image classes" if self.prepared == "classes" else "all labels" if reads_labels(reads) else "no labels"
            )
        alone = ", no other images" if self.prepared == "labelled" else ""
        return f"{self.labels} of the labels{alone}" if isinstance(self.labels, str) else f"{self.labels} labels{alone}"


STRONG: Mapping[str, Any] = {"augment": "strong"}
CALIBRATED: Mapping[str, Any] = {"validation": 0.2}
"""Of a method that finds its threshold on cases that it has not learned from."""
PLAIN = one("plain-diffusion")
THRICE: Mapping[str, Any] = {"samples": 3}
"""Of slices by the hundred fewer masks are drawn than usual, as many in both arms."""

SYSTEMS: tuple[System, ...] = (
    System(
        name="BerDiff", method="berdiff", data="stare", metric="ged",
        ours=one("berdiff", answer={"samples": 8, "steps": 5}),
        control=one(
            "berdiff", "`berdiff` with Gaussian noise", settings={"kernel": "gaussian"},
            answer={"samples": 8, "steps": 5},
        ),
        claim="GED .238, with Gaussian noise .251", on="LIDC-IDRI, 16 samples, 86,500 iterations",
    ),
    System(
        name="MedSegDiff", method="medsegdiff", data="lgg-mri", metric="dice",
        ours=one("medsegdiff", answer=THRICE), control=one("plain-diffusion", answer=THRICE),
        claim="Dice .905 (its `++`), without its two parts .882", on="brain tumour",
    ),
    System(
        name="MedSegDiff-V2", method="medsegdiff-v2", data="lgg-mri", metric="dice",
        ours=one("medsegdiff-v2", answer=THRICE), control=one("plain-diffusion", answer=THRICE),
        claim="Dice .908, without its two parts .882", on="brain tumour",
    ),
    System(
        name="DTU-Net", method="dtu-net", data="isic-2017", metric="dice",
        ours=one("dtu-net"), control=PLAIN,
        claim="Dice .946, a U-Net with diffusion .873", on="Kvasir-SEG",
    ),
    System(
        name="MB-Diff", method="mb-diff", data="isic-2017", metric="iou",
        ours=one("mb-diff"), control=PLAIN,
        claim="mean IoU .871, without evolution and fusion .831", on="data that are not named; read off, ± .005",
    ),
    System(
        name="EI-DDPM", method="ei-ddpm", data="lgg-mri", metric="dice",
        ours=one("ei-ddpm", answer=THRICE),
        control=one("plain-diffusion", "`plain-diffusion` on stacked channels", answer=THRICE),
        claim="Dice .9017, SegDDPM on stacked channels .8865", on="BraTS 2021, average",
    ),
    System(
        name="CDM", method="cdm", data="lgg-mri", prepared="classes", metric="dice",
        ours=one("cdm", "`cdm`, guided by a classifier", settings={"variant": "cg-cdm", "shown": ("tumour",)}),
        control=Arm(
            says="`cam`, Score-CAM of a `classifier`",
            stages={
                "classifier": Training(method="classifier", settings={"halvings": 3}),
                "model": Training(
                    method="cam", share=0, uses={"classifier": "classifier"},
                    settings={"kind": "score-cam", "shown": ("tumour",)},
                ),
            },
        ),
        claim="Dice .563, Score-CAM .303", on="slices of BraTS with a tumour",
    ),
    System(
        name="DKM", method="dkm", data="lgg-mri", metric="dice",
        ours=Arm(
            says="`dkm` on its kinetic module, from the frame before the agent",
            stages={
                "kinetics": Training(
                    method="dkm-kinetics", share=0.5, settings={"frames": ("red", "blue"), "longest": 96},
                ),
                "model": Training(
                    method="dkm", share=0.5, settings={"frames": ("red",)}, uses={"encoder": "kinetics"},
                ),
            },
        ),
        control=one(
            "dkm", "its segmenter alone, from the same frame",
            settings={"frames": ("red",), "features": "none", "longest": 96},
        ),
        claim="Dice .715, the best model of the whole sequence .644; this control is not printed",
        on="Breast-MRI-NACT-Pilot",
    ),
    System(
        name="FEDD", method="fedd", data="isic-2017", labels=20, metric="iou",
        ours=Arm(
            says="`fedd` on `diffusion-pretrain` of all training images",
            stages={
                "encoder": Training(method="diffusion-pretrain", share=0.6),
                "model": Training(method="fedd", share=0.4, uses={"encoder": "encoder"}),
            },
        ),
        control=one("unet", "`unet`, strong augmentation", options=STRONG),
        claim="IoU of lesions .629, EfficientNetB0 .465", on="DDI, 20 % of the labels; read off, ± .003",
    ),
    System(
        name="Gland diffusion", method="gland-diffusion", data="glas", metric="object_f1",
        structures=OBJECTS,
        ours=one("gland-diffusion", settings={"objects_from": "mask"}, options=CALIBRATED),
        control=one("unet", "`unet`, connected pieces"),
        claim="object F1 .941, DCAN .912", on="GlaS, test A",
    ),
    System(
        name="NuDiff", method="nuclei-diffusion", data="dsb2018-nuclei", prepared="labelled", labels="10%",
        metric="aji", structures=OBJECTS,
        ours=Arm(
            says="`unet-watershed` with nuclei that `nuclei-diffusion` has made",
            stages={
                "generator": Training(method="nuclei-diffusion", share=0.5),
                "made": Making(of="generator", count=48),
                "model": Training(method="unet-watershed", share=0.5, data=(DATA, "made"), options=STRONG),
            },
        ),
        control=one("unet-watershed", "`unet-watershed` without", options=STRONG),
        claim="AJI .5618, without made nuclei .5290", on="MoNuSeg, PFF-Net with 10 % of the labels",
    ),
    System(
        name="DARL", method="darl", data="drive", metric="dice", structures=VESSELS,
        ours=one("darl"), control=one("vesselness", "`vesselness`, a filter", share=0),
        claim="Dice .525, SSVS .469", on="DRIVE, trained on angiograms",
    ),
    System(
        name="Masks for DARL by Stable Diffusion", method="vessel-controlnet", data="drive", metric="dice",
        structures=VESSELS,
        ours=Arm(
            says="`darl` with masks by `vessel-controlnet`",
            stages={
                "trees": Making(of="vessel-trees", count=200, settings={"size": 584}),
                "painter": Training(method="vessel-controlnet", share=0.4, data=("trees",)),
                "painted": Making(of="painter", count=200),
                "model": Training(method="darl", share=0.6, data=(DATA, "painted")),
            },
        ),
        control=one("darl", "`darl` with fractals"),
        claim="Dice .625, with fractals .614", on="XCAD",
    ),
    System(
        name="ODISE", method="odise", data="acdc", metric="iou",
        ours=Arm(
            says="`odise` on `diffusion-pretrain`",
            stages={
                "encoder": Training(method="diffusion-pretrain", share=0.5),
                "model": Training(method="odise", share=0.5, uses={"encoder": "encoder"}),
            },
        ),
        control=one("odise", "`odise` on a pyramid without a network", settings={"features": "pyramid"}),
        claim="mIoU .299, MaskCLIP .237", on="ADE20K, trained on labels of COCO",
    ),
    System(
        name="Medical Diffusion", method="medical-diffusion", data="msd-hippocampus", prepared="labelled", labels=5,
        metric="dice",
        ours=Arm(
            says="`unet` pre-trained on volumes that `medical-diffusion` has made",
            stages={
                "generator": Training(method="medical-diffusion", share=0.5),
                "made": Making(of="generator", count=100),
                "restored": Training(method="masked-pretrain", share=0.25, data=(DATA, "made")),
                "model": Training(method="unet", share=0.25, base="restored", options=STRONG),
            },
        ),
        control=one("unet", "`unet` without", options=STRONG),
        claim="Dice .95, without made volumes .91", on="breast MRI with few labels",
    ),
    System(
        name="DeepAtlas", method="deep-atlas", data="msd-hippocampus", labels=5, metric="dice",
        ours=one("deep-atlas"),
        control=one("unet", "`unet`, strong augmentation", options=STRONG),
        claim="Dice .027 and .018 above registration without labels", on="OAI knees and MindBoggle101, one label",
    ),
    System(
        name="Continuity by anisotropic diffusion", method="direction", data="drive", metric="betti0_error",
        structures=VESSELS,
        ours=Arm(
            says="`direction` on `fr-unet`",
            stages={
                "segmenter": Training(method="fr-unet", share=0.6),
                "model": Training(method="direction", share=0.4, uses={"segmenter": "segmenter"}),
            },
        ),
        control=one("fr-unet", "`fr-unet`, not mended"),
        claim="VCA 33.11, not mended 36.64", on="DRIVE; 1 is ideal",
    ),
    System(
        name="Multimodal GAN", method="multimodal-gan", data="lgg-mri", prepared="labelled", labels=5, metric="dice",
        ours=Arm(
            says="`unet` with cases that `multimodal-gan` has made",
            stages={
                "generator": Training(
                    method="multimodal-gan", share=0.5, settings={"source": "green"},
                ),
                "made": Making(of="generator", count=100),
                "model": Training(method="unet", share=0.5, data=(DATA, "made"), options=STRONG),
            },
        ),
        control=one("unet", "`unet` without", options=STRONG),
        claim="Dice .939 with half as many made cases, without .915", on="BRATS 2015",
    ),
)  # fmt: skip
