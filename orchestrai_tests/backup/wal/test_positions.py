"""Places in a log, and what pieces of it cover: pure."""

import random
from itertools import pairwise

import pytest

from orchestrai.backup.wal.positions import (
    History,
    Hole,
    Leg,
    Piece,
    by_timeline,
    cover,
    lsn_text,
    parse_history,
    parse_lsn,
    piece_of,
    segment_name,
    way,
)
from orchestrai.backup.wal.recovery.recovery_plan import joined
from orchestrai.errors import ConfigError, IntegrityError

SIZE = 1 << 24


def test_a_position_and_a_segment_are_written_as_postgres_writes_them() -> None:
    assert lsn_text(parse_lsn("16/B374D848")) == "16/B374D848"
    assert segment_name(1, parse_lsn("16/B374D848"), SIZE) == "0000000100000016000000B3"
    assert segment_name(3, parse_lsn("1/FF100000"), 1 << 20) == "0000000300000001" + "00000FF1"
    for text in ("", "1", "1/", "G/1", "1/2/3", "111111111/1"):
        with pytest.raises(ConfigError, match="position"):
            parse_lsn(text)


def test_a_piece_is_its_name_and_length() -> None:
    piece = Piece(2, parse_lsn("1/2000100"), 300)
    assert piece.path(SIZE) == "000000020000000100000002.00000100"
    assert piece_of(piece.path(SIZE), 300, SIZE) == piece
    assert piece_of("marks.json", 3, SIZE) is None
    with pytest.raises(IntegrityError, match="end within its segment"):
        piece_of("000000020000000100000002.00ffff00", 300, SIZE)


def test_a_history_names_where_each_timeline_was_left() -> None:
    text = "1\t0/3000148\tno recovery target specified\n\n2\t0/5000000\tbefore 2026\n"
    assert parse_history(3, text) == History(3, ((1, parse_lsn("0/3000148")), (2, parse_lsn("0/5000000"))))
    with pytest.raises(IntegrityError, match="history of timeline 3"):
        parse_history(3, "1 nowhere\n")


def test_a_way_over_timelines_reads_the_segment_of_a_switch_from_the_new_one() -> None:
    history = History(3, ((1, 3 * SIZE + 100), (2, 5 * SIZE + 7)))
    assert way((1, 2 * SIZE + 50), history, SIZE) == [
        Leg(1, 2 * SIZE, 3 * SIZE + 100),
        Leg(2, 3 * SIZE, 5 * SIZE + 7),
        Leg(3, 5 * SIZE, None),
    ]
    # a base that was taken behind the place where the line left its timeline is on another line
    assert way((1, 3 * SIZE + 101), history, SIZE) is None
    assert way((4, 0), history, SIZE) is None


def test_a_hole_is_named_by_both_ends() -> None:
    pieces = by_timeline([Piece(1, 0, SIZE), Piece(1, SIZE, 10), Piece(1, SIZE + 30, 5)])
    coverage = cover([Leg(1, 0, None)], pieces, SIZE)
    assert coverage.end == SIZE + 10 and str(coverage.hole) == "0/100000A to 0/100001E of timeline 1"
    whole = by_timeline([*pieces[1], Piece(1, SIZE + 5, 40)])
    assert cover([Leg(1, 0, None)], whole, SIZE).hole is None


def test_log_that_lacks_the_segment_of_a_switch_does_not_reach_the_new_timeline() -> None:
    legs = [Leg(1, 0, SIZE + 100), Leg(2, SIZE, None)]
    old = [Piece(1, 0, SIZE), Piece(1, SIZE, 100)]
    assert cover(legs, by_timeline([*old, Piece(2, SIZE, 400)]), SIZE) == cover(
        legs, by_timeline([old[0], Piece(2, SIZE, 400)]), SIZE
    )
    coverage = cover(legs, by_timeline([*old, Piece(2, 2 * SIZE, 400)]), SIZE)
    assert (coverage.timeline, coverage.end) == (1, SIZE + 100)
    assert coverage.hole == Hole(2, SIZE, 2 * SIZE)
    assert cover(legs, by_timeline([Piece(2, SIZE, 400)]), SIZE).hole == Hole(1, 0, SIZE)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_pieces_coverage_is_what_a_byte_map_says(seed: int) -> None:
    chance = random.Random(seed)
    pieces = [Piece(1, chance.randrange(0, 90), chance.randrange(1, 25)) for _ in range(chance.randrange(1, 12))]
    there = {byte for piece in pieces for byte in range(piece.start, piece.end)}
    end = next(byte for byte in range(200) if byte not in there)
    coverage = cover([Leg(1, 0, None)], by_timeline(pieces), 1 << 20)
    assert coverage.end == end
    assert (coverage.hole is not None) == any(byte > end for byte in there)


@pytest.mark.parametrize("seed", range(20))
def test_pieces_that_overlap_join_to_the_bytes_they_are_of(seed: int) -> None:
    chance = random.Random(seed)
    data = chance.randbytes(200)
    cuts = [0, *sorted(chance.sample(range(1, 200), 6)), 200]
    pieces = [Piece(1, a, b - a) for a, b in pairwise(cuts)]
    pieces += [Piece(1, start, chance.randrange(1, 200 - start + 1)) for start in chance.sample(range(200), 5)]
    chance.shuffle(pieces)
    parts = joined(pieces, 1 << 20)
    assert b"".join(data[piece.start + skip : piece.end] for piece, skip in parts) == data
    with pytest.raises(IntegrityError, match="expected the log from 0/0"):
        joined([piece for piece in pieces if piece.start > 0], 1 << 20)
