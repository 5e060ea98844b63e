"""How the CSV objects of a source are written: the part of a declaration that only CSV has, RFC 4180 where nothing is said."""

import codecs
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from orchestrai.core.yaml.declaration import Declaration

OneCharacter = Annotated[str, Field(min_length=1, max_length=1)]
OneOrNone = Annotated[str, Field(max_length=1)]
# the bytes of a character depend on what came before it, or are no text
_STATEFUL = ("utf_7", "utf-7", "hz", "iso2022", "unicode_escape", "raw_unicode_escape", "unicode-escape", "punycode", "idna")
_NEW = ("escape", "double_quote", "decimal", "thousands", "skip_lines", "footer_lines", "comment")


class CsvDialect(Declaration):
    """How a CSV object is written.

    Without a word it is RFC 4180 in UTF-8: fields between commas, a field with a comma, a quote or a line end in it between double
    quotes, a quote within it doubled, a header first. Lines may end in LF, CRLF or CR.
    """

    delimiter: Annotated[OneCharacter, Field(description="what stands between two fields")] = ","
    quote: Annotated[
        OneOrNone, Field(description="what stands around a field; empty: quotes are characters like others")
    ] = '"'
    double_quote: Annotated[bool, Field(description="whether two quotes within a quoted field mean one")] = True
    escape: Annotated[
        OneOrNone, Field(description="takes the meaning from the character behind it, within quotes and without them")
    ] = ""
    encoding: Annotated[
        str, Field(description="Python's name of it, such as latin-1, cp1252, utf-16 (by its mark), utf-16-le, utf-16-be")
    ] = "utf-8"
    decimal: Annotated[OneCharacter, Field(description="decimal mark of the columns of numbers")] = "."
    thousands: Annotated[OneOrNone, Field(description="mark between groups of three digits in the columns of numbers")] = ""
    skip_lines: Annotated[
        int, Field(ge=0, le=10_000, description="lines before the header, or the data, that are no CSV")
    ] = 0
    footer_lines: Annotated[
        int, Field(ge=0, le=1_000, description="last lines, empty ones not counted, that are no data")
    ] = 0
    comment: Annotated[str, Field(max_length=8, description="a line that begins so, and not within quotes, is left out")] = (
        ""
    )
    null_values: Annotated[
        tuple[str, ...],
        Field(description="fields that mean null, quoted or not; with an escape also as written, such as \\N"),
    ] = ("",)
    header: Annotated[bool, Field(description="whether the first record names the fields")] = True
    columns: Annotated[tuple[str, ...], Field(description="names of the fields where there is no header")] = ()
    skip_leading_column: Annotated[
        bool, Field(description="drop an unnamed first field, in objects whose rows have one field more than the header")
    ] = False

    @property
    def codec(self) -> str:
        """The encoding by the name that Python gives it."""
        name = codecs.lookup(self.encoding).name
        return "utf-8" if name == "utf-8-sig" else name

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            info: Any = codecs.lookup(value)
            known = (
                info._is_text_encoding and not info.name.startswith(_STATEFUL) and "\n,".encode(value).decode(value) == "\n,"
            )
        except (LookupError, UnicodeError):
            known = False
        if not known:
            raise ValueError(f"expected an encoding of text, such as utf-8, utf-16 or latin-1, found {value!r}")
        return value

    @model_validator(mode="after")
    def _can_be_told_apart(self) -> "CsvDialect":
        marks = {"delimiter": self.delimiter, "quote": self.quote, "escape": self.escape}
        for name, mark in {**marks, "decimal": self.decimal, "thousands": self.thousands}.items():
            if mark in ("\n", "\r", "\ufeff"):
                raise ValueError(f"expected a {name} other than a line end or a byte order mark, found {mark!r}")
        used = [mark for mark in marks.values() if mark]
        if len(set(used)) < len(used):
            raise ValueError(f"expected delimiter, quote and escape to differ, found {', '.join(map(repr, used))}")
        if self.decimal == self.thousands or any(mark.isalnum() or mark in "+-" for mark in self.decimal + self.thousands):
            raise ValueError(f"expected two marks that are in no number, found {self.decimal!r} and {self.thousands!r}")
        if self.comment and (
            self.comment != self.comment.strip("\r\n\ufeff") or self.comment[0] in (self.quote, self.delimiter)
        ):
            raise ValueError(f"expected a comment that begins no record, found {self.comment!r}")
        if self.columns and self.header:
            raise ValueError(
                "expected header: false beside columns, found a header that names them too: leave one of them out"
            )
        return self

    def foreign(self) -> list[str]:
        """The fields that were declared and mean nothing to a format other than CSV."""
        names = [name for name in _NEW if getattr(self, name) != type(self).model_fields[name].default]
        # lines of JSON are found before they are decoded
        return [*names, "encoding"] if "\n,".encode(self.encoding) != b"\n," else names
