"""Who is meant by what a person typed: the spelling that the data knows, and others that it knows too."""

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from orchestrai.privacy.persons import PersonKeys

# what `canonical` of a contract may have made of a value, or left as it was: 17850.0, 17850, blanks around
_WHOLE = re.compile(r"([+-]?\d+)(?:\.0+)?")


class Spelling(NamedTuple):
    """`person` as the data writes it; `known` where somebody of that name has or had a key; `others` are near ones that have."""

    person: str
    known: bool
    others: tuple[str, ...]


def spelling_of(keys: PersonKeys, text: str) -> Spelling:
    """The spelling of a person that the key store knows: as it was typed, else the one canonical form of it that is known.

    Forms that differ by more than a contract's canonical form (case, Unicode composition) are named and never taken for the same.
    """

    def known(name: str) -> bool:
        return keys.peek(name) is not None or keys.is_erased(name)

    near = [name for name in dict.fromkeys(_variants(text)) if name != text and known(name)]
    if known(text):
        return Spelling(text, True, tuple(near))
    same = [name for name in near if name in set(_canonical(text))]
    if len(same) == 1:
        return Spelling(same[0], True, tuple(name for name in near if name != same[0]))
    return Spelling(text, False, tuple(near))


def _canonical(text: str) -> Iterator[str]:
    trimmed = text.strip()
    yield trimmed
    whole = _WHOLE.fullmatch(trimmed)
    if whole is not None:
        yield whole[1]
        yield f"{whole[1]}.0"


def _variants(text: str) -> Iterator[str]:
    for name in _canonical(text):
        yield name
        yield from (name.lower(), name.upper(), name.title())
        yield from (unicodedata.normalize(form, name) for form in ("NFC", "NFD", "NFKC"))
        if name.lstrip("0") and name.isdigit():
            yield name.lstrip("0")
