"""What every store must do, as tests for pytest.

class TestMyStore(StoreConformance):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return MyStore(tmp_path)
"""

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from orchestrai.core.parallel import map_calls
from orchestrai.errors import InvalidKey, ObjectExists, ObjectNotFound, PreconditionFailed
from orchestrai.storage.base import Store

_MIB = 1024 * 1024
_HELD_KEYS = (
    *("plain", "a b", "a%20b", "a%b", "a#b", "a?b", "é", "a:b", "~", "a+b", "a*b", "a&b", "a=b", 'a"b', "a<b>", "a'b"),
    *("{a}", "a|b", "a^b", "a`b", "[a]", "日本/x", "a;b", "a,b", "@", "$", "!", "a..b", "a\U0001f600b", " lead", "trail "),
    *("day=2010-12-01/part.parquet", "2026-01-01-13:00/x", "x" * 255, "/".join("d" * 20 for _ in range(40))),
)
_HOSTILE_KEYS = (
    *("", "/", "/abs", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a/..", "..\\a", "a\\b", "\0", "a\0b"),
    *("x" * 2000, "a/" * 1000 + "b", "x" * 256, "/".join(["y" * 200] * 6)),
)


def _keys(found: Iterator[object]) -> list[str]:
    return [info.key for info in found]  # type: ignore[attr-defined]


def _noise(size: int) -> bytes:
    block = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(1024))
    return (block * (size // len(block) + 1))[:size]


class StoreConformance:
    """Subclass it with a fixture `store` that gives a fresh, empty store; every test is of the protocol in `orchestrai.storage.base`."""

    def test_write_then_read_gives_the_same_bytes_and_description(self, store: Store) -> None:
        written = store.write("a/b", b"hello")
        assert store.read("a/b") == b"hello"
        assert store.head("a/b") == written
        assert (written.key, written.size) == ("a/b", 5)
        assert written.etag
        assert written.modified.tzinfo is UTC or written.modified.utcoffset() == timedelta(0)
        assert abs(datetime.now(UTC) - written.modified) < timedelta(hours=1)

    def test_an_overwrite_replaces_bytes_and_etag(self, store: Store) -> None:
        first = store.write("k", b"one")
        second = store.write("k", b"three")
        assert store.read("k") == b"three"
        assert first.etag != second.etag

    @pytest.mark.parametrize("size", [0, 1, 5 * _MIB, 20 * _MIB])
    def test_bodies_of_every_size_survive_bytes_chunks_and_files(self, store: Store, size: int, tmp_path: Path) -> None:
        data = _noise(size)
        source = tmp_path / "source"
        source.write_bytes(data)
        chunks = (data[at : at + _MIB] for at in range(0, size, _MIB))
        assert store.write("bytes", data).size == size
        assert store.write("chunks", chunks, create=True).size == size
        assert store.write_file("file", source, create=True).size == size
        for key in ("bytes", "chunks", "file"):
            assert b"".join(store.stream(key)) == data
        assert store.read("chunks") == data

    @pytest.mark.parametrize("kind_of_body", ["bytes", "chunks", "file"])
    def test_create_refuses_a_taken_key_and_keeps_what_is_there(
        self, store: Store, kind_of_body: str, tmp_path: Path
    ) -> None:
        (tmp_path / "source").write_bytes(b"mine")
        write: dict[str, Callable[[], object]] = {
            "bytes": lambda: store.write("k", b"mine", create=True),
            "chunks": lambda: store.write("k", iter([b"mi", b"ne"]), create=True),
            "file": lambda: store.write_file("k", tmp_path / "source", create=True),
        }
        store.write("k", b"theirs", create=True)
        with pytest.raises(ObjectExists):
            write[kind_of_body]()
        assert store.read("k") == b"theirs"

    def test_create_refuses_even_equal_bytes(self, store: Store) -> None:
        store.write("k", b"same", create=True)
        with pytest.raises(ObjectExists):
            store.write("k", b"same", create=True)

    def test_one_of_many_racing_creators_wins_each_key(self, store: Store) -> None:
        def attempt(key: str, writer: int) -> bool:
            try:
                store.write(key, f"{writer}".encode(), create=True)
            except ObjectExists:
                return False
            return True

        for number in range(5):
            key = f"race/{number}"
            won = list(map_calls(partial(attempt, key), range(8)))
            assert won.count(True) == 1
            assert store.read(key) == str(won.index(True)).encode()

    def test_ranges_are_cut_at_the_end(self, store: Store) -> None:
        store.write("k", b"0123456789")
        assert store.read("k", start=2, length=3) == b"234"
        assert store.read("k", start=7) == b"789"
        assert store.read("k", start=8, length=100) == b"89"
        assert store.read("k", length=4) == b"0123"
        assert store.read("k", length=0) == b""
        assert store.read("k", start=10, length=5) == b""
        assert store.read("k", start=99) == b""

    def test_a_missing_object_is_told_by_name(self, store: Store) -> None:
        for call in (lambda: store.head("no"), lambda: store.read("no"), lambda: b"".join(store.stream("no"))):
            with pytest.raises(ObjectNotFound, match="no"):
                call()
        with pytest.raises(ObjectNotFound):
            store.read("no", length=0)

    def test_if_match_refuses_a_changed_object(self, store: Store) -> None:
        old = store.write("k", b"one")
        assert store.read("k", if_match=old.etag) == b"one"
        assert b"".join(store.stream("k", if_match=old.etag)) == b"one"
        store.write("k", b"two!")
        with pytest.raises(PreconditionFailed):
            store.read("k", if_match=old.etag)
        with pytest.raises(PreconditionFailed):
            b"".join(store.stream("k", if_match=old.etag))

    def test_the_listed_etag_is_the_one_that_if_match_takes(self, store: Store) -> None:
        store.write("k", b"one")
        (listed,) = store.list()
        assert store.read("k", if_match=listed.etag) == b"one"
        assert listed.size == 3

    def test_list_goes_in_the_order_of_utf8_bytes(self, store: Store) -> None:
        names = ["a-b", "a/b", "a.b", "a/b-c/d", "a/b.c", "a0", "B", "é/x", "\U0001f600", "\uff5e", "z/1", "z/10", "z/2"]
        held = [name for name in names if name != "a/b"] + ["a/b/c"]
        for name in held:
            store.write(name, name.encode())
        assert _keys(store.list()) == sorted(held, key=lambda name: name.encode())

    def test_list_takes_any_prefix_and_start(self, store: Store) -> None:
        held = ["a/1", "a/10", "a/2/x", "a-1", "ab/1", "b/1", "b/2"]
        for name in held:
            store.write(name, b"")
        ordered = sorted(held)
        for prefix in ("", "a", "a/", "a/1", "a/2", "a/2/", "a/2/x", "ab", "c", "a/2/x/", "b/"):
            expected = [name for name in ordered if name.startswith(prefix)]
            assert _keys(store.list(prefix)) == expected, prefix
            for start in ("", "a", "a-1", "a/1", "a/10", "a/2", "a/2/x", "a0", "b/1", "zzz"):
                after = [name for name in expected if name > start]
                assert _keys(store.list(prefix, start_after=start)) == after, (prefix, start)

    def test_list_pages_through_more_than_a_thousand_objects(self, store: Store) -> None:
        names = [f"many/{number:05d}" for number in range(1_205)]
        list(map_calls(lambda name: store.write(name, b"x"), names))
        assert _keys(store.list("many/")) == names
        assert _keys(store.list("many/", start_after=names[1_100])) == names[1_101:]

    def test_an_empty_store_lists_nothing_and_hostile_prefixes_find_nothing(self, store: Store) -> None:
        assert _keys(store.list()) == []
        store.write("a", b"")
        for prefix in ("../", "/", "a//", "./", "nowhere/", "a/../"):
            assert _keys(store.list(prefix)) == []

    def test_delete_removes_and_forgives_a_missing_object(self, store: Store) -> None:
        store.write("a/b/c", b"1")
        store.delete("a/b/c")
        store.delete("a/b/c")
        store.delete("never/was")
        assert _keys(store.list()) == []
        store.write("a", b"now a file where a folder was")
        assert _keys(store.list()) == ["a"]

    @pytest.mark.parametrize("key", _HELD_KEYS, ids=lambda key: ascii(key)[:20])
    def test_ordinary_and_odd_keys_come_back_as_they_went(self, store: Store, key: str) -> None:
        store.write(key, key.encode(), create=True)
        assert store.read(key) == key.encode()
        assert _keys(store.list()) == [key]
        store.delete(key)
        assert _keys(store.list()) == []

    @pytest.mark.parametrize("key", _HOSTILE_KEYS, ids=lambda key: ascii(key)[:20])
    def test_hostile_keys_are_refused_by_name_in_every_call(self, store: Store, key: str, tmp_path: Path) -> None:
        (tmp_path / "source").write_bytes(b"x")
        calls: tuple[Callable[[], object], ...] = (
            lambda: store.write(key, b"x"),
            lambda: store.write(key, b"x", create=True),
            lambda: store.write(key, iter([b"x"])),
            lambda: store.write_file(key, tmp_path / "source"),
            lambda: store.read(key),
            lambda: store.read(key, length=0),
            lambda: b"".join(store.stream(key)),
            lambda: store.head(key),
            lambda: store.delete(key),
            lambda: store.local_path(key),
        )
        for call in calls:
            with pytest.raises(InvalidKey):
                call()
        assert _keys(store.list()) == []

    def test_the_callers_own_error_in_a_chunk_iterable_stores_nothing(self, store: Store) -> None:
        def broken() -> Iterator[bytes]:
            yield b"half"
            raise LookupError("the source went away")

        with pytest.raises(LookupError):
            store.write("k", broken())
        assert _keys(store.list()) == []

    def test_an_unknown_version_is_not_found(self, store: Store) -> None:
        store.write("k", b"x")
        with pytest.raises(ObjectNotFound):
            store.read("k", version="1700000000000999")

    def test_sync_returns(self, store: Store) -> None:
        store.write("k", b"x")
        store.sync()
