"""A receiver of another package, by the port that ours are behind."""

from dataclasses import dataclass

from orchestrai.core.plugins import Plugin
from orchestrai.errors import OrchestraiError, StorageError
from orchestrai.observability.alerts.alert_changes import Message
from orchestrai.observability.alerts.receivers.receiver import Receiver
from orchestrai.observability.alerts.wording import Wording


@dataclass(frozen=True)
class AddedReceiver:
    """The receiver of a plug-in: what it raises ends its own message alone, and the others are told all the same."""

    plugin: Plugin
    receiver: Receiver

    def send(self, message: Message, wording: Wording) -> None:
        """As `Receiver.send`; an error that is none of orchestrai's is told by its type, as its text may hold a secret."""
        try:
            self.receiver.send(message, wording)
        except OrchestraiError:
            raise
        except Exception as exc:  # which errors a package of others has is known to nobody here
            raise StorageError(
                f"expected {self.plugin.name} of {self.plugin.origin} to take a message, found {type(exc).__name__}: "
                "look at its other side, or mend the package"
            ) from exc
