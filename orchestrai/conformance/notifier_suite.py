"""What every receiver of alerts must do, as tests for pytest.

    class TestMyNotifier(NotifierConformance):
        @pytest.fixture
        def receiver(self, server) -> Receiver: ...
        @pytest.fixture
        def received(self, server) -> Callable[[], Sequence[str]]: ...
        @pytest.fixture
        def broken(self) -> Receiver: ...

`received` gives the text of everything that arrived; `broken` is a receiver whose other side does not answer.
"""

from collections.abc import Callable, Sequence
from typing import get_args

import pytest

from orchestrai.errors import ConfigError, StorageError
from orchestrai.observability.alerts.alert_changes import Alert, Change, Message
from orchestrai.observability.alerts.condition import Condition
from orchestrai.observability.alerts.receivers.receiver import Receiver
from orchestrai.observability.alerts.wording import Wording

Received = Callable[[], Sequence[str]]
_OPENED = "2026-11-20T10:00:00+00:00"
_WORDING = Wording("conformance")


def _message(change: Change, found: str = "42 rows") -> Message:
    condition = Condition("held", "shop/orders", "100 to 120 rows", found, "orchestrai gate list", severity="error")
    return Message(
        change, Alert(condition, _OPENED, by="ada", reason="looking"), "2026-11-20T11:00:00+00:00", "one", _OPENED
    )


class NotifierConformance:
    """Subclass it with fixtures `receiver`, `received` and `broken`; every test is of the protocol `Receiver`."""

    @pytest.mark.parametrize("change", get_args(Change))
    def test_each_change_arrives_once(self, receiver: Receiver, received: Received, change: Change) -> None:
        receiver.send(_message(change), _WORDING)
        assert len(received()) == 1

    def test_who_is_told_of_it_first_reads_what_was_found(self, receiver: Receiver, received: Received) -> None:
        receiver.send(_message("opened"), _WORDING)
        (text,) = received()
        assert "42 rows" in text and "shop/orders" in text

    def test_marks_of_its_own_language_arrive_as_text(self, receiver: Receiver, received: Received) -> None:
        strange = "<b> & \"q\" 'é' {x} \\ 日本"
        receiver.send(_message("opened", strange), _WORDING)
        assert len(received()) == 1

    def test_a_long_text_is_taken(self, receiver: Receiver, received: Received) -> None:
        receiver.send(_message("opened", "x" * 20_000), _WORDING)
        assert len(received()) == 1

    def test_one_that_does_not_answer_raises_and_is_not_tried_again_here(self, broken: Receiver) -> None:
        with pytest.raises((StorageError, ConfigError)):
            broken.send(_message("opened"), _WORDING)
