"""What fails in code of strangers is told with whose it is, and ends what is theirs alone."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrai.errors import StorageError
from orchestrai.ledger.ledger import Ledger
from orchestrai.observability.alerts.alert_desk import AlertDesk
from orchestrai.observability.alerts.alert_settings import tellers_of
from orchestrai.settings import Settings
from orchestrai.storage.databases.open_table import Place, table_snapshot
from orchestrai.storage.databases.table_port import Relation
from orchestrai_tests.observability.hooks import ledger as alert_ledger
from orchestrai_tests.observability.hooks import seen, silent
from orchestrai_tests.plugins.installing import importable, install

NOW = datetime(2026, 11, 1, 8, tzinfo=UTC)
CODE = """
def of_none():
    return {}["missing"]

class Raising:
    def __init__(self, options):
        pass
    def send(self, message, wording):
        raise RuntimeError("403 of https://hooks.invalid/secret-of-a-hook")

def unreachable(url, relation):
    raise RuntimeError("no route")

def no_manager(url, relation):
    return 7
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path with the code of a package that is broken everywhere; what was found before is forgotten."""
    folder = install(tmp_path / "site")
    (folder / "brittle.py").write_text(CODE)
    with importable(folder, monkeypatch, "acme", "brittle") as path:
        yield path


@pytest.mark.parametrize(("target", "found"), [("unreachable", "RuntimeError: no route"), ("no_manager", "found TypeError")])
def test_a_table_that_cannot_be_opened_is_told_with_its_package(path: Path, target: str, found: str) -> None:
    install(path, "brittle", "0.1", points=f"[orchestrai.sources]\nbrittle = brittle:{target}\n")
    with (
        pytest.raises(StorageError, match=rf"of brittle 0\.1 to open brittle://x, .*{found}"),
        table_snapshot(Place("brittle://x"), Relation("t")),
    ):
        pass


def test_what_goes_wrong_behind_a_table_that_is_open_is_not_laid_on_its_package(path: Path, tmp_path: Path) -> None:
    (tmp_path / "j.jsonl").write_text("")
    with (
        pytest.raises(LookupError, match="of the caller"),
        table_snapshot(Place(f"acme-journal://{tmp_path}/j.jsonl"), Relation("t")),
    ):
        raise LookupError("of the caller")


def test_a_notifier_that_fails_as_it_likes_keeps_no_other_from_being_told(path: Path, tmp_path: Path) -> None:
    install(path, "brittle", "0.1", points="[orchestrai.notifiers]\nbrittle = brittle:Raising\n")
    told = tmp_path / "told.jsonl"
    (tmp_path / "alerts.yaml").write_text(
        "receivers:\n- {name: a, plugin: {name: brittle}}\n"
        f"- {{name: b, plugin: {{name: acme-pager, options: {{file: '{told}'}}}}}}\n"
    )
    log: Ledger = alert_ledger()
    desk = AlertDesk(log, tellers_of(Settings(home=tmp_path)))
    desk.observe(seen(silent(), now=NOW))
    delivery = desk.deliver(NOW)
    assert len(told.read_text().splitlines()) == len(delivery.sent) == 1
    ((_, reason),) = delivery.failed
    assert "brittle of brittle 0.1" in reason and "RuntimeError" in reason
    assert "secret-of-a-hook" not in reason, "what another package says may hold what a reference stands for"
