"""Records of a stream as rows, all at once: where each is one JSON object that is as declared, and else not at all.

The records become the lines of one text, and Arrow reads it where it is proven to hold one object a line (json_blocks.py), as it reads
objects. One record that is not in order, or one value that does not fit, and the batch is read record by record, so that each refusal
says what it would say of a single record.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrai.contracts.contract import Contract
from orchestrai.core.time.local_clock import LocalClock
from orchestrai.ingest.conversions.convert import convert
from orchestrai.ingest.readers.chunks import Untidy
from orchestrai.ingest.readers.json import arrow_chunks
from orchestrai.ingest.readers.object_reader import without_doubt

if TYPE_CHECKING:
    import pyarrow as pa

# below it, setting up Arrow's reader costs more than the rows
FEWEST = 64
LIMIT = 1024 * 1024


def quick_rows(
    contract: Contract, values: Sequence[bytes | None], clock: LocalClock | None
) -> "list[pa.RecordBatch] | None":
    """The typed rows of records, one each and in order; None where they are to be read one by one."""
    if len(values) < FEWEST or None in values:
        return None
    text = b"\n".join(value for value in values if value is not None)
    if text.count(b"\n") != len(values) - 1:
        return None
    rows = []
    with tempfile.NamedTemporaryFile(prefix="orchestrai-records-") as file:
        file.write(text)
        file.flush()
        try:
            for chunk in without_doubt(contract, arrow_chunks(contract, Path(file.name), LIMIT)):
                batch, misfits = convert(contract, chunk.arrays, chunk.rows, clock=clock)
                if misfits:
                    return None
                rows.append(batch)
        except Untidy:
            return None
    return rows if sum(batch.num_rows for batch in rows) == len(values) else None
