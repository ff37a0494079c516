"""The grid and the patch of the systems that draw masks: proportions stay, thin objects keep their pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from made import images_for
from scantling.contract.method import build
from scantling.core.case import Labels
from scantling.core.errors import SettingsError
from scantling.core.samples import Intensity, Preprocessing, Thickness, Traits
from scantling.data.files import read
from scantling.inference import predict
from scantling.methods.catalogue import card_of, implementation_of
from scantling.training import Options, train

METHODS = ("medsegdiff", "medsegdiff-v2", "berdiff", "dtu-net", "mb-diff", "plain-diffusion")


def traits(shape: tuple[int, ...], thick: float = 0.0, local: float = 0.0, **changes: Any) -> Traits:
    objects = (Thickness(low=thick / 2, median=thick, high=thick, local=local),) if thick else ()
    facts: dict[str, Any] = {
        "dimensions": len(shape),
        "channels": ("image",),
        "labels": Labels(names=("lesion",), values=((255,),)),
        "spacing": (1.0,) * len(shape),
        "shape": shape,
        "smallest": shape,
        "intensity": (Intensity(mean=90, std=40, low=0, high=250, minimum=0, maximum=255),),
        "thickness": objects,
    }
    return Traits(**facts | changes)


def settings(name: str, facts: Traits, **changes: Any) -> Any:
    return implementation_of(card_of(name)).Settings.preset("quick", changes).resolve(facts)


@pytest.mark.parametrize("name", METHODS)
def test_quick_shrinks_large_objects_with_their_proportions_and_trains_on_the_whole_image(name: str) -> None:
    facts = traits((300, 500), thick=150, local=100)
    of = settings(name, facts)
    model = build(implementation_of(card_of(name)), of, facts)
    (stream,) = model.stages()[0].streams
    height, width = model.preprocessing.grid((300, 500), (1.0, 1.0))
    assert model.preprocessing == Preprocessing(dimensions=2, longest=of.longest)
    assert of.longest in (64, 128)
    assert (width, height) == (of.longest, round(0.6 * of.longest))
    for side, patch in zip((height, width), stream.patch or (), strict=True):
        assert patch % of.divisor == 0
        assert side <= patch < side + of.divisor
    assert "the whole image fits one patch" in of.explain(facts)[0]


@pytest.mark.parametrize("name", METHODS)
def test_quick_keeps_the_pixels_of_thin_objects_and_takes_patches(name: str) -> None:
    facts = traits((584, 565), thick=15, local=5)
    of = settings(name, facts)
    assert (of.size, of.longest) == (None, None)
    assert of.shape(facts) in ((64, 64), (128, 128))
    assert "full resolution, in patches" in of.explain(facts)[0]


def test_objects_that_are_small_in_their_images_are_shrunk_no_further_than_they_fit() -> None:
    facts = traits((512, 1024), thick=40, local=27)
    of = settings("medsegdiff", facts)
    assert of.shape(facts) == (64, 64)
    assert 1024 / of.longest == pytest.approx(40 * 4 / 64, rel=0.03)  # four of them across a patch
    assert of.resolve(facts) == of  # settings of a run that are used for another one


@pytest.mark.parametrize(("shape", "longest"), [((300, 500), 64), ((40, 30), 40), ((9, 500, 300), 64)])
def test_without_measured_objects_the_image_is_seen_whole_and_never_enlarged(
    shape: tuple[int, ...], longest: int
) -> None:
    assert settings("mb-diff", traits(shape)).longest == longest


def test_a_size_that_is_given_goes_before_the_longest_side_of_a_preset() -> None:
    of = settings("medsegdiff", traits((300, 500), thick=150, local=100), size=64)
    assert (of.size, of.longest, of.patch) == (64, None, None)
    with pytest.raises(SettingsError, match=r"size 64 and --settings\.longest 32: expected one of them"):
        settings("medsegdiff", traits((300, 500)), size=64, longest=32)


@pytest.mark.parametrize("name", ["medsegdiff", "medsegdiff-v2", "berdiff", "dtu-net", "mb-diff"])
def test_paper_keeps_its_grid_whatever_the_objects_are(name: str) -> None:
    kind = implementation_of(card_of(name)).Settings
    of, large = kind.preset("paper"), traits((300, 500), thick=150, local=100)
    resolved = of.resolve(large)
    assert (resolved.size, resolved.longest) == (of.size, None)
    assert resolved.patch == of.patch


def test_a_model_with_a_longest_side_learns_and_answers_on_the_grid_of_the_files(tmp_path: Path) -> None:
    data = images_for(card_of("medsegdiff"), tmp_path / "data", dimensions=2)
    changes = {"size": None, "longest": 30, "patch": 28, "widths": (8, 8, 8), "attention": ()}
    options = Options(preset="tiny", steps=2, settings=changes, threads=1)
    facts = train("medsegdiff", [data], tmp_path / "run", options, console=Console(quiet=True))
    assert facts["settings"]["longest"] == 30
    predict(tmp_path / "run", data, out=tmp_path / "masks", split="all", options={"samples": 1})
    images = {path.stem: path for path in data.glob("*/images/*.png")}
    masks = {path.stem: path for path in (tmp_path / "masks").glob("*.png")}
    assert masks.keys() == images.keys()
    assert all(read(masks[id]).array.shape == read(images[id]).array.shape for id in images)
