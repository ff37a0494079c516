"""What people call folders and files of images and of masks."""

from __future__ import annotations

import re

from scantling.core.case import Split

SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
    "testing": "test",
}
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "input", "x")
MASK_FOLDERS = (
    "masks",
    "1st_manual",
    "mask",
    "labels",
    "label",
    "gt",
    "groundtruth",
    "ground_truth",
    "annotations",
    "segmentations",
    "segmentation",
    "y",
)
"""Names of folders, in small letters; earlier ones count first where a folder holds several.

Beside `1st_manual`, as in DRIVE, `mask` is the field of view.
"""

_MASK_WORD = re.compile(
    r"(brain|manual)?(masks?|segs?|segm|segmentations?|labels?|labelmap|gt|ground|truth|groundtruth|annotations?"
    r"|manual|rois?|contours?|delineations?)\d*",
    re.IGNORECASE,
)
_IMAGE_WORD = re.compile(
    r"(images?|imaging|imgs?|ct|cta|cbct|mri?|scan|volume|vol|t1|t1c|t1ce|t1gd|t1w|t2|t2w|flair|pet|suv|us|dwi|adc"
    r"|photo|raw|orig(inal)?)\d*",
    re.IGNORECASE,
)


REGION_WORDS = ("fov", "brain", "brainmask", "body", "bodymask", "head", "headmask")


def same_thing(stem: str) -> tuple[str, ...]:
    """The words of a name but those for images, masks and splits: "21" of "21_training" and of "21_manual1"."""
    general = [_MASK_WORD, _IMAGE_WORD]
    kept = [word for word in words(stem) if word.lower() not in SPLITS]
    return tuple(word for word in kept if not any(one.fullmatch(word) for one in general))


def words(stem: str) -> tuple[str, ...]:
    """The parts of a name between `_`, `-`, dots and spaces."""
    return tuple(part for part in re.split(r"[_\-. ]+", stem) if part)


def says_mask(name: str) -> bool:
    """Whether a name has a word for masks in it ("t1_seg")."""
    return any(_MASK_WORD.fullmatch(word) for word in words(name))


def says_image(name: str) -> bool:
    """Whether a name has a word for images in it ("ct"), or nothing at all that tells it from its folder."""
    return not name or any(_IMAGE_WORD.fullmatch(word) for word in words(name))


def says_region(name: str) -> bool:
    """Whether a name is that of a region of interest ("brain_mask", "fov") where there is another mask."""
    return any(word.lower() in REGION_WORDS for word in words(name))


def class_in(name: str) -> str:
    """What a name says besides words for masks: "liver" of "liver_mask", nothing of "seg" or "mask_2"."""
    return "_".join(word for word in words(name) if not (_MASK_WORD.fullmatch(word) or word.isdigit()))
