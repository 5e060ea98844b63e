"""What was found sound before, and when: up to which record of each chain, remembered under one's own signature.

It says where to go on, never that something is sound now: whoever forges it, or puts back an older one, costs the time of looking again.
It is bound to the vault and to the store it was found in, so that what was said of one copy is never said of another.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from orchestrai.core.canonical import canonical_json
from orchestrai.errors import IntegrityError
from orchestrai.ledger.signing import Keyring, Signer
from orchestrai.vault.format.records import VERIFIED_TYPE, document

# of records that name the end of each chain; those of 1 name every commit, and are taken for none
CHAINS_FORMAT = 2


class Reached(NamedTuple):
    """How far a chain was found sound: its last record, with its digest, and the number of its last commit, 0 for none.

    Of a replica also the numbers, as ranges, whose tombstones were copied.
    """

    seq: int
    digest: str
    commit: int
    gone: tuple[tuple[int, int], ...] = ()

    @property
    def gone_numbers(self) -> set[int]:
        """The numbers whose tombstones were copied, one by one."""
        return {seq for first, last in self.gone for seq in range(first, last + 1)}

    def body(self) -> list[object]:
        """What is signed of it."""
        return [self.seq, self.digest, self.commit, *([[list(span) for span in self.gone]] if self.gone else [])]


@dataclass(frozen=True)
class Proven:
    """How far each chain of a vault in one store was found sound, and since when that is known.

    Of a replica `logs` are the numbers of the last entries that were copied of each of the ledger's logs, with all that they name;
    None where that is not known.
    """

    vault: str
    store: str
    since: datetime
    chains: Mapping[str, Reached] = field(default_factory=dict)
    logs: Mapping[str, int] | None = None

    def sealed(self, signer: Signer) -> bytes:
        """The signed record."""
        chains = {name: reached.body() for name, reached in self.chains.items()}
        body: dict[str, Any] = {"format": CHAINS_FORMAT, "vault": self.vault, "store": self.store, "chains": chains}
        if self.logs is not None:
            body["logs"] = dict(self.logs)
        return signer.sign(VERIFIED_TYPE, canonical_json(body | {"since": self.since.astimezone(UTC).isoformat()}))

    def of(self, vault: str, store: str) -> "Proven | None":
        """Itself where it speaks of this vault in this store."""
        return self if (self.vault, self.store) == (vault, store) else None

    @classmethod
    def opened(cls, keyring: Keyring, envelope: bytes) -> "Proven | None":
        """What a record says; None for one that proves nothing, which only costs time."""
        try:
            body = document(keyring, VERIFIED_TYPE, envelope, CHAINS_FORMAT)
            chains = {
                str(name): Reached(int(seq), str(digest), int(last), _spans(*gone))
                for name, (seq, digest, last, *gone) in body["chains"].items()
            }
            logs = {str(name): int(seq) for name, seq in body["logs"].items()} if "logs" in body else None
            since = datetime.fromisoformat(body["since"]).astimezone(UTC)
            return cls(str(body["vault"]), str(body["store"]), since, chains, logs)
        except (IntegrityError, AttributeError, KeyError, TypeError, ValueError):
            return None

    @classmethod
    def read(cls, keyring: Keyring, path: Path) -> "Proven | None":
        """What a file remembers; None where there is none that proves anything."""
        return cls.opened(keyring, path.read_bytes()) if path.is_file() else None

    def keep(self, signer: Signer, path: Path) -> None:
        """Write it to a file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
        temporary.write_bytes(self.sealed(signer))
        os.replace(temporary, path)


def _spans(gone: Iterable[Iterable[int]] = ()) -> tuple[tuple[int, int], ...]:
    return tuple((int(first), int(last)) for first, last in gone)
