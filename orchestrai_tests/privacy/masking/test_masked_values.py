"""Masked values: of every type, null and script, one to one where rows are joined, and never an original of a person."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.contracts.contract import Column, Contract, arrow_type
from orchestrai.errors import ConfigError, IntegrityError
from orchestrai.privacy.masking.keyed_values import MaskKey
from orchestrai.privacy.masking.mask_plan import ColumnMask, MaskPlan, identifying_names, mask_plan
from orchestrai.privacy.masking.mask_proof import MaskProof
from orchestrai.privacy.masking.mask_survey import LEAST_ROWS, MaskSurvey
from orchestrai.privacy.masking.masker import Masker

KEY, OTHER = MaskKey(b"k" * 32), MaskKey(b"o" * 32)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "STRING": st.text(max_size=12) | st.sampled_from(["Zoë", "张伟", "naïve\u0000x", "tok_ab", "", "👩‍🔬"]),
    "BIGINT": st.integers(-(2**63), 2**63 - 1),
    "INT": st.integers(-(2**31), 2**31 - 1),
    "DOUBLE": st.floats(),
    "DECIMAL(38,10)": st.decimals(allow_nan=False, allow_infinity=False, places=10, min_value=-(10**27), max_value=10**27),
    "BOOLEAN": st.booleans(),
    "TIMESTAMP": st.datetimes(datetime(1700, 1, 1), datetime(2300, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    "DATE": st.dates(date(1, 1, 1), date(9999, 12, 31)),
}
KEYED = [kind for kind in VALUES if kind != "DOUBLE"]


def masked(
    plans: Sequence[MaskPlan], tables: Sequence[pa.Table], key: MaskKey = KEY
) -> tuple[list[pa.Table], dict[str, int]]:
    """Each table as a copy has it, proven."""
    survey = MaskSurvey()
    for plan, table in zip(plans, tables, strict=True):
        survey.look(plan, table, None)
    masker, proof = Masker(key, survey), MaskProof(survey)
    made = [masker.table(plan, table, "all", None) for plan, table in zip(plans, tables, strict=True)]
    for plan, table in zip(plans, made, strict=True):
        proof.look(plan, table, None)
    return made, proof.verdict()


def contract(*columns: Column, **more: Any) -> Contract:
    return Contract("t", "1", columns, **more)


def column(name: str, kind: str, **more: Any) -> Column:
    return Column(name, kind, name, **more)


def one(kind: str, values: list[Any], **more: Any) -> tuple[MaskPlan, pa.Table]:
    made = contract(column("c", kind, **more))
    return mask_plan("d", made, (), {}), pa.table({"c": pa.array(values, arrow_type(kind))})


@pytest.mark.parametrize("kind", list(VALUES))
@pytest.mark.parametrize("classification", ["pii", ""])
def test_values_of_every_type_keep_type_nulls_and_number_and_pass_the_proof(kind: str, classification: str) -> None:
    @settings(max_examples=25)
    @given(st.lists(st.none() | VALUES[kind], max_size=12))
    def holds(values: list[Any]) -> None:
        plan, table = one(kind, values, classification=classification)
        (made,), _ = masked([plan], [table])
        assert made.schema.types == table.schema.types and made.num_rows == table.num_rows
        after = made.column("c").to_pylist() if kind not in ("TIMESTAMP", "DATE") else made.column("c").combine_chunks()
        nulls = [value is None for value in values]
        if plan.columns[0].method != "band":
            assert [not valid for valid in made.column("c").is_valid().to_pylist()] == nulls
        if kind == "STRING":
            assert not {*after} & {value for value in values if value is not None}
            assert all(value is None or value.startswith("tok_") for value in after)
        again, _ = masked([plan], [table])
        assert again[0].equals(made) or kind == "DOUBLE"

    holds()


@pytest.mark.parametrize("kind", KEYED)
def test_keys_stay_one_to_one_and_the_same_in_every_dataset(kind: str) -> None:
    @settings(max_examples=25)
    @given(st.lists(VALUES[kind], min_size=1, max_size=20, unique_by=str), st.data())
    def holds(values: list[Any], data: st.DataObject) -> None:
        first = contract(column("id", kind, key=1, classification="pii"))
        second = contract(column("id", kind, classification="pii"), column("n", "BIGINT", classification="public"))
        joined = identifying_names([first, second], ())
        order = data.draw(st.permutations(values))
        tables = [
            pa.table({"id": pa.array(values, arrow_type(kind))}),
            pa.table({"id": pa.array([*order, *order], arrow_type(kind)), "n": pa.array(range(2 * len(order)), pa.int64())}),
        ]
        plans = [mask_plan("a", first, joined, {}), mask_plan("b", second, joined, {})]
        (left, right), _ = masked(plans, tables)
        keys = left.column("id").cast(pa.string()).to_pylist()
        assert len({*keys}) == len(values)
        to = dict(zip(map(str, values), keys, strict=True))
        assert right.column("id").cast(pa.string()).to_pylist() == [to[str(value)] for value in (*order, *order)]
        if kind in ("STRING", "BIGINT", "INT"):
            assert not {*left.column("id").to_pylist()} & {*values}
            if len(values) > 3:
                assert masked(plans, tables, OTHER)[0][0].column("id").to_pylist() != left.column("id").to_pylist()

    holds()


def test_a_composite_key_stays_a_key_and_its_parts_join_on_their_own() -> None:
    made = contract(
        column("person", "BIGINT", key=1, classification="pii"),
        column("at", "TIMESTAMP", key=2),
        column("kind", "BOOLEAN", key=3),
        event_time="at",
    )
    day = datetime(2026, 3, 1, tzinfo=UTC)
    rows = [
        (person, day.replace(second=second), flag) for person in (7, 8) for second in range(20) for flag in (True, False)
    ]
    table = pa.Table.from_pylist([dict(zip(made.names, row, strict=True)) for row in rows], made.arrow_schema())
    plan = mask_plan("d", made, identifying_names([made], ()), {})
    assert plan.as_json() == {"person": "token", "at": "permute", "kind": "permute"}
    survey = MaskSurvey()
    begin = int(day.timestamp()) * 10**6
    window = (begin, begin + 3_600_000_000)
    survey.look(plan, table, window)
    after = Masker(KEY, survey).table(plan, table, "all", window)
    keys = [tuple(row.values()) for row in after.to_pylist()]
    assert len({*keys}) == len(rows) and len({person for person, _, _ in keys}) == 2
    # the event time stays within the hour that is its partition
    assert all(day <= at < day.replace(hour=1) for _, at, _ in keys)
    assert len({at for _, at, _ in keys} & {at for _, at, _ in rows}) < 3


def test_thirty_two_bits_keep_a_hundred_thousand_numbers_apart_and_away_from_the_originals() -> None:
    values = range(1 << 30, (1 << 30) + 100_000)
    tokens = KEY.small(values)
    assert len({*tokens.values()}) == len(values) and not {*tokens.values()} & {*values}
    assert all(1 << 30 <= token < 1 << 31 for token in tokens.values())


def test_bands_that_few_rows_share_are_not_told() -> None:
    rows = [37, *range(40, 40 + LEAST_ROWS)]
    plan, table = one("BIGINT", rows, classification="pii")
    (made,), _ = masked([plan], [table])
    assert made.column("c").to_pylist() == [None] + [40] * LEAST_ROWS
    plan, table = one("BIGINT", rows, classification="pii", required=True)
    (made,), _ = masked([plan], [table])
    assert made.column("c").to_pylist() == [40] * len(rows)


def test_postal_codes_numbers_and_dates_are_generalised() -> None:
    for kind, value, band in (
        ("STRING", "8001 Zürich", "80"), ("DOUBLE", -0.37, -0.3), ("DECIMAL(12,3)", Decimal("12.955"), Decimal("10.000")),
        ("TIMESTAMP", datetime(2026, 3, 17, 5, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)), ("DATE", date(1980, 7, 9), date(1980, 7, 1)),
    ):  # fmt: skip
        made = contract(column("c", kind, classification="pii"))
        plan = mask_plan("d", made, (), {"c": "band"})
        table = pa.table({"c": pa.array([value] * LEAST_ROWS, arrow_type(kind))})
        assert masked([plan], [table])[0][0].column("c").to_pylist() == [band] * LEAST_ROWS


def plan_with(*columns: ColumnMask) -> MaskPlan:
    return MaskPlan("d", columns)


@pytest.mark.parametrize(
    "note",
    [
        "Call anna lindqvist today",
        "ANNA  LINDQVIST",
        "(Anna Lindqvist)",
        "see anna lindqvist's file",
        "It was Anna Lindqvist.",
        "\u201cAnna Lindqvist!\u201d",
    ],
)
def test_a_public_text_that_names_a_person_is_found_and_not_shown(note: str) -> None:
    plan = plan_with(ColumnMask("name", "STRING", "token", True, False), ColumnMask("note", "STRING", "copy", False, False))
    with pytest.raises(IntegrityError, match=r"d\.note \(1 cells\)") as told:
        masked([plan], [pa.table({"name": ["Anna Lindqvist", "Bo"], "note": [note, "Bo is short"]})])
    assert "indqvist" not in str(told.value)


def test_a_long_personal_text_is_found_too() -> None:
    plan = plan_with(ColumnMask("home", "STRING", "token", True, False), ColumnMask("note", "STRING", "copy", False, False))
    home = "12 Rue de la Paix, 75002 Paris, France"
    for note in (home, f"send it to {home.upper()}!"):
        with pytest.raises(IntegrityError, match=r"d\.note \(1 cells\)"):
            masked([plan], [pa.table({"home": [home], "note": [note]})])
    masked([plan], [pa.table({"home": [home], "note": ["12 Rue de la Paix, 75002 Lyon"]})])


@pytest.mark.parametrize("timed_key", [None, 1])
def test_a_day_as_event_time_says_no_more_than_its_partition(timed_key: int | None) -> None:
    days = [date(2026, 3, 1 + number) for number in range(31)]
    made = contract(column("day", "DATE", key=timed_key, classification="pii"), event_time="day")
    table = pa.table({"day": pa.array(days, arrow_type("DATE"))})
    plan = mask_plan("d", made, (), {})
    begin = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * 10**6
    for window in ((begin, begin + 31 * 86_400 * 10**6), None):
        survey = MaskSurvey()
        survey.look(plan, table, window)
        after = Masker(KEY, survey).table(plan, table, "all", window)
        told = after.column("day").to_pylist()
        proof = MaskProof(survey)
        proof.look(plan, after, window)
        assert proof.verdict()["cells"] == 31
        assert told != days and (set(told) == set(days) if timed_key else set(told) == {days[0]})


def test_a_dimension_that_is_personal_or_to_be_masked_is_refused_since_it_names_files() -> None:
    cases: list[tuple[str, dict[str, str]]] = [("pii", {}), ("public", {"clinic": "token"})]
    for classification, asked in cases:
        made = contract(column("clinic", "STRING", classification=classification))
        with pytest.raises(ConfigError, match=r"d\.clinic, whose values name partitions"):
            mask_plan("d", made, (), asked, "clinic")
    plain = contract(column("clinic", "STRING"))
    assert mask_plan("d", plain, (), {}, "clinic").as_json() == {"clinic": "copy"}


@pytest.mark.parametrize(
    ("kind", "method", "value"),
    [("STRING", "token", "Anna"), ("STRING", "synthetic", "Anna"), ("BIGINT", "token", 17850), ("BIGINT", "band", 37)],
)
def test_the_proof_finds_an_original_that_a_faulty_mask_let_through(kind: str, method: Any, value: Any) -> None:
    plan = plan_with(ColumnMask("c", kind, method, True, False))
    table = pa.table({"c": pa.array([value] * LEAST_ROWS, arrow_type(kind))})
    survey = MaskSurvey()
    survey.look(plan, table, None)
    proof = MaskProof(survey)
    proof.look(plan, table, None)
    with pytest.raises(IntegrityError, match="expected no original value"):
        proof.verdict()


def test_the_proof_finds_a_band_of_one() -> None:
    plan = plan_with(ColumnMask("c", "BIGINT", "band", True, False))
    proof = MaskProof(MaskSurvey())
    proof.look(plan, pa.table({"c": pa.array([30] * LEAST_ROWS + [40], pa.int64())}), None)
    with pytest.raises(IntegrityError, match="expected no original value"):
        proof.verdict()


def test_nothing_but_public_columns_is_copied_and_a_wrong_wish_is_told() -> None:
    kinds = {kind: column(f"c{number}", kind) for number, kind in enumerate(VALUES)}
    plan = mask_plan("d", contract(*kinds.values()), (), {})
    assert "copy" not in plan.as_json().values()
    public = contract(column("a", "STRING", classification="Public"), column("b", "STRING", classification="pii"))
    assert mask_plan("d", public, (), {}).as_json() == {"a": "copy", "b": "token"}
    wishes: list[tuple[dict[str, str], str]] = [
        ({"b": "copy"}, "declared public"),
        ({"b": "hash"}, "token, permute"),
        ({"x": "token"}, "columns of d"),
        ({"b": "permute"}, "a method for"),
    ]
    for asked, message in wishes:
        with pytest.raises(ConfigError, match=message):
            mask_plan("d", public, (), asked)
    with pytest.raises(ConfigError, match="whose values are unique"):
        mask_plan("d", contract(column("a", "STRING", key=1)), (), {"a": "band"})
    with pytest.raises(ConfigError, match="floating point"):
        mask_plan("d", contract(column("a", "DOUBLE", key=1)), (), {})


def test_what_a_contract_tokenises_is_personal_whatever_its_classification() -> None:
    made = contract(column("who", "STRING", classification="public"), person="who")
    assert mask_plan("d", made, (), {}).as_json() == {"who": "token"}
