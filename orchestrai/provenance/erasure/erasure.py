"""Erasure: destroy a person's key, say so in a signed tombstone, and name the models that learned from the person's rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from orchestrai.errors import ConfigError, NotReceipted
from orchestrai.ledger.decisions.signed_record import FORMAT
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import rules_of
from orchestrai.ledger.trust.approvals import Approvals
from orchestrai.privacy.persons import PersonKeys
from orchestrai.privacy.tokens import PERSON, token
from orchestrai.provenance.decision_log import ERASURES
from orchestrai.provenance.erasure.dead_letter_erasure import ClearLetters, clear_letters, kept_letters, redact_letters
from orchestrai.provenance.erasure.plaintext_copies import ClearCopy, clear_copies, holds, person_column
from orchestrai.provenance.erasure.spellings import Spelling, spelling_of
from orchestrai.provenance.index import Derivation, ReceiptIndex

if TYPE_CHECKING:
    from orchestrai.vault.vault import Vault

NOBODY = Spelling("", False, ())
MODEL_STAGES = ("candidate", "champion")


@dataclass(frozen=True)
class Erasure:
    """What erasing a person means: the partitions that hold tokens of theirs, and the models that learned from those.

    `person` is the name in records, which tells nothing without the key store. `unchecked` partitions could not be read. `clear`
    has what was kept before the contract tokenised: no key opens or closes that, and `in_clear` names all that was derived from it.
    `letters` are dead letters from before, which quote rows of whomever: erasing takes out what they quote; snapshots that hold such
    letters are among `clear`. `spelling` is who was found
    by what was typed; where it knows nobody, no row, letter or key of such a person was ever found, and there is nothing to erase.
    """

    person: str
    partitions: tuple[tuple[str, str, str], ...]
    models: tuple[Derivation, ...]
    unchecked: tuple[str, ...]
    done: bool
    clear: tuple[ClearCopy, ...] = ()
    in_clear: tuple[str, ...] = ()
    letters: tuple[ClearLetters, ...] = ()
    spelling: Spelling = NOBODY

    @property
    def complete(self) -> bool:
        """False while a copy in clear is left, or may be: destroying the key does not reach it."""
        return not self.clear and not self.unchecked

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "person": self.person,
            "done": self.done,
            "partitions": [{"asset": a, "partition": p, "root": r} for a, p, r in self.partitions],
            "models": [{name: getattr(model, name) for name in Derivation.__slots__} for model in self.models],
            "unchecked": list(self.unchecked),
            "complete": self.complete,
            "clear": [copy.as_json() for copy in self.clear],
            "in_clear": list(self.in_clear),
            "letters": [item.as_json() for item in self.letters],
            "spelling": self.spelling.person,
            "known": self.spelling.known,
            "other_spellings": list(self.spelling.others),
        }

    def require_known(self) -> None:
        """Raise ConfigError where nobody is known by that name: a record of an erasure that erased nothing would be false."""
        if not self.spelling.known:
            near = f"; known are {', '.join(self.spelling.others)}" if self.spelling.others else ""
            raise ConfigError(
                f"expected a person whom the data knows, found nobody by {self.spelling.person!r}{near}: name the person as the "
                "column of the contract's `person` writes it"
            )


def plan_erasure(ledger: Ledger, keys: PersonKeys, person: str, vault: "Vault | None" = None) -> Erasure:
    """Find where a person's tokens are, in every published version of every tokenised dataset; changes nothing.

    Also finds what was kept in clear before those datasets tokenised, and, with a vault, the snapshots that hold it.
    """
    spelling = spelling_of(keys, person)
    person = spelling.person
    key, name = keys.peek(person), keys.name(person)
    partitions: list[tuple[str, str, str]] = []
    clear: list[ClearCopy] = []
    letters: list[ClearLetters] = []
    copies: list[tuple[ClearCopy, bool]] = []
    unchecked: list[str] = []
    with TemporaryDirectory(prefix="orchestrai-erase-") as folder:
        for asset in (asset for asset in ledger.assets() if asset.endswith("/raw_events")):
            column = person_column(ledger, asset)
            if column is None:
                continue
            clear += clear_copies(ledger, asset, column, person, Path(folder), vault, unchecked)
            letters += clear_letters(ledger, asset, unchecked)
            copies += kept_letters(vault, asset, person)
            if key is None:
                continue
            wanted = token(key, PERSON, person)
            for partition, root, column, paths in _tokenised(ledger, asset, unchecked):
                if holds(paths, column, wanted):
                    partitions.append((asset, partition, root))
    named = any(naming for _, naming in copies) or _quoted(ledger, letters, person)
    places = [*partitions, *((copy.asset, copy.partition, copy.root) for copy in clear)]
    index = ReceiptIndex.build(ledger.lake, ledger.keyring) if places else ReceiptIndex.empty()
    reached = index.reached(node for place in places for node in index.nodes(*place))
    bare = index.reached(node for c in clear for node in index.nodes(c.asset, c.partition, c.root))
    return Erasure(
        name,
        tuple(partitions),
        tuple(item for item in reached if item.stage in MODEL_STAGES),
        tuple(sorted(set(unchecked))),
        keys.is_erased(person),
        (*clear, *(copy for copy, _ in copies)),
        tuple(sorted({item.asset for item in bare})),
        tuple(letters),
        spelling if spelling.known else spelling._replace(known=bool(clear) or named),
    )


def _quoted(ledger: Ledger, letters: Sequence[ClearLetters], person: str) -> bool:
    """Whether a dead letter names a person of whom nothing else is known."""
    return any(person.encode() in ledger.lake.read(key) for item in letters for key in item.lake_keys)


def _tokenised(ledger: Ledger, asset: str, unchecked: list[str]) -> Iterator[tuple[str, str, str, list[Path]]]:
    seen = set()
    for head in ledger.history(asset):
        dataset = ledger.dataset(head)
        for partition, entry in dataset.partitions.items():
            if (partition, entry.root) in seen:
                continue
            seen.add((partition, entry.root))
            try:
                stated = dataset.files(partition).stats.get("tokenised")
                if isinstance(stated, dict):
                    with dataset.fetched([partition]) as files:
                        yield partition, entry.root, str(stated["person"]), [file.path for file in files[partition]]
            except NotReceipted:
                unchecked.append(f"{asset}@{partition}")


def erase(ledger: Ledger, keys: PersonKeys, person: str, vault: "Vault | None" = None, *, by: str = "") -> Erasure:
    """Destroy the person's key and leave a signed tombstone in lake and vault, in the name of `by`. Final and idempotent.

    From then on no token of theirs, in any snapshot however old or locked, can be turned back or told apart from chance, and the
    person's rows are left out when they land again. Dead letters from before the dataset tokenised lose what they quote. What else was
    kept in clear before is not reached: see `complete`. Raises ConfigError for a person whom nothing knows, ConcurrentCommit when letters
    were published meanwhile: repeat it then.
    """
    plan = plan_erasure(ledger, keys, person, vault)
    plan.require_known()
    body = {
        "person": keys.name(plan.spelling.person),
        "time": ledger.clock().astimezone(UTC).isoformat(),
        "by": by,
        "partitions": [list(place) for place in plan.partitions],
        "models": sorted({f"{model.asset}@{model.root}" for model in plan.models}),
        "clear": [[copy.asset, copy.partition, copy.root, *copy.snapshots] for copy in plan.clear],
        "letters": [[item.asset, item.partition, item.root] for item in plan.letters],
    }
    stores = [ledger.lake] if ledger.vault is None else [ledger.vault, ledger.lake]
    envelope = _approved(ledger, body)
    keys.destroy(plan.spelling.person)
    redact_letters(ledger, plan.letters, by=by)
    ERASURES.put(stores, ledger.signer, body, envelope, ledger.keyring)
    return replace(plan, done=True)


def _approved(ledger: Ledger, body: dict[str, Any]) -> bytes | None:
    """The record with the signatures of several keys, where the key log asks for them; raises ApprovalNeeded, KeyRefused before."""
    rules = rules_of(ledger.keyring)
    if rules is None or ledger.vault is None:
        return None
    ledger.require_may("decide")
    if rules.needed("erase") < 2:
        return None
    return Approvals(ledger.vault, ledger.keyring, ledger.signer).envelope(
        ERASURES.payload_type, {"format": FORMAT, **body}, ("person",)
    )
