"""`orchestrai check` over a landing: what will be refused and why, what only has to be known, and what --fix writes."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrai.pipeline.check import landing_sample
from orchestrai.pipeline.load import load_project
from orchestrai_tests.cli.conftest import command

PIPELINE = """pipeline: shop
datasets:
  - name: orders
    # where the till writes
    source: {url: LANDING, format: csv}
    contract: orders.contract.yaml
    partitions: {grain: day, start: 2026-01-02}
    backup: {every: "0 2 * * *", keep: {last: 3}}
features:
  - name: amounts
    from: [orders]
    entity: order_id
    event_time: at_
    lookback: {rows: 0}
    sql: SELECT order_id, at_, amount FROM orders
models:
  - name: paid
    features: [amounts]
    entity: order_id
    label: {sql: "SELECT order_id, at_, paid AS label FROM orders", horizon: 1m}
    task: binary
    split: {folds: 5}
"""
CONTRACT = """kind: DataContract
apiVersion: v3.0.2
id: orders
name: orders
version: 1.0.0
status: draft
schema:
  - name: orders
    properties:
      - {name: order_id, physicalName: Order, logicalType: string, required: true}
      - {name: at_, physicalName: At, logicalType: timestamp, required: true}
      - {name: amount, physicalName: Amount, logicalType: number}
      - {name: paid, physicalName: Paid, logicalType: integer}
customProperties:
  - {property: eventTime, value: at_}
