"""The port of the demo's items API: free, remembered, and told in one line when it is taken."""

import socket
from pathlib import Path

import pytest

import orchestrai.demo.items_port as ports
from orchestrai.errors import ConfigError


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> int:
    """A port that somebody listens on, as the one that every home would take first."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = int(server.getsockname()[1])
        monkeypatch.setattr(ports, "ITEMS_PORT", port)
        yield port  # type: ignore[misc]


def test_a_taken_port_gives_a_free_one_that_the_home_keeps(taken: int, tmp_path: Path) -> None:
    first = ports.items_port(tmp_path / "home")
    assert first != taken and ports.is_free(first)
    assert ports.items_port(tmp_path / "home") == first


def test_a_remembered_port_that_is_taken_is_one_line(taken: int, tmp_path: Path) -> None:
    (tmp_path / ports.NOTE).write_text(f"{taken}\n")
    with pytest.raises(ConfigError, match=f"port {taken}.*in use") as caught:
        ports.items_port(tmp_path)
    assert "\n" not in caught.value.message


def test_a_free_port_is_the_usual_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda port: True)
    assert ports.items_port(tmp_path) == ports.ITEMS_PORT
