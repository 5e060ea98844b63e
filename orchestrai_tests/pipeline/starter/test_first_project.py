"""`orchestrai init`: from files as people have them to a project that check takes, and what it says where none comes of them."""

import json
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from orchestrai.core.time.calendar import keys_between
from orchestrai.errors import ConfigError
from orchestrai.pipeline.check.landing_sample import look_at_landings, sample_landing
from orchestrai.pipeline.check.project_check import check_project
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.pipeline.starter.look import landing_look
from orchestrai.pipeline.starter.starter import Findings, find_out
from orchestrai.pipeline.starter.texts.project_files import Written, name_of_place, write_first
from orchestrai.project.project_file import read_project
from orchestrai.settings import Settings
from orchestrai.storage.base import ObjectInfo
from orchestrai.storage.memory import MemoryStore

Make = Callable[[Path, random.Random], None]
START = datetime(2026, 1, 1)  # noqa: DTZ001 clocks in files name no zone


def german(folder: Path, draw: random.Random) -> None:
    """Semicolons, latin-1, decimal commas with groups, dates of days first, an outcome in German."""
    rows = ["Kundennr;Datum;Größe;Betrag;Gekündigt"]
    for number in range(240):
        amount = draw.gauss(2000, 500)
        left = "ja" if amount + draw.gauss(0, 400) < 1800 else "nein"
        spelt = f"{amount:,.2f}".replace(",", "#").replace(".", ",").replace("#", ".")
        day = START + timedelta(days=number, hours=draw.randrange(9))
        rows.append(f"{number:05d};{day:%d.%m.%Y %H:%M};{draw.choice('SML')};{spelt};{left}")
    (folder / "Umsätze.csv").write_text("\r\n".join(rows), encoding="latin-1")


def preamble(folder: Path, draw: random.Random) -> None:
    """An export of a spreadsheet: a title, an empty line, a byte order mark, words for nothing."""
    rows = ["Report;;;", "Exported 2026-03-31;;;", ";;;", "Account;Region;Visits;Converted"]
    for number in range(200):
        visits = draw.randrange(40)
        shown = "n/a" if number % 20 == 3 else str(visits)
        rows.append(
            f"A{number:04d};{draw.choice(['North', 'South'])};{shown};{'Yes' if visits + draw.gauss(0, 6) > 20 else 'No'}"
        )
    (folder / "export.csv").write_text("\n".join(rows), encoding="utf-8-sig")


def flower(folder: Path, draw: random.Random) -> None:
    """A first line of counts and classes in place of names, as scikit-learn's sets have it."""
    rows = ["150,4,setosa,versicolor,virginica"]
    rows += [
        f"{5 + kind + draw.random():.1f},{3 + draw.random():.1f},{kind + draw.random():.1f},{draw.random():.1f},{kind}"
        for kind in (0, 1, 2)
        for _ in range(40)
    ]
    (folder / "iris.csv").write_text("\n".join(rows))


def series(folder: Path, draw: random.Random) -> None:
    """A value each hour, in milliseconds since 1970."""
    rows = ["ts,load_kw"]
    for number in range(400):
        rows.append(f"{1767225600000 + number * 3_600_000},{50 + 20 * ((number % 24) > 12) + draw.gauss(0, 2):.2f}")
    (folder / "load.csv").write_text("\n".join(rows))


def months(folder: Path, draw: random.Random) -> None:
    """Orders of customers, one file a month, with an e-mail address."""
    for month in range(1, 7):
        rows = ["order_id,customer_id,order_date,amount,email"]
        for number in range(150):
            who = int(80 * draw.random() ** 3)
            day = f"2026-{month:02d}-{draw.randrange(1, 28):02d} {draw.randrange(24):02d}:00:00"
            rows.append(f"{month * 1000 + number},C{who:03d},{day},{draw.random() * 80:.2f},c{who}@example.org")
        (folder / f"sales_2026-{month:02d}.csv").write_text("\n".join(rows))


def events(folder: Path, draw: random.Random) -> None:
    """JSON lines with nested fields."""
    lines = [
        json.dumps(
            {
                "event_id": f"e{number}",
                "user_id": f"u{int(60 * draw.random() ** 3)}",
                "at": (START + timedelta(minutes=number * 37 + draw.randrange(30))).isoformat() + "Z",
                "amount": round(draw.random() * 9, 2),
                "device": {"os": "ios"},
            }
        )
        for number in range(1500)
    ]
    (folder / "events.jsonl").write_text("\n".join(lines))


