"""Every record of every copy, read and judged by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import ConfigError, IntegrityError, MissingObject, NotCounted
from orchestrai.ledger.log_replica import RECORDS
from orchestrai.ledger.signing import Keyring
from orchestrai.ledger.trust.key_log import KEY_LOG
from orchestrai.vault.format.layout import IDENTITY, ROOT
from orchestrai.vault.heal.shared_key_log import SharedKeyLog, shared_key_log
from orchestrai.vault.replica.copies import Copy
from orchestrai.vault.replica.hidden_versions import Hidden, hidden_under, is_covered, versions_of
from orchestrai.vault.replica.record_proof import PROVEN, identity_of, record_problem

State = Literal["sound", "hidden", "void", "wrong", "missing"]


@dataclass(frozen=True)
class Reading:
    """What a copy has under the key of a record: `hidden` is a sound first version with something over it, `void` a record that was
    signed for its place by a key that may not sign it, which counts for nothing."""

    state: State
    data: bytes = b""
    problem: str = ""
    version: str = ""

    @property
    def proves(self) -> bool:
        """True where the copy has the record as it was signed."""
        return self.state in ("sound", "hidden")

    @property
    def digest(self) -> str:
        """The hash of what is there."""
        return sha256_hex(self.data)


MISSING = Reading("missing", problem="expected a record, found none")


@dataclass(frozen=True)
class Survey:
    """All records by key, one reading for each copy; and of each copy what lies hidden."""

    copies: tuple[Copy, ...]
    vault: str
    keyring: Keyring
    records: dict[str, tuple[Reading, ...]]
    hidden: tuple[dict[str, Hidden], ...]


def survey_records(copies: Sequence[Copy], keyring: Keyring) -> Survey:
    """Read every record of every copy; raises MissingObject where no copy has an identity, ConfigError for copies of two vaults."""
    hidden = tuple(_hidden(copy) for copy in copies)
    shared = shared_key_log(copies, hidden, keyring)
    vault = _identity(copies, hidden, shared.keyring)
    listed = [_listed(copy, laid_over) for copy, laid_over in zip(copies, hidden, strict=True)]
    keys = sorted(set().union(*listed) | {IDENTITY})
    records = {
        key: tuple(
            _reading(copy, laid_over.get(key), key, vault, shared) if key in there else MISSING
            for copy, laid_over, there in zip(copies, hidden, listed, strict=True)
        )
        for key in keys
    }
    return Survey(tuple(copies), vault, shared.keyring, records, hidden)


def _hidden(copy: Copy) -> dict[str, Hidden]:
    if copy.control is None or not copy.keeps_versions:
        return {}
    return {one.key: one for prefix in (ROOT, *RECORDS) for one in hidden_under(copy.control, prefix)}


def _listed(copy: Copy, hidden: dict[str, Hidden]) -> set[str]:
    keys = {info.key for prefix in PROVEN for info in copy.store.list(prefix) if not info.odd}
    return keys | {key for key in hidden if key.startswith(PROVEN)}


def _identity(copies: Sequence[Copy], hidden: Sequence[dict[str, Hidden]], keyring: Keyring) -> str:
    """The name of the vault; every copy whose identity proves right must have the same."""
    names: dict[str, str] = {}
    for copy, laid_over in zip(copies, hidden, strict=True):
        for data in versions_of(copy.store, laid_over.get(IDENTITY), IDENTITY):
            try:
                names.setdefault(identity_of(keyring, data), copy.name)
                break
            except (IntegrityError, ValueError, KeyError, TypeError):
                continue
    if not names:
        where = ", ".join(copy.name for copy in copies)
        raise MissingObject(
            f"expected a signed {IDENTITY} in one of {where}, found none: give --replica another copy of the vault",
            key=IDENTITY,
        )
    if len(names) > 1:
        (one, here), (other, there) = [*names.items()][:2]
        raise ConfigError(
            f"expected copies of one vault, found {one[:8]} in {here} and {other[:8]} in {there}: name its own replica"
        )
    return next(iter(names))


def _reading(copy: Copy, hidden: Hidden | None, key: str, vault: str, shared: SharedKeyLog) -> Reading:
    wrong = MISSING
    for number, data in enumerate(versions_of(copy.store, hidden, key)):
        try:
            problem = (
                shared.record_problem(key, data)
                if key.startswith(KEY_LOG)
                else record_problem(key, data, vault, shared.keyring)
            )
        except NotCounted as exc:
            wrong = Reading("void", data, exc.message)
            continue
        if not problem and hidden is not None and number == 0 and is_covered(copy.store, hidden):
            what = "deleted" if hidden.deleted else "overwritten"
            return Reading("hidden", data, f"expected it as it was written, found it {what}", hidden.version)
        if not problem:
            return Reading("sound", data)
        wrong = Reading("wrong", data, problem)
    return wrong
