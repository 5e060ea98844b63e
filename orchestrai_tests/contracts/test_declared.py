"""A mistake in a declaration is told in one line; a hostile file costs nothing."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrai.contracts.odcs import load_contract
from orchestrai.core.yaml.declaration import explain, load_yaml
from orchestrai.errors import DeclarationError

GOOD = """\
kind: DataContract
apiVersion: v3.0.2
name: orders
version: 1.0.0
schema:
  - name: orders
    properties:
      - {name: id, physicalType: BIGINT, primaryKey: true}
      - {name: at, physicalType: TIMESTAMP, required: true}
      - {name: price, physicalType: "DECIMAL(12,2)", logicalTypeOptions: {minimum: 0}}
slaProperties:
  - {property: latency, value: 2, unit: h, element: orders.at}
  - {property: retention, value: 2, unit: y}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "orders.contract.yaml"
    path.write_text(text)
    return path


def test_a_contract_reads_types_keys_rules_and_promises(tmp_path: Path) -> None:
    contract = load_contract(write(tmp_path, GOOD))
    assert contract.names == ("id", "at", "price")
    assert contract.primary_key == ("id",)
    assert contract.column("id").required
    assert contract.event_time == "at"
    assert contract.freshness is not None and contract.freshness.total_seconds() == 7200
    assert contract.retention is not None and contract.retention.days == 730
    assert str(contract.arrow_schema().field("price").type) == "decimal128(12, 2)"
    assert str(contract.arrow_schema().field("at").type) == "timestamp[us, tz=UTC]"


PERSONAL = GOOD.replace(
    "slaProperties:",
    """\
      - {name: who, physicalType: STRING}
      - {name: mail, physicalType: STRING, customProperties: [{property: tokenise, value: true}]}
customProperties:
  - {property: person, value: who}
slaProperties:""",
)


def test_a_contract_names_tokenised_columns_and_the_person(tmp_path: Path) -> None:
    contract = load_contract(write(tmp_path, PERSONAL))
    assert (contract.person, contract.tokenised_columns) == ("who", ("who", "mail"))


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("value: true}", "value: yes please}", 12, "expected true or false, found 'yes please'"),
        (
            "property: tokenise",
            "property: tokenize",
            12,
            "expected a custom property of canonical, derive, tokenise, unit, found 'tokenize'",
        ),
        ("value: who}", "value: whom}", 14, "expected a STRING column (who, mail), found 'whom'"),
        ("value: who}", "value: id}", 14, "expected a STRING column (who, mail), found 'id'"),
        ("property: person, value: who", "property: volume, value: none", 12, "expected a custom property person"),
        ("name: mail, physicalType: STRING", "name: mail, physicalType: BIGINT", 12, "since a token is text, found BIGINT"),
        (
            "name: who, physicalType: STRING",
            "name: who, physicalType: STRING, enum: [{value: a}]",
            11,
            "tokenised, found enum",
        ),
        ("STRING, customProperties", "STRING, unique: true, customProperties", 12, "found a unique value across persons"),
        (
            "STRING, customProperties",
            "STRING, logicalTypeOptions: {maxLength: 9, pattern: x}, customProperties",
            12,
            "found pattern, maxLength",
        ),
    ],
)
def test_a_mistake_in_what_is_tokenised_is_one_line(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    assert old in PERSONAL
    with pytest.raises(DeclarationError) as caught:
        load_contract(write(tmp_path, PERSONAL.replace(old, new, 1)))
    message = str(caught.value)
    assert f"/orders.contract.yaml:{line}: " in message, message
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("kind: DataContract", "kind: Table", 1, "kind: expected DataContract, found 'Table'"),
        ("apiVersion: v3.0.2", "apiVersion: v2.0.0", 2, "expected v3.x"),
        ("physicalType: BIGINT", "physicalType: NUMBER", 8, "schema[0].properties[0].physicalType: expected STRING"),
        ("required: true", "requird: true", 9, "expected 'required', found 'requird'"),
        ("DECIMAL(12,2)", "DECIMAL(50,2)", 10, "p up to 38"),
        ("minimum: 0", "minimun: 0", 10, "expected one of minimum"),
        ("unit: h", "unit: fortnights", 12, "expected a unit of"),
        ("element: orders.at", "element: orders.price", 11, "expected a TIMESTAMP or DATE column (at), found 'price'"),
        ("name: price", "name: at", 10, "each column once"),
        ("version: 1.0.0", "version: 1.0.0\nversion: 2.0.0", 5, "each key once"),
        ("version: 1.0.0", "version: 1.0.0\nquality: []", 5, "found 'quality'"),
    ],
)
def test_a_mistake_is_one_line_with_file_line_and_field(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        load_contract(write(tmp_path, GOOD.replace(old, new, 1)))
    message = str(caught.value)
    assert f"/orders.contract.yaml:{line}: " in message, message
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [1,2,3,4,5,6,7,8,9]\n" + "".join(f"k{i}: &k{i} [*a, *a, *a, *a, *a]\n" for i in range(9)),
        "a: &a [*a]\n",
        "x: " + "[" * 5000,
        "{" * 5000,
        "x: " + "y" * 2_000_000,
        "a: b: c\n",
        "\x00",
        "a: !!python/object/apply:os.system ['true']\n",
        "base: &b {x: 1}\nc:\n  <<: *b\n",
        "? [1, 2]\n: 3\n",
    ],
    ids=["aliases", "recursion", "depth", "flow depth", "size", "syntax", "nul", "python tag", "merge", "key"],
)
def test_hostile_yaml_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        load_yaml(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_bytes_that_are_not_text_are_told_with_their_offset(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"a: \xff\n")
    with pytest.raises(DeclarationError, match=r"c\.yaml:1: .*byte 0xff at offset 3"):
        load_yaml(path)


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int


class Whole(BaseModel):
    model_config = ConfigDict(extra="forbid")
    parts: list[Part]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parts:\n  - size: big\n", "w.yaml:2: parts[0].size: expected a valid integer"),
        ("parts:\n  - size: 1\n  - syze: 2\n", "w.yaml:3: parts[1].size: expected a value, found none"),
        ("parts:\n  - {size: 1, colour: red}\n", "w.yaml:2: parts[0].colour: expected one of size, found 'colour'"),
    ],
)
def test_a_pydantic_finding_becomes_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(text)
    data, line_of = load_yaml(path)
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(data)
    assert str(explain(path, caught.value, line_of, model=Whole)).startswith(f"{tmp_path.name}/{message}")
