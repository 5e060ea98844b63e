"""`orchestrai vault ...`: what it says, what it leaves alone, and how it ends."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrai.errors import ConfigError, RestoreError
from orchestrai.pipeline.runtime import Runtime
from orchestrai.vault.protection import is_sealed
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.cli.conftest import DATASET, RAW, MakeRuntime, command, run


def damage(runtime: Runtime, day: str) -> None:
    vault = runtime.vault
    file = vault.files(vault.latest(RAW), day)[0]
    path = vault.store.local_path(file.key)
    assert path is not None
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[file.offset] ^= 1
    path.write_bytes(bytes(data))


def test_list_and_show_tell_what_is_kept(shop: Runtime, days: list[str]) -> None:
    code, text = command("vault", "list", DATASET, "--json")
    first, second = json.loads(text)
    assert (code, first["partitions"], second["partitions"]) == (0, 2, 3)
    code, text = command("vault", "show", second["snapshot_id"][:8], "--partition", days[2], "--json")
    shown = json.loads(text)
    assert [held["partition"] for held in shown["held"]] == days[:3]
    assert {listed["role"] for listed in shown["listed"]} == {"data", "landed"}
    assert second["snapshot_id"][:12] in command("vault", "list")[1]
    assert days[0] in command("vault", "show", second["snapshot_id"])[1]


def test_nothing_kept_yet_is_an_empty_list_and_makes_no_vault(
    make: MakeRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "fresh"))
    assert command("vault", "list", "--json") == (0, "[]\n")
    with pytest.raises(RestoreError, match="take a snapshot first"):
        command("vault", "verify")
    fresh = make(home="fresh").ledger
    assert fresh.vault is not None
    assert is_sealed(fresh.vault, fresh.keyring) is None


def test_verify_answers_by_exit_code(shop: Runtime, days: list[str]) -> None:
    for level in ("listing", "read"):
        assert command("vault", "verify", "--level", level, "--dataset", DATASET)[0] == 0
    damage(shop, days[0])
    code, text = command("vault", "verify", "--level", "read", "--json")
    assert (code, json.loads(text)["ok"]) == (1, False)
    parts = [json.loads(command("vault", "verify", "--level", "read", "--sample", f"{n}/2", "--json")[1]) for n in (1, 2)]
    assert sorted(part["ok"] for part in parts) == [False, True]


def test_what_is_new_is_verified_alone_and_the_newest_are_listed_alone(shop: Runtime, days: list[str]) -> None:
    code, text = command("vault", "verify", "--new", "--json")
    first = json.loads(text)
    assert (code, first["snapshots"] > 1, first["since"]) == (0, True, None)
    code, text = command("vault", "verify", "--new", "--json")
    again = json.loads(text)
    assert (code, again["snapshots"], again["since"] is not None) == (0, 0, True)
    assert "not now" in command("vault", "verify", "--new")[1]
    file = shop.vault.files(shop.vault.latest(RAW), days[0])[0]
    path = shop.vault.store.local_path(file.key)
    assert path is not None
    path.unlink()
    # what was looked at before is not looked at by --new, and by no other way of asking is it left out
    assert command("vault", "verify", "--new")[0] == 0
    assert command("vault", "verify")[0] == 1
    with pytest.raises(ConfigError, match="level listing"):
        command("vault", "verify", "--new", "--level", "read")
    every = json.loads(command("vault", "list", DATASET, "--json")[1])
    assert json.loads(command("vault", "list", DATASET, "--newest", "1", "--json")[1]) == every[-1:]
    assert json.loads(command("vault", "list", "--newest", "50", "--json")[1]) == json.loads(
        command("vault", "list", "--json")[1]
    )


def test_verify_with_the_anchor_finds_a_rollback(shop: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    anchor = tmp_path / "anchor.json"
    # the witness, which is there by default, says it too
    assert json.loads(command("vault", "verify", "--json")[1])["rollback"] == "none found"
    monkeypatch.setenv("ORCHESTRAI_WITNESS", "none")
    assert json.loads(command("vault", "verify", "--json")[1])["rollback"] == "not provable"
    monkeypatch.setenv("ORCHESTRAI_ANCHOR", str(anchor))
    newest = shop.vault.latest(RAW)
    command("vault", "forget", shop.vault.snapshots()[0].snapshot_id, "--reason", "test")
    assert json.loads(command("vault", "verify", "--json")[1])["rollback"] == "none found"
    (tmp_path / "home" / "vault" / "vault" / "snapshots" / RAW / f"{newest.seq:012d}.json").unlink()
    code, text = command("vault", "verify", "--json")
    assert (code, json.loads(text)["rollback"]) == (1, "found")


@pytest.mark.parametrize(
    "wrong", [("--level", "deep"), ("--level", "checksum"), ("--sample", "3"), ("--sample", "4/3"), ("--sample", "0/3")]
)
def test_verify_refuses_what_it_does_not_know(shop: Runtime, wrong: tuple[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        command("vault", "verify", *wrong)
    assert caught.value.exit_code == 2


def test_restore_writes_a_new_folder_and_never_over_another(
    shop: Runtime, days: list[str], landing: Path, tmp_path: Path
) -> None:
    target = tmp_path / "back"
    code, text = command(
        "vault", "restore", DATASET, "--into", str(target), "--partitions", f"{days[0]}..{days[1]}", "--json"
    )
    assert (code, json.loads(text)["partitions"]) == (0, days[:2])
    assert sorted(path.name for path in target.iterdir()) == days[:2]
    originals = {path.read_bytes() for path in target.rglob("*.csv")}
    assert (landing / f"{days[0]}.csv").read_bytes() in originals
    before = sorted(target.rglob("*"))
    with pytest.raises(RestoreError, match="never written over"):
        command("vault", "restore", DATASET, "--into", str(target))
    assert sorted(target.rglob("*")) == before


def test_restore_finds_a_snapshot_by_dataset_id_time_or_tag(shop: Runtime, tmp_path: Path) -> None:
    first, second = shop.vault.snapshots()

    def restored(*arguments: str) -> str:
        folder = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        return str(
            json.loads(command("vault", "restore", *arguments, "--into", str(folder), "--json")[1])["snapshot"][
                "snapshot_id"
            ]
        )

    assert restored(DATASET) == restored(second.snapshot_id[:10]) == second.snapshot_id
    assert restored(DATASET, "--id", first.snapshot_id) == first.snapshot_id
    assert restored(DATASET, "--as-of", first.committed.isoformat()) == first.snapshot_id
    for wrong in (("--tag", "golden"), ("--as-of", "2001-01-01"), ("--partitions", "2001-01-01")):
        with pytest.raises(RestoreError):
            restored(DATASET, *wrong)
    for wrong in (("--as-of", "yesterday"), ("--id", first.snapshot_id, "--tag", "golden")):
        with pytest.raises(ConfigError):
            restored(DATASET, *wrong)
    with pytest.raises(RestoreError):
        restored("nothing/such")


def test_prune_plans_first_and_forgets_only_when_told(shop: Runtime) -> None:
    declared = shop.project.pipeline("churn").folder / "pipeline.yaml"
    declared.write_text(declared.read_text().replace("keep: {daily: 7, weekly: 5, monthly: 12}", "keep: {last: 1}"))
    first, second = shop.vault.snapshots()
    code, text = command("vault", "prune", "--json")
    plan = json.loads(text)
    assert (code, plan["forget"], plan["applied"]) == (0, {RAW: [first.snapshot_id]}, None)
    assert "nothing was changed" in command("vault", "prune")[1]
    assert len(shop.vault.snapshots()) == 2
    applied = json.loads(command("vault", "prune", "--apply", "--json")[1])["applied"]
    assert applied["forgotten"] == [first.snapshot_id]
    assert shop.vault.snapshots() == [second]
    assert command("vault", "verify", "--level", "read")[0] == 0


def test_what_nobody_declares_is_never_let_go(shop: Runtime, tmp_path: Path, days: list[str]) -> None:
    from orchestrai.backup.folder_files import backup_folder

    for n in range(2):
        (tmp_path / "orders" / "extra.txt").write_text(str(n))
        backup_folder(shop.vault, "files", tmp_path / "orders")
    command("vault", "prune", "--apply")
    assert len(shop.vault.snapshots("files")) == 2


def test_drill_publishes_and_answers_by_exit_code(shop: Runtime, days: list[str]) -> None:
    code, text = command("vault", "drill", DATASET, "--json")
    assert (code, json.loads(text)["passed"]) == (0, True)
    published = shop.ledger.head(f"{DATASET}/drill")
    assert published is not None
    damage(shop, days[0])
    code, text = command("vault", "drill", DATASET, "--json")
    assert (code, json.loads(text)["passed"]) == (1, False)
    assert shop.ledger.head(f"{DATASET}/drill") == published


def test_lock_says_no_where_the_store_cannot(shop: Runtime) -> None:
    code, text = command("vault", "lock", shop.vault.latest(RAW).snapshot_id, "--for", "30d", "--json")
    assert (code, json.loads(text)["locked"]) == (1, False)
    with pytest.raises(ConfigError):
        command("vault", "lock", shop.vault.latest(RAW).snapshot_id, "--for", "long")


def test_replicate_and_work_on_the_replica_alone(shop: Runtime, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--to"):
        command("vault", "replicate")
    replica = str(tmp_path / "replica")
    code, text = command("vault", "replicate", "--to", replica, "--json")
    assert (code, json.loads(text)[0]["replica_verified"]) == (0, 2)
    (tmp_path / "home" / "vault").rename(tmp_path / "lost")
    assert len(json.loads(command("vault", "list", "--vault", replica, "--json")[1])) == 2
    assert command("vault", "verify", "--level", "read", "--vault", replica)[0] == 0
    assert command("vault", "drill", DATASET, "--vault", replica)[0] == 0
    assert command("vault", "restore", DATASET, "--into", str(tmp_path / "back"), "--vault", replica)[0] == 0


def test_forget_takes_an_id_or_a_damaged_commits_number(shop: Runtime, tmp_path: Path) -> None:
    first, second = shop.vault.snapshots()
    with pytest.raises(ConfigError, match="reason"):
        command("vault", "forget", first.snapshot_id, "--reason", " ")
    assert json.loads(command("vault", "forget", first.snapshot_id[:9], "--reason", "test", "--json")[1])["seq"] == 1
    assert [c.seq for c in shop.vault.snapshots()] == [2]
    record = tmp_path / "home" / "vault" / "vault" / "snapshots" / RAW / f"{second.seq:012d}.json"
    record.chmod(0o644)
    record.write_bytes(record.read_bytes()[:-20])
    assert command("vault", "verify")[0] == 1
    assert command("vault", "forget", f"{RAW}@2", "--reason", "torn")[0] == 0
    assert command("vault", "list", "--json") == (0, "[]\n")


def test_a_sealed_vault_is_worked_on_without_any_option(
    make: MakeRuntime, days: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(make("encrypt: true", home="sealed"), days[:1])
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "sealed"))
    assert command("vault", "verify", "--level", "read")[0] == 0
    assert command("vault", "restore", DATASET, "--into", str(tmp_path / "plain"))[0] == 0
    assert list((tmp_path / "plain").rglob("*.csv"))
    assert verify(make("encrypt: true", home="sealed").vault).ok


COMMANDS = [
    *(("vault", name) for name in ("list", "show", "verify", "restore", "prune", "drill", "lock", "replicate", "forget")),
    *(("deadletters", name) for name in ("list", "show", "replay")),
    *(("model", name) for name in ("list", "rollback", "serve")),
    ("rollback",),
]


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(names: tuple[str, ...]) -> None:
    code, text = command(*names, "--help")
    assert code == 0
    assert "Example" in text and "orchestrai" in text
    assert "--json" in text


def test_the_group_names_each_of_its_commands() -> None:
    from orchestrai.cli.app import app as every_command
    from orchestrai.cli.vault.vault_commands import vault

    assert every_command is not None
    told = str(vault.info.help).removeprefix("Snapshots: ").rstrip(".").split(", ")
    assert sorted(told) == sorted(str(found.name) for found in vault.registered_commands)


def test_no_dagster_is_imported(shop: Runtime, tmp_path: Path) -> None:
    """With Dagster down, or not even installed, the vault can be read."""
    script = (
        "import sys; sys.modules['dagster'] = None; sys.argv = ['orchestrai', *sys.argv[1:]]\n"
        "from orchestrai.cli import main; main()"
    )
    for arguments in (["vault", "drill", DATASET], ["vault", "prune"], ["deadletters", "list", DATASET], ["model", "list"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr


def test_a_file_is_found_and_comes_back_alone(shop: Runtime, days: list[str], tmp_path: Path) -> None:
    code, text = command("vault", "find", f"{days[0]}.csv", "--dataset", DATASET, "--json")
    (match,) = json.loads(text)["matches"]
    version = match["versions"][0]
    assert (code, match["partition"], match["present"], version["snapshots"]) == (0, days[0], True, 2)
    assert days[0] in command("vault", "find", days[0], "--partitions")[1]
    target = tmp_path / "back"
    wanted = ("vault", "restore", version["last"], "--only", days[0], "--file", f"*{days[0]}.csv", "--to", str(target))
    code, text = command(*wanted, "--json")
    (name,) = json.loads(text)["restored"]
    assert code == 0 and [str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()] == [name]
    assert (target / name).stat().st_size == version["size"]
    with pytest.raises(RestoreError, match="--overwrite"):
        command(*wanted)
    assert command(*wanted, "--overwrite")[0] == 0
    assert command("vault", "find", "no_such_*", "--json")[0] == 1
    for wrong in (("vault", "find"), ("vault", "find", "--hash", "xyz"), ("vault", "find", "--min-size", "10 parsecs")):
        with pytest.raises(ConfigError):
            command(*wrong)
    with pytest.raises(ConfigError, match="--to"):
        command("vault", "restore", DATASET, "--into", "x", "--file", "a")


def rewrite(runtime: Runtime, seeds: range) -> None:
    """Snapshots of the orders in which six files are another's bytes: nothing that a pipeline would write, as an attacker does."""
    from orchestrai.vault.commit.source import SourceFile

    for seed in seeds:
        contents = {
            f"f{n}": random.Random(seed * 10 + n).randbytes(9_000) if seed > 90 else b"a,b,%d\n" % seed * 999
            for n in range(6)
        }
        runtime.vault.commit(
            "churn/other/raw_events",
            {name: [SourceFile("f.csv", len(data), data, role="landed")] for name, data in contents.items()},
        )


