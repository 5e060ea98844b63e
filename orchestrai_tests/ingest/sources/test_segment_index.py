"""The index of the embedded log: reading on costs what is read, and nothing it says is believed."""

import os
import random
import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrai.errors import IntegrityError
from orchestrai.ingest.sources.offsets import segment_index
from orchestrai.ingest.sources.stream import next_batch
from orchestrai.ingest.sources.stream_log import StreamLog
from orchestrai.ingest.sources.stream_records import framed

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of the index every few records, so that a few hundred have many."""
    monkeypatch.setattr(segment_index, "SPACING", 200)


def body(number: int) -> bytes:
    return b"record %d " % number + b"x" * (number * 37 % 60)


def append(root: Path, numbers: range, *, segment_bytes: int = 1 << 30) -> None:
    with StreamLog(root, "t", segment_bytes=segment_bytes).writer(lambda: MOMENT) as writer:
        writer.append([body(number) for number in numbers])


def fresh(root: Path) -> StreamLog:
    """As another process opens it."""
    return StreamLog(root, "t")


def walked(log: StreamLog) -> int:
    return sum(part.walked for part in log.parts.values())


def values(log: StreamLog, offset: int = 0) -> list[bytes | None]:
    return [record.value for record in log.parts[0].read(offset)]


def index_file(root: Path) -> Path:
    (path,) = (root / "t").rglob("*.index")
    return path


def test_a_batch_walks_its_own_records_however_long_the_log_is(tmp_path: Path) -> None:
    counts = []
    for begin in range(0, 1000, 100):
        append(tmp_path, range(begin, begin + 100))
        log = fresh(tmp_path)
        batch = next_batch(log, {0: begin})
        assert [record.value for record in batch.records] == [body(n) for n in range(begin, begin + 100)]
        counts.append(walked(log))
    # the end is looked for from the last row of the index, and the batch from the row before it: a few frames more than records
    assert max(counts) <= 100 + 2 * 12 and max(counts[5:]) <= max(counts[:5]) + 12


def test_a_writer_that_opens_a_long_log_walks_its_end_alone(tmp_path: Path) -> None:
    append(tmp_path, range(600))
    log = fresh(tmp_path)
    with log.writer(lambda: MOMENT) as writer:
        assert writer.append([b"next"])[1] == 600
    assert walked(log) <= 12


def test_without_an_index_all_is_read_and_the_next_writer_makes_one(tmp_path: Path) -> None:
    append(tmp_path, range(300))
    made = index_file(tmp_path).read_bytes()
    index_file(tmp_path).unlink()
    assert values(fresh(tmp_path), 250) == [body(n) for n in range(250, 300)]
    append(tmp_path, range(300, 300))
    assert index_file(tmp_path).read_bytes() == made


@pytest.mark.parametrize("seed", range(8))
def test_whatever_the_index_says_the_records_are_those_that_were_written(tmp_path: Path, seed: int) -> None:
    random_ = random.Random(seed)
    append(tmp_path, range(200))
    path, row = index_file(tmp_path), struct.Struct(">QQ")
    rows = [list(one) for one in row.iter_unpack(path.read_bytes())]
    for _ in range(random_.randint(1, 6)):
        at = random_.randrange(len(rows))
        rows[at][random_.randrange(2)] += random_.choice([-1, 1, 13, 500, 1 << 40])
    data = b"".join(row.pack(*(max(0, value) for value in one)) for one in rows)
    path.write_bytes(data[: random_.choice([len(data), len(data) - random_.randrange(16)])])
    for offset in (0, 1, 57, 150, 199, 200):
        assert values(fresh(tmp_path), offset) == [body(n) for n in range(offset, 200)]
    assert fresh(tmp_path).bounds() == {0: (0, 200)}
    append(tmp_path, range(200, 260))
    log = fresh(tmp_path)
    assert values(log, 250) == [body(n) for n in range(250, 260)] and walked(log) < 30


@pytest.mark.parametrize("seed", range(8))
def test_after_a_torn_tail_the_index_names_no_record_that_is_gone(tmp_path: Path, seed: int) -> None:
    random_ = random.Random(seed)
    known = 0
    for _ in range(4):
        count = random_.randint(1, 120)
        append(tmp_path, range(known, known + count), segment_bytes=4000)
        newest = sorted((tmp_path / "t").rglob("*.segment"))[-1]
        os.truncate(newest, random_.randint(0, newest.stat().st_size))
        log = fresh(tmp_path)
        first, following = log.bounds()[0]
        assert first == 0 and following <= known + count
        # others take the places of those that were cut off, at other positions
        with log.writer(lambda: MOMENT) as writer:
            writer.append([b"other %d" % n + b"y" * random_.randint(0, 90) for n in range(3)])
        again = fresh(tmp_path)
        assert again.bounds()[0][1] == following + 3
        whole = [record.value for record in again.parts[0].read(0)]
        for offset in range(0, following + 3, 7):
            assert values(fresh(tmp_path), offset) == whole[offset:]
        known = following + 3


def test_a_stale_row_cannot_lead_into_a_record_that_imitates_a_frame(tmp_path: Path) -> None:
    append(tmp_path, range(100))
    path = index_file(tmp_path)
    segment = path.with_suffix(".segment")
    rows = list(struct.Struct(">QQ").iter_unpack(path.read_bytes()))
    offset, position = rows[-1]
    # the tail is torn before that record, and a producer sends one that holds its frame where it lay
    before, begin = rows[-2]
    os.truncate(segment, begin)
    head = len(framed(before, b"")) + 4 + 8 + 8 + 4 + 4
    forged = framed(offset, b"forged")
    with fresh(tmp_path).writer(lambda: MOMENT) as writer:
        writer.append([b"z" * (position - begin - head) + forged + b"z" * 400])
    assert segment.read_bytes()[position : position + len(forged)] == forged
    assert fresh(tmp_path).bounds() == {0: (0, before + 1)}
    assert len(values(fresh(tmp_path), 0)) == before + 1


def test_damage_before_the_last_row_is_told_when_it_is_read(tmp_path: Path) -> None:
    append(tmp_path, range(100))
    segment = index_file(tmp_path).with_suffix(".segment")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    assert fresh(tmp_path).bounds() == {0: (0, 100)}
    with pytest.raises(IntegrityError, match="damaged"):
        values(fresh(tmp_path), 0)
