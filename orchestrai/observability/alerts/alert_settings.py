"""Who is told of alerts, as declared: a YAML file with receivers, and the URL of one webhook in the settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from orchestrai.core import plugins
from orchestrai.core.time.duration_cron import Duration
from orchestrai.core.yaml.declaration import Declaration, explain, field_reader, load_yaml
from orchestrai.errors import ConfigError
from orchestrai.observability.alerts.alert_changes import Policy, Route
from orchestrai.observability.alerts.condition_kinds import Severity
from orchestrai.observability.alerts.receivers.added_receiver import AddedReceiver
from orchestrai.observability.alerts.receivers.mail_receiver import Mail
from orchestrai.observability.alerts.receivers.receiver import Receiver
from orchestrai.observability.alerts.receivers.topic_receiver import Topic
from orchestrai.observability.alerts.receivers.web_receivers import PagerDuty, Slack, Teams, Webhook
from orchestrai.observability.alerts.wording import RUNBOOKS, Wording
from orchestrai.secrets.reference import check_reference
from orchestrai.secrets.url_credentials import REMEDY, credentials_in, refuse_credentials
from orchestrai.settings import Settings

NAME = "alerts.yaml"
_RECEIVERS = ("webhook", "slack", "teams", "pagerduty", "sns", "email", "plugin")
WEBHOOK = "webhook"
PAGERDUTY = "https://events.pagerduty.com/v2/enqueue"
Secret = Annotated[str, AfterValidator(field_reader(check_reference)), Field(description="where a secret lies")]
PlainUrl = Annotated[str, AfterValidator(field_reader(refuse_credentials))]
Arn = Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?$")]
Address = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")]


class WebSpec(Declaration):
    """A webhook: where its URL lies, which is a secret."""

    url: Secret


class PagerDutySpec(Declaration):
    """An integration of Events API v2; `url` is another one for the service region of Europe."""

    routing_key: Secret
    url: PlainUrl = PAGERDUTY


class TopicSpec(Declaration):
    """A topic of AWS."""

    arn: Arn


class MailSpec(Declaration):
    """A mail server, and who is written to."""

    host: str
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    sender: Address
    to: Annotated[tuple[Address, ...], Field(min_length=1)]
    user: str = ""
    password: Secret | None = None

    @model_validator(mode="after")
    def _user_and_password(self) -> Self:
        if bool(self.user) != (self.password is not None):
            raise ValueError("password: expected a user and where the password lies, or neither, found one of them")
        return self


class AddedSpec(Declaration):
    """A notifier that an installed package adds, by its name; `options` are its own, secrets among them by reference."""

    name: str
    options: Mapping[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> Self:
        try:
            plugins.required("notifiers", self.name)
        except ConfigError as exc:
            raise ValueError(f"name: {exc.message}") from exc
        for at, credential in credentials_in(self.options):
            raise ValueError(f"options.{'.'.join(map(str, at))}: expected a reference, found {credential}: {REMEDY}")
        return self

    def receiver(self) -> Receiver:
        """What the package makes of the options; raises ConfigError."""
        plugin = plugins.required("notifiers", self.name)
        return AddedReceiver(plugin, plugins.make(plugin, Receiver, dict(self.options)))  # type: ignore[type-abstract]


class ReceiverSpec(Declaration):
    """One receiver, of just one kind; told from the severity `least` on, or of what nobody took on alone."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,40}$")]
    least: Severity = "warning"
    only_escalated: bool = False
    webhook: WebSpec | None = None
    slack: WebSpec | None = None
    teams: WebSpec | None = None
    pagerduty: PagerDutySpec | None = None
    sns: TopicSpec | None = None
    email: MailSpec | None = None
    plugin: AddedSpec | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in _RECEIVERS if getattr(self, kind) is not None]
        if len(given) != 1:
            known = f"{', '.join(_RECEIVERS[:-1])} or {_RECEIVERS[-1]}"
            raise ValueError(f"expected one of {known}, found {' and '.join(given) or 'none'}")
        return self

    @property
    def route(self) -> Route:
        """What it is told."""
        return Route(self.name, self.least, self.only_escalated)

    @property
    def receiver(self) -> Receiver:
        """What tells it."""
        for spec, make in ((self.webhook, Webhook), (self.slack, Slack), (self.teams, Teams)):
            if spec is not None:
                return make(spec.url)
        if self.pagerduty is not None:
            return PagerDuty(self.pagerduty.routing_key, self.pagerduty.url)
        if self.sns is not None:
            return Topic(self.sns.arn)
        if self.plugin is not None:
            return self.plugin.receiver()
        mail = self.email
        assert mail is not None
        return Mail(mail.host, mail.port, mail.sender, mail.to, mail.security, mail.user, mail.password or "")


class AlertsSpec(Declaration):
    """The file: receivers, after how long an alert that nobody took on is told again, and where the runbooks are."""

    escalate_after: Duration | None = timedelta(hours=1)
    runbooks: PlainUrl = RUNBOOKS
    receivers: tuple[ReceiverSpec, ...] = ()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [receiver.name for receiver in self.receivers]
        if len(names) > len(set(names)):
            raise ValueError(f"receivers: expected a name for each, found {', '.join(names)}")
        return self


@dataclass(frozen=True)
class Tellers:
    """Who is told, of what, and in which words."""

    policy: Policy
    receivers: Mapping[str, Receiver]
    wording: Wording


def tellers_of(settings: Settings) -> Tellers:
    """What the settings declare; nobody where they declare nothing. Raises DeclarationError with file, line and field."""
    path = Path(settings.alerts).expanduser() if settings.alerts else settings.home / NAME
    spec = _read(path) if settings.alerts or path.is_file() else AlertsSpec()
    routes, receivers = [one.route for one in spec.receivers], {one.name: one.receiver for one in spec.receivers}
    if settings.alert_url and WEBHOOK not in receivers:
        routes.append(Route(WEBHOOK))
        receivers[WEBHOOK] = Webhook(settings.alert_url)
    return Tellers(Policy(tuple(routes), spec.escalate_after), receivers, Wording(settings.environment, spec.runbooks))


def _read(path: Path) -> AlertsSpec:
    document, line_of = load_yaml(path)
    try:
        return AlertsSpec.model_validate(document or {})
    except ValidationError as exc:
        raise explain(path, exc, line_of, model=AlertsSpec) from exc
