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
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "input", "inputs", "img_dir", "jpegimages", "x")
MASK_FOLDERS = (
    "masks",
    "1st_manual",
    "mask",
    "labels",
    "label",
    "gt",
    "gts",
    "groundtruth",
    "groundtruths",
    "ground_truth",
    "ground-truth",
    "ground truth",
    "annotations",
    "annotation",
    "ann_dir",
    "segmentations",
    "segmentation",
    "segmentationclass",
    "segs",
    "seg",
    "y",
)
"""Names of folders, in small letters; earlier ones count first where a folder holds several.

Beside `1st_manual`, as in DRIVE, `mask` is the field of view.
"""

_SPLIT_FOLDER = re.compile(
    "(?P<split>{splits})[_\\- ]?(?P<word>{words})|(?P<word2>{words})[_\\- ]?(?P<split2>{splits}|tr|ts)".format(
        splits="|".join(sorted(SPLITS, key=len, reverse=True)),
        words="|".join(word for word in (*IMAGE_FOLDERS, *MASK_FOLDERS) if len(word) > 1),
    ),
    re.IGNORECASE,
)

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


def split_folder(name: str) -> tuple[str, Split] | None:
    """The word and the split of a folder called after both: "images" and "train" of `train_images` or `imagesTr`."""
    if (match := _SPLIT_FOLDER.fullmatch(name)) is None:
        return None
    split = (match["split"] or match["split2"]).lower()
    return (match["word"] or match["word2"]).lower(), SPLITS[{"tr": "train", "ts": "test"}.get(split, split)]


def same_thing(stem: str) -> tuple[str, ...]:
    """The words of a name but those for images, masks and splits: "21" of "21_training" and of "21_manual1".

    Of a name that has no other word the numbers: "3" of "mask3".
    """
    general = [_MASK_WORD, _IMAGE_WORD]
    kept = [word for word in words(stem) if word.lower() not in SPLITS]
    others = tuple(word for word in kept if not any(one.fullmatch(word) for one in general))
    return others or tuple(re.findall(r"\d+", "_".join(kept)))


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
