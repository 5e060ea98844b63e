"""The ledger: versions, manifests, receipts, and the one way to publish and to open data."""

from typing import TYPE_CHECKING

from orchestrai.lazy import lazily

if TYPE_CHECKING:
    from orchestrai.ledger.heads import Head
    from orchestrai.ledger.ledger import Dataset, Ledger, VerifiedFile
    from orchestrai.ledger.manifest import DatasetManifest, FileEntry, PartitionManifest, dataset_version
    from orchestrai.ledger.override import Override
    from orchestrai.ledger.receipt import InputRef, Material, Receipt
    from orchestrai.ledger.report import Cost, Meter, PartitionOutcome, StageReport
    from orchestrai.ledger.session import Session, require_open
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
        "heads": ("Head",),
        "ledger": ("Dataset", "Ledger", "VerifiedFile"),
        "manifest": ("DatasetManifest", "FileEntry", "PartitionManifest", "dataset_version"),
        "override": ("Override",),
        "receipt": ("InputRef", "Material", "Receipt"),
        "report": ("Cost", "Meter", "PartitionOutcome", "StageReport"),
        "session": ("Session", "require_open"),
        "signing": ("Keyring", "Signer", "load_or_create_signer", "trusted_keyring"),
    },
)
