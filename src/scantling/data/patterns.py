"""The patterns of a manifest: paths with fields, the texts that are filled in from them, and other ways to read one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

from scantling.core.errors import DataError
from scantling.data.contents import Finding, count, some


def compiled(pattern: str, where: str, *, greedy: bool | None = None) -> re.Pattern[str]:
    """The regular expression of a pattern: each `{field}` a text without "/", `*` any text without "/".

    Where several texts fit, the last field is the shortest and those before it are the longest.

    Args:
        greedy: True makes every field the longest that it can be, False the shortest.

    Raises:
        DataError: a field has no name, or braces do not match.
    """
    parts = re.split(r"(\{\w*\}|\*)", pattern)
    fields = list(dict.fromkeys(part[1:-1] for part in parts if part.startswith("{") and part.endswith("}")))
    expression, seen = "", set[str]()
    for part in parts:
        if part == "*":
            expression += "[^/]*"
        elif part.startswith("{") and part.endswith("}"):
            name = part[1:-1]
            if not name.isidentifier() or name == "path":
                raise DataError(f"{where}, key 'pattern': {part!r} is no field; expected a name such as {{subject}}")
            longest = name != fields[-1] if greedy is None else greedy
            expression += f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+{'' if longest else '?'})"
            seen.add(name)
        elif "{" in part or "}" in part:
            raise DataError(f"{where}, key 'pattern': the braces in {pattern!r} do not match")
        else:
            expression += re.escape(part)
    return re.compile(expression)


def filled(template: str, fields: Mapping[str, str], where: str) -> str:
    """`template` with its `{field}` filled in; as it is where there are no fields, since names may hold braces.

    Raises:
        DataError: there is no such field.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in fields:
            known = some((f"{{{name}}}" for name in fields), most=9) or "none"
            raise DataError(f"{where}: unknown field {{{match[1]}}} in {template!r}; the pattern has: {known}")
        return fields[match[1]]

    return re.sub(r"\{(\w+)\}", value, template) if fields else template


@dataclass
class Pattern:
    """A pattern of a manifest, and which of the paths that it matched could be read in another way.

    Attributes:
        text: the pattern.
        where: the manifest and the group, for messages.
        ambiguous: for each such path the fields as they are taken, and as they could be.
    """

    text: str
    where: str
    ambiguous: dict[str, tuple[dict[str, str], dict[str, str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Compile the ways to read it."""
        self._taken = compiled(self.text, self.where)
        self._others = [compiled(self.text, self.where, greedy=greedy) for greedy in (False, True)]

    def fields(self, path: str) -> dict[str, str] | None:
        """The fields of a path below the root; None where the pattern does not match."""
        path = unicodedata.normalize("NFC", path)
        if (match := self._taken.fullmatch(path)) is None:
            return None
        found = match.groupdict()
        others = (other.fullmatch(path) for other in self._others)
        if different := [one.groupdict() for one in others if one is not None and one.groupdict() != found]:
            self.ambiguous[path] = (found, different[0])
        return found

    def remarks(self) -> list[Finding]:
        """A warning where paths could be read in another way."""
        if not self.ambiguous:
            return []
        path, readings = next(iter(self.ambiguous.items()))
        taken, other = (", ".join(f"{name} {text!r}" for name, text in reading.items()) for reading in readings)
        sentence = (
            f"{self.where}, key 'pattern': {self.text!r} is ambiguous for {count(len(self.ambiguous), 'path')}: in "
            f"{path} it could be {other}; taken is {taken}, the last field being the shortest; if that is wrong, "
            "write more of the path into the pattern"
        )
        return [Finding(level="warning", kind="ambiguous pattern", sentence=sentence)]
