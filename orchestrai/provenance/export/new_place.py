"""What is exported as files appears whole, in a place that nothing else has, or not at all."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrai.errors import ConfigError


@contextmanager
def new_place(to: Path) -> Iterator[Path]:
    """A path beside `to`, free to be made a file or a folder, which takes its place at the end; raises ConfigError where `to` is taken."""
    if to.exists() or to.is_symlink():
        raise ConfigError(f"expected a new place to write to, found {to} there already: name another, or remove it")
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=to.parent) as scratch:
        made = Path(scratch) / to.name
        yield made
        made.rename(to)
