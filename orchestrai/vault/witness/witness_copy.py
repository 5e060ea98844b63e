"""A witness as it is handed on: its records and time-stamps by their keys, held against the vault as they are read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from orchestrai.errors import IntegrityError
from orchestrai.ledger.signing import Keyring
from orchestrai.storage.base import Store
from orchestrai.vault.format.layout import IDENTITY
from orchestrai.vault.format.records import IDENTITY_TYPE, document
from orchestrai.vault.witness.witness_log import WitnessLog, lost_end, lost_on_the_way
from orchestrai.vault.witness.witness_record import Place, stamp_key, witness_key


@dataclass(frozen=True)
class WitnessCopy:
    """What lies in a witness by its keys, and the end of each chain as it was seen last; empty where there is no witness."""

    members: Mapping[str, bytes] = field(default_factory=dict)
    ends: Mapping[str, Place] = field(default_factory=dict)


def copy_witness(witness: Store, vault: Store, keyring: Keyring) -> WitnessCopy:
    """All that a witness has of a vault; raises IntegrityError, SignatureInvalid where it is not whole, or the vault lost what it names."""
    log, name = WitnessLog(witness), str(document(keyring, IDENTITY_TYPE, vault.read(IDENTITY))["vault"])
    ends: dict[str, Place] = {}
    passed: dict[str, dict[Place, datetime]] = {}
    keys = [stamp_key(name, seq) for seq in log.numbers(name, ".tsr")]
    for record in log.records(name, keyring):
        ends = {**({} if record.accepted else ends), **record.heads}
        passed = {} if record.accepted else passed
        for dataset, place in record.heads.items():
            passed.setdefault(dataset, {}).setdefault(place, record.moment)
        keys.append(witness_key(name, record.seq))
    for dataset in sorted(ends):
        for loss in lost_end(vault, dataset, ends[dataset]) or lost_on_the_way(vault, keyring, dataset, passed[dataset]):
            raise IntegrityError(loss)
    return WitnessCopy({key: witness.read(key) for key in sorted(keys)}, ends)
