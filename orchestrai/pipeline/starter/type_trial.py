"""One column tried as one type by ingest's own conversions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrai.contracts.contract import Column, Contract
from orchestrai.ingest.conversions.convert import convert
from orchestrai.pipeline.starter.name_words import NULL_WORDS

if TYPE_CHECKING:
    import pyarrow as pa

# a column may have this share of values that are no numbers or times: they become dead letters, and are told
FEW = 0.002


def spread(landed: "pa.Array", size: int) -> "pa.Array":
    """Every n-th value."""
    import numpy as np

    return landed if len(landed) <= size else landed.take(np.arange(0, len(landed), -(-len(landed) // size)))


def is_other(some: "pa.Array", bad: Sequence[int]) -> bool:
    """Whether the values that do not fit are too many and too different to be words for nothing."""
    if not bad:
        return False
    texts = {text for text in some.take(list(bad)).to_pylist() if text.strip().lower() not in NULL_WORDS}
    return len(texts) > 3 and len(bad) > 10 * FEW * len(some)


def tried(
    name: str, told: str, landed: "pa.Array", *, unit: str = "", formats: Sequence[str] = ()
) -> "tuple[pa.Array, list[int]]":
    """A column as our conversions take it, with the rows that do not fit; each value is asked about once."""
    import numpy as np
    import pyarrow as pa

    encoded = landed.dictionary_encode() if len(landed) > 4_000 and pa.types.is_string(landed.type) else None
    if encoded is None or len(encoded.dictionary) > len(landed) // 2:
        return _converted(name, told, landed, unit, formats)
    typed, bad = _converted(name, told, encoded.dictionary, unit, formats)
    if not bad:
        return typed.take(encoded.indices), []
    rows = np.isin(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.array(bad))
    return typed.take(encoded.indices), np.flatnonzero(rows).tolist()


def _converted(name: str, told: str, landed: "pa.Array", unit: str, formats: Sequence[str]) -> "tuple[pa.Array, list[int]]":
    column = Column(name, told, name, unit=unit)  # type: ignore[arg-type]
    batch, misfits = convert(Contract("look", "1", (column,)), {name: landed}, len(landed), tuple(formats))
    return batch.column(0), [misfit.row for misfit in misfits]
