"""What a vault's key log lets each key sign, read once for each vault that is opened.

A key that is neither ended nor limited costs a look into a set. What an ended key signed counts if it is in the census that was taken
when it ended. Where a home has seen the log before, it keeps a copy (`keys/log/`), which the vault's log must go on from.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import IntegrityError, KeyRefused, NotCounted, ObjectExists, ObjectNotFound, SignatureInvalid
from orchestrai.ledger.signing import Keyring, Signer, key_id, opened_envelope
from orchestrai.ledger.trust.key_log import (
    ROLES,
    KeyLog,
    LoggedKey,
    census_of,
    fingerprint,
    first_record,
    log_envelopes,
    read_census,
    read_log,
    record_key,
)
from orchestrai.ledger.trust.key_log_copy import KeyLogCopy
from orchestrai.ledger.trust.record_roles import UNBOUND, asked
from orchestrai.storage.base import Store, exists

IDENTITY_KEY = "vault/identity.json"
CHAINS = "vault/snapshots/"
_KEYID = re.compile(rb'"keyid":"([0-9a-f]{16})"')


class LoggedRules:
    """The rules of one vault's key log; `base` are the keys that its reader trusts otherwise, and `root` a fingerprint it must have.

    A `copy` of a vault may lag behind: what its log lacks is taken from the home's copy of the log.
    """

    def __init__(
        self,
        store: Store,
        base: Keyring,
        *,
        folder: Path | None = None,
        root: str = "",
        copy: bool = False,
        own: Mapping[str, Ed25519PublicKey] | None = None,
    ) -> None:
        self.copy = copy
        self.own = own or {}
        self.store = store
        self.base = base
        self.folder = folder
        self.mirror = KeyLogCopy(folder / "log" if folder is not None else None)
        self.root = root
        self._read = False
        self._log: KeyLog | None = None
        self._free: frozenset[str] = frozenset()
        self._public: dict[str, Ed25519PublicKey] = {}
        self._censuses: dict[str, frozenset[bytes]] = {}

    # -- the log ---------------------------------------------------------------------------------------------

    def log(self) -> KeyLog | None:
        """The log, read at the first call; None where the vault has none."""
        if not self._read:
            self.refresh()
        return self._log

    def refresh(self) -> KeyLog | None:
        """Read the log anew; raises SignatureInvalid, IntegrityError where it is not the one that was seen before."""
        envelopes = log_envelopes(self.store)
        log = read_log(envelopes)
        mirrored = self._mirrored(log)
        if not self.copy and mirrored != envelopes[: len(mirrored)]:
            # another process of this home may have begun the log, or gone on with it, since it was read
            envelopes = log_envelopes(self.store)
            log = read_log(envelopes)
        elif self.copy and log is not None and len(mirrored) > len(envelopes) and mirrored[: len(envelopes)] == envelopes:
            envelopes, log = mirrored, read_log(mirrored)
        if log is not None:
            self._require_root(log)
            self._require_identity(log)
            if self._log is not None and log.digests[: self._log.seq] != self._log.digests:
                raise _cut(f"that was read before, {self._log.seq} records", log)
        elif self.root or self._log is not None:
            raise IntegrityError(f"expected a key log in {self.store.url}, found none: run `orchestrai vault heal --apply`")
        if mirrored != envelopes[: len(mirrored)]:
            raise _cut(f"that this home has a copy of, {len(mirrored)} records", log)
        if log is not None:
            self.mirror.extend(log.vault, envelopes, len(mirrored))
        free = {name for name, key in (log.keys if log else {}).items() if not key.ended and key.roles == frozenset(ROLES)}
        self._public = {**self.own, **({name: key.public for name, key in log.keys.items()} if log else {})}
        self._log, self._free, self._read = log, frozenset(free), True
        return log

    def begin(self, root: Signer | None, signer: Signer, time: str) -> KeyLog:
        """The log; made, signed by the root or else by the writer's own key, where the vault has none. Idempotent."""
        log = self.log()
        if log is None:
            named = self._named_by_chains()
            if named:
                # a rival may have begun it, and committed, since it was read
                log = self.refresh()
                if log is None:
                    raise _cut(f"that {named} names", None)
                return log
            identity = self.store.read(IDENTITY_KEY)
            vault = str(json.loads(self.base.open("application/vnd.orchestrai.vault+json", identity))["vault"])
            record = first_record(vault, sha256_hex(identity), root or signer, signer, self.base, time)
            try:
                self.store.write(record_key(1), record, create=True)
            except ObjectExists:
                pass  # another writer was first
            log = self.refresh()
            assert log is not None
        return log

    def _named_by_chains(self) -> str:
        """The key of a chain's newest record that names a key log, which is then not to be begun anew; empty for none."""
        newest = {info.key.rpartition("/")[0]: info.key for info in self.store.list(CHAINS)}
        for key in newest.values():
            try:
                named = json.loads(opened_envelope(self.store.read(key))[1]).get("key_log")
            except (ObjectNotFound, IntegrityError, ValueError, AttributeError):
                continue  # told by whoever reads the chain
            if named:
                return key
        return ""

    def _require_root(self, log: KeyLog) -> None:
        digits = fingerprint(log.root)
        if self.root:
            if not is_vouched(log, self.base, self.root):
                raise IntegrityError(
                    f"expected a key log of the root {self.root[:16]}..., found one of {digits[:16]}...: it is another's, or was cut off "
                    "before that root came"
                )
        elif not is_vouched(log, self.base):
            raise SignatureInvalid(
                f"expected a key log whose root is vouched for by a trusted key, found root {digits[:16]}... and "
                f"{', '.join(sorted(log.cosigners)) or 'nobody'}: trust one of them, or name the root by its fingerprint"
            )

    def _require_identity(self, log: KeyLog) -> None:
        try:
            identity = sha256_hex(self.store.read(IDENTITY_KEY))
        except ObjectNotFound:
            return  # a lake's witness, or told by whoever opens the vault
        if identity != log.identity:
            raise IntegrityError(
                f"expected the key log of this vault in {self.store.url}, found that of vault {log.vault[:8]}: "
                "see what its replicas have by `orchestrai vault heal`"
            )

    def _mirrored(self, log: KeyLog | None) -> list[bytes]:
        """The home's copy of this vault's log: the log must go on from it."""
        if log is None and not self.mirror.is_there:
            return []
        return self.mirror.records(log.vault if log is not None else self._vault_id())

    def _vault_id(self) -> str:
        try:
            return str(
                json.loads(self.base.open("application/vnd.orchestrai.vault+json", self.store.read(IDENTITY_KEY)))["vault"]
            )
        except (ObjectNotFound, IntegrityError):
            return ""

    # -- what the keyring asks -------------------------------------------------------------------------------

    def keys(self, otherwise: Mapping[str, Ed25519PublicKey]) -> Mapping[str, Ed25519PublicKey]:
        """Every key of the log, the ended ones too; `otherwise` where there is no log."""
        return otherwise if self.log() is None else self._public

    def named(self) -> str:
        """The end of the log as records name it; empty where there is none."""
        log = self.log()
        return log.named if log is not None else ""

    def admit(self, payload_type: str, envelope: bytes, payload: bytes, signers: list[str]) -> None:
        """Raise NotCounted for a record that these keys may not sign."""
        log = self.log()
        if log is None or (not log.approvals and any(name in self._free for name in signers)):
            return
        if any(name in self.own and name not in log.keys for name in signers):
            return
        roles, approval = asked(payload_type, payload)
        digest = bytes.fromhex(sha256_hex(envelope))
        refusals = [self._refusal(log.keys[name], name, payload_type, roles, digest) for name in signers]
        admitted = refusals.count("")
        if not admitted:
            raise NotCounted(f"expected a record by a key that may sign it, found that {refusals[0]}: it does not count")
        needed = log.approvals.get(approval, 1)
        if admitted < needed and digest not in self._census(log.exempt):
            raise NotCounted(f"expected {needed} signatures for {approval}, found {admitted} that count: it does not count")

    def _refusal(self, key: LoggedKey, name: str, kind: str, roles: frozenset[str], digest: bytes) -> str:
        if key.ended and kind not in UNBOUND and digest not in self._census(key.census):
            return f"{name} was ended by record {key.ended} of the key log ({key.reason}) and had not signed this by then"
        if not key.roles & roles:
            return f"{name} has the roles {', '.join(sorted(key.roles)) or 'none'} and not {' or '.join(sorted(roles))}"
        return ""

    def _census(self, digest: str) -> frozenset[bytes]:
        """What is in a census; of one that a copy of the vault has not yet, the home's copy."""
        if digest not in self._censuses:
            log = self.log()
            vault = log.vault if log is not None else ""
            kept = self.mirror.census(vault, digest) if self.copy and vault else None
            if kept is not None:
                self._censuses[digest] = census_of(kept, digest)
            else:
                data = read_census(self.store, digest)
                self._censuses[digest] = census_of(data, digest)
                if vault:
                    self.mirror.keep_census(vault, digest, data)
        return self._censuses[digest]

    def require_known(self, named: str) -> None:
        """Raise IntegrityError where the log is not the one that a record names."""
        if not named:
            return
        number, _, digest = named.partition(":")
        seq, log = int(number), self.log()
        if log is None or log.seq < seq:
            log = self.refresh()
        if log is None or log.seq < seq or log.digests[seq - 1] != digest:
            raise _cut(f"that a record names, {seq} records", log)

    def require_begun(self, envelope: bytes, chain: str, seq: int) -> None:
        """Raise NotCounted for a record of a chain that lies before its key was there."""
        log = self.log()
        match = _KEYID.search(envelope, max(0, len(envelope) - 200)) if log is not None else None
        key = log.keys.get(match[1].decode()) if log is not None and match else None
        if key is not None and key.starts and seq <= key.starts.get(chain, -1):
            raise NotCounted(
                f"expected a record by a key of its time, found {seq} of {chain} by one that begins behind {key.starts[chain]}: it does "
                "not count"
            )

    def needed(self, what: str) -> int:
        """How many keys must sign to forget, release or erase."""
        log = self.log()
        return log.approvals.get(what, 1) if log is not None else 1

    def has_role(self, name: str, role: str) -> bool:
        """Whether a key is valid now and has a role."""
        log = self.log()
        if log is None:
            return True
        key = log.keys.get(name)
        return key is not None and not key.ended and not key.ending and role in key.roles

    def may_release(self, envelope: bytes) -> bool:
        """Whether a hold note lifts by itself what it leaves out: else a release record of its own must say so."""
        log = self.log()
        if log is None:
            return True
        match = _KEYID.search(envelope, max(0, len(envelope) - 200))
        key = log.keys.get(match[1].decode()) if match else None
        return key is not None and "release" in key.roles and log.approvals.get("release", 1) < 2

    def require_may(self, signer: str, *roles: str, anew: bool = True) -> None:
        """Raise KeyRefused where a key may not sign for any of these roles, by the log as it is now or, not `anew`, as it was read."""
        log = self.log()
        if log is None or (signer in self.own and signer not in log.keys):
            return
        if anew and exists(self.store, record_key(log.seq + 1)):
            log = self.refresh()
            assert log is not None
        key = log.keys.get(signer)
        if key is None:
            raise KeyRefused(
                f"expected a key of the key log to sign with, found {signer}: have the root add it by `orchestrai keys add`"
            )
        if key.ended or key.ending:
            why = key.reason or "its end is being recorded"
            raise KeyRefused(
                f"expected a key that is valid, found that {signer} was ended by the key log ({why}): what it signs from now on does not "
                "count, and nothing was lost; run it again with the new key"
            )
        if not key.roles.intersection(roles):
            raise KeyRefused(
                f"expected a key with the role {' or '.join(roles)}, found {signer} with {', '.join(sorted(key.roles)) or 'none'}"
            )


