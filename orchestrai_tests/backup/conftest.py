"""The same few days as the command line's tests, and a small shop with everything that is kept declared."""

from pathlib import Path

import pytest

from orchestrai.pipeline.runtime import Runtime
from orchestrai_tests.backup import kept_shop
from orchestrai_tests.cli.conftest import days, generated, landing, make

__all__ = ["days", "generated", "landing", "make"]


@pytest.fixture(scope="session")
def published_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose shop is published up to the champion; not to be written to."""
    home = tmp_path_factory.mktemp("shop") / "home"
    kept_shop.publish(kept_shop.fresh(home, home.parent / "declared"), kept_shop.PUBLISHED)
    kept_shop.make_instance(home)
    return home


@pytest.fixture
def shop(published_shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """That shop on a home of one's own, with a SQLite database to keep."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("CRM_URL", str(kept_shop.make_sqlite(tmp_path / "crm.sqlite")))
    home = kept_shop.copied(published_shop, tmp_path / "home")
    return kept_shop.fresh(home, tmp_path / "declared")
