"""Private copies of objects whose bytes nobody can change any more: what is hashed is what is read.

A sealed file has no name. It is memory under the kernel's write seal, or above a budget a copy without a name on the disk of the object,
and is read by `/proc/self/fd/N` as often as one likes, by whatever opens a path. Numbers begin high and come round late, so that a path
that outlived its file opens nothing rather than another one.
"""

import errno
import fcntl
import hashlib
import os
import resource
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrai.errors import ConfigError
from orchestrai.storage.base import Store
from orchestrai.storage.disk.posix import copy, page_buffer, translated, write_all
from orchestrai.storage.disk.reflink import hashed
from orchestrai.storage.zstd_stream import expanded_stream

DEFAULT_MEMORY = 256 * 1024 * 1024
FOLDER = "/proc/self/fd"
_USUAL_LIMIT = 1024
_WANTED_LIMIT = 65_536
_FEWEST = 256
_SEALS = ("F_SEAL_WRITE", "F_SEAL_GROW", "F_SEAL_SHRINK", "F_SEAL_SEAL")


@dataclass(frozen=True)
class Sealed:
    """A sealed file: the path that opens it in this process, and what its very bytes are."""

    path: Path
    size: int
    sha256: str


@dataclass(frozen=True)
class _Wanted:
    """An object to copy: how long it should be, and whether it lies compressed."""

    store: Store
    key: str
    size: int
    packed: bool

    def chunks(self) -> Iterator[bytes]:
        """Its plain bytes."""
        if self.packed:
            return expanded_stream(self.store, self.key, most=self.size)
        return self.store.stream(self.key)


class _Numbers:
    """The descriptors of sealed files, above those that a process usually has."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = self.first = 0
        self.count = _FEWEST
        self._live = 0

    def take(self, descriptor: int) -> int:
        """A number for an open file; raises ConfigError where the process may open no more."""
        with self._lock:
            self._raise_limit()
            try:
                number = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, self.first + self._next)
            except OSError:
                number = self._from_the_first(descriptor)
            self._live += 1
            while number >= self.first + self.count or 2 * self._live > self.count:
                self.count *= 2
            self._next = (number + 1 - self.first) % self.count
            return number

    def span(self) -> range:
        """The numbers that it gives."""
        with self._lock:
            self._raise_limit()
            return range(self.first, self.first + self.count)

    def give_back(self, number: int) -> None:
        """Close it; once none is open, the numbers are few again: who lets them in by name pays for each."""
        with self._lock:
            os.close(number)
            self._live -= 1
            if not self._live and self.count > _FEWEST:
                self._next, self.count = 0, _FEWEST

    def _from_the_first(self, descriptor: int) -> int:
        try:
            return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, self.first)
        except OSError as exc:
            raise ConfigError(
                f"expected to hold more than {self._live} verified files open, found the limit of this process reached: raise it "
                "(ulimit -n), or run fewer partitions at once"
            ) from exc

    def _raise_limit(self) -> None:
        if self.first:
            return
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _WANTED_LIMIT if hard == resource.RLIM_INFINITY else min(_WANTED_LIMIT, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        self.first = min(_USUAL_LIMIT, wanted // 4)


_numbers = _Numbers()


def sealed_numbers() -> range:
    """The numbers that sealed files have now or next; nothing else of this process is found there but by chance."""
    return _numbers.span()


def number_of(path: Path) -> int | None:
    """The descriptor of a sealed file's path; None for any other path."""
    folder, _, name = str(path).rpartition("/")
    return int(name) if folder == FOLDER and name.isdigit() else None


def for_other_processes(path: Path) -> Path:
    """A sealed file's path as others on this machine open it, while this process holds it; any other path is as it was."""
    number = number_of(path)
    return path if number is None else Path(f"/proc/{os.getpid()}/fd/{number}")


