"""A chunk iterable made repeatable in bounded memory: small bodies in memory, larger ones in a temporary file."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY_BYTES = 8 * 1024 * 1024


@contextmanager
def spooled(chunks: Iterable[bytes]) -> Iterator[bytes | Path]:
    """Consume `chunks` and yield them as bytes, or above 8 MiB as a file that is removed with the block."""
    held: list[bytes] = []
    size = 0
    rest = iter(chunks)
    for chunk in rest:
        held.append(chunk)
        size += len(chunk)
        if size > MEMORY_BYTES:
            break
    else:
        yield b"".join(held)
        return
    with tempfile.NamedTemporaryFile(prefix="orchestrai-") as file:
        for chunk in held:
            file.write(chunk)
        held.clear()
        for chunk in rest:
            file.write(chunk)
        file.flush()
        yield Path(file.name)
