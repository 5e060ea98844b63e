"""How many bytes a second, as people write it."""

import re

from orchestrai.errors import ConfigError

_RATE = re.compile(r"(\d+(?:\.\d+)?) ?([kKMG]?)(i?)B(?:/s|ps)")
_POWERS = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3}


def parse_rate(text: str) -> int:
    """Bytes a second: `20MB/s`, `500 kB/s`, or in binary units `20MiB/s`; 0 for an empty text. Raises ConfigError."""
    if not text:
        return 0
    found = _RATE.fullmatch(text.strip())
    rate = int(float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2]]) if found else 0
    if rate < 1:
        raise ConfigError(f"expected a rate such as 20MB/s or 500kB/s, found {text!r}: correct it")
    return rate
