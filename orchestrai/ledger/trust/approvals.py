"""Records that several keys must sign: each signs the same payload, and the last one's command puts the record with all signatures.

`vault/proposals/<id>/<key>.json` is the payload with one signature; the id follows from the payload. A proposal is nothing by itself: what
counts is the record that is made of it, under its own name, with as many signatures as the key log asks.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrai.core.canonical import canonical_json, sha256_hex
from orchestrai.errors import ApprovalNeeded, ConfigError, IntegrityError
from orchestrai.ledger.signing import Keyring, Signer, joined_envelope, opened_envelope, rules_of, signed_by
from orchestrai.storage.base import Store, put_absent

PROPOSALS = "vault/proposals/"
# the role that a key needs to sign for what
ROLE_FOR = {"forget": "prune", "release": "release", "erase": "decide"}
_KINDS = {
    "application/vnd.orchestrai.tombstone+json": "forget",
    "application/vnd.orchestrai.hold+json": "release",
    "application/vnd.orchestrai.erasure+json": "erase",
}


@dataclass(frozen=True)
class Proposal:
    """What is to be signed, and by whom it is so far."""

    id: str
    what: str
    payload_type: str
    payload: bytes
    signatures: Mapping[str, bytes]

    @property
    def body(self) -> dict[str, Any]:
        """What the record will say."""
        body: dict[str, Any] = json.loads(self.payload)
        return body


@dataclass(frozen=True)
class Approvals:
    """The proposals of a vault, as one key's owner sees them."""

    store: Store
    keyring: Keyring
    signer: Signer

    def envelope(self, payload_type: str, body: Mapping[str, Any], same: tuple[str, ...]) -> bytes:
        """The record with as many signatures as the key log asks for; one that is proposed already is recognised by the fields `same`.

        Raises ApprovalNeeded where signatures lack: this key's own is kept by then.
        """
        what = _KINDS[payload_type]
        needed = self._needed(what)
        payload = canonical_json(body)
        if needed < 2:
            return self.signer.sign(payload_type, payload)
        alike = (one for one in self.all() if one.payload_type == payload_type and _same(one.body, body, same))
        proposal = next(alike, None) or Proposal(_id(payload_type, payload), what, payload_type, payload, {})
        proposal = self.sign(proposal)
        if len(proposal.signatures) < needed:
            name = proposal.id
            raise ApprovalNeeded(
                f"expected {needed} signatures to {what}, found {len(proposal.signatures)}: proposal {name} waits; another key's owner "
                f"runs `orchestrai approvals approve {name}`, then run this again",
                proposal=name,
            )
        return joined_envelope(payload_type, proposal.payload, proposal.signatures)

    def sign(self, proposal: Proposal) -> Proposal:
        """Add this key's signature. Idempotent; raises KeyRefused where the key has not the role."""
        rules = rules_of(self.keyring)
        if rules is not None:
            rules.require_may(self.signer.key_id, ROLE_FOR[proposal.what])
        signature = self.signer.signature(proposal.payload_type, proposal.payload)
        envelope = joined_envelope(proposal.payload_type, proposal.payload, {self.signer.key_id: signature})
        put_absent(self.store, f"{PROPOSALS}{proposal.id}/{self.signer.key_id}.json", envelope)
        return Proposal(
            proposal.id,
            proposal.what,
            proposal.payload_type,
            proposal.payload,
            {**proposal.signatures, self.signer.key_id: signature},
        )

    def one(self, name: str) -> Proposal:
        """A proposal by its id or the beginning of it; raises ConfigError."""
        matches = [proposal for proposal in self.all() if name and proposal.id.startswith(name)]
        if len(matches) != 1:
            raise ConfigError(f"expected one proposal named {name!r}, found {len(matches)}: see `orchestrai approvals list`")
        return matches[0]

    def all(self) -> Iterator[Proposal]:
        """Every proposal that a key with the role has signed, with the signatures that count."""
        named: dict[str, Proposal] = {}
        for info in self.store.list(PROPOSALS):
            try:
                kind, payload, signatures = opened_envelope(self.store.read(info.key))
                what, name = _KINDS[kind], _id(kind, payload)
            except (IntegrityError, KeyError):
                continue  # nothing by itself
            counting = {key: value for key, value in signatures if self._counts(key, kind, payload, value, what)}
            if counting and info.key == f"{PROPOSALS}{name}/{next(iter(counting))}.json":
                before = named[name].signatures if name in named else {}
                named[name] = Proposal(name, what, kind, payload, {**before, **counting})
        yield from named.values()

    def needed(self, proposal: Proposal) -> int:
        """How many signatures it needs."""
        return self._needed(proposal.what)

    def _needed(self, what: str) -> int:
        rules = rules_of(self.keyring)
        return rules.needed(what) if rules is not None else 1

    def _counts(self, key: str, kind: str, payload: bytes, signature: bytes, what: str) -> bool:
        rules = rules_of(self.keyring)
        keys = self.keyring.keys if rules is None else rules.keys(self.keyring.keys)
        if not signed_by(keys, kind, payload, [(key, signature)]):
            return False
        return rules is None or rules.has_role(key, ROLE_FOR[what])


def _id(payload_type: str, payload: bytes) -> str:
    return sha256_hex(payload_type.encode() + b"\0" + payload)[:16]


def _same(one: Mapping[str, Any], two: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    return all(one.get(name) == two.get(name) for name in names)
