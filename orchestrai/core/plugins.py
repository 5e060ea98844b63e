"""What others add by an installed package: stores, sources, engines, notifiers and estimators, found by entry points.

An entry point of the group `orchestrai.<kind>` names what it adds: a URL scheme, an engine, a receiver, an estimator. Nothing is looked for
before a name is met that orchestrai does not know, so none can take the place of a built-in one; nothing is downloaded, and nothing is
loaded that no declaration names. Code of a plug-in runs with all that the process may do, as any installed package's does.

https://packaging.python.org/en/latest/specifications/entry-points/
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar, get_args

from orchestrai.errors import ConfigError, OrchestraiError

Kind = Literal["stores", "sources", "engines", "notifiers", "estimators"]
KINDS: tuple[Kind, ...] = get_args(Kind)
GROUP = "orchestrai."
Made = TypeVar("Made")
_ONE: dict[Kind, str] = {
    "stores": "a store",
    "sources": "a source",
    "engines": "an engine",
    "notifiers": "a notifier",
    "estimators": "an estimator",
}


@dataclass(frozen=True)
class Plugin:
    """One thing that an installed distribution adds; `target` is where its code is, `module:attribute`."""

    kind: Kind
    name: str
    target: str
    distribution: str
    version: str

    @property
    def origin(self) -> str:
        """Whose code it is: what a receipt names."""
        return f"{self.distribution} {self.version}"

    def load(self) -> Any:
        """What its entry point names; raises ConfigError, with the distribution, whatever its import raises."""
        from importlib.metadata import EntryPoint

        with blamed(self, f"to have {self.target}", f"mend or remove {self.distribution}"):
            return EntryPoint(self.name, self.target, GROUP + self.kind).load()


@cache
def installed() -> tuple[Plugin, ...]:
    """Every plug-in that is installed, by kind and name; two of one name are both listed. Read once per process."""
    from importlib.metadata import entry_points

    points = entry_points()
    found = [
        Plugin(kind, point.name, point.value, point.dist.name, point.dist.version)
        for kind in KINDS
        for point in points.select(group=GROUP + kind)
        if point.dist is not None
    ]
    return tuple(sorted(found, key=lambda one: (one.kind, one.name, one.origin)))


def names(kind: Kind) -> tuple[str, ...]:
    """The names that plug-ins of a kind add."""
    return tuple(dict.fromkeys(one.name for one in installed() if one.kind == kind))


def find(kind: Kind, name: str) -> Plugin | None:
    """The plug-in of a name; None where none is installed. Raises ConfigError where two distributions claim it."""
    found = [one for one in installed() if (one.kind, one.name) == (kind, name)]
    if len(found) > 1:
        raise ConfigError(
            f"expected one package that adds {name} to {kind}, found {' and '.join(one.origin for one in found)}: remove one of them"
        )
    return found[0] if found else None


def required(kind: Kind, name: str) -> Plugin:
    """The plug-in of a name; raises ConfigError with the names that there are where none is installed, and as `find`."""
    plugin = find(kind, name)
    if plugin is None:
        known = ", ".join(names(kind)) or "none"
        raise ConfigError(
            f"expected {_ONE[kind]} of an installed package ({known}), found {name}: install the package that adds it"
        )
    return plugin


@contextmanager
def blamed(plugin: Plugin, expected: str, remedy: str, *, raises: type[OrchestraiError] = ConfigError) -> Iterator[None]:
    """Whatever code of a plug-in raises in here becomes `raises`, told with whose code it is; errors of orchestrai stay what they are."""
    try:
        yield
    except OrchestraiError:
        raise
    except Exception as exc:  # which errors a package of others has is known to nobody here
        raise raises(
            f"expected the {plugin.kind} plug-in {plugin.name} of {plugin.origin} {expected}, found {type(exc).__name__}: {exc}: {remedy}"
        ) from exc


def require_protocol(made: Any, protocol: type, plugin: Plugin) -> None:
    """Raise ConfigError unless what a plug-in made has all that is asked of its kind."""
    lacking = sorted(name for name in _asked(protocol) if not hasattr(made, name))
    if lacking:
        raise ConfigError(
            f"expected the {plugin.kind} plug-in {plugin.name} of {plugin.origin} to give a {protocol.__name__}, found "
            f"{type(made).__name__} without {', '.join(lacking)}: run the suite of orchestrai.conformance against it"
        )


def make(plugin: Plugin, protocol: type[Made], *given: object) -> Made:
    """What the entry point makes of what it is given, which has all that is asked of its kind; raises ConfigError."""
    factory = plugin.load()
    with blamed(plugin, f"to give a {protocol.__name__}", "mend its package, or what it is given"):
        made: Made = factory(*given)
        require_protocol(made, protocol, plugin)
    return made


def _asked(protocol: type) -> set[str]:
    return {name for name in vars(protocol) if not name.startswith("_")}
