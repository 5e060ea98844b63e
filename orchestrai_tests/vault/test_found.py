"""What was found on the first release and had no test of its own: see docs/attacks.md."""

from pathlib import Path

import pytest

from orchestrai.vault.lifecycle.anchor import Anchor
from orchestrai.vault.vault import Vault
from orchestrai_tests.vault.conftest import Clock
from orchestrai_tests.vault.simulation import sources


def test_an_anchor_reads_as_much_after_many_snapshots_as_after_few(
    vault: Vault, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    real = vault.store.read
    monkeypatch.setattr(vault.store, "read", lambda key, **options: (reads.append(key), real(key, **options))[1])

    def cost() -> int:
        """Of a new process that anchors what came since."""
        vault.commit("d", {"p": sources(f"{clock.now}")})
        clock.pass_by(days=1)
        opened = Vault(vault.store, vault.signer, clock=clock, workers=0)
        reads.clear()
        Anchor(tmp_path / "anchor").update(opened)
        return len(reads)

    cost()
    few = cost()
    for _ in range(60):
        cost()
    assert 0 < cost() <= few
