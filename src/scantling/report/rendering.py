"""A template of this folder as one self-contained page: its style, its script and the hash that allows the script."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup


def rendered(template: str, *, script: str = "page.js", **content: Any) -> str:
    """The HTML of a template; text in `content` is escaped, and a name that the template does not find is an error.

    Args:
        script: the file of its script.
    """
    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(here), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    code = (here / script).read_text(encoding="utf-8")
    return environment.get_template(template).render(
        **content,
        style=Markup((here / "page.css").read_text(encoding="utf-8")),
        script=Markup(code),
        script_hash=base64.b64encode(hashlib.sha256(code.encode()).digest()).decode(),
    )
