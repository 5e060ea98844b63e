"""What can be known without data is told before anything runs: every mistake, of every pipeline, a line each."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrai.core.time.duration_cron import check_cron
from orchestrai.errors import ConfigError
from orchestrai.pipeline.check.project_check import PipelineCheck, check_project
from orchestrai.pipeline.load import SHIPPED, load_pipelines, pipeline_folders
from orchestrai_tests.defs.shop import declared

EXAMPLES = SHIPPED.parent.parent / "examples"
SEEN = (
    "SELECT s.device_id, s.as_of, COUNT(r.ts) AS seen FROM spine AS s JOIN readings AS r ON r.device_id = s.device_id "
    "AND r.ts < s.as_of GROUP BY s.device_id, s.as_of"
)
SECOND = f"""  - name: levels
    from: [readings]
    entity: device_id
    as_of: {{every: 1d}}
    sql: "{SEEN}"
"""
SAGEMAKER = (
    "sagemaker: {role: 'arn:aws:iam::123456789012:role/trainer', image: '1.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.0-1', "
    "output: 's3://bucket/jobs'}"
)
XGB = "xgboost: {max_depth: 1, num_boost_round: 2}"
REGRESSION = "sklearn: {class: sklearn.linear_model.LogisticRegression, params:"
DAYS = "grain: day, start: 2026-10-01, end: 2026-"
BACKUP = 'backup: {every: "0 2 * * *"}'
MART = "load:\n  - {name: mart, from: readings, to: 'duckdb:///x', table: t, mode: merge, key: [id]}\n"
DEPTH, BOOSTED, CLASS = "max_depth: 1,", "models[0].estimator.xgboost", "models[0].estimator.sklearn.params"
LABEL = "SELECT device_id, ts, CASE WHEN failed THEN 1 ELSE 0 END AS label FROM readings"
SPINE = (
    "SELECT s.device_id, s.as_of, COUNT(r.ts) AS label FROM spine AS s LEFT JOIN readings AS r ON r.device_id = s.device_id "
    "AND r.ts >= s.as_of AND r.ts < s.as_of + INTERVAL 7 DAYS GROUP BY s.device_id, s.as_of"
)


def shop(folder: Path, *changes: tuple[str, str]) -> Path:
    """The small shop with texts replaced in its pipeline.yaml."""
    path = declared(folder) / "pipeline.yaml"
    text = path.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path.write_text(text)
    return folder


def checked(folder: Path) -> PipelineCheck:
    (found,) = check_project([folder], {})
    return found


def lines(folder: Path) -> list[str]:
    return [mistake.message for mistake in checked(folder).mistakes]


@pytest.mark.parametrize(
    "folder", [*sorted(SHIPPED.glob("[a-z]*")), *sorted(EXAMPLES.iterdir())], ids=lambda path: path.name
)
def test_what_ships_has_no_mistake(folder: Path) -> None:
    assert lines(folder) == []


@pytest.mark.parametrize(
    ("old", "new", "field", "expected", "found"),
    [
        # labels
        (f'"{LABEL}"', "nowhere.sql", "models[0].label.sql", "the file nowhere.sql", "none"),
        (LABEL, LABEL.replace("failed THEN", "broken THEN"), "models[0].label.sql", "known columns", "broken"),
        (LABEL, LABEL.replace("AS label", "AS outcome"), "models[0].label.sql", "label", "outcome"),
        (LABEL, LABEL + " LIMIT 5", "models[0].label.sql", "syntax that every engine reads alike", "Limit"),
        (LABEL, LABEL.replace("1 ELSE 0", "'yes' ELSE 'no'"), "models[0].label.sql", "a number or boolean", "string"),
        ("task: binary", "task: regresion", "models[0].task", "'regression'", "'regresion'"),
        ("    task: binary\n", "", "models[0].task", "binary, multiclass, regression, ranking or forecast", "none beside a label of int"),
        ("horizon: 1m", "horizon: 1m, tables: {orders: {event_time: ts}}", "models[0].label.sql", "among readings", "orders"),
        # columns
        ("entity: device_id\n", "entity: device\n", "models[0].entity[0]", "device_id, event_time", "'device'"),
        ("estimator: {", "baseline: thrice\n    estimator: {", "models[0].baseline", "a feature (twice, more)", "'thrice'"),
        ("estimator: {", "slices: [twice]\n    estimator: {", "models[0].slices[0]", "category or boolean", "'twice'"),
        ("estimator: {", "exclude: [old]\n    estimator: {", "models[0].exclude[0]", "twice, more", "'old'"),
        ("level * 2 AS twice", "ts AS twice", "models[0].features", "a number, boolean or string", "timestamp"),
        # time
        ("gap: 1m", "gap: 59s", "models[0].split.gap", "at least 1m, the label's horizon", "59s"),
        ("gap: 1m", "gap: 1m, folds: x", "models[0].split.folds", "a valid integer", "'x'"),
        # estimators and metrics
        (DEPTH, f"{DEPTH} monotone_constraints: {{x: 1}},", f"{BOOSTED}.monotone_constraints.x", "a feature", "'x'"),
        (DEPTH, f"{DEPTH} objective: reg:squarederror,", f"{BOOSTED}.objective", "binary", "reg:squarederror"),
        (XGB, f"{REGRESSION} {{k: 1}}}}", f"{CLASS}.k", "a parameter of LogisticRegression", "'k'"),
        (XGB, f"{REGRESSION} {{C: -1}}}}", CLASS, "values that LogisticRegression takes", "-1"),
        (XGB, "plugin: {name: acme-forest}", "models[0].estimator.plugin.name", "of an installed package", "acme-forest"),
        ("from: [readings]", "from: [readings], engine: polars", "features[0].engine", "auto, duckdb, spark", "polars"),
        ("metric: auc", "metric: rmse", "models[0].promote_when.metric", "one of accuracy, auc", "rmse"),
        ("metric: auc", "metric: lift", "models[0].promote_when.metric", "one of accuracy, auc", "lift"),
        # where a model goes
        ("estimator: {", "registry: ftp://models\n    estimator: {", "models[0].registry", "a registry of mlflow+http", "ftp://models"),
        ("estimator: {", "train_on: {spark: {staging: 'ftp://x/y'}}\n    estimator: {", "models[0].train_on.spark.staging", "s3://", "ftp"),
        # times of day
        ("    estimator: {", "    retrain: every monday\n    estimator: {", "models[0].retrain", "five fields", "'every monday'"),
        ("    estimator: {", "    retrain: 0 25 * * *\n    estimator: {", "models[0].retrain", "five fields", "'0 25 * * *'"),
        (BACKUP, 'backup: {every: "0 2 31 2 *"}', "datasets[0].backup.every", "five fields", "0 2 31 2 *"),
        ("    contract: read", "    ingest_schedule: ...\n    contract: read", "datasets[0].ingest_schedule", "five fields", "'...'"),
        # stores
        (BACKUP, 'backup: {replica: "ftp://b/x"}', "datasets[0].backup.replica", "s3://", "ftp"),
        (BACKUP, 'backup: {cold: {url: "s4://b/x"}}', "datasets[0].backup.cold.url", "s3://", "s4"),
        (BACKUP, "backup: {keep: {dayly: 7}}", "datasets[0].backup.keep.dayly", "'daily'", "'dayly'"),
        (BACKUP, "backup: {lock: a while}", "datasets[0].backup.lock", "a duration", "'a while'"),
        ("url: landing/readings/", "url: ftp://host/readings/", "datasets[0].source", "s3://", "ftp"),
        # what is named
        ("contract: readings.contract.yaml", "contract: nowhere.yaml", "datasets[0].contract", "the file nowhere.yaml", "none"),
        ("from: [readings]", "from: [reading]", "features[0].from[0]", "one of the datasets readings", "'reading'"),
        ("features: [levels]", "features: [level]", "models[0].features[0]", "one of levels", "'level'"),
        ("level * 2 AS twice", "levl * 2 AS twice", "features[0].sql", "known columns", "did you mean level"),
        (f"{DAYS}11-01", f"{DAYS}09-01", "datasets[0].partitions.end", "a time after start", "2026-09-01"),
        ("models:\n", f"{MART}models:\n", "load[0].key[0]", "a column of readings (device_id", "'id'"),
        ("url: landing/readings/", 'url: "${READINGS}"', "datasets[0].source.url", "the environment variable READINGS", "nothing"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_file_line_field_expected_and_found(
    tmp_path: Path, old: str, new: str, field: str, expected: str, found: str
) -> None:
    folder = shop(tmp_path / "shop", (old, new))
    (mistake,) = checked(folder).mistakes
    assert mistake.field == field
    assert expected in mistake.expected
    assert found in mistake.found
    assert mistake.message.startswith(f"shop/pipeline.yaml:{mistake.line}: {field}: expected ")
    assert "\n" not in mistake.message
    assert mistake.line > 1


@pytest.mark.parametrize(
    ("label", "asked"),
    [
        (LABEL.replace("CASE WHEN failed THEN 1 ELSE 0 END", "failed"), None),
        (LABEL.replace("1 ELSE 0", "'yes' ELSE 'no'"), "multiclass"),
        (LABEL.replace("1 ELSE 0", "CAST(1.5 AS DOUBLE) ELSE CAST(0 AS DOUBLE)"), "regression or forecast"),
    ],
    ids=["boolean", "names", "numbers"],
)
def test_the_task_is_asked_for_unless_the_label_leaves_no_doubt(tmp_path: Path, label: str, asked: str | None) -> None:
    folder = shop(tmp_path / "shop", ("    task: binary\n", ""), (LABEL, label))
    told = [(mistake.field, mistake.expected) for mistake in checked(folder).mistakes]
    assert told == ([] if asked is None else [("models[0].task", f"{asked}, which the label alone does not say")])


def test_names_are_a_label_of_the_task_multiclass(tmp_path: Path) -> None:
    label = (LABEL, LABEL.replace("1 ELSE 0", "'yes' ELSE 'no'"))
    assert (
        lines(shop(tmp_path / "shop", ("task: binary", "task: multiclass"), ("metric: auc", "metric: log_loss"), label))
        == []
    )


def test_a_horizon_shorter_than_what_its_sql_looks_ahead_is_told(tmp_path: Path) -> None:
    changes = [("entity: device_id, event_time: ts,", "entity: device_id, as_of: {every: 1d},"), (LABEL, SPINE)]
    old = "SELECT device_id, ts, level * 2 AS twice, level + 1 AS more FROM readings"
    changes += [(old, SEEN), ("gap: 1m", "gap: 7d")]
    (mistake,) = checked(shop(tmp_path / "short", *changes, ("horizon: 1m", "horizon: 6d"))).mistakes
    assert "6 days" in mistake.expected and "the label's horizon" in mistake.expected and "7 days" in mistake.found
    assert lines(shop(tmp_path / "long", *changes, ("horizon: 1m", "horizon: 7d"))) == []


def test_a_mistake_in_a_sql_file_is_told_with_the_line_in_that_file(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / "churn", tmp_path / "churn")
    path = tmp_path / "churn" / "no_order_within_60d.sql"
    path.write_text(path.read_text().replace("o.invoice_date >=", "o.invoice_dat >="))
    (mistake,) = checked(tmp_path / "churn").mistakes
    assert mistake.message.startswith("churn/no_order_within_60d.sql:5: models[0].label.sql: expected known columns")
    assert (mistake.path, mistake.line) == (str(path), 5)


def test_features_of_one_name_in_two_views_of_a_model_are_told(tmp_path: Path) -> None:
    folder = shop(
        tmp_path / "shop",
        ("models:", SECOND.replace("name: levels", "name: days").replace("AS seen", "AS more") + "models:"),
    )
    path = folder / "pipeline.yaml"
    path.write_text(path.read_text().replace("features: [levels]", "features: [levels, days]"))
    (mistake,) = checked(folder).mistakes
    assert (mistake.field, mistake.found) == ("models[0].features[1]", "more of days in levels too: rename it")


def test_all_mistakes_of_all_pipelines_are_told_at_once(tmp_path: Path) -> None:
    one = shop(
        tmp_path / "one",
        ("pipeline: shop", "pipeline: one"),
        ("grain: day", "grain: dya"),
        ("level * 2 AS twice", "levl * 2 AS twice"),
        ("max_depth: 1", "max_depth: -1"),
        ("metric: auc", "metric: rmse"),
    )
    two = shop(
        tmp_path / "two", ("pipeline: shop", "pipeline: two"), ("gap: 1m", "gap: 1s"), ("test_share: 0.25", "test_share: 2")
    )
    three = shop(
        tmp_path / "three",
        ("pipeline: shop", "pipeline: three"),
        ("level * 2 AS twice", "levl * 2 AS twice"),
        (BACKUP, "backup: {every: often}\n    colour: red"),
        ("gap: 1m", "gap: 1s"),
    )
    found = {report.name: [mistake.field for mistake in report.mistakes] for report in check_project([one, two, three], {})}
    assert set(found["one"]) == {"datasets[0].partitions.grain", "models[0].estimator.xgboost.max_depth"}
    assert set(found["two"]) == {"models[0].split.test_share"}
    assert set(found["three"]) == {"datasets[0].backup.every", "datasets[0].colour"}


def test_a_sound_part_is_checked_although_another_is_not(tmp_path: Path) -> None:
    folder = shop(tmp_path / "shop", ("level * 2 AS twice", "levl * 2 AS twice"), ("test_share: 0.25", "test_share: 2"))
    assert [mistake.field for mistake in checked(folder).mistakes] == ["models[0].split.test_share", "features[0].sql"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- pipeline: shop\n", "a mapping with pipeline and datasets, found a list"),
        ("", "a mapping with pipeline and datasets, found an empty file"),
        ("shop\n", "a mapping with pipeline and datasets, found a str"),
        (f"pipeline: {'9' * 500_000}\n", "a number of at most 400 digits, found 500000 digits"),
        (f"pipeline: 0x{'f' * 500_000}\n", "a number of at most 400 digits, found 500002 digits"),
        ('pipeline: !!int ""\n', "a plain value"),
        ('pipeline: !!bool "maybe"\n', "a plain value"),
        ('pipeline: !!timestamp "soon"\n', "a plain value"),
        ("pipeline: [\n", "found"),
        ("pipeline: shop\n", "datasets: expected a value, found none"),
        ("pipeline: shop\ndatasets: 7\n", "datasets: expected"),
        ("pipeline: shop\ndatasets: [7, null, [1]]\n", "datasets[0]: expected"),
        ("pipeline: shop\ndatasets: [{ref: 7}]\nmodels: {a: b}\n", "datasets[0].ref: expected"),
    ],
)
def test_a_file_that_is_no_declaration_is_left_out_in_short_lines(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "pipeline.yaml").write_text(text)
    project = load_pipelines([tmp_path], {})
    (broken,) = project.left_out
    assert project.pipelines == ()
    assert said in broken.message
    assert all(len(line) < 400 for line in broken.message.splitlines())


def test_the_others_load_when_one_is_wrong_and_when_a_dataset_is_borrowed_from_it(tmp_path: Path) -> None:
    for name in ("churn", "telemetry"):
        shutil.copytree(SHIPPED / name, tmp_path / name)
    shop(tmp_path / "shop", ("grain: day", "grain: dya"))
    (tmp_path / "borrower").mkdir()
    (tmp_path / "borrower" / "pipeline.yaml").write_text("pipeline: borrower\ndatasets: [{ref: shop/readings}]\n")
    project = load_pipelines(pipeline_folders(str(tmp_path)), {})
    assert [pipeline.name for pipeline in project.pipelines] == ["churn", "telemetry"]
    told = {broken.name: broken.message for broken in project.left_out}
    assert set(told) == {"borrower", "shop"}
    assert told["borrower"].endswith("expected a dataset of a pipeline that loads, found 'shop/readings': shop is left out")
    with pytest.raises(ConfigError, match=r"found shop left out: shop/pipeline\.yaml:"):
        project.pipeline("shop")
    with pytest.raises(ConfigError, match=r"found shop left out: shop/pipeline\.yaml:"):
        project.dataset("shop/readings")


def test_two_pipelines_of_one_name_are_both_left_out_and_told(tmp_path: Path) -> None:
    for name in ("one", "two"):
        shop(tmp_path / name)
    shutil.copytree(SHIPPED / "telemetry", tmp_path / "telemetry")
    project = load_pipelines(pipeline_folders(str(tmp_path)), {})
    assert [pipeline.name for pipeline in project.pipelines] == ["telemetry"]
    assert [broken.folder.name for broken in project.left_out] == ["one", "two"]
    assert all("expected distinct pipeline names, found 'shop' in" in broken.message for broken in project.left_out)


def test_names_that_would_give_dagster_one_job_twice_are_told_and_the_rest_loads(tmp_path: Path) -> None:
    shop(
        tmp_path / "one",
        ("pipeline: shop", "pipeline: a"),
        ("name: readings", "name: b_c"),
        ("from: [readings]", "from: [b_c]"),
    )
    shop(
        tmp_path / "two",
        ("pipeline: shop", "pipeline: a_b"),
        ("name: readings", "name: c"),
        ("from: [readings]", "from: [c]"),
    )
    shop(tmp_path / "three")
    project = load_pipelines(pipeline_folders(str(tmp_path)), {})
    assert [pipeline.name for pipeline in project.pipelines] == ["shop"]
    told = "datasets[0].name: expected a name whose jobs nothing else has, found a/b_c, like a_b/c"
    assert any(told in broken.message for broken in project.left_out)


def test_a_place_without_a_pipeline_is_told_and_the_other_places_load(tmp_path: Path) -> None:
    shop(tmp_path / "shop")
    (tmp_path / "empty").mkdir()
    project = load_pipelines(pipeline_folders(f"{tmp_path / 'empty'}:{tmp_path / 'shop'}"), {})
    assert [pipeline.name for pipeline in project.pipelines] == ["shop"]
    assert project.left_out[0].folder == tmp_path / "empty"
    with pytest.raises(ConfigError, match="found none"):
        pipeline_folders(str(tmp_path / "empty"))


def test_checking_loads_no_dagster_and_makes_nothing(tmp_path: Path) -> None:
    program = """
