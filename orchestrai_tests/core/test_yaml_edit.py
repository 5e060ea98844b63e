"""A value put into YAML: in its place, with all else as it was."""

import pytest
import yaml

from orchestrai.core.yaml.yaml_edit import with_value
from orchestrai.errors import ConfigError

TEXT = """# mine
datasets:
  - name: a   # the first
    source: {url: x, format: csv}  # in braces
  - name: b
    source:
      url: y
      # how it is written
      delimiter: ","
      null_values:
        - ""
"""


@pytest.mark.parametrize(
    ("at", "value", "line"),
    [
        (("datasets", 0, "source", "delimiter"), ";", '    source: {url: x, format: csv, delimiter: ";"}  # in braces'),
        (("datasets", 0, "source", "format"), "json", '    source: {url: x, format: "json"}  # in braces'),
        (("datasets", 1, "source", "delimiter"), "\t", '      delimiter: "\\t"'),
        (("datasets", 1, "source", "skip_lines"), 2, "      skip_lines: 2"),
        (("datasets", 1, "source", "columns"), ["a", "é"], '      columns: ["a", "é"]'),
    ],
)
def test_one_line_is_written_and_every_other_stays(at: tuple[str | int, ...], value: object, line: str) -> None:
    changed = with_value(TEXT, at, value)
    assert line in changed.splitlines()
    before, after = set(TEXT.splitlines()), set(changed.splitlines())
    assert len(before - after) <= 1 and len(after - before) == 1
    found = yaml.safe_load(changed)
    for part in at:
        found = found[part]
    assert found == value


@pytest.mark.parametrize(
    "at", [("datasets", 1, "source", "null_values"), ("datasets", 7, "x"), ("models", "x"), ("datasets", 0, "name", "x")]
)
def test_what_has_no_place_of_its_own_is_left_to_a_person(at: tuple[str | int, ...]) -> None:
    with pytest.raises(ConfigError, match="by hand"):
        with_value(TEXT, at, [])


def test_a_comment_before_the_brace_swallows_nothing_and_what_has_no_value_gets_one() -> None:
    text = "source: {\n  url: x,  # the place\n  header:\n}\nother: {a: 1,}\nnulls:\n"
    for at in (("source", "quote"), ("source", "header"), ("other", "b"), ("nulls",)):
        text = with_value(text, at, "it\u0085\u2028 \x7f")
    assert "# the place" in text
    written = "it\u0085\u2028 \x7f"
    assert yaml.safe_load(text) == {
        "source": {"url": "x", "header": written, "quote": written},
        "other": {"a": 1, "b": written},
        "nulls": written,
    }


def test_what_is_written_elsewhere_and_named_here_is_left_to_a_person() -> None:
    text = "a: &one {x: 1}\nb: *one\nc: {y: *one}\nd:\n- {x: 1}\n- *one\n"
    for at in (("b", "x"), ("b", "z"), ("c", "y"), ("c", "z"), ("d", 1, "x")):
        with pytest.raises(ConfigError, match="an alias: change the file by hand"):
            with_value(text, at, 2)
