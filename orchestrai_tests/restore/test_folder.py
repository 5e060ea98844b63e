"""A restore into a folder: all or nothing, whatever stops it, and nobody else's to read."""

import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import StorageError
from orchestrai.restore import folder
from orchestrai.restore.folder import restore_folder
from orchestrai.storage.local import LocalStore
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.provenance.builder import World

DAYS = ("2026-01-01", "2026-01-02")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A small world whose vault lies on disk."""
    made = World(store=LocalStore(tmp_path / "vault"))
    made.prove({day: f"orders of {day}".encode() * 20_000 for day in DAYS})
    return made


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir() if path.name != "vault")


def test_a_full_disk_is_one_sentence_with_a_remedy_and_leaves_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(folder.os, "write", full)
    with pytest.raises(StorageError, match="free space there"):
        restore_folder(world.vault, world.vault.snapshots()[-1], tmp_path / "out")
    assert names(tmp_path) == []


def test_a_place_that_cannot_be_written_is_told(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file"):
        restore_folder(world.vault, world.vault.snapshots()[-1], tmp_path / "file" / "out")


HOLD = """
import sys, time
from pathlib import Path
from orchestrai.restore.folder import staging_beside
with staging_beside(Path(sys.argv[1])) as staging:
    (staging / "half").write_text("half")
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def another_restore(target: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that restores into the same place, half-way."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(target)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_what_a_killed_restore_left_goes_with_the_next_and_a_running_one_is_left_alone(world: World, tmp_path: Path) -> None:
    target, commit = tmp_path / "out", world.vault.snapshots()[-1]
    with another_restore(target) as process:
        (half,) = names(tmp_path)
        restore_folder(world.vault, commit, tmp_path / "elsewhere")
        restore_folder(world.vault, commit, target)
        assert names(tmp_path) == [half, "elsewhere", "out"]
        process.send_signal(signal.SIGKILL)
        process.wait()
    target.rename(tmp_path / "moved")
    restore_folder(world.vault, commit, target)
    assert names(tmp_path) == ["elsewhere", "moved", "out"]


@pytest.mark.parametrize("kind", ["objects", "packs", "listings", "trees"])
def test_a_fifo_in_place_of_an_object_is_found_and_nothing_waits_for_it(world: World, tmp_path: Path, kind: str) -> None:
    stored = [path for path in (tmp_path / "vault" / "vault" / kind).rglob("*") if path.is_file()]
    for path in stored:
        path.unlink()
        os.mkfifo(path)
    signal.alarm(20)
    try:
        report = verify(world.vault, level="read")
    finally:
        signal.alarm(0)
    assert bool(stored) == bool(report.findings)


def test_what_is_stored_or_restored_is_nobody_else_s_to_read(world: World, tmp_path: Path) -> None:
    restore_folder(world.vault, world.vault.snapshots()[-1], tmp_path / "out")
    paths = [path for place in ("vault", "out") for path in [tmp_path / place, *(tmp_path / place).rglob("*")]]
    assert len(paths) > 10
    assert [path for path in paths if path != tmp_path / "vault" and path.stat().st_mode & stat.S_IRWXO] == []
