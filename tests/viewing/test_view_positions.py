"""A voxel that is corrected in the browser is the same voxel of the body in the file, however the file stores it."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scantling.viewing.opened import open_correctable
from scantling.viewing.server import CaseServer
from served import JSON, ask, runs_of, serving
from viewed import decoded

SHAPE = (14, 11, 6)
SIZES = (0.75, 1.25, 3.0)
"""Millimetres of a step to the right, to the front and to the head."""

ENDS = {"L": (0, -1), "R": (0, 1), "P": (1, -1), "A": (1, 1), "I": (2, -1), "S": (2, 1)}
"""Of what axis of the world a letter is an end, and of which side."""


def stored(codes: str) -> np.ndarray:
    """An affine whose axes point to where the letters say."""
    affine = np.eye(4)
    for axis, letter in enumerate(codes):
        row, sign = ENDS[letter]
        affine[:3, axis] = 0
        affine[row, axis] = sign * SIZES[row]
    affine[:3, 3] = (7.0, -31.0, 12.0)
    return affine


def corrected(root: Path, affine: np.ndarray) -> CaseServer:
    """A server of one volume, in which two voxels tell themselves apart."""
    image = np.random.default_rng(0).integers(0, 90, SHAPE).astype(np.uint8)
    image[3, 8, 4], image[9, 2, 1] = 255, 200
    for folder, array in (("data/train/images", image), ("masks", np.zeros(SHAPE, np.uint8))):
        (root / folder).mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, affine), root / folder / "v0.nii.gz")
    (root / "data/train/masks").mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(image, affine), root / "data/train/images/v1.nii.gz")
    nib.save(nib.Nifti1Image((image > 45).astype(np.uint8), affine), root / "data/train/masks/v1.nii.gz")
    found = open_correctable(root / "masks", data=root / "data", out=root / "corrections", author="me")
    return CaseServer(found.shown, save=found.save, state=found.corrections.state)


@pytest.mark.parametrize("codes", ["RAS", "LPI", "LPS", "PIR", "SLA", "AIL"])
def test_a_corrected_voxel_keeps_its_place_in_the_body(tmp_path: Path, codes: str) -> None:
    affine = stored(codes)
    assert "".join(nib.aff2axcodes(affine)) == codes
    with serving(corrected(tmp_path, affine)) as server:
        case = ask(server, "GET", f"/{server.token}/case/v0")[1]
        seen = decoded(case["channels"][0])
        bright, other = (np.argwhere(seen == value)[0] for value in (255, 200))
        drawn = np.zeros(case["shape"], bool)
        drawn[tuple(bright)] = True
        content = {"shape": case["shape"], "layers": [runs_of(drawn)], "seconds": 1, "slices": None, "author": ""}
        status, told = ask(server, "POST", f"/{server.token}/save/v0", content, **JSON)
        assert status == 200, told
    written = nib.load(tmp_path / "corrections/masks/v0.nii.gz")
    assert np.argwhere(np.asarray(written.dataobj)).tolist() == [[3, 8, 4]]
    np.testing.assert_array_equal(written.affine, affine)
    here, there = (affine @ [*place, 1.0] for place in ((3, 8, 4), (9, 2, 1)))
    for plane in case["planes"]:
        left, _, top, _ = plane["marks"]
        for letter, axis in ((left, plane["axes"][2]), (top, plane["axes"][1])):
            along, sign = ENDS[letter]
            assert (bright[axis] < other[axis]) == (sign * (here - there)[along] > 0), (plane["name"], letter)
        sizes = [case["spacing"][axis] for axis in plane["axes"]]
        assert sizes == pytest.approx([SIZES[2 - axis] for axis in plane["axes"]])


def test_slices_that_counted_before_count_still(tmp_path: Path) -> None:
    kept = []
    for slices in ([1], [4, 2], None, [3]):
        with serving(corrected(tmp_path, stored("RAS"))) as server:
            shape = ask(server, "GET", f"/{server.token}/case/v0")[1]["shape"]
            layers = [runs_of(np.zeros(shape, bool))]
            content = {"shape": shape, "layers": layers, "seconds": 1, "slices": slices, "author": ""}
            status, told = ask(server, "POST", f"/{server.token}/save/v0", content, **JSON)
            assert status == 200, told
        record = json.loads((tmp_path / "corrections/corrections.json").read_text())
        kept.append(record["cases"][0]["slices"])
    assert [None if one is None else len(one) for one in kept] == [1, 3, None, None]
    assert {*kept[0]} < {*kept[1]}
