"""Connections by name: two regions, two accounts and two identities in one process, each reached by its own."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import AccessRefused, ConfigError, StorageError, TransientStorageError
from orchestrai.ledger.signing import Signer, load_or_create_signer
from orchestrai.storage.cloud.access import caller
from orchestrai.storage.cloud.access.aws_access import forget_roles
from orchestrai.storage.cloud.access.caller import forget_callers
from orchestrai.storage.cloud.aws import aws_client
from orchestrai.storage.url import open_store
from orchestrai.vault.replica.replicate import replicate
from orchestrai.vault.vault import Vault
from orchestrai_tests.servers.accounts import account_server
from orchestrai_tests.servers.azurite import ACCOUNT, KEY, AzuriteServer, azurite_server
from orchestrai_tests.servers.gcs import GcsServer
from orchestrai_tests.servers.process import ServerAbsent
from orchestrai_tests.servers.region import RegionServer, region_server
from orchestrai_tests.servers.s3 import S3Server
from orchestrai_tests.vault.contents import files

Write = Any
SECOND_KEY = "U2Vjb25kU2Vjb25kU2Vjb25kU2Vjb25kU2Vjb25kU2Vjb25kU2Vjb25kU2Vjb25kU2Vjb25kU2Vjb25kU2Vjbw=="


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes the project file in force."""
    for name in (
        "AWS_ENDPOINT_URL",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_PROFILE",
    ):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "orchestrai.yaml"
    monkeypatch.setenv("ORCHESTRAI_PROJECT", str(path))

    def write(text: str) -> Path:
        path.write_text(text, encoding="utf-8")
        return path

    write("")
    return write


@pytest.fixture
def regions(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[RegionServer, RegionServer]]:
    """Two regions, each of another account, that answer only what is signed for them."""
    for name in ("IRELAND", "FRANKFURT"):
        monkeypatch.setenv(f"{name}_ID", f"AKIA{name}")
        monkeypatch.setenv(f"{name}_SECRET", "secret")
    with contextlib.ExitStack() as stack:
        here = stack.enter_context(region_server(moto, "eu-west-1", "AKIAIRELAND"))
        there = stack.enter_context(region_server(moto, "eu-central-1", "AKIAFRANKFURT"))
        yield here, there


def keys(name: str) -> str:
    return f"{{access_key: {{id: env://{name}_ID, secret: env://{name}_SECRET}}}}"


def two_regions(here: RegionServer, there: RegionServer, vault: str, replica: str) -> str:
    return f"""
connections:
  here: {{cloud: aws, region: eu-west-1, endpoint: "{here.endpoint}", identity: {keys("IRELAND")}, covers: ["s3://{vault}"]}}
  there: {{cloud: aws, region: eu-central-1, endpoint: "{there.endpoint}", identity: {keys("FRANKFURT")}, covers: ["s3://{replica}"]}}
"""


@pytest.mark.emulator
def test_a_vault_and_its_replica_in_another_region_and_account_are_both_reached(
    project: Write, regions: tuple[RegionServer, RegionServer], tmp_path: Path
) -> None:
    here, there = regions
    source, target = here.bucket(), there.bucket()
    project(two_regions(here, there, source, target))
    signer: Signer = load_or_create_signer(tmp_path / "keys")
    vault = Vault(open_store(f"s3://{source}/vault"), signer)
    vault.commit("d", {"2026-01-01": files(a=b"one"), "2026-01-02": files(b=b"two")})
    copied = replicate(vault, open_store(f"s3://{target}/vault"))
    assert copied.copied > 2 and copied.verified.ok
    # nothing was refused on the way, and each side saw its own account and region alone
    assert {(key, region, status) for key, region, status in here.seen} == {("AKIAIRELAND", "eu-west-1", 200)}
    assert {(key, region, status) for key, region, status in there.seen} == {("AKIAFRANKFURT", "eu-central-1", 200)}
    # the control plane goes the same way
    control = open_store(f"s3+there://{target}/vault").control_plane()  # type: ignore[attr-defined]
    assert next(control.versions("")).key
    assert there.seen[-1] == ("AKIAFRANKFURT", "eu-central-1", 200)


