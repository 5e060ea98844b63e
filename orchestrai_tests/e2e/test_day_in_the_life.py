"""Some days in the life of a shop, at a simulated clock: what goes wrong is told once, and its end once, whatever the webhook does.

The source stops, a gate holds a day back, the webhook is down, a drill is overdue, a model is refused. While each is open the commands of
docs/day-in-the-life.md are typed. What befalls the platform itself, the store and the workers, is in defs/platform/test_outage.py.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrai.observability.alerts.alert_desk import AlertDesk
from orchestrai.observability.alerts.alert_settings import tellers_of
from orchestrai.observability.watch.watcher import watch
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import load_settings
from orchestrai_tests.docs.walk import variables_of, walk
from orchestrai_tests.features.shop import FIRST, RAW, Shop
from orchestrai_tests.observability.hooks import Hook, webhook
from orchestrai_tests.observability.simulated import CHAMPION, SALES, keep, land, promote, shop_with
from orchestrai_tests.observability.test_runbooks import SECTIONS

BAD = "customer_id,ts,cents\nc1,2026-10-20T00:00:00+00:00,5\n"


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    with webhook() as made:
        monkeypatch.setenv("ALERTS", made.url)
        yield made


class Life:
    """A shop, and its watcher, which is another process each time it looks."""

    def __init__(self, folder: Path) -> None:
        self.shop: Shop = shop_with(folder)
        settings = load_settings(home=folder / "home", engine="duckdb", alert_url="env://ALERTS")
        self.shop.runtime = Runtime(settings, self.shop.project, clock=lambda: self.shop.now)

    def at(self, day: int, hour: float) -> None:
        self.shop.now = FIRST + timedelta(days=day, hours=hour)

    def look(self, *hours: float, day: int) -> None:
        for hour in hours:
            self.at(day, hour)
            runtime = self.shop.runtime
            desk = AlertDesk(runtime.ledger, tellers_of(runtime.settings))
            desk.observe(watch(runtime))
            desk.deliver(runtime.clock())


def test_each_thing_is_told_once_and_resolved_once(tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(tmp_path / "shop")
    shop = life.shop
    for name, value in variables_of(shop.runtime).items():
        monkeypatch.setenv(name, value)
    for day in (0, 1):
        life.at(day + 1, 2)
        keep(shop, land(shop, day))
        life.look(3, day=day + 1)
    assert hook.told == [], "nothing is wrong"
    # a day arrives that is of another time: its gate stays closed for a day, the webhook is down when it closes
    life.at(3, 2)
    bad = land(shop, 2, BAD)
    shop.runtime.run(shop.runtime.project.nodes[RAW], [bad])
    hook.status = 503
    life.look(2.1, 2.5, 3, 3.5, day=3)
    assert hook.told == [] and hook.tries >= 3
    walk("The webhook is down")
    hook.status = 200
    life.look(4, 4.5, 12, day=3)
    assert hook.changes.count(("gate_closed", "opened")) == 1
    assert any("expected" in said or "2026-10-03" in said for said in walk("A gate stays closed"))
    # nobody takes it on within the hour, then somebody does
    assert hook.changes.count(("gate_closed", "escalated")) == 1
    desk = AlertDesk(shop.runtime.ledger, tellers_of(shop.runtime.settings))
    (alert,) = desk.outbox().alerts
    desk.acknowledge(alert.condition.id, "ann", "the producer sends it again", shop.now)
    # the producer sends it again in the evening, and nothing of the next day: the source has stopped
    life.at(3, 20)
    keep(shop, land(shop, 2))
    life.look(21, day=3)
    life.look(2, 19, 21, 23, day=4)
    assert hook.changes[-1] != ("silence", "resolved")
    walk("A source is silent")
    life.at(5, 1)
    keep(shop, land(shop, 3))
    life.look(1.5, day=5)
    # Sunday's drill did not run; on Monday a candidate is refused
    life.at(5, 2)
    keep(shop, land(shop, 4))
    life.look(4, day=5)
    walk("A drill is overdue")
    promote(shop, False)
    life.look(5, 6, day=5)
    walk("A model is refused")
    life.at(5, 7)
    shop.run(f"{SALES}/drill")
    promote(shop, True)
    life.look(8, 9, 10, day=5)
    told = Counter(hook.changes)
    wrong = ["gate_closed", "silence", "drill_overdue", "promotion_refused"]
    assert {kind for kind, _ in told} == set(wrong), told
    for kind in wrong:
        assert (told[kind, "opened"], told[kind, "resolved"]) == (1, 1), (kind, told)
    subjects = {body["orchestrai"]["kind"]: body["orchestrai"]["subject"] for body in hook.told}
    assert subjects == {
        "gate_closed": RAW, "silence": SALES, "drill_overdue": f"{SALES}/drill", "promotion_refused": CHAMPION,
    }  # fmt: skip
    for body in hook.told:
        assert body["orchestrai"]["remedy"] and body["orchestrai"]["runbook"].rpartition("#")[2] in SECTIONS
    outbox = AlertDesk(shop.runtime.ledger, tellers_of(shop.runtime.settings)).outbox()
    assert (outbox.alerts, outbox.messages) == ((), ())
