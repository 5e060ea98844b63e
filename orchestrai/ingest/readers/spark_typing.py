"""Typing on Spark: the objects of a large partition in parallel, each part by the code that types it here, so of the same bytes.

Executors read the originals from the lake and write their parts to it; what comes back are counts, hashes and refused rows. They need
orchestrai installed and the lake within reach.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrai.errors import DigestMismatch, UnreadableObject
from orchestrai.ingest.readers.compression import unpacked
from orchestrai.ingest.readers.object_reader import SMALL_BYTES, ObjectOutcome, Typing, large_part
from orchestrai.ingest.readers.part_files import PartWriter
from orchestrai.ingest.readers.rejects import Mark, Refused
from orchestrai.project.in_force import connections, receive_connections
from orchestrai.storage.base import CHUNK_BYTES, Store
from orchestrai.storage.url import open_store
from orchestrai.storage.zstd_stream import expanded_stream

if TYPE_CHECKING:
    import pyarrow as pa

_SCHEMA = "number int, body string"


@dataclass(frozen=True)
class Original:
    """One landed object in the lake; `index` is its place among the arrivals of its partition, `name` its key in the landing.

    One that lies compressed has its length when it landed as `packed`, any other has -1.
    """

    index: int
    key: str
    name: str
    size: int
    sha256: str
    packed: int = -1

    def chunks(self, lake: Store) -> Iterator[bytes]:
        """Its bytes as they landed."""
        return lake.stream(self.key) if self.packed < 0 else expanded_stream(lake, self.key, most=self.packed)


@dataclass(frozen=True)
class Part:
    """A part that an executor wrote, and what became of the objects in it."""

    key: str
    size: int
    rows: int
    sha256: str
    outcomes: tuple[tuple[int, ObjectOutcome], ...]


def grouped(originals: Sequence[Original]) -> list[list[Original]]:
    """Which objects share a part: small neighbours do, a large one has its own. `size` is that of the unpacked object."""
    groups: list[list[Original]] = []
    growing = False
    for original in originals:
        large = original.size > SMALL_BYTES
        if growing and not large:
            groups[-1].append(original)
        else:
            groups.append([original])
        growing = not large
    return groups


def type_on_spark(
    spark: Any, lake_url: str, typing: Typing, groups: Sequence[Sequence[Original]], keys: Sequence[str]
) -> list[Part]:
    """Type groups of objects into parts under `keys`, in the groups' order; a part without an object that can be read has no rows
    and no key. Raises what Spark raises when a task fails for good.
    """
    if not groups:
        return []
    rows = [
        (number, json.dumps({"key": key, "objects": [asdict(original) for original in group]}))
        for number, (group, key) in enumerate(zip(groups, keys, strict=True))
    ]
    frame = spark.createDataFrame(rows, _SCHEMA).repartition(len(rows))
    results = frame.mapInArrow(partial(_task, lake_url, typing, connections().text()), _SCHEMA).collect()
    return [_part(json.loads(row["body"])) for row in sorted(results, key=lambda row: row["number"])]


def _task(lake_url: str, typing: Typing, sent: str, batches: Iterator["pa.RecordBatch"]) -> Iterator["pa.RecordBatch"]:
    import pyarrow as pa

    receive_connections(sent)
    for batch in batches:
        for number, body in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
            document = json.loads(body)
            done = typed_group(lake_url, typing, [Original(**one) for one in document["objects"]], document["key"])
            yield pa.RecordBatch.from_arrays(
                [pa.array([number], pa.int32()), pa.array([json.dumps(done)], pa.string())], ["number", "body"]
            )


def typed_group(lake_url: str, typing: Typing, originals: Sequence[Original], key: str) -> dict[str, Any]:
    """Type the objects of one part and write it to the lake; what `_part` reads."""
    lake = open_store(lake_url)
    outcomes: list[tuple[int, ObjectOutcome]] = []
    with tempfile.TemporaryDirectory(prefix="orchestrai-spark-") as folder:
        writer: PartWriter | None = None
        for original in originals:
            outcome = ObjectOutcome()
            outcomes.append((original.index, outcome))
            path = Path(folder) / f"{original.index:06d}{Path(original.name).suffix}"
            came = sha256()
            with path.open("wb") as sink:
                for chunk in original.chunks(lake):
                    came.update(chunk)
                    sink.write(chunk)
            if came.hexdigest() != original.sha256:
                raise DigestMismatch(
                    f"expected {original.key} as it was taken, found other bytes: have the producer send it again",
                    key=original.key,
                )
            try:
                path = unpacked(path, typing.source.max_object_bytes, path.with_name(path.name + ".unpacked"))
                if path.stat().st_size > SMALL_BYTES:
                    writer = large_part(typing, path, outcome, Path(folder) / "part", name=original.name)
                else:
                    writer = writer or PartWriter(Path(folder) / "part", typing.contract.arrow_schema())
                    for batch in typing.batches(path, outcome, original.name):
                        writer.write(batch)
            except UnreadableObject as exc:
                outcome.unreadable = exc.message
            path.unlink()
        entries = [[index, asdict(outcome)] for index, outcome in outcomes]
        if writer is None:
            return {"key": "", "size": 0, "rows": 0, "sha256": "", "outcomes": entries}
        writer.close()
        digest = sha256()

        def chunks() -> Iterator[bytes]:
            with writer.path.open("rb") as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    digest.update(chunk)
                    yield chunk

        info = lake.write(key, chunks())
        return {"key": key, "size": info.size, "rows": writer.rows, "sha256": digest.hexdigest(), "outcomes": entries}


def _part(document: dict[str, Any]) -> Part:
    outcomes = []
    for index, outcome in document["outcomes"]:
        refused = [Refused(**{**one, "mark": Mark(**one["mark"])}) for one in outcome["refused"]]
        changed = {"refused": refused, "missing": tuple(outcome["missing"]), "extra": tuple(outcome["extra"])}
        outcomes.append((index, ObjectOutcome(**{**outcome, **changed})))
    return Part(document["key"], document["size"], document["rows"], document["sha256"], tuple(outcomes))
