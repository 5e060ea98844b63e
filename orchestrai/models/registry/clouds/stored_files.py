"""The champion's own files and its receipt in a store beside the lake, where a registry says that they lie."""

from orchestrai.errors import ModelError, ObjectExists
from orchestrai.models.registry.target_port import RECEIPT_FILE, Champion
from orchestrai.storage.url import open_store


def store_files(champion: Champion, output: str, folder: str) -> None:
    """Write what is not there yet into a folder of a store; raises ModelError for other bytes under a file's name."""
    store = open_store(output)
    for name, data in sorted({**champion.files, RECEIPT_FILE: champion.receipt}.items()):
        try:
            store.write(f"{folder}/{name}", data, create=True)
        except ObjectExists:
            # of a run that died: the receipt alone may be another, and it is as good
            if name != RECEIPT_FILE and store.read(f"{folder}/{name}") != data:
                raise ModelError(
                    f"expected {output}/{folder}/{name} as it was written, found other bytes: remove the folder"
                ) from None
