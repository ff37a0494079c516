"""A data set in a notebook: what was found, in a small table, and pictures of some cases."""

from __future__ import annotations

import base64
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

from scantling.core.errors import ScantlingError
from scantling.data.contact_sheet import sheet_of
from scantling.data.splits import SPLITS, is_labelled

if TYPE_CHECKING:
    from scantling.data.dataset import Dataset

DRAWN = 8
"""Cases that are shown, at most."""


def overview(dataset: Dataset) -> str:
    """HTML for a notebook; a file that cannot be read is said, not raised."""
    try:
        labels = dataset.labels
        classes = ", ".join(labels.names) if labels is not None else "none"
    except ScantlingError as error:
        classes = str(error)
    rows = "".join(
        f"<tr><td>{name}</td><td>{len(cases)}</td><td>{len({case.subject for case in cases})}</td>"
        f"<td>{sum(is_labelled(case) for case in cases)}</td></tr>"
        for name in SPLITS
        if (cases := dataset.split(name))
    )
    head = "<tr><th>split</th><th>cases</th><th>subjects</th><th>labelled</th></tr>"
    facts = [f"<b>{escape(dataset.name)}</b> ({escape(str(dataset.root))})", f"classes: {escape(classes)}"]
    facts += [escape(remark.sentence) for remark in dataset.remarks if remark.level != "note"]
    picture = ""
    if dataset.cases:
        file = BytesIO()
        sheet_of(dataset, most=DRAWN).save(file, "PNG")
        picture = f'<img alt="cases" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode("ascii")}">'
    return f"<div>{'<br>'.join(facts)}<table>{head}{rows}</table>{picture}</div>"
