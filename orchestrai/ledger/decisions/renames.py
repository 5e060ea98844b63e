"""Renames: the signed fact that a dataset, a view or a model is called otherwise now, while its assets keep the key of its first name.

`renames/<sha256 of the old name>.json` in lake and vault: one record for an old name, so that it has one successor.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import IntegrityError
from orchestrai.ledger.decisions.signed_record import RecordKind
from orchestrai.ledger.signing import Keyring
from orchestrai.storage.base import Store


@dataclass(frozen=True)
class Rename:
    """`old` and `new` are `<pipeline>/<name>`; `kind` is dataset, view or model."""

    old: str
    new: str
    kind: str
    time: str = ""

    def as_json(self) -> dict[str, str]:
        """For `--json`, and the form that is signed."""
        return dict(self.__dict__)


RENAMES = RecordKind[Rename](
    what="rename",
    payload_type="application/vnd.orchestrai.rename+json",
    folder="renames/",
    name=lambda rename: sha256_hex(rename.old.encode()),
    body=Rename.as_json,
    decode=lambda body: Rename(**body),
)


class Renames:
    """Every rename of a store, for quick questions."""

    def __init__(self, records: Iterable[Rename] = ()) -> None:
        self.records = tuple(records)
        self._newer = {rename.old: rename for rename in self.records}
        self._older = {rename.new: rename for rename in self.records}

    def of(self, old: str) -> Rename | None:
        """The record of an old name."""
        return self._newer.get(old)

    def names(self, name: str) -> tuple[str, ...]:
        """Every name that something has had up to this one, oldest first; raises IntegrityError for names that go in a circle."""
        names = [name]
        while (older := self._older.get(names[0])) is not None:
            if older.old in names:
                raise IntegrityError(f"expected renames with a beginning, found {older.old} among the later names of itself")
            names.insert(0, older.old)
        return tuple(names)

    def key(self, text: str) -> str:
        """What a person typed, `<pipeline>/<name>` with whatever follows, by the first name: what its assets are kept under."""
        pipeline, slash, rest = text.partition("/")
        end = min((place for mark in "/@" if (place := rest.find(mark)) >= 0), default=len(rest))
        return self.names(f"{pipeline}/{rest[:end]}")[0] + rest[end:] if slash else text


def renames_in(store: Store, keyring: Keyring) -> Renames:
    """Those of a store, each record verified; raises SignatureInvalid, IntegrityError."""
    return Renames(RENAMES.all(store, keyring))