def hours_apart(folder: Path, draw: random.Random) -> None:
    """A clock in four columns, and a column whose name YAML takes for false."""
    rows = ["No,year,month,day,hour,dust"]
    for number in range(300):
        moment = START + timedelta(hours=number)
        rows.append(
            f"{number},{moment.year},{moment.month},{moment.day},{moment.hour},{'NA' if number % 40 == 7 else draw.randrange(90)}"
        )
    (folder / "air.csv").write_text("\n".join(rows))


SETS: dict[str, tuple[Make, dict[str, Any]]] = {
    "german": (german, {"kind": "table", "task": "binary", "time": "datum", "grain": "all"}),
    "preamble": (preamble, {"kind": "table", "task": "binary", "time": None, "grain": "all"}),
    "flower": (flower, {"kind": "table", "task": "multiclass", "time": None, "grain": "all"}),
    "series": (series, {"kind": "series", "task": "forecast", "time": "ts", "grain": "all"}),
    "months": (months, {"kind": "events", "task": "binary", "time": "order_date", "grain": "month"}),
    "events": (events, {"kind": "events", "task": "binary", "time": "at_", "grain": "all"}),
    "hours_apart": (hours_apart, {"kind": "series", "task": "forecast", "time": "moment", "grain": "all"}),
}


def started(tmp_path: Path, name: str) -> tuple[Findings, Written]:
    make, _ = SETS[name]
    data = tmp_path / "data"
    data.mkdir()
    make(data, random.Random(7))
    findings = find_out(name, str(data))
    return findings, write_first(findings, tmp_path / "orchestrai.yaml", tmp_path / "pipelines" / name)


@pytest.mark.parametrize("name", SETS)
def test_a_project_of_files_as_they_are_has_no_mistake_and_nothing_of_its_first_rows_is_refused(
    tmp_path: Path, name: str
) -> None:
    findings, written = started(tmp_path, name)
    (report,) = check_project([written.folder], {})
    assert [mistake.message for mistake in report.mistakes] == []
    assert report.pipeline is not None
    looked, fixes = look_at_landings([report.pipeline], tmp_path / "home")
    assert [finding.message for finding in looked if finding.weight == "refused"] == [] and fixes == []
    (model,) = report.pipeline.models
    seen = {
        "kind": findings.shape.kind,
        "task": model.spec.task,
        "time": findings.time.name if findings.time else None,
        "grain": findings.cut.grain,
    }
    assert seen == SETS[name][1]
    assert read_project(tmp_path / "orchestrai.yaml").pipelines == ("pipelines",)


def champion(tmp_path: Path, name: str) -> Runtime:
    _, written = started(tmp_path, name)
    runtime = Runtime(Settings(home=tmp_path / "home"), load_project([written.folder], {}))
    (dataset,) = runtime.project.pipelines[0].datasets
    keys = list(keys_between(written.first, written.last, dataset.grain)) if written.first else ["all"]
    for asset, node in runtime.project.nodes.items():
        stage = asset.rsplit("/", 1)[1]
        if stage in ("raw_events", "snapshot", "restored"):
            assert not runtime.run(node, keys).refused, asset
        elif stage in ("features", "training_set", "candidate", "evaluation", "champion"):
            report = runtime.run(node, ["all"])
            assert not report.refused, (asset, report.refused)
    return runtime


@pytest.mark.parametrize("name", ["german", "series"])
def test_what_init_wrote_reaches_a_champion_untouched(tmp_path: Path, name: str) -> None:
    runtime = champion(tmp_path, name)
    assert runtime.ledger.open(f"{name}/{name}_model/champion").files("all").files


@pytest.mark.thorough("test_what_init_wrote_reaches_a_champion_untouched, for a table and a series")
@pytest.mark.parametrize("name", ["preamble", "flower", "events"])
def test_so_does_every_other_kind(tmp_path: Path, name: str) -> None:
    runtime = champion(tmp_path, name)
    assert runtime.ledger.open(f"{name}/{name}_model/champion").files("all").files


