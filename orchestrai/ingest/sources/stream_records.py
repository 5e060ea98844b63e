"""Stream records as bytes: one form for the embedded log and for the archive kept beside raw events.

A record: partition u32 | offset u64 | timestamp i64 (microseconds since 1970, UTC) | key | value | count u16 of headers, each
name and value. Key, names and values are length i32 (-1 for null) and bytes. A file of them is a row of frames:
length u32 | first 8 bytes of SHA-256 over (index u64, record) | record. Everything is big-endian.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from orchestrai.errors import IntegrityError

FRAME = struct.Struct(">I8s")
# the header that names the dead letter a record was kept for, where its offset does not
LETTER = "letter"
MAX_RECORD_BYTES = 64 * 1024 * 1024
_PLACE = struct.Struct(">IQq")
_LENGTH = struct.Struct(">i")
_COUNT = struct.Struct(">H")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """One record of a stream, its bytes as the producer wrote them; `time` is the broker's timestamp."""

    partition: int
    offset: int
    time: datetime
    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def size(self) -> int:
        """Bytes of key and value."""
        return len(self.value or b"") + len(self.key or b"")


def encode_record(record: StreamRecord) -> bytes:
    """The record's bytes; equal records give equal bytes."""
    micros = (record.time - _EPOCH) // _MICROSECOND
    parts = [_PLACE.pack(record.partition, record.offset, micros), _packed(record.key), _packed(record.value)]
    parts.append(_COUNT.pack(len(record.headers)))
    for name, value in record.headers:
        parts += [_packed(name.encode("utf-8", "surrogateescape")), _packed(value)]
    return b"".join(parts)


def decode_record(body: bytes) -> StreamRecord:
    """Read a record back; raises IntegrityError."""
    try:
        partition, offset, micros = _PLACE.unpack_from(body)
        key, at = _unpacked(body, _PLACE.size)
        value, at = _unpacked(body, at)
        (count,) = _COUNT.unpack_from(body, at)
        at += _COUNT.size
        headers = []
        for _ in range(count):
            name, at = _unpacked(body, at)
            content, at = _unpacked(body, at)
            headers.append(((name or b"").decode("utf-8", "surrogateescape"), content))
    except (struct.error, OverflowError) as exc:
        raise IntegrityError(f"expected a stream record, found {len(body)} bytes that are none ({exc})") from exc
    if at != len(body):
        raise IntegrityError(f"expected a stream record of {at} bytes, found {len(body)}")
    return StreamRecord(partition, offset, _EPOCH + micros * _MICROSECOND, value, key, tuple(headers))


def _packed(data: bytes | None) -> bytes:
    return _LENGTH.pack(-1) if data is None else _LENGTH.pack(len(data)) + data


def _unpacked(body: bytes, at: int) -> tuple[bytes | None, int]:
    (length,) = _LENGTH.unpack_from(body, at)
    at += _LENGTH.size
    if length < 0:
        return None, at
    if at + length > len(body):
        raise IntegrityError(f"expected {length} bytes in a stream record, found {len(body) - at}")
    return body[at : at + length], at + length


def frame_digest(index: int, body: bytes) -> bytes:
    """What a frame carries to be found damaged, moved or replayed."""
    return sha256(index.to_bytes(8, "big") + body).digest()[:8]


def framed(index: int, body: bytes) -> bytes:
    """A record's bytes as they lie in a file."""
    return FRAME.pack(len(body), frame_digest(index, body)) + body


def write_archive(path: Path, records: Iterable[StreamRecord]) -> int:
    """Write records to a file of frames; returns their number."""
    count = 0
    with path.open("wb") as sink:
        for record in records:
            sink.write(framed(count, encode_record(record)))
            count += 1
    return count


def read_archive(path: Path) -> Iterator[StreamRecord]:
    """Yield the records of a file of frames; raises IntegrityError at the first damaged one."""
    index = 0
    with path.open("rb") as stream:
        while head := stream.read(FRAME.size):
            length, digest = FRAME.unpack(head) if len(head) == FRAME.size else (MAX_RECORD_BYTES + 1, b"")
            body = stream.read(length) if length <= MAX_RECORD_BYTES else b""
            if len(body) != length or frame_digest(index, body) != digest:
                raise IntegrityError(f"expected whole frames in {path.name}, found number {index} damaged: restore the file")
            yield decode_record(body)
            index += 1
