"""The project file: what it sets, what comes before it, and that each mistake is one line with its place."""

from pathlib import Path

import pytest

from orchestrai.errors import ConfigError, DeclarationError
from orchestrai.project.project_file import read_project
from orchestrai.settings import load_settings

WHOLE = """
pipelines: [pipelines, more/pipelines]
home: state
lake: s3://acme-lake/lake
vault: s3://acme-vault/vault
replica: "${REPLICA:-s3://acme-replica/vault}"
instance: {database: env://DAGSTER_PG_URL, executor: multiprocess, log_format: json}
connections:
  here: {cloud: aws, region: eu-west-1, default: true}
  replica:
    cloud: aws
    region: eu-central-1
    account: "123456789012"
    identity: {role: "arn:aws:iam::123456789012:role/replica", external_id: acme}
    covers: ["s3://acme-replica"]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "orchestrai.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_project_file_of_the_working_directory_sets_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ORCHESTRAI_HOME", "ORCHESTRAI_PROJECT", "REPLICA"):
        monkeypatch.delenv(name, raising=False)
    path = written(tmp_path, WHOLE)
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert settings.home == tmp_path / "state"
    assert settings.pipelines == f"{tmp_path}/pipelines:{tmp_path}/more/pipelines"
    assert (settings.lake, settings.vault) == ("s3://acme-lake/lake", "s3://acme-vault/vault")
    assert settings.replica_url == "s3://acme-replica/vault"
    assert (settings.executor, settings.log_format, settings.instance_db) == ("multiprocess", "json", "env://DAGSTER_PG_URL")
    assert settings.project == str(path)


def test_a_variable_comes_before_the_file_and_the_file_may_lie_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ORCHESTRAI_HOME", raising=False)
    monkeypatch.setenv("ORCHESTRAI_PROJECT", str(written(tmp_path, WHOLE)))
    monkeypatch.setenv("ORCHESTRAI_VAULT_URL", "s3://other/vault")
    settings = load_settings()
    assert settings.vault == "s3://other/vault"
    # relative folders lie where the file lies, wherever the command is run
    assert settings.home == tmp_path / "state"


def test_a_tilde_is_the_users_folder_in_every_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/people/ada")
    read = read_project(written(tmp_path, "home: ~/state\npipelines: [~/p, q]\nlake: ~/lake\n"), {})
    assert read.settings(tmp_path) == {
        "home": "/people/ada/state",
        "pipelines": f"/people/ada/p:{tmp_path}/q",
        "lake_url": "/people/ada/lake",
    }


def test_a_named_file_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRAI_PROJECT", str(tmp_path / "none.yaml"))
    with pytest.raises(DeclarationError, match=r"none\.yaml"):
        load_settings()


def test_connections_know_their_names_and_an_empty_file_is_a_project(tmp_path: Path) -> None:
    read = read_project(written(tmp_path, WHOLE), {})
    assert [(one.name, one.region) for one in read.connections.values()] == [
        ("here", "eu-west-1"),
        ("replica", "eu-central-1"),
    ]
    assert read.connections["replica"].identity.kinds == ("role",)
    assert read_project(written(tmp_path, "# nothing\n"), {}).settings(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "place", "found"),
    [
        ("homes: x\n", ":1: homes", "expected 'home'"),
        ("connections:\n  a:\n    cloud: aws\n    regoin: x\n", ":4: connections.a.regoin", "expected 'region'"),
        ("connections:\n  a:\n    cloud: sun\n", ":3: connections.a.cloud", "'aws', 'azure' or 'gcp'"),
        ("connections:\n  A: {cloud: aws}\n", ":2: connections.A", "'A'"),
        ("connections:\n  a: {cloud: aws, name: b}\n", ":2: connections.a.name", "a name within"),
        (
            "connections:\n  a:\n    cloud: azure\n    identity: {profile: x}\n",
            ":4: connections.a.identity",
            "found profile",
        ),
        ("connections:\n  a:\n    cloud: aws\n    identity: static\n", ":4: connections.a.identity", "'static'"),
        (
            "connections:\n  a:\n    cloud: aws\n    identity: {profile: x, anonymous: true}\n",
            ":4: connections.a.identity",
            "profile and anonymous",
        ),
        ("connections:\n  a:\n    cloud: gcp\n    identity: {workload_identity: {client: x}}\n", ":4:", "external_account"),
        (
            "connections:\n  a:\n    cloud: azure\n    identity: {account_key: env://K}\n",
            ":2: connections.a.account",
            "none",
        ),
        ("connections:\n  a:\n    cloud: aws\n    account: 123456789012\n", ":4: connections.a.account", "in quotes"),
        ("connections:\n  a:\n    cloud: aws\n    endpoint: http://minio:9000\n", ":4: connections.a.endpoint", "http"),
        (
            "connections:\n  a:\n    cloud: aws\n    endpoints: {s3: 'https://u:p@h'}\n",
            ":4: connections.a.endpoints.s3",
            "another text",
        ),
        ("connections:\n  a:\n    cloud: aws\n    region: '${NOWHERE}'\n", ":4: connections.a.region", "NOWHERE"),
        (
            "connections:\n  a: {cloud: aws, covers: [s3://x]}\n  b:\n    cloud: aws\n    covers: [s3a://x/]\n",
            ":5: connections.b.covers",
            "like a",
        ),
        ("connections:\n  a:\n    cloud: aws\n    covers: [gs://x]\n", ":4: connections.a.covers", "'gs://x'"),
        ("connections:\n  a:\n    cloud: aws\n    covers: [s3://x/../y]\n", ":4: connections.a.covers", "'s3://x/../y'"),
        ("connections:\n  a: {cloud: aws, default: true}\n  b:\n    cloud: aws\n    default: true\n", ":5:", "a and b"),
        ("connections:\n  a: {cloud: aws, covers: [/tmp/x]}\n", ":2: connections.a.covers", "'/tmp/x'"),
        ("lake: s3://key:secret@bucket/x\n", ":1: lake", "a password before the host"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(tmp_path: Path, text: str, place: str, found: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        read_project(written(tmp_path, text), {})
    message = caught.value.message
    assert f"orchestrai.yaml{place}" in message
    assert found in message
    assert "\n" not in message


def test_a_secret_itself_is_refused_and_not_shown(tmp_path: Path) -> None:
    text = "connections:\n  a: {cloud: azure, account: acme, identity: {account_key: Zm9vYmFyYmF6}}\n"
    with pytest.raises(ConfigError, match="write where it lies") as caught:
        read_project(written(tmp_path, text), {})
    assert "Zm9vYmFyYmF6" not in caught.value.message
