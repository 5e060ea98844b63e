"""Two copies come to rest sound, whatever runs beside a heal; each planted defect of heal is found."""

import os
from collections.abc import Iterator, Mapping, Sequence

import pytest

from orchestrai.vault.format.layout import BYTES, FORGOTTEN
from orchestrai.vault.heal import heal
from orchestrai.vault.heal.content_plan import ContentReader, CopyContents
from orchestrai.vault.heal.heal import Healing, HealPlan, HealReport
from orchestrai.vault.heal.mends import Mend
from orchestrai_tests.vault.heal.healing_simulation import play_healing

HISTORIES = int(os.environ.get("ORCHESTRAI_TEST_HISTORIES", "500")) // 10


def test_random_histories_end_with_two_sound_copies() -> None:
    assert [(seed, played.problems) for seed in range(HISTORIES) if (played := play_healing(seed)).problems] == []


class OneWay(Healing):
    """Nothing in the primary is mended."""

    def _mend(self, mend: Mend) -> None:
        if not mend.copy.primary:
            super()._mend(mend)


class PrimaryIsRight(Healing):
    """What the primary has is put into the replica, whatever it is."""

    def _mend(self, mend: Mend) -> None:
        if mend.copy.primary and mend.action == "write":
            mend.source.write(mend.key, mend.copy.store.read(mend.key))
        else:
            super()._mend(mend)


class TombstonesStayAway(Healing):
    """What says that a snapshot was forgotten is not mended."""

    def _mend(self, mend: Mend) -> None:
        if not mend.key.startswith(FORGOTTEN):
            super()._mend(mend)


class EverythingComesBack(Healing):
    """All bytes that the replica has are brought to the primary, needed or not."""

    def apply(self, plan: HealPlan, progress: object = None) -> HealReport:
        report = super().apply(plan)
        primary, replica = (copy.store for copy in self.copies)
        for prefix in BYTES:
            for info in list(replica.list(prefix)):
                if info.key not in {one.key for one in primary.list(prefix)}:
                    primary.write(info.key, replica.read(info.key))
        return report


class BringsBackUnasked(Healing):
    """What only the replica has goes to the primary."""

    def plan(self, *, bring_back: bool = False, progress: object = None) -> HealPlan:
        return super().plan(bring_back=True)


class _ByLength(ContentReader):
    def run(self) -> CopyContents:
        contents = super().run()
        for key in [*contents.sources]:
            if key not in contents.missing:
                del contents.sources[key]
        return contents


class ByLength(Healing):
    """What is there is taken for right."""

    def plan(self, *, bring_back: bool = False, progress: object = None) -> HealPlan:
        whole, heal.ContentReader = heal.ContentReader, _ByLength  # type: ignore[misc]
        try:
            return super().plan(bring_back=bring_back)
        finally:
            heal.ContentReader = whole  # type: ignore[misc]


DEFECTS: Mapping[str, type[Healing]] = {
    defect.__name__: defect
    for defect in (OneWay, PrimaryIsRight, TombstonesStayAway, EverythingComesBack, BringsBackUnasked, ByLength)
}


def _problems(defect: type[Healing], seeds: Sequence[int]) -> Iterator[int]:
    return (seed for seed in seeds if play_healing(seed, defect).problems)


@pytest.mark.parametrize("name", sorted(DEFECTS))
def test_each_planted_defect_of_heal_is_found(name: str) -> None:
    assert next(_problems(DEFECTS[name], range(300)), None) is not None
