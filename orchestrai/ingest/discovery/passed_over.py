"""Names that are no data: what engines leave beside their output, and what a producer hides until it is done."""

import re

_HIDDEN = re.compile(r"(?:^|/)[._]")


def passed_over(key: str) -> str | None:
    """Why a key is passed over by its name, as a reason to show; None for data."""
    return "a name that hides: it, or a folder of it, begins with a dot or an underscore" if _HIDDEN.search(key) else None
