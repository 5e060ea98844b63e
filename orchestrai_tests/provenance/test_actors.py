"""Who did it is who the machine knows: the user of the process, or whom the proxy names; a name of one's own is a claim."""

import base64
import json
from functools import partial
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest
from dagster._core.events.log import EventLogEntry
from dagster._core.run_coordinator import SubmitRunContext
from typer.testing import CliRunner

from orchestrai.cli.app import app
from orchestrai.core.actor import Actor, acting, os_user, said_by
from orchestrai.core.verdict import Verdict
from orchestrai.defs.launch.named_coordinator import USER_TAG, NamedRunCoordinator, actor_of
from orchestrai.errors import ConfigError, IntegrityError
from orchestrai.ledger.ledger import Ledger
from orchestrai.observability.alerts.alert_changes import Policy
from orchestrai.observability.alerts.alert_desk import AlertDesk
from orchestrai.observability.alerts.alert_settings import Tellers
from orchestrai.observability.alerts.wording import Wording
from orchestrai.provenance.audit_trail import Event, trail
from orchestrai.provenance.verified_records import Records
from orchestrai.storage.base import Store
from orchestrai_tests.observability.hooks import NOW, seen, silent
from orchestrai_tests.producers import producer

RAW = "churn/orders/raw_events"


def publish(ledger: Ledger, asset: str = RAW, day: str = "2026-01-01") -> None:
    session = ledger.session(asset, producer("raw_events"))
    session.add_bytes(day, "a.bin", day.encode(), rows=1)
    session.commit({day: [Verdict("schema", True)]})


def events(ledger: Ledger) -> list[Event]:
    assert ledger.vault is not None
    return trail(Records(ledger.vault, ledger.keyring))


def test_a_receipt_says_who_and_from_where_and_the_trail_tells_it(ledger: Ledger) -> None:
    with acting(Actor("ann", "os user", "command line")):
        publish(ledger)
    with acting(Actor("bob@example.org", "proxy", "dagster", claimed="root")):
        publish(ledger, day="2026-01-02")
    publish(ledger, day="2026-01-03")
    first, second, third = events(ledger)
    key = f"key {ledger.signer.key_id}"
    assert (first.who, first.interface) == (f"ann (os user; {key})", "command line")
    assert (second.who, second.interface) == (f"bob@example.org (proxy, claims to be root; {key})", "dagster")
    assert (third.who, third.interface) == (key, "")


def test_a_name_of_one_s_own_is_believed_only_where_nobody_is_known() -> None:
    assert said_by("ann", "root", "uid 0") == "root (claims to be ann)"
    assert said_by(None, "root", "uid 0") == said_by("root", "root", "uid 0") == "root"
    assert said_by("ann", "", "uid 7") == "ann" and said_by(None, "", "uid 7") == "uid 7"


def test_who_acts_is_asked_once_and_only_when_something_is_signed(ledger: Ledger) -> None:
    asked: list[int] = []

    def actor() -> Actor:
        asked.append(1)
        return Actor("arn:aws:sts::1:assumed-role/ingest/ann", "cloud identity", "command line")

    with acting(actor):
        pass
    assert not asked
    with acting(actor):
        publish(ledger)
        publish(ledger, day="2026-01-02")
    assert len(asked) == 1
    assert {event.who.partition(" (")[::2][0] for event in events(ledger)} == {"arn:aws:sts::1:assumed-role/ingest/ann"}


