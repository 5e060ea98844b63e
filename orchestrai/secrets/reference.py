"""Secrets by reference: what is declared says where a secret lies, never what it is.

    env://NAME           an environment variable
    file:///run/secrets/name    a file; one trailing line end is dropped

Resolved at use; the text goes to the library that needs it and nowhere else.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from orchestrai.errors import ConfigError

HIDDEN = "***"


def check_reference(reference: str) -> str:
    """Return a well-formed reference unchanged; raises ConfigError, without showing what may be a secret itself."""
    scheme, separator, rest = reference.partition("://")
    if separator and ((scheme == "env" and rest and "/" not in rest) or (scheme == "file" and rest.startswith("/"))):
        return reference
    raise ConfigError("expected a secret reference env://NAME or file:///path, found something else: write where it lies")


def resolve_secret(reference: str, environ: Mapping[str, str] | None = None) -> str:
    """The secret behind a reference; raises ConfigError naming the reference."""
    check_reference(reference)
    if reference.startswith("env://"):
        value = (os.environ if environ is None else environ).get(reference.removeprefix("env://"), "")
    else:
        path = Path(unquote(urlsplit(reference).path))
        try:
            value = path.read_text("utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"expected a readable secret at {reference}, found {type(exc).__name__}: mount it") from None
    if not value:
        raise ConfigError(f"expected a secret at {reference}, found nothing: set it")
    return value


def scrubbed(text: str, *secrets: str | None) -> str:
    """`text` without any of the secrets, in whatever form a URL may carry them."""
    for secret in sorted({s for s in secrets if s}, key=len, reverse=True):
        for form in (secret, quote(secret, safe=""), quote(secret)):
            text = text.replace(form, HIDDEN)
    return text
