"""Who carries a stream on: a lock that the kernel takes back when its process ends, however that ends.

It spares work and guards nothing: what is published is fenced by the ledger, whoever runs where.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrai.errors import ConcurrentCommit
from orchestrai.pipeline.nodes.dataset_node import DatasetNode


def lock_path(home: Path, dataset: DatasetNode) -> Path:
    """The file whose lock a worker of a dataset holds."""
    return home / "workers" / f"{dataset.prefix}.lock"


@contextmanager
def as_only_worker(home: Path, dataset: DatasetNode) -> Iterator[None]:
    """Be the worker of a dataset on this home for the length of a `with` block; raises ConcurrentCommit where another is."""
    path = lock_path(home, dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConcurrentCommit(
                f"expected to be the one worker of {dataset.shown} on this home, found another: end it first"
            ) from None
        yield
    finally:
        os.close(descriptor)


def has_worker(home: Path, dataset: DatasetNode) -> bool:
    """Whether a process on this home carries a dataset on now."""
    try:
        descriptor = os.open(lock_path(home, dataset), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
