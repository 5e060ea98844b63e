"""A process that watches files by inotify and alters them when they are opened, read or closed, now by rename, now in place.

    python attacker.py SEED LOG (FILE CLEAN ALTERED)...

It puts the clean bytes back after a moment, so that whoever looks later finds nothing. Needs Linux and the standard library.
"""

import ctypes
import os
import random
import struct
import sys
import time
from pathlib import Path

IN_ACCESS, IN_CLOSE_NOWRITE, IN_OPEN = 0x1, 0x10, 0x20
_EVENT = struct.Struct("iIII")


def put(path: str, data: bytes, by_rename: bool) -> None:
    """Make a file hold other bytes."""
    if by_rename:
        Path(path + ".new").write_bytes(data)
        os.replace(path + ".new", path)
        return
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(descriptor, data, 0)
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
    watched = {library.inotify_add_watch(watcher, os.path.dirname(path).encode(), mask): path for path in files}
    chance = random.Random(int(seed))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    with open(log, "a") as told:
        while True:
            events = os.read(watcher, 65536)
            number = _EVENT.unpack_from(events)[0]
            path = watched[number]
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
