"""Single pixels of an image: where they lie, what is read of fields on coarser grids, and how little of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from scantling.core.case import IGNORE
from scantling.core.fields import Field
from scantling.core.streams import Stream
from scantling.data.case_cache import CaseCache
from scantling.data.pixels import Pixels, sampled
from scantling.data.prepared_fields import PreparedField
from scantling.data.preprocessing import Preprocessed
from scantling.data.reader import Reader
from toys import cases, taken

IMAGE = Field("f", "image")


def everywhere(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.cartesian_prod(*[torch.arange(n) for n in shape])


@pytest.mark.parametrize(("coarse", "fine"), [((4, 4), (16, 16)), ((5, 7), (13, 22)), ((3, 2, 4), (6, 7, 8))])
def test_a_coarser_field_at_a_pixel_is_that_of_the_map_brought_to_the_size_of_the_image(
    coarse: tuple[int, ...], fine: tuple[int, ...]
) -> None:
    maps = torch.randn(6, *coarse)
    mode = "bilinear" if len(fine) == 2 else "trilinear"
    whole = F.interpolate(maps[None], fine, mode=mode, align_corners=False)[0].flatten(1)
    torch.testing.assert_close(sampled(maps, everywhere(fine), fine, linear=True), whole, atol=1e-5, rtol=1e-5)


def test_pixels_are_drawn_where_something_is_known() -> None:
    mask = torch.full((1, 20, 30), IGNORE, dtype=torch.uint8)
    mask[0, 5:9, 7:20] = 1
    region = torch.zeros(1, 20, 30, dtype=torch.bool)
    region[0, :, :12] = True
    prepared = Preprocessed(torch.zeros(1, 20, 30), {"region": region}, (mask,))
    pixels = Pixels.draw(prepared, 500, np.random.default_rng(0))
    known = (mask[0] == 1) & region[0]
    assert {tuple(place) for place in pixels.places.tolist()} == {tuple(place) for place in known.nonzero().tolist()}
    assert pixels.cut_field(mask, Field("mask", "labels")).unique().tolist() == [1]
    unknown = Preprocessed(torch.zeros(1, 4, 4), {}, (torch.full((1, 4, 4), IGNORE, dtype=torch.uint8),))
    assert Pixels.draw(unknown, 9, np.random.default_rng(0)).patch == (9,)


def test_a_stream_of_pixels_reads_image_mask_and_fields_at_the_same_places(tmp_path: Path) -> None:
    every = list(cases().values())
    cache = CaseCache(taken, budget=1 << 30)
    finer, coarser = (PreparedField.of(tmp_path, name, "image") for name in ("finer", "coarser"))
    for case in every:
        image = cache.take(case).image
        assert image is not None
        finer.save(case.id, None, image.half())
        coarser.save(case.id, None, F.avg_pool2d(image, 2))
    stream = Stream(name="a", reads=("image", "mask", "finer", "coarser"), batch=4, pixels=11)

    def batch(step: int):  # type: ignore[no-untyped-def]
        fields = {"finer": finer, "coarser": coarser}
        return Reader(stream, every, cache, seed=0, stage="s", others=cases(), prepared=fields).batch(step)

    one = batch(3)
    assert one.image.shape == (4, 1, 11)
    assert one.mask.shape == one.region.shape == (4, 1, 11)
    torch.testing.assert_close(one.fields["finer"].float(), one.image, atol=2e-3, rtol=2e-3)
    assert one.fields["coarser"].dtype == torch.float32
    assert torch.equal(one.fields["coarser"], batch(3).fields["coarser"])
    assert not torch.equal(one.fields["coarser"], batch(4).fields["coarser"])


def test_the_channels_of_a_pixel_lie_side_by_side_in_the_file_of_a_prepared_field(tmp_path: Path) -> None:
    field = PreparedField.of(tmp_path, "features", "image")
    maps = torch.randn(64, 6, 5).half()
    field.save("case", None, maps)
    found = field.load("case", None)
    assert found is not None
    assert torch.equal(found, maps)
    assert found.stride(0) == 1
    assert field.channels == 64
