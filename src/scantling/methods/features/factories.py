"""Networks of the user by the name of what makes them, `module:factory`; a model from somebody else runs none."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import entry_points

from torch import nn

from scantling.core.errors import SettingsError

GROUP = "scantling.encoders"
"""The entry points by which packages announce factories that models may name."""
KNOWN = ("torchvision.models", "timm.models", "monai.networks.nets")
"""Modules whose networks models may name without that."""
FLAG = "--settings.features"

_NAMED: set[str] = set()
"""The factories that the user has named in this process."""


def name_factory(name: str, *, flag: str = FLAG, others: str = "") -> None:
    """Remember that the user has named a factory, which may then be called.

    Args:
        flag: what named it, for errors.
        others: what else that may name, for errors; ends in a comma and a blank.

    Raises:
        SettingsError: it is not written as `module:factory`.
    """
    module, colon, factory = name.partition(":")
    if not (module and colon and factory):
        raise SettingsError(
            f"{flag} {name}: expected {others}{'or ' if others else ''}MODULE:FACTORY, what makes a network of yours"
        )
    _NAMED.add(name)


def made_by(name: str, *, flag: str = FLAG) -> nn.Module:
    """The network that a factory makes when it is called without arguments.

    Args:
        flag: what named it, for errors.

    Raises:
        SettingsError: nobody has named it but the file of a model, it cannot be imported, or it makes no network.
    """
    module, _, factory = name.partition(":")
    announced = name in _NAMED or any(point.value == name for point in entry_points(group=GROUP))
    if not announced and not any(module == known or module.startswith(f"{known}.") for known in KNOWN):
        raise SettingsError(
            f"the model is built on {name}, which is not run only because the file of a model says so; "
            f"announce it as an entry point of the group {GROUP}, in a package of yours"
        )
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise SettingsError(f"{flag} {name}: {module} is of Python itself and makes no network")
    try:
        made = getattr(importlib.import_module(module), factory)()
    except Exception as error:  # whatever goes wrong in code that is not ours
        first = (str(error).splitlines() or [""])[0]
        raise SettingsError(f"{flag} {name}: cannot be made ({type(error).__name__}: {first})") from None
    if not isinstance(made, nn.Module):
        raise SettingsError(f"{flag} {name}: it makes a {type(made).__name__}, expected a torch Module")
    return made
