"""Receivers that are told over HTTP: a plain webhook, Slack, Teams, PagerDuty. The last three in the form that each documents."""

from dataclasses import dataclass
from typing import Any

from orchestrai.observability.alerts.alert_changes import Message
from orchestrai.observability.alerts.receivers.receiver import post
from orchestrai.observability.alerts.wording import Wording
from orchestrai.secrets.reference import resolve_secret

# a text of Slack's blocks takes 3,000 characters, one of PagerDuty's summaries 1,024
SLACK_CHARACTERS, SUMMARY_CHARACTERS = 2_900, 1_024
COLOURS = {"warning": "#d29922", "error": "#cf222e", "critical": "#8b0000", "resolved": "#2da44e"}


@dataclass(frozen=True)
class Webhook:
    """A URL that takes `{"text": ..., "orchestrai": {...}}`, as Mattermost and services of one's own do."""

    url: str

    def send(self, message: Message, wording: Wording) -> None:
        """Post it, with a key that is the same when it comes twice."""
        body = {"text": wording.text(message), "orchestrai": wording.document(message)}
        post(self.url, body, {"Idempotency-Key": message.key})


@dataclass(frozen=True)
class Slack:
    """An incoming webhook of Slack."""

    url: str

    def send(self, message: Message, wording: Wording) -> None:
        """Post it as an attachment whose colour says how bad it is."""
        colour = COLOURS["resolved" if message.change == "resolved" else message.alert.condition.severity or "warning"]
        text = "\n".join(f"*{name}*: {_escaped(part)}" for name, part in wording.lines(message))[:SLACK_CHARACTERS]
        section = {"type": "section", "text": {"type": "mrkdwn", "text": text}}
        headline = _escaped(wording.headline(message))
        post(self.url, {"text": headline, "attachments": [{"color": colour, "blocks": [section]}]})


def _escaped(text: str) -> str:
    """As Slack asks for it: a subject must not become a link or a mention."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@dataclass(frozen=True)
class Teams:
    """A workflow of Teams that takes an adaptive card."""

    url: str

    def send(self, message: Message, wording: Wording) -> None:
        """Post it as a card with its parts as facts."""
        colour = "good" if message.change == "resolved" else "attention"
        head = {"type": "TextBlock", "text": wording.headline(message), "weight": "bolder", "wrap": True, "color": colour}
        facts = [{"title": name, "value": part} for name, part in wording.lines(message)]
        card = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "body": [head, {"type": "FactSet", "facts": facts}],
        }
        attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
        post(self.url, {"type": "message", "attachments": [attachment]})


@dataclass(frozen=True)
class PagerDuty:
    """An integration of PagerDuty's Events API v2; its incident is opened, acknowledged and resolved with the alert."""

    routing_key: str
    url: str

    def send(self, message: Message, wording: Wording) -> None:
        """Send the event; a repeat is folded by its key."""
        condition = message.alert.condition
        event: dict[str, Any] = {
            "routing_key": resolve_secret(self.routing_key),
            "event_action": {"resolved": "resolve", "acknowledged": "acknowledge"}.get(message.change, "trigger"),
            "dedup_key": message.alert.key,
        }
        if event["event_action"] == "trigger":
            event["payload"] = {
                "summary": wording.headline(message)[:SUMMARY_CHARACTERS],
                "source": condition.subject,
                "severity": condition.severity,
                "timestamp": message.time,
                "component": condition.kind,
                "group": wording.environment,
                "custom_details": wording.document(message),
            }
            runbook = wording.runbook(message)
            event["links"] = [{"href": runbook, "text": "runbook"}] if "://" in runbook else []
        post(self.url, event)