def test_a_sample_says_how_its_csv_is_written(tmp_path: Path) -> None:
    findings, written = started(tmp_path, "german")
    source = yaml.safe_load((written.folder / "pipeline.yaml").read_text())["datasets"][0]["source"]
    assert (source["delimiter"], source["decimal"], source["thousands"], source["encoding"]) == (";", ",", ".", "cp1252")
    assert source["timestamp_formats"] == ["%d.%m.%Y %H:%M"]
    assert {guess.name: guess.type for guess in findings.columns} == {
        "kundennr": "STRING",
        "datum": "TIMESTAMP",
        "grosse": "STRING",
        "betrag": "DOUBLE",
        "gekundigt": "STRING",
    }
    assert (
        findings.shape.target is not None and findings.shape.target.label == "CASE WHEN gekundigt = 'ja' THEN 1 ELSE 0 END"
    )


def test_lines_before_the_header_and_words_for_nothing_are_declared(tmp_path: Path) -> None:
    _, written = started(tmp_path, "preamble")
    source = yaml.safe_load((written.folder / "pipeline.yaml").read_text())["datasets"][0]["source"]
    assert (source["skip_lines"], source["null_values"]) == (3, ["", "n/a"])


def test_what_holds_persons_is_no_feature_and_is_kept_as_tokens(tmp_path: Path) -> None:
    findings, written = started(tmp_path, "months")
    contract = yaml.safe_load((written.folder / "months.contract.yaml").read_text())
    columns = {column["name"]: column for column in contract["schema"][0]["properties"]}
    assert columns["email"]["classification"] == columns["customer_id"]["classification"] == "pii"
    assert columns["email"]["customProperties"] == [{"property": "tokenise", "value": True}]
    assert {"property": "person", "value": "customer_id"} in contract["customProperties"]
    assert findings.personal == {"customer_id": "it says which person a row is of", "email": "values like an e-mail address"}
    assert "email" not in (written.folder / "features.sql").read_text()


def test_what_is_unsure_is_marked_in_the_files(tmp_path: Path) -> None:
    findings, written = started(tmp_path, "flower")
    assert any("(unsure" in line for line in findings.reasons)
    assert (
        "they are called c1, c2 and so on; give them their names (unsure)" in (written.folder / "pipeline.yaml").read_text()
    )


def test_a_column_that_gives_the_outcome_away_is_left_out_with_the_reason(tmp_path: Path) -> None:
    draw = random.Random(3)
    rows = ["id,age,alive,verdict,survived"]
    for number in range(200):
        lived = int(draw.random() < 0.4)
        rows.append(f"p{number},{draw.randrange(80)},{['no', 'yes'][lived]},{lived * 10 + draw.random():.3f},{lived}")
    (tmp_path / "people.csv").write_text("\n".join(rows))
    left = find_out("people", str(tmp_path / "people.csv")).shape.left_out
    assert left["alive"] == "says the same as the target, value for value"
    assert left["verdict"].startswith("alone tells the target (AUC 1.0000)")


def test_a_column_of_distinct_numbers_does_not_give_a_number_away(tmp_path: Path) -> None:
    (tmp_path / "spots.csv").write_text("span,activity\n" + "\n".join(f"{n * 1.5},{(n * 37) % 101}.5" for n in range(90)))
    shape = find_out("spots", str(tmp_path)).shape
    assert [guess.name for guess in shape.features] == ["span"] and not shape.left_out


def test_rows_of_a_few_days_to_which_nobody_comes_twice_are_things_and_no_events(tmp_path: Path) -> None:
    draw = random.Random(4)
    rows = [f"car {n},{draw.randrange(9)},19{70 + n // 10}-01-01,{'EU' if n % 3 else 'US'}" for n in range(120)]
    (tmp_path / "cars.csv").write_text("name,power,built,origin\n" + "\n".join(rows))
    shape = find_out("cars", str(tmp_path)).shape
    assert shape.target is not None
    assert (shape.kind, shape.target.guess.name, shape.target.task) == ("table", "origin", "binary")


