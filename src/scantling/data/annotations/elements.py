"""The elements of an XML file of annotations, one after the other, within bounds."""

from __future__ import annotations

import io
from collections.abc import Iterator
from xml.etree.ElementTree import Element, iterparse

DEEPEST = 32
"""How many elements may lie in each other."""


def elements(content: bytes, *, tool: str) -> Iterator[tuple[int, Element]]:
    """Every element when it ends, with its depth from 1.

    Args:
        tool: that writes such files, for errors.

    Raises:
        ValueError: the file declares a document type or an entity, is not UTF-8, or its elements lie too deep.
    """
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content or b"\0" in content:
        raise ValueError(f"it declares a document type, or is no UTF-8, which {tool} does not write")
    depth = 0
    for event, element in iterparse(io.BytesIO(content), events=("start", "end")):
        depth += event == "start"
        if depth > DEEPEST:
            raise ValueError(f"its elements lie more than {DEEPEST} deep")
        if event == "end":
            yield depth, element
            depth -= 1
