"""Publish and open: the only way data becomes visible, and the only way it is read.

A stage opens a `Session`, adds files (staged where nobody reads), and commits partitions together with their verdicts.
A reader opens a `Dataset`.
"""

from collections.abc import Callable

from orchestrai.core.code_identity import Producer
from orchestrai.core.identity import Clock, utc_now
from orchestrai.errors import NotReceipted
from orchestrai.ledger.dataset import Dataset, dataset_at
from orchestrai.ledger.heads import Head
from orchestrai.ledger.log import Admission, Log
from orchestrai.ledger.session import Session
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.ledger.trust.key_rules import governed
from orchestrai.ledger.trust.trust_list import begin_trust, read_trust, require_own_key
from orchestrai.settings import Settings
from orchestrai.storage.disk.sealed import SealedFiles
from orchestrai.storage.url import open_store, open_within_limits


class Ledger(Log):
    """The log of a lake, with datasets to read and sessions to write.

    Guarantees: commits are atomic and fenced per partition; an identical re-publish is a no-op.
    """

    def open(self, asset: str, version: str | None = None) -> Dataset:
        """Open the current (or a named earlier) version; raises NotReceipted when there is none."""
        if version is None:
            head = self.head(asset)
        else:
            head = next((h for h in self.history(asset) if h.version == version), None)
        if head is None:
            wanted = version or "any version"
            raise NotReceipted(f"expected {wanted} of {asset}, found none published: materialize {asset} first", asset=asset)
        return self.dataset(head)

    def find(self, asset: str) -> Dataset | None:
        """The current version, or None when nothing was published yet."""
        head = self.head(asset)
        return None if head is None else self.dataset(head)

    def dataset(self, head: Head) -> Dataset:
        """The dataset at one head, its manifest checked against the head."""
        return dataset_at(self, head)

    def session(self, asset: str, producer: Producer) -> Session:
        """Begin to write an asset; the head seen now is the fence, and `producer` is who signs."""
        return Session(self, asset, producer, self.new_id(), self.head(asset))


def no_bytes() -> Admission:
    """What a ledger demands that was opened for its records alone; raises NotReceipted: its opener knows no declarations to judge by."""
    raise NotReceipted(
        "expected a ledger that asks for the evidence of data before it is used, found one that was opened for its records: this is a "
        "mistake in orchestrai, please report it with the command"
    )


def open_ledger(settings: Settings, clock: Clock = utc_now, demands: Callable[[], Admission] = no_bytes) -> Ledger:
    """The ledger that the settings name: over the lake, with the vault as witness, signing with the site's own key.

    The key, its folder and the signed list of trusted keys are made on first use. `demands` makes what receipts have to show before
    bytes are handed out under them (pipeline/admission.py); without it records are read, and no bytes.
    """
    folder = settings.key_folder
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    signer = load_or_create_signer(folder)
    begin_trust(folder, signer, clock())
    trust = read_trust(folder)
    require_own_key(trust, signer)
    lake, vault = open_store(settings.lake), open_within_limits(settings.vault, settings)
    sealed = SealedFiles(settings.sealed_memory_bytes)
    keyring = governed(vault, trust.keyring, folder=folder)
    return Ledger(lake, signer, keyring, vault=vault, clock=clock, sealed=sealed, demands=demands)
