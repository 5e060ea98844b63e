"""A process that watches files by inotify and alters them when they are opened, read or closed, now by rename, now in place.

    python attacker.py SEED LOG (FILE CLEAN ALTERED)...

It puts the clean bytes back after a moment, so that whoever looks later finds nothing. Needs Linux and the standard library.
"""

import ctypes
import os
import random
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

IN_ACCESS, IN_CLOSE_NOWRITE, IN_OPEN = 0x1, 0x10, 0x20
_EVENT = struct.Struct("iIII")


@dataclass(frozen=True)
class Target:
    """A file to alter, what it holds, and what it is made to hold."""

    path: Path
    clean: bytes
    altered: bytes

    def mend(self) -> None:
        """Put the clean bytes back, whatever the attacker left."""
        self.path.write_bytes(self.clean)


@contextmanager
def attacked(folder: Path, targets: Iterable[Target], seed: int) -> Iterator[Path]:
    """The attacker at work, for the length of a `with` block, after which the files are as they were; yields the file it counts in."""
    some = list(targets)
    arguments = []
    for number, target in enumerate(some):
        clean, altered = folder / f"{number}.clean", folder / f"{number}.altered"
        clean.write_bytes(target.clean)
        altered.write_bytes(target.altered)
        arguments += [str(target.path), str(clean), str(altered)]
    log = folder / "attacks"
    with subprocess.Popen([sys.executable, __file__, str(seed), str(log), *arguments], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        try:
            yield log
        finally:
            process.kill()
            process.wait()
            for target in some:
                target.mend()


def put(path: str, data: bytes, by_rename: bool) -> None:
    """Make a file hold other bytes."""
    if by_rename:
        Path(path + ".new").write_bytes(data)
        os.replace(path + ".new", path)
        return
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(descriptor, data, 0)
        if os.fstat(descriptor).st_size != len(data):
            os.ftruncate(descriptor, len(data))
    finally:
        os.close(descriptor)


def main(seed: str, log: str, *targets: str) -> None:
    """Watch and alter until killed."""
    library = ctypes.CDLL(None, use_errno=True)
    watcher = library.inotify_init1(0)
    files = {
        path: (Path(clean).read_bytes(), Path(other).read_bytes())
        for path, clean, other in zip(*[iter(targets)] * 3, strict=True)
    }
    mask = IN_OPEN | IN_ACCESS | IN_CLOSE_NOWRITE
    folders = {os.path.dirname(path) for path in files}
    watched = {library.inotify_add_watch(watcher, folder.encode(), mask): folder for folder in folders}
    chance = random.Random(int(seed))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    with open(log, "a") as told:
        while True:
            events = os.read(watcher, 65536)
            number, _, _, length = _EVENT.unpack_from(events)
            name = events[_EVENT.size : _EVENT.size + length].rstrip(b"\0").decode().removesuffix(".new")
            path = f"{watched[number]}/{name}"
            if path not in files:
                continue
            clean, altered = files[path]
            if chance.random() < 0.5:
                time.sleep(chance.random() * 0.002)
            put(path, altered, by_rename=chance.random() < 0.5)
            told.write(f"{path}\n")
            told.flush()
            time.sleep(chance.random() * 0.02)
            put(path, clean, by_rename=chance.random() < 0.5)


if __name__ == "__main__":
    main(*sys.argv[1:])
