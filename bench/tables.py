"""`make bench-tables`: what a table with time travel costs beside the formats' own libraries, CPU seconds of this process.

A dataset of small partitions (`--partitions`, 1,000 by default) becomes an Iceberg and a Delta table; then one partition changes, and then
nothing does. The peers do what they are made for: pyiceberg registers the same files (`add_files`, which reads footers and hashes nothing),
delta-rs writes the same rows (files that it registers it does not look at); for one changed partition both overwrite its rows. Ours looks
at each new file by its hash. One JSON object a line; exits 1 if any is not ok.
"""

import argparse
import json
import pathlib
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrai.core.code_identity import Producer
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.storage.local import LocalStore
from orchestrai.warehouse.tables.delta_table import DeltaTable
from orchestrai.warehouse.tables.follow import follow
from orchestrai.warehouse.tables.iceberg.iceberg_catalog import IcebergPlace
from orchestrai.warehouse.tables.iceberg.iceberg_table import IcebergTable

ASSET = "bench/rows/restored"
COLUMNS = pa.schema(
    [("id", pa.int64()), ("part", pa.string()), ("at", pa.timestamp("us", tz="UTC")), ("level", pa.float64())]
)
ROWS = 200
MOMENT = datetime(2026, 1, 5, tzinfo=UTC)
# ours / theirs. For a changed partition pyiceberg's list is read once more, since files are found by their place and not by bounds; nothing
# new is held against one changed partition
TARGETS = {"fill": 1.0, "one changed": 2.0, "nothing new": 0.1}
failed = False


def cpu() -> float:
    """User and system seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def cost(work: Callable[[], object]) -> float:
    """What some work uses."""
    before = cpu()
    work()
    return cpu() - before


def line(case: str, ours: list[float], peer: str, theirs: list[float], target: float) -> None:
    """Print one result, of the medians of the rounds."""
    global failed
    mine, other = statistics.median(ours), statistics.median(theirs)
    ratio = mine / other
    failed |= ratio > target
    body = {"ours": round(mine, 3), "peer": peer, "theirs": round(other, 3), "ratio": round(ratio, 3), "target": target}
    print(json.dumps({"bench": "tables", "case": case, "metric": "cpu_s", **body, "ok": ratio <= target}), flush=True)


def rows(key: str, first: int) -> pa.Table:
    """A partition's rows."""
    items = [{"id": first + n, "part": key, "at": MOMENT, "level": n / 7} for n in range(ROWS)]
    return pa.Table.from_pylist(items, COLUMNS)


class World:
    """A dataset with its tables, and the same for the peers."""

    def __init__(self, folder: pathlib.Path, partitions: int) -> None:
        self.folder = folder
        vault = LocalStore(folder / "vault")
        self.ledger = Ledger(LocalStore(folder / "lake"), load_or_create_signer(folder / "keys"), vault=vault)
        self.keys = [f"{number:06d}" for number in range(partitions)]
        self.publish(self.keys, 0)

    def publish(self, keys: list[str], first: int) -> None:
        """Publish partitions."""
        session = self.ledger.session(ASSET, Producer("restored", "orchestrai.restore.run"))
        for key in keys:
            path = self.folder / "staged.parquet"
            pq.write_table(rows(key, first), path)
            session.add_file(key, "part-0.parquet", path, rows=ROWS)
        session.commit()

    def ours(self, form: str) -> None:
        """Bring our table to the version that is published."""
        lake = self.ledger.lake
        place = IcebergPlace("bench.rows", f"sqlite:///{self.folder}/catalog.db", lake, "tables/bench/rows")
        table: Any = (
            DeltaTable(ASSET, lake, COLUMNS, self.ledger.clock)
            if form == "delta"
            else IcebergTable(place, ASSET, lake, COLUMNS)
        )
        follow(self.ledger, ASSET, table, set)
        table.close()

    def peer(self) -> Any:
        """pyiceberg's table of the same rows, made when it is first asked for."""
        from pyiceberg.catalog.sql import SqlCatalog

        catalog = SqlCatalog("peer", uri=f"sqlite:///{self.folder}/peer.db", warehouse=f"file://{self.folder}/peer")
        catalog.create_namespace_if_not_exists("bench")
        return catalog.create_table_if_not_exists("bench.rows", schema=COLUMNS)

    def add_files(self) -> None:
        """What pyiceberg has for files that are there."""
        dataset = self.ledger.open(ASSET)
        entries = [entry for key in dataset.partitions for entry in dataset.files(key).files]
        self.peer().add_files([f"file://{self.folder}/lake/{entry.key}" for entry in entries])

    def overwrite(self, key: str) -> None:
        """pyiceberg: the rows of one partition in the place of what is there."""
        self.peer().overwrite(rows(key, 7), overwrite_filter=f"part = '{key}'")

    def write_delta(self, key: str | None) -> None:
        """delta-rs: all rows, or those of one partition in the place of what is there."""
        import deltalake

        data = rows(key, 7) if key else pa.concat_tables([rows(one, 0) for one in self.keys])
        more: dict[str, Any] = {"predicate": f"part = '{key}'"} if key else {"partition_by": ["part"]}
        deltalake.write_deltalake(str(self.folder / "delta"), data, mode="overwrite", **more)


def main() -> int:
    """Rounds of both sides in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partitions", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    found: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    for number in range(asked.rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            world = World(pathlib.Path(folder), asked.partitions)
            last = world.keys[-1]
            costs = [
                ("iceberg", "fill", cost(partial(world.ours, "iceberg")), cost(world.add_files)),
                ("delta", "fill", cost(partial(world.ours, "delta")), cost(partial(world.write_delta, None))),
            ]
            world.publish([last], 7)
            iceberg = cost(partial(world.overwrite, last))
            costs.append(("iceberg", "one changed", cost(partial(world.ours, "iceberg")), iceberg))
            delta = cost(partial(world.write_delta, last))
            costs.append(("delta", "one changed", cost(partial(world.ours, "delta")), delta))
            for form, once in (("iceberg", iceberg), ("delta", delta)):
                costs.append((form, "nothing new", cost(partial(world.ours, form)), once))
        # the first round is what it takes to import all of it
        for form, case, mine, other in costs if number else ():
            ours, peers = found.setdefault((form, case), ([], []))
            ours.append(mine)
            peers.append(other)
    for (form, case), (ours, peers) in found.items():
        peer = "pyiceberg" if form == "iceberg" else "delta-rs"
        line(f"{form}, {asked.partitions} partitions, {case}", ours, peer, peers, TARGETS[case])
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
