"""The cards of the methods that learn from masks."""

from __future__ import annotations

from scantling.contract.card import Card

CARDS: tuple[Card, ...] = (
    Card(
        name="unet",
        title="U-Net: convolutional networks for biomedical image segmentation",
        authors="Ronneberger, Fischer, Brox; Çiçek et al. (3-D)",
        year=2015,
        needs=(("image", "mask"),),
        gives=("segment",),
        dimensions=(2, 3),
        fits="overlap",
        implementation="scantling.methods.supervised.unet:UNetSegmenter",
    ),
    Card(
        name="fr-unet",
        title="Full-resolution network and dual-threshold iteration for retinal vessel and coronary angiograph "
        "segmentation",
        authors="Liu et al.",
        year=2022,
        needs=(("image", "mask"),),
        gives=("segment",),
        dimensions=(2,),
        fits="cross_entropy",
        implementation="scantling.methods.supervised.fr_unet:FRUNetSegmenter",
    ),
    Card(
        name="direction",
        title="Improving the continuity of tubular structure segmentation with anisotropic diffusion",
        authors="Sano",
        year=2025,
        needs=(("image", "mask"),),
        gives=("segment",),
        dimensions=(2, 3),
        uses={"segmenter": "segment"},
        fits="cross_entropy",
        implementation="scantling.methods.supervised.direction:DirectionMender",
    ),
    Card(
        name="classifier",
        title="Very deep convolutional networks for large-scale image recognition: a network after its VGG11",
        authors="Simonyan, Zisserman",
        year=2015,
        needs=(("image", "image_class"),),
        gives=("classify",),
        dimensions=(2,),
        fits="cross_entropy",
        implementation="scantling.methods.supervised.classifier:VGGClassifier",
    ),
    Card(
        name="ssd",
        title="SSD: single shot multibox detector, on a trunk after VGG11",
        authors="Liu et al.",
        year=2016,
        needs=(("image", "boxes"),),
        gives=("segment",),
        dimensions=(2,),
        labels_by={"boxes_from": "boxes or mask or instances"},
        fits="class",
        implementation="scantling.methods.supervised.ssd:Ssd",
    ),
    Card(
        name="gland-diffusion",
        title="Instance-aware diffusion model for gland segmentation in colon histology images",
        authors="Sun, Huang, Zheng",
        year=2023,
        needs=(("image", "instances"),),
        gives=("segment",),
        dimensions=(2,),
        labels_by={"objects_from": "instances or mask"},
        fits="mask",
        implementation="scantling.methods.supervised.gland_diffusion:GlandDiffusion",
    ),
)
