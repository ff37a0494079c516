"""What a method decides itself stays its decision where several answers become one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scantling.contract.results import Segmentation
from scantling.contract.step import Inference
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch
from scantling.data.loading import load
from scantling.inference.answering import Answered, decide, segment
from scantling.inference.tiles import Tiler
from scantling.methods.catalogue import added
from scantling.testing.subject import Subject
from toys_capabilities import TOYS, Blobs


class Low(Blobs):
    """Cuts at 70, where its probabilities are far below one half."""

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        image = batch.image[:, :1]
        return Segmentation(probabilities=image / 1000, decision=(image > 70).byte())


def test_a_decision_is_kept_by_views_and_ensembles(tmp_path: Path) -> None:
    with added(*TOYS.values()):
        subject = Subject(TOYS["toy-objects"], 2, tmp_path)
        plain = subject.method()
        method = Low(plain.settings, plain.traits).eval()
        sample = load(subject.dataset.split("test")[0], channels=method.channels, reads=("image",))

    def mask(views: bool = False, **more: Any) -> np.ndarray:
        options = Low.segment_with(views=views)
        found: Answered = segment(method, sample, device=torch.device("cpu"), tiler=Tiler(), options=options, **more)
        return found.decision if found.decision is not None else decide(found.probabilities, exclusive=True)

    alone = mask()
    assert 0 < alone.mean() < 1
    assert np.array_equal(mask(views=True), alone)
    assert np.array_equal(mask(others=[(method, Tiler())]), alone)


def test_objects_are_not_lost_where_several_answers_become_one(tmp_path: Path) -> None:
    with added(*TOYS.values()):
        subject = Subject(TOYS["toy-objects"], 2, tmp_path)
        method = subject.method()
        sample = load(subject.dataset.split("test")[0], channels=method.channels, reads=("image",))
    for views, others in ((True, []), (False, [(method, Tiler())])):
        with pytest.raises(SettingsError, match="this model finds objects"):
            segment(
                method, sample, device=torch.device("cpu"), tiler=Tiler(), others=others,
                options=Blobs.segment_with(views=views),
            )  # fmt: skip
