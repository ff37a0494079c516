"""The text of `docs/gallery.md`: a picture for each method, or the reason why there is none."""

from __future__ import annotations

from gallery.recipes import LEFT_OUT, SECTIONS, UNTRAINED, Recipe
from scantling.methods.catalogue import CARDS

HEAD = """# Gallery

What each method takes and gives, on small images that the project makes itself: nothing here was measured on a \
patient. `python scripts/make_gallery.py` makes the pictures, on one processor core; the preset and the number of \
steps stand below each.

These trainings take seconds, with networks of a few channels. They show the kind of an answer, not its quality: that \
is measured on real data, in [results](results.md). Where so short a training would answer with noise, or was not \
done, the picture shows what the method learns from, and the words below it say that nothing is trained. Truth and \
masks are outlines; each object of an instance map has a colour of its own.
"""
DATA = {
    "cells": "made cells", "organs": "made cross-sections of a cavity in a wall", "lesions": "made spots on skin",
    "frames": "made images before and after a contrast agent", "vessels": "made retinal vessels",
    "angiograms": "made angiograms", "volumes": "made volumes of 32 x 32 x 16", "": "no data",
}  # fmt: skip
SHOWS = {
    "segment": "the masks of a new image",
    "classify": "new images, the class that is answered with its probability, and in brackets the true one",
    "generate": "what it makes",
    "register": "an image warped onto another one",
    "encode": "its features of an image, three principal components as colours",
    "annotate": "the labels that it draws",
}


def caption(name: str, recipe: Recipe) -> str:
    """How the picture was made, in a sentence."""
    base, _, rule = recipe.data.partition("+")
    data = DATA[base] + (f" with labels by `{rule}`" if rule else "")
    labels = f", {recipe.labels} of 12 with masks" if recipe.labels is not None else ""
    if name in UNTRAINED:
        truth = ", a new image and its truth" if {"segment", "classify"} & {*CARDS[name].gives} else ""
        return f"Shown: what it learns from{truth}. {data[0].upper()}{data[1:]}{labels}; nothing is trained here."
    steps = f"preset `{recipe.preset}`, {recipe.steps} steps" if recipe.steps else "nothing is trained"
    return f"Shown: {SHOWS[recipe.shows]}. {data[0].upper()}{data[1:]}{labels}; {steps}."


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for section, recipes in SECTIONS.items():
        parts.append(f"## {section}\n")
        for name, recipe in recipes.items():
            card = CARDS[name]
            parts.append(f"### {name}\n")
            parts.append(f"{card.title} ({card.authors}, {card.year}): [its page](methods/{name}.md).\n")
            if name in LEFT_OUT:
                parts.append(f"No picture: {LEFT_OUT[name]}.\n")
                continue
            shown = "what it learns from" if name in UNTRAINED else SHOWS[recipe.shows]
            parts.append(f"![{name}: {shown}](pictures/gallery/{name}.webp)\n")
            parts.append(f"{caption(name, recipe)}\n")
    others = {name: why for name, why in LEFT_OUT.items() if not any(name in recipes for recipes in SECTIONS.values())}
    if others:
        parts.append("## Without a picture\n")
        parts.append("\n".join(f"- [`{name}`](methods/{name}.md): {why}" for name, why in others.items()) + "\n")
    return "\n".join(parts)
