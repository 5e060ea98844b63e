"""Objects that lie compressed: the same bytes come back, never more than asked for, and other bytes are told apart."""

import hashlib
from pathlib import Path

import pytest

from orchestrai.errors import DigestMismatch, ObjectNotFound
from orchestrai.storage.base import Store
from orchestrai.storage.disk.sealed import SealedFiles
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai.storage.zstd_stream import SMALLEST, expanded_stream, write_compressed, write_frame

TEXT = b"".join(b"%d,LAMP RED,%d,2026-01-01\n" % (536000 + n, n % 7) for n in range(20_000))


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else LocalStore(tmp_path / "store")


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("size", [SMALLEST, 100_000, len(TEXT)])
def test_text_lies_in_a_fraction_and_comes_back_as_it_was(store: Store, size: int) -> None:
    length = write_compressed(store, "a", cut(TEXT, size))
    assert length == store.head("a").size and 0 < length < len(TEXT) / 4
    assert b"".join(expanded_stream(store, "a", most=len(TEXT))) == TEXT


@pytest.mark.parametrize("data", [b"", b"x" * (SMALLEST - 1), hashlib.shake_256(b"").digest(50_000)])
def test_what_is_small_or_does_not_shrink_lies_as_it_is(store: Store, data: bytes) -> None:
    assert write_compressed(store, "a", [data]) == 0
    assert store.read("a") == data


def test_views_of_one_buffer_are_taken_before_the_next_is_asked_for(store: Store) -> None:
    buffer = bytearray(SMALLEST)

    def views() -> object:
        for number in range(9):
            buffer[:] = bytes([number]) * SMALLEST
            yield memoryview(buffer)

    write_compressed(store, "a", views())  # type: ignore[arg-type]
    assert b"".join(expanded_stream(store, "a", most=9 * SMALLEST)) == b"".join(bytes([n]) * SMALLEST for n in range(9))


def test_a_frame_of_far_more_than_is_expected_is_opened_no_further_than_one_byte_beyond(store: Store) -> None:
    write_frame(store, "a", (b"\0" * 2**20 for _ in range(256)))
    assert store.head("a").size < 2**16
    assert sum(map(len, expanded_stream(store, "a", most=1000))) == 1001
    with SealedFiles().of(store, "a", 1000, packed=True) as sealed:
        assert sealed.size == 1001


def test_bytes_that_are_no_whole_frame_never_pass_for_what_was_written(store: Store) -> None:
    write_compressed(store, "a", [TEXT[:50_000]])
    frame, digest = store.read("a"), hashlib.sha256(TEXT[:50_000]).hexdigest()
    step = len(frame) // 60
    damaged = [frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :] for at in range(0, len(frame), step)]
    for other in (*damaged, frame[: len(frame) // 2], b"", TEXT):
        store.write("a", other)
        try:
            with SealedFiles().of(store, "a", 50_000, packed=True) as sealed:
                assert (sealed.sha256, sealed.size) != (digest, 50_000)
        except DigestMismatch:
            pass


def test_a_frame_that_wants_a_window_of_no_frame_of_ours_is_refused(store: Store) -> None:
    from zstandard import ZstdCompressionParameters, ZstdCompressor

    wide = ZstdCompressor(compression_params=ZstdCompressionParameters.from_level(3, window_log=27))
    frame = wide.compressobj()
    store.write("a", frame.compress(TEXT) + frame.flush())
    with pytest.raises(DigestMismatch, match="compressed by zstd"):
        list(expanded_stream(store, "a", most=len(TEXT)))


def test_what_is_not_there_is_said_to_be_missing(store: Store) -> None:
    with pytest.raises(ObjectNotFound):
        list(expanded_stream(store, "a", most=1))
