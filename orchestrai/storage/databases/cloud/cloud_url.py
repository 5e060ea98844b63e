"""The URL of a cloud's warehouse: where it is, and the folder of a bucket that rows come to it by."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from orchestrai.errors import ConfigError

BIGQUERY, REDSHIFT, SNOWFLAKE = SCHEMES = ("bigquery://", "redshift-data://", "snowflake://")


@dataclass(frozen=True)
class CloudUrl:
    """A URL taken apart: its host (a project, a workgroup), the first part of its path (a dataset, a database), and its options."""

    host: str
    path: str
    options: Mapping[str, str]

    @property
    def staging(self) -> str:
        """The folder that files lie in until they are loaded, without a slash at the end."""
        return self.options["staging"].rstrip("/")


def cloud_url(text: str, *, bucket: str, required: Collection[str], optional: Collection[str]) -> CloudUrl:
    """Take a URL apart whose `staging` is in a bucket of a scheme; raises ConfigError that names what is missing or unknown."""
    parts = urlsplit(text)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    needed = ["staging", *required]
    missing = sorted(name for name in needed if not options.get(name))
    unknown = sorted(set(options) - {*needed, *optional})
    path = unquote(parts.path.strip("/"))
    if missing or unknown or not parts.netloc or not path or "/" in path:
        found = ", ".join([*(f"no {name}" for name in missing), *(f"unknown {name}" for name in unknown)]) or "another path"
        raise ConfigError(f"expected {parts.scheme}://NAME/NAME?staging={bucket}://..., found {found}: correct the URL")
    if not options["staging"].startswith(f"{bucket}://"):
        raise ConfigError(f"expected staging at {bucket}://, which {parts.scheme} reads, found another: name such a bucket")
    return CloudUrl(unquote(parts.netloc), path, options)
