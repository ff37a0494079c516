"""The cards of the methods that warp one image onto another, and are built on that."""

from __future__ import annotations

from scantling.contract.card import Card

CARDS: tuple[Card, ...] = (
    Card(
        name="registration",
        title="VoxelMorph: a learning framework for deformable medical image registration",
        authors="Balakrishnan, Zhao, Sabuncu, Guttag, Dalca",
        year=2019,
        needs=(("image",),),
        gives=("register",),
        dimensions=(2, 3),
        fits="similarity",
        repeats=False,
        implementation="scantling.methods.registration.network:NetworkRegistration",
    ),
    Card(
        name="registration-classical",
        title="Free-form deformations after an affine map, by SimpleITK; or its demons",
        authors="Rueckert et al.; Thirion; Lowekamp et al. (SimpleITK)",
        year=1999,
        needs=(("image",),),
        gives=("register",),
        dimensions=(2, 3),
        implementation="scantling.methods.registration.classical:ClassicalRegistration",
    ),
    Card(
        name="deep-atlas",
        title="DeepAtlas: joint semi-supervised learning of image registration and segmentation",
        authors="Xu, Niethammer",
        year=2019,
        needs=(("image", "mask"), ("image",)),
        gives=("segment", "register"),
        dimensions=(2, 3),
        fits="overlap",
        repeats=False,
        implementation="scantling.methods.registration.deep_atlas:DeepAtlas",
    ),
    Card(
        name="atlas-propagation",
        title="Multi-atlas segmentation: labels of the labelled images, warped onto each image and fused",
        authors="Rohlfing et al.; Heckemann et al.; Warfield, Zou, Wells (STAPLE)",
        year=2004,
        needs=(("image", "mask"),),
        gives=("segment",),
        dimensions=(2, 3),
        may_use={"registration": "register"},
        implementation="scantling.methods.registration.propagation:AtlasPropagation",
    ),
    Card(
        name="registration-augmentation",
        title="Data augmentation using learned transformations: labelled images warped onto others",
        authors="Zhao, Balakrishnan, Durand, Guttag, Dalca; its spatial part",
        year=2019,
        needs=(("image", "mask"), ("image",)),
        gives=("segment",),
        dimensions=(2, 3),
        uses={"registration": "register"},
        fits="overlap",
        implementation="scantling.methods.registration.augmentation:RegistrationAugmentation",
    ),
)
