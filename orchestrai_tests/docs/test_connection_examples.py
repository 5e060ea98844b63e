"""Each example of docs/connections.md is a project file that is read, and its URLs find the connection that the page says."""

import re
from pathlib import Path

import pytest

from orchestrai.project.connection_set import ConnectionSet
from orchestrai.project.connection_spec import Connection
from orchestrai.project.identity_spec import KINDS
from orchestrai.project.project_file import ProjectFile, read_project

PAGE = Path(__file__).resolve().parents[2] / "docs" / "connections.md"
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def read(tmp_path: Path, text: str) -> ProjectFile:
    path = tmp_path / "orchestrai.yaml"
    path.write_text(text, encoding="utf-8")
    return read_project(path, {})


@pytest.mark.parametrize("text", EXAMPLES)
def test_each_example_is_read_and_covers_what_it_says(tmp_path: Path, text: str) -> None:
    connections = read(tmp_path, text).connections
    assert connections
    declared = ConnectionSet(connections)
    for one in connections.values():
        for url in one.covers:
            assert declared.of_url(f"{url.rstrip('/')}/deeper", one.cloud) == one


def test_the_page_has_an_example_for_each_server_that_it_names(tmp_path: Path) -> None:
    names = {name for text in EXAMPLES for name in read(tmp_path, text).connections}
    assert {"minio", "ceph", "localstack", "azurite", "emulator"} <= names


def test_the_page_names_every_kind_of_identity() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [kind for kinds in KINDS.values() for kind in kinds if f"{kind}:" not in text] == []


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://acme/eu/x", "eu"),
        ("s3a://acme/eu", "eu"),
        ("s3://acme/europe", "whole"),
        ("s3://acme", "whole"),
        ("s3://acme-other/eu", "rest"),
        ("awskms://arn:aws:kms:eu-west-1:123456789012:key/1", "key"),
        ("awskms://arn:aws:kms:eu-west-1:1234567890123:key/1", "rest"),
        ("sagemaker://eu-central-1", "jobs"),
        ("sagemaker://eu-central-10", "rest"),
        ("s3+whole://acme/eu/x", "whole"),
    ],
)
def test_the_longest_cover_in_whole_segments_wins(url: str, name: str) -> None:
    covers = {
        "whole": ("s3://acme",),
        "eu": ("s3://acme/eu/",),
        "key": ("awskms://arn:aws:kms:eu-west-1:123456789012",),
        "jobs": ("sagemaker://eu-central-1",),
        "rest": (),
    }
    declared = {n: Connection(name=n, cloud="aws", covers=urls, default=n == "rest") for n, urls in covers.items()}
    assert ConnectionSet(declared).of_url(url, "aws").name == name
