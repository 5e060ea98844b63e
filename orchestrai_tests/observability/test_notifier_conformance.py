"""What every receiver of alerts must do, run against those that speak HTTP."""

import json
from collections.abc import Callable, Iterator, Sequence

import pytest

from orchestrai.conformance.notifier_suite import NotifierConformance
from orchestrai.observability.alerts.receivers.receiver import Receiver
from orchestrai.observability.alerts.receivers.web_receivers import PagerDuty, Slack, Teams, Webhook
from orchestrai_tests.observability.hooks import Hook, webhook
from orchestrai_tests.servers.process import free_port

MAKE: dict[str, Callable[[str], Receiver]] = {
    "webhook": Webhook,
    "slack": Slack,
    "teams": Teams,
    "pagerduty": lambda url: PagerDuty("env://ROUTING", url),
}


class TestWebReceivers(NotifierConformance):
    """Each of them, against a server on this machine."""

    @pytest.fixture
    def hook(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
        with webhook() as made:
            monkeypatch.setenv("ALERTS", made.url)
            monkeypatch.setenv("GONE", f"http://127.0.0.1:{free_port()}/")
            monkeypatch.setenv("ROUTING", "key")
            yield made

    @pytest.fixture(params=[*MAKE])
    def make(self, request: pytest.FixtureRequest) -> Callable[[str], Receiver]:
        return MAKE[request.param]

    @pytest.fixture
    def receiver(self, hook: Hook, make: Callable[[str], Receiver]) -> Receiver:
        return make("env://ALERTS")

    @pytest.fixture
    def received(self, hook: Hook) -> Callable[[], Sequence[str]]:
        return lambda: [json.dumps(body, ensure_ascii=False) for body in hook.told]

    @pytest.fixture
    def broken(self, hook: Hook, make: Callable[[str], Receiver]) -> Receiver:
        return make("env://GONE")
