"""Adding, ending and limiting the keys of a vault: records of its key log, signed by its root.

An end is recorded in two steps. The first record says that the key is ending; whoever meets it signs no more with that key. Then a census
is taken of all that the key has signed, and the second record names it. A writer looks for the first record after each commit: where
there is none yet, its commit was there before the census, and counts.
"""

import base64
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from orchestrai.core.canonical import sha256_hex
from orchestrai.core.parallel import map_calls
from orchestrai.errors import ConcurrentCommit, ConfigError, IntegrityError, ObjectExists, ObjectNotFound
from orchestrai.ledger.decisions.signed_record import require_reason
from orchestrai.ledger.log_replica import RECORDS
from orchestrai.ledger.signing import HEAD_TYPE, Signer, key_id, opened_envelope
from orchestrai.ledger.trust.key_log import (
    APPROVED,
    CENSUS,
    KEY_LOG,
    KeyLog,
    LoggedKey,
    census_bytes,
    logged,
    record_key,
    sign_record,
)
from orchestrai.ledger.trust.key_rules import LoggedRules
from orchestrai.storage.base import Store
from orchestrai.vault.format.layout import BYTES, ROOT, SNAPSHOTS
from orchestrai.vault.format.records import COMMIT_TYPE, HOLD_TYPE, TOMBSTONE_TYPE, SnapshotCommit

_ERASURE_TYPE = "application/vnd.orchestrai.erasure+json"
# what is content alone, and signed by nobody
_UNSIGNED = (*BYTES, KEY_LOG, CENSUS, "manifests/", "contracts/")
# signed records of a lake that its vault has no copy of
_LAKE_ALONE = ("deadletters/",)


@dataclass(frozen=True)
class Signed:
    """One record that a key signed: where it lies, in which chain under which number (0: in none), and when it was made."""

    key: str
    digest: str
    chain: str
    seq: int
    moment: datetime


@dataclass(frozen=True)
class Ending:
    """What the end of a key does: what counts on, and what stops counting, both by where they lie."""

    key: str
    counts: tuple[Signed, ...]
    stops: tuple[Signed, ...]
    chains: Mapping[str, tuple[int, str]]


