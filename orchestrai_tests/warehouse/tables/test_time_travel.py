"""A table has a snapshot for each version of its dataset, and reads as of each what the ledger says that it holds."""

import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from orchestrai.errors import ConfigError, IntegrityError
from orchestrai.ledger.decisions.recalls import RECALLS, RecallRecord
from orchestrai.storage.local import LocalStore
from orchestrai_tests.warehouse.tables.conftest import ASSET, COLUMNS, World, some


def test_each_version_is_a_snapshot_with_the_rows_of_the_ledger(world: World) -> None:
    versions = [world.publish({"a": some(1, 2), "b": some(3, 4)})]
    assert world.follow().committed == 1
    versions.append(world.publish({"c": some(5, 6)}))
    versions.append(world.publish({"b": some(7, 8, 9)}))
    versions.append(world.publish({}, drop=["a"]))
    done = world.follow()
    # also those that were published while nobody looked
    assert (done.committed, done.rows, done.passed_over) == (3, 5, 0)
    assert world.versions() == versions
    for version in versions:
        assert world.read(version) == world.rows_of(version), version


def test_the_files_are_the_ledgers_own(world: World) -> None:
    world.publish({"a": some(1, 2), "b": some(3, 4)})
    before = {path for path in world.folder.rglob("*.parquet")}
    world.follow()
    world.publish({"b": some(5)})
    published = {path for path in world.folder.rglob("*.parquet")}
    world.follow()
    assert {path for path in world.folder.rglob("*.parquet")} == published > before


def test_a_run_without_anything_new_commits_nothing(world: World) -> None:
    version = world.publish({"a": some(1, 2)})
    world.follow()
    there = sorted((path, path.stat().st_mtime_ns) for path in world.folder.rglob("*") if "lake" in path.parts)
    done = world.follow()
    assert (done.committed, done.expired, done.version.version) == (0, 0, version)
    assert sorted((path, path.stat().st_mtime_ns) for path in world.folder.rglob("*") if "lake" in path.parts) == there


def test_a_version_that_comes_again_is_a_snapshot_again(world: World) -> None:
    first = world.publish({"a": some(1, 2)})
    world.follow()
    second = world.publish({"a": some(3)})
    world.follow()
    assert world.publish({"a": some(1, 2)}) == first
    world.follow()
    assert world.versions() == [first, second, first]
    assert world.read(first) == world.rows_of(first)


def test_a_column_that_came_later_is_null_before(world: World) -> None:
    world.publish({"a": some(1, 2)})
    world.follow()
    world.columns = COLUMNS.append(pa.field("more", pa.string()))
    version = world.publish({"b": [{**row, "more": "y"} for row in some(3, 4)]})
    world.follow()
    found = world.read(version)
    assert found == world.rows_of(version) and [row["more"] for row in found] == [None, None, "y", "y"]


def test_a_type_that_got_wider_reads_the_files_of_before_or_says_that_it_cannot(world: World) -> None:
    world.publish({"a": some(1, 2)})
    world.follow()
    wider = COLUMNS.set(COLUMNS.get_field_index("small"), pa.field("small", pa.int64()))
    world.columns = wider
    version = world.publish({"b": some(3, 4)})
    if world.form == "delta":
        with pytest.raises(ConfigError, match="to stay integer, found long declared"):
            world.follow()
        return
    world.follow()
    assert [row["small"] for row in world.read(version)] == [3, None, 3, None]


def test_a_file_that_a_column_cannot_be_read_from_is_refused_and_nothing_changes(world: World) -> None:
    version = world.publish({"a": some(1)})
    world.follow()
    other = COLUMNS.set(COLUMNS.get_field_index("good"), pa.field("good", pa.string()))
    world.publish({"b": [{**row, "good": "yes"} for row in some(3)]}, columns=other)
    with pytest.raises(ConfigError, match="expected good as bool in each file"):
        world.follow()
    assert world.versions() == [version]


def test_an_altered_file_is_not_named_in_a_table(world: World) -> None:
    version = world.publish({"a": some(1)})
    world.follow()
    world.publish({"b": some(2, 3)})
    (path,) = (world.folder / "lake" / "data" / ASSET / "b").rglob("part-0.parquet")
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="found them altered or gone"):
        world.follow()
    assert world.versions() == [version]


def test_a_recalled_partition_leaves_the_table_and_no_snapshot_names_it(world: World) -> None:
    clean = world.publish({"a": some(1, 2)})
    world.follow()
    world.publish({"b": some(3, 4)})
    bad = world.ledger.open(ASSET).partitions["b"]
    world.follow()
    later = world.publish({"c": some(5)})
    world.follow()
    recalled = RecallRecord("landing/b", "wrong", world.now.isoformat(), {}, ((ASSET, "b", bad.root),))
    RECALLS.put((world.lake,), world.ledger.signer, recalled)
    done = world.follow()
    assert (done.committed, done.version.left_out, done.rows) == (1, frozenset({"b"}), 3)
    # what Delta lets go of are its oldest versions, up to the last one that named it
    assert world.versions() == ([clean, later] if world.form == "iceberg" else [later])
    assert [row["id"] for row in world.read(later)] == [1, 2, 5]
    if world.form == "iceberg":
        assert world.read(clean) == world.rows_of(clean)
    assert world.follow().committed == 0
    # made again from clean inputs it is back
    mended = world.publish({"b": some(6)})
    assert world.follow().version.left_out == frozenset()
    assert world.read(mended) == world.rows_of(mended)


