"""The key log as all copies of a vault have it together, and the keyring under its rules.

A record of it proves right by the root's signature and by the record before it, so the log is put together before anything else is
judged: one copy may have lost what says which signatures count.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import IntegrityError
from orchestrai.ledger.signing import Keyring, rules_of, without_rules
from orchestrai.ledger.trust.key_log import CENSUS, KeyLog, extended, log_envelopes, read_log, record_key
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
    base = without_rules(keyring)
    root = rules.root if isinstance(rules, LoggedRules) else ""
    accepted: dict[str, frozenset[str]] = {}
    records: dict[str, bytes] = {}
    vouched = _vouched(copies, base, root)
    log: KeyLog | None = None
    while True:
        key = record_key(log.seq + 1 if log is not None else 1)
        proven = _proven(
            log, list(_found(copies, hidden, key)), lambda first: first.digest in vouched or is_vouched(first, base, root)
        )
        if not proven:
            break
        accepted[key] = frozenset(one.digest for one, _ in proven)
        log, records[key] = proven[0]
    named = {IDENTITY: log.identity, **_censuses(log)} if log is not None else {}
    for key, digest in named.items():
        data = next((one for one in _found(copies, hidden, key) if sha256_hex(one) == digest), None)
        records |= {key: data} if data is not None else {}
    view = MendedView(copies[0].store, records)
    if not isinstance(rules, LoggedRules):
        # what stands in for a keyring in trials has no key log
        return SharedKeyLog(governed(view, base) if records else base, accepted)
    return SharedKeyLog(governed(view, base, folder=rules.folder, root=root, own=rules.own), accepted)


def _vouched(copies: Sequence[Copy], base: Keyring, root: str) -> frozenset[str]:
    """The first records of the logs that a copy has whole and that lead to a root that counts: it may have come later than they."""
    digests = set()
    for copy in copies:
        with suppress(IntegrityError):
            log = read_log(log_envelopes(copy.store))
            if log is not None and is_vouched(log, base, root):
                digests.add(log.digests[0])
    return frozenset(digests)


def _proven(log: KeyLog | None, found: Sequence[bytes], counts: Callable[[KeyLog], bool]) -> list[tuple[KeyLog, bytes]]:
    """Of the records that copies have next those that prove right, each once, with the log that they lead to."""
    proven: dict[str, tuple[KeyLog, bytes]] = {}
    for data in found:
        try:
            after = extended(log, data)
        except IntegrityError:
            continue
        if log is not None or counts(after):
            proven.setdefault(after.digest, (after, data))
    return list(proven.values())


def _found(copies: Sequence[Copy], hidden: Laid, key: str) -> Iterator[bytes]:
    for copy, laid_over in zip(copies, hidden, strict=True):
        yield from versions_of(copy.store, laid_over.get(key), key)


def _censuses(log: KeyLog) -> dict[str, str]:
    digests = (log.exempt, *(key.census for key in log.keys.values()))
    return {f"{CENSUS}{digest}": digest for digest in digests if digest}
