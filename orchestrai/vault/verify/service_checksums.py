"""What the store's own service can tell of a vault without a download: its checksums, and what lies over a first version."""

from typing import TYPE_CHECKING

from orchestrai.core.parallel import map_calls
from orchestrai.errors import MissingObject
from orchestrai.vault.format.chunk_table import StoredObject
from orchestrai.vault.format.layout import BYTES, ROOT
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.pieces.object_reads import pinned
from orchestrai.vault.replica.hidden_versions import hidden_under, is_covered

if TYPE_CHECKING:
    from orchestrai.storage.cloud.control import ControlPlane
    from orchestrai.vault.verify.verification import Walk


def check_hidden(walk: "Walk", control: "ControlPlane") -> None:
    """Whatever lies over the first version of a record or of what a snapshot needs, also where it is as long as that.

    What was healed lies on top with the same bytes, and is no finding.
    """
    keys = {finding.key for finding in walk.findings}
    for hidden in hidden_under(control, ROOT):
        needed = hidden.key in walk.named or not hidden.key.startswith(BYTES)
        if needed and hidden.key not in keys and is_covered(walk.vault.store, hidden):
            what = "deleted" if hidden.deleted else "overwritten"
            walk.note(
                hidden.key,
                f"expected it as it was written, found it {what}; its version is kept: run `orchestrai vault heal --apply`",
            )


def check_checksums(walk: "Walk", control: "ControlPlane") -> None:
    """Ask the service for its own hash of each object as it is stored: once for a pack, and of sealed bytes for a sealed one."""
    plain = walk.vault.cipher is None
    wanted = {place.key: (place, file) for file in walk.files.values() for place in file.places}

    def asked(item: tuple[StoredObject, StoredFile]) -> tuple[StoredObject, str, str]:
        file, whole = item
        expected = file.stored or (whole.sha256 if plain and whole.pack < 0 and not whole.objects else "")
        if not expected:
            return file, "", ""
        try:
            checksum = pinned(file.key, file.version, lambda version: control.checksum(file.key, version))
        except MissingObject:
            return file, "", ""  # told as missing already
        known = checksum is not None and checksum.cryptographic and checksum.algorithm.lower() == "sha256"
        return file, expected, checksum.value if known and checksum is not None else ""

    for file, expected, actual in map_calls(asked, wanted.values()):
        if not actual:
            walk.unchecked += 1
        elif actual != expected:
            walk.note(
                file.key,
                f"expected sha256 {expected[:12]}, found that the service has {actual[:12]}: run `orchestrai vault heal --apply`",
            )
