"""A shop at a clock that is set: its files land and are kept day by day, its model is published without training."""

import os
from datetime import datetime, timedelta
from pathlib import Path

from orchestrai.core.verdict import Verdict
from orchestrai.observability.alerts.condition import Condition
from orchestrai.observability.watch.watcher import watch
from orchestrai.pipeline.runtime import Runtime
from orchestrai_tests.features.shop import FIRST, KEPT, MODEL, RAW, RESTORED, Shop, sales_of
from orchestrai_tests.producers import producer

MODEL_MORE = '    sla: 4h\n    retrain: "0 4 * * 1"\n    champion_max_age: 7d\n'
SALES, CHAMPION = "late/sales", f"{MODEL}/champion"
HOUR = timedelta(hours=1)


def shop_with(
    folder: Path, model: str = "", contract: str = "slaProperties:\n  - {property: latency, value: 20, unit: h}\n"
) -> Shop:
    """A shop whose contract promises freshness and whose model has more to it."""
    shop = Shop(folder)
    declared = folder / "declared"
    pipeline = (declared / "pipeline.yaml").read_text()
    (declared / "pipeline.yaml").write_text(pipeline + model)
    (declared / "sales.contract.yaml").write_text((declared / "sales.contract.yaml").read_text() + contract)
    shop.runtime = Runtime(shop.runtime.settings, shop.project, clock=lambda: shop.now)
    return shop


def land(shop: Shop, number: int, text: str = "") -> str:
    """The file of a day, that arrives as the shop's clock stands."""
    day = FIRST + timedelta(days=number)
    file = shop.landing / f"{day:%Y-%m-%d}.csv"
    file.write_text(text or sales_of(day))
    os.utime(file, (shop.now.timestamp(), shop.now.timestamp()))
    return file.stem


def keep(shop: Shop, *days: str) -> None:
    for asset in (RAW, KEPT, RESTORED):
        shop.run(asset, *days)


def of_kind(shop: Shop, kind: str, now: datetime | None = None) -> list[Condition]:
    before, shop.now = shop.now, now or shop.now
    try:
        return [one for one in watch(shop.runtime).conditions if one.kind == kind]
    finally:
        shop.now = before


def morning(shop: Shop, number: int, hours: float = 2) -> datetime:
    """Some hours into the day after a day."""
    shop.now = FIRST + timedelta(days=number + 1, hours=hours)
    return shop.now


def promote(shop: Shop, passed: bool) -> None:
    """Publish a champion, or have one refused, without training it."""
    session = shop.runtime.ledger.session(CHAMPION, producer("champion"))
    session.add_bytes("all", "model.ubj", shop.now.isoformat().encode(), rows=1)
    session.commit({"all": [Verdict("promotion", passed, "" if passed else "auc 0.4, 0.5 wanted")]})
