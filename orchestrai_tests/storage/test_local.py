"""What only a directory can get wrong: links, crashes, full disks, folders that clash with keys."""

import errno
import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.errors import (
    InvalidKey,
    ObjectExists,
    ObjectNotFound,
    PreconditionFailed,
    StorageError,
    TransientStorageError,
)
from orchestrai.storage.disk.posix import BUFFER_BYTES, page_buffer
from orchestrai.storage.disk.rooted import TEMPORARY
from orchestrai.storage.local import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def keys(store: LocalStore, prefix: str = "") -> list[str]:
    return [info.key for info in store.list(prefix)]


def temporaries(store: LocalStore) -> list[str]:
    folder = store.local_path("x").parent / TEMPORARY
    return os.listdir(folder) if folder.is_dir() else []


def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_bytes(b"secret")
    return folder


def test_links_are_neither_listed_read_nor_written_through(store: LocalStore, tmp_path: Path) -> None:
    target = outside(tmp_path)
    store.write("a/real", b"1")
    root = store.local_path("a").parent
    (root / "file-link").symlink_to(target / "secret")
    (root / "folder-link").symlink_to(target, target_is_directory=True)
    (root / "a" / "up").symlink_to(target, target_is_directory=True)
    assert keys(store) == ["a/real"]
    assert keys(store, "folder-link/") == []
    assert keys(store, "a/up/") == []
    for key in ("file-link", "folder-link/secret", "a/up/secret"):
        with pytest.raises(ObjectNotFound):
            store.read(key)
        with pytest.raises(ObjectNotFound):
            store.head(key)
        with pytest.raises(InvalidKey):
            store.local_path(key)
        with pytest.raises(InvalidKey):
            store.write(key, b"x", create=True)
    with pytest.raises(InvalidKey):
        store.write("folder-link/new", b"x")
    store.delete("folder-link/secret")
    store.delete("file-link")
    assert (target / "secret").read_bytes() == b"secret"
    assert sorted(os.listdir(target)) == ["secret"]


def test_a_folder_replaced_by_a_link_after_use_is_not_followed(store: LocalStore, tmp_path: Path) -> None:
    target = outside(tmp_path)
    store.write("a/secret", b"mine")
    folder = store.local_path("a")
    store.delete("a/secret")
    folder.symlink_to(target, target_is_directory=True)
    with pytest.raises(ObjectNotFound):
        store.read("a/secret")
    with pytest.raises(InvalidKey):
        store.write("a/secret", b"x")
    assert (target / "secret").read_bytes() == b"secret"


def test_special_files_are_neither_listed_nor_opened(store: LocalStore) -> None:
    store.write("a", b"1")
    os.mkfifo(store.local_path("pipe"))
    assert keys(store) == ["a"]
    with pytest.raises(ObjectNotFound):
        store.read("pipe")


def test_a_key_cannot_be_the_folder_of_another(store: LocalStore) -> None:
    store.write("a/b", b"1")
    for create in (False, True):
        with pytest.raises(InvalidKey, match="'a'"):
            store.write("a", b"2", create=create)
        with pytest.raises(InvalidKey, match="'a/b/c'"):
            store.write("a/b/c", b"3", create=create)
    with pytest.raises(ObjectNotFound):
        store.read("a")
    with pytest.raises(ObjectNotFound):
        store.read("a/b/c")
    assert keys(store) == ["a/b"]
    assert temporaries(store) == []


def test_the_stores_own_folder_is_no_key(store: LocalStore) -> None:
    store.write("a", b"1")
    with pytest.raises(InvalidKey, match=TEMPORARY):
        store.write(f"{TEMPORARY}/x", b"1")
    (store.local_path("a").parent / TEMPORARY / "rest").write_bytes(b"of a killed writer")
    assert keys(store) == ["a"]
    assert keys(store, TEMPORARY) == []


def test_a_key_that_no_file_name_can_hold_is_refused(store: LocalStore) -> None:
    with pytest.raises(InvalidKey):
        store.write("a\ud800", b"1")


