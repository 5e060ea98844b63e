"""Heal: the copies of a vault compared by hash, and each mended from whichever proves right.

A copy proves right by the SHA-256 that a signed commit names, a record by its own signature and its link to the records beside it. Two
signed records that differ are told of and never mended. Nothing is deleted: where a store keeps versions the right bytes are put on top,
elsewhere the wrong ones are set aside under work/quarantine/ first. Each step can be repeated; put-if-absent decides against
whoever else writes a record.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrai.core.canonical import JsonValue, sha256_hex
from orchestrai.core.progress import Progress
from orchestrai.errors import (
    ConfigError,
    IntegrityError,
    ObjectExists,
    OrchestraiError,
    TransientStorageError,
)
from orchestrai.ledger.signing import Keyring
from orchestrai.ledger.trust.key_log import KEY_LOG
from orchestrai.storage.base import Store
from orchestrai.storage.cloud.control import control_plane
from orchestrai.vault.format.layout import FORGOTTEN, SNAPSHOTS, commit_key
from orchestrai.vault.heal.content_plan import ContentReader, CopyContents, Proof
from orchestrai.vault.heal.mends import Lost, Mend, Newer, Unmended
from orchestrai.vault.heal.record_plan import RecordPlanner
from orchestrai.vault.heal.record_survey import Survey, survey_records
from orchestrai.vault.lifecycle.anchor import Anchor
from orchestrai.vault.replica.copies import Copy, MendedView, others
from orchestrai.vault.replica.hidden_versions import Hidden, is_covered
from orchestrai.vault.replica.replicate import opened_replica
from orchestrai.vault.replica.stored_digest import checked, digest_of, require_digest, sha256_of
from orchestrai.vault.replica.wrong_bytes import set_aside
from orchestrai.vault.vault import Vault


@dataclass(frozen=True)
class HealPlan:
    """What was compared, and what is to be done; `newer` is done only where that was asked for."""

    copies: tuple[Copy, ...]
    snapshots: int
    objects: int
    bytes: int
    mends: tuple[Mend, ...]
    newer: tuple[Newer, ...]
    unmended: tuple[Unmended, ...]
    lost: tuple[Lost, ...]
    bring_back: bool = False

    @property
    def wrong(self) -> tuple[Mend, ...]:
        """What is to be mended, without what a replica was not given yet."""
        return tuple(mend for mend in self.mends if not mend.behind)

    @property
    def is_sound(self) -> bool:
        """True where nothing is left once the plan is done."""
        return not (self.unmended or self.lost or (self.newer and not self.bring_back))

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        body: dict[str, JsonValue] = {name: getattr(self, name) for name in ("snapshots", "objects", "bytes")}
        body["copies"] = [copy.name for copy in self.copies]
        for name in ("mends", "newer", "unmended", "lost"):
            body[name] = [item.as_json() for item in getattr(self, name)]
        return body


@dataclass(frozen=True)
class HealReport:
    """What was mended; `failed` is what could not be, with the reason."""

    mended: int
    failed: tuple[Unmended, ...]

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        return {"mended": self.mended, "failed": [item.as_json() for item in self.failed]}


class Healing:
    """One comparison of the copies of a vault, the primary first, and what follows from it.

    `opened` opens a vault in a store with a keyring: it is shown the identity, the key log and the data keys of whichever copy has
    them right.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        keyring: Keyring,
        opened: Callable[[Store, Keyring], Vault],
        anchor: Anchor | None = None,
    ) -> None:
        if len({store.url for store in stores}) != len(stores):
            raise ConfigError("expected each copy of the vault in a store of its own, found one twice: name another replica")
        self.keyring = keyring
        self.opened = opened
        self.anchor = anchor
        self.copies = tuple(Copy(store, control_plane(store), number == 0) for number, store in enumerate(stores))
        self._readers: list[ContentReader] = []
        self._proofs: dict[tuple[str, str], Proof] = {}

    # -- plan ------------------------------------------------------------------------------------------------

    def plan(self, *, bring_back: bool = False, progress: Progress | None = None) -> HealPlan:
        """Read every record and every byte that a counted snapshot needs, in each copy; writes nothing.

        Raises MissingObject where no copy says which vault it is, ConfigError for copies of different vaults.
        """
        survey = survey_records(self.copies, self.keyring)
        template = self.opened(MendedView(self.copies[0].store, _proven_records(survey)), survey.keyring)
        remembered = self.anchor.read(template.catalog) if self.anchor is not None else None
        records = RecordPlanner(survey, remembered or {}).run(bring_back=bring_back)
        mends, unmended = [*records.mends], [*records.unmended]
        lost = {key: Lost(key, problem, {}) for key, problem in records.lost.items()}
        named = (
            {mend.key for mend in mends}
            | {item.key for item in unmended}
            | {mend.key for newer in records.newer for mend in newer.mends}
            | set(lost)
        )
        contents: list[Mend] = []
        self._readers = []
        for place, copy in enumerate(self.copies):
            view = MendedView(copy.store, records.after[place])
            vault = opened_replica(template, view)
            for key, problem in _left_in_chains(vault):
                if key not in named:
                    lost.setdefault(key, Lost(key, problem, {}))
            reader = ContentReader(vault, view, [other.store for other in others(self.copies, copy)], progress)
            self._readers.append(reader)
            found = reader.run()
            lacking = {mend.key for mend in mends if mend.behind and mend.copy is copy}
            fresh = {one.session for one in reader.commits() if commit_key(one.dataset, one.seq) in lacking}
            contents += self._content_mends(copy, found, survey.hidden[place], view, fresh)
            unmended += [Unmended(copy.name, key, problem) for key, problem in sorted(found.unread.items())]
            for key, loses in found.lost.items():
                before = lost[key].loses if key in lost else {}
                lost[key] = Lost(key, found.wrong.get(key) or found.unread.get(key, ""), {**before, **loses})
        first = self._readers[0]
        unmended += self._anchor_losses(first.vault)
        return HealPlan(
            self.copies,
            len(first.commits()),
            len(first.view.seen),
            sum(reader.contents.bytes for reader in self._readers),
            tuple(_ordered(mends, contents)),
            tuple(records.newer),
            tuple(unmended),
            tuple(lost[key] for key in sorted(lost)),
            bring_back,
        )

    def _anchor_losses(self, primary: Vault) -> list[Unmended]:
        """What the anchor remembers and the primary, once mended, has not."""
        checked = self.anchor.check(primary.catalog) if self.anchor is not None else None
        return [Unmended(self.copies[0].name, SNAPSHOTS, loss.problem) for loss in (checked.losses if checked else ())]

    def _content_mends(
        self, copy: Copy, found: CopyContents, hidden: Mapping[str, Hidden], view: MendedView, fresh: Collection[str]
    ) -> Iterator[Mend]:
        for key, source in found.sources.items():
            if key in found.unread:
                continue
            self._proofs[copy.name, key] = found.proofs[key]
            behind = key.split("/")[2] in fresh and key in found.missing
            yield Mend(copy, key, found.wrong[key], source, behind=behind)
        for key in sorted(view.seen & hidden.keys() - found.wrong.keys() - found.unread.keys()):
            covered = hidden[key]
            if is_covered(copy.store, covered):
                what = "deleted" if covered.deleted else "overwritten"
                problem = f"expected it as it was written, found it {what}"
                yield Mend(copy, key, problem, copy.store, "write", covered.version)

    # -- apply -----------------------------------------------------------------------------------------------

    def apply(self, plan: HealPlan, progress: Progress | None = None) -> HealReport:
        """Do what the plan says, each step checked; what could not be done is told of, and the rest is done. Idempotent."""
        failed: list[Unmended] = []
        done: list[Mend] = []
        stopped: set[tuple[str, str]] = set()
        for number, mend in enumerate(plan.mends, 1):
            log = (mend.copy.name, mend.key.rpartition("/")[0])
            try:
                if mend.key.startswith((SNAPSHOTS, KEY_LOG)) and log in stopped:
                    raise IntegrityError("expected the record before it to be there, found that it could not be put")
                self._mend(mend)
                done.append(mend)
            except TransientStorageError:
                raise
            except OrchestraiError as exc:
                failed.append(Unmended(mend.copy.name, mend.key, exc.message))
                stopped.add(log)
            if progress is not None:
                progress("mend", number, len(plan.mends))
        for copy in self.copies:
            copy.store.sync()
        from orchestrai.vault.heal.healed_locks import lock_again

        for place, copy in enumerate(self.copies):
            keys = {mend.key for mend in done if mend.copy is copy and mend.action != "set aside"}
            failed += [Unmended(copy.name, key, why) for key, why in lock_again(copy, self._readers[place], keys)]
        return HealReport(len(done), tuple(failed))

    def _mend(self, mend: Mend) -> None:
        copy, key = mend.copy, mend.key
        if mend.action == "set aside":
            set_aside(copy, key, mend.digest, remove=True)
            return
        if mend.action == "create":
            data = mend.source.read(key, version=mend.version or None)
            require_digest(key, sha256_hex(data), mend.digest)
            try:
                copy.store.write(key, data, create=True)
            except ObjectExists:
                require_digest(key, sha256_hex(copy.store.read(key)), mend.digest)
            return
        digest = sha256_of(mend.source, key, mend.version)
        if mend.digest:
            require_digest(key, digest, mend.digest)
        actual = digest_of(copy.store, key)
        if actual == digest:
            return  # mended meanwhile
        if actual and not copy.keeps_versions:
            set_aside(copy, key, actual)
        copy.store.write(key, checked(mend.source, key, digest, mend.version))
        require_digest(key, sha256_of(copy.store, key), digest)
        self._require_proof(copy, key)

    def _require_proof(self, copy: Copy, key: str) -> None:
        proof = self._proofs.get((copy.name, key))
        if proof is not None:
            reader = self._readers[self.copies.index(copy)]
            reader.view.redirected.pop(key, None)
            proof(reader.vault)


def _ordered(records: Sequence[Mend], contents: Sequence[Mend]) -> Iterator[Mend]:
    """Bytes first; then what is forgotten, before the chains that would show it; chains last, in order."""
    yield from contents
    chains = [mend for mend in records if mend.key.startswith(SNAPSHOTS)]
    rest = [mend for mend in records if not mend.key.startswith(SNAPSHOTS)]
    yield from sorted(rest, key=lambda mend: (mend.key.startswith(FORGOTTEN), mend.key))
    yield from sorted(chains, key=lambda mend: (mend.action != "set aside", mend.key))


def _left_in_chains(vault: Vault) -> Iterator[tuple[str, str]]:
    """What is missing in the chains, is damaged or does not follow, once the records are mended."""
    for dataset in vault.catalog.chains():
        yield from vault.catalog.faults(dataset)[1]


def _proven_records(survey: Survey) -> dict[str, bytes]:
    return {
        key: next(reading.data for reading in readings if reading.proves)
        for key, readings in survey.records.items()
        if any(reading.proves for reading in readings)
    }