@dataclass(frozen=True)
class Ceremony:
    """Changes to the key log of a vault; `lake` is where records may lie that the vault has no copy of yet.

    A `voucher` among the keys signs the records too, so that whoever trusts it knows the root by it.
    """

    vault: Store
    rules: LoggedRules
    root: Signer
    lake: Store
    by: str
    now: Callable[[], datetime]
    voucher: Signer | None = None
    threads: int = 16

    # -- changes ---------------------------------------------------------------------------------------------

    def add(self, key: Ed25519PublicKey, roles: Collection[str], reason: str, *, history: bool = False) -> KeyLog:
        """Add a key, valid from the present end of each chain on, or with `history` from their beginnings; raises ConfigError."""
        log, name = self._log(reason), key_id(key)
        if name in log.keys:
            raise ConfigError(
                f"expected a new key, found {name} in the key log since record {log.keys[name].since}: roles stay for a key's life"
            )
        starts = {} if history else {chain: seq for chain, (seq, _) in self.chains().items()}
        return self._append(log, "add", name, reason, {"add": {name: logged(key, frozenset(roles), starts)}})

    def end(
        self, name: str, reason: str, *, successor: Ed25519PublicKey | None = None, since: SnapshotCommit | None = None
    ) -> KeyLog:
        """End a key, here or before the commit `since`; a `successor` takes its roles. A repeat goes on where one died."""
        log = self.begin_end(name, reason, successor=successor)
        ending = self.ending(name, since)
        census = census_bytes({bytes.fromhex(one.digest) for one in ending.counts})
        digest = self._keep(census)
        end = {"chains": {chain: list(place) for chain, place in ending.chains.items()}, "census": digest}
        return self._append(log, "rotate" if successor is not None else "revoke", name, reason, {"end": {name: end}})

    def begin_end(self, name: str, reason: str, *, successor: Ed25519PublicKey | None = None) -> KeyLog:
        """The first step of an end: from here on the key's owner signs no more, and a successor may. Idempotent."""
        log = self._log(reason)
        key = require_valid(log, name)
        if key.ending:
            return log
        self._require_others(log, name, successor)
        parts: dict[str, Any] = {"ending": [name]}
        if successor is not None and key_id(successor) not in log.keys:
            starts = {chain: seq for chain, (seq, _) in self.chains().items()}
            parts["add"] = {key_id(successor): logged(successor, key.roles, starts)}
        return self._append(log, "ending", name, reason, parts)

    def require_approvals(self, numbers: Mapping[str, int], reason: str) -> KeyLog:
        """Say how many keys must sign for what; what was signed before counts on. Raises ConfigError where there are not so many keys."""
        log = self._log(reason)
        roles = dict(zip(APPROVED, ("prune", "release", "decide"), strict=True))
        for what, number in numbers.items():
            if what not in roles or number < 1:
                raise ConfigError(f"expected {', '.join(f'{one}=N' for one in APPROVED)}, found {what}={number}")
            able = [name for name, key in log.keys.items() if not key.ended and roles[what] in key.roles]
            if len(able) < number:
                raise ConfigError(f"expected {number} keys with the role {roles[what]}, found {len(able)}: add them first")
        exempt = {bytes.fromhex(digest) for digest in self._approvable()}
        parts = {"approvals": {**log.approvals, **numbers}, "exempt": self._keep(census_bytes(exempt))}
        return self._append(log, "approvals", "", reason, parts)

    def change_root(self, new: Signer, reason: str) -> KeyLog:
        """Let another key be root from here on: the present one signs it in, and it signs that it is there. Idempotent.

        Raises ConfigError for one that was root before, or that signs records of the vault.
        """
        require_reason("a change of the root", reason, self.by)
        before = self.rules.refresh()
        if before is not None and key_id(before.root) == new.key_id and len(before.roots) > 1:
            return before  # the one that died had got so far
        log = self._log(reason)
        if new.key_id in log.keys or any(key_id(one) == new.key_id for one in log.roots):
            raise ConfigError(f"expected a new key for a root, found {new.key_id} in the key log: make another")
        parts = {"root": base64.b64encode(new.private_key.public_key().public_bytes_raw()).decode()}
        return self._append(log, "root", new.key_id, reason, parts, new)

    # -- what is there ---------------------------------------------------------------------------------------

    def chains(self) -> dict[str, tuple[int, str]]:
        """The end of each chain and log, as number and digest."""
        last: dict[str, tuple[int, str, Store]] = {}
        for store in (self.lake, self.vault):
            for prefix in (SNAPSHOTS, "heads/"):
                for info in store.list(prefix):
                    chain, _, file = info.key.rpartition("/")
                    number = int(file[:12]) if file[:12].isdigit() else -1
                    if number >= last.get(chain, (0, "", store))[0]:
                        last[chain] = number, info.key, store
        return {chain: (number, sha256_hex(store.read(key))) for chain, (number, key, store) in last.items()}

    def ending(self, name: str, since: SnapshotCommit | None) -> Ending:
        """What a key has signed, and which of it counts when the key ends before a commit (all, where none is given)."""
        signed = sorted(self._signed_by(name), key=lambda one: (one.chain, one.seq, one.key))
        chains = self.chains()
        if since is None:
            return Ending(name, tuple(signed), (), chains)
        counts: list[Signed] = []
        stops: list[Signed] = []
        cut: dict[str, int] = {f"{SNAPSHOTS}{since.dataset}": since.seq}
        for one in signed:
            if one.chain and one.moment >= since.committed:
                cut[one.chain] = min(one.seq, cut.get(one.chain, one.seq))
        for one in signed:
            after = one.seq >= cut[one.chain] if one.chain in cut else not one.chain and one.moment >= since.committed
            (stops if after else counts).append(one)
        for chain, seq in cut.items():
            chains[chain] = seq - 1, self._digest_at(chain, seq - 1)
        return Ending(name, tuple(counts), tuple(stops), chains)

    def _digest_at(self, chain: str, seq: int) -> str:
        for store in (self.vault, self.lake):
            try:
                return sha256_hex(store.read(f"{chain}/{seq:012d}.json"))
            except ObjectNotFound:
                continue
        return ""

    def _signed_by(self, name: str) -> Iterator[Signed]:
        seen: set[str] = set()
        for key, modified, envelope in self._records():
            if f'"keyid":"{name}"'.encode() not in envelope:
                continue
            digest = sha256_hex(envelope)
            if digest in seen:
                continue
            seen.add(digest)
            yield _signed(key, digest, envelope, modified)

    def _approvable(self) -> Iterator[str]:
        for _, _, envelope in self._records():
            try:
                kind, payload, _ = opened_envelope(envelope)
            except IntegrityError:
                continue
            if kind in (TOMBSTONE_TYPE, _ERASURE_TYPE) or (kind == HOLD_TYPE and not json.loads(payload)["on"]):
                yield sha256_hex(envelope)

    def _records(self) -> Iterator[tuple[str, datetime, bytes]]:
        """Every record of the vault, and of the lake what may not be in the vault yet."""
        for store, prefixes in ((self.vault, (ROOT, *RECORDS)), (self.lake, (*RECORDS, *_LAKE_ALONE))):
            infos = [one for prefix in prefixes for one in store.list(prefix) if not one.key.startswith(_UNSIGNED)]
            reads = ((info.key, info.modified, partial(_read, store, info.key)) for info in infos)
            if not self.threads:
                yield from ((key, modified, read()) for key, modified, read in reads)
                continue
            envelopes = map_calls(partial(_read, store), [info.key for info in infos], self.threads)
            yield from ((info.key, info.modified, data) for info, data in zip(infos, envelopes, strict=True))

    # -- the log ---------------------------------------------------------------------------------------------

    def _log(self, reason: str) -> KeyLog:
        require_reason("a change of the key log", reason, self.by)
        log = self.rules.refresh()
        if log is None:
            raise ConfigError(f"expected a vault with a key log in {self.vault.url}, found none: take a snapshot first")
        if self.root.key_id != key_id(log.root):
            raise ConfigError(
                f"expected the vault's root key {key_id(log.root)} to sign with, found {self.root.key_id}: give --root FILE"
            )
        return log

    def _require_others(self, log: KeyLog, name: str, successor: Ed25519PublicKey | None) -> None:
        left = [other for other, key in log.keys.items() if other != name and not key.ended and "write" in key.roles]
        if not left and successor is None:
            raise ConfigError(
                f"expected another key that may write, found {name} alone: rotate it instead, or add one first"
            )

    def _append(self, log: KeyLog, change: str, key: str, reason: str, parts: Mapping[str, Any], *others: Signer) -> KeyLog:
        body = {
            "vault": log.vault,
            "seq": log.seq + 1,
            "previous": log.digest,
            "change": change,
            "key": key,
            "time": self.now().isoformat(),
            "by": self.by,
            "reason": reason,
            **parts,
        }
        vouching = () if self.voucher is None or self.voucher.key_id == self.root.key_id else (self.voucher,)
        envelope, place = sign_record(body, self.root, *others, *vouching), record_key(log.seq + 1)
        try:
            self.vault.write(place, envelope, create=True)
        except ObjectExists as exc:
            if self.vault.read(place) != envelope:
                raise ConcurrentCommit(
                    f"expected to write {place}, found that another change was first: run it again"
                ) from exc
        after = self.rules.refresh()
        assert after is not None
        return after

    def _keep(self, census: bytes) -> str:
        digest = sha256_hex(census)
        try:
            self.vault.write(f"{CENSUS}{digest}", census, create=True)
        except ObjectExists:
            pass  # its name says what it holds
        return digest


