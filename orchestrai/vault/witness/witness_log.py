"""The witness: where each chain stood after each snapshot, and when, written one record after another outside the vault.

An anchor is replaced and remembers what is; a witness goes on and remembers since when. `<vault>/<seq:012d>.json` is created by
put-if-absent, signed, and names the hash of the one before; `<vault>/<seq:012d>.tsr` beside it is the word of a time-stamp authority,
which covers all before it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from orchestrai.core.canonical import JsonValue, canonical_json, sha256_hex
from orchestrai.errors import ConcurrentCommit, ConfigError, IntegrityError, ObjectExists, ObjectNotFound, OrchestraiError
from orchestrai.ledger.decisions.signed_record import require_reason
from orchestrai.ledger.heads import last_present
from orchestrai.ledger.signing import Keyring, rules_of
from orchestrai.storage.base import Store, exists
from orchestrai.vault.format.layout import commit_key, tombstone_key
from orchestrai.vault.format.records import TOMBSTONE_TYPE, WITNESS_TYPE, document
from orchestrai.vault.vault import Vault
from orchestrai.vault.witness.time_stamp import StampAuthority
from orchestrai.vault.witness.witness_record import (
    Place,
    Since,
    Witnessed,
    WitnessReport,
    read_record,
    stamp_key,
    witness_key,
    wrong_record,
)

# every so many records one names all chains, so that the present state costs the reading of so many at most
WHOLE_EVERY = 16
TRIES = 8


@dataclass(frozen=True)
class WitnessLog:
    """A witness in a store, which must be another than the vault's; `authority` is asked for time-stamps where it has a URL."""

    store: Store
    authority: StampAuthority = field(default_factory=StampAuthority)

    # -- writing ---------------------------------------------------------------------------------------------

    def note(self, vault: Vault, moved: Mapping[str, Place], anchor: bytes = b"") -> dict[str, JsonValue]:
        """Write where these chains stand now; returns what was done. Costs at most WHOLE_EVERY small reads, however old the vault is.

        Raises IntegrityError where what was witnessed of such a chain is gone: the vault was rolled back. An authority that does not
        answer is told of and holds nothing up.
        """
        return self._append(vault, lambda state: _moved_on(vault, state, moved), sha256_hex(anchor) if anchor else "")

    def accept(self, vault: Vault, by: str, reason: str) -> dict[str, JsonValue]:
        """Take the vault for what it is now, with who says so and why; raises ConfigError without a reason."""
        require_reason("the acceptance of a loss", reason, by)
        ends = ends_of(vault)
        return self._append(vault, lambda state: ends, by=by, accepted=reason)

    def _append(
        self,
        vault: Vault,
        heads: Callable[[Mapping[str, Place]], Mapping[str, Place]],
        anchor: str = "",
        *,
        by: str = "",
        accepted: str = "",
    ) -> dict[str, JsonValue]:
        for _ in range(TRIES):
            last, state = self._state(vault.identity(), vault.keyring)
            moved = heads(state)
            if last is not None and not moved and not accepted:
                return {"witness_seq": last.seq}
            seq = last.seq + 1 if last else 1
            whole = bool(accepted) or seq % WHOLE_EVERY == 1
            rules = rules_of(vault.keyring)
            record = Witnessed(
                vault.identity(), seq, last.digest if last else "", vault.clock().astimezone(UTC).isoformat(), whole,
                {**state, **moved} if whole and not accepted else moved, rules.named() if rules else "", anchor, by, accepted,
            )  # fmt: skip
            envelope = vault.signer.sign(WITNESS_TYPE, canonical_json(record.as_json()))
            try:
                self.store.write(witness_key(record.vault, seq), envelope, create=True)
            except ObjectExists:
                continue  # another writer was first
            return {"witness_seq": seq, **self._stamp(record.vault, seq, envelope)}
        raise ConcurrentCommit(f"expected to write the next record of {self.store.url}, found others first: run it again")

    def _stamp(self, vault: str, seq: int, envelope: bytes) -> dict[str, JsonValue]:
        if not self.authority.url:
            return {}
        try:
            self.store.write(stamp_key(vault, seq), self.authority.stamp(envelope), create=True)
        except OrchestraiError as exc:
            # the next one covers this record too
            return {"witness_stamped": False, "witness_stamp_problem": exc.message}
        return {"witness_stamped": True}

    # -- reading ---------------------------------------------------------------------------------------------

    def records(self, vault: str, keyring: Keyring) -> Iterator[Witnessed]:
        """Every record, oldest first; raises IntegrityError, SignatureInvalid where one is missing, altered or another's."""
        before = ""
        for seq in range(1, self._end(vault) + 1):
            record = read_record(self.store, keyring, vault, seq)
            if record.previous != before:
                raise wrong_record(vault, seq, "one that does not follow the record before it")
            before = record.digest
            yield record

    def check(self, vault: Vault) -> WitnessReport:
        """Hold the whole witness, its time-stamps and its newest state against the vault.

        Raises IntegrityError, SignatureInvalid where the witness itself is not whole.
        """
        name, state, accepted = vault.identity(), dict[str, tuple[Place, datetime]](), list[str]()
        passed: dict[str, dict[Place, datetime]] = {}
        records: list[Witnessed] = []
        for record in self.records(name, vault.keyring):
            if record.accepted:
                state.clear()
                passed.clear()
                accepted.append(f"{record.time[:19]} by {record.by}: {record.accepted}")
            state |= {one: (place, record.moment) for one, place in record.heads.items() if _is_new(state, one, place)}
            for one, place in record.heads.items():
                passed.setdefault(one, {}).setdefault(place, record.moment)
            records.append(record)
        stamps, until, problem = self._stamped(name, records)
        losses = [
            loss
            for one in sorted(state)
            for loss in lost_end(vault.store, one, *state[one])
            or lost_on_the_way(vault.store, vault.keyring, one, passed[one])
        ]
        losses += _key_log_lost(vault, records)
        heads = {one: place for one, (place, _) in state.items()}
        first, last = (records[0].moment, records[-1].moment) if records else (None, None)
        return WitnessReport(len(records), first, last, stamps, until, heads, tuple(losses), tuple(accepted), problem)

    def since(self, vault: Vault, dataset: str, seq: int) -> Since | None:
        """From when on a number of a chain is proven to have been there; None where nothing that was witnessed covers it."""
        name = vault.identity()
        since: Since | None = None
        end: Place | None = None
        covering: dict[Place, datetime] = {}
        for record in self.records(name, vault.keyring):
            if record.accepted:
                since = end = None
            end = record.heads.get(dataset, end)
            if since is None and end is not None and end.seq >= seq:
                since, covering = Since(record.moment), {end: record.moment}
            if since is not None and since.stamped is None:
                with suppress(IntegrityError):  # the check tells of a stamp that does not hold; a later one may
                    since = Since(since.witnessed, self._time_of(name, record.seq))
        # nothing is proven of what was put in the place of what was witnessed
        if since is None or end is None or lost_end(vault.store, dataset, end):
            return None
        return None if lost_on_the_way(vault.store, vault.keyring, dataset, covering) else since

    def _stamped(self, vault: str, records: list[Witnessed]) -> tuple[int, datetime | None, str]:
        """How many time-stamps hold, the newest one's time, and what is wrong with those that do not or cannot be judged."""
        times: list[datetime] = []
        problem, there = "", set(self.numbers(vault, ".tsr"))
        for record in records if there else ():
            if record.seq not in there:
                continue
            try:
                time = self._time_of(vault, record.seq)
            except OrchestraiError as exc:
                problem = f"{record.seq}: {exc.message}"
                continue
            if time is None:
                problem = "no roots are named to judge time-stamps by: set ORCHESTRAI_TIMESTAMP_ROOTS"
            else:
                times.append(time)
        return len(times), max(times, default=None), problem

    def _time_of(self, vault: str, seq: int) -> datetime | None:
        try:
            answer = self.store.read(stamp_key(vault, seq))
        except ObjectNotFound:
            return None
        return self.authority.time_of(self.store.read(witness_key(vault, seq)), answer)

    def _state(self, vault: str, keyring: Keyring) -> tuple[Witnessed | None, dict[str, Place]]:
        """The newest record, and where all chains stood with it."""
        end, state, last = self._end(vault), dict[str, Place](), None
        for seq in range(end, 0, -1):
            record = read_record(self.store, keyring, vault, seq)
            last = last or record
            state = {**record.heads, **state}
            if record.whole:
                break
        return last, state

    def _end(self, vault: str) -> int:
        """The number of the newest record: numbers have no gap, so it is looked for by doubling and halving."""
        last = last_present(lambda seq: self._has(vault, seq))
        beyond = next(iter(self.store.list(f"{vault}/", start_after=stamp_key(vault, last))), None)
        if beyond is not None and beyond.key > stamp_key(vault, last) and not self._has(vault, last + 1):
            raise wrong_record(vault, last + 1, "none, and some behind it")
        return last

    def numbers(self, vault: str, suffix: str) -> Iterator[int]:
        """The numbers of a vault's objects in the witness that end so, ascending."""
        for info in self.store.list(f"{vault}/"):
            stem = info.key.rpartition("/")[2].removesuffix(suffix)
            if stem.isdigit():
                yield int(stem)

    def _has(self, vault: str, seq: int) -> bool:
        return exists(self.store, witness_key(vault, seq))


