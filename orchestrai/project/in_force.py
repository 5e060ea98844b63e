"""The connections in force in this process: those of the project file, and what definitions put in their place.

They are looked up where a store or a client is opened, as the clouds' own variables are: a process that is spawned finds the same ones
by the same file, and none is handed a secret.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orchestrai.project.project_place import SENT, project_path

if TYPE_CHECKING:
    from orchestrai.project.connection_set import ConnectionSet
    from orchestrai.project.connection_spec import Connection
    from orchestrai.project.identity_spec import Cloud

_REPLACED: dict[str, "Connection"] = {}
# what another process sent last, under SENT of this one's environment
_RECEIVED: list[str] = []


def connections() -> "ConnectionSet":
    """Read now: what was changed in the file holds for what is opened from then on. Raises DeclarationError, ConfigError."""
    from orchestrai.project.connection_set import ConnectionSet, read_connections

    declared = {}
    if sent := os.environ.get(SENT):
        declared = dict(read_connections(sent).by_name)
    elif (path := project_path()) is not None:
        from orchestrai.project.project_file import read_project

        declared = dict(read_project(path).connections)
    return ConnectionSet({**declared, **_REPLACED})


def connection_for(url: str, cloud: "Cloud") -> "Connection":
    """The connection that a URL of a cloud is reached by."""
    return connections().of_url(url, cloud)


def service_connection(service: str, region: str | None, cloud: "Cloud" = "aws") -> "Connection":
    """The connection for a service that has no URL: it is covered as `<service>://<region>`."""
    return connections().of_url(f"{service}://{region or ''}", cloud)


def receive_connections(text: str) -> None:
    """Let the connections that another process sent be in force in this one, a worker of a cluster, unless it has its own.

    A worker is used again, by whom other connections may be in force: what was received before gives way.
    """
    if (there := os.environ.get(SENT)) and there not in _RECEIVED:
        return
    _RECEIVED[:] = [text]
    if text == "{}":
        os.environ.pop(SENT, None)
    else:
        os.environ[SENT] = text


def replace_connection(one: "Connection") -> None:
    """Put a connection in the place of the declared one of its name, for this process."""
    _REPLACED[one.name] = one


@contextmanager
def connected(*ones: "Connection") -> Iterator[None]:
    """Within it these connections are in force, besides the others."""
    before = dict(_REPLACED)
    _REPLACED.update({one.name: one for one in ones})
    try:
        yield
    finally:
        _REPLACED.clear()
        _REPLACED.update(before)
