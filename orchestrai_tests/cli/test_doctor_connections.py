"""`orchestrai doctor --connections`: who each connection is, what it opens, and what is missing."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrai.cli.app import app
from orchestrai.storage.url import open_store
from orchestrai_tests.servers.s3 import S3Server

ALONE = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (*ALONE, "ORCHESTRAI_PROJECT", "ORCHESTRAI_HOME", "ORCHESTRAI_PIPELINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipelines").mkdir()
    return tmp_path


def doctor(folder: Path, text: str) -> tuple[int, dict[str, Any]]:
    (folder / "orchestrai.yaml").write_text(text, encoding="utf-8")
    done = CliRunner().invoke(app, ["doctor", "--connections", "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert "testsecret" not in done.output
    found = json.loads(done.output)
    return done.exit_code, {one["name"]: one for one in found["connections"]}


@pytest.mark.emulator
def test_each_connection_says_who_it_is_and_what_it_opens(
    folder: Path, moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = moto.bucket(locked=True)
    monkeypatch.setenv("ID", moto.access_key)
    monkeypatch.setenv("SECRET", moto.secret_key)
    text = f"""
vault: s3://{bucket}/vault
replica: s3://no-such-bucket/vault
connections:
  here:
    cloud: aws
    region: us-east-1
    endpoint: "{moto.endpoint}"
    account: "123456789012"
    default: true
    identity: {{access_key: {{id: env://ID, secret: env://SECRET}}}}
  absent: {{cloud: azure, account: acme, identity: {{account_key: env://NOT_SET}}}}
"""
    code, found = doctor(folder, text)
    here, absent = found["here"], found["absent"]
    assert code == 1 and here["who"] == "arn:aws:sts::123456789012:user/moto" and here["account"] == "123456789012"
    tried = {one["what"].split()[0]: one for one in here["tried"]}
    assert tried["vault"]["ok"] and "lists; it is empty; compliance lock, versions" in tried["vault"]["detail"]
    assert not tried["replica"]["ok"] and "create it" in tried["replica"]["detail"]
    assert "env://NOT_SET" in absent["tried"][0]["detail"] and not absent["ok"]
    # nothing was written
    assert list(open_store(f"s3://{bucket}/").list()) == []
    code, found = doctor(folder, text.replace("123456789012", "999999999999"))
    assert code == 1 and "999999999999" in found["here"]["tried"][0]["detail"]
    whole = text.replace("replica: s3://no-such-bucket/vault\n", "").replace("env://NOT_SET", "env://SECRET")
    assert doctor(folder, whole)[0] == 0


def test_without_connections_and_clouds_there_is_nothing_to_try(folder: Path) -> None:
    assert doctor(folder, "") == (0, {})


def test_a_url_that_names_no_connection_is_told(folder: Path) -> None:
    code, found = doctor(folder, "vault: s3+nowhere://bucket/vault\n")
    assert code == 1 and "'nowhere'" in found["(none)"]["tried"][0]["detail"]
