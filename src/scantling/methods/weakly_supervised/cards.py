"""The cards of the methods that learn from labels that are less than masks, or fill them in."""

from __future__ import annotations

from scantling.contract.card import Card, annotator_card

CARDS: tuple[Card, ...] = (
    Card(
        name="partial",
        title="Normalized cut loss for weakly-supervised CNN segmentation: its partial cross-entropy, over drawn "
        "pixels alone",
        authors="Tang, Djelouah, Perazzi, Boykov, Schroers",
        year=2018,
        needs=(("image", "scribbles"),),
        gives=("segment",),
        dimensions=(2, 3),
        fits="cross_entropy",
        implementation="scantling.methods.weakly_supervised.partial:Partial",
    ),
    Card(
        name="scribble",
        title="Scribble-supervised medical image segmentation via dual-branch network and dynamically mixed "
        "pseudo labels supervision",
        authors="Luo, Hu, Liao, Zhai, Song, Wang, Zhang",
        year=2022,
        needs=(("image", "scribbles"),),
        gives=("segment",),
        dimensions=(2, 3),
        fits="cross_entropy",
        implementation="scantling.methods.weakly_supervised.scribble:DualBranch",
    ),
    Card(
        name="scribble-teacher",
        title="ScribbleVS: scribble-supervised medical image segmentation via regional pseudo labels diffusion "
        "and dynamic selection",
        authors="Wang et al.",
        year=2024,
        needs=(("image", "scribbles"),),
        gives=("segment",),
        dimensions=(2, 3),
        fits="cross_entropy",
        implementation="scantling.methods.weakly_supervised.scribble_teacher:ScribbleTeacher",
    ),
    Card(
        name="box-supervised",
        title="BoxInst: high-performance instance segmentation with box annotations, its losses on a U-Net",
        authors="Tian, Shen, Wang, Chen",
        year=2021,
        needs=(("image", "boxes"),),
        gives=("segment",),
        dimensions=(2, 3),
        fits="projection",
        implementation="scantling.methods.weakly_supervised.box_supervised:BoxSupervised",
    ),
    Card(
        name="cdm",
        title="Conditional diffusion models for weakly supervised medical image segmentation",
        authors="Hu, Chen, Chen",
        year=2023,
        needs=(("image", "image_class"),),
        gives=("segment",),
        dimensions=(2,),
        fits="denoising",
        implementation="scantling.methods.weakly_supervised.cdm:CDM",
    ),
    Card(
        name="cam",
        title="Grad-CAM: visual explanations from deep networks via gradient-based localization; Grad-CAM++, Score-CAM "
        "and LayerCAM as settings",
        authors="Selvaraju et al.; Chattopadhay et al.; Wang et al.; Jiang et al.",
        year=2017,
        needs=(("image", "image_class"),),
        gives=("segment",),
        dimensions=(2,),
        uses={"classifier": "classify"},
        implementation="scantling.methods.weakly_supervised.cam:CAM",
    ),
    annotator_card(
        "slice-filling",
        "Random walks for image segmentation: from some drawn slices of a volume to all",
        "Grady; Raya, Udupa (its control)",
        2006,
        (3,),
        "scantling.methods.weakly_supervised.slice_filling:SliceFilling",
    ),
    annotator_card(
        "scribble-filling",
        "Random walks for image segmentation: from scribbles to most pixels",
        "Grady",
        2006,
        (2, 3),
        "scantling.methods.weakly_supervised.scribble_filling:ScribbleFilling",
        asks=("image", "scribbles"),
    ),
    annotator_card(
        "point-filling",
        "Nuclei segmentation using points: from a point in each object to most pixels",
        "Qu et al.",
        2019,
        (2, 3),
        "scantling.methods.weakly_supervised.point_filling:PointFilling",
        asks=("image", "points"),
    ),
)