def token_of(claims: dict[str, str]) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{body}.c2ln"


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"upn": "ann@example.org", "oid": "1", "appid": "2"}, "ann@example.org"),
        ({"appid": "app-7", "oid": "1"}, "app-7"),
        ({"oid": "1"}, "1"),
        ({}, ""),
    ],
)
def test_azure_s_token_says_whose_it_is(claims: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrai.storage.cloud import azure, caller_identity
    from orchestrai.storage.cloud.rest import AccessToken

    monkeypatch.setattr(azure, "fetch_token", lambda scope: AccessToken(token_of(claims)))
    caller_identity.caller_identity.cache_clear()
    if name:
        assert caller_identity.caller_identity("azure") == name
    else:
        with pytest.raises(ConfigError, match="that name who has them"):
            caller_identity.caller_identity("azure")
    caller_identity.caller_identity.cache_clear()
    assert caller_identity.claims_of("opaque") == caller_identity.claims_of("a.b.c") == {}


def test_google_s_account_is_the_person_and_a_token_without_one_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    import httpx

    from orchestrai.storage.cloud import caller_identity, google
    from orchestrai.storage.cloud.rest import AccessToken

    for account, name in (
        ("ingest@p.iam.gserviceaccount.com", "ingest@p.iam.gserviceaccount.com"),
        ("default", "ann@example.org"),
    ):
        held = SimpleNamespace(service_account_email=account)
        monkeypatch.setattr(google, "default_credentials", lambda held=held: held)
        monkeypatch.setattr(google, "fetch_token", lambda: AccessToken("t0ken"))
        monkeypatch.setattr(httpx, "post", lambda url, **sent: httpx.Response(200, json={"email": "ann@example.org"}))
        caller_identity.caller_identity.cache_clear()
        assert caller_identity.caller_identity("google") == name
    caller_identity.caller_identity.cache_clear()


def test_sts_says_whose_keys_these_are_and_a_name_of_one_s_own_stays_a_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    from moto import mock_aws

    from orchestrai.cli.lookup import this_user
    from orchestrai.storage.cloud.caller_identity import caller_identity

    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "ORCHESTRAI_IDENTITY": "aws"}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    caller_identity.cache_clear()
    with mock_aws():
        assert this_user() == "arn:aws:sts::123456789012:user/moto"
        assert this_user("root") == "arn:aws:sts::123456789012:user/moto (claims to be root)"
    caller_identity.cache_clear()


def test_the_environment_does_not_say_who_somebody_is(monkeypatch: pytest.MonkeyPatch) -> None:
    known = os_user()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "SUDO_USER"):
        monkeypatch.setenv(name, "somebody-else")
    assert os_user() == known != "somebody-else"


def test_an_alert_that_was_taken_on_is_in_the_trail(ledger: Ledger) -> None:
    desk = AlertDesk(ledger, Tellers(Policy(), {}, Wording()))
    desk.observe(seen(silent()))
    desk.acknowledge(desk.outbox().alerts[0].condition.id, "ann", "on it", NOW)
    desk.deliver(NOW)
    (told,) = events(ledger)
    assert (told.action, told.subject, told.why) == ("alert taken on", "churn/orders", "on it")
    assert told.who.startswith("ann (key ")
    assert ledger.vault is not None
    ledger.vault.delete("alerts/000000000001.json")
    with pytest.raises(IntegrityError, match="one is missing"):
        events(ledger)


@dg.job
def nightly() -> None:
    """Nothing to do."""