def require_valid(log: KeyLog, name: str) -> LoggedKey:
    """A key of the log that is not ended; raises ConfigError."""
    key = log.keys.get(name)
    if key is None or key.ended:
        valid = ", ".join(sorted(one for one, other in log.keys.items() if not other.ended))
        raise ConfigError(f"expected one of the valid keys {valid}, found {name}{' (ended)' if key else ''}")
    return key


def begun(log: KeyLog) -> Sequence[str]:
    """The keys whose end was begun and not finished."""
    return sorted(name for name, key in log.keys.items() if key.ending)


def _read(store: Store, key: str) -> bytes:
    try:
        return store.read(key)
    except ObjectNotFound:
        return b""  # removed between the two looks


def _signed(key: str, digest: str, envelope: bytes, modified: datetime) -> Signed:
    try:
        kind, payload, _ = opened_envelope(envelope)
        body = json.loads(payload) if kind in (COMMIT_TYPE, HEAD_TYPE) else {}
        time = body.get("time") or body.get("created")
        moment = datetime.fromisoformat(time) if time else modified
    except (IntegrityError, ValueError, AttributeError):
        return Signed(key, digest, "", 0, modified)
    return Signed(key, digest, key.rpartition("/")[0] if body else "", int(body.get("seq", 0)), moment)
