"""Alerts: one JSON message to a webhook, in the form that Slack, Mattermost and Teams' workflows take (`text`), with its parts beside."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from orchestrai.errors import StorageError, TransientStorageError, transient_status
from orchestrai.secrets.reference import resolve_secret

ATTEMPTS = 3


@dataclass(frozen=True)
class Alert:
    """What happened, where, and why, in words that a person on call understands."""

    title: str
    environment: str
    job: str
    run_id: str
    steps: tuple[str, ...] = ()
    reason: str = ""

    @property
    def text(self) -> str:
        """The message."""
        steps = f" at {', '.join(self.steps)}" if self.steps else ""
        return f"[{self.environment}] {self.title}: {self.job}{steps} (run {self.run_id})\n{self.reason}".rstrip()


def send_alert(alert: Alert, webhook: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Post an alert to the URL behind a secret reference; raises StorageError, TransientStorageError, ConfigError, none with the URL."""
    import httpx

    url, problem = resolve_secret(webhook), ""
    body = {"text": alert.text, "orchestrai": asdict(alert)}
    for attempt in range(ATTEMPTS):
        try:
            answer = httpx.post(url, json=body, timeout=10.0)
            if answer.is_success:
                return
            problem = f"status {answer.status_code}"
            if not transient_status(answer.status_code):
                raise StorageError(f"expected the webhook at {webhook} to take an alert, found {problem}: correct the URL")
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            # the library's text may quote the URL, which is a secret
            problem = type(exc).__name__
        if attempt + 1 < ATTEMPTS:
            sleep(2.0**attempt)
    raise TransientStorageError(
        f"expected the webhook at {webhook} to take an alert, found {problem} {ATTEMPTS} times: look at it"
    )
