"""The sensor `alerts`: what is wrong by the ledger and by Dagster's own records becomes alerts, and alerts become messages."""

import dagster as dg

from orchestrai.defs.checks.landing_checks import without_twice
from orchestrai.defs.sensors.instance_conditions import instance_sight
from orchestrai.observability.alerts.alert_desk import AlertDesk
from orchestrai.observability.alerts.alert_settings import tellers_of
from orchestrai.observability.watch.watcher import watch
from orchestrai.pipeline.runtime import Runtime

NAME = "alerts"


def build_alert_sensors() -> list[dg.SensorDefinition]:
    """One sensor over everything; without a receiver it keeps alerts and logs them."""
    return [_alert_sensor()]


def _alert_sensor() -> dg.SensorDefinition:
    @dg.sensor(
        name=NAME,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells the declared receivers of what is wrong, once, and of its end: failed runs, ticks and checks, silent sources, "
        "unprotected data, closed gates, overdue drills, refused models. The same as `orchestrai watch`.",
    )
    def alerts(context: dg.SensorEvaluationContext, orchestrai_runtime: dg.ResourceParam[Runtime]) -> dg.SkipReason:
        desk = AlertDesk(orchestrai_runtime.ledger, tellers_of(orchestrai_runtime.settings))
        sight, cursor = instance_sight(context, orchestrai_runtime, desk.outbox())
        seen = without_twice(orchestrai_runtime, watch(orchestrai_runtime).and_also(sight))
        changes = desk.observe(seen)
        # what is noted is not lost: only now is it known as looked at
        context.update_cursor(cursor)
        delivery = desk.deliver(orchestrai_runtime.clock())
        for _, reason in delivery.failed:
            context.log.warning(f"not told: {reason}")
        return dg.SkipReason(f"{len(changes)} changed, {len(delivery.sent)} messages sent, {len(delivery.failed)} not taken")

    return alerts
