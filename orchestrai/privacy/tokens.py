"""Tokens in place of personal data, under one key per person: without the key a token leads to nobody.

Token = "tok_" + base64url(AES-SIV(key of the person, value, column)), RFC 5297: the same value of the same person has the same
token wherever it occurs, so that joins and versions hold, and the key turns it back. The column that names the person is sealed
under one fixed name, so that its token is equal in every dataset.
"""

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from orchestrai.errors import ConfigError, IntegrityError

if TYPE_CHECKING:
    import pyarrow as pa

PREFIX = "tok_"
PERSON = "person"
KEY_BYTES = 64


class TokenKeys(Protocol):
    """Where the keys of persons are."""

    def many(self, persons: Iterable[str]) -> dict[str, bytes | None]:
        """Each person's 64-byte key, made on first use and durable on return; None for a person who was erased."""
        ...


@dataclass(frozen=True)
class Tokenised:
    """A table without personal data; `erased_rows` of persons who were erased before are left out of it."""

    table: "pa.Table"
    erased_rows: int


def token(key: bytes, column: str, value: str) -> str:
    """The token of one value; `column` is PERSON for the value that names the person."""
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    # a leading byte, since AES-SIV takes no empty text
    sealed = AESSIV(key).encrypt(b"\x01" + value.encode(), [column.encode()])
    return PREFIX + base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def reveal(key: bytes, column: str, text: str) -> str:
    """The value behind a token; raises IntegrityError when the key is not this person's."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    try:
        if not text.startswith(PREFIX):
            raise ValueError("no token")
        sealed = base64.urlsafe_b64decode(text[len(PREFIX) :] + "=" * (-len(text[len(PREFIX) :]) % 4))
        return AESSIV(key).decrypt(sealed, [column.encode()])[1:].decode()
    except (InvalidTag, ValueError, binascii.Error) as exc:
        raise IntegrityError(
            f"expected a token of this person in {column}, found another: use the person's own key"
        ) from exc


def tokenise(table: "pa.Table", columns: Sequence[str], person: str, keys: TokenKeys) -> Tokenised:
    """Replace the values of `columns` by tokens under the key of the person that the column `person` names.

    Nulls stay null; where no person is named the other columns become null too, since no key could ever erase them. Rows of
    erased persons are left out. Raises ConfigError unless all are text columns of the table.
    """
    import pyarrow as pa

    for name in {person, *columns}:
        if name not in table.column_names or not _is_text(table.schema.field(name).type):
            kind = table.schema.field(name).type if name in table.column_names else "no such column"
            raise ConfigError(
                f"expected a text column {name} to tokenise, found {kind}: declare it as STRING in the contract"
            )
    persons: list[str | None] = table.column(person).to_pylist()
    known = keys.many(sorted({name for name in persons if name is not None}))
    keep = [name is None or known[name] is not None for name in persons]
    erased = keep.count(False)
    if erased:
        table = table.filter(pa.array(keep, pa.bool_()))
        persons = [name for name, kept in zip(persons, keep, strict=True) if kept]
    memory: dict[tuple[str, str, str], str] = {}

    def sealed(column: str, name: str | None, value: str | None) -> str | None:
        key = known[name] if name is not None else None
        if key is None or name is None or value is None:
            return None
        place = (column, name, value)
        if place not in memory:
            memory[place] = token(key, column, value)
        return memory[place]

    for column in dict.fromkeys((*columns, person)):
        under = PERSON if column == person else column
        values = [sealed(under, name, value) for name, value in zip(persons, table.column(column).to_pylist(), strict=True)]
        place = table.column_names.index(column)
        field = table.schema.field(column)
        table = table.set_column(place, field, pa.array(values, field.type))
    return Tokenised(table, erased)


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
