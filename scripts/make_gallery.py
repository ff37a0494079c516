"""Make `docs/gallery.md` and its pictures: for each method what it takes and gives, on images made by rule.

Trainings are bounded to seconds each. What is there is not made again, so that an interrupted command goes on; a
method is named to make its picture anew: `python scripts/make_gallery.py unet`. Runs and data go into a folder outside
of the repository (`--work`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from pathlib import Path

from gallery.page import page
from gallery.panels import strip
from gallery.recipes import RECIPES
from gallery.strips import strip_of

from scantling.core.atomic import replacing, write_text
from scantling.training.callbacks import StoppedError

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures" / "gallery"


def main() -> int:
    """Make what is missing."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("methods", nargs="*", help="make the pictures of these anew")
    options.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "scantling-gallery")
    chosen = options.parse_args()
    PICTURES.mkdir(parents=True, exist_ok=True)
    failed = 0
    missing = [name for name in RECIPES if not (PICTURES / f"{name}.webp").is_file()]
    for name in chosen.methods or sorted(missing, key=lambda name: RECIPES[name].steps):
        begun = time.monotonic()
        try:
            drawn = strip(strip_of(name, chosen.work))
        except StoppedError:
            return 1
        except Exception:
            failed += 1
            traceback.print_exc()
            continue
        with replacing(PICTURES / f"{name}.webp") as aside:
            drawn.save(aside, "WEBP", quality=72, method=6)
        sys.stderr.write(f"{name}: {time.monotonic() - begun:.0f} s\n")
    write_text(ROOT / "docs" / "gallery.md", page())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
