"""An index of all lineage, rebuilt from receipts: which derivation fed which, for questions in both directions.

A derivation is one partition under one receipt. Receipts with many inputs and many outputs get a hub between them, so that
edges grow with their sum and not with their product.
"""

import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrai.ledger.heads import Head
from orchestrai.ledger.receipt import InputRef, Receipt
from orchestrai.ledger.signing import Keyring
from orchestrai.provenance.lineage import VERBATIM, learned_from
from orchestrai.provenance.verified_records import Records
from orchestrai.storage.base import Store

_SCHEMA = """
create table node (id integer primary key, kind text not null, asset text not null, partition text not null, root text not null,
                   receipt text not null, stage text not null, time text not null);
create table edge (src integer not null, dst integer not null, primary key (src, dst)) without rowid;
create table version (asset text not null, version text not null, seq integer not null, node integer not null);
create table snapshot (snapshot_id text not null, receipt text not null);
"""
_INDICES = """
create index node_asset on node (asset, partition); create index node_root on node (root); create index node_receipt on node (receipt);
create index version_version on version (version); create index snapshot_id on snapshot (snapshot_id);
"""
OBJECT, DERIVED, HUB = "object", "derived", "hub"


@dataclass(frozen=True, slots=True)
class Derivation:
    """One partition of an asset under one receipt; for a landed object `asset` is its URI and `root` its SHA-256."""

    asset: str
    partition: str
    root: str
    receipt: str
    stage: str
    time: str


class ReceiptIndex:
    """Edges between landed objects and derivations, in SQLite; rebuilt from a store of records, never the only copy."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database

    @classmethod
    def empty(cls, path: Path | None = None) -> "ReceiptIndex":
        """A new index, in memory unless a path is given (a file there is replaced)."""
        if path is not None:
            path.unlink(missing_ok=True)
        database = sqlite3.connect(path or ":memory:")
        database.executescript(_SCHEMA)
        return cls(database)

    @classmethod
    def build(cls, store: Store, keyring: Keyring, path: Path | None = None) -> "ReceiptIndex":
        """Read every committed receipt of a lake or vault, each verified; raises IntegrityError for one that does not verify."""
        index = cls.empty(path)
        records = Records(store, keyring)
        _Builder(index, records).run()
        index.finish()
        return index

    def add_nodes(self, rows: Iterable[tuple[int, str, str, str, str, str, str, str]]) -> None:
        """Add (id, kind, asset, partition, root, receipt, stage, time)."""
        self.database.executemany("insert into node values (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def add_edges(self, rows: Iterable[tuple[int, int]]) -> None:
        """Add (source, target) by node id; a repeated one is no error."""
        self.database.executemany("insert or ignore into edge values (?, ?)", rows)

    def finish(self) -> None:
        """Make questions fast; call once after adding."""
        self.database.executescript(_INDICES)
        self.database.commit()

    def start(self, target: str) -> list[int]:
        """The nodes a person means by a URI, an object's hash, a snapshot id, `asset@partition`, or a version or root."""
        for sql, arguments in _meanings(target):
            nodes = [row[0] for row in self.database.execute(sql, arguments)]
            if nodes:
                return nodes
        return []

    def nodes(self, asset: str, partition: str, root: str) -> list[int]:
        """The derivations of one partition at one root."""
        sql = "select id from node where asset = ? and partition = ? and root = ?"
        return [row[0] for row in self.database.execute(sql, (asset, partition, root))]

    def reached(self, start: Iterable[int]) -> list[Derivation]:
        """Everything derived from some nodes, themselves included, by asset and partition."""
        self.database.execute("create temp table if not exists seed (id integer primary key)")
        self.database.execute("delete from seed")
        self.database.executemany("insert or ignore into seed values (?)", ((node,) for node in start))
        rows = self.database.execute(
            "with recursive reach(id) as (select id from seed union select edge.dst from reach join edge on edge.src = reach.id) "
            "select asset, partition, root, receipt, stage, time from reach join node using (id) where kind != 'hub' "
            "order by asset, partition, time, root"
        )
        return [Derivation(*row) for row in rows]

    @property
    def edges(self) -> int:
        """How many edges there are."""
        return int(self.database.execute("select count(*) from edge").fetchone()[0])


def _meanings(target: str) -> list[tuple[str, tuple[str, ...]]]:
    asset, _, rest = target.rpartition("@")
    digits = (rest if asset else target).removeprefix("sha256:")
    queries: list[tuple[str, tuple[str, ...]]] = [("select id from node where kind = 'object' and asset = ?", (target,))]
    if asset:
        queries.append(("select id from node where asset = ? and partition = ? and kind = 'derived'", (asset, rest)))
    queries.append(
        ("select node.id from snapshot join node using (receipt) where snapshot_id = ? and kind = 'derived'", (target,))
    )
    if len(digits) >= 8 and set(digits) <= set("0123456789abcdef"):
        last = digits + "g"
        span = (f"sha256:{digits}", f"sha256:{last}")
        scope = " and node.asset = ?" if asset else ""
        more = (asset,) if asset else ()
        queries += [
            (
                "select node.id from snapshot join node using (receipt) where snapshot_id >= ? and snapshot_id < ? and kind = 'derived'",
                (digits, last),
            ),
            (
                "select distinct node.id from version join node on node.id = version.node where version >= ? and version < ?"
                + scope,
                (*span, *more),
            ),
            ("select id from node where root >= ? and root < ? and kind = 'derived'" + scope, (*span, *more)),
            ("select id from node where root >= ? and root < ? and kind = 'object'", (digits, last)),
        ]
    return queries


