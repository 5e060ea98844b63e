"""What goes wrong with servers, slots and logs: told, named, and mended by a new base where nothing else does."""

import errno
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Event, Thread

import pytest
from typer.testing import CliRunner

from orchestrai.backup.wal.log_archive import DATA, read_log
from orchestrai.backup.wal.log_position import followed, log_position, log_source
from orchestrai.backup.wal.log_retention import needless, trim_log
from orchestrai.backup.wal.receiver.receive import Receiver
from orchestrai.backup.wal.recovery.recovery_plan import Target, reaches
from orchestrai.backup.wal.recovery.scratch_server import end_with_parent
from orchestrai.backup.wal.server import ServerFacts
from orchestrai.cli.app import app
from orchestrai.errors import ConfigError, IntegrityError, RestoreError, StorageError, TransientStorageError
from orchestrai.pipeline.reports.database_findings import database_findings
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.lifecycle.prune import Pruning
from orchestrai_tests.backup.wal.conftest import Followed, forked, until
from orchestrai_tests.backup.wal.recovery.test_moments import TABLE, Looked, at, following, state_of, work
from orchestrai_tests.servers.cluster import Cluster

pytestmark = pytest.mark.emulator


@pytest.fixture
def standby(crm: Followed) -> Iterator[Cluster]:
    crm.cluster.ask(TABLE)
    other = crm.cluster.standby(crm.cluster.folder / "standby")
    try:
        yield other
    finally:
        other.stop(signal.SIGQUIT)


def position(crm: Followed) -> object:
    runtime = crm.runtime()
    (subject,) = followed(runtime.project.nodes.values())
    return log_position(subject, runtime.vault, runtime.clock())


