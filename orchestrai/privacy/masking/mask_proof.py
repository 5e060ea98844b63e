"""The proof over what was written: it is read back, and held against what the survey knows of the originals.

- token: no cell is an original text or number of a masked column, and there are as many tokens as originals;
- band: each cell is its own band, and enough rows share it;
- synthetic text: no cell is an original;
- copied text: no cell holds a personal value, whole or as words in it, without case. Plain numbers under nine digits and texts under five
  characters are not searched for: they stand in other columns by chance.
"""

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from orchestrai.errors import IntegrityError
from orchestrai.privacy.masking.mask_plan import WHOLE_NUMBERS, ColumnMask, MaskPlan
from orchestrai.privacy.masking.mask_survey import LEAST_ROWS, MOST_WORDS, MaskSurvey, words_of
from orchestrai.privacy.masking.masked_column import Window, band_of, counted_values

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class MaskProof:
    """Takes in written rows, then says what was looked at; what it finds is named by column and never by value."""

    survey: MaskSurvey
    found: Counter[tuple[str, str]] = field(default_factory=Counter)
    bands: dict[tuple[str, str], Counter[Any]] = field(default_factory=dict)
    required: set[tuple[str, str]] = field(default_factory=set)
    cells: int = 0

    def look(self, plan: MaskPlan, table: "pa.Table", window: Window) -> None:
        """Take in some rows that were written."""
        for column in plan.columns:
            known = counted_values(table.column(column.name))
            self.cells += sum(count for _, count in known)
            bad = sum(count for value, count in known if self._tells(column, value, window))
            if bad:
                self.found[plan.dataset, column.name] += bad
            if column.method == "band" and not column.timed:
                rows = self.bands.setdefault((plan.dataset, column.name), Counter())
                rows.update(dict(known))
                if column.required:
                    self.required.add((plan.dataset, column.name))

    def _tells(self, column: ColumnMask, value: Any, window: Window) -> bool:
        if column.method == "band":
            return bool(band_of(column, value, window) != value)
        if column.type == "STRING":
            return value in self.survey.texts if column.method != "copy" else self._holds(value)
        return column.method == "token" and column.type in WHOLE_NUMBERS and value in self.survey.numbers

    def _holds(self, text: str) -> bool:
        words = words_of(text)
        telling = self.survey.telling
        for first in range(len(words)):
            few = range(first + 1, min(first + MOST_WORDS, len(words)) + 1)
            many = (first + length for length in self._longer.get(" ".join(words[first : first + MOST_WORDS]), ()))
            if any(" ".join(words[first:last]) in telling for last in (*few, *many)):
                return True
        return False

    @cached_property
    def _longer(self) -> dict[str, set[int]]:
        """How many words the longer texts have that are searched for, by their first words."""
        found: dict[str, set[int]] = {}
        for text in self.survey.telling:
            words = text.split(" ")
            if len(words) > MOST_WORDS:
                found.setdefault(" ".join(words[:MOST_WORDS]), set()).add(len(words))
        return found

    def verdict(self) -> dict[str, int]:
        """What was looked at, for the record; raises IntegrityError where an original value was found, or a band of too few rows."""
        for place, rows in self.bands.items():
            few = sum(count for count in rows.values() if count < LEAST_ROWS)
            # a column that allows no null and has no band of enough rows has one band alone
            if few and not (place in self.required and len(rows) == 1):
                self.found[place] += few
        if self.found:
            places = ", ".join(
                f"{dataset}.{column} ({count:,} cells)" for (dataset, column), count in sorted(self.found.items())
            )
            raise IntegrityError(
                f"expected no original value of a person in the copy, found some in {places}: nothing was written; have those columns "
                "masked (--as DATASET.COLUMN=token), or generalise the personal column whose values are common words"
            )
        return {
            "cells": self.cells,
            "texts": len(self.survey.texts),
            "numbers": len(self.survey.numbers),
            "searched_for": len(self.survey.telling),
        }
