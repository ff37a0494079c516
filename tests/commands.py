"""Commands in this process, with streams of their own, and functions in processes that need not import torch again."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from scantling.cli.main import main


@dataclass(frozen=True)
class Done:
    """How a command has ended, and what it has written."""

    returncode: int
    stdout: str
    stderr: str


def command(*words: str | Path, folder: Path | None = None) -> Done:
    """Run a command in this process, in `folder`; its streams take nothing but UTF-8."""
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict", newline="") for _ in range(2)]
    with (
        contextlib.redirect_stdout(streams[0]),
        contextlib.redirect_stderr(streams[1]),
        contextlib.chdir(folder or Path.cwd()),
    ):
        code = main([str(word) for word in words])
    for stream in streams:
        stream.flush()
    return Done(code, *(stream.buffer.getvalue().decode() for stream in streams))


def started(function: Callable[..., Any], *arguments: Any) -> ForkServerProcess:
    """A process of its own that runs `function`, forked from one that has imported all and computed nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["scantling.cli.main", "scantling.training", "scantling.methods.supervised.unet"])
    process = context.Process(target=function, args=arguments)
    process.start()
    return process
