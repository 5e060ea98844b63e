"""What the signed log of alerts says: what is open, and what receivers are owed."""

from collections import Counter

from orchestrai.observability.alerts.alert_log import AlertLog
from orchestrai.observability.metrics import metric_names as names
from orchestrai.observability.metrics.exposition import Figures


class AlertFigures:
    """Reads the newest record of a log of alerts at each scrape."""

    name = "alerts"

    def __init__(self, log: AlertLog) -> None:
        self._log = log

    def tell(self, figures: Figures) -> None:
        """Note what is open; raises what the log raises."""
        outbox = self._log.newest().outbox
        states = Counter(
            (alert.condition.kind, str(alert.condition.severity), "acknowledged" if alert.acknowledged else "open")
            for alert in outbox.alerts
        )
        for labels, count in states.items():
            figures.put(names.ALERTS, count, *labels)
        for receiver, count in Counter(message.receiver for message in outbox.messages).items():
            figures.put(names.OWED, count, receiver)
