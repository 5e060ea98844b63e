"""What is to be masked, looked at once before anything is written: bands with their rows, numbers that get tokens, texts to search for.

Distinct values of masked columns are held in memory while an export runs.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrai.privacy.masking.mask_plan import WHOLE_NUMBERS, ColumnMask, MaskPlan
from orchestrai.privacy.masking.masked_column import Window, band_of, counted_values

if TYPE_CHECKING:
    import pyarrow as pa

# rows that must share a band for it to be told
LEAST_ROWS = 5
# what is found by a search for it, and not by chance: text of five characters, plain numbers of nine digits
LEAST_TEXT, LEAST_DIGITS = 5, 9
_PLAIN_NUMBER = re.compile(r"[\d.,+-]+")
WORDS = re.compile(r"[^\s,;:()<>\[\]{}\"'|]+")
# what ends a sentence or stands around a word is no part of it
_AROUND = ".!?…*_#~=`´'\u2018\u2019\u201a\u201c\u201d\u201e«»‹›¿¡/\\-\u2013\u2014"
# of longer texts so many words are looked for first
MOST_WORDS = 6


@dataclass
class MaskSurvey:
    """All datasets of one export: what each band has of rows, every whole number that gets a token, every text that a search is for."""

    bands: dict[tuple[str, str], Counter[Any]] = field(default_factory=dict)
    numbers: set[int] = field(default_factory=set)
    small: bool = False
    texts: set[str] = field(default_factory=set)
    telling: set[str] = field(default_factory=set)
    edges: dict[tuple[str, str], tuple[Any, Any]] = field(default_factory=dict)

    def look(self, plan: MaskPlan, table: "pa.Table", window: Window) -> None:
        """Take in some rows of a dataset; `window` is that of their partition."""
        for column in plan.columns:
            if column.method == "copy":
                continue
            known = counted_values(table.column(column.name))
            values = [value for value, _ in known]
            if column.method == "band":
                self._count(plan.dataset, column, known, window)
            elif column.method == "synthetic":
                self._edge(plan.dataset, column, values)
            elif column.type in WHOLE_NUMBERS:
                self.numbers.update(values)
                self.small = self.small or column.type == "INT"
            if column.type == "STRING" and column.method in ("token", "synthetic"):
                self.texts.update(values)
                if column.personal:
                    self.telling.update(telling_texts(values))
            elif column.personal and column.type in WHOLE_NUMBERS:
                self.telling.update(telling_texts(str(value) for value in values))

    def _count(self, dataset: str, column: ColumnMask, known: list[tuple[Any, int]], window: Window) -> None:
        rows = self.bands.setdefault((dataset, column.name), Counter())
        for value, count in known:
            band = band_of(column, value, window)
            if band is not None:
                rows[band] += count

    def _edge(self, dataset: str, column: ColumnMask, values: list[Any]) -> None:
        if column.type in ("STRING", "BOOLEAN"):
            return
        bands = [band for value in values if (band := band_of(column, value, None)) is not None]
        if bands:
            low, high = self.edges.get((dataset, column.name), (bands[0], bands[0]))
            self.edges[dataset, column.name] = (min(low, *bands), max(high, *bands))

    def told(self, dataset: str, column: str) -> frozenset[Any]:
        """The bands of a column that enough rows share."""
        return frozenset(band for band, rows in self.bands.get((dataset, column), {}).items() if rows >= LEAST_ROWS)

    def usual(self, dataset: str, column: str) -> Any:
        """The band that most rows of a column have, of equal ones the least; None where there is none."""
        rows = self.bands.get((dataset, column))
        return min(rows, key=lambda band: (-rows[band], band)) if rows else None


def words_of(text: str) -> list[str]:
    """A text as it is compared, word by word: without case and what stands around words."""
    return [word for found in WORDS.findall(text) if (word := found.strip(_AROUND).casefold())]


def telling_texts(values: Any) -> set[str]:
    """Those of some texts that a search can be for, as they are compared: word by word."""
    found = set()
    for value in values:
        text = " ".join(words_of(value))
        least = LEAST_DIGITS if _PLAIN_NUMBER.fullmatch(text) else LEAST_TEXT
        if len(text) >= least:
            found.add(text)
    return found
