"""The cards of the methods that learn from images alone, or from what such a network says of images."""

from __future__ import annotations

from scantling.contract.card import Card

CARDS: tuple[Card, ...] = (
    Card(
        name="diffusion-pretrain",
        title="Denoising diffusion probabilistic models, with the network of guided-diffusion",
        authors="Ho, Jain, Abbeel; Dhariwal, Nichol",
        year=2021,
        needs=(("image",),),
        asks=(),
        gives=("encode", "generate"),
        dimensions=(2,),
        fits="denoising",
        implementation="scantling.methods.features.pretrain:DiffusionPretrain",
    ),
    Card(
        name="dkm-kinetics",
        title="Diffusion kinetic model for breast cancer segmentation in incomplete DCE-MRI: its kinetic module",
        authors="Lv, Liu, Miao, Li, Pan",
        year=2023,
        needs=(("image",),),
        gives=("encode", "generate"),
        dimensions=(2,),
        channels=2,
        fits="denoising",
        implementation="scantling.methods.features.kinetics:DkmKinetics",
    ),
    Card(
        name="dkm",
        title="Diffusion kinetic model for breast cancer segmentation in incomplete DCE-MRI",
        authors="Lv, Liu, Miao, Li, Pan",
        year=2023,
        needs=(("image", "mask"),),
        gives=("segment",),
        dimensions=(2,),
        may_use={"encoder": "encode"},
        fits="overlap",
        implementation="scantling.methods.features.dkm:Dkm",
    ),
    Card(
        name="masked-pretrain",
        title="Masked autoencoders, on the U-Net: blocks that are hidden are restored",
        authors="He et al. (the idea); ours",
        year=2022,
        needs=(("image",),),
        gives=("encode",),
        dimensions=(2, 3),
        fits="restoration",
        implementation="scantling.methods.features.masked_pretrain:MaskedPretrain",
    ),
    Card(
        name="fedd",
        title="FEDD: fair, efficient, and diverse diffusion-based lesion segmentation and malignancy "
        "classification, with the heads of DDPM-seg",
        authors="Carrión, Norouzi; Baranchuk et al. (DDPM-seg)",
        year=2023,
        needs=(("image", "mask"),),
        gives=("segment",),
        dimensions=(2,),
        may_use={"encoder": "encode"},
        fits="head 1",
        implementation="scantling.methods.features.fedd:Fedd",
    ),
    Card(
        name="fedd-classifier",
        title="FEDD: fair, efficient, and diverse diffusion-based lesion segmentation and malignancy "
        "classification: its classifier",
        authors="Carrión, Norouzi",
        year=2023,
        needs=(("image", "image_class"),),
        gives=("classify",),
        dimensions=(2,),
        may_use={"encoder": "encode"},
        fits="cross_entropy",
        implementation="scantling.methods.features.fedd:FeddClassifier",
    ),
)
