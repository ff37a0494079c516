"""The gallery: each method has a picture or a reason why not, and its page is what the code writes."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from scantling.methods.catalogue import CARDS
from script import ROOT

PICTURES = ROOT / "docs" / "pictures" / "gallery"


@pytest.fixture(name="recipes")
def the_recipes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from gallery import recipes

    return recipes


def test_each_method_has_a_picture_or_a_reason(recipes: ModuleType) -> None:
    shown = {name for name in recipes.RECIPES if name not in recipes.LEFT_OUT}
    assert shown | set(recipes.LEFT_OUT) == set(CARDS), "run scripts/make_gallery.py, or name a reason in LEFT_OUT"
    assert {path.stem for path in PICTURES.iterdir()} == shown, "run scripts/make_gallery.py"
    assert all(recipes.LEFT_OUT.values())


def test_pictures_are_small_and_hold_panels(recipes: ModuleType) -> None:
    from gallery import panels

    sizes = [path.stat().st_size for path in PICTURES.iterdir()]
    assert sum(sizes) < 1_500_000
    for path in PICTURES.iterdir():
        with Image.open(path) as picture:
            assert picture.height == panels.SIDE + panels.WORDS
            assert (picture.width + panels.GAP) % (panels.SIDE + panels.GAP) == 0
            assert np.asarray(picture).std() > 5, f"{path.name} is empty"


def test_the_page_of_the_gallery_is_what_the_code_writes(recipes: ModuleType) -> None:
    from gallery.page import page

    assert (ROOT / "docs" / "gallery.md").read_text() == page(), "run scripts/make_gallery.py"


def test_images_of_the_gallery_are_a_function_of_their_seed(recipes: ModuleType) -> None:
    from gallery.images import KINDS

    for name, kind in KINDS.items():
        once, again = (kind.make(np.random.default_rng(3), 1) for _ in range(2))
        for key, image in once.images.items():
            assert image.dtype == np.uint8
            assert np.array_equal(image, again.images[key]), name
        values = set(np.unique(once.mask).tolist()) - {0}
        assert values == set(kind.classes.values()), name
