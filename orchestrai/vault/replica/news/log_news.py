"""What came to the ledger's logs behind a replica's progress: their entries, and the records that these name by hash.

Nothing here is judged: who reads an entry judges its signature, and what lies under a hash proves itself by it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrai.errors import IntegrityError, ObjectNotFound
from orchestrai.ledger.format.dataset_pages import DatasetPages, ManifestTree
from orchestrai.ledger.heads import last_number
from orchestrai.ledger.manifest import blob_key, read_blob
from orchestrai.ledger.signing import opened_envelope
from orchestrai.storage.base import Store
from orchestrai.vault.chain.numbered_logs import log_names, record_key
from orchestrai.vault.replica.record_proof import HEADS
from orchestrai.vault.verify.verification import Finding


@dataclass
class LogNews:
    """The entries behind those that are `known`, and all that they name."""

    store: Store
    known: Mapping[str, int]
    last: dict[str, int] = field(default_factory=dict)
    entries: list[str] = field(default_factory=list)
    blobs: dict[str, None] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read the new entries; of one that names what is not there it is told."""
        for asset in log_names(self.store, HEADS, self.known):
            before = self.known.get(asset, 0)
            self.last[asset] = last_number(self.store, asset, before)
            for seq in range(before + 1, self.last[asset] + 1):
                key = record_key(HEADS, asset, seq)
                self.entries.append(key)
                try:
                    self.blobs |= dict.fromkeys(self._named(asset, seq))
                except (IntegrityError, ObjectNotFound, ValueError, KeyError, TypeError) as exc:
                    problem = f"expected all that it names in {self.store.url}, found that it cannot be read ({exc})"
                    self.findings.append(Finding(key, f"{problem}: run `orchestrai vault heal`"))

    def _named(self, asset: str, seq: int) -> Iterator[str]:
        body = self._body(asset, seq)
        pages = DatasetPages(asset, lambda digest: read_blob(self.store, "manifests", digest, "run `orchestrai vault heal`"))
        before = self._tree_before(pages, asset, seq)
        if body["receipt"]:
            yield blob_key("receipts", str(body["receipt"]))
        for page, content in pages.tree(str(body["manifest"])).fresh(before):
            yield blob_key("manifests", page.place)
            for row in content if page.height == 0 else ():
                if before is None or before.get(row.partition) != row:
                    yield blob_key("manifests", row.manifest)
                    yield blob_key("receipts", row.receipt)

    def _tree_before(self, pages: DatasetPages, asset: str, seq: int) -> ManifestTree | None:
        """The manifest of the entry before; None where there is none to be read, so that all is named."""
        if seq == 1:
            return None
        try:
            return pages.tree(str(self._body(asset, seq - 1)["manifest"]))
        except (IntegrityError, ObjectNotFound, ValueError, KeyError, TypeError):
            return None

    def _body(self, asset: str, seq: int) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(opened_envelope(self.store.read(record_key(HEADS, asset, seq)))[1])
        return body
