"""The page of the server: a list of cases, the viewer of `report`, and tools for correcting where they are wanted."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from scantling import report
from scantling.report.rendering import VIEWER

HERE = Path(__file__).parent
SCRIPTS = ("tools.js", "timer.js", "correct.js", "view.js")
"""What the page has beside the viewer, in order."""


def page(*, title: str, nonce: str, writes: bool) -> str:
    """The HTML; its script and style bear the nonce of the server's policy.

    Args:
        writes: whether masks can be corrected.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    script, style = _parts()
    return environment.get_template("view.html.j2").render(
        title=title, nonce=nonce, writes=writes, script=Markup(script), style=Markup(style)
    )


@cache
def _parts() -> tuple[str, str]:
    there = Path(str(report.__path__[0]))
    scripts = [*(there / name for name in VIEWER), *(HERE / name for name in SCRIPTS)]
    styles = [there / "page.css", there / "viewer.css", HERE / "view.css"]
    script, style = ("\n".join(path.read_text(encoding="utf-8") for path in paths) for paths in (scripts, styles))
    return script, style