@pytest.mark.emulator
def test_a_url_that_is_signed_for_another_region_says_which_one_and_is_not_tried_again(
    project: Write, regions: tuple[RegionServer, RegionServer]
) -> None:
    here, there = regions
    bucket = there.bucket()
    wrong = two_regions(here, there, "other", bucket).replace("region: eu-central-1", "region: eu-west-3")
    project(wrong)
    with pytest.raises(StorageError, match="eu-central-1") as caught:
        open_store(f"s3://{bucket}/x").write("k", b"v")
    assert not isinstance(caught.value, TransientStorageError)
    assert len([seen for seen in there.seen if seen[2] == 400]) == 1
    # botocore goes where it is sent
    assert list(open_store(f"s3://{bucket}/x").control_plane().versions("")) == []  # type: ignore[attr-defined]
    assert there.seen[-1][1:] == ("eu-central-1", 200)


@pytest.mark.emulator
def test_a_role_that_is_not_given_is_told_as_that_and_not_as_the_stores_refusal(
    project: Write, regions: tuple[RegionServer, RegionServer]
) -> None:
    here, _ = regions
    forget_roles()
    role = "arn:aws:iam::123456789012:role/reader"
    project(
        f"connections: {{here: {{cloud: aws, region: eu-west-1, endpoint: '{here.endpoint}', default: true, identity: "
        f"{{role: '{role}', access_key: {{id: env://FRANKFURT_ID, secret: env://FRANKFURT_SECRET}}}}}}}}\n"
    )
    with pytest.raises(AccessRefused, match=f"to assume {role}"):
        open_store("s3://bucket/x").read("k")
    assert {status for _, _, status in here.seen} == {403}


@pytest.mark.emulator
def test_the_declared_account_is_asked_for_once_a_process_before_anything_is_done(
    project: Write, moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_callers()
    monkeypatch.setenv("IRELAND_ID", moto.access_key)
    monkeypatch.setenv("IRELAND_SECRET", moto.secret_key)
    bucket, asked = moto.bucket(), []
    ask = caller._aws

    def counted(connection: Any) -> caller.Caller:
        asked.append(connection.account)
        return ask(connection)

    monkeypatch.setattr(caller, "_aws", counted)

    def declare(account: str) -> None:
        project(
            f"connections: {{here: {{cloud: aws, region: us-east-1, endpoint: '{moto.endpoint}', account: '{account}', default: true, "
            f"identity: {keys('IRELAND')}}}}}\n"
        )

    declare("210987654321")
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"account 210987654321, found .*123456789012"):
            open_store(f"s3://{bucket}/x").write("k", b"v", create=True)
    with pytest.raises(ConfigError, match="account 210987654321"):
        aws_client("sqs", region="us-east-1")
    assert len(asked) == 3, "what was refused is asked again"
    declare("123456789012")
    for _ in range(2):
        open_store(f"s3://{bucket}/x").write("k", b"v")
    aws_client("sqs", region="us-east-1")
    assert asked[3:] == ["123456789012"]


@pytest.mark.emulator
def test_a_url_that_names_a_connection_is_reached_by_it_whatever_covers_it(
    project: Write, regions: tuple[RegionServer, RegionServer]
) -> None:
    here, there = regions
    bucket = here.bucket()
    project(two_regions(here, there, bucket, "other"))
    open_store(f"s3+there://{bucket}/x").write("k", b"v")
    assert there.seen and not here.seen
    assert open_store(f"s3://{bucket}/x").read("k") == b"v" and here.seen
    with pytest.raises(ConfigError, match="connections here, there"):
        open_store(f"s3+nowhere://{bucket}/x")


def azure_project(one: AzuriteServer, account: str) -> str:
    other = one.endpoint.replace(ACCOUNT, account)
    return f"""
connections:
  first:
    {{cloud: azure, account: {ACCOUNT}, endpoint: "{one.endpoint}", identity: {{account_key: env://FIRST_KEY}},
     covers: ["abfss://{ACCOUNT}.dfs.core.windows.net"]}}
  second:
    {{cloud: azure, account: {account}, endpoint: "{other}", identity: {{account_key: env://SECOND_KEY}},
     covers: ["abfss://{account}.dfs.core.windows.net"]}}
"""


@pytest.fixture(scope="module")
def two_accounts() -> Iterator[AzuriteServer]:
    """Azurite with two accounts, each with a key of its own."""
    keys = f"{ACCOUNT}:{KEY};acmesecond:{SECOND_KEY}"
    try:
        with azurite_server({"AZURITE_ACCOUNTS": keys}) as server:
            yield server
    except ServerAbsent as exc:
        pytest.skip(str(exc))


