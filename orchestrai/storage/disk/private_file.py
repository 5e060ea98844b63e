"""Files of mode 0600 that are made once, such as keys: whole or not at all, and of two processes that make one the first counts."""

import os
from pathlib import Path


def create_private(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 in a folder that is made where there is none, unless another process has done so."""
    # here: a file that is there already needs none of the modules for archives that it loads
    import tempfile

    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(temporary)