def test_a_file_name_that_is_not_utf8_is_listed_and_readable(store: LocalStore) -> None:
    store.write("a", b"1")
    root = os.fsencode(store.local_path("a").parent)
    with open(root + b"/b\xff", "wb") as file:
        file.write(b"2")
    found = keys(store)
    assert [store.read(key) for key in found] == [b"1", b"2"]


def test_reading_stores_nothing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "absent")
    assert keys(store) == []
    with pytest.raises(ObjectNotFound):
        store.read("a")
    store.delete("a")
    store.sync()
    assert not (tmp_path / "absent").exists()


def test_a_file_changed_while_it_is_read_is_refused(store: LocalStore) -> None:
    etag = store.write("k", b"x" * (9 * 1024 * 1024)).etag
    chunks = store.stream("k", if_match=etag)
    next(chunks)
    with store.local_path("k").open("r+b") as file:
        file.write(b"changed in place")
    os.utime(store.local_path("k"))
    with pytest.raises(PreconditionFailed):
        list(chunks)


def test_a_reader_keeps_the_object_that_it_opened(store: LocalStore) -> None:
    old = b"o" * (9 * 1024 * 1024)
    store.write("k", old)
    chunks = store.stream("k")
    first = next(chunks)
    store.write("k", b"new")
    assert first + b"".join(chunks) == old


