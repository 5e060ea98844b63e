"""The disk of the lake is full for a while: what was published stands, nothing is lost, and nobody has to do anything but free it."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai_tests.defs.platform.simulated_daemon import simulated_daemon
from orchestrai_tests.features.shop import FIRST, KEPT, RAW, RESTORED
from orchestrai_tests.observability.simulated import land, shop_with


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    disk = tmp_path / "lake"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "small", str(disk)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("only root may mount a small disk, and not everywhere")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], capture_output=True, check=False)


def fill(disk: Path) -> Path:
    """Fill it to the last block."""
    filler = disk / ".filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    return filler


def test_a_full_disk_costs_no_day_and_what_was_published_stands(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = shop_with(tmp_path / "shop")
    declared = tmp_path / "shop" / "declared" / "pipeline.yaml"
    declared.write_text(declared.read_text().partition("features:")[0])
    settings = Settings(home=shop.runtime.settings.home, engine="duckdb", lake_url=str(small_disk))
    shop.runtime = Runtime(settings, shop.project, clock=lambda: shop.now)
    with simulated_daemon(shop, monkeypatch) as daemon:
        days = []
        for number in (0, 1):
            shop.now = FIRST + timedelta(days=number + 1, hours=2)
            days.append(land(shop, number))
            if number == 0:
                daemon.minutes(2)
                before = shop.runtime.ledger.open(RESTORED).version
                filler = fill(small_disk)
        daemon.minutes(5)
        failed = [result.success for result in daemon.results]
        assert failed[0] is True and failed[1:] and not any(failed[1:])
        # the full disk can still be read, and says what it said
        assert Runtime(settings, shop.project).ledger.open(RESTORED).version == before
        filler.unlink()
        daemon.minutes(10)
        assert daemon.results[-1].success
        for asset in (RAW, KEPT, RESTORED):
            assert sorted(shop.runtime.ledger.open(asset).partitions) == days
