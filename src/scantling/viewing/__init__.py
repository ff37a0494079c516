"""The room of the local server: cases in the browser, and corrections that come back from it."""

from scantling.core.rooms import load_on_demand

load_on_demand(
    __name__,
    {
        "server": ("CaseServer", "serve"),
        "shown": ("Entry", "Shown"),
        "opened": ("open_shown", "open_correctable"),
        "corrections": ("Corrections",),
    },
)
