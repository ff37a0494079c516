"""Made images of `worth` beside real ones: the measures of `assess`, in the features of a training on real cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.console import Console

from scantling.contract.capabilities import Encoder, Segmenter
from scantling.core.errors import ScantlingError
from scantling.core.machine import Compute
from scantling.evaluation.feature_scores import HALF, MADE
from scantling.evaluation.generated import GENERATED_REAL, REAL, Assessment, assess
from scantling.experiments.cells import Cell, scores_of
from scantling.experiments.made_sets import opened
from scantling.experiments.worth_recipe import WorthRecipe, one_image
from scantling.methods.catalogue import card_of, implementation_of


def looked_at(recipe: WorthRecipe, cells: Sequence[Cell], *, console: Console) -> dict[str, Assessment]:
    """Each made data set beside the real training images, by name; see `evaluation.generated`.

    Features are those of the training on real cases alone with most subjects; of a method without features the measures
    that need them are left out. Made data for several budgets are those for the one with most subjects. What cannot be
    measured is told and left out.
    """
    controls = [cell for cell in cells if cell.method == recipe.control and scores_of(recipe, cell) is not None]
    if not controls:
        return {}
    cell = max(controls, key=lambda one: len(recipe.budget(one.labels, one.label_seed).all_subjects))
    known = issubclass(implementation_of(card_of(recipe.method)), Encoder | Segmenter)
    options, found = recipe.options, dict[str, Assessment]()
    compute = Compute(device=options.device, threads=options.threads, precision=options.precision)
    for name, source in recipe.sources.items():
        if (folder := source.folder(cell.labels)) is None:
            continue
        try:
            found[name] = assess(
                one_image(opened(folder), recipe.modality), recipe.dataset,
                features=recipe.out / cell.folder if known else None, opening=recipe.opening, compute=compute,
            )  # fmt: skip
        except ScantlingError as error:
            console.print(f"{name}, beside real images: {error}", highlight=False, markup=False)
    return found


def sentences(found: Mapping[str, Assessment]) -> list[str]:
    """How near made images are to real ones, and whether they are copies, in words."""
    said = list[str]()
    for name, one in found.items():
        pairs = {"made beside real images": GENERATED_REAL, "real ones of different subjects": REAL}
        near = [f"of {title} {np.mean(v):.3f}" for title, key in pairs.items() if (v := one.structural[key]).size]
        parts = [f"MS-SSIM {', '.join(near)}"] if near else []
        if one.features is not None:
            rows = one.features.rows
            parts += [
                f"{title} {rows[MADE][key]:.3g}, of real halves {rows[HALF][key]:.3g}"
                for key, title in (("kernel", "KID"), ("frechet", "FID"), ("coverage", "coverage"))
            ]
        copies = "".join(f" Copies: {each.verdict()}." for each in one.memorisation)
        said.append(f"{name}: {'; '.join(parts)}.{copies}")
    return said
