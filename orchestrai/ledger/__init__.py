"""The ledger: versions, manifests, receipts, and the one way to publish and to open data."""

from typing import TYPE_CHECKING

from orchestrai.lazy import lazily

if TYPE_CHECKING:
    from orchestrai.ledger.dataset import Dataset, VerifiedFile
    from orchestrai.ledger.heads import Head
    from orchestrai.ledger.ledger import Ledger
    from orchestrai.ledger.manifest import DatasetManifest, FileEntry, PartitionManifest, dataset_version
    from orchestrai.ledger.override import Override
    from orchestrai.ledger.receipt import InputRef, Material, Receipt
    from orchestrai.ledger.report import Cost, Meter, PartitionOutcome, StageReport, require_open
    from orchestrai.ledger.session import Session
    from orchestrai.ledger.signing import Keyring, Signer, load_or_create_signer, trusted_keyring

__all__ = [
    "Cost",
    "Dataset",
    "DatasetManifest",
    "FileEntry",
    "Head",
    "InputRef",
    "Keyring",
    "Ledger",
    "Material",
    "Meter",
    "Override",
    "PartitionManifest",
    "PartitionOutcome",
    "Receipt",
    "Session",
    "Signer",
    "StageReport",
    "VerifiedFile",
    "dataset_version",
    "load_or_create_signer",
    "require_open",
    "trusted_keyring",
]

lazily(
    __name__,
    {
        "dataset": ("Dataset", "VerifiedFile"),
        "heads": ("Head",),
        "ledger": ("Ledger",),
        "manifest": ("DatasetManifest", "FileEntry", "PartitionManifest", "dataset_version"),
        "override": ("Override",),
        "receipt": ("InputRef", "Material", "Receipt"),
        "report": ("Cost", "Meter", "PartitionOutcome", "StageReport", "require_open"),
        "session": ("Session",),
        "signing": ("Keyring", "Signer", "load_or_create_signer", "trusted_keyring"),
    },
)
