"""Numbers written with the marks of a country, `1.234,56` for one, as everything behind the reader writes them."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrai.ingest.spec import SourceSpec

if TYPE_CHECKING:
    import pyarrow as pa

_NUMBERS = ("BIGINT", "INT", "DOUBLE", "DECIMAL")


@dataclass(frozen=True)
class NumberMarks:
    """The declared decimal and thousands marks."""

    decimal: str
    thousands: str

    @classmethod
    def of(cls, source: SourceSpec) -> "NumberMarks | None":
        """The marks of a source; None when numbers are written in it as they are here."""
        return None if source.decimal == "." and not source.thousands else cls(source.decimal, source.thousands)

    def concern(self, kind: str) -> bool:
        """Whether a column of this type holds numbers."""
        return kind.startswith(_NUMBERS)

    def plain(self, texts: "pa.Array") -> tuple["pa.Array", list[int]]:
        """The texts with a point and no groups, and the rows whose text is no number with these marks."""
        import pyarrow.compute as pc

        matches = pc.match_substring_regex(texts, self._pattern())
        wrong = pc.indices_nonzero(pc.invert(pc.fill_null(matches, True))).to_pylist()
        if self.thousands:
            texts = pc.replace_substring(texts, self.thousands, "")
        if self.decimal != ".":
            texts = pc.replace_substring(texts, self.decimal, ".")
        return texts, wrong

    def reason(self, kind: str, text: str) -> str:
        """Why a text was refused."""
        shown = repr(text) if len(text) <= 70 else repr(text[:67]) + "..."
        groups = f" and groups of three by {self.thousands!r}" if self.thousands else ""
        return f"expected {kind} with the decimal mark {self.decimal!r}{groups}, found {shown}"

    def _pattern(self) -> str:
        point = re.escape(self.decimal)
        whole = rf"\d{{1,3}}(?:{re.escape(self.thousands)}\d{{3}})+|\d+" if self.thousands else r"\d+"
        return rf"^\s*[+-]?(?:(?:{whole})(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?\s*$"