def test_snapshots_that_retention_does_not_keep_go(world: World) -> None:
    versions = []
    for number in range(5):
        versions.append(world.publish({"a": some(number, number + 1)}))
        world.follow()
    numbers: list[int] = []

    def last_two(published: Mapping[int, datetime]) -> set[int]:
        numbers.extend(published)
        assert [*published.values()] == sorted(published.values())
        return {*sorted(published)[-2:]}

    done = world.follow(last_two)
    assert (done.committed, done.expired, numbers) == (0, 3, [1, 2, 3, 4, 5])
    assert world.versions() == versions[-2:]
    for version in versions[-2:]:
        assert world.read(version) == world.rows_of(version)
    assert world.follow(last_two).expired == 0


def test_delta_lets_go_up_to_the_oldest_that_is_kept(tmp_path: Path) -> None:
    world = World(tmp_path, "delta", LocalStore(tmp_path / "lake"))
    versions = [world.publish({"a": some(number)}) for number in range(4)]
    for _ in versions:
        world.follow()
    for number in range(4, 8):
        versions.append(world.publish({"a": some(number)}))
        world.follow()
    # a version in the middle is kept, and so are those after it
    world.follow(lambda published: {4, *published} - {5, 6})
    assert world.versions() == versions[3:]


def test_a_long_delta_log_is_read_from_its_checkpoint_on(tmp_path: Path) -> None:
    world = World(tmp_path, "delta", LocalStore(tmp_path / "lake"))
    versions = []
    for number in range(23):
        versions.append(world.publish({f"k{number % 3}": some(number, number + 1)}))
        world.follow()
    log = tmp_path / "lake" / "data" / ASSET / "_delta_log"
    assert sorted(path.name for path in log.glob("*.checkpoint.parquet")) == [
        f"{number:020d}.checkpoint.parquet" for number in (10, 20)
    ]
    for version in (versions[0], versions[9], versions[10], versions[20], versions[22]):
        assert world.read(version) == world.rows_of(version)
    for number in range(20):
        (log / f"{number:020d}.json").unlink()
    assert world.follow().committed == 0
    versions.append(world.publish({"k9": some(99)}))
    world.follow()
    assert world.read(versions[-1]) == world.rows_of(versions[-1])


def test_a_table_of_another_asset_is_left_alone(tmp_path: Path) -> None:
    from pyiceberg.catalog.sql import SqlCatalog

    world = World(tmp_path, "iceberg", LocalStore(tmp_path / "lake"))
    world.publish({"a": some(1)})
    catalog = SqlCatalog("orchestrai", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/other")
    catalog.create_namespace("p")
    catalog.create_table("p.readings", schema=COLUMNS)
    with pytest.raises(ConfigError, match="declare another name"):
        world.follow()
    catalog.drop_table("p.readings")
    catalog.create_table("p.readings", schema=COLUMNS, location=f"file://{tmp_path}/lake/tables/other")
    with pytest.raises(ConfigError, match="found it of somebody else: declare another name"):
        world.follow()
    assert catalog.load_table("p.readings").current_snapshot() is None
    catalog.close()


def test_a_table_that_another_ledger_filled_is_compared_as_a_whole(world: World) -> None:
    world.publish({"a": some(1, 2), "b": some(3)})
    world.follow()
    # a lake that was made anew: its first head has the number of the one that the table names
    shutil.rmtree(world.folder / "lake" / "heads")
    shutil.rmtree(world.folder / "vault")
    again = World(world.folder, world.form, world.lake)
    version = again.publish({"b": some(4)})
    done = again.follow()
    assert (done.committed, done.rows) == (1, 1)
    assert again.read(version) == again.rows_of(version)


def test_what_others_commit_to_the_table_is_undone(world: World) -> None:
    first = world.publish({"a": some(1, 2), "b": some(3)})
    world.follow()
    second = world.publish({"b": some(4)})
    world.follow()
    if world.form == "delta":
        import deltalake

        place = str(world.folder / "lake" / "data" / ASSET)
        deltalake.DeltaTable(place).restore(0)
    else:
        from pyiceberg.catalog.sql import SqlCatalog

        catalog = SqlCatalog("orchestrai", uri=f"sqlite:///{world.folder}/catalog.db")
        catalog.load_table("p.readings").delete("id = 1")
        catalog.close()
    assert world.follow().committed == 1
    assert world.read(second) == world.rows_of(second) != world.rows_of(first)
