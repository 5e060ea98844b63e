"""Sealed files: what was hashed is what is read, and nobody can change it."""

import hashlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from orchestrai.errors import ObjectNotFound, StorageError
from orchestrai.storage.disk.sealed import SealedFiles, for_other_processes, number_of, sealed_numbers
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore

DATA = b"verified bytes" * 1000
SMALL = SealedFiles()
ON_DISK = SealedFiles(memory=0)


@pytest.fixture(params=[SMALL, ON_DISK], ids=["memory", "disk"])
def files(request: pytest.FixtureRequest) -> SealedFiles:
    made: SealedFiles = request.param
    return made


def lake_of(folder: Path) -> LocalStore:
    lake = LocalStore(folder / "lake")
    lake.write("a/b", DATA)
    return lake


def test_what_happens_to_the_object_later_does_not_reach_the_copy(tmp_path: Path, files: SealedFiles) -> None:
    lake = lake_of(tmp_path)
    with files.of(lake, "a/b", len(DATA)) as sealed:
        assert (sealed.size, sealed.sha256) == (len(DATA), hashlib.sha256(DATA).hexdigest())
        with lake.local_path("a/b").open("r+b") as file:
            file.write(b"in place")
        assert sealed.path.read_bytes() == DATA
        (tmp_path / "other").write_bytes(b"renamed over")
        os.replace(tmp_path / "other", lake.local_path("a/b"))
        lake.delete("a/b")
        assert sealed.path.read_bytes() == DATA and sealed.path.stat().st_size == len(DATA)


def test_nothing_in_this_process_writes_to_it(tmp_path: Path, files: SealedFiles) -> None:
    with files.of(lake_of(tmp_path), "a/b", len(DATA)) as sealed:
        number = number_of(sealed.path)
        assert number is not None and number in sealed_numbers()
        for change in (lambda: os.write(number, b"x"), lambda: os.ftruncate(number, 0)):
            with pytest.raises(OSError):
                change()
        if files is SMALL:
            with pytest.raises(PermissionError), sealed.path.open("r+b", buffering=0) as file:
                file.write(b"x")


def test_above_the_budget_it_is_a_file_without_a_name_beside_the_object(tmp_path: Path) -> None:
    lake = lake_of(tmp_path)
    with ON_DISK.of(lake, "a/b", len(DATA)) as sealed:
        place = os.readlink(sealed.path)
        assert place.startswith(f"{tmp_path}/lake/a/") and place.endswith("(deleted)")
        assert [path.name for path in (tmp_path / "lake" / "a").iterdir()] == ["b"]
    budget = SealedFiles(memory=len(DATA))
    with budget.of(lake, "a/b", len(DATA)) as first, budget.of(lake, "a/b", len(DATA)) as second:
        assert [os.readlink(file.path).startswith("/memfd:") for file in (first, second)] == [True, False]
    with budget.of(lake, "a/b", len(DATA)) as again:
        assert os.readlink(again.path).startswith("/memfd:")


def test_objects_of_a_store_elsewhere_are_sealed_too(files: SealedFiles) -> None:
    store = MemoryStore()
    store.write("k", DATA)
    with files.of(store, "k", len(DATA)) as sealed:
        assert sealed.path.read_bytes() == DATA
    with pytest.raises(ObjectNotFound), files.of(store, "none", 1):
        pass


def test_an_object_longer_than_it_should_be_fills_no_memory(tmp_path: Path) -> None:
    lake = LocalStore(tmp_path / "lake")
    lake.write("k", b"x" * 8_000_000)
    with SMALL.of(lake, "k", 10) as sealed:
        assert 10 < sealed.size < 1_000_000


def test_a_path_that_outlives_its_file_opens_nothing(tmp_path: Path) -> None:
    lake = lake_of(tmp_path)
    with SMALL.of(lake, "a/b", len(DATA)) as sealed:
        pass
    for _ in range(100):
        with SMALL.of(lake, "a/b", len(DATA)) as other:
            assert other.path != sealed.path
            with pytest.raises(FileNotFoundError):
                sealed.path.read_bytes()


def test_another_process_of_this_machine_reads_it_while_it_is_held(tmp_path: Path, files: SealedFiles) -> None:
    with files.of(lake_of(tmp_path), "a/b", len(DATA)) as sealed:
        there = for_other_processes(sealed.path)
        code = f"import sys; sys.stdout.buffer.write(open({str(there)!r}, 'rb').read())"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == DATA
    assert for_other_processes(tmp_path) == tmp_path


def test_where_no_more_files_can_be_opened_the_limit_is_named(tmp_path: Path) -> None:
    lake_of(tmp_path)
    code = f"""
        import resource
        from contextlib import ExitStack
        from pathlib import Path
        from orchestrai.errors import ConfigError
        from orchestrai.storage.local import LocalStore
        from orchestrai.storage.disk.sealed import SealedFiles
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 100))
        lake = LocalStore(Path({str(tmp_path / "lake")!r}))
        with ExitStack() as stack:
            try:
                for number in range(200):
                    assert stack.enter_context(SealedFiles().of(lake, "a/b", {len(DATA)})).path.read_bytes()
            except ConfigError as error:
                print(number > 50, error.message)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("True expected to hold more than") and "ulimit -n" in done.stdout


def test_a_full_disk_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orchestrai.storage.disk.sealed.copy", full)
    with pytest.raises(StorageError, match="free space there"), ON_DISK.of(lake_of(tmp_path), "a/b", len(DATA)):
        pass