import sys
from orchestrai.pipeline.check.project_check import check_project
from orchestrai.pipeline.load import pipeline_folders
assert not [mistake for found in check_project(pipeline_folders(), {}) for mistake in found.mistakes]
assert not {"dagster", "boto3", "obstore", "sklearn", "pandas"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


ACCEPTED = (
    "0 2 * * *", "*/15 * * * *", "5/15 * * * *", "0 0,12 * * mon-fri", "0 4 * * 1", "59 23 31 12 7", "0 0 1 jan *", "@daily", "@hourly",
    "@weekly", "@monthly", "0 1-5/2 * * *", "0 0 29 2 *",
)  # fmt: skip
REFUSED = (
    "every monday", "...", "0 25 * * *", "60 * * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "0 2 * *", "0 0 2 * * *", "", "@often",
    "0 2 * * mon-", "0 2 * * foo", "*/0 * * * *", "0 0 30 2 *", "0 0 31 4,6 *",
    "0 0 31 2 1", "-1 * * * *", "1.5 * * * *", "0 2 * * *\n0",
)  # fmt: skip


@pytest.mark.parametrize("text", ACCEPTED)
def test_a_cron_that_passes_makes_a_schedule_in_dagster(text: str) -> None:
    from dagster._utils.schedules import is_valid_cron_string

    assert check_cron(text) == text
    assert is_valid_cron_string(text)


@pytest.mark.parametrize("text", REFUSED)
def test_a_cron_that_fires_never_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a"):
        check_cron(text)


@pytest.mark.parametrize(
    ("place", "task", "metric", "objective", "trained"),
    [
        ("spark: {workers: 2}", "regression", "rmse", "count:poisson", "binary:logistic, multi:softprob, reg:squarederror"),
        (SAGEMAKER, "regression", "rmse", "reg:absoluteerror", "count:poisson"),
        ("spark: {workers: 2}", "regression", "rmse", "reg:squarederror", ""),
        (SAGEMAKER, "regression", "rmse", "count:poisson", ""),
    ],
)
def test_an_objective_that_the_place_does_not_train_is_one_line(
    tmp_path: Path, place: str, task: str, metric: str, objective: str, trained: str
) -> None:
    changes = [
        ("task: binary", f"task: {task}"),
        ("metric: auc", f"metric: {metric}"),
        (DEPTH, f"{DEPTH} objective: {objective},"),
        ("estimator: {", f"train_on: {{{place}}}\n    estimator: {{"),
    ]
    mistakes = checked(shop(tmp_path / "shop", *changes)).mistakes
    assert [mistake.field for mistake in mistakes] == ([f"{BOOSTED}.objective"] if trained else [])
    for mistake in mistakes:
        assert trained in mistake.expected and objective in mistake.found and mistake.line > 1
        assert mistake.message.startswith(f"shop/pipeline.yaml:{mistake.line}: ")
