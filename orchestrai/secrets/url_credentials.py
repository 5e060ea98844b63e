"""Credentials in URLs: refused where anything is declared or set, left out where anything is shown.

A URL is written to logs, receipts, descriptions and error messages; a secret lies elsewhere and is named by reference.
"""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

from orchestrai.errors import ConfigError
from orchestrai.secrets.reference import HIDDEN, SCHEMES

REMEDY = "write where the secret lies, such as env://NAME or file:///run/secrets/name, in the field that takes it"
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>[^\s\"'<>]*)")
_HOST = r"(?:[^:@,\[\]]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?"
_HOSTS = re.compile(f"{_HOST}(?:,{_HOST})*")
# where a user is part of the address and no secret
_NAMED_USERS = ("abfs", "abfss", "wasb", "wasbs", "ssh", "sftp")
_WEB = ("http", "https", "ws", "wss", "ftp")
# what services call a secret in a query, without dashes and underscores
_SECRET_NAMES = frozenset(
    "apikey xapikey apitoken apptoken accesskey accesskeyid awsaccesskeyid secretaccesskey accesstoken authtoken bearertoken idtoken "
    "refreshtoken sessiontoken privatetoken token secret secretkey clientsecret sharedsecret password passwd passphrase pwd "
    "sslpassword sig signature xamzsignature xamzcredential xamzsecuritytoken xgoogsignature xgoogcredential accountkey "
    "sharedaccesskey sharedaccesssignature subscriptionkey ocpapimsubscriptionkey authorization auth authkey credential credentials "
    "privatekey sslkey".split()
)
_KEY_LIKE = re.compile(r"(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9_-]{20,}")
_CONNECTION_STRING = re.compile(r"\b(AccountKey|SharedAccessKey|SharedAccessSignature)\s*=\s*([^;\s]+)", re.IGNORECASE)
_DSN_PASSWORD = re.compile(r"\bpassword\s*=\s*([^\s;&]+)")
_DSN = re.compile(r"\b(?:host|hostaddr|dbname)\s*=")
# what stands for a value that lies elsewhere
_FILLED_IN = re.compile(r"\$\{[^}]*\}")
# the plus before a connection's name is a space where a query was taken apart
_REFERENCE = re.compile(rf"\{{[a-z_]+\}}|(?:{'|'.join(SCHEMES)})(?:[+ ][a-z0-9-]+)?://.*")


def refuse_credentials(text: str) -> str:
    """Return a declared text unchanged; raises ConfigError, which does not show it, where a URL in it carries a credential."""
    credential = next(_credentials(text), None)
    if credential:
        raise ConfigError(f"expected a URL without credentials, found {credential} in it: {REMEDY}")
    return text


def withheld(text: str) -> str:
    """A text with what of its URLs may be shown; nothing of one that has a credential elsewhere."""
    shown = _URL.sub(lambda match: shown_url(match[0]), text)
    return HIDDEN if next(_credentials(shown), None) else shown


def credentials_in(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Where in a document a credential stands, and which kind it is."""
    if isinstance(value, str):
        yield from ((at, credential) for credential in _credentials(value))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from credentials_in(item, (*at, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from credentials_in(item, (*at, index))


def shown_url(url: str) -> str:
    """A URL as it may be shown: without user, query, parameters and fragment."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    place = re.split(r"[?#]|;[\w.-]+=", rest, maxsplit=1)[0]
    authority, slash, path = place.partition("/")
    if scheme.partition("+")[0] in _NAMED_USERS and ":" not in authority.rpartition("@")[0]:
        return f"{scheme}://{place}"
    # a password may have a slash in it that nobody escaped
    if "@" in path and not _HOSTS.fullmatch(authority):
        return f"{scheme}://{place.rpartition('@')[2]}"
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def _credentials(text: str) -> Iterator[str]:
    """What credentials a text carries, in words that show none of them."""
    text = _FILLED_IN.sub("", text)
    if "=" in text:
        for match in _CONNECTION_STRING.finditer(text):
            if _literal(match[2]):
                yield f"{match[1]}="
        password = _DSN_PASSWORD.search(text)
        if password and _literal(password[1]) and _DSN.search(text):
            yield "password="
    if "://" in text:
        for match in _URL.finditer(text):
            yield from _in_url(match["scheme"].lower(), match["rest"])


def _in_url(scheme: str, rest: str) -> Iterator[str]:
    if scheme.partition("+")[0] in SCHEMES:
        return
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, at, _ = authority.rpartition("@")
    if not at and "@" in rest and ":" in authority and not _HOSTS.fullmatch(authority):
        # a password with a slash or a question mark that nobody escaped
        user, at = rest.rpartition("@")[0], "@"
    name, colon, password = user.partition(":")
    if at and colon and password and _literal(password):
        yield "a password before the host"
    elif at and name and _literal(name) and scheme.rpartition("+")[2] in _WEB:
        yield "a user before the host"
    for part in re.split("[?#;]", rest)[1:]:
        for name, value in parse_qsl(part):
            plain = re.sub(r"[-_.\s]", "", name).lower()
            if value and _literal(value) and (plain in _SECRET_NAMES or (plain == "key" and _KEY_LIKE.fullmatch(value))):
                yield f"{name[:40]}="


def _literal(value: str) -> bool:
    """Whether a value is the secret itself and not where it lies."""
    return value != HIDDEN and not _REFERENCE.fullmatch(value)
