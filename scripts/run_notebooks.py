"""Run the notebooks of `examples/` from top to bottom, and keep small outputs in them, so that pages show them.

python scripts/run_notebooks.py        about two minutes
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.ipynb"))
LONGEST = 256
"""Pixels of the longer side of a picture that is kept."""
QUALITY = 90
"""Of a picture that is kept, a JPEG."""


def run(notebook: Path, folder: Path, settings: Mapping[str, object]) -> list[list[dict[str, Any]]]:
    """Run the code cells in one namespace, in a folder, as IPython does: the last expression of a cell is displayed.

    Args:
        settings: values to assign in place of those of the notebook, by name; each has to be assigned on a line of its
            own.

    Returns:
        The outputs of each code cell, as nbformat 4 has them.

    Raises:
        ValueError: the notebook assigns no such name.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    outputs, left = [], {*settings}
    with contextlib.chdir(folder):
        for cell in json.loads(notebook.read_text())["cells"]:
            if cell["cell_type"] != "code":
                continue
            source = "".join(cell["source"])
            for name, value in settings.items():
                source, times = re.subn(rf"^{name} = [^#\n]*", f"{name} = {value!r}  ", source, flags=re.MULTILINE)
                left -= {name} if times else set()
            outputs.append(_run(source, namespace, where=f"{notebook.name}, cell {len(outputs) + 1}"))
    if left:
        raise ValueError(f"{notebook.name}: assigns no {', '.join(sorted(left))}")
    return outputs


def _run(source: str, namespace: dict[str, Any], *, where: str) -> list[dict[str, Any]]:
    """Run a cell; what it has printed and displayed."""
    tree, last = ast.parse(source, where), None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = ast.Expression(tree.body.pop().value)
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, where, "exec"), namespace)
        if last is not None:
            value = eval(compile(last, where, "eval"), namespace)
    text = printed.getvalue()
    outputs: list[dict[str, Any]] = []
    if text:
        outputs.append({"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)})
    if value is not None:
        outputs.append(
            {"output_type": "execute_result", "execution_count": None, "metadata": {}, "data": _displayed(value)}
        )
    return outputs


def _displayed(value: Any) -> dict[str, Any]:
    """What a notebook shows of a value; of pictures a small one."""
    for way in ("_repr_html_", "_repr_png_"):
        if hasattr(value, way):
            getattr(value, way)()  # what a reader's own kernel calls
    data: dict[str, Any] = {"text/plain": repr(value).splitlines(keepends=True)}
    picture = value if isinstance(value, Image.Image) else value.plot() if hasattr(value, "plot") else None
    if picture is not None:
        data = {"text/plain": [repr(value) if picture is not value else "picture"], "image/jpeg": _jpeg(picture)}
    return data


def _jpeg(picture: Image.Image) -> str:
    share = min(1.0, LONGEST / min(picture.size))
    small = picture.convert("RGB").resize([max(1, round(side * share)) for side in picture.size])
    file = io.BytesIO()
    small.save(file, "JPEG", quality=QUALITY, subsampling=0, optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def main() -> None:
    """Run all, and write what they show into them."""
    for notebook in NOTEBOOKS:
        facts = json.loads(notebook.read_text())
        with tempfile.TemporaryDirectory() as folder:
            outputs = run(notebook, Path(folder), {})
        code = [cell for cell in facts["cells"] if cell["cell_type"] == "code"]
        for cell, shown in zip(code, outputs, strict=True):
            cell["outputs"] = shown
        text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
        notebook.write_text(text.replace(os.fspath(Path(folder).resolve()), "."))


if __name__ == "__main__":
    main()
