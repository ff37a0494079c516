"""Write the parts of the documentation that come from code: tables between markers, and the README's picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scantling.contract.card import Card
from scantling.core.atomic import replacing, write_text
from scantling.core.fields import title_of
from scantling.core.text import with_part
from scantling.experiments.advice import labelled_for, unfit
from scantling.experiments.advice_rules import RULES, Rule, Situation, Structure
from scantling.experiments.systems import DATA, SYSTEMS, System, Training
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


def _situation(structure: Structure, axes: int = 2, channels: int = 1, **more: Any) -> Situation:
    facts = {"images": 50, "classes": (), "labelled": {"mask": 50}, "readers": 1, **more}
    return Situation(structure=structure, axes=axes, channels=channels, **facts)


SITUATIONS: Mapping[str, Situation] = {
    "masks of all images, of vessels": _situation("vessels"),
    "masks of all images, of regions such as lesions": _situation("regions"),
    "masks of all images, of objects, with instance maps": _situation(
        "objects", labelled={"mask": 50, "instances": 50}
    ),
    "masks of all volumes": _situation("regions", 3),
    "masks of all images, in several modalities or frames": _situation("regions", channels=3),
    "masks by several readers": _situation("vessels", readers=2),
    "masks of a few images": _situation("regions", labelled={"mask": 5}),
    "masks of a few volumes": _situation("regions", 3, labelled={"mask": 5}),
    "masks of some slices of volumes": _situation("regions", 3, slices=True),
    "scribbles": _situation("regions", labelled={"scribbles": 50}),
    "classes of images, no masks": _situation("regions", labelled={"image_class": 50}),
    "no labels, images of vessels": _situation("vessels", labelled={}, readers=0),
}
"""What somebody may have, in words; the rules of `scantling advise` say the rest."""


def linked(name: str, where: str = "", *, root: str = "") -> str:
    """A method with a link to its page, or to `where`."""
    return f"[`{name}`]({root}{where or f'methods/{name}.md'})"


def learns(name: str, situation: Situation) -> bool:
    """Whether a method can learn from such data."""
    card = CARDS[name]
    return not unfit(card, situation) and labelled_for(card, situation)


def rules_for(situation: Situation) -> list[Rule]:
    """What `advise` says of data like these."""
    return [rule for rule in RULES if rule.when(situation) and (learns(rule.method, situation) or rule.data != "DATA")]


def told(rule: Rule, *, root: str = "") -> str:
    """A method, how it is to be used, what was measured, and where that stands."""
    made = [word for line in rule.first for word in line.split() if word in CARDS]
    how = f", on what {linked(made[0], root=root)} makes" if made and rule.data != "DATA" else ""
    how += f", with `{rule.more}`" if rule.more and not made else ""
    return f"{linked(rule.method, root=root)}{how}: {rule.why} [Results]({root}results.md#{rule.cites})"


def beginnings_table() -> str:
    """The first method to take in each situation, as far as it is none that has been named before."""
    lines, named = ["| You have | Begin with |", "| --- | --- |"], list[Rule]()
    for words, situation in SITUATIONS.items():
        helps = [rule for rule in rules_for(situation) if rule.verdict == "helps" and rule not in named]
        if helps:
            named.append(helps[0])
            lines.append(f"| {words} | {told(helps[0], root='docs/')} |")
    return "\n".join(lines)


def decisions_table() -> str:
    """Which method for which situation: the rules of `scantling advise`, and which of the eighteen could learn too."""

    def able(system: System, situation: Situation) -> bool:
        stages = [stage for stage in system.ours.stages.values() if isinstance(stage, Training) and DATA in stage.data]
        return situation.structure in system.structures and all(learns(one.method, situation) for one in stages)

    lines = [
        "| You have | Begin with | No gain shown | Worse so far | Of the eighteen, not measured so |",
        "| --- " * 5 + "|",
    ]
    for words, situation in SITUATIONS.items():
        there = rules_for(situation)
        helps = [told(rule) for rule in there if rule.verdict == "helps"]
        named = {rule.method for rule in there}
        others = [
            ", ".join(linked(rule.method, f"results.md#{rule.cites}") for rule in there if rule.verdict == verdict)
            for verdict in ("level", "worse")
        ]
        rest = [linked(one.method) for one in SYSTEMS if one.method not in named and able(one, situation)]
        first = "<br>".join(helps) or "nothing was measured here yet: `scantling advise` lists what can run"
        lines.append(f"| {words} | {first} | {others[0]} | {others[1]} | {', '.join(rest)} |")
    return "\n".join(lines)


def systems_table() -> str:
    """The eighteen systems, what each is held against, and what its paper claims."""
    lines = ["| System | Here | On | Held against | Measure | Its paper claims |", "| --- " * 6 + "|"]
    for one in SYSTEMS:
        lines.append(
            f"| [{one.name}](methods/{one.method}.md) | {one.ours.says} | `{one.data}`, {one.budget} "
            f"| {one.control.says} | {METRICS[one.metric].title} | {one.claim} ({one.on}) |"
        )
    return "\n".join(lines)


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
        "README.md": {"beginnings": beginnings_table(), "methods": methods_table(pages="docs/methods/")},
        "docs/methods/README.md": {"methods": methods_table(pages="")},
        "docs/eighteen.md": {"decisions": decisions_table(), "systems": systems_table()},
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
            text = with_part(text, part, content)
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


if __name__ == "__main__":
    main()
