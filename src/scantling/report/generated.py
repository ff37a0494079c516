"""The page on made images: how diverse, how near to the real ones, whether copied, and what is in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scantling.core import atomic
from scantling.core.errors import SettingsError
from scantling.core.outputs import check_file
from scantling.evaluation.copies import Pair
from scantling.evaluation.feature_scores import HALF, MADE, MEASURES, NOISY
from scantling.evaluation.generated import GENERATED, GENERATED_REAL, REAL, Assessment, spread
from scantling.evaluation.object_distributions import COUNT
from scantling.inference.common_grid import CommonGrid, Images
from scantling.metrics.structural import scales_of
from scantling.report.charts import Chart
from scantling.report.commands import shell
from scantling.report.histograms import histogram_chart
from scantling.report.pictures import png_uri
from scantling.report.rendering import rendered
from scantling.report.words import NONE, plural

TEMPLATE = "generated.html.j2"
HEADINGS = tuple(f"{title} {'↓' if better == 'lower' else '↑'}" for title, better in MEASURES.values())
"""The measures in features, and which way is better."""
CHARTS = 12
"""Quantities of the anatomy, those that differ most, that have a chart."""
CONVENTIONS = (
    "Every image is brought onto one grid, the median shape of the real ones; values between the 0.5th and the 99.5th "
    "percentile of each channel of the real images become 0 to 1, or of each image by itself where the ranges of real "
    "images differ more than fourfold.",
    "MS-SSIM (Wang, Simoncelli and Bovik, 2003) of pairs drawn by hash; real pairs are of different subjects. "
    "Generated-real: higher is nearer. Generated-generated above real-real: less diverse than real images are.",
    "FID (Heusel et al., 2017), KID (Bińkowski et al., 2018), precision and recall (Kynkäänniemi et al., 2019; k = 3), "
    "density and coverage (Naeem et al., 2020; k = 5), all in the features of the network that is named: numbers of "
    "other networks do not compare. Means over ten divisions of the real subjects into halves; made images, the other "
    "half and the other half with noise are held against the same half, in the same number.",
    "A copy: nearer to its nearest training image, over all flips and shifts up to an eighth of a side, than 95 % of "
    "the training images are to those of other subjects, and by a ratio to the nearest of other subjects below 95 % of "
    "theirs and below 2/3. New images are called so in one case in twenty at most. The verdict asks whether there are "
    "more copies than that gives (Fisher, 1934; 5 %).",
    "Slice consistency: the mean SSIM of neighbouring slices of a volume.",
    "Anatomy: Wasserstein distances in deviations of the real values, beside those of two halves of the real subjects.",
    "Objects: real instance maps are cut into windows of the median shape of the made ones; the distance of Kolmogorov "
    "and Smirnov is the greatest difference of two distribution functions, 0 to 1.",
)


@dataclass(frozen=True)
class Row:
    """A line of a table."""

    title: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class ImageLine:
    """What stands on the page of `worth`: a made data set, or real images in its place, and the real images.

    Attributes:
        structural: MS-SSIM of the images and the real ones.
        measures: in the order of `HEADINGS`.
        notes: verdicts on copies, and whose features it is.
    """

    title: str
    images: int
    structural: str
    measures: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Couple:
    """A made image and its nearest training image, as data URIs."""

    made: str
    real: str
    uris: tuple[str, str]
    aspect: float
    note: str
    copied: bool


def page_beside(made: Path) -> Path:
    """Where the page goes unless said: beside the folder of made images, by its name."""
    whole = made.resolve()
    return whole.parent / f"{whole.name}.html"


def check_page(page: Path) -> None:
    """Make sure, before anything is measured, that the page can be written.

    Raises:
        SettingsError: it is no HTML file, or something else stands there.
    """
    if page.suffix.lower() not in (".html", ".htm"):
        raise SettingsError(f"{page}: the page would end in {page.suffix or 'nothing'!r}; name a file ending in .html")
    check_file(page, suffix=".html")


def write_generated(found: Assessment, page: Path, *, command: Sequence[str] = ()) -> Path:
    """Write one self-contained HTML page on an assessment; returns it.

    Args:
        command: what makes it again.

    Raises:
        SettingsError: see `check_page`.
    """
    check_page(page)
    verdicts = [("caution" if not each.clean else "note", each.verdict()) for each in found.memorisation]
    text = rendered(
        TEMPLATE,
        name=found.made.name,
        real=found.real.name,
        summary=f"{plural(found.counts['made measured'], 'made image')} of {found.counts['made']:,} beside "
        f"{found.counts['real measured']:,} of {plural(found.counts['real'], 'real one')} (split {found.split}).",
        remarks=[
            *verdicts,
            *(("note", f"{sentence}.") for sentence in found.remarks),
            *(("caution", f"Could not be read: {sentence}") for sentence in found.failed[:5]),
        ],
        structural=[_numbers(name, values) for name, values in found.structural.items()],
        scales=_scales(found.grid),
        network=found.features.network if found.features else "",
        compared=found.features.count if found.features else 0,
        measures=("Images", *HEADINGS),
        features=_features(found),
        slices=[_numbers(name, values) for name, values in found.slices.items()],
        segmenter=found.segmenter,
        anatomy=[
            Row(each.quantity, (*_mean(each.real), *_mean(each.made), _number(each.distance), _number(each.scale)))
            for each in found.anatomy
        ],
        objects=[
            Row(each.quantity, (*_mean(each.real), *_mean(each.made), _number(each.distance), _number(each.scale)))
            for each in found.objects
        ],
        charts=_charts(found),
        couples=[(each.space, [_couple(pair, found.grid) for pair in each.pairs]) for each in found.memorisation],
        conventions=CONVENTIONS,
        command=shell(*command),
    )
    atomic.write_text(atomic.named(page), text)
    return page


def flat(image: Images, grid: CommonGrid) -> np.ndarray:
    """A picture (H, W) or (H, W, 3) uint8 of an image in [0, 1]: of a volume its middle slice; three channels are
    colours, of others the first is shown."""
    if len(grid.shape) == 3:
        image = np.take(image, image.shape[1 + grid.slice_axis] // 2, axis=1 + grid.slice_axis)
    bytes_ = (image * 255).round().astype(np.uint8)
    return np.moveaxis(bytes_, 0, -1) if len(bytes_) == 3 else bytes_[0]


def _couple(pair: Pair, grid: CommonGrid) -> Couple:
    pictures = [flat(image, grid) for image in pair.images]
    high, wide = pictures[0].shape[:2]
    note = f"distance {pair.distance:.2f}, ratio {pair.ratio:.2f}"
    return Couple(
        pair.made, pair.real, (png_uri(pictures[0]), png_uri(pictures[1])), wide / high, note, pair.copied
    )  # fmt: skip


def _number(value: float) -> str:
    return NONE if math.isnan(value) else f"{value:,.3g}".replace("-", "−")


def _mean(values: np.ndarray) -> tuple[str]:
    facts = spread(values)
    return (f"{_number(float(facts['mean']))} ± {_number(float(facts['std']))}",)


def _numbers(name: str, values: np.ndarray) -> Row:
    facts = spread(values)
    mean, std = float(facts["mean"]), float(facts["std"])
    return Row(name, (NONE if math.isnan(mean) else f"{mean:.3f}", f"± {_number(std)}", f"{facts['count']:,}"))


def image_lines(name: str, found: Assessment) -> list[ImageLine]:
    """A made data set beside the real images, and these beside themselves."""
    counts, features = found.counts, found.features
    whose = (f"features of {features.network}; {features.count} images at a time",) if features else ()
    verdicts = tuple(each.verdict() for each in found.memorisation)
    return [
        ImageLine(title, counts[kind], f"{float(np.mean(found.structural[pairs])):.3f}",
                  tuple(_number(features.rows[row][key]) if features else NONE for key in MEASURES), notes)
        for title, kind, pairs, row, notes in (
            (name, "made measured", GENERATED_REAL, MADE, (*verdicts, *found.remarks, *whose)),
            ("real images, of other subjects", "real measured", REAL, HALF, ()),
        )
    ]  # fmt: skip


def _features(found: Assessment) -> list[Row]:
    if found.features is None:
        return []
    rows = found.features.rows
    return [Row(name, tuple(_number(rows[name][key]) for key in MEASURES)) for name in (MADE, HALF, NOISY)]


def _scales(grid: CommonGrid) -> str:
    scales = scales_of(grid.shape)
    size = " × ".join(map(str, grid.shape))
    return f"on {size} pixels, {plural(len(scales.weights), 'scale')}, a window of {scales.window}"


def _charts(found: Assessment) -> list[Chart]:
    order = (GENERATED_REAL, GENERATED, REAL)
    charts = [
        histogram_chart(
            "MS-SSIM", [(name, found.structural[name]) for name in order], label="MS-SSIM", note="One number a pair."
        )
    ]
    charts += [
        histogram_chart(
            f"Distance to the nearest training image, {each.space}",
            [("made", each.found.distance), ("training images, of other subjects", each.training.distance)],
            label="root mean square" if each.space == "pixels" else "deviations",
            note="One number an image.",
        )
        for each in found.memorisation
    ]
    far = sorted(found.anatomy, key=lambda each: -np.nan_to_num(each.distance))[:CHARTS]
    charts += [
        histogram_chart(
            each.quantity, [("made", each.made), ("real", each.real)], label="value", note="One number an image.",
            whole=each.quantity.endswith("pieces"),
        )
        for each in far
    ]  # fmt: skip
    charts += [
        histogram_chart(
            each.quantity, [("made", each.made), ("real", each.real)], label="value", note="One number an object.",
            whole=each.quantity == COUNT,
        )
        for each in found.objects
    ]  # fmt: skip
    return [chart for chart in charts if chart is not None]
