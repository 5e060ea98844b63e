"""Each connection tried with the least call: who it is, what it opens of what the project names, and what is missing.

Nothing is written: what is put into a locked store cannot be taken away again.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from orchestrai.errors import OrchestraiError
from orchestrai.pipeline.load import Project
from orchestrai.project.connection_set import ConnectionSet
from orchestrai.project.connection_spec import Connection
from orchestrai.settings import Settings
from orchestrai.storage.cloud.access.caller import caller_of
from orchestrai.storage.cloud.control import Capabilities, capabilities
from orchestrai.storage.url import CLOUD, cloud_of, open_store


@dataclass(frozen=True)
class Opened:
    """What became of a try."""

    what: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class ConnectionFinding:
    """One connection, and what was found of it; `who` is as its cloud writes it, empty where nobody there can say."""

    name: str
    cloud: str
    identity: str
    where: str
    who: str
    account: str
    tried: tuple[Opened, ...]

    @property
    def ok(self) -> bool:
        """Whether all that was tried went well."""
        return all(one.ok for one in self.tried)

    def as_json(self) -> dict[str, object]:
        """The form shown to programs."""
        names = ("name", "cloud", "identity", "where", "who", "account", "ok")
        tried = [{"what": one.what, "ok": one.ok, "detail": one.detail} for one in self.tried]
        return {name: getattr(self, name) for name in names} | {"tried": tried}


def store_urls(settings: Settings, project: Project | None = None) -> dict[str, str]:
    """The cloud stores that settings and declarations name, by what they are."""
    urls = {"lake": settings.lake, "vault": settings.vault, "replica": settings.replica_url, "witness": settings.witness_url,
            "spark exchange": settings.spark_exchange}  # fmt: skip
    for pipeline in project.pipelines if project is not None else ():
        for node in pipeline.own_datasets:
            urls[f"landing of {node.shown}"] = str(getattr(node.spec.source, "url", "") or "")
            for number, url in enumerate(node.spec.backup.replica if node.spec.backup else ()):
                urls[f"replica {number + 1} of {node.shown}"] = url
    return {what: url for what, url in urls.items() if url.partition("://")[0].partition("+")[0] in CLOUD and "://" in url}


def connection_findings(declared: ConnectionSet, urls: Mapping[str, str]) -> Iterator[ConnectionFinding]:
    """Try every declared connection, and the environment's where a URL is left to it, one after the other."""
    of: dict[str, list[tuple[str, str]]] = {}
    found: dict[str, Connection] = dict(declared.by_name)
    lost: list[Opened] = []
    for what, url in urls.items():
        try:
            one = declared.of_url(url, cloud_of(url))
        except OrchestraiError as error:
            lost.append(Opened(what, False, error.message))
            continue
        found.setdefault(one.name or f"environment ({one.cloud})", one)
        of.setdefault(one.name or f"environment ({one.cloud})", []).append((what, url))
    for name, one in found.items():
        named = of.get(name, [])
        covered = [(url, url) for url in one.covers if _is_store(url) and not any(u.startswith(url) for _, u in named)]
        yield _tried(name, one, [*named, *covered])
    if lost:
        yield ConnectionFinding("(none)", "", "", "", "", "", tuple(lost))


def _is_store(url: str) -> bool:
    scheme, _, rest = url.partition("://")
    # an account of Azure alone is no container
    return scheme in CLOUD and bool(rest.strip("/")) and (not scheme.startswith("abfs") or "@" in rest)


def _tried(name: str, one: Connection, urls: Iterable[tuple[str, str]]) -> ConnectionFinding:
    where = " ".join(part for part in (one.region or "", one.project or "", one.endpoint or "") if part)
    try:
        caller = caller_of(one)
    except OrchestraiError as error:
        return ConnectionFinding(
            name, one.cloud, one.identity.shown, where, "", "", (Opened("identity", False, error.message),)
        )
    who = Opened(
        "identity", True, caller.name or "the endpoint cannot say who this is: what it opens tells whether its keys are good"
    )
    tried = (who, *(_opened(what, url, one) for what, url in urls))
    return ConnectionFinding(name, one.cloud, one.identity.shown, where, caller.name, caller.account, tried)


def _opened(what: str, url: str, one: Connection) -> Opened:
    """List one key, read one that is not there, and ask what the store can do."""
    shown = what if what == url else f"{what} {url}"
    try:
        named = url if not one.name or "+" in url.partition("://")[0] else url.replace("://", f"+{one.name}://", 1)
        store = open_store(named)
        first = next(iter(store.list()), None)
        if first is not None:
            store.read(first.key, length=1)
        can = capabilities(store)
    except OrchestraiError as error:
        return Opened(shown, False, error.message)
    seen = "lists and reads" if first is not None else "lists; it is empty"
    return Opened(shown, True, f"{seen}; {_words(can)}; writing was not tried")


def _words(can: Capabilities) -> str:
    lock = (
        "no lock"
        if can.lock == "none"
        else f"{can.lock} lock" + (f" of {can.default_lock.days} days" if can.default_lock else "")
    )
    return f"{lock}, {'versions' if can.versions else 'no versions'}"
