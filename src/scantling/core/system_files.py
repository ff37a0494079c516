"""Files that systems leave in folders and that nobody put there."""

from __future__ import annotations

_SYSTEM = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"),
    *("system volume information", "icon\r"),
}


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden (`.DS_Store`, `._x.png`) or a system's own (`Thumbs.db`)."""
    return name.startswith(".") or name.lower() in _SYSTEM
