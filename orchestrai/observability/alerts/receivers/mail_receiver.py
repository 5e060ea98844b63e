"""Alerts by e-mail, over SMTP."""

import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Literal

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import StorageError, TransientStorageError
from orchestrai.observability.alerts.alert_changes import Message
from orchestrai.observability.alerts.receivers.receiver import SECONDS
from orchestrai.observability.alerts.wording import Wording
from orchestrai.secrets.reference import resolve_secret


@dataclass(frozen=True)
class Mail:
    """A mail server and who is written to; `password` is where the secret lies."""

    host: str
    port: int
    sender: str
    to: tuple[str, ...]
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password: str = ""

    def send(self, message: Message, wording: Wording) -> None:
        """Write one mail; those of one alert are one conversation, and a repeat has the same Message-ID."""
        mail = EmailMessage()
        mail["Subject"] = " ".join(wording.headline(message).split())
        mail["From"], mail["To"] = self.sender, ", ".join(self.to)
        domain = self.sender.rpartition("@")[2]
        mail["Message-ID"] = f"<{sha256_hex(message.key.encode())[:32]}@{domain}>"
        mail["References"] = f"<{sha256_hex(message.alert.key.encode())[:32]}@{domain}>"
        mail.set_content(wording.text(message))
        try:
            self._deliver(mail)
        except smtplib.SMTPResponseException as exc:
            fault = TransientStorageError if 400 <= exc.smtp_code < 500 else StorageError
            raise fault(
                f"expected {self.host}:{self.port} to take a mail, found code {exc.smtp_code}: look at its settings"
            ) from None
        except (smtplib.SMTPException, OSError) as exc:
            raise TransientStorageError(
                f"expected {self.host}:{self.port} to take a mail, found {type(exc).__name__}: look at it"
            ) from None

    def _deliver(self, mail: EmailMessage) -> None:
        context = ssl.create_default_context()
        if self.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=SECONDS, context=context)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=SECONDS)
        with server:
            if self.security == "starttls":
                server.starttls(context=context)
            if self.user:
                server.login(self.user, resolve_secret(self.password))
            server.send_message(mail)
