"""A template of this folder as one self-contained page: its style, its script and the hash that allows the script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

VIEWER = (
    "viewer_arrays.js", "viewer_contours.js", "viewer_drawing.js", "viewer_controls.js", "viewer.js"
)  # fmt: skip
"""The scripts of the case viewer, in their order."""

HERE = Path(__file__).parent


@cache
def _environment() -> Environment:
    """Of all pages of a process, which compiles each template once."""
    return Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def rendered(
    template: str, *, script: str | Sequence[str] = "page.js", style: Sequence[str] = ("page.css",), **content: Any
) -> str:
    """The HTML of a template; text in `content` is escaped, and a name that the template does not find is an error.

    Args:
        script: the file of its script, or several that become one.
        style: the files of its style.
    """
    code, look = (
        "".join((HERE / one).read_text(encoding="utf-8") for one in ([names] if isinstance(names, str) else names))
        for names in (script, style)
    )
    return (
        _environment()
        .get_template(template)
        .render(
            **content,
            style=Markup(look),
            script=Markup(code),
            script_hash=base64.b64encode(hashlib.sha256(code.encode()).digest()).decode(),
        )
    )
