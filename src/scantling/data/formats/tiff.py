"""TIFF: every strip and tile must unpack to exactly the bytes that the declared size asks for.

A page is an image `(H, W)` with its samples as channels; several pages are a stack `(slices, H, W)`, or channels
where the description says so. Alpha beside colours is dropped, 1-bit images become 0 and 255. A TIFF has no checksum,
so the lengths of its pieces stand in for one; where tiles reach beyond the image, a flipped bit in its size that
keeps the number of tiles is not detectable.
"""

from __future__ import annotations

import io

import numpy as np

from scantling.data.formats.common import (
    COLOUR,
    GREY,
    Array,
    Header,
    Plan,
    Source,
    numbered,
    palette_is_grey,
    plausible_spacing,
    raster,
    volume,
)
from scantling.data.formats.tiff_layout import US, read_layout
from scantling.data.formats.tiff_pages import (
    BLACK_IS_ZERO,
    JPEG,
    NONE,
    PALETTE,
    RGB,
    WHITE_IS_ZERO,
    YCBCR,
    Page,
    page_pixels,
    read_pages,
)


def inspect(source: Source) -> Plan:
    """Judge the pages, their pieces and what the description makes of them."""
    pages = read_pages(source)
    first = pages[0]
    for number, page in enumerate(pages[1:], start=2):
        if page.kind != first.kind:
            raise source.error(
                f"page {number} is {page.width} x {page.height} pixels of {page.dtype}, but page 1 "
                f"{first.width} x {first.height} of {first.dtype}",
                expected="pages of one kind",
                remedy="save them as files of their own",
            )
    layout = read_layout(source, first, len(pages))
    count = layout.channels * layout.slices
    in_one = len(pages) == 1 < count and first.compression == NONE and len(first.parsed.dataoffsets) == 1
    if len(pages) != count and not in_one:
        raise source.error(
            f"holds {len(pages)} pages",
            expected=f"{count}, as its description says",
            remedy="it is damaged: copy it again from its source",
        )
    if in_one and int(first.parsed.dataoffsets[0]) + count * first.bytes > source.size:
        raise source.error("its images reach beyond its end", remedy="it is damaged: copy it again from its source")
    palette = _palette(source, first) if first.photometric == PALETTE else None
    channels = _channels(source, first, layout.channels, palette)
    expand = palette is not None and (channels == COLOUR or palette_is_grey(source, palette, protected=False))
    kind = first.dtype
    shape = (first.height, first.width)
    if layout.spacing:
        plausible_spacing(source, layout.spacing)
    if layout.slices > 1 and first.orientation != 1:
        raise source.error(
            f"its slices have the orientation {first.orientation}", expected="1 in a stack", remedy="save them turned"
        )
    if layout.slices == 1:
        spacing = layout.spacing and layout.spacing[1:]
        header = raster("TIFF", shape, channels, kind, spacing=spacing, exif=first.orientation)
    else:
        geometry = volume((layout.slices, *shape), layout.spacing, affine=None, slice_axis=0)
        header = Header("TIFF", geometry.shape, channels, kind, geometry)

    def decode() -> Array:
        if in_one:
            data = source.at(int(first.parsed.dataoffsets[0]), count * first.bytes)
            order = first.parsed.parent.byteorder
            stack = np.frombuffer(data, kind.newbyteorder(order)).reshape(count, *shape, first.samples)
        else:
            stack = np.empty((count, *shape, first.samples), kind)
            for page, out in zip(pages, stack, strict=True):
                page_pixels(source, page, out)
        if first.parsed.bitspersample == 1 and palette is None:
            stack = stack * np.uint8(255)
        if first.photometric == WHITE_IS_ZERO:
            stack = np.iinfo(kind).max - stack
        if expand and palette is not None:
            stack = palette[stack[..., 0]][..., : len(channels)]
        planes = layout.sorted(stack[..., : len(channels) // layout.channels])
        stored = shape if layout.slices == 1 else header.shape
        return np.ascontiguousarray(np.moveaxis(planes, -1, 1).reshape(len(channels), *stored), kind)

    decoded = count * first.bytes if in_one else sum(page.bytes for page in pages)  # a tile may be larger than its page
    coded = decoded if in_one else sum(sum(page.parsed.databytecounts) for page in pages)
    return Plan(header, decode, decoded, coded)


def encode(maps: Array, *, colour: bool = False) -> bytes:
    """A TIFF of maps `(K, H, W)`, one page each, or one of red, green and blue."""
    import tifffile

    alone = len(maps) == 1
    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        np.moveaxis(maps, 0, -1) if colour else maps[0] if alone else maps,
        photometric="rgb" if colour else "minisblack",
        compression="zlib",
        metadata={"axes": "YXS" if colour else "YX" if alone else "CYX"},
        software=US,
    )
    return stream.getvalue()


def _palette(source: Source, page: Page) -> Array:
    """The colours `(N, 3)` as bytes."""
    bits = page.parsed.bitspersample
    if page.palette is None or bits not in (1, 8) or page.palette.size != 3 << bits:
        raise source.error("its palette does not fit its pixels", remedy="save it with plain colours")
    colours = page.palette.reshape(3, -1).T
    return (colours >> 8 if int(colours.max()) > 255 else colours).astype(np.uint8)


def _channels(source: Source, page: Page, planes: int, palette: Array | None) -> tuple[str, ...]:
    """The names of the channels that are kept."""
    photometric, samples = page.photometric, page.samples
    plain = photometric == BLACK_IS_ZERO
    colour = photometric == RGB or (photometric == YCBCR and page.compression == JPEG and samples == 3)
    inverted = photometric == WHITE_IS_ZERO and samples == 1 and page.dtype.kind == "u"
    if (page.palette is not None) != (photometric == PALETTE) or not (
        plain or inverted or (colour and samples >= 3) or (palette is not None and samples == 1)
    ):
        raise source.error(
            f"its {samples} samples are shown in way {photometric}",
            expected="grey, a palette, or red, green and blue",
            remedy="save it so (CMYK, and YCbCr without JPEG, are not read)",
        )
    if planes > 1 and (samples > 1 or palette is not None):
        raise source.error("has channels in pages and in samples", expected="one of them", remedy="save them apart")
    if palette is not None:
        return GREY if source.labels or palette_is_grey(source, palette, protected=False) else COLOUR
    if colour and samples <= 4:
        return COLOUR
    if samples == 2 and set(page.parsed.extrasamples) & {1, 2}:
        return GREY
    return numbered(samples if samples > 1 else planes)