class SealedFiles:
    """Makes sealed files, with at most `memory` bytes of them held in memory at once."""

    def __init__(self, memory: int = DEFAULT_MEMORY) -> None:
        self.memory = memory
        self._held = 0
        self._lock = threading.Lock()

    @contextmanager
    def of(self, store: Store, key: str, size: int, *, packed: bool = False) -> Iterator[Sealed]:
        """A private copy of an object for the length of a `with` block; `size` is what it should take. Raises ObjectNotFound.

        Of a `packed` object it has the plain bytes; raises DigestMismatch where they cannot be opened.
        """
        with ExitStack() as stack:
            in_memory = self._reserve(size)
            if in_memory:
                stack.callback(self._release, size)
            yield self._sealed(_Wanted(store, key, size, packed), in_memory, stack)

    def _sealed(self, wanted: "_Wanted", in_memory: bool, stack: ExitStack) -> Sealed:
        local = wanted.store.local_path(wanted.key)
        if not hasattr(os, "memfd_create"):
            return _named(wanted, stack)
        with ExitStack() as open_files:
            target = _memory() if in_memory else _disk(local)
            open_files.callback(os.close, target)
            try:
                if local is None or wanted.packed:
                    filled = _filled(wanted, target)
                else:
                    filled = _filled_here(local, target, in_memory, wanted.size)
                reading = _closed_to_writers(target, in_memory)
            except OSError as exc:
                raise translated(exc, wanted.key, "copied", wanted.store.url) from exc
            open_files.callback(os.close, reading)
            number = _numbers.take(reading)
        stack.callback(_numbers.give_back, number)
        return Sealed(Path(f"{FOLDER}/{number}"), *filled)

    def _reserve(self, size: int) -> bool:
        with self._lock:
            if self._held + size > self.memory:
                return False
            self._held += size
            return True

    def _release(self, size: int) -> None:
        with self._lock:
            self._held -= size


def _memory() -> int:
    return os.memfd_create("orchestrai", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def _disk(beside: Path | None) -> int:
    """A file without a name: on the file system of the object, where it may share its blocks, or among temporary files."""
    for folder in (beside.parent if beside is not None else None, None):
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                return os.dup(file.fileno())
        except OSError as exc:
            if folder is None or exc.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
    raise AssertionError


def _filled_here(source: Path, target: int, in_memory: bool, most: int) -> tuple[int, str]:
    """Size and SHA-256 of what was copied from a file of this disk, as the copy has it."""
    descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if in_memory:
            return _through(descriptor, target, most)
        copy(descriptor, target)
    finally:
        os.close(descriptor)
    return hashed(target)


def _through(source: int, target: int, most: int) -> tuple[int, str]:
    """Hash a file and copy it; one that is longer than it should be is refused by its size."""
    digest, size = hashlib.sha256(), 0
    with page_buffer() as buffer:
        while (count := os.readv(source, [buffer])) and size <= most:
            view = buffer[:count]
            digest.update(view)
            write_all(target, view)  # type: ignore[arg-type]  # a view stands in for bytes
            size += count
    return size, digest.hexdigest()


def _filled(wanted: "_Wanted", target: int) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    for chunk in wanted.chunks():
        digest.update(chunk)
        size += len(chunk)
        if size > wanted.size:
            break  # refused by its size: no reason to fill the memory
        write_all(target, chunk)
    return size, digest.hexdigest()


def _closed_to_writers(target: int, in_memory: bool) -> int:
    """The file opened to read alone; nobody writes to it from here on."""
    if in_memory:
        fcntl.fcntl(target, fcntl.F_ADD_SEALS, sum(getattr(fcntl, name) for name in _SEALS))
    else:
        os.fchmod(target, 0o400)
    return os.open(f"{FOLDER}/{target}", os.O_RDONLY | os.O_CLOEXEC)


def _named(wanted: "_Wanted", stack: ExitStack) -> Sealed:
    """Where the kernel knows no files without a name: a copy in a folder of this user alone."""
    path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrai-"))) / "copy"
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as sink:
        for chunk in wanted.chunks():
            digest.update(chunk)
            size += sink.write(chunk)
    return Sealed(path, size, digest.hexdigest())
