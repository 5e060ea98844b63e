"""An anchor: the newest commits, remembered outside the vault, so that a rollback of the whole vault is found."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrai.core.canonical import canonical_json
from orchestrai.errors import IntegrityError
from orchestrai.vault.format.records import ANCHOR_TYPE, FORMAT, document
from orchestrai.vault.vault import Vault

Rollback = Literal["none found", "found", "not provable"]


@dataclass(frozen=True)
class Anchored:
    """What an anchor remembers of one dataset."""

    seq: int
    digest: str
    forgotten: tuple[int, ...]


@dataclass(frozen=True)
class Anchor:
    """A signed file that remembers each dataset's newest commit; it must lie where who can write the vault cannot."""

    path: Path

    def read(self, vault: Vault) -> dict[str, Anchored] | None:
        """What it remembers, or None where there is no anchor yet; raises SignatureInvalid, IntegrityError."""
        if not self.path.exists():
            return None
        body = document(vault.keyring, ANCHOR_TYPE, self.path.read_bytes())
        if body["vault"] != vault.identity():
            raise IntegrityError(f"expected an anchor of vault {vault.identity()[:8]}, found one of {body['vault'][:8]}")
        return {name: Anchored(row[0], row[1], tuple(row[2])) for name, row in body["heads"].items()}

    def problems(self, vault: Vault) -> list[str] | None:
        """What the vault has lost since; None when there is no anchor, so that nothing can be proven."""
        remembered = self.read(vault)
        if remembered is None:
            return None
        commits = {(c.dataset, c.seq): c.digest for c in vault.catalog.commits(strict=False)}
        gone = vault.catalog.forgotten(strict=False)
        found = []
        for dataset, known in sorted(remembered.items()):
            if commits.get((dataset, known.seq)) != known.digest:
                found.append(f"expected commit {known.seq} of {dataset} as anchored, found it gone or altered: rolled back")
            found += [
                f"expected commit {seq} of {dataset} to stay forgotten, found its tombstone gone: rolled back"
                for seq in known.forgotten
                if (dataset, seq) not in gone and (dataset, seq) in commits
            ]
        return found

    def update(self, vault: Vault) -> None:
        """Remember the vault as it is now; raises IntegrityError when it was rolled back since the last time."""
        problems = self.problems(vault)
        if problems:
            raise IntegrityError(f"{problems[0]}; copy the vault back from its replica", problems=problems)
        gone = vault.catalog.forgotten()
        heads: dict[str, list[object]] = {}
        for commit in vault.catalog.commits():
            forgotten = sorted(seq for dataset, seq in gone if dataset == commit.dataset)
            heads[commit.dataset] = [commit.seq, commit.digest, forgotten]
        body = {"format": FORMAT, "vault": vault.identity(), "heads": heads}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.{os.urandom(4).hex()}")
        with temporary.open("wb") as sink:
            sink.write(vault.signer.sign(ANCHOR_TYPE, canonical_json(body)))
            sink.flush()
            os.fsync(sink.fileno())
        os.replace(temporary, self.path)


def rollback_state(problems: list[str] | None) -> Rollback:
    """How to tell what an anchor proves."""
    if problems is None:
        return "not provable"
    return "found" if problems else "none found"
