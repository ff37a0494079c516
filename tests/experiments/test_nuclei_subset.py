"""The script that chooses patches: a data set of patches of training slides, in which no slide stands in two splits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from scantling.core.errors import DataError
from scantling.data.dataset import open_dataset
from scantling.methods.catalogue import CARDS
from scantling.testing.data import make_data
from script import script

chooser = script("benchmarks/nuclei_subset.py")


class Means(nn.Module):
    """A network of a user: the means of the four quarters of an image."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 12)."""
        return nn.functional.adaptive_avg_pool2d(image, 2).flatten(1)


def test_patches_of_training_slides_hold_the_share_of_objects_and_other_slides_stay_whole(tmp_path: Path) -> None:
    data = make_data(CARDS["nuclei-diffusion"], tmp_path / "data", dimensions=2)
    how = {"patch": 24, "stride": 12, "clusters": 3, "seed": 0}
    done = chooser.subset(data, f"{__name__}:Means", tmp_path / "subset", share=0.3, **how)
    assert done["chosen"] < done["patches"]
    assert 0.3 * done["objects"] <= done["objects chosen"] < done["objects"]
    found = open_dataset(tmp_path / "subset")
    by_split = {split: {case.subject for case in found.split(split)} for split in ("train", "validation", "test")}
    assert by_split["train"].isdisjoint(by_split["validation"] | by_split["test"])
    assert len(by_split["test"]) == 2
    assert len(found.split("train")) == done["chosen"]
    assert all(case.has("instances") and case.has("image") for case in found.cases)


def test_data_without_instance_maps_are_refused(tmp_path: Path) -> None:
    bare = make_data(CARDS["mask-to-image"], tmp_path / "bare", dimensions=2)
    with pytest.raises(DataError, match="no training slide with an instance map"):
        chooser.subset(bare, f"{__name__}:Means", tmp_path / "out", share=0.5, patch=24, stride=12, clusters=3, seed=0)
