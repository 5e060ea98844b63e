"""What a key takes, in words, worked out from the JSON Schema of its value."""

from typing import Any

_PLAIN = {"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false", "null": ""}
_BOUNDS = (
    ("minimum", "at least {}"),
    ("exclusiveMinimum", "above {}"),
    ("maximum", "at most {}"),
    ("exclusiveMaximum", "below {}"),
)
_FORMATS = {"duration": "a length of time, such as 26h", "date": "a date", "date-time": "a date with a time"}


def value_form(schema: dict[str, Any]) -> str:
    """One phrase: `one of csv, jsonl`, `a list of text`, `a whole number, at least 1`, `a block`."""
    if "$ref" in schema:
        return "a block"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            forms = dict.fromkeys(form for one in schema[several] if (form := value_form(one)))
            return " or ".join(forms)
    if "enum" in schema:
        shown = ", ".join(str(value) if value != "" else "empty" for value in schema["enum"])
        return f"one of {shown}" if len(schema["enum"]) > 1 else shown
    if "const" in schema:
        return str(schema["const"])
    kind = schema.get("type")
    if kind == "array":
        return _list_of(schema)
    if kind == "object":
        values = schema.get("additionalProperties") or next(iter(schema.get("patternProperties", {}).values()), None)
        return f"names with {value_form(values)} each" if isinstance(values, dict) else "a block"
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    bounds = [text.format(schema[name]) for name, text in _BOUNDS if name in schema]
    return ", ".join([_PLAIN.get(str(kind), "any value"), *bounds])


def _list_of(schema: dict[str, Any]) -> str:
    if "prefixItems" in schema:
        return f"a list of {len(schema['prefixItems'])} values"
    item = value_form(schema.get("items", {}))
    return "a list of blocks" if item == "a block" else f"a list of {item}"