def ends_of(vault: Vault) -> dict[str, Place]:
    """Where every chain of a vault stands."""
    heads = {name: vault.catalog.head(name, 0) for name in vault.catalog.chains()}
    return {name: Place(head.seq, head.digest) for name, head in heads.items()}


def _moved_on(vault: Vault, state: Mapping[str, Place], places: Mapping[str, Place]) -> Mapping[str, Place]:
    """Those of these places that are new; raises IntegrityError where one lies before what was witnessed, and that is gone."""
    moved = {name: place for name, place in places.items() if state.get(name) != place}
    for name in [name for name in moved if name in state and moved[name].seq <= state[name].seq]:
        # another writer, or a fence, was witnessed first
        for loss in lost_end(vault.store, name, state[name]):
            raise IntegrityError(loss)
        del moved[name]
    return moved


def _is_new(state: Mapping[str, tuple[Place, datetime]], name: str, place: Place) -> bool:
    """Whether a whole record says more of a chain than was known: it keeps the time at which that was first witnessed."""
    return name not in state or state[name][0] != place


def lost_end(vault: Store, name: str, place: Place, time: datetime | None = None) -> list[str]:
    """What to say where a chain no longer has the record that was its end, or has another under that number; nothing where it has."""
    try:
        digest = sha256_hex(vault.read(commit_key(name, place.seq)))
    except ObjectNotFound:
        digest = "none"
    if digest == place.digest:
        return []
    when = f" at {time:%Y-%m-%d %H:%M:%S} UTC" if time else ""
    return [
        f"expected record {place.seq} of {name} as it was witnessed{when}, found {digest[:12]}: the vault was rolled back; see what its "
        "replica has by `orchestrai vault heal`, or accept the loss by `orchestrai vault witness --accept`"
    ]


