"""`check`, `doctor`, `instance` and `report` on a project of which a part cannot be read; `.env`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrai.errors import ConfigError
from orchestrai.pipeline.load import SHIPPED
from orchestrai_tests.cli.conftest import command
from orchestrai_tests.defs.shop import declared

WRONG = "corner/pipeline.yaml:7: datasets[0].partitions.grain: expected 'hour', 'day', 'week', 'month', 'year' or 'all', found 'dya'"


@pytest.fixture
def pipelines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One sound pipeline and one with a wrong word, deployed."""
    folder = tmp_path / "pipelines"
    shutil.copytree(SHIPPED / "churn", folder / "churn")
    path = declared(folder / "corner") / "pipeline.yaml"
    path.write_text(path.read_text().replace("grain: day", "grain: dya"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ORCHESTRAI_PIPELINES", str(folder))
    return folder


def test_check_tells_what_is_wrong_and_ends_with_1_in_part_2_in_whole_and_0_without(pipelines: Path) -> None:
    code, text = command("check")
    assert (code, WRONG in text.splitlines()) == (1, True)
    assert "left out" in text
    assert command("check", str(pipelines / "corner"))[0] == 2
    assert command("check", str(pipelines / "churn"))[0] == 0


def test_check_as_json_has_a_field_for_each_part_of_a_mistake(pipelines: Path) -> None:
    code, text = command("check", "--json")
    found = json.loads(text)
    assert (code, found["ok"]) == (1, False)
    churn, shop = found["pipelines"]
    assert (churn["loads"], churn["models"], churn["mistakes"]) == (True, ["churn"], [])
    assert (shop["pipeline"], shop["loads"]) == ("shop", False)
    assert shop["mistakes"] == [
        {
            "file": str(pipelines / "corner" / "pipeline.yaml"),
            "line": 7,
            "field": "datasets[0].partitions.grain",
            "expected": "'hour', 'day', 'week', 'month', 'year' or 'all'",
            "found": "'dya'",
            "message": WRONG,
        }
    ]
    assert "churn/churn/champion" in found["assets"]


def test_a_model_with_a_mistake_keeps_its_pipeline_loaded_and_is_told(pipelines: Path) -> None:
    shutil.rmtree(pipelines / "corner")
    path = pipelines / "churn" / "pipeline.yaml"
    path.write_text(path.read_text().replace("baseline: recency_days", "baseline: recency"))
    code, text = command("check", "--json")
    (churn,) = json.loads(text)["pipelines"]
    assert (code, churn["loads"], [mistake["field"] for mistake in churn["mistakes"]]) == (2, True, ["models[0].baseline"])


def findings(*arguments: str) -> tuple[int, dict[str, tuple[bool, str]]]:
    code, text = command("doctor", "--json", *arguments)
    return code, {found["name"]: (found["ok"], found["detail"]) for found in json.loads(text)["findings"]}


def test_doctor_ends_with_1_and_names_the_pipeline_that_is_left_out(pipelines: Path) -> None:
    code, found = findings()
    assert code == 1
    assert found["pipeline churn"][0]
    assert found["pipeline shop"] == (False, f"left out: {WRONG}")
    shutil.rmtree(pipelines / "corner")
    assert findings()[0] == 0


def test_doctor_tells_names_that_are_no_setting_where_other_commands_refuse(
    pipelines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(pipelines / "corner")
    monkeypatch.setenv("ORCHESTRAI_VALUT_URL", "s3://secret:hunter2@bucket")
    code, found = findings()
    assert code == 1
    assert found["settings"] == (False, "no setting of orchestrai: ORCHESTRAI_VALUT_URL: rename or unset it")
    assert "hunter2" not in str(found)
    with pytest.raises(ConfigError, match="ORCHESTRAI_VALUT_URL"):
        command("report")


def test_doctor_judges_the_instance_that_is_in_force(
    pipelines: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.rmtree(pipelines / "corner")
    (tmp_path / "theirs").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "theirs"))
    code, found = findings()
    assert code == 1
    ok, detail = found["instance run monitoring"]
    assert not ok and "add run_monitoring: {enabled: true" in detail


@pytest.mark.parametrize("arguments", [("report",), ("gate", "list"), ("model", "list"), ("deadletters", "list")])
def test_lists_say_which_pipelines_are_left_out(
    pipelines: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    assert f"left out: shop: {WRONG}" in done.stderr


def test_a_command_on_a_pipeline_that_is_left_out_says_why(pipelines: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        command("backfill", "shop")
    assert caught.value.message == f"expected a pipeline that loads, found shop left out: {WRONG}"


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command line in a process of its own, as `main` starts it."""
    program = "from orchestrai.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, env=dict(os.environ)
    )


@pytest.mark.thorough("the reading of .env is tried in one process")
def test_the_env_file_of_the_working_directory_is_read_and_the_real_environment_wins(
    pipelines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(pipelines / "corner")
    monkeypatch.delenv("ORCHESTRAI_HOME")
    monkeypatch.delenv("ORCHESTRAI_PIPELINES")
    lines = [
        "# where things are",
        "ORCHESTRAI_HOME=from-file",
        f'export ORCHESTRAI_PIPELINES="{pipelines}"  # ours',
        "ORDERS_URL='by day/'",
    ]
    (tmp_path / ".env").write_text("\n".join(lines))
    assert run("instance").stdout.strip() == str(tmp_path / "from-file" / "dagster")
    program = "from orchestrai.definitions import defs; from orchestrai.settings import load_settings as s; print(s().home)"
    (tmp_path / "by day").mkdir()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.stdout.strip() == str(tmp_path / "from-file"), done.stderr
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "real"))
    found = run("doctor", "--json")
    named = {entry["name"]: entry["detail"] for entry in json.loads(found.stdout)["findings"]}
    assert named["lake"] == (tmp_path / "real" / "lake").as_uri()
    assert "pipeline churn" in named and "pipeline telemetry" not in named
    assert named["landing of churn/orders"] == f"{(tmp_path / 'by day').as_uri()}: no object yet"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A=1\nhunter2 is my password\n", ".env:2: expected NAME=value"),
        ("ORCHESTRAI_VALUT_URL=hunter2\n", "ORCHESTRAI_VALUT_URL"),
        ("A=\xff", "expected a text file in .env"),
    ],
)
def test_a_mistake_in_the_env_file_is_one_line_without_its_value(
    pipelines: Path, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / ".env").write_bytes(text.encode("latin-1"))
    done = run("report")
    assert done.returncode == 2
    assert said in done.stderr and "hunter2" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_instance_prints_a_folder_in_which_dagster_finds_its_tables(pipelines: Path, tmp_path: Path) -> None:
    code, text = command("instance")
    base = tmp_path / "home" / "dagster"
    assert (code, text.strip()) == (0, str(base))
    assert (base / "dagster.yaml").is_file() and (base / "history" / "runs" / "index.db").is_file()
    assert json.loads(command("instance", "--json")[1]) == {"dagster_home": str(base)}


def test_a_vault_is_not_made_plain_while_the_pipeline_that_may_encrypt_it_is_left_out(
    pipelines: Path, tmp_path: Path
) -> None:
    from orchestrai.pipeline.runtime import Runtime
    from orchestrai.settings import load_settings

    assert not Runtime(load_settings()).vault.encryption
    shutil.rmtree(tmp_path / "home")
    path = pipelines / "corner" / "pipeline.yaml"
    path.write_text(path.read_text().replace('every: "0 2 * * *"', "encrypt: true"))
    with pytest.raises(ConfigError, match="expected shop to load before a vault is made"):
        assert Runtime(load_settings()).vault


def test_doctor_is_not_green_where_a_named_landing_lacks_or_holds_a_page_alone(
    pipelines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(pipelines / "corner")
    folder = tmp_path / "exports"
    monkeypatch.setenv("ORDERS_URL", str(folder))
    code, found = findings()
    assert (code, "expected the landing folder" in found["missing landing of churn/orders"][1]) == (1, True)
    folder.mkdir()
    code, found = findings()
    assert (code, found["landing of churn/orders"][1].endswith("no object yet")) == (0, True)
    (folder / "README.md").write_text("# put files here")
    code, found = findings()
    assert (code, found["landing without data of churn/orders"][0]) == (1, False)


def test_init_and_new_write_a_project_of_a_look_at_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORCHESTRAI_PIPELINES", raising=False)
    (tmp_path / "in {braces}").mkdir()
    rows = [f"{number},{number % 5},{'ab'[number % 2]},{number * 7 % 3 > 0}" for number in range(60)]
    (tmp_path / "in {braces}" / "leads.csv").write_text("lead_id,visits,channel,converted\n" + "\n".join(rows))
    code, text = command("init", "--from", "in {braces}/leads.csv", "--json")
    told = json.loads(text)
    assert (code, told["pipeline"]) == (0, "leads")
    assert told["next"] == ["orchestrai check", "orchestrai backfill leads"]
    assert [Path(file).name for file in told["files"]] == [
        "pipeline.schema.json", "orchestrai.yaml", "pipeline.yaml", "leads.contract.yaml", "features.sql", "label.sql",
    ]  # fmt: skip
    assert command("check", "--json")[0] == 0
    assert command("new", "again", "--from", "in {braces}", "--json")[0] == 0
    assert sorted(path.name for path in (tmp_path / "pipelines").iterdir()) == ["again", "leads", "pipeline.schema.json"]
    with pytest.raises(ConfigError, match="choose another name"):
        command("init", "leads", "--from", "in {braces}")
    with pytest.raises(ConfigError, match="expected --from"):
        command("init", "other")


def test_init_leaves_nothing_half_where_it_cannot_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORCHESTRAI_PIPELINES", raising=False)
    (tmp_path / "leads.csv").write_text("a,b\n" + "\n".join(f"{number},{number % 2}" for number in range(60)))
    (tmp_path / "pipelines").write_text("a file where the folder should be")
    with pytest.raises(ConfigError, match="expected a place that can be written"):
        command("init", "--from", "leads.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["leads.csv", "pipelines"]
