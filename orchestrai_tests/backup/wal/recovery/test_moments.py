"""A real server followed into the vault and restored to moments, transactions, positions and named points."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta

import psycopg
import pytest

from orchestrai.backup.wal.recovery import recover as recover_module
from orchestrai.backup.wal.recovery import scratch_server
from orchestrai.backup.wal.recovery.recovery_plan import Target
from orchestrai.backup.wal.recovery.scratch_server import Recovered
from orchestrai.errors import IntegrityError, RestoreError, TransientStorageError
from orchestrai_tests.backup.wal.conftest import Followed, forked, until
from orchestrai_tests.servers.cluster import Cluster

pytestmark = pytest.mark.emulator
TABLE = "CREATE TABLE orders (id bigserial PRIMARY KEY, amount numeric, note text)"
SUM = "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text FROM orders t"
EXAMPLES = int(os.environ.get("ORCHESTRAI_TEST_MOMENTS", "6"))
State = tuple[int, str]


def state_of(cluster: Cluster) -> State:
    count, digest = cluster.ask(SUM)[0]
    return int(count), str(digest)


def work(cluster: Cluster, chance: random.Random) -> tuple[datetime, State]:
    """Some random writes in one transaction; the moment after it, and what is there then."""
    with psycopg.connect(cluster.url) as opened:
        for _ in range(chance.randrange(1, 4)):
            match chance.randrange(4):
                case 0 | 1:
                    rows = chance.randrange(1, 400)
                    text = chance.choice(["", "x" * 300])
                    opened.execute(
                        f"INSERT INTO orders (amount, note) SELECT n * 1.5, '{text}' FROM generate_series(1, {rows}) n"
                    )
                case 2:
                    opened.execute(f"UPDATE orders SET note = note || 'y' WHERE id % 7 = {chance.randrange(7)}")
                case 3:
                    opened.execute(f"DELETE FROM orders WHERE id % 11 = {chance.randrange(11)}")
    # a commit's time and a moment of the same microsecond would leave open which of them was first
    time.sleep(0.001)
    moment = cluster.ask("SELECT clock_timestamp()")[0][0]
    time.sleep(0.001)
    return moment, state_of(cluster)


class Looked:
    """What a restored server held."""

    state: State = (-1, "")

    def __call__(self, server: Recovered) -> None:
        count, digest = server.ask(SUM)
        self.state = int(count), str(digest)


def at(moment: datetime) -> Target:
    return Target("time", moment.isoformat(), moment)


def test_a_server_is_restored_to_a_moment_a_transaction_a_position_and_a_named_point(crm: Followed) -> None:
    cluster = crm.cluster
    cluster.ask(TABLE)
    report = crm.run("base")
    assert not report.refused and report.facts["snapshot_id"]
    wanted: dict[str, tuple[Target, State]] = {}
    chance = random.Random(1)
    moment, state = work(cluster, chance)
    wanted["time"] = at(moment), state
    with psycopg.connect(cluster.url) as opened:
        opened.execute("INSERT INTO orders (amount) VALUES (7)")
        row = opened.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
        assert row is not None
    wanted["xid"] = Target("xid", str(row[0]), number=row[0]), state_of(cluster)
    work(cluster, chance)
    cluster.ask("SELECT pg_create_restore_point('before the migration')")
    wanted["name"] = Target("name", "before the migration"), state_of(cluster)
    cluster.ask("DELETE FROM orders")
    work(cluster, chance)
    crm.receive()
    wanted["latest"] = Target(), state_of(cluster)
    for name, (target, state) in wanted.items():
        looked = Looked()
        done = crm.restore(name, target, looked)
        assert (name, looked.state) == (name, state)
        assert done.timeline == 2 and done.seconds < 60
        # stopped, and nothing of the trial left; nobody but its owner reads it
        assert not (done.folder / "postmaster.pid").exists() and not (done.folder / "recovery.signal").exists()
        assert done.folder.stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in crm.scratch.iterdir()) == sorted(wanted)
    with pytest.raises(RestoreError, match="found one: restore elsewhere"):
        crm.restore("latest", Target())


def test_a_moment_that_is_not_covered_is_refused_with_what_is(crm: Followed) -> None:
    crm.cluster.ask(TABLE)
    crm.run("base")
    moment, _ = work(crm.cluster, random.Random(2))
    crm.receive()
    for wrong in (moment - timedelta(hours=1), moment + timedelta(hours=1)):
        with pytest.raises(RestoreError, match=r"expected to reach .* from base [0-9a-f]{12}: choose a target within that"):
            crm.restore("no", at(wrong))
    assert list(crm.scratch.iterdir()) == []


def test_a_moment_after_the_last_commit_is_the_end_of_the_log(crm: Followed) -> None:
    crm.cluster.ask(TABLE)
    crm.run("base")
    work(crm.cluster, random.Random(3))
    state = state_of(crm.cluster)
    quiet = crm.cluster.ask("SELECT clock_timestamp() + interval '1 millisecond'")[0][0]
    time.sleep(0.1)
    crm.receive()
    looked = Looked()
    crm.restore("quiet", at(quiet), looked)
    assert looked.state == state


@pytest.mark.thorough("three targets of one workload")
def test_at_random_moments_of_a_random_workload_the_restored_state_is_the_recorded_one(crm: Followed) -> None:
    chance = random.Random(20)
    crm.cluster.ask(TABLE)
    crm.run("base")
    recorded = []
    for step in range(EXAMPLES * 2):
        recorded.append(work(crm.cluster, chance))
        if chance.random() < 0.4:
            crm.receive()
        if step in (EXAMPLES // 2, EXAMPLES):
            crm.run("base")
    crm.receive()
    seconds = []
    for number, (moment, state) in enumerate(chance.sample(recorded, EXAMPLES)):
        looked = Looked()
        seconds.append(crm.restore(str(number), at(moment), looked).seconds)
        assert looked.state == state
    assert max(seconds) < 60


def following(crm: Followed) -> bool:
    return bool(crm.cluster.ask("SELECT count(*) FROM pg_replication_slots WHERE active")[0][0])


def receiver(crm: Followed) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", "from orchestrai.cli import main; main()", "backup", "receive", "shop/crm"]
    return subprocess.Popen(command, stderr=(crm.home.parent / "receiver.log").open("ab"), stdout=subprocess.DEVNULL)


def test_a_receiver_that_is_killed_goes_on_where_the_vault_ends(crm: Followed) -> None:
    """Killed at random moments of its work, it leaves no hole; told to stop, it commits what came and ends with code 0."""
    chance = random.Random(4)
    crm.cluster.ask(TABLE)
    crm.run("base")
    kills = min(int(os.environ.get("ORCHESTRAI_TEST_KILLS", "2")), 3)
    for _ in range(kills):
        process = forked(lambda: crm.receiver().follow(threading.Event(), print))
        until(lambda: following(crm))
        # a tick is a second: some die before it is over
        deadline = time.monotonic() + 0.2 + chance.random()
        while time.monotonic() < deadline:
            work(crm.cluster, chance)
            time.sleep(0.05)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        until(lambda: not following(crm))
    process = receiver(crm)
    moment, state = work(crm.cluster, chance)
    until(lambda: crm.log()[1].mark_after(moment) is not None)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    _, log, bases = crm.log()
    (reach,) = [log.covered(base) for base in bases]
    assert reach is not None and reach.hole is None and log.files
    looked = Looked()
    crm.restore("after", at(moment), looked)
    assert looked.state == state


def test_a_flipped_byte_is_refused_by_the_name_of_its_file(crm: Followed) -> None:
    crm.cluster.ask(TABLE)
    crm.run("base")
    work(crm.cluster, random.Random(5))
    crm.receive()
    vault, state, bases = crm.log()
    pieces = [file for piece, file in state.files.items() if piece.start > bases[0].end]
    tables = [file for file in vault.files(bases[0].commit, "data") if file.path.startswith("base/") and file.size]
    for number, file in enumerate((pieces[0], tables[7])):
        path = vault.store.local_path(file.key)
        assert path is not None
        whole = path.read_bytes()
        broken = bytearray(whole)
        # of a frame any byte, of what lies as it is one of its own
        broken[max(file.offset, 0) + (file.length // 2 if file.compressed else file.at + file.size // 2)] ^= 1
        path.chmod(0o600)
        path.write_bytes(broken)
        with pytest.raises(IntegrityError) as caught:
            crm.restore(str(number), Target())
        assert file.path in str(caught.value) or file.key in str(caught.value)
        assert list(crm.scratch.iterdir()) == []
        path.write_bytes(whole)
    assert crm.restore("sound", Target()).tables


def test_a_second_receiver_does_not_disturb_the_first(crm: Followed) -> None:
    crm.cluster.ask(TABLE)
    crm.run("base")
    stop = threading.Event()
    thread = threading.Thread(target=crm.receiver().follow, args=(stop, print))
    thread.start()
    try:
        until(lambda: following(crm))
        with pytest.raises(TransientStorageError, match="found one: it does the work"):
            crm.receive()
        # the asset is published beside it
        assert not crm.run("wal").refused
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()


def test_a_server_that_answers_and_goes_on_recovering_is_given_up_in_the_end(
    crm: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one whose recovery pauses at its target: it takes connections, and is not done."""
    crm.run("base")
    real = recover_module._settings
    paused = {"hot_standby": "on", "recovery_target": "immediate", "recovery_target_action": "pause"}
    monkeypatch.setattr(recover_module, "_settings", lambda *given: real(*given) | paused)
    monkeypatch.setattr(scratch_server, "PATIENCE", 1.0)
    with pytest.raises(RestoreError, match="to have recovered within 1 s, found it in recovery: choose a base"):
        crm.restore("paused", Target())
    assert list(crm.scratch.iterdir()) == []
