"""`scantling`: parses the command line, runs one command, and turns errors into a sentence and an exit code.

0: done. 1: some cases failed, and are listed. 2: could not start.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scantling.cli.command import Outcome, silence
from scantling.core.errors import ScantlingError, SettingsError, out_of_memory
from scantling.core.outputs import check_file, is_record
from scantling.core.text import alike, wrapped

DESCRIPTION = "Segmentation from scant labels: train, predict, measure and judge, from few masks, weak labels or none."

ACCEPTED = ("new", "labels", "both")
"""What `synthesize --accept` can name."""


def parse(argv: Sequence[str]) -> Any:
    """The command that a command line asks for, not yet run.

    Raises:
        SystemExit: the command line is wrong, or asks for help.
    """
    import tyro

    from scantling.cli import commands

    words, settings = _taken_out(argv, "settings")
    words, options = _taken_out(words, "options")
    words = _with_value(words, "--write-manifest", takes=lambda word: word.lower().endswith(".toml"))
    words = _with_value(words, "--accept", takes=ACCEPTED.__contains__, value="new")
    kinds: dict[str, Callable[..., Any]] = {kind.__name__.lower(): kind for kind in commands.ALL}
    try:
        command = tyro.extras.subcommand_cli_from_dict(
            kinds,
            prog="scantling",
            description=DESCRIPTION,
            args=words,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff),
        )
    except SystemExit as stop:
        if not stop.code and words and words[0] in kinds:
            sys.stdout.write(
                "\n".join(["examples:", *(f"  {line}" for line in getattr(kinds[words[0]], "examples", ()))]) + "\n"
            )
        raise
    if settings:
        if not isinstance(command, commands.Train | commands.Curve | commands.Worth | commands.Synthesize):
            raise SettingsError(
                f"--settings.{next(iter(settings))}: only `scantling train`, `scantling curve`, `scantling worth` and "
                "`scantling synthesize` take settings"
            )
        command.settings = settings
    if options:
        if not isinstance(command, commands.Predict | commands.Register | commands.Synthesize):
            raise SettingsError(
                f"--options.{next(iter(options))}: only `scantling predict`, `scantling register` and "
                "`scantling synthesize` take options of a model"
            )
        command.options = options
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    if argv is None:
        _in_utf8_mode()
        argv = sys.argv[1:]
    closed = _open_streams()
    try:
        command = parse(argv)
        check_json(command, closed=closed)
        # with `--json -` standard output holds nothing but the JSON
        with contextlib.redirect_stdout(sys.stderr) if command.json == "-" else contextlib.nullcontext():
            outcome: Outcome = command.run()
        if command.json is not None:
            marked = {"made_by": f"scantling {type(command).__name__.lower()}"}
            _write(command.json, marked | outcome.facts if isinstance(outcome.facts, dict) else outcome.facts)
        sys.stdout.flush()
        if outcome.then is not None:
            outcome.then()
    except ScantlingError as error:
        return _say(f"scantling: {error}", 2)
    except BrokenPipeError:
        silence()
        return 1
    except KeyboardInterrupt:
        return _say("scantling: interrupted; the same command goes on where it stopped", 1)
    except (MemoryError, RuntimeError) as error:
        if "Symlink loop" in str(error):  # Python 3.12 and older, where a path is resolved
            return _say(f"scantling: {error}; correct the link", 2)
        if not out_of_memory(error):
            raise
        return _say("scantling: out of memory; use smaller patches, a smaller --memory or a larger machine", 2)
    except OSError as error:
        return _say(f"scantling: {error.filename or 'a file'}: {error.strerror or error}", 2)
    for sentence in alike(outcome.failed):
        _say(f"failed: {sentence}", 1)
    return 1 if outcome.failed else 0


def check_json(command: Any, *, closed: bool) -> None:
    """Make sure that the result of a command can be written where `--json` says, before anything is computed.

    Args:
        closed: whether the command was started without a standard output.

    Raises:
        SettingsError: it cannot, or something would be written over.
    """
    if command.json == "-":
        if closed:
            raise SettingsError("--json -: standard output is closed; name a file instead")
    elif command.json is not None:
        paths = [value for value in vars(command).values() if isinstance(value, Path)]
        lists = [value for value in vars(command).values() if isinstance(value, list)]
        named = [*paths, *(path for value in lists for path in value if isinstance(path, Path))]
        target, out = Path(command.json), getattr(command, "out", None)
        check_file(target, suffix=".json", inputs=named)
        absolute = Path(os.path.abspath(target))
        if any(absolute == Path(os.path.abspath(path)) for path in named):
            raise SettingsError(f"--json {target}: the command reads or writes it otherwise; choose another file")
        if isinstance(out, Path) and absolute.is_relative_to(os.path.abspath(out)) and target.suffix != ".json":
            raise SettingsError(f"--json {target}: lies in --out {out}; name it .json, or choose another place")
        if isinstance(out, Path) and absolute.parent == Path(os.path.abspath(out)) and is_record(target.name):
            raise SettingsError(f"--json {target}: the command keeps its own record there; choose another name")


def _in_utf8_mode() -> None:
    """Start again where the locale (LC_ALL=C) would misread the names of files; the console keeps its encoding."""
    if os.name == "posix" and codecs.lookup(sys.getfilesystemencoding()).name != "utf-8":
        encoding = getattr(sys.stdout, "encoding", None) or "ascii"
        environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONIOENCODING": f"{encoding}:backslashreplace"}
        os.execve(sys.executable, [sys.executable, "-m", "scantling", *sys.argv[1:]], environment)


def _open_streams() -> bool:
    """Give the process streams that take every text; returns whether standard output was closed."""
    closed = sys.stdout is None
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    return closed


def _say(sentence: str, code: int) -> int:
    with contextlib.suppress(BrokenPipeError):
        columns = shutil.get_terminal_size().columns if sys.stderr.isatty() else None
        sys.stderr.write(wrapped(" ".join(sentence.split()), columns) + "\n")
    return code


def _write(where: str, facts: Any) -> None:
    from scantling.core.atomic import named, to_json, write_text

    text = to_json(facts) + "\n"
    if where == "-":
        try:
            text.encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:
            text = json.dumps(json.loads(text), indent=2) + "\n"  # escaped as JSON, not as the stream would
        sys.stdout.write(text)
    else:
        write_text(named(where), text)


def _taken_out(argv: Sequence[str], kind: str) -> tuple[list[str], dict[str, Any]]:
    """Take `--KIND.NAME VALUE` out of a command line: names depend on the method, which is not yet known."""
    words: list[str] = []
    values: dict[str, Any] = {}
    rest, begin = iter(argv), f"--{kind}."
    for word in rest:
        if not word.startswith(begin):
            words.append(word)
            continue
        name, equals, value = word.removeprefix(begin).partition("=")
        if not equals:
            value = next(rest, "")
            if not value or value.startswith("--"):
                raise SettingsError(f"{begin}{name}: found no value; expected one after it")
        values[name.replace("-", "_")] = _value(value)
    return words, values


def _with_value(words: Sequence[str], flag: str, *, takes: Callable[[str], bool], value: str = "") -> list[str]:
    """`words` with a value after a flag whose value may be left out; `takes` tells what is one."""
    found: list[str] = []
    for place, word in enumerate(words):
        bare = word == flag and not any(takes(after) for after in words[place + 1 : place + 2])
        found.append(f"{flag}={value}" if bare else word)
    return found


def _value(text: str) -> Any:
    """A number, a list (`[32, 64]` or `32,64`), true, false or null where the text is one, else the text."""
    for form in (text, f"[{text}]"):
        with contextlib.suppress(ValueError):
            found = json.loads(form)
            if form is text or len(found) > 1:
                return found
    return text
