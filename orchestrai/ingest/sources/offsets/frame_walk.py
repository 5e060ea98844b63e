"""Walking over the frames of a segment, and telling a torn end from damage."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from orchestrai.ingest.sources.stream_records import FRAME, MAX_RECORD_BYTES, frame_digest


@dataclass(frozen=True, slots=True)
class Frame:
    """A record's frame: its offset, where it begins and ends in the segment, and its body (empty where it was passed over)."""

    offset: int
    start: int
    end: int
    body: bytes


def walk(stream: BinaryIO, offset: int, *, skip_to: int = 0) -> Iterator[Frame]:
    """Whole frames from the stream's position; ends at the first that is not. Bodies before `skip_to` are left out, unread."""
    position = stream.tell()
    while len(head := stream.read(FRAME.size)) == FRAME.size:
        length, digest = FRAME.unpack(head)
        end = position + FRAME.size + length
        if length > MAX_RECORD_BYTES:
            return
        body = b""
        if offset < skip_to:
            stream.seek(end)
        else:
            body = stream.read(length)
            if len(body) != length or frame_digest(offset, body) != digest:
                return
        yield Frame(offset, position, end, body)
        position, offset = end, offset + 1


def is_frame(stream: BinaryIO, offset: int, position: int) -> bool:
    """Whether the frame of a record begins at a position: its digest covers the offset, so no other record's does."""
    stream.seek(position)
    return next(walk(stream, offset), None) is not None


def damaged(stream: BinaryIO, offset: int, end: int) -> bool:
    """Whether the bytes from `end` on hold the record after `offset`: then `offset` was damaged, and not torn by a crash."""
    stream.seek(end)
    rest = stream.read()
    for at in range(1, len(rest) - FRAME.size):
        length, digest = FRAME.unpack_from(rest, at)
        body = at + FRAME.size
        if length <= len(rest) - body and frame_digest(offset + 1, rest[body : body + length]) == digest:
            return True
    return False
