"""Least privilege, simulated: moto judges each request by the very policies that Terraform gives the roles."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

POLICIES = Path(__file__).resolve().parents[2] / "deploy" / "policies"
ROLES = sorted(path.stem for path in POLICIES.glob("*.json"))
BUCKETS = {"lake": "t-lake", "vault": "t-vault", "landing": "t-landing"}
Clients = Callable[[str], Any]


def policy(role: str) -> str:
    """As templatefile() fills it in."""
    text = (POLICIES / f"{role}.json").read_text()
    for name, bucket in BUCKETS.items():
        text = text.replace(f"${{{name}}}", bucket)
    assert "${" not in text
    return text


@pytest.fixture(scope="module")
def clients() -> Iterator[Clients]:
    """S3 as each role sees it; requests are judged once the stores are made."""
    import boto3
    import moto.settings
    from moto import mock_aws
    from moto.core.authorization import ActionAuthenticatorMixin

    before = moto.settings.INITIAL_NO_AUTH_ACTION_COUNT
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name, value in {
            "AWS_ACCESS_KEY_ID": "root",
            "AWS_SECRET_ACCESS_KEY": "root",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        iam, s3 = boto3.client("iam"), boto3.client("s3")
        for bucket in BUCKETS.values():
            s3.create_bucket(Bucket=bucket, **({"ObjectLockEnabledForBucket": True} if bucket.endswith("vault") else {}))
            for key in (
                "heads/a/000000000001.json",
                "data/x",
                "work/sessions/s.json",
                "vault/keylog/1.json",
                "exports/e.json",
                "recalls/r.json",
            ):
                s3.put_object(Bucket=bucket, Key=key, Body=b"x")
        made = {}
        for role in ROLES:
            iam.create_user(UserName=role)
            iam.put_user_policy(UserName=role, PolicyName=role, PolicyDocument=policy(role))
            key = iam.create_access_key(UserName=role)["AccessKey"]
            made[role] = boto3.client(
                "s3", aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"]
            )
        moto.settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
        counted, ActionAuthenticatorMixin.request_count = ActionAuthenticatorMixin.request_count, 0
        try:
            yield made.__getitem__
        finally:
            moto.settings.INITIAL_NO_AUTH_ACTION_COUNT, ActionAuthenticatorMixin.request_count = before, counted


def allowed(client: Any, action: str, bucket: str, key: str) -> bool:
    """Whether a request of this kind is let through."""
    from botocore.exceptions import ClientError

    place = {"Bucket": BUCKETS[bucket], "Key": key}
    rule = {"ID": "a", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: client.get_object(**place),
        "put": lambda: client.put_object(**place, Body=b"y"),
        "delete": lambda: client.delete_object(**place),
        "list": lambda: client.list_objects_v2(Bucket=place["Bucket"]),
        "unversion": lambda: client.put_bucket_versioning(
            Bucket=place["Bucket"], VersioningConfiguration={"Status": "Suspended"}
        ),
        "expire": lambda: client.put_bucket_lifecycle_configuration(
            Bucket=place["Bucket"], LifecycleConfiguration={"Rules": [rule]}
        ),
    }  # fmt: skip
    try:
        calls[action]()
    except ClientError as exc:
        assert exc.response["Error"]["Code"] in ("AccessDenied", "InvalidBucketState", "NoSuchKey"), exc
        return exc.response["Error"]["Code"] != "AccessDenied"
    return True


# what each role may do with what lies where: get, put, delete
MAY = {
    "ingest": {"landing data/x": "g", "lake data/x": "gpd", "vault data/x": "g", "vault heads/a/000000000001.json": "gp"},
    "vault_writer": {"landing data/x": "", "lake data/x": "gpd", "vault data/x": "gp", "vault work/sessions/s.json": "gpd"},
    "restorer": {"landing data/x": "", "lake data/x": "gp", "vault data/x": "g", "vault heads/a/000000000001.json": "g"},
    "pruner": {
        "lake data/x": "gp",
        "vault data/x": "gd",
        "vault work/sessions/s.json": "gpd",
        "vault vault/keylog/1.json": "g",
        "vault exports/e.json": "g",
        "vault recalls/r.json": "g",
    },
    "auditor": {"landing data/x": "", "lake data/x": "g", "vault data/x": "g", "vault heads/a/000000000001.json": "g"},
}
ACTIONS = {"get": "s3:GetObject", "put": "s3:PutObject", "delete": "s3:DeleteObject"}


def permitted(role: str, action: str, arn: str) -> bool:
    """By IAM's own rule: an explicit denial wins, else what is allowed; an evaluator beside moto's, from the documentation."""
    verdict = False
    for statement in json.loads(policy(role))["Statement"]:
        matches = any(_like(pattern, action) for pattern in statement["Action"]) and any(
            _like(p, arn) for p in statement["Resource"]
        )
        if matches and statement["Effect"] == "Deny":
            return False
        verdict = verdict or matches
    return verdict


def _like(pattern: str, text: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text) is not None


@pytest.mark.emulator
@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_do_its_work_and_nothing_else(clients: Clients, role: str) -> None:
    for place, granted in MAY[role].items():
        bucket, key = place.split(" ")
        arn = f"arn:aws:s3:::{BUCKETS[bucket]}/{key}"
        # what moto lets through is what IAM's own rule says, too
        assert "".join(action[0] for action, name in ACTIONS.items() if permitted(role, name, arn)) == granted, place
        assert "".join(action[0] for action in ACTIONS if allowed(clients(role), action, bucket, key)) == granted, place


@pytest.mark.emulator
@pytest.mark.parametrize("role", ROLES)
def test_nobody_weakens_the_vault(clients: Clients, role: str) -> None:
    client = clients(role)
    assert not allowed(client, "unversion", "vault", "")
    assert not allowed(client, "expire", "vault", "")
    vault = "arn:aws:s3:::t-vault"
    for action in (
        "s3:BypassGovernanceRetention",
        "s3:PutBucketObjectLockConfiguration",
        "s3:DeleteBucket",
        "s3:PutBucketPolicy",
    ):
        assert not permitted(role, action, vault) and not permitted(role, action, f"{vault}/data/x")


@pytest.mark.emulator
def test_a_vault_writer_cannot_delete_and_a_restorer_cannot_write(clients: Clients) -> None:
    writer, restorer, auditor = clients("vault_writer"), clients("restorer"), clients("auditor")
    for key in ("data/x", "heads/a/000000000001.json", "vault/keylog/1.json"):
        assert not allowed(writer, "delete", "vault", key)
        assert not allowed(restorer, "put", "vault", key) and not allowed(restorer, "delete", "vault", key)
        for bucket in BUCKETS:
            assert not allowed(auditor, "put", bucket, key) and not allowed(auditor, "delete", bucket, key)
    assert not permitted(
        "vault_writer", "s3:DeleteObjectVersion", "/".join(["arn:aws:s3:::t-vault", "work", "sessions", "s.json"])
    )


@pytest.mark.parametrize("role", ROLES)
def test_no_policy_allows_everything_of_anything(role: str) -> None:
    for statement in json.loads(policy(role))["Statement"]:
        assert not any("*" in action for action in statement["Action"])
        assert not any(resource in ("*", "arn:aws:s3:::*") for resource in statement["Resource"])
    assert len(policy(role)) < 6_144
