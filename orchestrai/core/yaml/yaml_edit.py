"""A value put into YAML text in its place: every other letter, comments too, stays as it is."""

from typing import Any

import yaml

from orchestrai.core.yaml.declaration import PARSER, Location
from orchestrai.core.yaml.yaml_text import flow_value
from orchestrai.errors import ConfigError


def with_value(text: str, at: Location, value: Any) -> str:
    """The text with `value` (a scalar or a list of scalars) at a location; what leads to it must be there. Raises ConfigError."""
    node = yaml.compose(text, Loader=PARSER)
    for part in at[:-1]:
        node = _child(node, part, at)
    if not isinstance(node, yaml.MappingNode) or not node.value:
        raise ConfigError(f"expected a mapping with fields at {_shown(at[:-1])}, found none: change the file by hand")
    key, written = str(at[-1]), flow_value(value)
    for name, old in node.value:
        if name.value == key:
            _own(name, old, at)
            if isinstance(old, yaml.CollectionNode) and not old.flow_style:
                raise ConfigError(f"expected a value in one line at {_shown(at)}, found several: change the file by hand")
            # a value that is not there stands at the mark itself
            blank = " " if old.start_mark.index == old.end_mark.index else ""
            return text[: old.start_mark.index] + blank + written + text[old.end_mark.index :]
    if node.flow_style:
        # behind the last value: what stands before the brace may be a comment
        last, value_of_last = node.value[-1]
        end = _own(last, value_of_last, at).end_mark.index
        return f"{text[:end]}, {key}: {written}{text[end:]}"
    first = node.value[0][0].start_mark
    return text[: first.index] + f"{key}: {written}\n{' ' * first.column}" + text[first.index :]


def _child(node: Any, part: str | int, at: Location) -> Any:
    if isinstance(part, int) and isinstance(node, yaml.SequenceNode) and part < len(node.value):
        return _own(node.value[part - 1] if part else node, node.value[part], at)
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == part:
                return _own(name, value, at)
    raise ConfigError(f"expected {part!r} in the file, found none: change the file by hand")


def _own(before: Any, node: Any, at: Location) -> Any:
    """A node that stands behind the one before it: an alias stands further up, and for others too."""
    if node.start_mark.index < before.start_mark.index:
        raise ConfigError(f"expected {_shown(at)} in its own place, found an alias: change the file by hand")
    return node


def _shown(at: Location) -> str:
    return ".".join(map(str, at))
