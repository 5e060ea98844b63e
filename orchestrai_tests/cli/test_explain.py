"""`explain`: a key by its name or by where it stands, and what is below it."""

import json

import pytest

from orchestrai.cli.project.reference_commands import explain
from orchestrai.errors import ConfigError


def told(capsys: pytest.CaptureFixture[str], key: str) -> dict[str, list[dict[str, object]]]:
    explain(key, as_json=True)
    answer: dict[str, list[dict[str, object]]] = json.loads(capsys.readouterr().out)
    return answer


def test_a_name_is_found_wherever_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    assert [one["key"] for one in told(capsys, "timezone")["found"]] == [
        "datasets[].source.timezone",
        "datasets[].partitions.timezone",
    ]


@pytest.mark.parametrize("asked", ["datasets.source.sql", "datasets[].source.sql", "datasets[0].source.sql", "source.sql"])
def test_a_place_is_found_as_mistakes_write_it(capsys: pytest.CaptureFixture[str], asked: str) -> None:
    answer = told(capsys, asked)
    assert [one["key"] for one in answer["found"]] == ["datasets[].source.sql"]
    assert "datasets[].source.sql.watermark" in [one["key"] for one in answer["below"]]


def test_without_a_key_the_first_level_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    answer = told(capsys, "")
    assert not answer["found"] and {"pipeline", "datasets", "connections"} <= {str(one["key"]) for one in answer["below"]}


def test_a_key_that_stands_in_several_places_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    explain("keep.daily")
    lines = capsys.readouterr().out.splitlines()
    assert "datasets[].backup.keep.daily" in lines and "databases[].keep.daily" in lines
    assert sum("each of the last so many days" in line for line in lines) == 1


def test_a_key_that_there_is_not_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean datasets\.source"):
        explain("datasets.sorce")
