"""A notifier of another package: a line a message, in the file that its options name."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrai.errors import ConfigError, StorageError
from orchestrai.observability.alerts.alert_changes import Message
from orchestrai.observability.alerts.wording import Wording


class Pager:
    """Implements `orchestrai.observability.alerts.receivers.receiver.Receiver`."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        if set(options) != {"file"}:
            raise ConfigError(f"expected the option file, found {', '.join(options) or 'none'}: correct alerts.yaml")
        self._path = Path(options["file"])

    def send(self, message: Message, wording: Wording) -> None:
        try:
            with self._path.open("a") as file:
                file.write(json.dumps({"key": message.key, "text": wording.text(message)}) + "\n")
        except OSError as exc:
            raise StorageError(f"expected {self._path.name} to take a line, found {exc.strerror}: mend it") from exc