def test_an_unusual_snapshot_is_told_everywhere_until_somebody_says_it_is_well(shop: Runtime, tmp_path: Path) -> None:
    rewrite(shop, range(8))
    assert {row["unusual_change"] for row in json.loads(command("vault", "list", "--json")[1])} == {None}
    rewrite(shop, range(91, 92))
    (row,) = (row for row in json.loads(command("vault", "list", "--json")[1]) if row["unusual_change"])
    assert "compresses" in row["unusual_change"]["reasons"][0]
    assert "vault acknowledge" in " ".join(command("vault", "list")[1].split())
    code, text = command("doctor", "--json")
    (finding,) = (one for one in json.loads(text)["findings"] if one["name"] == "unusual change")
    assert code == 1 and not finding["ok"]
    page = tmp_path / "compliance.html"
    code, text = command("report", "--compliance", "--to", str(page), "--json")
    assert code == 1 and any(one["unusual"] for one in json.loads(text)["datasets"]) and "unusual change" in page.read_text()
    plan = json.loads(command("vault", "prune", "--json")[1])
    assert plan["forget"]["churn/other/raw_events"] == []
    with pytest.raises(ConfigError, match="found none"):
        command("vault", "acknowledge", row["snapshot_id"], "--reason", " ")
    assert command("vault", "acknowledge", row["snapshot_id"], "--reason", "a migration", "--by", "ana")[0] == 0
    (row,) = (row for row in json.loads(command("vault", "list", "--json")[1]) if row["unusual_change"])
    assert row["unusual_change"]["acknowledged_by"] == "ana"
    (said,) = json.loads(command("trail", "--action", "acknowledgement", "--json")[1])
    assert said["why"] == "a migration"
    assert command("audit")[0] == 0
    with pytest.raises(ConfigError, match="as those before it"):
        command("vault", "acknowledge", shop.vault.snapshots(RAW)[0].snapshot_id, "--reason", "x")


def test_the_check_of_the_snapshot_asset_tells_and_a_verification_is_recorded(shop: Runtime, days: list[str]) -> None:
    from orchestrai.vault.verify.verification_record import verifications

    report = run(shop, days[3:4], "raw_events", "snapshot")["snapshot"]
    verdicts = {verdict.check: verdict.passed for outcome in report.outcomes for verdict in outcome.verdicts}
    assert verdicts == {"same_version": True, "unusual_change": True}
    assert command("vault", "verify", "--level", "read")[0] == 0
    (record,) = verifications(shop.vault)
    assert record.proves and record.files_read > 0
    assert command("vault", "verify")[0] == 0 and len(verifications(shop.vault)) == 1


def test_browse_writes_pages_that_name_every_snapshot(shop: Runtime, tmp_path: Path) -> None:
    code, text = command("vault", "browse", "--to", str(tmp_path / "pages"), "--json")
    assert code == 0 and json.loads(text)["snapshots"] == len(shop.vault.snapshots())
    script = (tmp_path / "pages" / "0" / "dataset.js").read_text()
    assert all(commit.snapshot_id in script for commit in shop.vault.snapshots(RAW))
