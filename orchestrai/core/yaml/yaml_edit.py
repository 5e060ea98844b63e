"""A value put into YAML text in its place: every other letter, comments too, stays as it is."""

import json
from typing import Any

import yaml

from orchestrai.core.yaml.declaration import PARSER, Location
from orchestrai.errors import ConfigError


def with_value(text: str, at: Location, value: Any) -> str:
    """The text with `value` (a scalar or a list of scalars) at a location; what leads to it must be there. Raises ConfigError."""
    node = yaml.compose(text, Loader=PARSER)
    for part in at[:-1]:
        node = _child(node, part)
    if not isinstance(node, yaml.MappingNode) or not node.value:
        raise ConfigError(f"expected a mapping with fields at {_shown(at[:-1])}, found none: change the file by hand")
    key, written = str(at[-1]), json.dumps(value, ensure_ascii=False)
    for name, old in node.value:
        if name.value == key:
            if isinstance(old, yaml.CollectionNode) and not old.flow_style:
                raise ConfigError(f"expected a value in one line at {_shown(at)}, found several: change the file by hand")
            return text[: old.start_mark.index] + written + text[old.end_mark.index :]
    if node.flow_style:
        end = node.end_mark.index - 1
        head = text[:end].rstrip()
        between = " " if head.endswith(",") else ", "
        return head + f"{between}{key}: {written}" + text[end:]
    first = node.value[0][0].start_mark
    return text[: first.index] + f"{key}: {written}\n{' ' * first.column}" + text[first.index :]


def _child(node: Any, part: str | int) -> Any:
    if isinstance(part, int) and isinstance(node, yaml.SequenceNode) and part < len(node.value):
        return node.value[part]
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == part:
                return value
    raise ConfigError(f"expected {part!r} in the file, found none: change the file by hand")


def _shown(at: Location) -> str:
    return ".".join(map(str, at))
