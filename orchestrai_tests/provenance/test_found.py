"""What was found on the first release and had no test of its own: see docs/attacks.md."""

import pytest

from orchestrai.provenance.verify.audit import audit
from orchestrai_tests.provenance.builder import World


@pytest.mark.parametrize("folder", ["receipts/", "manifests/", "heads/"])
def test_a_record_that_is_altered_in_the_vault_alone_is_found_by_an_audit_without_options(world: World, folder: str) -> None:
    world.whole()
    assert audit(world.lake, world.keyring, witness=world.store).ok
    key = next(info.key for info in world.store.list(folder))
    data = bytearray(world.store.read(key))
    data[len(data) // 2] ^= 1
    world.store.write(key, bytes(data))
    told = audit(world.lake, world.keyring, witness=world.store)
    assert not told.ok and any(
        problem.where.startswith("vault: ") or "witness" in problem.where for problem in told.problems
    )
