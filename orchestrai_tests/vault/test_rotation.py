"""A rotation beside writers and a prune loses nothing that was acknowledged, and each planted defect of it is found."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrai.ledger.trust.key_log import KeyLog, census_bytes
from orchestrai.vault.commit.chain_append import put_record
from orchestrai.vault.commit.protocol import WriteSession
from orchestrai.vault.format.layout import commit_key
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.keys.ceremony import Ceremony
from orchestrai.vault.lifecycle.prune import Pruning
from orchestrai_tests.vault.rotation import SOUND, RotationParts, rotated

HISTORIES = 60
TRIED = 600


class CommitWithoutALook(WriteSession):
    """A writer reports its commit as done without a look at the key log."""

    def create(self, commit: SnapshotCommit) -> bool:
        return put_record(self.vault, commit_key(commit.dataset, commit.seq), commit.sign(self.vault.signer))


class CensusBeforeTheFirstStep(Ceremony):
    """The census is taken before the first record says that the key is ending."""

    def end(self, name: str, reason: str, *, successor: Any = None, since: Any = None) -> KeyLog:
        taken = self.ending(name, since)
        self.begin_end(name, reason, successor=successor)
        log = self.rules.refresh()
        assert log is not None
        digest = self._keep(census_bytes({bytes.fromhex(one.digest) for one in taken.counts}))
        end = {"chains": {chain: list(place) for chain, place in taken.chains.items()}, "census": digest}
        return self._append(log, "rotate", name, reason, {"end": {name: end}})


class CensusOfTheChainsAlone(Ceremony):
    """Tombstones and what else lies in no chain are left out."""

    def ending(self, name: str, since: Any) -> Any:
        whole = super().ending(name, since)
        return replace(whole, counts=tuple(one for one in whole.counts if one.chain))


class PruneOverAnEnd(Pruning):
    """A prune deletes although its key was ended, so that its fences do not count."""

    def fence(self, keys: Any) -> Any:
        self.vault.require_may = lambda *roles, anew=True: None  # type: ignore[method-assign]
        try:
            return super().fence(keys)
        finally:
            del self.vault.require_may


DEFECTS: dict[str, RotationParts] = {
    "CommitWithoutALook": replace(SOUND, session=CommitWithoutALook),
    "CensusBeforeTheFirstStep": replace(SOUND, ceremony=CensusBeforeTheFirstStep),
    "CensusOfTheChainsAlone": replace(SOUND, ceremony=CensusOfTheChainsAlone),
    "PruneOverAnEnd": replace(SOUND, pruning=PruneOverAnEnd),
}


def test_a_rotation_beside_two_writers_and_a_prune_loses_nothing() -> None:
    problems = {seed: history.problems for seed in range(HISTORIES) if (history := rotated(seed)).problems}
    assert not problems


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_of_the_rotation_is_found(name: str) -> None:
    assert any(rotated(seed, DEFECTS[name]).problems for seed in range(TRIED)), name
