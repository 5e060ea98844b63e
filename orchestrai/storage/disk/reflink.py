"""Files that share blocks until one of them is written to, where the file system knows such (XFS, Btrfs, and their like)."""

import errno
import fcntl
import hashlib
import os

from orchestrai.storage.disk.posix import page_buffer

# _IOW(0x94, 9, int) of linux/fs.h, as most machines count it; where it is another number the call is refused
_FICLONE = 0x40049409
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})


def clone(source: int, target: int) -> bool:
    """Give an empty file the blocks of another; False, and nothing changed, where the file system or the two of them cannot.

    What is written to either later is not seen in the other. Raises OSError for a full or broken disk.
    """
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as exc:
        if exc.errno in _FULL:
            raise
        return False
    return True


def hashed(descriptor: int) -> tuple[int, str]:
    """Size and SHA-256 of a whole open file."""
    digest, size = hashlib.sha256(), 0
    with page_buffer() as buffer:
        while count := os.preadv(descriptor, [buffer], size):
            digest.update(buffer[:count])
            size += count
    return size, digest.hexdigest()
