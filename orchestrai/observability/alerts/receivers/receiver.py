"""What a receiver of alerts must do, and the one HTTP call that most of them make."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from orchestrai.errors import ConfigError, StorageError, TransientStorageError, transient_status
from orchestrai.observability.alerts.alert_changes import Message
from orchestrai.observability.alerts.wording import Wording
from orchestrai.secrets.reference import resolve_secret

if TYPE_CHECKING:
    import httpx

SECONDS = 10.0


class Receiver(Protocol):
    """Somebody who is told."""

    def send(self, message: Message, wording: Wording) -> None:
        """Hand a message over, once; raises StorageError or ConfigError where it was not taken. Tries are counted by the outbox."""
        ...


@cache
def _client() -> "httpx.Client":
    # one for all: each would read the certificates of all authorities anew
    import httpx

    return httpx.Client(timeout=SECONDS)


def post(reference: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
    """Post JSON to the URL behind a secret reference; raises StorageError, TransientStorageError, ConfigError, none with the URL."""
    import httpx

    try:
        answer = _client().post(resolve_secret(reference), json=body, headers=dict(headers or {}))
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        # the library's text may quote the URL, which is a secret
        raise TransientStorageError(
            f"expected {reference} to take an alert, found {type(exc).__name__}: look at it"
        ) from None
    except UnicodeError:
        raise ConfigError(f"expected a URL at {reference}, found text that is none: correct it") from None
    if answer.is_success:
        return
    fault = TransientStorageError if transient_status(answer.status_code) else StorageError
    raise fault(f"expected {reference} to take an alert, found status {answer.status_code}: look at it, or correct the URL")
