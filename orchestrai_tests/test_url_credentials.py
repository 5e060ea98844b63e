"""No URL with a credential in it is declared, set or shown; a reference to where the secret lies is."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrai.cli.app import app
from orchestrai.contracts.odcs import load_contract
from orchestrai.errors import ConfigError, DeclarationError
from orchestrai.features.jobs.cluster_job import read_object
from orchestrai.pipeline.check.project_check import check_project
from orchestrai.pipeline.load import load_project
from orchestrai.secrets.url_credentials import refuse_credentials, shown_url
from orchestrai.settings import Settings
from orchestrai.storage.url import open_store
from orchestrai_tests.ingest.declaring import CONTRACT, declare

CARRIERS = [
    "https://user:s3cret@api.example/items",
    "https://s3cret@git.example/x",
    "s3://AKIA123:s3cret@bucket/prefix",
    "redis://:s3cret@host:6379/0",
    "postgresql://loader:s3cret@db/shop",
    "postgresql://loader:s3/cr?et@db/shop",
    "kafka://KEY:s3cret@broker:9092/topic",
    "mlflow+https://me:s3cret@host",
    "https://api.example/items?api_key=s3cret",
    "https://api.example/items?page=1&API-Key=s3cret&x=2",
    "https://api.example/items?%61pi_key=s3cret",
    "https://api.example/items?access_token=s3cret",
    "https://api.example/items#access_token=s3cret",
    "https://api.example/items?token=s3cret",
    "sc://spark.example:15002/;user_id=me;token=s3cret",
    "https://acct.blob.core.windows.net/c/x.csv?sv=2024&sig=s3cret%3D",
    "https://bucket.s3.amazonaws.com/x?X-Amz-Credential=AKIA&X-Amz-Signature=s3cret",
    "https://storage.googleapis.com/b/x?X-Goog-Signature=s3cret",
    "https://maps.example/x?key=AIzaSyD4s3cretD4s3cretD4s3cret",
    "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=s3cret==;EndpointSuffix=core.windows.net",
    "Endpoint=sb://hub.servicebus.windows.net/;SharedAccessKeyName=k;SharedAccessKey=s3cret",
    "host=db dbname=shop user=loader password=s3cret",
    "see https://api.example/x?password=s3cret for more",
]
FINE = [
    "https://api.example:8443/items?page=1&size=50",
    "https://api.example/items?key=orders&page_token=abc",
    "https://api.example/day/{partition}?signature=",
    "https://api.example/items?api_key=${secret:ITEMS}",
    "https://api.example/items?api_key=env://ITEMS_KEY",
    "https://api.example/items?api_key=awssm+here://items/key",
    "host=db dbname=shop user=loader password=awssm+here://shop/password",
    "https://${secret:USER}:${secret:PASSWORD}@api.example/items",
    "https://host:8080/mails/a@b.example",
    "http://[::1]:8080/x",
    "abfss://container@account.dfs.core.windows.net/prefix",
    "postgresql://loader@db:5432/shop",
    "kafka://one:9092,two:9092/topic",
    "s3://bucket/prefix/a:b@c",
    "env://PURCHASES_DSN",
    "file:///run/secrets/password=x",
    "sqlite:///shop.sqlite",
    "sagemaker://models?image=1.dkr.ecr.eu-west-1.amazonaws.com/x:1&output=s3://b/p",
    "select * from t where password = 'x'",
]


@pytest.mark.parametrize("text", CARRIERS)
def test_a_credential_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a URL without credentials") as caught:
        refuse_credentials(text)
    assert "s3cret" not in str(caught.value) and "env://NAME" in str(caught.value)


@pytest.mark.parametrize("text", FINE)
def test_an_address_or_a_reference_is_taken(text: str) -> None:
    assert refuse_credentials(text) == text


@pytest.mark.parametrize("text", [text for text in CARRIERS if "://" in text and not text.startswith(("see", "Endpoint"))])
def test_what_is_shown_of_a_url_has_no_user_and_no_query(text: str) -> None:
    shown = shown_url(text)
    assert "s3cret" not in shown and "?" not in shown and "@" not in shown


def test_a_container_is_shown_with_its_account() -> None:
    assert shown_url("abfss://c@account.dfs.core.windows.net/p?sig=x") == "abfss://c@account.dfs.core.windows.net/p"
    assert shown_url("abfss+far://c@account.dfs.core.windows.net/p") == "abfss+far://c@account.dfs.core.windows.net/p"


@pytest.mark.parametrize(
    "long", ["a," * 60_000 + "!:x", "host=" * 60_000, "https://" + "a:" * 60_000, "x://a?" + "&=" * 60_000]
)
def test_a_long_text_is_read_in_time_of_its_length(long: str) -> None:
    try:
        refuse_credentials(f"https://{long}")
    except ConfigError:
        pass


@pytest.mark.parametrize(
    "source",
    [
        '{url: "https://api.example/x?api_key=s3cret", format: http}',
        '{url: "s3://KEY:s3cret@bucket/x", format: csv}',
        '{url: landing/, format: csv, notifications: {queue: "sqs://u:s3cret@host/1/q"}}',
        '{url: "${ITEMS_URL}", format: http}',
    ],
)
def test_a_declaration_with_a_credential_is_a_mistake_in_one_line(source: str, tmp_path: Path) -> None:
    environment = {"ITEMS_URL": "https://me:s3cret@api.example/x"}
    (report,) = check_project([declare(tmp_path / "plant", source)], environment)
    assert report.pipeline is None
    text = "\n".join(mistake.message for mistake in report.mistakes)
    assert "plant/pipeline.yaml:4: datasets[0].source" in text and "expected a URL without credentials" in text
    assert "s3cret" not in text


def test_a_contract_with_a_credential_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "x.contract.yaml"
    servers = "servers: [{server: a, type: s3, location: 's3://KEY:s3cret@bucket/x'}]\n"
    path.write_text(CONTRACT.format(version="1.0.0", key="", maximum=1) + servers)
    with pytest.raises(DeclarationError, match=r"servers\[0\]\.location: expected a URL without credentials") as caught:
        load_contract(path)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("field", ["lake_url", "vault_url", "replica_url", "spark_exchange", "alert_url", "spark_url"])
def test_a_setting_with_a_credential_is_refused_by_its_name(field: str) -> None:
    with pytest.raises(ConfigError, match=f"ORCHESTRAI_{field.upper()}: expected a URL without credentials") as caught:
        Settings(**{field: "s3://KEY:s3cret@bucket/x"})  # type: ignore[arg-type]
    assert "s3cret" not in str(caught.value)


def test_a_store_and_a_file_of_a_cluster_refuse_one_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a URL without credentials"):
        open_store("s3://KEY:s3cret@bucket/x")
    (tmp_path / "job.json").write_text(json.dumps({"host": "https://me:s3cret@dbx.example"}))
    with pytest.raises(ConfigError, match="host: expected a URL without credentials") as caught:
        read_object("databricks", str(tmp_path / "job.json"))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ('{url: "https://api.example/items?page=1", format: http}', "Reads https://api.example/items."),
        ('{url: "postgresql://loader@db/shop", format: sql, sql: {table: t, key: [id]}}', "Reads postgresql://db/shop."),
        ('{url: "landing/", format: csv, passed_over: ["*.tmp", "old/"]}', "Reads landing/. Passed over: *.tmp, old/."),
    ],
)
def test_the_landing_says_where_it_reads_without_user_or_query_and_what_it_passes_over(
    source: str, shown: str, tmp_path: Path
) -> None:
    project = load_project([declare(tmp_path / "plant", source)], {})
    description = project.nodes["plant/readings/landing"].description
    assert shown in description and "?" not in description and "@" not in description


def test_check_shows_where_each_dataset_is_read_and_what_is_passed_over(tmp_path: Path) -> None:
    folder = declare(tmp_path / "plant", '{url: "landing/?x=1", format: csv, passed_over: ["*.tmp", "old/"]}')
    done = CliRunner().invoke(app, ["check", str(folder), "--json"])
    assert done.exit_code == 0, done.output
    (report,) = json.loads(done.output)["pipelines"]
    assert report["sources"] == {"plant/readings": {"url": "landing/?x=1", "passed_over": ["*.tmp", "old/"]}}
