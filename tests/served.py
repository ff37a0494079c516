"""A data set with masks of a model, and a server of them, for tests of what the browser gets and sends."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scantling.viewing.opened import open_correctable
from scantling.viewing.server import CaseServer

SHAPE = (24, 32)
MANIFEST = """
[classes]
disc = 7
rim = 9

[[group]]
pattern = "{split}/images/{id}.png"
masks = "{split}/masks/{id}.png"
split = "{split}"
"""
JSON = {"Content-Type": "application/json"}


def pictures(root: Path, *, labelled: int = 2, unlabelled: int = 3, tested: int = 2) -> Path:
    """Pictures of two classes whose values are 7 and 9, some of them without a mask."""
    generator = np.random.default_rng(0)
    for number in range(labelled + unlabelled + tested):
        split = "test" if number >= labelled + unlabelled else "train"
        mask = np.zeros(SHAPE, np.uint8)
        top, left = generator.integers(2, 10, 2)
        mask[top : top + 9, left : left + 9] = 9
        mask[top + 2 : top + 7, left + 2 : left + 7] = 7
        image = np.clip(40 + 12 * mask + generator.normal(0, 6, SHAPE), 0, 255).astype(np.uint8)
        save(root / split / "images" / f"p{number}.png", image)
        if number < labelled or split == "test":
            save(root / split / "masks" / f"p{number}.png", mask)
    (root / "scantling.toml").write_text(MANIFEST)
    return root


def masks_of_a_model(folder: Path, ids: list[str]) -> Path:
    """Masks with a square of the first class."""
    for id in ids:
        mask = np.zeros(SHAPE, np.uint8)
        mask[4:8, 4:8] = 7
        save(folder / f"{id}.png", mask)
    return folder


def save(path: Path, array: np.ndarray) -> None:
    """Write a PNG, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@contextmanager
def serving(server: CaseServer) -> Iterator[CaseServer]:
    """The server, answering for the length of the block."""
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(timeout=20)


def correcting(root: Path, out: Path) -> CaseServer:
    """A server that takes corrections of `root/masks`, which are of `root/data`."""
    found = open_correctable(root / "masks", data=root / "data", out=out, author="Dr Who")
    return CaseServer(found.shown, save=found.save, state=found.corrections.state)


def ask(server: CaseServer, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any]]:
    """The status of an answer and its JSON; of a page its text under "page"."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = json.dumps(body).encode() if isinstance(body, dict | list) else body
    connection.request(method, path, body=content, headers=named)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    found = json.loads(text) if answer.headers.get_content_type() == "application/json" else {"page": text}
    return answer.status, {**found, "headers": dict(answer.headers)} if isinstance(found, dict) else {"list": found}


def runs_of(layer: np.ndarray) -> list[int]:
    """The lengths of runs of 0, 1, 0, ... of a layer."""
    flat = layer.astype(np.uint8).ravel()
    ends = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1, [flat.size]])
    runs: list[int] = np.diff(ends).tolist()
    return [0, *runs] if flat[0] else runs


def sent(disc: np.ndarray, rim: np.ndarray | None = None, **how: Any) -> dict[str, Any]:
    """What the page sends of a picture of two classes."""
    rim = np.zeros_like(disc) if rim is None else rim
    layers = [runs_of(disc), runs_of(rim)]
    return {"shape": [1, *disc.shape], "layers": layers, "seconds": 30.0, "slices": None, "author": "Dr Who", **how}
