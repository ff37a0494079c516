"""The systems that docs/tried-on-paper.md writes down are said in names that the contract has."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scantling.contract.capabilities import CAPABILITIES
from scantling.contract.card import Card
from scantling.contract.step import Inference, Step
from scantling.core.fields import FIELDS
from scantling.core.samples import Batch, Traits

PAGE = Path(__file__).resolve().parents[1] / "docs" / "tried-on-paper.md"
BLOCKS = re.findall(r"^## (.+?)$.*?^```py\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
COMMON = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text().partition("\n## ")[0], re.MULTILINE | re.DOTALL)[0]

ONE_BATCH = re.compile(r"batch\['\w+'\]|batch\.values\(\)|\w+\.companions\['\w+'\]")
"""Expressions whose value is one `Batch`, or which are unpacked into one."""

PENDING = set[str]()
"""What the page uses and the code does not have yet; a name that has come is taken out of this list."""


def imported(tree: ast.Module) -> tuple[dict[str, Any], set[str]]:
    """What a block imports from the package by name, and what of it does not exist."""
    found, missing = dict[str, Any](), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "scantling":
            module = importlib.import_module(node.module or "")
            for name in (each.name for each in node.names):
                if hasattr(module, name):
                    found[name] = getattr(module, name)
                else:
                    missing.add(f"{node.module}.{name}")
    return found, missing


def unknown_arguments(tree: ast.Module, known: dict[str, Any]) -> Iterator[str]:
    """Keyword arguments that a class or function of the package does not take, those in `**name` included."""
    literals = {ast.unparse(node): node for node in ast.walk(tree) if isinstance(node, ast.Dict)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            literals[ast.unparse(node.targets[0])] = node.value
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in known):
            continue
        signature = inspect.signature(known[node.func.id])
        spread = [ast.unparse(word.value) for word in node.keywords if word.arg is None]
        words = [word.arg for word in node.keywords if word.arg]
        words += [key.value for name in spread if name in literals for key in literals[name].keys]  # type: ignore[union-attr]
        yield from (f"{node.func.id}.{word}" for word in words if word not in signature.parameters)
        signature.bind_partial(*node.args)  # no more positional arguments than it takes


def unknown_attributes(tree: ast.Module, known: dict[str, Any]) -> Iterator[str]:
    """Attributes of steps, answers, batches, traits and classes of the package that they do not have."""
    kinds: dict[str, type] = {"step": Step, "inference": Inference, "self.traits": Traits, **known}
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        arguments = {argument.arg for argument in function.args.args}
        mappings = set[str]()
        batches = {"fixed", "moving"} if function.name == "register" else {"given"} & arguments
        batches |= {"batch"} & arguments if "step" not in arguments else set()
        for node in ast.walk(function):
            if isinstance(node, ast.Assign):
                batches |= {name for name, value in assigned(node) if ONE_BATCH.fullmatch(value)}
                mappings |= {name for name, value in assigned(node) if value.endswith(".companions")}
        for node in ast.walk(function):
            if not isinstance(node, ast.Attribute):
                continue
            owner = ast.unparse(node.value)
            one = owner in batches or ONE_BATCH.fullmatch(owner) or owner.partition("[")[0] in mappings
            kind = Batch if one else kinds.get(owner)
            if isinstance(kind, type) and node.attr not in attributes(kind):
                yield f"{kind.__name__}.{node.attr}"


def assigned(node: ast.Assign) -> Iterator[tuple[str, str]]:
    """Names and the expressions that they stand for, of `a = x`, `a, b = x, y` and `(a,) = x`."""
    target, value = node.targets[0], node.value
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        yield from ((ast.unparse(a), ast.unparse(b)) for a, b in zip(target.elts, value.elts, strict=True))
    else:
        yield ast.unparse(target).strip("(),"), ast.unparse(value)


def attributes(kind: type) -> set[str]:
    """What instances of a class have by its definition; unlike `hasattr`, without what its metaclass has."""
    named = {each.name for each in fields(kind)} if is_dataclass(kind) else {*getattr(kind, "model_fields", ())}
    return named | {name for parent in kind.__mro__ for name in vars(parent)}


def unknown_words(tree: ast.Module) -> Iterator[str]:
    """Words for what cases hold that no card, stream or case knows, fields that the block prepares aside."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    prepared = {
        word.value
        for call in calls
        if ast.unparse(call.func) == "Prepared"
        for word in ast.walk(call)
        if isinstance(word, ast.Constant)
    }
    for call in calls:
        if ast.unparse(call.func) in {"Card", "Stream"}:
            for keyword in call.keywords:
                if keyword.arg in {"needs", "asks", "reads", "wants", "without"}:
                    said = [each.value for each in ast.walk(keyword.value) if isinstance(each, ast.Constant)]
                    yield from (f"need {word}" for word in said if word not in {*FIELDS, *prepared})


def test_the_page_uses_no_name_that_the_contract_lacks_but_those_that_are_still_built() -> None:
    common = ast.parse(COMMON)
    shared, missing = imported(common)
    for _, code in BLOCKS:
        tree = ast.parse(code)
        own, absent = imported(tree)
        known = shared | own
        missing |= absent
        missing |= {*unknown_arguments(tree, known), *unknown_attributes(tree, known), *unknown_words(tree)}
    assert missing == PENDING


@pytest.mark.parametrize(("title", "code"), [pytest.param(*each, id=each[0]) for each in BLOCKS])
def test_a_system_on_paper_is_valid_and_answers_as_its_card_and_the_contract_say(title: str, code: str) -> None:
    compile(code, title, "exec")
    tree = ast.parse(code)
    cards = [node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "card"]
    if not cards:
        assert title == "Does synthetic data help"
        return
    card = partial(Card, title="", authors="", year=0, implementation="")
    made = eval(ast.unparse(cards[0].value), {"Card": card})
    (method,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and ast.unparse(node.bases[0]) in BASES)
    assert [ast.unparse(base) for base in method.bases] == [CAPABILITIES[given].__name__ for given in made.gives]
    for function in (node for node in method.body if isinstance(node, ast.FunctionDef)):
        named = [argument.arg for argument in function.args.args if argument.arg != "cls"]
        # not hasattr: every abstract class has a `register` from its metaclass
        owners = [kind for kind in map(CAPABILITIES.get, made.gives) if function.name in attributes(kind)]
        if owners and not function.decorator_list:
            assert named == [*inspect.signature(getattr(owners[0], function.name)).parameters], function.name
        elif not owners and not function.name.startswith("_"):
            assert named == ["self", "batch", "step"], function.name
    lines = re.findall(r"^scantling train (\S+)", PAGE.read_text().partition(f"\n## {title}\n")[2], re.MULTILINE)
    assert made.name in lines


BASES = {kind.__name__ for kind in CAPABILITIES.values()}


def test_every_row_of_the_table_that_names_a_section_leads_to_one() -> None:
    linked = re.findall(r"^\| \[.+?\]\(#(.+?)\)", PAGE.read_text(), re.MULTILINE)
    assert linked == [title.lower().replace(" ", "-") for title, _ in BLOCKS]
