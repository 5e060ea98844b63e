"""`orchestrai model list|rollback` and `orchestrai rollback`."""

import json

import pytest

from orchestrai.errors import ConfigError, ModelError, NotReceipted
from orchestrai.pipeline.runtime import Runtime
from orchestrai_tests.cli.conftest import RAW, command, run
from orchestrai_tests.forgery import undemanding
from orchestrai_tests.models.conftest import CHAMPION
from orchestrai_tests.pipeline.test_rollback import promoted


@pytest.fixture
def champions(shop: Runtime, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two champions, the older first: stand-ins, of whose evidence nothing is asked (test_doors.py has real ones)."""
    undemanding(monkeypatch)
    shop.ledger.demands = None
    return [promoted(shop.ledger, 1), promoted(shop.ledger, 2)]


def test_list_names_every_version_and_what_serves(shop: Runtime, champions: list[str]) -> None:
    code, text = command("model", "list", "churn", "--json")
    (listed,) = json.loads(text).values()
    assert code == 0
    assert [found["version"] for found in listed] == champions[::-1]
    assert [found["aliases"] for found in listed] == [["candidate", "champion"], []]
    assert champions[1][7:19] in command("model", "list")[1]
    with pytest.raises(ConfigError, match="churn/churn"):
        command("model", "list", "chrun")


def test_rollback_makes_the_champion_before_serve(shop: Runtime, champions: list[str]) -> None:
    code, text = command("model", "rollback", "churn", "--reason", "test", "--json")
    moved = json.loads(text)
    assert (code, moved["from"], moved["to"]) == (0, champions[1], champions[0])
    assert shop.ledger.open(CHAMPION).version == champions[0]
    (listed,) = json.loads(command("model", "list", "churn", "--json")[1]).values()
    assert [found.get("rolled_back", "").endswith(": test") for found in listed] == [True, False]
    assert command("model", "rollback", "churn", "--to", champions[1][7:19])[0] == 0
    assert shop.ledger.open(CHAMPION).version == champions[1]
    with pytest.raises(ModelError):
        command("model", "rollback", "churn", "--to", "00000000")


def test_serve_without_a_champion_is_refused(shop: Runtime) -> None:
    with pytest.raises(NotReceipted):
        command("model", "serve", "churn")


def test_serve_without_a_free_port_is_refused(champions: list[str]) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="--port"):
        command("model", "serve", "churn", "--port", str(taken.getsockname()[1]))


def test_rollback_shows_its_plan_and_applies_it_only_when_told(shop: Runtime, days: list[str]) -> None:
    newest, before = shop.ledger.open(RAW), list(shop.ledger.history(RAW))[1].version
    code, text = command("rollback", "churn", "--json")
    plan = json.loads(text)
    assert (code, plan["applied"]) == (0, False)
    assert {(move["from"], move["to"], tuple(move["dropped"])) for move in plan["moves"]} == {
        (newest.version, before, (days[2],))
    }
    assert "nothing was changed" in command("rollback", "churn")[1]
    assert shop.ledger.open(RAW).version == newest.version
    assert command("rollback", "churn", "--to", plan["moment"], "--apply", "--reason", "test")[0] == 0
    assert shop.ledger.open(RAW).version == before
    assert json.loads(command("rollback", "churn", "--to", plan["moment"], "--json")[1])["moves"] == []
    run(shop, days[2:3])
    assert shop.ledger.open(RAW).version == newest.version, "the next ingest goes forward again"
    for wrong in (("--to", plan["moment"], "--steps", "1"), ("--to", "yesterday"), ("--steps", "99")):
        with pytest.raises(ConfigError):
            command("rollback", "churn", *wrong)
