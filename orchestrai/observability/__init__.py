"""What people are told of a system that runs by itself."""

from orchestrai.observability.alerts import Alert, send_alert

__all__ = ["Alert", "send_alert"]