@pytest.mark.emulator
def test_two_accounts_of_azure_are_each_signed_for_by_their_own_key(
    project: Write, two_accounts: AzuriteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRST_KEY", KEY)
    monkeypatch.setenv("SECOND_KEY", SECOND_KEY)
    project(azure_project(two_accounts, "acmesecond"))
    stores = []
    for account, key in ((ACCOUNT, KEY), ("acmesecond", SECOND_KEY)):
        server = replace(two_accounts, endpoint=two_accounts.endpoint.replace(ACCOUNT, account), account=account, key=key)
        stores.append(open_store(f"abfss://{server.container()}@{account}.dfs.core.windows.net/x"))
    for number, store in enumerate(stores):
        store.write("k", b"%d" % number)
        control = store.control_plane()  # type: ignore[attr-defined]
        assert [info.key for info in control.objects("")] == ["k"]
        # signed for the source by the same key
        assert control.copy(control, "k", "copy").key == "copy"
    assert [store.read("copy") for store in stores] == [b"0", b"1"]
    monkeypatch.setenv("SECOND_KEY", KEY)
    with pytest.raises(AccessRefused):
        open_store(stores[1].url).read("k")


def test_the_key_of_one_account_never_signs_for_another(project: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    project("connections:\n  a: {cloud: azure, account: first, identity: {account_key: env://K}, default: true}\n")
    monkeypatch.setenv("K", KEY)
    with pytest.raises(ConfigError, match=r"account first, found second"):
        open_store("abfss://container@second.dfs.core.windows.net/x")
    # nor does that of the environment
    project("")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "first")
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    options: Any = open_store("abfss://container@second.dfs.core.windows.net/x").base.backend.options  # type: ignore[attr-defined]
    assert options.account_key is None
    assert open_store("az://container/x").base.backend.options.reveal("account_key") == KEY  # type: ignore[attr-defined]


@pytest.mark.emulator
def test_two_service_accounts_of_google_enter_each_its_own_bucket_with_one_token(
    project: Write, gcs: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with account_server(gcs) as server:
        buckets = {name: server.bucket(f"{name}@acme.iam.gserviceaccount.com") for name in ("items", "shop")}
        declared = "connections:\n"
        for name, bucket in buckets.items():
            monkeypatch.setenv(f"{name.upper()}_KEY", server.service_account(f"{name}@acme.iam.gserviceaccount.com"))
            declared += (
                f"  {name}: {{cloud: gcp, project: acme-items, endpoint: '{server.endpoint}', covers: ['gs://{bucket}'],"
                f" identity: {{service_account: env://{name.upper()}_KEY}}}}\n"
            )
        project(declared)
        for name, bucket in buckets.items():
            store = open_store(f"gs://{bucket}/x")
            store.write("k", name.encode())
            for _ in range(5):
                # opened anew, as each poll of a landing does
                assert open_store(f"gs://{bucket}/x").read("k") == name.encode()
            assert [version.key for version in store.control_plane().versions("")] == ["k"]  # type: ignore[attr-defined]
        assert server.refused == 0
        # one token for each account, whoever needs it and however often
        assert sorted(server.issued) == [f"{name}@acme.iam.gserviceaccount.com" for name in ("items", "shop")]
        with pytest.raises(AccessRefused):
            open_store(f"gs+items://{buckets['shop']}/x").read("k")


@pytest.mark.emulator
def test_a_federated_workload_reaches_the_data_plane_and_the_control_plane(
    project: Write, gcs: GcsServer, tmp_path: Path
) -> None:
    with account_server(gcs) as server:
        token, account = tmp_path / "token", tmp_path / "account.json"
        token.write_text("subject-of-the-cluster")
        account.write_text(server.external_account(str(token)))
        bucket = server.bucket("subject-of-the-cluster")
        project(
            f"connections:\n  a: {{cloud: gcp, project: acme-items, endpoint: '{server.endpoint}', default: true, identity: "
            f"{{external_account: '{account}'}}}}\n"
        )
        store = open_store(f"gs://{bucket}/x")
        store.write("k", b"v")
        assert store.read("k") == b"v"
        assert [version.key for version in store.control_plane().versions("")] == ["k"]  # type: ignore[attr-defined]
        assert server.refused == 0 and set(server.issued) == {"subject-of-the-cluster"}
