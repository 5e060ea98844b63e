"""The key log as all copies of a vault have it together, and the keyring under its rules.

A record of it proves right by the root's signature and by the record before it, so the log is put together before anything else is
judged: one copy may have lost what says which signatures count.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import IntegrityError
from orchestrai.ledger.signing import Keyring, rules_of
from orchestrai.ledger.trust.key_log import CENSUS, KeyLog, extended, record_key
from orchestrai.ledger.trust.key_rules import LoggedRules, governed, is_vouched
from orchestrai.vault.format.layout import IDENTITY
from orchestrai.vault.replica.copies import Copy, MendedView
from orchestrai.vault.replica.hidden_versions import Hidden, versions_of

Laid = Sequence[Mapping[str, Hidden]]


@dataclass(frozen=True)
class SharedKeyLog:
    """The keyring under the rules of the whole log; `accepted` are the digests of its records that prove right, by key."""

    keyring: Keyring
    accepted: Mapping[str, frozenset[str]]

    def record_problem(self, key: str, data: bytes) -> str:
        """Why a record of the log does not prove right; empty where it does."""
        if sha256_hex(data) in self.accepted.get(key, ()):
            return ""
        return f"expected {key} as the root signed it behind the record before it, found another"


def shared_key_log(copies: Sequence[Copy], hidden: Laid, keyring: Keyring) -> SharedKeyLog:
    """Put the log together from all copies; of two records that both prove right the first copy's is followed, and the fork is told
    by who compares them. Raises IntegrityError, SignatureInvalid where no copy has the log that this home knows."""
    rules = rules_of(keyring)
    root = rules.root if isinstance(rules, LoggedRules) else ""
    base = replace(keyring, rules=None)
    log: KeyLog | None = None
    accepted: dict[str, frozenset[str]] = {}
    records: dict[str, bytes] = {}
    while True:
        key = record_key(log.seq + 1 if log is not None else 1)
        proven: dict[str, tuple[KeyLog, bytes]] = {}
        for data in _found(copies, hidden, key):
            try:
                after = extended(log, data)
            except IntegrityError:
                continue
            if log is not None or is_vouched(after, base, root):
                proven.setdefault(after.digest, (after, data))
        if not proven:
            break
        accepted[key] = frozenset(proven)
        log, records[key] = next(iter(proven.values()))
    if log is not None:
        named = {IDENTITY: log.identity, **{f"{CENSUS}{digest}": digest for digest in _censuses(log)}}
        for key, digest in named.items():
            data = next((data for data in _found(copies, hidden, key) if sha256_hex(data) == digest), None)
            if data is not None:
                records[key] = data
    view = MendedView(copies[0].store, records)
    if not isinstance(rules, LoggedRules):
        return SharedKeyLog(governed(view, base), accepted)
    return SharedKeyLog(governed(view, base, folder=rules.folder, root=root, own=rules.own), accepted)


def _found(copies: Sequence[Copy], hidden: Laid, key: str) -> Iterator[bytes]:
    for copy, laid_over in zip(copies, hidden, strict=True):
        yield from versions_of(copy.store, laid_over.get(key), key)


def _censuses(log: KeyLog) -> set[str]:
    return {digest for digest in (log.exempt, *(key.census for key in log.keys.values())) if digest}