def _cut(what: str, log: KeyLog | None) -> IntegrityError:
    there = f"one of {log.seq} records that differs" if log is not None else "none"
    return IntegrityError(
        f"expected the key log {what}, found {there}: it was cut off or replaced; run `orchestrai vault heal --apply`"
    )


def is_vouched(log: KeyLog, base: Keyring, root: str = "") -> bool:
    """Whether a log has a root with that fingerprint, or, where none is named, one that a trusted key is or vouches for.

    Each root of a log was signed in by the one before it, so whoever knows one of them knows the last.
    """
    if root:
        return any(fingerprint(one).startswith(root) for one in log.roots)
    return any(key_id(one) in base.keys for one in log.roots) or bool(log.cosigners & base.keys.keys())


def governed(
    store: Store,
    keyring: Keyring,
    *,
    folder: Path | None = None,
    root: str = "",
    copy: bool = False,
    own: Mapping[str, Ed25519PublicKey] | None = None,
) -> Keyring:
    """A keyring under the rules of the key log of a vault; one that is under rules stays as it is, unless a root is named.

    Keys in `own` count beside those of the log, for what is not in the vault itself.
    """
    if keyring.rules is not None and not root:
        return keyring
    rules = LoggedRules(store, Keyring(keyring.keys), folder=folder, root=root, copy=copy, own=own or {})
    return replace(keyring, rules=rules)
