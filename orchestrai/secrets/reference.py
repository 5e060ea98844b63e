"""Secrets by reference: what is declared says where a secret lies, never what it is.

    env://NAME                               an environment variable
    file:///run/secrets/name                 a file; one trailing line end is dropped
    awssm://name?stage=AWSCURRENT#key        AWS Secrets Manager
    ssm://name, ssm:///path/name#key         AWS Systems Manager, a parameter
    azkv://vault/name/version#key            Azure Key Vault; without a version the newest
    gcpsm://project/name/version#key         Google Secret Manager; without a version `latest`
    vault://mount/path#key                   HashiCorp Vault or OpenBao, KV version 2, at VAULT_ADDR

`awssm+name://...` reads it by the connection of that name. `#key` takes one field of a secret that is a JSON object. `?keep=60` is how
many seconds the text may be used before it is asked for again (300 without it; env and file are read at each use). Resolved at use; the
text goes to the library that needs it and nowhere else.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from orchestrai.errors import ConfigError

HIDDEN = "***"
KEEP_SECONDS = 300
# how many parts the path of a remote reference has, at least and at most
_PARTS = {"awssm": (1, 99), "ssm": (1, 99), "azkv": (2, 3), "gcpsm": (2, 3), "vault": (2, 99)}
SCHEMES = ("env", "file", *_PARTS)
_OPTIONS = {"awssm": ("keep", "stage"), "ssm": ("keep",), "azkv": ("keep",), "gcpsm": ("keep",), "vault": ("keep",)}
_LONGEST_KEEP = 86_400
_CONNECTION = re.compile("[a-z][a-z0-9-]{0,39}")


@dataclass(frozen=True)
class RemoteSecret:
    """Where a secret lies in a store of secrets; `path` has no empty part but a first one, of a name that begins with a slash."""

    reference: str
    scheme: str
    path: str
    key: str = ""
    keep: int = KEEP_SECONDS
    options: Mapping[str, str] = field(default_factory=dict)
    connection: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """The path, cut at its slashes."""
        return tuple(self.path.split("/"))


def is_reference(text: str) -> bool:
    """Whether a text says by its scheme that it is a reference; it may be a malformed one."""
    return text.partition("://")[0].partition("+")[0] in SCHEMES and "://" in text


def check_reference(reference: str) -> str:
    """Return a well-formed reference unchanged; raises ConfigError, without showing what may be a secret itself."""
    scheme, separator, rest = reference.partition("://")
    if separator and ((scheme == "env" and rest and "/" not in rest) or (scheme == "file" and rest.startswith("/"))):
        return reference
    if separator and scheme.partition("+")[0] in _PARTS and remote_secret(reference) is not None:
        return reference
    raise ConfigError(
        "expected a secret reference env://NAME, file:///path, awssm://, ssm://, azkv://, gcpsm:// or vault://, found something else: "
        "write where it lies"
    )


def remote_secret(reference: str) -> RemoteSecret | None:
    """A reference into a store of secrets, taken apart; None where it is not well-formed."""
    named, _, rest = reference.partition("://")
    scheme, plus, connection = named.partition("+")
    if plus and (scheme == "vault" or not _CONNECTION.fullmatch(connection)):
        return None
    place, _, key = rest.partition("#")
    path, _, query = place.partition("?")
    path = unquote(path)
    least, most = _PARTS.get(scheme, (1, 0))
    parts = path.removeprefix("/").split("/") if scheme == "ssm" else path.split("/")
    options = dict(parse_qsl(query, keep_blank_values=True))
    keep = options.pop("keep", str(KEEP_SECONDS))
    known = {*_OPTIONS.get(scheme, ())}
    if not least <= len(parts) <= most or not all(parts) or ".." in parts or not {*options} <= known:
        return None
    if any(character.isspace() or not character.isprintable() for character in path + key):
        return None
    if not keep.isdigit() or int(keep) > _LONGEST_KEEP:
        return None
    return RemoteSecret(reference, scheme, path, unquote(key), int(keep), options, connection)


def resolve_secret(reference: str, environ: Mapping[str, str] | None = None) -> str:
    """The secret behind a reference; raises ConfigError naming the reference, TransientStorageError where its store does not answer."""
    check_reference(reference)
    scheme = reference.partition("://")[0]
    if scheme == "env":
        value = (os.environ if environ is None else environ).get(reference.removeprefix("env://"), "")
    elif scheme == "file":
        path = Path(unquote(urlsplit(reference).path))
        try:
            value = path.read_text("utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"expected a readable secret at {reference}, found {type(exc).__name__}: mount it") from None
    else:
        # here: most processes read none of them
        from orchestrai.secrets.kept import SECRETS

        place = remote_secret(reference)
        assert place is not None
        value = SECRETS.text(place)
    if not value:
        raise ConfigError(f"expected a secret at {reference}, found nothing: set it")
    return value


def scrubbed(text: str, *secrets: str | None) -> str:
    """`text` without any of the secrets, in whatever form a URL may carry them."""
    for secret in sorted({s for s in secrets if s}, key=len, reverse=True):
        for form in (secret, quote(secret, safe=""), quote(secret)):
            text = text.replace(form, HIDDEN)
    return text
