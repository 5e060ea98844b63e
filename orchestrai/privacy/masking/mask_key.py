"""Where the key of masked copies lies: a secret by reference, or a file of the key folder that is made once.

Whoever has the key can try values against tokens: it stays where the originals are, and never goes with a copy. Destroyed, no token leads
to anybody, and later copies have other tokens.
"""

import hashlib
import secrets

from orchestrai.errors import ConfigError
from orchestrai.privacy.masking.keyed_values import MaskKey
from orchestrai.secrets.reference import resolve_secret
from orchestrai.settings import Settings
from orchestrai.storage.disk.private_file import create_private

LEAST_CHARACTERS = 32
FILE = "masking.key"


def load_mask_key(settings: Settings, reference: str = "") -> MaskKey:
    """The key behind a secret reference, else the site's own, made on first use; raises ConfigError for one under 32 characters."""
    text = resolve_secret(reference) if reference else _own(settings)
    if len(text) < LEAST_CHARACTERS:
        where = reference or FILE
        raise ConfigError(
            f"expected a masking key of at least {LEAST_CHARACTERS} characters at {where}, found {len(text)}: make it longer"
        )
    return MaskKey(hashlib.sha256(text.encode()).digest())


def _own(settings: Settings) -> str:
    path = settings.key_folder / FILE
    if not path.exists():
        create_private(path, secrets.token_hex(32).encode())
    return path.read_text("ascii").strip()