def test_missing_and_refused_are_told_apart(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("k", b"1")
    for code, kind in ((errno.EACCES, StorageError), (errno.EIO, TransientStorageError), (errno.ENOENT, ObjectNotFound)):

        def refuse(*args: object, code: int = code, **kwargs: object) -> int:
            raise OSError(code, os.strerror(code))

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", refuse)
            with pytest.raises(kind) as told:
                store.read("k")
        assert told.value.retryable == (kind is TransientStorageError)


@pytest.mark.parametrize("create", [False, True])
def test_a_full_disk_keeps_the_old_state_and_leaves_no_rest(
    store: LocalStore, create: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("old", b"safe")
    real, left = os.write, [1024 * 1024]

    def write(descriptor: int, data: bytes) -> int:
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part = bytes(data)[: left[0]]
        left[0] -= len(part)
        return real(descriptor, part)

    monkeypatch.setattr(os, "write", write)
    key = "new" if create else "old"
    with pytest.raises(StorageError, match="free space") as told:
        store.write(key, b"x" * (3 * 1024 * 1024), create=create)
    assert not told.value.retryable
    monkeypatch.undo()
    assert store.read("old") == b"safe"
    assert keys(store) == ["old"]
    assert temporaries(store) == []


def test_a_real_file_size_limit_is_told_and_leaves_no_rest(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import pathlib, resource, signal, sys
        from orchestrai.errors import StorageError
        from orchestrai.storage.local import LocalStore
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        store = LocalStore(pathlib.Path(sys.argv[1]))
        try:
            store.write("k", b"x" * (2 << 20))
        except StorageError as exc:
            raise SystemExit(0 if not list(store.list()) else 5)
        raise SystemExit(4)
        """
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], timeout=60, check=False).returncode == 0
    assert os.listdir(tmp_path / TEMPORARY) == []


def test_killed_writers_leave_whole_objects_or_none(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import itertools, pathlib, sys
        from orchestrai.storage.local import LocalStore
        store = LocalStore(pathlib.Path(sys.argv[1]))
        for number in itertools.count():
            store.write(f"k/{number % 50}", bytes([number % 251]) * 300_000)
            print(number, flush=True)
        """
    )
    chance = random.Random(7)
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(chance.randrange(1, 120)):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        store = LocalStore(tmp_path)
        for info in store.list():
            data = store.read(info.key)
            assert len(data) == 300_000
            assert len(set(data)) == 1


def test_what_killed_writers_left_is_removed_after_a_day(store: LocalStore) -> None:
    store.write("a", b"1")
    folder = store.local_path("a").parent / TEMPORARY
    for name, age in (("young", timedelta(hours=2)), ("old", timedelta(days=2))):
        (folder / name).write_bytes(b"rest")
        then = (datetime.now(UTC) - age).timestamp()
        os.utime(folder / name, (then, then))
    LocalStore(store.local_path("a").parent).write("b", b"2")
    assert temporaries(store) == ["young"]


def test_modified_is_the_time_of_publication_and_not_of_writing(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.link

    def held_up(source: str, target: str, **more: int) -> None:
        # as if the writer had slept for an hour between its last byte and the link
        hour_ago = datetime.now(UTC).timestamp() - 3600
        os.utime(source, (hour_ago, hour_ago))
        real(source, target, **more)

    monkeypatch.setattr(os, "link", held_up)
    before = datetime.now(UTC)
    written = store.write("late", b"1", create=True)
    assert written.modified >= before - timedelta(seconds=1)
    assert store.head("late") == written


def test_a_failing_caller_leaves_no_rest_and_its_own_error(store: LocalStore) -> None:
    def broken() -> Iterator[bytes]:
        yield b"1"
        raise FileNotFoundError("the caller's file")

    with pytest.raises(FileNotFoundError):
        store.write("k", broken())
    with pytest.raises(FileNotFoundError):
        store.write_file("k", Path("/nowhere/at/all"))
    assert keys(store) == []
    assert temporaries(store) == []


def test_a_delete_beside_a_writer_of_the_same_folder_loses_no_write(store: LocalStore) -> None:
    script = textwrap.dedent(
        """
        import pathlib, sys
        from orchestrai.storage.local import LocalStore
        store = LocalStore(pathlib.Path(sys.argv[1]))
        for number in range(1500):
            store.write("f/g/x", b"")
            store.delete("f/g/x")
        """
    )
    root = store.local_path("a").parent
    process = subprocess.Popen([sys.executable, "-c", script, str(root)])
    for _number in range(1500):
        store.write("f/g/mine", b"1", create=True)
        assert store.read("f/g/mine") == b"1"
        store.delete("f/g/mine")
    assert process.wait(60) == 0
    assert keys(store) == []


def test_create_over_an_object_names_it(store: LocalStore) -> None:
    store.write("k", b"1", create=True)
    with pytest.raises(ObjectExists, match="'k'"):
        store.write("k", b"2", create=True)
    assert temporaries(store) == []


SEGMENTS = st.text(st.sampled_from("ab-./0é~ :"), min_size=1, max_size=3).filter(
    lambda s: "/" not in s and s not in (".", "..")
)
KEYS = st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join)


@settings(max_examples=60)
@given(st.sets(KEYS, max_size=8), KEYS, KEYS)
def test_list_equals_a_sorted_dictionary(
    tmp_path_factory: pytest.TempPathFactory, names: set[str], prefix: str, start: str
) -> None:
    store = LocalStore(tmp_path_factory.mktemp("model"))
    held: set[str] = set()
    for name in sorted(names):
        try:
            store.write(name, b"")
            held.add(name)
        except InvalidKey:
            assert any(other.startswith(f"{name}/") or name.startswith(f"{other}/") for other in held)
    for part in (prefix, prefix[:1], prefix.rpartition("/")[0], ""):
        expected = sorted(
            (name for name in held if name.startswith(part) and name.encode() > start.encode()), key=str.encode
        )
        assert [info.key for info in store.list(part, start_after=start)] == expected


def test_a_lent_buffer_is_nobody_elses_until_it_is_given_back() -> None:
    with page_buffer() as one:
        with page_buffer() as other:
            one[:3], other[:3] = b"one", b"two"
            assert bytes(one[:3]) == b"one"
        with page_buffer() as third:
            third[:3] = b"333"
            assert (bytes(one[:3]), bytes(other[:3])) == (b"one", b"333")
    assert len(one) == BUFFER_BYTES
