"""Build the documentation as a site into `site/`, without network: the pages as on GitHub, the README as its start.

The pages are gathered in `build/pages` with links that hold there; then Zensical builds them, and a link that leads
nowhere fails (`pip install 'scantling[docs]'`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

from scantling.methods.catalogue import CARDS

ROOT = Path(__file__).resolve().parents[1]
BUILD, PAGES, SITE = ROOT / "build", "pages", "site"
TOP = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "SECURITY.md": "security.md"}
"""Pages outside of docs/, and what they are called in the site."""
ORDER = {
    "Home": "index.md",
    "Gallery": "gallery.md",
    "Use": {
        "Data": "data.md", "Training": "training.md", "From Python": "python.md", "Registration": "registration.md",
        "Mending": "mending.md", "Made images": "generated-images.md",
    },
    "Judge": {
        "Metrics": "metrics.md", "Reports": "report.md", "Looking and correcting": "correcting.md",
        "Learning curves": "curve.md",
        "Worth of made data": "worth.md", "Advice": "advise.md", "All eighteen": "eighteen.md", "Results": "results.md",
    },
    "Methods": {},
    "Build": {
        "Architecture": "architecture.md", "A method of your own": "extending.md",
        "Tried on paper": "tried-on-paper.md", "Changelog": "changelog.md", "Security": "security.md",
    },
}  # fmt: skip
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def place_of(path: str) -> str | None:
    """Where a file of the repository stands in the site; None where it does not."""
    if path in TOP:
        return TOP[path]
    if not path.startswith("docs/"):
        return None
    return path.removeprefix("docs/").replace("methods/README.md", "methods/index.md")


def moved(text: str, path: str) -> str:
    """The text of the page `path`, with links that hold in the site; links to other files of the repository, such as
    code, become their words."""
    here = PurePosixPath(place_of(path) or "")

    def link(match: re.Match[str]) -> str:
        picture, words, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        name, _, anchor = target.partition("#")
        place = place_of(os.path.normpath(os.path.join(os.path.dirname(path), name)).replace(os.sep, "/"))
        if place is None:
            return words
        relative = os.path.relpath(place, here.parent).replace(os.sep, "/")
        return f"{picture}[{words}]({relative}{'#' + anchor if anchor else ''})"

    return "".join(part if part.startswith("```") else LINK.sub(link, part) for part in FENCE.split(text))


def gather(build: Path = BUILD) -> Path:
    """Write the pages and the settings of the site into a folder; returns the file of the settings."""
    pages = build / PAGES
    shutil.rmtree(pages, ignore_errors=True)
    for path in (*(ROOT / name for name in TOP), *(ROOT / "docs").rglob("*")):
        name = path.relative_to(ROOT).as_posix()
        place = place_of(name)
        if place is None or not path.is_file():
            continue
        target = pages / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            target.write_text(moved(path.read_text(encoding="utf-8"), name), encoding="utf-8")
        else:
            shutil.copyfile(path, target)
    methods = {"Overview": "methods/index.md", **{name: f"methods/{name}.md" for name in CARDS}}
    settings = build / "zensical.toml"
    settings.write_text(configuration({**ORDER, "Methods": methods}), encoding="utf-8")
    return settings


def configuration(order: dict[str, str | dict[str, str]]) -> str:
    """The settings of Zensical, with the pages in their order."""

    def entry(name: str, value: str | dict[str, str]) -> str:
        if isinstance(value, str):
            return f"{{ {json.dumps(name)} = {json.dumps(value)} }}"
        return f"{{ {json.dumps(name)} = [{', '.join(entry(*each) for each in value.items())}] }}"

    nav = ",\n  ".join(entry(*each) for each in order.items())
    return f"""[project]
site_name = "Scantling"
site_description = "Medical image segmentation from few labels, weak labels or none."
docs_dir = "{PAGES}"
site_dir = "{SITE}"
use_directory_urls = false
nav = [
  {nav}
]

[project.theme]
font = false
features = ["navigation.sections", "navigation.indexes", "navigation.top", "content.code.copy"]

[[project.theme.palette]]
media = "(prefers-color-scheme: light)"
scheme = "default"
toggle.icon = "lucide/sun"
toggle.name = "Dark"

[[project.theme.palette]]
media = "(prefers-color-scheme: dark)"
scheme = "slate"
toggle.icon = "lucide/moon"
toggle.name = "Light"

[project.validation]
invalid_links = true
invalid_link_anchors = true
"""


def main() -> int:
    """Gather the pages and build them."""
    settings = gather()
    command = [shutil.which("zensical", path=str(Path(sys.executable).parent)) or "zensical", "build", "--clean"]
    done = subprocess.run([*command, "--strict", "--config-file", str(settings)], check=False)
    if not done.returncode:
        shutil.rmtree(ROOT / SITE, ignore_errors=True)
        shutil.move(BUILD / SITE, ROOT / SITE)  # it has to be built below its settings
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