class Web:
    """A request as Dagster's webserver hands it on."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers


@pytest.mark.parametrize(
    ("given", "header", "person"), [("", "ann", "ann"), ("root", "ann", "ann"), ("root", "", None), ("", "", None)]
)
def test_the_proxy_names_who_launched_a_run_and_a_tag_of_one_s_own_does_not(
    given: str, header: str, person: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides: dict[str, Any] = {
        "run_coordinator": {"module": "orchestrai.defs.launch.named_coordinator", "class": "NamedRunCoordinator"}
    }
    monkeypatch.setattr(
        SubmitRunContext, "get_request_header", lambda self, key: {"X-Forwarded-User": header}.get(key) or None
    )
    with dg.instance_for_test(overrides=overrides) as instance:
        coordinator = instance.run_coordinator
        assert isinstance(coordinator, NamedRunCoordinator)
        run = instance.create_run_for_job(
            nightly, tags={USER_TAG: given} if given else {}, status=dg.DagsterRunStatus.NOT_STARTED
        )
        monkeypatch.setattr(
            dg._core.run_coordinator.QueuedRunCoordinator, "submit_run", lambda self, context: context.dagster_run
        )
        coordinator.submit_run(SubmitRunContext(run, workspace=None))  # type: ignore[arg-type]
        tagged = instance.get_run_by_id(run.run_id)
        assert tagged is not None
        # whoever executes a run without the queue gives it what tags he likes
        past = actor_of(tagged, instance)
        assert (past.person, past.known_by, past.claimed) == (os_user(), "os user", person or "")
        event = dg.DagsterEvent(dg.DagsterEventType.RUN_ENQUEUED.value, run.job_name)
        instance.event_log_storage.store_event(
            EventLogEntry(None, 10, "", run.run_id, 0.0, job_name="nightly", dagster_event=event)
        )
        actor = actor_of(tagged, instance)
        assert (actor.person, actor.known_by) == ((person, "proxy") if person else (os_user(), "os user"))
    with dg.DagsterInstance.ephemeral() as plain:
        claimed = dg.DagsterRun("nightly", tags={USER_TAG: "root", "dagster/schedule_name": "nightly_backup"})
        told = actor_of(claimed, plain)
        assert (told.person, told.known_by, told.claimed) == ("nightly_backup", "schedule", "root")


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["trail", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout


def test_the_command_filters_exports_and_verifies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrai.ledger.ledger import open_ledger
    from orchestrai.settings import load_settings

    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path))
    ledger = open_ledger(load_settings())
    for day, person in (("2026-01-01", "ann"), ("2026-01-02", "bob"), ("2026-01-03", "ann")):
        with acting(Actor(person, "os user", "command line")):
            publish(ledger, day=day)
    assert [one["what"][:10] for one in json.loads(run("--who", "ann", "--json")[1])] == ["2026-01-01", "2026-01-03"]
    assert json.loads(run("--who", "an", "--json")[1]) == json.loads(run("--asset", "churn/ord", "--json")[1]) == []
    assert len(json.loads(run("--subject", "churn/orders", "--json")[1])) == 3
    assert run("export", str(tmp_path / "t.jsonl"), "--who", "bob")[0] == 0
    (line,) = (tmp_path / "t.jsonl").read_text().splitlines()
    assert json.loads(line)["interface"] == "command line" and json.loads(line)["record"].startswith("heads/")
    for expected in ((3, 3), (3, 0)):
        code, text = run("verify", "--json")
        report = json.loads(text)
        assert code == 0 and (report["entries"], report["read"]) == expected
    assert json.loads(run("verify", "--full", "--json")[1])["read"] == 3
    publish(ledger, day="2026-01-04")
    assert json.loads(run("verify", "--json")[1])["read"] == 1


@pytest.mark.parametrize(
    ("damage", "full", "told"),
    [
        ("cut", False, "cut off"),
        ("cut", True, "cut off"),
        ("change the last", False, "found it changed"),
        ("change an early one", True, "expected a DSSE envelope"),
        ("leave one out", True, "found none"),
        ("leave one out later", False, "behind a gap"),
        ("forge the next", False, "expected"),
    ],
)
def test_what_was_done_to_a_trail_is_found(damage: str, full: bool, told: str, ledger: Ledger, tmp_path: Path) -> None:
    from orchestrai.provenance.verify.trail_check import check_trail

    for day in range(1, 5):
        publish(ledger, day=f"2026-01-{day:02d}")
    publish(ledger, "churn/clicks/raw_events")
    store = ledger.vault
    assert store is not None
    first = check_trail(store, ledger.keyring, tmp_path / "seen", ledger.signer)
    assert first.ok and (first.logs, first.entries, first.read) == (2, 5, 5)
    key = f"heads/{RAW}/{{:012d}}.json"
    if damage == "cut":
        store.delete(key.format(4))
    elif damage == "leave one out":
        store.delete(key.format(2))
    elif damage == "leave one out later":
        publish(ledger, day="2026-01-05")
        publish(ledger, day="2026-01-06")
        store.delete(key.format(5))
    elif damage == "forge the next":
        store.write(key.format(5), store.read(key.format(4)))
    else:
        number = 4 if damage == "change the last" else 1
        store.write(key.format(number), store.read(key.format(number)).replace(b'"sig":"', b'"sig":"A'))
    report = check_trail(store, ledger.keyring, tmp_path / "seen", ledger.signer, full=full)
    assert not report.ok and report.problems[0].startswith(f"{RAW}: ") and told in report.problems[0], report.problems
    assert not check_trail(store, ledger.keyring, tmp_path / "seen", ledger.signer, full=full).ok, (
        "what is wrong is not remembered as sound"
    )


class Counted:
    """A store that counts what is read of it."""

    def __init__(self, store: Store) -> None:
        self.store, self.reads, self.looks = store, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def read(self, key: str, **how: Any) -> bytes:
        self.reads += 1
        return self.store.read(key, **how)

    def head(self, key: str, **how: Any) -> Any:
        self.looks += 1
        return self.store.head(key, **how)

    def list(self, prefix: str = "", **how: Any) -> Any:
        self.looks += 1
        return self.store.list(prefix, **how)


def test_a_second_look_at_folders_reads_one_entry_a_log_and_looks_up_no_other(tmp_path: Path) -> None:
    from orchestrai.ledger.signing import load_or_create_signer
    from orchestrai.provenance.verify.trail_check import check_trail
    from orchestrai.storage.local import LocalStore

    signer = load_or_create_signer(tmp_path / "keys")
    ledger = Ledger(LocalStore(tmp_path / "lake"), signer, signer.keyring())
    for asset in (RAW, "churn/clicks/raw_events", f"{RAW}/under"):
        publish(ledger, asset)
    store = Counted(ledger.lake)
    look = partial(check_trail, cast(Store, store), ledger.keyring, tmp_path / "seen", ledger.signer)
    assert (look().read, look().logs) == (3, 3)
    store.reads = store.looks = 0
    assert look().ok and (store.reads, store.looks) == (3, 0)
    publish(ledger, day="2026-01-02")
    publish(ledger, "churn/new/raw_events")
    assert (look().read, look().logs) == (2, 4)
    ledger.lake.write("heads/churn/strange/raw_events/first.json", b"{}")
    assert "churn/strange/raw_events" in look().problems[0], "a log of other names alone is none that nobody sees"
    ledger.lake.delete("heads/churn/strange/raw_events/first.json")
    # far behind a gap, where a few names more would not be enough
    ledger.lake.write(f"heads/{RAW}/{900:012d}.json", b"{}")
    assert "behind a gap" in look().problems[0]


def test_a_second_look_costs_what_is_new_and_believes_its_own_key_alone(ledger: Ledger, tmp_path: Path) -> None:
    from orchestrai.ledger.signing import new_signer
    from orchestrai.provenance.verify.trail_check import check_trail

    for day in range(1, 25):
        publish(ledger, day=f"2026-01-{day:02d}")
    assert ledger.vault is not None
    store, seen = Counted(ledger.vault), tmp_path / "seen"
    look = partial(check_trail, cast(Store, store), ledger.keyring, seen)
    assert look(ledger.signer).read == 24
    store.reads = 0
    assert look(ledger.signer).read == 0 and store.reads == 1
    publish(ledger, day="2026-01-25")
    assert look(ledger.signer).read == 1
    (point,) = seen.iterdir()
    kept = point.read_bytes()
    # by another key, by none, altered, of before: each is a look at everything
    stranger = new_signer()
    assert look(stranger).read == 25 and look(ledger.signer).read == 25
    assert look(None).read == 25 and look(ledger.signer).read == 0
    point.write_bytes(kept.replace(b'"sig":"', b'"sig":"A'))
    assert look(ledger.signer).read == 25
    point.write_bytes(b'{"store": "x", "logs": {}}')
    assert look(ledger.signer).read == 25
    first = json.loads(base64.b64decode(json.loads(kept)["payload"]))
    assert (first["number"], len(first["previous"])) == (3, 64)
