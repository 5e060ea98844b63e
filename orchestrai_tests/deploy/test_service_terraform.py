"""Terraform's own evaluation of what the services' policies are filled in with, without a provider: the same as what the tests judge."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from orchestrai_tests.deploy.test_service_policies import GIVEN, POLICIES, ROLES, SOURCES, policy

AWS = POLICIES.parents[1] / "terraform" / "aws"
FAR = f"arn:aws:backup:{GIVEN['copy_region']}:{GIVEN['copy_account']}:backup-vault:{GIVEN['copy_vault']}"
DECLARED: dict[str, Any] = {
    "sagemaker": {"names": GIVEN["names"], "output": GIVEN["output"], "role_arn": GIVEN["role"]},
    "managed_backup": {
        "vault": GIVEN["backup_vault"],
        "restored": GIVEN["restored"],
        "sources": SOURCES,
        "role_arn": GIVEN["role"],
        "copy_to": FAR,
    },
    "emr_serverless": {"application_id": GIVEN["application"], "exchange": GIVEN["exchange"], "role_arn": GIVEN["role"]},
    "redshift": {"workgroup_id": GIVEN["workgroup"], "staging": GIVEN["staging"]},
}


def evaluated(folder: Path, **variables: Any) -> tuple[dict[str, Any], str]:
    """The policies that Terraform fills in for these variables, by role; or why it refuses them."""
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed")
    text = (AWS / "services.tf").read_text()
    local = text[text.index("locals {") : text.index('resource "aws_iam_role" ')]
    for name, value in (("data.aws_region.here.region", "region"), ("data.aws_caller_identity.here.account_id", "account")):
        local = local.replace(name, json.dumps(GIVEN[value]))
    role = text[text.index("templatefile(") : text.index("local.given[each.value])") + len("local.given[each.value])")]
    role = role.replace("each.value", "name").replace("${path.module}/../../policies", str(POLICIES.parent))
    folder.mkdir()
    (folder / "main.tf").write_text(
        f'{local}\noutput "policies" {{\n  value = {{ for name in local.services : name => {role} }}\n}}\n'
    )
    shutil.copy(AWS / "variables.tf", folder)
    given = {
        "name": "shop-production",
        "oidc_provider_arn": "arn:aws:iam::1:oidc-provider/x",
        "oidc_issuer": "x",
        **variables,
    }
    (folder / "terraform.tfvars.json").write_text(json.dumps(given))

    def terraform(*words: str) -> subprocess.CompletedProcess[str]:
        # it would ask its maker for a newer version
        env = {**os.environ, "CHECKPOINT_DISABLE": "1", "TF_CLI_ARGS": ""}
        command = ["terraform", f"-chdir={folder}", *words]
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)

    done = terraform("apply", "-auto-approve", "-input=false", "-no-color")
    if done.returncode:
        return {}, done.stderr
    shown = terraform("output", "-json", "policies")
    assert shown.returncode == 0, shown.stderr
    return {name: json.loads(text) for name, text in json.loads(shown.stdout).items()}, ""


def test_terraform_fills_in_what_is_judged_and_makes_no_role_that_is_not_declared(tmp_path: Path) -> None:
    found, refused = evaluated(tmp_path / "all", **DECLARED)
    assert found == {role: policy(role) for role in ROLES}, refused
    assert evaluated(tmp_path / "none") == ({}, "")
    here = {**DECLARED["managed_backup"], "copy_to": None}
    found, _ = evaluated(tmp_path / "here", managed_backup=here)
    assert {*found} == {"managed_backup", "restore_tester"}
    assert GIVEN["copy_account"] not in json.dumps(found)


@pytest.mark.parametrize(
    ("variable", "member", "value"),
    [
        ("sagemaker", "names", "*"),
        ("sagemaker", "output", "t-lake"),
        ("sagemaker", "role_arn", "arn:aws:iam::123456789012:role/*"),
        ("managed_backup", "vault", "*"),
        ("managed_backup", "restored", ""),
        ("managed_backup", "sources", []),
        ("emr_serverless", "exchange", "t-lake/*"),
        ("redshift", "workgroup_id", "*"),
        ("redshift", "staging", "t-lake"),
    ],
)
def test_terraform_refuses_what_would_widen_a_policy(tmp_path: Path, variable: str, member: str, value: Any) -> None:
    found, refused = evaluated(tmp_path / "wide", **{variable: {**DECLARED[variable], member: value}})
    assert found == {} and "Invalid value for variable" in refused, refused
