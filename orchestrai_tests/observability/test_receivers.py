"""Each receiver gets the form that it documents, and says why it did not take a message without saying a secret."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import ConfigError, DeclarationError, StorageError, TransientStorageError
from orchestrai.observability.alerts.alert_changes import Alert, Message
from orchestrai.observability.alerts.alert_settings import tellers_of
from orchestrai.observability.alerts.receivers.mail_receiver import Mail
from orchestrai.observability.alerts.receivers.topic_receiver import Topic
from orchestrai.observability.alerts.receivers.web_receivers import PagerDuty, Slack, Teams, Webhook
from orchestrai.observability.alerts.wording import Wording
from orchestrai.settings import Settings
from orchestrai_tests.observability.hooks import NOW, Hook, silent, webhook
from orchestrai_tests.servers.process import free_port

TIME = NOW.isoformat()
ALERT = Alert(replace(silent(members=("eu", "us")), found="none <!channel> & nothing"), TIME)
OPENED = Message("opened", ALERT, TIME, "r", TIME)
RESOLVED = Message("resolved", ALERT, TIME, "r", TIME)
TAKEN = Message("acknowledged", replace(ALERT, by="ann", reason="on it"), TIME, "r", TIME)
WORDS = Wording("test", "https://example.org/runbooks.html")


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    with webhook() as made:
        monkeypatch.setenv("ALERTS", made.url)
        monkeypatch.setenv("ROUTING", "canary-key")
        yield made


def test_slack_gets_text_that_can_mention_nobody(hook: Hook) -> None:
    Slack("env://ALERTS").send(OPENED, WORDS)
    (body,) = hook.told
    (attachment,) = body["attachments"]
    text = attachment["blocks"][0]["text"]["text"]
    assert body["text"].startswith("[test] a source is silent") and "&lt;!channel&gt; &amp; nothing" in text
    assert "<!" not in json.dumps(body) and "ask the producer" in text and "runbooks.html#silence" in text


def test_teams_gets_a_card(hook: Hook) -> None:
    Teams("env://ALERTS").send(OPENED, WORDS)
    content = hook.told[0]["attachments"][0]["content"]
    assert content["type"] == "AdaptiveCard" and hook.told[0]["type"] == "message"
    assert {"title": "expected", "value": "an event today"} in content["body"][1]["facts"]


def test_pagerduty_s_incident_begins_is_taken_on_and_ends_with_the_alert(hook: Hook) -> None:
    pager = PagerDuty("env://ROUTING", "env://ALERTS")
    for message in (OPENED, TAKEN, RESOLVED):
        pager.send(message, WORDS)
    assert [body["event_action"] for body in hook.told] == ["trigger", "acknowledge", "resolve"]
    assert len({body["dedup_key"] for body in hook.told}) == 1
    assert {body["routing_key"] for body in hook.told} == {"canary-key"}
    payload = hook.told[0]["payload"]
    assert payload["severity"] == "error" and payload["source"] == "churn/orders"
    assert hook.told[0]["links"] == [{"href": "https://example.org/runbooks.html#silence", "text": "runbook"}]
    assert "payload" not in hook.told[2]


def test_a_topic_gets_texts_that_aws_takes_and_a_fifo_one_a_key() -> None:
    import boto3
    from botocore.stub import ANY, Stubber

    client = boto3.client("sns", "eu-west-1", aws_access_key_id="a", aws_secret_access_key="b")
    sent: list[dict[str, Any]] = []
    client.meta.events.register("provide-client-params.sns.Publish", lambda params, **_: sent.append(dict(params)))
    for name in ("alerts", "alerts.fifo"):
        arn = f"arn:aws:sns:eu-west-1:123456789012:{name}"
        known = ("TopicArn", "Subject", "Message", "MessageStructure", "MessageAttributes")
        expected = {key: ANY for key in (*known, *(("MessageGroupId", "MessageDeduplicationId") if "." in name else ()))}
        with Stubber(client) as stub:
            stub.add_response("publish", {"MessageId": "1"}, expected)
            Topic(arn, clients=lambda service, region: client).send(OPENED, WORDS)
    assert json.loads(json.loads(sent[0]["Message"])["sqs"])["kind"] == "silence"
    assert sent[0]["Subject"].startswith("[test] a source is silent") and sent[1]["MessageDeduplicationId"]


@contextmanager
def mail_server(code: int = 250) -> Iterator[tuple[int, list[str]]]:
    """A mail server that knows as much as one needs."""
    taken: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline().decode().strip().upper():
                if line == "DATA":
                    self.wfile.write(b"354 go on\r\n")
                    text = []
                    while (part := self.rfile.readline().decode()) != ".\r\n":
                        text.append(part)
                    taken.append("".join(text))
                answer = b"221 bye" if line == "QUIT" else b"%d so" % (code if line.startswith("MAIL") else 250)
                self.wfile.write(answer + b"\r\n")
                if line == "QUIT":
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server.server_address[1], taken
        server.shutdown()
        thread.join()


def test_mails_of_one_alert_are_one_conversation_and_a_repeat_has_the_same_id() -> None:
    def headers(text: str) -> dict[str, str]:
        lines = text.replace("\r\n ", " ").split("\r\n\r\n")[0].split("\r\n")
        return dict(line.split(": ", 1) for line in lines)

    with mail_server() as (port, taken):
        mail = Mail("127.0.0.1", port, "o@example.org", ("a@example.org", "b@example.org"), "none")
        for message in (OPENED, OPENED, RESOLVED):
            mail.send(message, WORDS)
    first, again, over = map(headers, taken)
    assert first["Subject"] == "[test] a source is silent: churn/orders (error)" and "b@example.org" in first["To"]
    assert first["Message-ID"] == again["Message-ID"] != over["Message-ID"]
    assert len({one["References"] for one in (first, again, over)}) == 1
    assert "ask the producer" in taken[0]
    for code, fault in ((451, TransientStorageError), (550, StorageError)):
        with mail_server(code) as (port, _), pytest.raises(fault, match=f"code {code}"):
            replace(mail, port=port).send(OPENED, WORDS)
    with pytest.raises(TransientStorageError, match="ConnectionRefusedError"):
        replace(mail, port=free_port()).send(OPENED, WORDS)


def test_what_is_wrong_with_a_webhook_is_told_without_its_url(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    for status, fault in ((503, TransientStorageError), (429, TransientStorageError), (404, StorageError)):
        hook.status = status
        with pytest.raises(fault, match=f"status {status}") as raised:
            Webhook("env://ALERTS").send(OPENED, WORDS)
        told.append(str(raised.value))
    for url in (f"http://127.0.0.1:{free_port()}/canary", "canary", "http://[canary"):
        monkeypatch.setenv("ALERTS", url)
        with pytest.raises(StorageError) as raised:
            Webhook("env://ALERTS").send(OPENED, WORDS)
        told.append(str(raised.value))
    with pytest.raises(ConfigError, match="env://NONE"):
        Webhook("env://NONE").send(OPENED, WORDS)
    assert "canary" not in "".join(told)


ALL = """
escalate_after: 30m
runbooks: https://example.org/runbooks.html
receivers:
  - {name: chat, slack: {url: env://SLACK}}
  - {name: room, teams: {url: file:///run/secrets/teams}}
  - {name: pager, least: critical, pagerduty: {routing_key: env://PAGER}}
  - {name: topic, sns: {arn: "arn:aws:sns:eu-west-1:123456789012:alerts"}}
  - {name: boss, only_escalated: true, email: {host: mail.example.org, sender: o@example.org, to: [a@example.org]}}
  - {name: own, webhook: {url: env://OWN}}
"""


def test_receivers_are_declared_in_a_file_and_a_webhook_in_the_settings(tmp_path: Path) -> None:
    assert tellers_of(Settings(home=tmp_path)).receivers == {}
    assert list(tellers_of(Settings(home=tmp_path, alert_url="env://ALERTS")).receivers) == ["webhook"]
    (tmp_path / "alerts.yaml").write_text(ALL)
    tellers = tellers_of(Settings(home=tmp_path))
    assert [type(one).__name__ for one in tellers.receivers.values()] == [
        "Slack", "Teams", "PagerDuty", "Topic", "Mail", "Webhook",
    ]  # fmt: skip
    assert tellers.wording.runbooks == WORDS.runbooks and tellers.policy.escalate_after is not None
    assert [route.name for route in tellers.policy.routes if route.only_escalated or route.least != "warning"] == [
        "pager",
        "boss",
    ]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("receivers: [{name: a, slack: {url: 'https://hooks.example.org/canary'}}]", "a secret reference"),
        ("receivers: [{name: a}]", "one of webhook, slack"),
        ("receivers: [{name: a, slack: {url: env://A}, teams: {url: env://B}}]", "slack and teams"),
        ("receivers: [{name: a, slack: {url: env://A}}, {name: a, teams: {url: env://B}}]", "a name for each"),
        ("receivers: [{name: a, slack: {url: env://A}, least: bad}]", "critical"),
        ("receivers: [{name: a, email: {host: h, sender: a@b, to: [c@d], user: u}}]", "where the password lies"),
        ("receivers: [{name: a, pager: {url: env://A}}]", "pagerduty"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_field_and_no_secret(wrong: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(wrong)
    with pytest.raises(DeclarationError, match=told) as raised:
        tellers_of(Settings(home=tmp_path, alerts=str(tmp_path / "a.yaml")))
    assert "a.yaml:1" in str(raised.value) and "canary" not in str(raised.value)