def test_a_failover_is_followed_onto_the_new_timeline_and_both_sides_of_it_are_restored(
    crm: Followed, standby: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    primary, chance = crm.cluster, random.Random(6)
    crm.run("base")
    before, state_before = work(primary, chance)
    crm.receive()
    lsn = primary.ask("SELECT pg_current_wal_lsn()::text")[0][0]
    until(lambda: standby.ask("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", lsn)[0][0])
    primary.stop(signal.SIGQUIT)
    with pytest.raises(StorageError):
        crm.receive()
    standby.promote()
    monkeypatch.setenv("CRM_URL", standby.url)
    after, state_after = work(standby, chance)
    received = crm.receive()
    assert received.timeline == 2 and received.notes == []
    _, log, bases = crm.log()
    (reach,) = reaches(bases, log)
    assert reach.coverage.hole is None and reach.coverage.timeline == 2
    for name, moment, state in (("before", before, state_before), ("after", after, state_after)):
        looked = Looked()
        done = crm.restore(name, at(moment), looked)
        assert looked.state == state and done.timeline == 3
    assert crm.run("wal").version is not None


def test_an_old_primary_that_comes_back_is_refused(crm: Followed, standby: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    crm.run("base")
    standby.promote()
    monkeypatch.setenv("CRM_URL", standby.url)
    work(standby, random.Random(7))
    crm.receive()
    monkeypatch.setenv("CRM_URL", crm.cluster.url)
    with pytest.raises(ConfigError, match="an older primary came back"):
        crm.receive()


def lose_the_slot(cluster: Cluster) -> None:
    """Write more than the server may hold back for a slot."""
    cluster.ask("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
    cluster.ask("ALTER SYSTEM SET max_wal_size = '2MB'")
    cluster.ask("SELECT pg_reload_conf()")
    for _ in range(8):
        cluster.ask("INSERT INTO orders (note) SELECT repeat('z', 900) FROM generate_series(1, 2000)")
        cluster.ask("CHECKPOINT")
    assert cluster.ask("SELECT wal_status FROM pg_replication_slots") == [("lost",)]
    cluster.ask("ALTER SYSTEM RESET max_slot_wal_keep_size")
    cluster.ask("SELECT pg_reload_conf()")


def test_a_slot_that_was_lost_is_told_its_hole_named_and_a_new_base_closes_it(crm: Followed) -> None:
    crm.cluster.ask(TABLE)
    crm.run("base")
    early, state_early = work(crm.cluster, random.Random(8))
    crm.receive()
    lose_the_slot(crm.cluster)
    told = {finding.name: finding for finding in database_findings(crm.runtime())}
    assert not told["database shop/crm"].ok and "found it lost" in told["database shop/crm"].detail
    report = crm.run("wal")
    notes = str(report.facts["notes"])
    assert "was lost on the server" in notes and "a hole from" in notes
    checks = {verdict.check: verdict for outcome in report.outcomes for verdict in outcome.verdicts}
    assert not checks["continuity"].passed and "log is missing from" in checks["continuity"].message
    state = state_of(crm.cluster)
    late = crm.cluster.ask("SELECT clock_timestamp()")[0][0]
    crm.receive()
    with pytest.raises(RestoreError, match=r"log is missing from [0-9A-F/]+ to [0-9A-F/]+ of timeline 1"):
        crm.restore("late", at(late))
    crm.run("base")
    crm.receive()
    assert position(crm).base_needed == ""  # type: ignore[attr-defined]
    looked = Looked()
    crm.restore("now", Target(), looked)
    assert looked.state == state
    crm.restore("early", at(early), looked)
    assert looked.state == state_early


def test_another_server_under_the_same_name_is_refused(crm: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrai_tests.servers.cluster import fresh_cluster

    crm.cluster.ask(TABLE)
    crm.run("base")
    with fresh_cluster(another=True) as other:
        monkeypatch.setenv("CRM_URL", other.url)
        for stage in ("base", "wal"):
            with pytest.raises(ConfigError, match=r"expected server .* found"):
                crm.run(stage)


def test_what_keeps_a_server_from_being_followed_is_told_whole_before_anything_runs(crm: Followed) -> None:
    cluster = crm.cluster
    cluster.ask("CREATE ROLE reader LOGIN")
    (cluster.folder / "space").mkdir()
    cluster.who.own(cluster.folder / "space")
    cluster.ask(f"CREATE TABLESPACE other LOCATION '{cluster.folder / 'space'}'")
    cluster.stop()
    cluster.start(wal_level="minimal", max_wal_senders="0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRM_URL", cluster.url.replace("user=postgres", "user=reader"))
        (finding, *_) = database_findings(crm.runtime())
        assert not finding.ok
        for word in ("found minimal", "found reader without", "max_wal_senders, found 0", "no tablespaces"):
            assert word in finding.detail
        with pytest.raises(ConfigError, match="found minimal"):
            crm.run("base")
    assert not crm.log()[2] and cluster.ask("SELECT * FROM pg_replication_slots") == []


def test_a_server_that_is_away_costs_nothing_but_time(crm: Followed) -> None:
    crm.cluster.ask(TABLE)
    crm.run("base")
    crm.receive()
    assert position(crm).lost == timedelta()  # type: ignore[attr-defined]
    crm.cluster.stop()
    away = position(crm)
    assert "does not answer" in away.message and away.lost > timedelta()  # type: ignore[attr-defined]
    crm.cluster.start()
    moment, state = work(crm.cluster, random.Random(9))
    behind = position(crm)
    assert behind.behind_bytes > 0 and behind.lost > timedelta()  # type: ignore[attr-defined]
    crm.receive()
    looked = Looked()
    crm.restore("back", at(moment), looked)
    assert looked.state == state


def test_retention_leaves_no_base_without_its_log_and_no_log_that_nobody_needs(crm: Followed) -> None:
    """`keep: {last: 3}`: of four bases three stay, and the log from the oldest base of the window on."""
    crm.cluster.ask(TABLE)
    chance = random.Random(10)
    states = []
    for _ in range(4):
        crm.run("base")
        states.append(work(crm.cluster, chance))
        crm.receive()
    # as if each base had been an hour of its own
    crm.run("retention")
    vault, log, bases = crm.log()
    assert len(bases) == 3
    hours = {f"h{n}": pieces for n, pieces in enumerate([tuple(p for p in log.files if p.end <= b.end) for b in bases])}
    cut = type(log)(log.commit, log.server, log.files, log.histories, log.marks, {**hours, "now": tuple(log.files)})
    later = bases[-1].stopped + timedelta(days=2)
    # every base is older than the window: the newest leads on, and what came before it is not needed
    assert set(needless(cut, bases, timedelta(days=1), later)) >= {"h0", "h1"}
    # the window reaches back to the first base: all behind it stays
    assert "h1" not in needless(cut, bases, timedelta(days=1), bases[0].stopped + timedelta(hours=1))
    trim_log(vault, "shop/crm/base", "shop/crm/wal", timedelta(days=1))
    assert all((reach := log.covered(base)) is not None and reach.hole is None for base in bases)
    for _ in range(2):
        pruning = Pruning(vault, timedelta())
        pruning.apply(pruning.plan())
    looked = Looked()
    moment, state = states[-1]
    crm.restore("kept", at(moment), looked)
    assert looked.state == state
    with pytest.raises(RestoreError, match="expected to reach"):
        crm.restore("gone", at(states[0][0]))


def test_a_drill_compares_every_table_with_what_the_primary_held_there(crm: Followed) -> None:
    crm.cluster.ask(TABLE)
    work(crm.cluster, random.Random(11))
    crm.run("base")
    work(crm.cluster, random.Random(12))
    crm.run("base")
    report = crm.run("drill")
    checks = {verdict.check: verdict for outcome in report.outcomes for verdict in outcome.verdicts}
    assert {name: verdict.passed for name, verdict in checks.items()} == {"proof": True, "rto": True, "rpo": True}
    assert "2 of 2 restores were compared" in checks["proof"].message
    runs = report.facts["runs"]
    assert isinstance(runs, list) and all(run["rows"] > 0 for run in runs)  # type: ignore[index, call-overload, operator]


def test_a_drill_whose_restored_server_differs_or_cannot_run_is_a_failed_proof(
    crm: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrai.backup.wal.recovery import log_drill, recover

    crm.cluster.ask(TABLE)
    crm.run("base")
    real = log_drill.table_sums
    monkeypatch.setattr(log_drill, "table_sums", lambda opened: real(opened) | {"public.orders": (1, "0")})
    (proof, *_) = [v for outcome in crm.run("drill").outcomes for v in outcome.verdicts if v.check == "proof"]
    assert not proof.passed and "rows of sum" in proof.message and "in public.orders" in proof.message

    def absent(*_: object) -> None:
        raise ConfigError("expected postgres of PostgreSQL 15, found none")

    monkeypatch.setattr(recover, "find_programs", absent)
    (proof, *_) = [v for outcome in crm.run("drill").outcomes for v in outcome.verdicts if v.check == "proof"]
    assert not proof.passed and "expected postgres of PostgreSQL 15" in proof.message


def invoke(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words), catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def test_the_commands_take_a_base_receive_show_and_restore(crm: Followed) -> None:
    crm.cluster.ask(TABLE)
    code, text = invoke("backup", "status", "shop/crm", "--json")
    assert code == 1 and json.loads(text)[0]["base_needed"] == "no base backup yet"
    assert invoke("backup", "receive", "shop/crm", "--no-loop")[0] == 0  # which takes the first base
    work(crm.cluster, random.Random(13))
    code, text = invoke("backup", "receive", "shop/crm", "--no-loop", "--json")
    assert code == 0 and json.loads(text)["bytes"] > 0
    code, text = invoke("backup", "status", "--json")
    (status,) = json.loads(text)
    assert code == 0 and status["rpo_seconds"] == 0 and status["behind_bytes"] == 0
    folder = crm.scratch / "cli"
    code, text = invoke("backup", "restore", "shop/crm", "--to", str(folder), "--plan", "--json")
    assert code == 0 and json.loads(text)["plan"]["segments"] > 0 and not folder.exists()
    code, text = invoke("backup", "restore", "shop/crm", "--to", str(folder), "--latest", "--json")
    assert code == 0 and json.loads(text)["tables"]["public.orders"] == state_of(crm.cluster)[0]
    with pytest.raises(ConfigError, match="at most one of"):
        invoke("backup", "restore", "shop/crm", "--to", str(folder), "--latest", "--xid", "7")
    code, text = invoke("report", "--json")
    assert json.loads(text)["pipelines"][0]["databases"][0]["rpo_passed"]


def test_a_recovery_that_is_left_to_a_person_is_one_start_away(crm: Followed) -> None:
    crm.cluster.ask(TABLE)
    crm.run("base")
    moment, state = work(crm.cluster, random.Random(14))
    work(crm.cluster, random.Random(15))
    crm.receive()
    folder = crm.cluster.folder / "left"
    folder.mkdir()
    code, _ = invoke("backup", "restore", "shop/crm", "--to", str(folder / "data"), "--at", moment.isoformat(), "--no-start")
    assert code == 0 and (folder / "data" / "recovery.signal").exists()
    other = Cluster(folder, crm.cluster.programs, crm.cluster.who)
    other.socket.mkdir()
    other.who.own(folder)
    other.start()
    try:
        until(lambda: not other.ask("SELECT pg_is_in_recovery()")[0][0])
        assert state_of(other) == state
    finally:
        other.stop(signal.SIGQUIT)


def test_a_base_restores_alone_to_its_own_moment(crm: Followed) -> None:
    """As an older base does whose log the window has let go."""
    crm.cluster.ask(TABLE)
    work(crm.cluster, random.Random(15))
    state = state_of(crm.cluster)
    crm.run("base")
    vault, log, bases = crm.log()
    vault.commit("shop/crm/wal", {}, drop=[name for name in log.partitions])
    assert read_log(vault, "shop/crm/wal").files == {}
    looked = Looked()
    crm.restore("alone", Target(base=bases[0].commit.snapshot_id), looked)
    assert looked.state == state
    listed = {file.path for file in vault.files(bases[0].commit, DATA)}
    assert "backup_manifest" in listed and any(path.startswith("pg_wal/0") for path in listed)


def test_a_user_who_may_replicate_and_not_read_has_bases_without_a_witness(
    crm: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm.cluster.ask(TABLE)
    crm.cluster.ask("INSERT INTO orders (amount) VALUES (1)")
    crm.cluster.ask("CREATE ROLE follower LOGIN REPLICATION")
    monkeypatch.setenv("CRM_URL", crm.cluster.url.replace("user=postgres", "user=follower"))
    crm.run("base")
    report = crm.run("drill")
    (proof, *_) = [verdict for outcome in report.outcomes for verdict in outcome.verdicts if verdict.check == "proof"]
    assert proof.passed and "0 of 2 restores were compared" in proof.message and "permission denied" in proof.message
    crm.cluster.ask("GRANT pg_read_all_data TO follower")
    crm.run("base")
    (proof, *_) = [v for outcome in crm.run("drill").outcomes for v in outcome.verdicts if v.check == "proof"]
    assert proof.passed and "compared with what every table" in proof.message and "0 of 2" not in proof.message


def test_a_server_that_lets_nobody_replicate_is_told_by_doctor(crm: Followed) -> None:
    hba = crm.cluster.data / "pg_hba.conf"
    hba.write_text("local all all trust\n")
    crm.cluster.ask("SELECT pg_reload_conf()")
    until(lambda: not database_findings(crm.runtime())[0].ok)
    assert "pg_hba.conf" in database_findings(crm.runtime())[0].detail


def copying_or_done(cluster: Cluster, process: BaseProcess) -> bool:
    return bool(cluster.ask("SELECT count(*) FROM pg_stat_progress_basebackup")[0][0]) or not process.is_alive()


def test_a_base_that_is_killed_leaves_nothing_that_counts(crm: Followed) -> None:
    crm.cluster.ask(TABLE)
    crm.run("base")
    crm.cluster.ask("INSERT INTO orders (note) SELECT repeat('k', 500) FROM generate_series(1, 5000)")
    for delay in (0.0, 0.3, 0.6):
        process = forked(lambda: crm.run("base"))
        # from when the server has begun to send, however quick the machine is
        until(partial(copying_or_done, crm.cluster, process))
        time.sleep(delay)
        process.kill()
        process.join()
        _, log, bases = crm.log()
        assert all((reach := log.covered(base)) is not None and reach.hole is None for base in bases)
    state = state_of(crm.cluster)
    crm.receive()
    looked = Looked()
    crm.restore("after", Target(), looked)
    assert looked.state == state


def lingering(folder: Path) -> list[str]:
    """Processes that work below a folder."""
    there = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            there += [process.name] if (process / "cwd").readlink().is_relative_to(folder) else []
        except OSError:
            continue
    return there


def test_a_restore_that_is_killed_leaves_nothing_at_its_place_and_can_be_repeated(crm: Followed) -> None:
    crm.cluster.ask(TABLE)
    crm.run("base")
    work(crm.cluster, random.Random(17))
    crm.receive()
    target = crm.scratch / "again"
    words = ["backup", "restore", "shop/crm", "--to", str(target)]
    work_folder = crm.scratch / ".again.recovering"

    def written() -> int:
        return work_folder.stat().st_mtime_ns if work_folder.exists() else 0

    for delay in (0.0, 0.2):
        before, begun = written(), time.monotonic()
        process = forked(lambda: invoke(*words))
        # from when it has begun to write, however quick the machine is
        while written() == before and time.monotonic() < begun + 60:
            time.sleep(0.005)
        time.sleep(delay)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL and not target.exists()
    until(lambda: not lingering(crm.scratch))
    assert invoke(*words)[0] == 0
    assert [path.name for path in crm.scratch.iterdir()] == ["again"]


def test_a_server_whose_starter_was_killed_before_it_was_bound_does_not_begin() -> None:
    bound = end_with_parent()
    assert bound is not None
    starter = os.fork()
    if starter == 0:
        # what it begins has another parent than the one that is meant, as where that one is gone
        begun = os.fork()
        if begun == 0:
            bound()
            os._exit(7)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(begun, 0)[1]))
    assert os.waitstatus_to_exitcode(os.waitpid(starter, 0)[1]) == 1


def test_a_full_disk_of_the_receiver_is_told_and_loses_nothing(crm: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrai.backup.wal.receiver.spooled_piece import SpooledPiece

    crm.cluster.ask(TABLE)
    crm.run("base")
    moment, state = work(crm.cluster, random.Random(18))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(SpooledPiece, "write", full)
        with pytest.raises(TransientStorageError, match="No space left on device: free its disk, the server keeps the log"):
            crm.receive()
    crm.receive()
    looked = Looked()
    crm.restore("after", at(moment), looked)
    assert looked.state == state


def test_a_byte_that_flips_between_server_and_vault_is_never_gone_on_from(
    crm: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrai.backup.wal.receiver.spooled_piece import SpooledPiece

    crm.cluster.ask(TABLE)
    crm.run("base")
    moment, state = work(crm.cluster, random.Random(19))
    real = SpooledPiece.source

    def flipped(piece: SpooledPiece, segment_bytes: int) -> SourceFile:
        data = bytearray(piece.file.read_bytes())
        data[len(data) // 2] ^= 1
        piece.file.write_bytes(data)
        return real(piece, segment_bytes)

    with monkeypatch.context() as patch:
        patch.setattr(SpooledPiece, "source", flipped)
        with pytest.raises(IntegrityError, match="in the vault as it was received"):
            crm.receive()
    crm.receive()
    looked = Looked()
    crm.restore("after", at(moment), looked)
    assert looked.state == state


def test_what_is_caught_up_can_be_restored_though_the_server_writes_on(
    crm: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log grows between the questions that a receiver asks: it ends at the first, and by then the moment is known."""
    from orchestrai.backup.wal.receiver import receive

    crm.cluster.ask(TABLE)
    crm.run("base")
    moment, state = work(crm.cluster, random.Random(23))
    asked = receive.server_facts

    def growing(*about: str) -> ServerFacts:
        facts = asked(*about)
        crm.cluster.ask("CHECKPOINT")
        work(crm.cluster, random.Random(24))
        return facts

    with monkeypatch.context() as patch:
        patch.setattr(receive, "server_facts", growing)
        crm.receive()
    looked = Looked()
    crm.restore("after", at(moment), looked)
    assert looked.state == state


def test_a_long_hour_has_several_short_lists_and_a_new_process_goes_on_with_the_last(
    crm: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrai.backup.wal.receiver import log_writer

    monkeypatch.setattr(log_writer, "PARTITION_PIECES", 3)
    crm.cluster.ask(TABLE)
    crm.run("base")
    states = []
    for seed in range(7):
        states.append(work(crm.cluster, random.Random(seed)))
        crm.receive()
    _, log, _ = crm.log()
    counts = [len(pieces) for _, pieces in sorted(log.partitions.items())]
    assert len(counts) >= 3 and sum(counts) == len(log.files) and all(counts)
    moment, state = states[3]
    looked = Looked()
    crm.restore("middle", at(moment), looked)
    assert looked.state == state


def answered(cluster: Cluster) -> datetime:
    """When the receiver last said how far it is."""
    return cluster.ask("SELECT coalesce(max(reply_time), 'epoch') FROM pg_stat_replication")[0][0]  # type: ignore[no-any-return]


def test_a_server_that_soon_gives_up_is_answered_and_what_came_before_it_went_is_kept(crm: Followed) -> None:
    """A tick is longer than the server waits for an answer; and it dies before the tick is over."""
    crm.cluster.ask(TABLE)
    crm.run("base")
    crm.cluster.stop()
    crm.cluster.start(wal_sender_timeout="1s")
    runtime = crm.runtime()
    (subject,) = followed(runtime.project.nodes.values())
    source = replace(log_source(subject, runtime.vault, runtime.settings), tick=timedelta(seconds=60))
    receiver, stop, told = Receiver(runtime.vault, source), Event(), list[str]()
    thread = Thread(target=receiver.follow, args=(stop, told.append))
    thread.start()
    try:
        until(lambda: following(crm))
        first = answered(crm.cluster)
        until(lambda: answered(crm.cluster) > first + timedelta(seconds=1.5))
        crm.cluster.ask("INSERT INTO orders (amount) VALUES (21)")
        state, lsn = state_of(crm.cluster), crm.cluster.ask("SELECT pg_current_wal_lsn()::text")[0][0]
        until(lambda: crm.cluster.ask("SELECT bool_or(write_lsn >= %s::pg_lsn) FROM pg_stat_replication", lsn)[0][0])
        assert told == [] and receiver.received.commits == 0
        crm.cluster.stop(signal.SIGQUIT)
        until(lambda: told)
    finally:
        stop.set()
        thread.join()
    assert receiver.received.commits == 1
    looked = Looked()
    crm.restore("end", Target(), looked)
    assert looked.state == state


def test_no_secret_is_on_a_command_line_or_in_an_environment(crm: Followed, tmp_path: Path) -> None:
    cluster, canary = crm.cluster, "hunter2canary"
    cluster.ask(f"CREATE ROLE follower LOGIN REPLICATION PASSWORD '{canary}'")
    log = tmp_path / "seen"
    tools = tmp_path / "tools"
    shutil.copytree(cluster.programs.folder, tools, symlinks=True, ignore=lambda *_: ["pg_basebackup"])
    fake = tools / "pg_basebackup"
    fake.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exec {cluster.programs.path("pg_basebackup")} --version\n'
        f'{{ echo "$@"; env; }} > {log}\nexit 1\n'
    )
    fake.chmod(0o755)
    declared = crm.home.parent / "pipelines" / "shop" / "pipeline.yaml"
    declared.write_text(declared.read_text().replace("rpo: 3s", f"rpo: 3s, tools: {tools}"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRM_URL", cluster.url.replace("user=postgres", f"user=follower&password={canary}"))
        with pytest.raises(StorageError, match="pg_basebackup to succeed"):
            crm.run("base")
    assert canary not in log.read_text() and "--manifest-checksums=SHA256" in log.read_text()