def test_days_without_a_file_are_told_as_closed(tmp_path: Path) -> None:
    for number in range(42):
        day = START + timedelta(days=number)
        if day.weekday() != 5 and number != 17:
            rows = [
                f"{number * 9 + line},d{line % 4},{day:%Y-%m-%d}T{7 + line:02d}:{line * 7 % 60:02d}:00,{line}"
                for line in range(9)
            ]
            (tmp_path / f"{day:%Y-%m-%d}.csv").write_text("no,device_id,at,steps\n" + "\n".join(rows))
    cut = find_out("steps", str(tmp_path)).cut
    assert (cut.grain, cut.first, cut.last) == ("day", "2026-01-01", "2026-02-11")
    assert (cut.closed_weekdays, cut.closed_dates, cut.latency_hours) == (("saturday",), ("2026-01-18",), 26)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("README.md", b"# nothing", "expected files of data in .*, found only README.md"),
        ("a.csv", b"x\n" + b"\n".join(b"%d" % n for n in range(50)), "at least two columns"),
        ("a.bin", random.Random(1).randbytes(5000), "binary data"),
        ("a.zip", b"PK\x03\x04" + bytes(100), "a zip archive"),
        ("a.csv", b"a,b\n1,2\n", "at least 20 rows"),
        ("a.csv", b",,,\n" * 40, "a line with a value in most of its fields"),
        ("a.json", b"[" * 100_000, "expected JSON records"),
        ("a.jsonl", b'{"a":' * 900, "expected JSON records"),
        ("a.parquet", b"PAR1" + bytes(40), "expected readable Parquet"),
        (
            "a.csv",
            b"id,note\n" + b"\n".join(b"x%d,note of %d" % (n, n) for n in range(60)),
            "a column that a model could learn",
        ),
    ],
)
def test_it_says_what_it_expected_and_found_where_no_project_comes_of_it(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        find_out("data", str(tmp_path))


def test_files_that_could_not_be_read_are_named_where_no_project_comes_of_the_others(tmp_path: Path) -> None:
    pq.write_table(pa.table({"only": list(range(50))}), tmp_path / "a.parquet")
    for name in ("b.parquet", "c.parquet"):
        (tmp_path / name).write_bytes(b"PAR1" + bytes(40))
    with pytest.raises(ConfigError, match=r"at least two columns.*found only \(refused: [bc]\.parquet: .*; 1 more\)"):
        find_out("data", str(tmp_path))


def test_an_empty_folder_and_a_place_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found no object"):
        find_out("data", str(tmp_path))
    with pytest.raises(ConfigError, match="found nothing at"):
        find_out("data", str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    "place", ["s3://bucket/raw/x.csv?X-Amz-Signature=5ecret", "s3://key:5ecret@bucket/raw/", "https://h/x.csv?sig=5ecret"]
)
def test_a_place_with_a_credential_is_refused_and_not_shown(place: str) -> None:
    with pytest.raises(ConfigError, match="a URL without credentials") as told:
        find_out("data", place)
    assert "5ecret" not in told.value.message


def test_nothing_is_written_over(tmp_path: Path) -> None:
    findings, written = started(tmp_path, "flower")
    before = (written.folder / "pipeline.yaml").read_bytes()
    (written.folder.parent.parent / "orchestrai.yaml").write_text("home: elsewhere\n")
    with pytest.raises(ConfigError, match="found it: choose another name"):
        write_first(findings, tmp_path / "orchestrai.yaml", written.folder)
    assert (written.folder / "pipeline.yaml").read_bytes() == before
    write_first(findings, tmp_path / "orchestrai.yaml", tmp_path / "pipelines" / "second")
    assert (tmp_path / "orchestrai.yaml").read_text() == "home: elsewhere\n"


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("./exports/", "exports"),
        ("/a/b/2026 Sales (final).csv", "data_2026_sales_final"),
        ("s3://bucket/raw/clicks/", "clicks"),
        ("sqlite:///shop.db#purchases", "purchases"),
    ],
)
def test_a_place_gives_a_name(place: str, name: str) -> None:
    assert name_of_place(place) == name


def plain(header: str = "id,a,b,churn", yes: str = "yes") -> str:
    draw = random.Random(3)
    rows = [f"id{number},{number * 3 % 17},{draw.random():.3f},{yes if number * 7 % 3 else 'no'}" for number in range(60)]
    return "\n".join([header, *rows]) + "\n"


