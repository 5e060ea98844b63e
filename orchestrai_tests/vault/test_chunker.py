"""Borders of chunks: of content and key alone, found again behind what was put in, never too near nor too far."""

import functools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.vault.pieces.chunker import MAX_BYTES, MIN_BYTES, Cut, chunker

KEY = b"k" * 32


@functools.cache
def contents(kind: str, size: int) -> bytes:
    """Some MB of one kind."""
    rng = random.Random(size)
    if kind == "random":
        return rng.randbytes(size)
    if kind == "digits":
        return ",".join(map(str, (rng.randrange(10**6) for _ in range(size // 6)))).encode()[:size]
    if kind == "text":
        words = ["order", "line", "12", "blue", "\n", "paid", "GB", "7.25"]
        return " ".join(rng.choices(words, k=size // 3)).encode()[:size]
    return bytes(size)


def pieces(data: bytes, cut: Cut) -> list[bytes]:
    """The chunks of some content."""
    view, found = memoryview(data), []
    while view:
        size = cut(view)
        found.append(bytes(view[:size]))
        view = view[size:]
    return found


@pytest.mark.parametrize("kind", ["random", "digits", "text", "zeros"])
@pytest.mark.parametrize("size", [0, 1, MIN_BYTES, MIN_BYTES + 1, MAX_BYTES, MAX_BYTES + 1, 5_000_003])
def test_chunks_end_to_end_are_the_content_and_as_long_as_they_may_be(kind: str, size: int) -> None:
    data = contents(kind, size)
    found = pieces(data, chunker(KEY))
    assert b"".join(found) == data
    assert all(MIN_BYTES <= len(one) <= MAX_BYTES for one in found[:-1])
    assert all(0 < len(one) <= MAX_BYTES for one in found)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(["random", "digits", "text"]), st.integers(0, 5_900_000), st.integers(0, 300_000), st.integers(0, 9))
def test_what_is_put_in_or_taken_out_costs_a_few_chunks(kind: str, place: int, length: int, seed: int) -> None:
    data = contents(kind, 6_000_000)
    before = set(pieces(data, chunker(KEY)))
    put_in = data[:place] + random.Random(seed).randbytes(length) + data[place:]
    taken_out = data[:place] + data[place + length :]
    for changed in (put_in, taken_out):
        new = [one for one in pieces(changed, chunker(KEY)) if one not in before]
        # what holds the change, and until both meet at a border again
        assert sum(map(len, new)) <= 2 * length + 6 * MAX_BYTES


def test_one_byte_more_costs_less_than_two_megabytes_wherever_it_comes() -> None:
    data = contents("random", 6_000_000)
    before = set(pieces(data, chunker(KEY)))
    costs = []
    for place in range(0, len(data), 97_003):
        changed = data[:place] + b"!" + data[place:]
        costs.append(sum(len(one) for one in pieces(changed, chunker(KEY)) if one not in before))
    assert sorted(costs)[len(costs) // 2] <= MAX_BYTES + 1
    assert sum(cost > 2_000_000 for cost in costs) <= len(costs) // 20


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 3_000_000))
def test_a_border_hangs_on_nothing_before_its_chunk_or_behind_it(start: int) -> None:
    data, cut = contents("random", 6_000_000), chunker(KEY)
    size = cut(memoryview(data)[start:])
    assert chunker(KEY)(data[start : start + MAX_BYTES]) == size
    if size < MAX_BYTES:
        # what lies behind the border may be anything
        assert cut(data[start : start + size] + b"?" * (MAX_BYTES - size)) == size


def test_another_key_gives_other_borders() -> None:
    data = contents("random", 6_000_000)

    def borders(key: bytes) -> set[int]:
        at, found = 0, set()
        for one in pieces(data, chunker(key)):
            at += len(one)
            found.add(at)
        return found - {len(data)}

    keys = [bytes([number]) * 32 for number in range(8)]
    assert borders(keys[0]) == borders(keys[0])
    shared = [borders(one) & borders(other) for one in keys for other in keys if one != other]
    assert not any(shared)
