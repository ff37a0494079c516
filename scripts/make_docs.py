"""Write the parts of the documentation that come from code: tables between markers, and the README's picture."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from scantling.contract.card import Card
from scantling.core.atomic import replacing, write_text
from scantling.core.fields import title_of
from scantling.methods.catalogue import CARDS
from scantling.metrics.catalogue import BOX_METRICS, CLASS_METRICS, METRICS, Metric
from scantling.phantoms import vessel_images

ROOT = Path(__file__).resolve().parents[1]
PICTURE = Path("docs/pictures/vessels.jpg")


def methods_table(*, pages: str) -> str:
    """The catalogue as a table; `pages` is the way to the folder of their pages."""

    def needs(card: Card) -> str:
        each = (", ".join(title_of(word) for word in words) for words in card.needs)
        return "; ".join(each) or "nothing"

    rows = [
        f"| [`{card.name}`]({pages}{card.name}.md) | {card.title} | {card.authors}, {card.year} | {needs(card)} "
        f"| {', '.join(card.gives)} | {', '.join(f'{number}-D' for number in card.dimensions)} |"
        for card in CARDS.values()
    ]
    return "\n".join(
        ["| Method | Title | Authors | Trains on | Can | Images |", "| --- | --- | --- | --- | --- | --- |", *rows]
    )


def metrics_table(metrics: Mapping[str, Metric]) -> str:
    """Metrics as a table, a convention each."""

    def bound(value: float) -> str:
        return f"{'−' if value < 0 else ''}∞" if math.isinf(value) else f"{value:g}"

    def row(metric: Metric) -> str:
        low, high = (bound(value) for value in metric.range)
        convention = metric.convention.partition(": ")[2] or metric.convention
        convention = (convention[0].upper() + convention[1:]).replace("|", "\\|")
        title = metric.title.replace("|", "\\|")
        needs = ", ".join(metric.needs)
        return f"| `{metric.name}` | {title} | {metric.direction} | {low} to {high} | {needs} | {convention} |"

    return "\n".join(
        [
            "| Name | Metric | Better | Range | Needs | Convention |",
            "| --- | --- | --- | --- | --- | --- |",
            *map(row, metrics.values()),
        ]
    )


def texts(root: Path = ROOT) -> dict[Path, str]:
    """Every page that has a part written by code, as it should read."""
    parts = {
        "README.md": {"methods": methods_table(pages="docs/methods/")},
        "docs/methods/README.md": {"methods": methods_table(pages="")},
        "docs/metrics.md": {
            "metrics": metrics_table(METRICS),
            "class metrics": metrics_table(CLASS_METRICS),
            "box metrics": metrics_table(BOX_METRICS),
        },
    }
    found: dict[Path, str] = {}
    for name, tables in parts.items():
        text = (root / name).read_text()
        for part, content in tables.items():
            text = _between(text, part, content)
        found[root / name] = text
    return found


def picture() -> np.ndarray:
    """Four demo images above their masks, with white between them: (H, W, 3) uint8."""
    pairs = list(vessel_images(4, 256, seed=2))
    gap = 8
    columns = []
    for image, mask in pairs:
        rule = np.full((gap, image.shape[1], 3), 255, np.uint8)
        columns += [np.concatenate([image, rule, np.repeat(mask[..., None] * np.uint8(255), 3, axis=-1)])]
    between = np.full((columns[0].shape[0], gap, 3), 255, np.uint8)
    spaced = [part for column in columns for part in (column, between)]
    return np.concatenate(spaced[:-1], axis=1)


def main() -> None:
    """Write everything that is not as it should be."""
    for path, text in texts().items():
        if path.read_text() != text:
            write_text(path, text)
    with replacing(ROOT / PICTURE) as aside:
        Image.fromarray(picture()).save(aside, quality=88, optimize=True)


def _between(text: str, name: str, content: str) -> str:
    """`text` with `content` between the markers of `name`."""
    pattern = re.compile(rf"(<!-- {name}:[^\n]*-->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    found = pattern.search(text)
    if found is None:
        raise ValueError(f"there is no place marked for {name}")
    return text[: found.end(1)] + "\n" + content + "\n\n" + text[found.start(2) :]


if __name__ == "__main__":
    main()
