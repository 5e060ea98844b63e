"""A failed run becomes an alert."""

import dagster as dg

from orchestrai.observability.alerts import Alert, send_alert
from orchestrai.pipeline.runtime import Runtime


def build_alert_sensors(runtime: Runtime) -> list[dg.SensorDefinition]:
    """One sensor over every job, where a webhook is set (`ORCHESTRAI_ALERT_URL`)."""
    return [_alert_sensor(runtime)] if runtime.settings.alert_url else []


def _alert_sensor(runtime: Runtime) -> dg.SensorDefinition:
    @dg.run_failure_sensor(
        name="alert_on_failure",
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells the webhook of ORCHESTRAI_ALERT_URL of each failed run: job, steps, reason.",
    )
    def tell(context: dg.RunFailureSensorContext) -> None:
        send_alert(alert_of(context, runtime.settings.environment), runtime.settings.alert_url)

    return tell


def alert_of(context: dg.RunFailureSensorContext, environment: str) -> Alert:
    """The alert for a failed run; its reason is that of the step that failed first."""
    failed = [event for event in context.get_step_failure_events() if event.step_key]
    reason = context.failure_event.message or ""
    if failed:
        data = failed[0].step_failure_data
        description = data.user_failure_data.description if data.user_failure_data else None
        reason = description or (data.error.message.strip() if data.error else reason)
    run = context.dagster_run
    steps = tuple(str(event.step_key) for event in failed)
    return Alert("run failed", environment, run.job_name, run.run_id, steps, reason[:2_000])
