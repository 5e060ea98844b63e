"""Masks tables by their plan, under a key and what a survey found; the same key and data give the same bytes."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from orchestrai.errors import ConfigError
from orchestrai.privacy.masking.keyed_values import MaskKey
from orchestrai.privacy.masking.mask_plan import WHOLE_NUMBERS, ColumnMask, MaskPlan
from orchestrai.privacy.masking.mask_survey import MaskSurvey
from orchestrai.privacy.masking.masked_column import Window, band_of, drawn, permuted, plain_values, typed_values

if TYPE_CHECKING:
    import pyarrow as pa


class Masker:
    """One export's. A band that fewer rows share than MaskSurvey tells becomes null, or the usual band where null is not allowed."""

    def __init__(self, key: MaskKey, survey: MaskSurvey) -> None:
        self.key, self.survey = key, survey
        self._told: dict[tuple[str, str], tuple[frozenset[Any], Any]] = {}

    @cached_property
    def _small(self) -> dict[int, int]:
        if not self.survey.small:
            return {}
        try:
            return self.key.small(self.survey.numbers)
        except ValueError as exc:
            raise ConfigError(f"tokens of INT columns: {exc}: declare them BIGINT") from exc

    def table(self, plan: MaskPlan, rows: "pa.Table", place: str, window: Window) -> "pa.Table":
        """Rows masked that have the plan's columns and no others; `place` names them within the dataset, for what is drawn."""
        import pyarrow as pa

        columns = [self._column(plan.dataset, column, rows.column(column.name), place, window) for column in plan.columns]
        return pa.table(columns, schema=pa.schema([pa.field(field.name, field.type) for field in rows.schema]))

    def _column(self, dataset: str, column: ColumnMask, values: "pa.ChunkedArray", place: str, window: Window) -> "pa.Array":
        array = values.combine_chunks()
        if column.method == "copy":
            return array
        if column.method == "synthetic":
            return self._drawn(dataset, column, array, place)
        encoded = array.dictionary_encode()
        found = plain_values(encoded.dictionary)
        return typed_values([self._value(dataset, column, value, window) for value in found], array.type).take(
            encoded.indices
        )

    def _drawn(self, dataset: str, column: ColumnMask, array: "pa.Array", place: str) -> "pa.Array":
        import pyarrow.compute as pc

        new = drawn(
            column,
            len(array),
            self.survey.edges.get((dataset, column.name)),
            lambda count: self.key.numbers(f"{dataset}\0{column.name}\0{place}", count),
        )
        return pc.if_else(array.is_valid(), typed_values(new, array.type), None)

    def _value(self, dataset: str, column: ColumnMask, value: Any, window: Window) -> Any:
        if value is None:
            return None
        if column.method == "permute":
            return permuted(column, value, window, self.key)
        if column.method == "band":
            told, usual = self._bands(dataset, column)
            band = band_of(column, value, window)
            return band if band in told else usual
        if column.type == "STRING":
            return self.key.text(value)
        assert column.type in WHOLE_NUMBERS
        return self._small[value] if self.survey.small else self.key.large(value)

    def _bands(self, dataset: str, column: ColumnMask) -> tuple[frozenset[Any], Any]:
        place = dataset, column.name
        if place not in self._told:
            # the event time has to lie in its partition, however few rows do
            told = frozenset(self.survey.bands.get(place, ())) if column.timed else self.survey.told(*place)
            self._told[place] = told, self.survey.usual(*place) if column.required else None
        return self._told[place]