class _Builder:
    """Replays every asset's log: which receipt each partition had at each head."""

    def __init__(self, index: ReceiptIndex, records: Records) -> None:
        self.index = index
        self.records = records
        self.nodes: dict[tuple[str, str], int] = {}
        self.rows: list[tuple[int, str, str, str, str, str, str, str]] = []
        self.edges: list[tuple[int, int]] = []
        # (asset, partition) -> numbers of the heads that changed it, and the node each made (0 when it was dropped)
        self.changes: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
        self.partitions: dict[str, set[str]] = {}
        self.work: list[tuple[Head, Receipt]] = []

    def run(self) -> None:
        versions: list[tuple[str, str, int, int]] = []
        snapshots: list[tuple[str, str]] = []
        for asset in self.records.assets():
            log = self.records.log(asset)
            self.records.plan_receipts(log)
            for head in log:
                receipt = self.records.receipt(head.receipt)
                self.work.append((head, receipt))
                versions += [(asset, head.version, head.seq, node) for node in self._changed(head, receipt) if node]
                named = receipt.facts.get("snapshot_id")
                if isinstance(named, str):
                    snapshots.append((named, head.receipt))
        for head, receipt in self.work:
            self._link(head, receipt)
        self.index.add_nodes(self.rows)
        self.index.add_edges(self.edges)
        self.index.database.executemany("insert into version values (?, ?, ?, ?)", versions)
        self.index.database.executemany("insert into snapshot values (?, ?)", snapshots)

    def _changed(self, head: Head, receipt: Receipt) -> list[int]:
        made = []
        for key in head.changed:
            root = receipt.partitions.get(key)
            node = (
                0
                if root is None
                else self._node(DERIVED, head.asset, key, root, head.receipt, receipt.stage, receipt.finished)
            )
            seqs, nodes = self.changes.setdefault((head.asset, key), ([], []))
            seqs.append(head.seq)
            nodes.append(node)
            self.partitions.setdefault(head.asset, set()).add(key)
            made.append(node)
        return made

    def _node(self, kind: str, asset: str, partition: str, root: str, receipt: str, stage: str, time: str) -> int:
        name = (asset, root) if kind == OBJECT else (receipt, partition if kind == DERIVED else "")
        node_id = self.nodes.get(name)
        if node_id is None:
            node_id = self.nodes[name] = len(self.nodes) + 1
            self.rows.append((node_id, kind, asset, partition, root, receipt, stage, time))
        return node_id

    def _link(self, head: Head, receipt: Receipt) -> None:
        outputs = {key: self.nodes[head.receipt, key] for key in head.changed if key in receipt.partitions}
        for material in receipt.materials:
            source = self._node(OBJECT, material.uri, "", material.sha256, "", "landing", material.modified)
            targets = [outputs[material.partition]] if material.partition in outputs else list(outputs.values())
            self.edges += [(source, target) for target in targets]
        shared: set[int] = set()
        exact = self._exact(head, receipt) if receipt.stage == "features" else {}
        for ref in learned_from(receipt):
            seq = self.records.before(ref.asset, ref.version, receipt.finished).seq
            for key in ref.partitions or self.partitions.get(ref.asset, set()):
                source = self._current(ref, key, seq)
                if source == 0:
                    continue
                if receipt.stage in VERBATIM:
                    self.edges += [(source, outputs[key])] if key in outputs else []
                elif exact:
                    self.edges += [(source, outputs[out]) for out, named in exact.items() if key in named.get(ref.asset, {})]
                else:
                    shared.add(source)
        if shared:
            hub = self._node(HUB, head.asset, "", "", head.receipt, receipt.stage, receipt.finished)
            self.edges += [(source, hub) for source in shared]
            self.edges += [(hub, target) for target in outputs.values()]

    def _exact(self, head: Head, receipt: Receipt) -> dict[str, Mapping[str, Mapping[str, str]]]:
        """Each feature partition's own inputs, where every one of them names its own."""
        entries = self.records.entries(head, [key for key in head.changed if key in receipt.partitions])
        inputs = {key: self.records.files(head.asset, entry).stats.get("inputs") for key, entry in entries.items()}
        known = {ref.asset: dict(ref.partitions) for ref in receipt.inputs}
        for named in inputs.values():
            if not isinstance(named, dict) or not all(
                roots.items() <= known.get(a, {}).items() for a, roots in named.items()
            ):
                return {}
        return {key: named for key, named in inputs.items() if isinstance(named, dict)}

    def _current(self, ref: InputRef, key: str, seq: int) -> int:
        seqs, nodes = self.changes.get((ref.asset, key), ([], []))
        place = bisect_right(seqs, seq) - 1
        return nodes[place] if place >= 0 else 0
