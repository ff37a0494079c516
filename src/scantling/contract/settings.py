"""What a method can be told before it is trained."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, ConfigDict, ValidationError

from scantling.core.case import Frozen
from scantling.core.errors import SettingsError
from scantling.core.samples import Traits


def several(value: Any) -> Any:
    """One value as a tuple of one, and names that commas divide, without a space after them, which names may hold."""
    if isinstance(value, str):
        return tuple(re.split(r",(?! )", value))
    return (value,) if isinstance(value, int) else value


Names = Annotated[tuple[str, ...], BeforeValidator(several)]
"""Names as `a,b` or a list."""


class Settings(Frozen):
    """What a method can be told before it is trained; subclasses add fields with the paper's values as defaults.

    `presets` holds, by name, what differs from the defaults: `quick` for minutes on a laptop's processor, `tiny`
    for tests. `paper` is the defaults.
    """

    model_config = ConfigDict(allow_inf_nan=False)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    architecture: ClassVar[tuple[str, ...]] = ()
    """The settings that shape the network; `train --from` leaves them as in the run that gives the first weights."""

    @classmethod
    def preset(cls, name: str, changes: Mapping[str, Any] | None = None) -> Self:
        """The settings of a preset with `changes` on top.

        Raises:
            SettingsError: an unknown preset or setting, or a value out of range.
        """
        if name != "paper" and name not in cls.presets:
            known = ", ".join(["paper", *cls.presets])
            raise SettingsError(f"there is no preset {name!r}; there are: {known}")
        try:
            return cls.model_validate({**cls.presets.get(name, {}), **(changes or {})})
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise SettingsError(
                    f"--settings.{place}: there is no such setting; there are: {', '.join(cls.model_fields)}"
                ) from None
            several = "; write several values as 32,64" if first["type"] == "tuple_type" else ""
            raise SettingsError(f"--settings.{place}: found {first['input']!r}; {first['msg']}{several}") from None

    def resolve(self, traits: Traits) -> Self:
        """The settings with everything that depends on the data decided, as they are saved with the model.

        Raises:
            SettingsError: the settings do not suit the data.
        """
        del traits
        return self

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """Sentences for people on what `resolve` decided from the traits, and why; called on resolved settings."""
        del traits
        return ()
