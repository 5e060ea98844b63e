"""The tutorials, done as they stand."""

from pathlib import Path

import pytest

from orchestrai_tests.docs.tutorial import FOLDER, Tutorial
from orchestrai_tests.servers.s3 import S3Server

PLAYED = {"own-files.md", "second-month.md", "s3.md", "in-dagster.md", "minute.md"}


def test_every_tutorial_is_played() -> None:
    assert {page.name for page in FOLDER.glob("*.md")} == PLAYED


@pytest.mark.e2e
@pytest.mark.thorough("a whole tutorial: each command is a process, and some train a model")
def test_own_files_to_a_champion_and_through_a_second_month(tmp_path: Path) -> None:
    reader = Tutorial(tmp_path)
    reader.play("own-files.md")
    reader.play("second-month.md")


@pytest.mark.e2e
@pytest.mark.thorough("a whole tutorial: each command is a process, and some train a model")
def test_everything_in_buckets_of_a_server(tmp_path: Path, moto: S3Server) -> None:
    reader = Tutorial(tmp_path, instead={"http://localhost:9000": moto.endpoint})
    reader.write_files_of("own-files.md", "make_visits.py")
    reader.play("s3.md")


@pytest.mark.e2e
@pytest.mark.thorough("a whole tutorial: each command is a process, and some train a model")
def test_beside_assets_of_ones_own(tmp_path: Path) -> None:
    reader = Tutorial(tmp_path)
    reader.write_files_of("own-files.md", "make_visits.py")
    reader.play("in-dagster.md")


@pytest.mark.e2e
@pytest.mark.thorough("a whole tutorial: each command is a process, and some train a model")
def test_a_stream_by_the_minute(tmp_path: Path) -> None:
    Tutorial(tmp_path).play("minute.md")


@pytest.mark.parametrize(
    ("page", "wrong"),
    [
        ("```sh\necho a b c\n```\n```text\na c b\n```\n", "'c b'|'a c b'"),
        ("```sh\nfalse\n```\n", "ended with 1"),
        ("```sh\ntrue  # exit code 1\n```\n", "ended with 0"),
    ],
)
def test_a_promise_that_does_not_hold_is_found(
    page: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrai_tests.docs.tutorial.FOLDER", tmp_path)
    monkeypatch.setattr("orchestrai_tests.docs.pages.ROOT", tmp_path)
    (tmp_path / "page.md").write_text(page)
    with pytest.raises(AssertionError, match=wrong):
        Tutorial(tmp_path).play("page.md")
