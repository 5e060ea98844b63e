"""Values of any text as YAML: what YAML has no place for is escaped, and left out of comments."""

import json
import re
from typing import Any

# controls, line ends that are none to JSON, and what is no letter: a file that holds one is no YAML, or says something else
_ODD = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_CONTROLS = re.compile("[\x00-\x1f]")


def flow_value(value: Any) -> str:
    """A scalar, or a list or mapping of scalars, in one line that reads back as it was."""
    return _ODD.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


def one_line(text: str, most: int = 300) -> str:
    """A text for a comment."""
    return _CONTROLS.sub("", _ODD.sub("", " ".join(text.split())))[:most]
