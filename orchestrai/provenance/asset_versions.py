"""The versions of one asset, read one after another: what successive ones share is parsed and hashed once."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from orchestrai.core.tree import merkle
from orchestrai.errors import IntegrityError
from orchestrai.ledger.manifest import FORMAT, canonical_json

Row = Sequence[Any]
END = b"]}"


class Versions:
    """Reads dataset manifests of one asset; fastest from old to new, as a dataset that grows only adds lines at the end."""

    def __init__(self, asset: str) -> None:
        self.asset = asset
        self._text = b""
        self._rows: dict[str, Row] = {}
        self._last = ""
        self._hashes: dict[tuple[str, str], bytes] = {}
        self._levels: list[list[bytes]] = [[]]

    def read(self, data: bytes) -> tuple[Mapping[str, Row], str]:
        """The lines of a manifest by partition, good until the next call, and the version that its leaves give; raises IntegrityError."""
        added = self._added(data)
        if added is None:
            rows = _rows(self.asset, data)
            self._rows = {row[0]: row for row in rows}
            leaves = [self._leaf(key, self._rows[key][1]) for key in sorted(self._rows)]
            self._last = max(self._rows, default="")
        else:
            self._rows.update((row[0], row) for row in added)
            leaves = self._levels[0] + [self._leaf(row[0], row[1]) for row in added]
            self._last = added[-1][0]
        self._text = data
        return self._rows, "sha256:" + self._root(leaves).hex()

    def _added(self, data: bytes) -> list[Row] | None:
        """The lines after those of the manifest read before, where all else is the same text; None where it is not."""
        size = len(self._text) - len(END)
        if size <= 0 or data[size : size + 1] != b"," or not data.startswith(self._text[:size]) or not data.endswith(END):
            return None
        try:
            added: list[Row] = json.loads(b"[%s]" % data[size + 1 : -len(END)])
        except ValueError:
            return None
        keys = [self._last, *(row[0] for row in added)]
        return added if all(one < two for one, two in pairwise(keys)) else None

    def _leaf(self, key: str, root: str) -> bytes:
        known = self._hashes.get((key, root))
        if known is None:
            known = self._hashes[key, root] = merkle.leaf_hash(canonical_json([key, root]))
        return known

    def _root(self, leaves: list[bytes]) -> bytes:
        """The Merkle root; inner nodes over leaves that did not change since the last call are taken from there."""
        before, self._levels = self._levels, [leaves]
        pairs = zip(before[0], leaves, strict=False)
        same = next((place for place, (old, new) in enumerate(pairs) if old != new), min(len(before[0]), len(leaves)))
        for number in range(1, 64):
            below = self._levels[-1]
            if len(below) < 2:
                break
            same //= 2
            level = before[number][:same] if same else []
            level += [merkle.node_hash(below[i], below[i + 1]) for i in range(2 * same, len(below) - 1, 2)]
            if len(below) % 2:
                level.append(below[-1])
            self._levels.append(level)
        return merkle.root_of_hashes(self._levels[-1])


def _rows(asset: str, data: bytes) -> list[Row]:
    try:
        document = json.loads(data)
    except ValueError as exc:
        raise IntegrityError(f"expected the manifest of {asset}, found bytes that do not parse ({exc})") from exc
    if not isinstance(document, dict) or document.get("format") != FORMAT or document["asset"] != asset:
        raise IntegrityError(f"expected the manifest of {asset}, found another record under its name")
    rows: list[Row] = document["partitions"]
    return rows
