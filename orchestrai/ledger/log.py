"""The signed record of a lake: heads, receipts, manifests, recalls and skips, each verified as it is read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from orchestrai.core.identity import Clock, new_session_id, utc_now
from orchestrai.errors import IntegrityError, NotCounted, ObjectNotFound
from orchestrai.ledger.decisions.recalls import RECALLS, RecallRecord, Recalls
from orchestrai.ledger.decisions.renames import Renames, renames_in
from orchestrai.ledger.decisions.skips import Skips, skips_in
from orchestrai.ledger.decisions.standing import standing_head
from orchestrai.ledger.format.dataset_pages import DatasetPages
from orchestrai.ledger.heads import Head, has_head, last_number
from orchestrai.ledger.manifest import FileEntry, PartitionManifest, blob_key, decode_partition, read_blob, sha256_hex
from orchestrai.ledger.receipt import Receipt, open_receipt
from orchestrai.ledger.signing import Keyring, Signer, rules_of
from orchestrai.storage.base import Store, put_absent
from orchestrai.storage.disk.sealed import SealedFiles

if TYPE_CHECKING:
    from orchestrai.ledger.dataset import Dataset

Admission = Callable[["Dataset", str, Receipt], None]
# what was read since a stage began, by ledger and asset
_READ: ContextVar[dict[tuple[int, str], Head | Recalls | None] | None] = ContextVar("_READ", default=None)
_RECALLS = "\0recalls"
# pages of manifests that were read since, which lie under their own hash: opened again, a dataset reads what is new in it
_PAGES: ContextVar[dict[tuple[int, str], DatasetPages] | None] = ContextVar("_PAGES", default=None)
# and lists of files, by the same name
_LISTS: ContextVar[dict[tuple[int, str], PartitionManifest] | None] = ContextVar("_LISTS", default=None)


# so many receipts are remembered: a process that stays makes some thousands a day
_RECEIPTS = 8192
# so many lists of files: one may have thousands
_MOST_LISTS = 256


class Log:
    """What is current in a lake, with its signed history.

    `stores` names the places file bytes may lie ("lake" always, "vault" where there is one); `witness` receives a copy
    of every receipt and head. `sealed` makes the private copies that readers are given. `demands` makes what is asked of a receipt
    besides its signature before bytes are handed out under it; a site's ledger has it, one made by hand has none.
    """

    def __init__(
        self,
        lake: Store,
        signer: Signer,
        keyring: Keyring | None = None,
        *,
        vault: Store | None = None,
        clock: Clock = utc_now,
        new_id: Callable[[], str] = new_session_id,
        sealed: SealedFiles | None = None,
        demands: Callable[[], Admission] | None = None,
    ) -> None:
        self.lake = lake
        self.vault = vault
        self.signer = signer
        self.keyring = keyring or signer.keyring()
        self.clock = clock
        self.new_id = new_id
        self.sealed = sealed or SealedFiles()
        self.demands = demands
        self._admission: Admission | None = None
        self._shown = 0
        self._receipts: dict[str, Receipt] = {}
        self._recalled: dict[str, RecallRecord] = {}
        self._last: dict[str, int] = {}

    # -- reading ---------------------------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[None]:
        """For one stage: each asset's head and the recalls are read once. Commits read anew, and what they publish is seen."""
        token = _READ.set({}) if _READ.get() is None else None
        kept = _PAGES.set({}) if _PAGES.get() is None else None
        lists = _LISTS.set({}) if _LISTS.get() is None else None
        try:
            yield
        finally:
            if token is not None:
                _READ.reset(token)
            if kept is not None:
                _PAGES.reset(kept)
            if lists is not None:
                _LISTS.reset(lists)

    def forget(self) -> None:
        """Read heads and recalls anew from here on."""
        (_READ.get() or {}).clear()

    @contextmanager
    def using(self) -> Iterator[None]:
        """For one use of data or models: each receipt that is asked for has to be admitted, and is judged once."""
        before = self._admission
        self._admission = before or (self.demands() if self.demands is not None else None)
        try:
            yield
        finally:
            self._admission = before

    @contextmanager
    def showing(self) -> Iterator[None]:
        """For who looks at bytes to tell of them and makes nothing of them: evidence is asked for nowhere, since it is what is told."""
        self._shown += 1
        try:
            yield
        finally:
            self._shown -= 1

    def admission(self, *, of_bytes: bool = False) -> Admission | None:
        """What a receipt has to show: in a use for any reader, and for whom bytes are handed out always. None asks nothing more."""
        if self._shown:
            return None
        if self._admission is None and of_bytes and self.demands is not None:
            return self.demands()
        return self._admission

    def head(self, asset: str) -> Head | None:
        """The newest head of an asset, verified; None when nothing was ever published.

        Raises IntegrityError when the vault's copy of the log goes on where the lake's ends.
        """
        read, place = _READ.get(), (id(self), asset)
        if read is None:
            return self.newest(asset)
        if place not in read:
            read[place] = self.newest(asset)
        head = read[place]
        assert not isinstance(head, Recalls)
        return head

    def newest(self, asset: str) -> Head | None:
        """As `head`, from the store at each call."""
        last = self._witnessed(asset, last_number(self.lake, asset, self._known(asset)))
        if not last:
            return None
        self._last[asset] = last
        return standing_head(self.lake, self.keyring, asset, last)

    def numbered(self, asset: str, seq: int) -> Head:
        """An entry of a log by its number, verified; raises IntegrityError where it is not there."""
        try:
            return standing_head(self.lake, self.keyring, asset, seq)
        except ObjectNotFound as exc:
            raise IntegrityError(
                f"expected head {seq} of {asset} in {self.lake.url}, found none: history was altered, run `orchestrai rebuild`"
            ) from exc

    def _known(self, asset: str) -> int:
        """The last entry seen by this process, if it is still there: a lake may be put back or made anew beneath it."""
        known = self._last.get(asset, 0)
        return known if known and has_head(self.lake, asset, known) else 0

    def published(self, head: Head) -> None:
        """Note what a session has just published, for the rest of the stage."""
        read = _READ.get()
        if read is not None:
            read[id(self), head.asset] = head

    def _witnessed(self, asset: str, last: int) -> int:
        """The number of the newest head, if the vault knows no later one: a log that was cut off would bring back old versions."""
        if self.vault is None:
            return last
        known = last_number(self.vault, asset, last)
        if known > last:
            # the head may have been published between the two looks
            last = last_number(self.lake, asset, last)
        if known > last:
            raise IntegrityError(
                f"expected head {known} of {asset}, of which the vault has a copy, found the log in {self.lake.url} to end at "
                f"{last}: it was cut off; run `orchestrai rebuild`",
                asset=asset,
            )
        return last

    def history(self, asset: str) -> Iterator[Head]:
        """All heads, newest first, each verified, with the hash chain checked; raises IntegrityError."""
        expected, seq = None, self._witnessed(asset, last_number(self.lake, asset, self._known(asset)))
        while seq > 0:
            head = self.numbered(asset, seq)
            if expected is not None and head.digest != expected:
                raise IntegrityError(
                    f"expected head {seq} of {asset} to hash to {expected[:12]}, found {head.digest[:12]}: history was altered"
                )
            expected, seq = head.previous, seq - 1
            yield head

    def recalls(self) -> Recalls:
        """Every recall in the lake, verified."""
        read, place = _READ.get(), (id(self), _RECALLS)
        recalls = read.get(place) if read is not None else None
        if not isinstance(recalls, Recalls):
            recalls = self.newest_recalls()
        if read is not None:
            read[place] = recalls
        return recalls

    def newest_recalls(self) -> Recalls:
        """As `recalls`, from the store at each call."""
        keys = RECALLS.keys(self.lake)
        for key in keys:
            if key not in self._recalled:
                try:
                    self._recalled[key] = RECALLS.read(self.lake, self.keyring, key)
                except NotCounted:
                    continue
        return Recalls(self._recalled[key] for key in keys if key in self._recalled)

    def skips(self) -> Skips:
        """The partitions that people left out, verified."""
        return skips_in(self.lake, self.keyring)

    def renames(self) -> Renames:
        """The names that datasets, views and models had before, verified."""
        return renames_in(self.lake, self.keyring)

    def receipt(self, digest: str) -> Receipt:
        """A verified receipt by digest; those read last are kept in memory."""
        receipt = self._receipts.get(digest)
        if receipt is None:
            if len(self._receipts) >= _RECEIPTS:
                del self._receipts[next(iter(self._receipts))]
            receipt = self._receipts[digest] = open_receipt(self.blob("receipts", digest), self.keyring)
        return receipt

    def pages(self, asset: str) -> DatasetPages:
        """The pages of an asset's manifests; within a stage each is read once."""
        pages, kept = DatasetPages(asset, lambda digest: self.blob("manifests", digest)), _PAGES.get()
        return pages if kept is None else kept.setdefault((id(self), asset), pages)

    def partition(self, digest: str) -> PartitionManifest:
        """A partition's list of files; within a stage each is read once."""
        kept = _LISTS.get()
        manifest = kept.get((id(self), digest)) if kept is not None else None
        if manifest is None:
            manifest = decode_partition(self.blob("manifests", digest))
            if kept is not None and len(kept) < _MOST_LISTS:
                kept[id(self), digest] = manifest
        return manifest

    def blob(self, kind: str, digest: str) -> bytes:
        """A content-addressed record, its hash checked; raises MissingObject, DigestMismatch."""
        return read_blob(self.lake, kind, digest, "run `orchestrai rebuild`")

    def store_of(self, entry: FileEntry) -> Store:
        """The store that holds a file's bytes."""
        store = self.lake if entry.store == "lake" else self.vault
        if store is None:
            raise IntegrityError(f"expected a vault to read {entry.key}, found none configured: set the vault's URL")
        return store

    def assets(self, prefix: str = "") -> list[str]:
        """Every asset with a head, sorted."""
        seen = {info.key[len("heads/") :].rsplit("/", 1)[0] for info in self.lake.list(f"heads/{prefix}")}
        return sorted(seen)

    # -- writing ---------------------------------------------------------------------------------------------

    def require_may(self, *roles: str, anew: bool = True) -> None:
        """Raise KeyRefused where the ledger's own key has none of these roles, by the key log as it is now, or as it was read."""
        rules = rules_of(self.keyring)
        if rules is not None:
            rules.require_may(self.signer.key_id, *roles, anew=anew)

    @property
    def key_log(self) -> str:
        """The end of the key log, as heads name it."""
        rules = rules_of(self.keyring)
        return rules.named() if rules is not None else ""

    def put_blob(self, kind: str, data: bytes, *, witness: bool = False) -> str:
        """Keep a record under its hash (idempotent), with a copy in the vault when `witness`; returns the hex digest."""
        digest = sha256_hex(data)
        for store in (self.lake, self.vault if witness else None):
            if store is not None:
                put_absent(store, blob_key(kind, digest), data)
        return digest
