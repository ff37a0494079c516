"""Labels that spread from scribbles: they stop at edges, reach what is far, and keep what was drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scantling.contract.method import build
from scantling.core.case import Case, Geometry, Labels, Sample
from scantling.core.errors import DataError
from scantling.core.fields import IGNORE
from scantling.data.dataset import open_dataset
from scantling.data.loading import load
from scantling.inference import synthesize
from scantling.inference.conditions import Conditions
from scantling.mending.random_walk import edge_weights, spread, walked
from scantling.methods.catalogue import CARDS
from scantling.methods.weakly_supervised.scribble_filling import ScribbleFilling
from scantling.testing.data import make_data
from scantling.testing.trainings import quiet
from scantling.training import Options, train


def test_on_a_line_without_edges_the_probability_falls_evenly() -> None:
    image, held = np.zeros((1, 1, 11)), np.zeros((1, 11), bool)
    held[0, [0, 10]] = True
    start = np.zeros((1, 11))
    start[0, 10] = 1
    found = spread(start, held, edge_weights(image, spacing=(1.0, 1.0), edges=1.0))
    np.testing.assert_allclose(found[0], np.linspace(0, 1, 11), atol=0.02)


def test_coarser_grids_lead_to_the_solution_of_the_equations() -> None:
    generator = np.random.default_rng(0)
    held = generator.random((3, 37, 41)) < 0.01
    start = np.where(held, generator.random(held.shape) < 0.5, 0.5)
    weights = edge_weights(generator.random((1, *held.shape)), spacing=(3.0, 1.0, 1.0), edges=1.0)
    exact = walked(start, held, weights, tolerance=1e-9, steps=10_000)
    np.testing.assert_allclose(spread(start, held, weights), exact, atol=0.01)


def test_it_stops_at_the_edges_of_the_image_and_reaches_what_is_far_from_all_strokes() -> None:
    rows, columns = np.indices((64, 64))
    disc = np.hypot(rows - 20, columns - 20) < 9
    image = np.where(disc, 1.0, 0.0) + np.random.default_rng(0).normal(0, 0.05, disc.shape)
    held = (np.hypot(rows - 20, columns - 20) < 2) | (abs(np.hypot(rows - 20, columns - 20) - 13) < 1)
    found = spread((held & disc).astype(float), held, edge_weights(image[None], spacing=(1.0, 1.0), edges=1.0))
    assert ((found > 0.5) == disc).mean() > 0.995
    assert found[40:, 40:].max() < 0.1


def test_where_nothing_in_the_image_tells_what_is_far_from_short_strokes_is_unknown() -> None:
    """By the exact solution 0.4 % of the pixels are surer than 0.9; a coarse one is sure of most."""
    side = 256
    strokes = np.full((1, side, side), IGNORE, np.uint8)
    strokes[0, 128, 125:131], strokes[0, 2, 5:15] = 1, 0
    geometry = Geometry(shape=(side, side), spacing=(1.0, 1.0))
    sample = Sample(
        Case(id="a", subject="a", images={}), np.zeros((1, side, side), np.float32), geometry, scribbles=strokes
    )
    labels = Labels(names=("organ",), values=((1,),))
    settings = ScribbleFilling.Settings.preset("paper")
    method = build(ScribbleFilling, settings, ScribbleFilling.blank(settings))
    found = method.annotate(sample, labels, np.random.default_rng(0)).scribbles
    assert found is not None
    assert 0.003 < (found != IGNORE).mean() < 0.006


def test_what_is_filled_keeps_what_was_drawn_and_teaches_partial(tmp_path: Path) -> None:
    data = make_data(CARDS["partial"], tmp_path / "data", dimensions=2)
    synthesize("scribble-filling", out=tmp_path / "filled", conditions=Conditions(data=data))
    before, after = open_dataset(data), open_dataset(tmp_path / "filled")
    assert len(after.cases) > 1
    by_id = {case.id: case for case in before.cases}
    for case in after.cases:
        few, many = (load(one, labels=before.labels).scribbles for one in (by_id[case.id], case))
        assert few is not None
        assert many is not None
        known = few != IGNORE
        assert (many[known] == few[known]).all()
        assert (many != IGNORE).sum() > known.sum()
        assert case.origin.effort["pixels"] == known.sum()
    train("partial", [tmp_path / "filled"], tmp_path / "run", Options(preset="tiny", steps=1), console=quiet())


def test_images_without_scribbles_are_refused(tmp_path: Path) -> None:
    data = make_data(CARDS["unet"], tmp_path / "data", dimensions=2)
    with pytest.raises(DataError, match="scribbles"):
        synthesize("scribble-filling", out=tmp_path / "out", conditions=Conditions(data=data))