def lost_on_the_way(vault: Store, keyring: Keyring, name: str, places: Mapping[Place, datetime]) -> list[str]:
    """As `lost_end` of the first of these former ends that is another now: a chain may have grown past what took its place.

    What a signed tombstone gives up for lost, or forgets as it was witnessed, is no loss.
    """
    for place in sorted(places):
        told = lost_end(vault, name, place, places[place])
        if told and not _given_up(vault, keyring, name, place):
            return told
    return []


def _given_up(vault: Store, keyring: Keyring, name: str, place: Place) -> bool:
    try:
        stone = document(keyring, TOMBSTONE_TYPE, vault.read(tombstone_key(name, place.seq)))
    except (ObjectNotFound, IntegrityError):
        return False
    return (stone["dataset"], stone["seq"]) == (name, place.seq) and stone["commit"] in ("", place.digest)


def _key_log_lost(vault: Vault, records: list[Witnessed]) -> list[str]:
    rules = rules_of(vault.keyring)
    named = next((record.key_log for record in reversed(records) if record.key_log), "")
    if not named:
        return []
    if rules is None:
        return [f"expected a key log of {named.partition(':')[0]} records, as was witnessed, found none"]
    try:
        rules.require_known(named)
    except IntegrityError as exc:
        return [exc.message]
    return []


def open_witness(url: str, vault: Store, authority: StampAuthority) -> WitnessLog:
    """The witness in a store; raises ConfigError where that is the vault's own."""
    from orchestrai.storage.url import open_store

    store = open_store(url)
    if store.url == vault.url or store.url.startswith(vault.url.rstrip("/") + "/"):
        raise ConfigError(f"expected a witness outside the vault, found {store.url}: name another place, or none")
    return WitnessLog(store, authority)
