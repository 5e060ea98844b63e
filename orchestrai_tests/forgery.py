"""A signer that a site came to trust and that proves nothing: what a dropped key signs, and what its own doors say to that."""

import pytest

from orchestrai.core.identity import utc_now
from orchestrai.ledger.ledger import Ledger, open_ledger
from orchestrai.ledger.signing import Keyring, Signer
from orchestrai.ledger.trust.home_keys import root_signer
from orchestrai.ledger.trust.key_log import ROLES
from orchestrai.ledger.trust.key_rules import LoggedRules
from orchestrai.ledger.trust.trust_list import trust_key
from orchestrai.pipeline import runtime as site
from orchestrai.pipeline.runtime import Runtime
from orchestrai.vault.keys.ceremony import Ceremony


def dropped(runtime: Runtime, other: Signer) -> None:
    """The other key lies in the folder of trusted ones, and nobody signed for it."""
    folder = runtime.settings.key_folder / "trusted"
    folder.mkdir(exist_ok=True)
    (folder / f"{other.key_id}.pem").write_bytes(other.public_pem)


def trusted(runtime: Runtime, other: Signer) -> None:
    """The other key is on the home's signed list, and the vault's root adds it to the key log."""
    ledger, keys, public = runtime.ledger, runtime.settings.key_folder, other.private_key.public_key()
    trust_key(keys, ledger.signer, public, utc_now(), by="ada", reason="a runner")
    rules = ledger.keyring.rules
    assert isinstance(rules, LoggedRules) and ledger.vault is not None
    log = rules.log()
    assert log is not None
    ceremony = Ceremony(ledger.vault, rules, root_signer(keys, log.root, None), ledger.lake, "ada", utc_now)
    ceremony.add(public, ROLES, "a runner")


def forging(runtime: Runtime, other: Signer) -> Ledger:
    """A ledger over the same stores that signs with the other key, and asks nobody for evidence."""
    ledger = runtime.ledger
    keys = Keyring({**ledger.keyring.keys, **other.keyring().keys})
    return Ledger(ledger.lake, other, keys, vault=ledger.vault, clock=ledger.clock)


def undemanding(patch: pytest.MonkeyPatch) -> None:
    """Sites opened from here on demand no evidence: for tests whose models are stand-ins and that are about something else."""

    def opened(settings: object, clock: object, *rest: object) -> Ledger:
        ledger = open_ledger(settings, clock)  # type: ignore[arg-type]
        ledger.demands = None
        return ledger

    patch.setattr(site, "demanding_ledger", opened)
