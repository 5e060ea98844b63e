"""`orchestrai watch` and `orchestrai alerts`: what is wrong now, who took it on, and whether people are told."""

import json
from collections.abc import Iterator

import pytest

from orchestrai.errors import ConfigError
from orchestrai.pipeline.runtime import Runtime
from orchestrai_tests.cli.conftest import DATASET, command
from orchestrai_tests.observability.hooks import Hook, webhook


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    with webhook() as made:
        monkeypatch.setenv("ALERTS", made.url)
        monkeypatch.setenv("ORCHESTRAI_ALERT_URL", "env://ALERTS")
        yield made


def test_an_alert_is_seen_kept_told_taken_on_and_shown(shop: Runtime, hook: Hook) -> None:
    code, text = command("watch", "--dry", "--json")
    dry = json.loads(text)
    silent = next(one for one in dry["conditions"] if (one["kind"], one["subject"]) == ("silence", DATASET))
    assert code == 1 and dry["changes"] == [] and hook.told == [] and not list(shop.ledger.lake.list("alerts/"))
    assert command("alerts", "list")[0] == 0
    code, text = command("watch", "--json")
    told = json.loads(text)
    assert code == 1 and told["sent"] == len(told["changes"]) == len(hook.told) == len(dry["conditions"])
    assert json.loads(command("watch", "--json")[1])["sent"] == 0
    code, text = command("alerts", "list", "--json")
    assert code == 1 and silent["id"] in [one["id"] for one in json.loads(text)["alerts"]]
    code, text = command("alerts", "ack", silent["id"][:8], "--reason", "data of 2010", "--by", "ann", "--json")
    assert code == 0 and json.loads(text)["by"] == "ann"
    assert hook.changes[-1] == ("silence", "acknowledged")
    assert "ann: data of 2010" in command("alerts", "list")[1]
    findings = {one["name"]: one for one in json.loads(command("doctor", "--json")[1])["findings"]}
    assert not findings["freshness"]["ok"] and DATASET in findings["freshness"]["detail"]
    assert not findings["alerts"]["ok"] and "webhook are told" in findings["alerts"]["detail"]


def test_a_test_begins_and_ends_itself_and_says_who_did_not_take_it(shop: Runtime, hook: Hook) -> None:
    code, text = command("alerts", "test", "--json")
    assert code == 0 and json.loads(text) == {"receivers": ["webhook"], "sent": 2, "failed": []}
    assert hook.changes == [("test", "opened"), ("test", "resolved")]
    hook.status = 403
    code, text = command("alerts", "test")
    assert code == 1 and "status 403" in text and "canary" not in text


def test_a_loop_is_not_asked_for_by_mistake() -> None:
    with pytest.raises(ConfigError, match="at least 1 second"):
        command("watch", "--every", "0")
