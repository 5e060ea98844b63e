"""Which URLs a connection covers: by whole segments, so that `s3://a/eu` covers `s3://a/eu/x` and not `s3://a/europe`."""

import re
from typing import TYPE_CHECKING

from orchestrai.errors import ConfigError
from orchestrai.secrets.url_credentials import refuse_credentials

if TYPE_CHECKING:
    from orchestrai.project.identity_spec import Cloud

Segments = tuple[str, ...]
# one service, several names of it
_SAME = {"s3a": "s3", "gcs": "gs", "azure": "az", "abfs": "abfss"}
# whose service a scheme is; one that is not here may be of any cloud
CLOUDS: dict[str, "Cloud"] = {
    **dict.fromkeys(("s3", "s3a", "sqs", "awskms", "awssm", "ssm"), "aws"),
    **dict.fromkeys(("az", "azure", "abfs", "abfss", "azure-queue", "azurekv", "azkv"), "azure"),
    **dict.fromkeys(("gs", "gcs", "pubsub", "gcpkms", "gcpsm"), "gcp"),
}
_SCHEME = re.compile(r"([a-z][a-z0-9-]*)(?:\+([a-z][a-z0-9-]*))?://(.*)", re.DOTALL)


def named(url: str) -> tuple[str, str]:
    """A URL without the name of a connection in it, and the name: `s3+replica://bucket` names one. Empty where it names none."""
    match = _SCHEME.fullmatch(url)
    if match is None or match[2] is None:
        return url, ""
    return f"{match[1]}://{match[3]}", match[2]


def segments(url: str) -> Segments:
    """A URL as whole segments, from the service inwards: service, account or bucket, folders. Of a path: nothing."""
    match = _SCHEME.fullmatch(url)
    if match is None:
        return ()
    scheme, rest = _SAME.get(match[1], match[1]), re.split("[?#]", match[3], maxsplit=1)[0]
    authority, _, path = rest.partition("/")
    # hosts have no case, nor have buckets and containers any capitals
    authority = authority if authority.startswith("arn:") else authority.lower()
    container, at, host = authority.rpartition("@")
    # abfss://container@account.dfs...: the account holds the container; the endpoint's suffix says nothing more
    within = (host.partition(".")[0], container) if at else (host.partition(".")[0],) if scheme == "abfss" else (authority,)
    # ARNs have their segments between colons, and hosts a port there
    parts = path.split("/")
    if authority.startswith("arn:"):
        within, parts = tuple(authority.split(":")), path.split("/")
    return (scheme, *(part for part in (*within, *parts) if part))


def check_cover(url: str) -> str:
    """Return a URL that a connection is to cover unchanged; raises ConfigError."""
    refuse_credentials(url)
    match = _SCHEME.fullmatch(url)
    plain = match is not None and match[2] is None and not re.search(r"[?#\\\s]", url)
    if not plain or any(part in (".", "..") for part in url.split("/")):
        raise ConfigError(f"expected a URL such as s3://bucket/folder, found {url!r}")
    return url


def covers(prefix: Segments, whole: Segments) -> bool:
    """Whether `whole` lies at or under `prefix`."""
    return bool(prefix) and whole[: len(prefix)] == prefix
