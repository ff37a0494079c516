"""`scantling demo`: the story of all commands on images that it makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scantling.cli.command import Outcome, tell
from scantling.core.atomic import write_text
from scantling.core.errors import SettingsError

COUNTS = {"train": 24, "test": 8}
SIZE = 192
STEPS = 400


def demo(out: Path, *, steps: int | None, seed: int) -> Outcome:
    """Draw vessels, check them, train a U-Net on them, predict, evaluate and report."""
    from scantling.cli.commands.answering import Predict
    from scantling.cli.commands.judging import Evaluate, Report
    from scantling.cli.commands.looking import Check
    from scantling.cli.commands.training import Train

    data, run, masks = out / "data", out / "run", out / "masks"
    _say("1/6", f"drawing {sum(COUNTS.values())} images of vessels", data)
    draw(data, seed=seed)
    _say("2/6", "checking them", data)
    failed = Check(data=data, contact_sheet=out / "contact-sheet.png").run().failed
    _say("3/6", "training unet", run)
    Train(method="unet", data=[data], out=run, preset="quick", steps=steps or STEPS, seed=seed).run()
    _say("4/6", "predicting the test images", masks)
    failed += Predict(run_folder=run, input=data, out=masks, probabilities=True).run().failed
    _say("5/6", "measuring the masks", masks)
    scores = Evaluate(prediction=masks, truth=data, probabilities=masks / "probabilities").run()
    _say("6/6", "writing the report", run)
    page = Report(targets=[run]).run().facts["page"]
    tell(f"open {page}")
    return Outcome({"page": page, "scores": scores.facts}, failed + scores.failed)


def draw(folder: Path, *, seed: int) -> None:
    """Paired folders of drawn images and their masks; what is finished is left alone, what was interrupted redone.

    Raises:
        SettingsError: the folder holds something else.
    """
    from scantling.core.case import Geometry
    from scantling.data.files import write_image, write_labels
    from scantling.phantoms import vessel_images

    marker = folder / "SOURCE.md"
    made = f"Drawn by `scantling demo`: seed {seed}, {COUNTS}, {SIZE} pixels.\n"
    begun = f"Unfinished. {made}"
    recorded = marker.read_text() if marker.is_file() else ""
    if recorded == made:
        return
    if recorded != begun and folder.exists() and any(folder.iterdir()):
        raise SettingsError(f"{folder}: is not empty; choose another --out for the demo")
    write_text(marker, begun)
    geometry = Geometry(shape=(SIZE, SIZE), spacing=(1.0, 1.0))
    images = vessel_images(sum(COUNTS.values()), SIZE, seed=seed)
    for split, count in COUNTS.items():
        for number in range(count):
            image, mask = next(images)
            write_image(folder / split / "images", f"{number:02d}_{split}", np.moveaxis(image, -1, 0), geometry)
            write_labels(folder / split / "masks", f"{number:02d}_{split}", mask * np.uint8(255), geometry)
    write_text(marker, made)


def _say(part: str, what: str, where: Path) -> None:
    tell(f"\n[{part}] {what}: {where}")
