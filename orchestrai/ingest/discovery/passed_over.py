"""Names that are no data: what a producer has not finished writing, and what engines leave beside their output."""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from orchestrai.errors import ConfigError

_ENDING = re.compile(r"\*[^*?\[\]/]+")
# what tools call an object until it is whole, and names that hide: of a file, and (with a slash) of a folder
UNFINISHED: tuple[str, ...] = (
    "*.tmp",
    "*.temp",
    "*.part",
    "*.partial",
    "*.filepart",
    "*.crdownload",
    "*.inprogress",
    "*.swp",
    "*~",
    "*.crc",
    ".*",
    "_*",
    ".*/",
    "_*/",
)


def passed_over(key: str, patterns: Sequence[str] = UNFINISHED) -> str | None:
    """The first pattern by which a key is passed over, as a reason to show; None for data.

    A shell pattern is of the file's name; one that ends in a slash of any folder's name, one with a slash inside of the whole key.
    Upper and lower case are alike.
    """
    if not patterns or not _matcher(tuple(patterns))(key):
        return None
    first = next(pattern for pattern in patterns if _matcher((pattern,))(key))
    return f"passed over by the name {first}"


def check_patterns(patterns: Sequence[str]) -> None:
    """Raise ConfigError for a pattern that is none."""
    for pattern in patterns:
        try:
            _matcher((pattern,))
        except re.error as exc:
            raise ConfigError(f"expected a shell pattern such as *.tmp, found {pattern!r} ({exc}): correct it") from exc


@lru_cache(maxsize=256)
def _matcher(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    # most patterns are endings, which need no regular expression: every key of a listing passes here
    endings = tuple(pattern[1:].lower() for pattern in patterns if _ENDING.fullmatch(pattern))
    others = [pattern.lower() for pattern in patterns if not _ENDING.fullmatch(pattern)]
    segments = "|".join(_of_segment(pattern) for pattern in others if "/" not in pattern.removesuffix("/"))
    whole = "|".join(_of_key(pattern) for pattern in others if "/" in pattern.removesuffix("/"))
    expressions = [rf"(?<![^/])(?:{segments})"] if segments else []
    search = re.compile("|".join([*expressions, *([whole] if whole else [])]), re.DOTALL).search if others else None

    def matches(key: str) -> bool:
        lower = key.lower()
        return lower.endswith(endings) or (search is not None and search(lower) is not None)

    return matches


def _of_segment(pattern: str) -> str:
    return _translated(pattern.removesuffix("/"), "[^/]") + ("/" if pattern.endswith("/") else r"\Z")


def _of_key(pattern: str) -> str:
    return r"\A" + _translated(pattern, ".") + ("" if pattern.endswith("/") else r"\Z")


def _translated(pattern: str, one: str) -> str:
    parts = re.split(r"(\*|\?|\[!?[^]]+\])", pattern)
    return "".join(f"{one}*" if part == "*" else one if part == "?" else _letters(part) for part in parts)


def _letters(part: str) -> str:
    if not (part.startswith("[") and part.endswith("]") and len(part) > 2):
        return re.escape(part)
    inner = part[1:-1].replace("\\", r"\\")
    return f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
