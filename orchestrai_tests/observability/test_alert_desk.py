"""At least once, at most one repeat, in order, whatever dies or is down; the log is signed and needs no history."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import ConfigError, SignatureInvalid, StorageError, TransientStorageError
from orchestrai.ledger.ledger import Ledger
from orchestrai.observability.alerts.alert_changes import Message, Policy, Route
from orchestrai.observability.alerts.alert_desk import AlertDesk
from orchestrai.observability.alerts.alert_log import AlertLog
from orchestrai.observability.alerts.alert_settings import Tellers
from orchestrai.observability.alerts.receivers.web_receivers import Webhook
from orchestrai.observability.alerts.wording import Wording
from orchestrai_tests.observability.hooks import NOW, Hook, ledger, seen, silent, webhook

MINUTE = timedelta(minutes=1)


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    with webhook() as made:
        monkeypatch.setenv("ALERTS", made.url)
        yield made


def tellers(*names: str, receiver: Any = None) -> Tellers:
    names = names or ("chat",)
    policy = Policy(tuple(map(Route, names)), escalate_after=None)
    return Tellers(policy, {name: receiver or Webhook("env://ALERTS") for name in names}, Wording("test"))


def desk_of(log: Ledger, **more: Any) -> AlertDesk:
    return AlertDesk(log, tellers(**more))


def test_one_condition_is_told_once_and_its_end_once(hook: Hook) -> None:
    desk = desk_of(ledger())
    for minute in range(5):
        desk.observe(seen(silent(), now=NOW + MINUTE * minute))
        desk.deliver(NOW + MINUTE * minute)
    for minute in range(5, 8):
        desk.observe(seen(now=NOW + MINUTE * minute))
        desk.deliver(NOW + MINUTE * minute)
    assert hook.changes == [("silence", "opened"), ("silence", "resolved")]
    told = hook.told[0]["orchestrai"]
    assert told["runbook"].endswith("#silence") and told["remedy"] == "ask the producer"
    assert "lasted: 5m" in hook.told[1]["text"] and "[test] well again" in hook.told[1]["text"]
    # what nothing changed wrote nothing: opened, tried, struck out, and the same for its end
    assert desk.log.newest().seq == 6


def test_a_receiver_that_is_down_for_an_hour_is_told_all_of_it_once_in_order(hook: Hook) -> None:
    log = ledger()
    hook.status = 503
    for minute in range(60):
        desk = desk_of(log)
        conditions = [silent(f"churn/{n}") for n in range(3) if minute < 30 or n]
        desk.observe(seen(*conditions, now=NOW + MINUTE * minute))
        desk.deliver(NOW + MINUTE * minute)
    assert hook.told == [] and hook.tries < 3 * 12, "it is asked less and less often"
    hook.status = 200
    for minute in range(60, 80):
        desk.observe(seen(*conditions, now=NOW + MINUTE * minute))
        desk.deliver(NOW + MINUTE * minute)
    by_subject: dict[str, list[str]] = {}
    for body in hook.told:
        by_subject.setdefault(body["orchestrai"]["subject"], []).append(body["orchestrai"]["change"])
    assert by_subject == {"churn/0": ["opened", "resolved"], "churn/1": ["opened"], "churn/2": ["opened"]}
    assert desk.outbox().messages == ()


def test_of_a_receiver_that_takes_nothing_the_others_are_told(hook: Hook) -> None:
    class Broken:
        def send(self, message: Message, wording: Wording) -> None:
            raise TransientStorageError("expected an answer, found none")

    both = Tellers(
        Policy((Route("chat"), Route("pager"))), {"chat": Webhook("env://ALERTS"), "pager": Broken()}, Wording("test")
    )
    desk = AlertDesk(ledger(), both)
    for minute in range(15):
        desk.observe(seen(silent(), now=NOW + MINUTE * minute))
        desk.deliver(NOW + MINUTE * minute)
    assert hook.changes == [("silence", "opened"), ("receiver_down", "opened")]
    assert hook.told[1]["orchestrai"]["subject"] == "pager"


KILLED = """
import os, signal, sys
from datetime import datetime
from orchestrai.ledger.ledger import open_ledger
from orchestrai.observability.alerts.alert_desk import AlertDesk
from orchestrai.observability.alerts.alert_settings import tellers_of
from orchestrai.observability.alerts.receivers import web_receivers
from orchestrai.settings import load_settings
send = web_receivers.post
def post(*arguments):
    send(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
web_receivers.post = post
settings = load_settings()
AlertDesk(open_ledger(settings), tellers_of(settings)).deliver(datetime.fromisoformat(sys.argv[1]))
"""


def test_who_is_killed_between_sending_and_noting_sends_once_more_and_no_more(
    hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrai.ledger.ledger import open_ledger
    from orchestrai.observability.alerts.alert_settings import tellers_of
    from orchestrai.settings import load_settings

    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path))
    monkeypatch.setenv("ORCHESTRAI_ALERT_URL", "env://ALERTS")
    settings = load_settings()
    desk = AlertDesk(open_ledger(settings), tellers_of(settings))
    desk.observe(seen(silent()))
    done = subprocess.run([sys.executable, "-c", KILLED, NOW.isoformat()], env={**os.environ}, check=False)
    assert done.returncode == -signal.SIGKILL and len(hook.told) == 1
    for second in (0, 10, 29):
        assert desk.deliver(NOW + timedelta(seconds=second)).sent == ()
    for minute in range(1, 30):
        desk.deliver(NOW + MINUTE * minute)
    assert len(hook.told) == 2 and desk.outbox().messages == ()
    assert len({headers["Idempotency-Key"] for headers in hook.headers}) == 1, "a repeat can be told from news"


def test_of_many_watchers_at_once_each_message_is_sent_by_one(hook: Hook) -> None:
    log = ledger()
    sight = seen(*(silent(f"churn/{n}") for n in range(6)))

    def work() -> None:
        desk = desk_of(log)
        desk.observe(sight)
        desk.deliver(NOW)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(body["orchestrai"]["subject"] for body in hook.told) == [f"churn/{n}" for n in range(6)]


def test_without_a_receiver_alerts_are_kept_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    desk = AlertDesk(ledger(), Tellers(Policy(), {}, Wording("test")))
    with caplog.at_level("WARNING", "orchestrai.alerts"):
        desk.observe(seen(silent()))
    assert "a source is silent: churn/orders" in caplog.text and "ask the producer" in caplog.text
    assert len(desk.outbox().alerts) == 1 and desk.deliver(NOW).sent == ()


def test_an_alert_is_taken_on_by_a_beginning_of_its_id_that_only_one_has() -> None:
    desk = AlertDesk(ledger(), tellers())
    desk.observe(seen(silent(), silent("churn/clicks")))
    (first, other) = desk.outbox().alerts
    assert desk.acknowledge(first.condition.id[:10], "ann", "on it", NOW).by == "ann"
    assert [one.by for one in desk.outbox().alerts if one.key == other.key] == [""]
    for beginning in ("", "zz"):
        with pytest.raises(ConfigError, match="id of one open alert"):
            desk.acknowledge(beginning, "ann", "on it", NOW)
    with pytest.raises(ConfigError, match="a name and a reason"):
        desk.acknowledge(first.condition.id, "ann", " ", NOW)


def test_a_record_that_was_altered_is_refused_and_the_vault_has_every_record() -> None:
    log = ledger()
    desk = AlertDesk(log, Tellers(Policy(), {}, Wording("test")))
    for number in range(40):
        desk.observe(seen(*([silent()] if number % 2 == 0 else []), now=NOW + MINUTE * number))
    desk.deliver(NOW)
    assert log.vault is not None
    assert [info.key for info in log.vault.list("alerts/")] == [info.key for info in log.lake.list("alerts/")]
    assert AlertLog(log).newest().seq == 40
    last = f"alerts/{40:012d}.json"
    log.lake.write(last, log.lake.read(last).replace(b'"sig"', b'"sIg"'))
    with pytest.raises(SignatureInvalid):
        desk.outbox()


def test_a_vault_that_is_down_keeps_nobody_from_being_told(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    log = ledger()

    def down(*_: object, **__: object) -> None:
        raise StorageError("expected an answer, found none")

    with monkeypatch.context() as patch:
        patch.setattr(log.vault, "head", down)
        desk = desk_of(log)
        desk.observe(seen(silent()))
        desk.deliver(NOW)
    assert hook.changes == [("silence", "opened")] and log.vault is not None and not list(log.vault.list("alerts/"))
    desk.deliver(NOW)
    assert len(list(log.vault.list("alerts/"))) == 3


def test_looking_costs_the_same_after_a_long_history() -> None:
    log = ledger()
    desk = AlertDesk(log, Tellers(Policy(), {}, Wording("test")))
    for number in range(300):
        desk.observe(seen(*([silent()] if number % 2 == 0 else [])))
    reads: list[str] = []
    store = log.lake
    for name in ("read", "head", "list"):
        call = getattr(store, name)
        setattr(store, name, lambda *a, call=call, name=name, **k: (reads.append(name), call(*a, **k))[1])
    AlertLog(log).newest()
    assert "list" not in reads and reads.count("read") == 1 and len(reads) < 25


def test_no_secret_is_kept_or_told(hook: Hook) -> None:
    log = ledger()
    hook.status = 404
    desk = desk_of(log)
    desk.observe(seen(silent()))
    ((_, reason),) = desk.deliver(NOW).failed
    kept = b"".join(log.lake.read(info.key) for info in log.lake.list("alerts/"))
    assert "status 404" in reason and "canary" not in reason and b"canary" not in kept
    assert "canary" not in json.dumps([message.as_json() for message in desk.outbox().messages])
