"""The connections of a project: which one a URL is reached by, and how they are told to another machine."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from orchestrai.errors import ConfigError
from orchestrai.project.connection_spec import Connection
from orchestrai.project.identity_spec import Cloud
from orchestrai.project.url_cover import covers, named, segments


@dataclass(frozen=True)
class ConnectionSet:
    """Connections by name. A URL is reached by the one that it names, else by the one with the longest cover, else by the cloud's
    default, else as the environment says.
    """

    by_name: Mapping[str, Connection] = field(default_factory=dict)

    def of_url(self, url: str, cloud: Cloud) -> Connection:
        """The connection for a URL of a cloud; raises ConfigError for a name that nothing has, or one of another cloud."""
        plain, name = named(url)
        if name:
            one = self.by_name.get(name)
            if one is None:
                known = ", ".join(sorted(self.by_name)) or "none"
                raise ConfigError(f"expected one of the connections {known}, found {name!r} in a URL: declare or correct it")
            return _of(one, cloud, "the URL that names it")
        whole = segments(plain)
        longest = max(
            (
                (len(segments(cover)), one)
                for one in self.by_name.values()
                for cover in one.covers
                if covers(segments(cover), whole)
            ),
            key=lambda pair: pair[0],
            default=None,
        )
        return _of(longest[1], cloud, f"{'/'.join(whole)}, which it covers") if longest else self.default_of(cloud)

    def default_of(self, cloud: Cloud) -> Connection:
        """The connection for what no other one covers."""
        return next((one for one in self.by_name.values() if one.default and one.cloud == cloud), Connection(cloud=cloud))

    def text(self) -> str:
        """All of them as JSON, as `read_connections` takes it; it says where secrets lie and holds none."""
        document = {
            name: one.model_dump(mode="json", exclude_defaults=True, exclude={"name"}) for name, one in self.by_name.items()
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":"))


def _of(one: Connection, cloud: Cloud, what: str) -> Connection:
    if one.cloud != cloud:
        raise ConfigError(f"expected a connection to {cloud} for {what}, found {one.name} to {one.cloud}: correct it")
    return one


def read_connections(text: str) -> ConnectionSet:
    """The connections of a text that `ConnectionSet.text` gave; raises ConfigError."""
    try:
        document = json.loads(text)
        return ConnectionSet({name: Connection.model_validate({**one, "name": name}) for name, one in document.items()})
    except (ValueError, TypeError, AttributeError, ValidationError) as exc:
        raise ConfigError(
            "expected the connections of a project as JSON in ORCHESTRAI_CONNECTIONS, found another text: unset it"
        ) from exc
