"""pipeline.yaml: a mistake is told in one line with file, line and field."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrai.core.yaml.variables import expand
from orchestrai.errors import ConfigError, DeclarationError
from orchestrai.pipeline.load import SHIPPED, load_project, pipeline_folders
from orchestrai.pipeline.template import write_template

Edit = Callable[[str, str], Path]


@pytest.fixture
def edit(tmp_path: Path) -> Edit:
    """A copy of the churn pipeline with one text replaced in its pipeline.yaml."""

    def change(old: str, new: str) -> Path:
        folder = tmp_path / "churn"
        shutil.copytree(SHIPPED / "churn", folder)
        path = folder / "pipeline.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        return folder

    return change


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("grain: day", "grain: dya", "grain"),
        ("format: csv", "format: xml", "format"),
        ("contract: orders.contract.yaml", "contract: orders.contract.yaml\n    kontract: x", "kontract"),
        ("pipeline: churn", "pipeline: Churn!", "pipeline"),
        ("features: [customer_rfm]", "features: [customer_rfn]", "customer_rfn"),
        ("from: [orders]", "from: [order]", "order"),
        ("rpo: 26h", "rpo: soon", "rpo"),
        ("max_depth: 2", "max_depth: -2", "max_depth"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_field(edit: Edit, old: str, new: str, said: str) -> None:
    folder = edit(old, new)
    with pytest.raises(ConfigError) as caught:
        load_project([folder], {})
    message = caught.value.message
    assert "\n" not in message
    assert "pipeline.yaml" in message
    assert said in message
    assert "expected" in message
    assert caught.value.exit_code == 2


def test_a_mistake_of_a_field_names_its_line(edit: Edit) -> None:
    folder = edit("grain: day", "grain: dya")
    line = next(i for i, text in enumerate((folder / "pipeline.yaml").read_text().splitlines(), 1) if "dya" in text)
    with pytest.raises(DeclarationError, match=rf"pipeline\.yaml:{line}:"):
        load_project([folder], {})


CRONS = {
    "models[0].retrain": ('retrain: "0 4 * * 1"', "retrain: {}"),
    "datasets[0].ingest_schedule": ('ingest_schedule: "30 0 * * *"', "ingest_schedule: {}"),
    "datasets[0].backup.every": ('every: "0 2 * * *"', "every: {}"),
    "features[0].backup.every": ('every: "0 5 * * 0"', "every: {}"),
    "databases[0].every": ("models:", "databases: [{{name: shop, dsn_env: SHOP, every: {}}}]\nmodels:"),
    "managed_backups[0].test.every": (
        "models:",
        "managed_backups: [{{name: lake, resource: 'arn:aws:s3:::lake', region: r, vault: vv, role: 'arn:aws:iam::1:role/b', "
        "test: {{metadata: {{}}, every: {}}}}}]\nmodels:",
    ),
}


@pytest.mark.parametrize("written", ["every monday", "0 25 * * *", "foo", "60 * * * *", "0 0 31 4 *"])
@pytest.mark.parametrize("field", CRONS)
def test_a_cron_that_no_schedule_takes_is_one_line_with_what_was_expected(edit: Edit, field: str, written: str) -> None:
    old, new = CRONS[field]
    folder = edit(old, new.format(f'"{written}"'))
    line = next(i for i, text in enumerate((folder / "pipeline.yaml").read_text().splitlines(), 1) if f'"{written}"' in text)
    with pytest.raises(DeclarationError) as caught:
        load_project([folder], {})
    assert caught.value.message == (
        f"churn/pipeline.yaml:{line}: {field}: expected a cron of five fields (minute hour day month weekday) such as "
        f'"0 4 * * 1", found {written!r}'
    )


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("rpo: 26h", "rpo: 26", "datasets[0].backup.rpo"),
        ("horizon: 60d", "horizon: 60", "models[0].label.horizon"),
        ("horizon: 60d", "horizon: 999999999w", "models[0].label.horizon"),
        ('ingest_schedule: "30 0 * * *"', "halt_training_after: 0d", "datasets[0].halt_training_after"),
    ],
)
def test_a_duration_is_a_number_with_a_unit_in_every_declaration(edit: Edit, old: str, new: str, field: str) -> None:
    folder = edit(old, new)
    with pytest.raises(DeclarationError) as caught:
        load_project([folder], {})
    assert f": {field}: expected a duration " in caught.value.message


def test_a_missing_contract_is_named(edit: Edit) -> None:
    folder = edit("contract: orders.contract.yaml", "contract: nowhere.yaml")
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_project([folder], {})


def test_shipped_pipelines_load() -> None:
    project = load_project(pipeline_folders(), {})
    assert [pipeline.name for pipeline in project.pipelines] == ["churn", "recommendations", "telemetry"]
    assert "churn/churn/champion" in project.nodes


def test_the_template_is_a_pipeline_that_loads(tmp_path: Path) -> None:
    write_template("sales", tmp_path / "sales")
    project = load_project(pipeline_folders(str(tmp_path)), {})
    assert project.pipeline("sales").datasets


def test_a_path_from_the_environment_means_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "by-day").mkdir()
    assert expand("${ORDERS_URL:-landing/orders/}", {}) == "landing/orders/"
    assert expand("${ORDERS_URL:-landing/orders/}", {"ORDERS_URL": "by-day"}) == str(tmp_path / "by-day")
    assert expand("${ORDERS_URL:-x}", {"ORDERS_URL": "s3://bucket/orders"}) == "s3://bucket/orders"
    with pytest.raises(ConfigError, match="TOKEN"):
        expand("${TOKEN}", {})
