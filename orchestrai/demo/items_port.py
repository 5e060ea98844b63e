"""The port of the demo's items API: one for each home, since a URL is part of what an object is."""

import socket
from pathlib import Path

from orchestrai.errors import ConfigError

ITEMS_PORT = 8790
NOTE = "items_port"


def items_port(home: Path) -> int:
    """The port that this home used before, or 8790, or where that is taken a free one, remembered for the next time.

    Raises ConfigError when the remembered one is taken: at another port the same items would be other objects.
    """
    note = home / NOTE
    used = int(note.read_text()) if note.is_file() else None
    wanted = ITEMS_PORT if used is None else used
    if not is_free(wanted):
        if used is not None:
            raise ConfigError(
                f"expected port {used}, which this home's items API has, to be free, found it in use: stop what listens there, "
                "or set ORCHESTRAI_HOME to a new folder"
            )
        wanted = _free()
    if used is None:
        home.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{wanted}\n")
    return wanted


def is_free(port: int) -> bool:
    """True when a server can listen on this loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
