"""Vaults in memory and on disk, with a clock that tests move."""

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from orchestrai.ledger.signing import Signer
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.vault import Vault


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now: datetime = field(default_factory=lambda: datetime(2026, 11, 1, 12, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **span: float) -> None:
        """Move forward."""
        self.now += timedelta(**span)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def signer() -> Signer:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Signer(Ed25519PrivateKey.from_private_bytes(b"\x07" * 32))


@pytest.fixture
def vault(clock: Clock, signer: Signer) -> Vault:
    numbers = itertools.count()
    return Vault(MemoryStore(clock), signer, clock=clock, new_id=lambda: f"s{next(numbers):04d}", workers=0)