@pytest.mark.parametrize("name", ["values", "order", "null", "on", "spine", "label"])
def test_a_word_of_sql_or_yaml_is_a_name_too(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.csv").write_text(plain())
    written = write_first(find_out(name, str(tmp_path / f"{name}.csv")), None, tmp_path / "pipelines" / name)
    (report,) = check_project([written.folder], {})
    assert [mistake.message for mistake in report.mistakes] == []
    assert report.pipeline is not None and report.pipeline.name == name


@pytest.mark.parametrize(
    "header",
    [
        'id,"a\x7f",b\x80x,churn',
        'id,"a\x85z",b\u2028x,churn',
        'id,${HOME},"{{ b }}",churn',
        'id,"a ""q"" \'s",b: {x} #y,churn\\',
    ],
)
def test_odd_letters_in_names_of_columns_are_written_as_they_are(tmp_path: Path, header: str) -> None:
    data = tmp_path / "data" / "odd.csv"
    data.parent.mkdir()
    data.write_text(plain(header, yes="ye\x01\x7fs"), encoding="utf-8")
    findings = find_out("odd", str(data))
    written = write_first(findings, None, tmp_path / "pipelines" / "odd")
    (dataset,) = load_project([written.folder], {}).pipelines[0].own_datasets
    assert [column.source for column in dataset.contract.columns if not column.derive][:4] == list(findings.sample.columns)
    looked, _ = look_at_landings(load_project([written.folder], {}).pipelines, tmp_path / "home")
    assert [finding.message for finding in looked] == []


@pytest.mark.parametrize("odd", ["it's", "a\\\\b", "a\\\\", "\\\\' OR 1", "-- x", "{{ x }}", "${HOME}"])
def test_odd_letters_in_the_outcome_are_compared_as_they_are(tmp_path: Path, odd: str) -> None:
    data = tmp_path / "data" / "odd.csv"
    data.parent.mkdir()
    data.write_text(plain(yes="other").replace(",no\n", f",{odd}\n"))
    findings = find_out("odd", str(data))
    assert findings.shape.target is not None
    written = write_first(findings, None, tmp_path / "pipelines" / "odd")
    (report,) = check_project([written.folder], {})
    assert [mistake.message for mistake in report.mistakes] == [] and report.pipeline is not None
    # a label that does not vary is told
    looked, _ = look_at_landings([report.pipeline], tmp_path / "home")
    assert [finding.message for finding in looked] == []


@pytest.mark.parametrize(
    ("names", "place"),
    [
        (["data[1].csv"], "data[1].csv"),
        (["a*b.csv", "axb.csv"], "a*b.csv"),
        (["${HOME}.csv"], "${HOME}.csv"),
        (["DATA.CSV", "other.md"], "."),
        (["DATA.CSV", "data2.csv", "x.jsonl"], "."),
    ],
)
def test_the_files_that_were_looked_at_are_those_that_are_taken(tmp_path: Path, names: list[str], place: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in names:
        (data / name).write_text(plain() if name.lower().endswith("csv") else "{}")
    findings = find_out("odd", str(data / place))
    written = write_first(findings, None, tmp_path / "pipelines" / "odd")
    (dataset,) = load_project([written.folder], {}).pipelines[0].own_datasets
    looked = sample_landing(dataset, tmp_path / "home", tmp_path)
    assert looked.objects == len(findings.look.objects) > 0


def test_a_folder_of_many_kinds_of_files_is_looked_at_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = [ObjectInfo(f"{number}.{'csv' if number % 2 else 'txt'}", 10, "", START) for number in range(2_000)]
    compared = 0

    def counted(self: ObjectInfo, other: object) -> bool:
        nonlocal compared
        compared += 1
        return self is other

    store = MemoryStore(name="many")
    monkeypatch.setattr(MemoryStore, "list", lambda self, prefix: iter(objects))
    monkeypatch.setattr(landing_look, "open_store", lambda url: store)
    monkeypatch.setattr(landing_look, "_fetched", lambda store, mine, scratch: ())
    monkeypatch.setattr(ObjectInfo, "__eq__", counted)
    look = landing_look.look_at("memory://many", Path())
    assert len(look.objects) == len(look.others) == 1_000 and compared < 10


def test_a_table_is_read_on_from_its_time_and_key(tmp_path: Path) -> None:
    draw = random.Random(5)
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.execute("CREATE TABLE purchases (id INTEGER PRIMARY KEY, customer_id TEXT, bought_at TEXT, amount REAL)")
        rows = [
            (
                number,
                f"c{int(40 * draw.random() ** 3)}",
                str(START + timedelta(minutes=number * 61 + draw.randrange(50))),
                draw.random(),
            )
            for number in range(900)
        ]
        connection.executemany("INSERT INTO purchases VALUES (?, ?, ?, ?)", rows)
        connection.execute("CREATE TABLE plain (a TEXT, b REAL)")
        connection.executemany("INSERT INTO plain VALUES (?, ?)", [("xyz"[number % 3], number) for number in range(60)])
        connection.commit()
    place = f"sqlite:///{tmp_path}/shop.db"
    findings = find_out("purchases", f"{place}#purchases")
    written = write_first(findings, tmp_path / "orchestrai.yaml", tmp_path / "pipelines" / "purchases")
    (report,) = check_project([written.folder], {})
    assert [mistake.message for mistake in report.mistakes] == []
    assert (findings.cut.grain, written.first, findings.shape.kind) == ("day", "2026-01-01", "events")
    for table, said in (
        ("plain", "a time and a key by which a table is read on"),
        ("none", "no such table"),
        ("", "expected a table behind"),
    ):
        with pytest.raises(ConfigError, match=said):
            find_out("other", f"{place}#{table}")


@pytest.mark.parametrize(
    "kind",
    [
        "duckdb",
        pytest.param("postgres", marks=pytest.mark.emulator),
        pytest.param("mariadb", marks=pytest.mark.emulator),
    ],
)
def test_a_table_of_each_database_gives_the_same_first_project(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(5)
    moments = [START + timedelta(minutes=number * 61 + draw.randrange(50)) for number in range(400)]
    rows = [
        (n, f"c{int(40 * draw.random() ** 3)}", f"{at:%Y-%m-%d %H:%M:%S}", draw.random()) for n, at in enumerate(moments)
    ]
    values = ", ".join(f"({n}, '{who}', '{at}', {amount})" for n, who, at, amount in rows)
    types = {"duckdb": "timestamp", "postgres": "timestamptz", "mariadb": "datetime"}
    statements = [
        f"CREATE TABLE purchases (id bigint PRIMARY KEY, customer_id varchar(9), bought_at {types[kind]}, amount double precision)",
        f"INSERT INTO purchases VALUES {values}",
    ]
    if kind == "duckdb":
        import duckdb

        place = f"duckdb:///{tmp_path}/shop.duckdb"
        with duckdb.connect(str(tmp_path / "shop.duckdb")) as opened:
            for statement in statements:
                opened.execute(statement)
    else:
        server = request.getfixturevalue(kind)
        url, place = server.database(), "env://SHOP_URL"
        monkeypatch.setenv("SHOP_URL", url)
        for statement in statements:
            if kind == "mariadb":
                server.run(url.rpartition("/")[2], statement)
                continue
            import psycopg

            with psycopg.connect(url, autocommit=True) as connected:
                connected.execute("SET TimeZone = 'UTC'")
                connected.execute(statement)  # type: ignore[arg-type]
    findings = find_out("purchases", f"{place}#purchases")
    written = write_first(findings, tmp_path / "orchestrai.yaml", tmp_path / "pipelines" / "purchases")
    (report,) = check_project([written.folder], {})
    assert [mistake.message for mistake in report.mistakes] == []
    assert (findings.cut.grain, written.first, findings.shape.kind) == ("day", "2026-01-01", "events")
    with pytest.raises(ConfigError, match="none"):
        find_out("other", f"{place}#none")


def test_a_date_and_a_clock_in_text_are_one_moment(tmp_path: Path) -> None:
    rows = ["Date;Time;CO"]
    rows += [f"{START + timedelta(hours=hour):%d/%m/%Y;%H.%M.%S};{hour % 7},{hour % 10}" for hour in range(200)]
    (tmp_path / "air.csv").write_text("\n".join(rows))
    findings = find_out("air", str(tmp_path))
    assert findings.time is not None
    assert (findings.time.derive, findings.shape.step) == ("{time: {date: date_, clock: time_}}", 3600)