"""
DAYS = ("2026-01-02", "2026-01-03")
Row = Callable[[str, int], str]


def rows(
    day: str, mark: str = ",", clock: str = "{day} 10:{n:02d}:00", amount: str = "{n}.5", ident: str = "{day}-{n}"
) -> str:
    lines = [mark.join(("Order", "At", "Amount", "Paid"))]
    for n in range(40):
        fields = (ident, clock, amount, "{p}")
        lines.append(mark.join(field.format(day=day, n=n, p=n % 2) for field in fields))
    return "\n".join(lines) + "\n"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a sound pipeline; its landing is `landing` beside it."""
    folder = tmp_path / "pipelines" / "shop"
    folder.mkdir(parents=True)
    (tmp_path / "landing").mkdir()
    (folder / "pipeline.yaml").write_text(PIPELINE.replace("LANDING", str(tmp_path / "landing")))
    (folder / "orders.contract.yaml").write_text(CONTRACT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ORCHESTRAI_PIPELINES", str(folder.parent))
    return folder


def land(shop: Path, text: Callable[[str], str] = rows, encoding: str = "utf-8") -> None:
    for day in DAYS:
        (shop.parent.parent / "landing" / f"{day}.csv").write_text(text(day), encoding=encoding)


def looked(shop: Path) -> tuple[list[str], list[str], list[str]]:
    """What would be refused, what is told, what --fix would write."""
    project = load_project([shop], {})
    found, fixes = landing_sample.look_at_landings(project.pipelines, shop.parent.parent / "home")
    told = {weight: [one.message for one in found if one.weight == weight] for weight in ("refused", "told")}
    return told["refused"], told["told"], [fix.message for fix in fixes]


def test_sound_rows_say_nothing(shop: Path) -> None:
    land(shop)
    assert looked(shop) == ([], [], [])


def test_a_landing_that_is_not_there_is_empty_or_holds_a_page_alone_is_told(shop: Path) -> None:
    landing = shop.parent.parent / "landing"
    assert "found none: nothing has landed" in looked(shop)[1][0]
    (landing / ".README.md").write_text("# nothing here")
    assert looked(shop)[1][0].endswith("found none (1 passed over by the name .*): nothing has landed")
    (landing / ".README.md").unlink()
    landing.rmdir()
    assert looked(shop)[1][0].startswith("shop/pipeline.yaml:5: datasets[0].source.url: expected the landing folder")


def test_a_name_that_tells_no_day_will_be_a_dead_letter(shop: Path) -> None:
    land(shop)
    (shop.parent.parent / "landing" / "README.md").write_text("# of the till")
    refused, _, _ = looked(shop)
    assert refused == [
        "shop/pipeline.yaml:5: datasets[0].source.partition_from: 1 of 3 objects become dead letters: expected a name that tells its day, "
        "found 'README.md': mend partition_from or rename the object"
    ]


def test_days_before_the_declared_start_are_told(shop: Path) -> None:
    land(shop)
    (shop.parent.parent / "landing" / "2025-12-31.csv").write_text(rows("2025-12-31"))
    assert "1 of 3 objects lie outside the declared span and are passed over: 2025-12-31 to 2025-12-31" in looked(shop)[1][0]


def test_rows_of_another_day_are_told_with_the_day_that_they_belong_to(shop: Path) -> None:
    land(shop, lambda day: rows(day, clock="2026-01-05 10:{n:02d}:00"))
    assert (
        "40 of the 40 rows of 2026-01-02.csv are set aside by at_, more than max_refused_share (0.01): all of it is refused"
        in looked(shop)[0][0]
    )
    assert looked(shop)[0][0].endswith("the row belongs to 2026-01-05")


def test_rows_of_one_entity_and_moment_are_told_before_the_gate_closes(shop: Path) -> None:
    land(shop, lambda day: rows(day, clock="{day} 10:00:00", ident="one"))
    assert any(
        "features[0].entity: expected one row of each order_id, at_, found 78 more in 80 of the sample" in line
        for line in looked(shop)[0]
    )


def test_a_label_that_is_not_of_its_task_and_one_that_does_not_vary_are_told(shop: Path) -> None:
    land(shop, lambda day: rows(day).replace(",1\n", ",2\n"))
    assert any("models[0].label.sql: expected 0 and 1 for the task binary, found 2" in line for line in looked(shop)[0])
    land(shop, lambda day: rows(day).replace(",1\n", ",0\n"))
    assert any("expected a label that varies, found 0 alone in 80 rows" in line for line in looked(shop)[1])


@pytest.mark.parametrize(
    ("text", "encoding", "written"),
    [
        (lambda day: rows(day, ";"), "utf-8", "source: {url: LANDING, format: csv, delimiter: \";\"}"),
        (lambda day: "A report\n\n" + rows(day), "utf-8", "source: {url: LANDING, format: csv, skip_lines: 2}"),
        (lambda day: rows(day, ident="Größe {n} {day}"), "utf-16", "source: {url: LANDING, format: csv, encoding: \"utf-16\"}"),
        (
            lambda day: rows(day, clock="0{n}.01.2026 10:00".replace("0{n}", f"{day[8:]}")),
            "utf-8",
            'source: {url: LANDING, format: csv, timestamp_formats: ["%d.%m.%Y %H:%M"]}',
        ),
        (
            lambda day: rows(day).replace(",3.5,", ",k.A.,"),
            "utf-8",
            'source: {url: LANDING, format: csv, null_values: ["", "k.A."]}',
        ),
    ],
)  # fmt: skip
def test_fix_writes_what_the_rows_leave_no_doubt_of_and_leaves_the_rest(
    shop: Path, text: Callable[[str], str], encoding: str, written: str
) -> None:
    land(shop, text, encoding)
    path = shop / "pipeline.yaml"
    before = path.read_text().splitlines()
    assert command("check", "--json")[0] == 1 and path.read_text().splitlines() == before
    code, said = command("check", "--fix", "--json")
    told = json.loads(said)
    assert (code, told["fixes"], len(told["fixed"])) == (0, [], 1)
    after = path.read_text().splitlines()
    assert [line for line in after if line not in before] == [
        "    " + written.replace("LANDING", str(shop.parent.parent / "landing"))
    ]
    assert [line for line in before if "#" in line] == [line for line in after if "#" in line]


def test_fix_writes_a_name_as_the_header_has_it(shop: Path) -> None:
    land(shop, lambda day: rows(day).replace("Order,At", "ORDER ,at"))
    assert command("check", "--fix", "--json")[0] == 0
    assert 'physicalName: "ORDER"' in (shop / "orders.contract.yaml").read_text()


def test_a_fix_leaves_line_ends_and_rights_of_a_file_as_they_are(shop: Path) -> None:
    land(shop, lambda day: rows(day, ";"))
    path = shop / "pipeline.yaml"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    path.chmod(0o640)
    before = path.read_bytes()
    assert command("check", "--fix", "--json")[0] == 0
    after = path.read_bytes()
    assert after.replace(b', delimiter: ";"', b"") == before and path.stat().st_mode & 0o777 == 0o640
    assert not [other.name for other in shop.iterdir() if other.name.endswith(".tmp")]


def test_what_a_fix_does_not_mend_is_not_written(shop: Path) -> None:
    land(shop, lambda day: rows(day, amount="dear"))
    refused, _, fixes = looked(shop)
    assert "set aside by amount" in refused[0] and fixes == []


def test_without_a_landing_asked_for_nothing_is_read(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> None:
        raise AssertionError("a landing was read")

    monkeypatch.setattr(landing_sample, "open_landing", read)
    land(shop)
    assert command("check", "--landing", "none", "--json")[0] == 0
    with pytest.raises(AssertionError, match="was read"):
        command("check", "--json")


def test_a_large_object_is_looked_at_by_its_head_and_a_packed_one_beyond_a_look_is_told(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(shop, lambda day: rows(day) + rows(day, amount="dear").split("\n", 1)[1])
    monkeypatch.setattr(landing_sample, "HEAD_BYTES", 900)
    assert looked(shop) == ([], [], [])
    # not even the first line
    monkeypatch.setattr(landing_sample, "HEAD_BYTES", 20)
    refused, told, _ = looked(shop)
    assert len(refused) == 2 and "set aside by amount" in refused[0]
    monkeypatch.setattr(landing_sample, "UNPACKED_BYTES", 1000)
    refused, told, _ = looked(shop)
    assert refused == [] and len(told) == 2 and "2026-01-02.csv is larger than a look, and was not looked at" in told[0]
    monkeypatch.setattr(landing_sample, "HEAD_BYTES", 900)
    for day in DAYS:
        path = shop.parent.parent / "landing" / f"{day}.csv"
        path.write_bytes(gzip.compress(path.read_bytes()))
    refused, told, _ = looked(shop)
    assert refused == [] and len(told) == 2 and "2026-01-02.csv is larger than a look, and was not looked at" in told[0]
