"""The cards of the methods that learn from few masks and many images without."""

from __future__ import annotations

from scantling.contract.card import Card

CARDS: tuple[Card, ...] = (
    Card(
        name="mean-teacher",
        title="Mean teachers are better role models, with the uncertainty-aware self-ensembling of UA-MT as a setting",
        authors="Tarvainen, Valpola; Yu et al. (UA-MT)",
        year=2017,
        needs=(("image", "mask"), ("image",)),
        gives=("segment",),
        dimensions=(2, 3),
        fits="overlap",
        implementation="scantling.methods.semi_supervised.mean_teacher:MeanTeacher",
    ),
    Card(
        name="cross-pseudo",
        title="Semi-supervised semantic segmentation with cross pseudo supervision",
        authors="Chen, Yuan, Zeng, Wang",
        year=2021,
        needs=(("image", "mask"), ("image",)),
        gives=("segment",),
        dimensions=(2, 3),
        fits="overlap",
        implementation="scantling.methods.semi_supervised.cross_pseudo:CrossPseudo",
    ),
    Card(
        name="fixmatch",
        title="FixMatch in the form of UniMatch: revisiting weak-to-strong consistency in "
        "semi-supervised semantic segmentation",
        authors="Yang, Qi, Feng, Zhang, Shi; Sohn et al. (FixMatch)",
        year=2023,
        needs=(("image", "mask"), ("image",)),
        gives=("segment",),
        dimensions=(2, 3),
        fits="overlap",
        implementation="scantling.methods.semi_supervised.fixmatch:FixMatch",
    ),
    Card(
        name="copy-paste",
        title="Bidirectional copy-paste for semi-supervised medical image segmentation",
        authors="Bai, Chen, Li, Shen, Wang",
        year=2023,
        needs=(("image", "mask"), ("image",)),
        gives=("segment",),
        dimensions=(2, 3),
        fits="overlap",
        implementation="scantling.methods.semi_supervised.copy_paste:CopyPaste",
    ),
    Card(
        name="self-training",
        title="Class-balanced self-training: pseudo-labels in rounds",
        authors="Zou, Yu, Kumar, Wang; Lee (pseudo-labels)",
        year=2018,
        needs=(("image", "mask"), ("image",)),
        gives=("segment",),
        dimensions=(2, 3),
        fits="overlap",
        implementation="scantling.methods.semi_supervised.self_training:SelfTraining",
    ),
)
