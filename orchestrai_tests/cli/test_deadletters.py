"""`orchestrai deadletters ...`: what was refused, and another try once the data is mended."""

import json
from pathlib import Path

import pytest

from orchestrai.errors import ConfigError, RestoreError
from orchestrai.pipeline.runtime import Runtime
from orchestrai_tests.cli.conftest import DATASET, RAW, command, run


@pytest.fixture
def spoiled(shop: Runtime, days: list[str], landing: Path) -> str:
    """The fourth day with one row that is no order; the row itself."""
    path = landing / f"{days[3]}.csv"
    lines = path.read_text().splitlines()
    cells = lines[1].split(",")
    quantity = lines[0].split(",").index("Quantity")
    cells[quantity] = "[bold]many[/bold]"
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    run(shop, days[3:4], "raw_events")
    return ",".join(cells)


def test_no_letters_are_no_fault(shop: Runtime) -> None:
    code, text = command("deadletters", "list", DATASET, "--json")
    assert (code, json.loads(text)["letters"]) == (0, 0)
    assert command("deadletters", "replay", DATASET)[0] == 0


def test_a_letter_is_counted_listed_and_shown_as_it_was_found(spoiled: str, days: list[str]) -> None:
    counted = json.loads(command("deadletters", "list", DATASET, "--json")[1])
    assert [(g["partition"], g["column"], g["count"]) for g in counted["reasons"]] == [(days[3], "quantity", 1)]
    (letter,) = json.loads(command("deadletters", "list", DATASET, "--each", "--json")[1])["each"]
    code, text = command("deadletters", "show", DATASET, letter["id"][:6])
    assert code == 0
    assert spoiled in text
    assert json.loads(command("deadletters", "show", DATASET, letter["id"], "--json")[1]) == letter
    with pytest.raises(ConfigError):
        command("deadletters", "show", DATASET, "zzzz")


def test_replay_ends_with_one_while_letters_remain(spoiled: str) -> None:
    code, text = command("deadletters", "replay", DATASET, "--json")
    assert (code, json.loads(text)["after"]) == (1, 1)


def test_replay_after_the_data_was_mended_takes_each_row_once(
    spoiled: str, shop: Runtime, days: list[str], landing: Path, generated: tuple[Path, list[str]]
) -> None:
    rows = (generated[0] / f"{days[3]}.csv").read_text()
    (landing / f"{days[3]}.csv").write_text(rows)
    code, text = command("deadletters", "replay", DATASET, "--partitions", days[3], "--json")
    told = json.loads(text)
    assert (code, told["before"], told["after"], told["published"]) == (0, 1, 0, [days[3]])
    assert shop.ledger.open(RAW).partitions[days[3]].rows == len(rows.splitlines()) - 1
    with pytest.raises(RestoreError):
        command("deadletters", "replay", DATASET, "--partitions", days[3])
