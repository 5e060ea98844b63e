"""What columns are for: their names in SQL, the key, whose rows they are, which are personal."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrai.pipeline.starter.column_guess import Guess
from orchestrai.pipeline.starter.name_words import ENTITIES, PERSONS, TAKEN

_PERSON = frozenset(PERSONS)
_PERSONAL_NAME = re.compile(
    r"(?:^|_)(e_?mail|mail|phone|mobile|cell|fax|first_?name|last_?name|full_?name|surname|sur_?name|given_?name|family_?name|"
    r"customer_?name|client_?name|user_?name|street|address|addr|ssn|social_security|passport|iban|birth\w*|dob|date_of_birth|"
    r"ip|ip_address|credit_card|card_number|licen[cs]e_plate|maiden\w*|passenger_?name)(?:_|$)"
)
_PERSONAL_VALUES = (
    ("an e-mail address", r"^[^@\s,;]+@[^@\s,;]+\.[A-Za-z]{2,}$"),
    ("a telephone number", r"^\+\d[\d ()/-]{7,18}$"),
    ("an IP address", r"^(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}$"),
    ("an IBAN", r"^[A-Z]{2}\d{2} ?([A-Z0-9]{4} ?){3,7}[A-Z0-9]{1,4}$"),
)


def sql_names(sources: Sequence[str]) -> dict[str, str]:
    """A plain name for each column: lower case, distinct, no word of SQL."""
    names: dict[str, str] = {}
    for place, source in enumerate(sources, start=1):
        plain = unicodedata.normalize("NFKD", source.replace("ß", "ss")).encode("ascii", "ignore").decode()
        plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", plain.strip())
        plain = re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")[:50]
        name = plain if plain[:1].isalpha() else f"c_{plain}".rstrip("_") if plain else f"c{place}"
        name = f"{name}_" if name in TAKEN else name
        stem, number = name, 2
        while name in names.values():
            name, number = f"{stem}_{number}", number + 1
        names[source] = name
    return names


def words(name: str) -> set[str]:
    """The words of a name."""
    return set(name.split("_"))


def personal_reason(guess: Guess, persons: bool) -> str:
    """Why a column holds personal data; nothing where nothing says so. `persons` where the rows are of persons."""
    import pyarrow.compute as pc

    if guess.type == "STRING" and guess.present:
        texts = guess.values.drop_null().slice(0, 2_000)
        for what, pattern in _PERSONAL_VALUES:
            if (pc.sum(pc.match_substring_regex(texts, pattern)).as_py() or 0) > 0.8 * len(texts):
                return f"values like {what}"
    match = _PERSONAL_NAME.search(guess.name)
    # yes and no say little of a person, whatever the column is called
    if match and not guess.numeric and guess.type != "BOOLEAN" and guess.distinct > 10:
        return f"its name ({match[1]})"
    if is_person(guess):
        return "it says which person a row is of"
    if persons and guess.name.strip("_") == "name" and guess.type == "STRING":
        return "its name, where rows are of persons"
    return ""


def is_person(guess: Guess) -> bool:
    """Whether a column says by its name which person a row is of."""
    named = words(guess.name)
    return bool(named & _PERSON) and bool(named & {"id", "no", "nr", "num", "number", "key", "uuid", "code"})


def unique(guess: Guess, rows: int) -> bool:
    """Whether every row has a value of its own."""
    return guess.present == rows and guess.distinct == rows and not guess.misfits


def key_column(guesses: Iterable[Guess], rows: int, whole: bool) -> Guess | None:
    """The column that tells rows apart, if one does: by its name and values, or the first that could."""
    able = [g for g in guesses if g.type in ("STRING", "BIGINT") and unique(g, rows) and rows > 1 and not g.derive]
    named = [g for g in able if re.search(r"(?:^|_)(id|uuid|guid|key|no|nr|number)$", g.name)]
    texts = [g for g in able if g.type == "STRING" and _short(g)]
    return next(iter(named or (texts if whole else [])), None)


def _short(guess: Guess) -> bool:
    import pyarrow.compute as pc

    return bool((pc.max(pc.utf8_length(guess.values)).as_py() or 0) <= 64)


@dataclass(frozen=True)
class Entity:
    """Whose rows they are: a column, and how sure that is."""

    guess: Guess
    sure: bool


def entity_column(guesses: Sequence[Guess], rows: int) -> Entity | None:
    """The column by which rows repeat: named like a person, a thing or a place, or a text that repeats."""
    able = [
        g
        for g in guesses
        if (g.type == "STRING" or (g.type == "BIGINT" and _named(g) < 9))
        and 1 < g.distinct <= 0.67 * max(g.present, 1)
        and g.present > 0.3 * rows
    ]
    named = sorted((g for g in able if _named(g) < 9), key=lambda g: (_named(g), -_coded(g), -g.distinct))
    if named:
        return Entity(named[0], _coded(named[0]) > 0)
    coded = [g for g in able if re.search(r"(?:^|_)(id|uuid|code|key)$", g.name)]
    texts = [g for g in able if g.type == "STRING" and g.present == rows and g.distinct <= 0.2 * rows]
    return next((Entity(g, False) for g in (*coded, *texts)), None)


def _named(guess: Guess) -> int:
    named = words(guess.name)
    return next((place for place, group in enumerate(ENTITIES) if named & set(group)), 9)


def _coded(guess: Guess) -> int:
    return int(bool(words(guess.name) & {"id", "no", "nr", "code", "key", "uuid", "number"}))
