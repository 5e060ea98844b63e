"""What deploy/ ships is what it says: an image that runs as nobody, services on loopback alone, values and Terraform that fit."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type

from orchestrai.defs.launch.named_coordinator import NamedRunCoordinator
from orchestrai.errors import ConfigError
from orchestrai.pipeline.instance.instance_options import InstanceOptions, instance_options
from orchestrai.settings import Settings, load_settings, variables
from orchestrai_tests.deploy.test_policies import MAY

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if str(service["image"]).startswith("orchestrai:")}
SETTINGS = {f"ORCHESTRAI_{name.upper()}" for name in Settings.__dataclass_fields__}
PINNED = re.compile(r"^[\w./-]+:v?(RELEASE\.)?\d[\w.:-]*\.?\w*$")


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, in order, with lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def test_the_image_is_built_in_two_stages_from_pinned_bases_and_runs_as_nobody() -> None:
    steps = instructions()
    bases = [text.split()[0] for word, text in steps if word == "FROM"]
    assert len(bases) == 2 and all(PINNED.match(base) for base in bases)
    last = [text for word, text in steps if word == "USER"][-1]
    assert last == "10001:10001"
    # nothing is done as root after that, and the lock is asked for its hashes
    assert [word for word, _ in steps][-5:] == ["USER", "WORKDIR", "VOLUME", "ENTRYPOINT", "CMD"]
    assert "--require-hashes -r requirements.run.lock -r image.lock" in (DEPLOY / "Dockerfile").read_text()
    copied = {source for word, text in steps if word == "COPY" and "--from" not in text for source in text.split()[:-1]}
    allowed = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    # what is copied is let into the build, and there
    assert copied <= allowed and all((ROOT / path).exists() for path in copied)


def pins_of(*paths: Path) -> dict[str, str]:
    return {
        name: version
        for path in paths
        for name, version in re.findall(r"^([a-z0-9][\w.-]*)(?:\[[^\]]*\])?==(\S+)", path.read_text(), flags=re.MULTILINE)
    }


def test_the_lock_of_the_image_is_what_it_has_beside_the_lock_of_runs_and_both_are_a_part_of_the_project_s() -> None:
    own, runs = pins_of(DEPLOY / "image.lock"), pins_of(ROOT / "requirements.run.lock")
    assert own and not {*own} & {*runs}, "a version stands in one place"
    image, project = {**runs, **own}, pins_of(ROOT / "requirements.lock")
    assert {name: project[name] for name in image if name in project} == {n: v for n, v in image.items() if n in project}
    # what launchers add, which no test needs installed
    assert {"dagster-k8s", "kubernetes"} <= {*image} - {*project} and len({*image} - {*project}) < 10
    assert "pytest" not in image and {"dagster-postgres", "psycopg2-binary"} <= {*own}


def test_pins_that_two_locks_disagree_on_are_told(tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    whole.write_text("a==1 \\\n    --hash=sha256:00\n    # via b\nb[x]==2 \\\n    --hash=sha256:11\n")
    part.write_text("a==1 \\\n    --hash=sha256:00\n")
    run = [sys.executable, str(DEPLOY / "pins.py"), str(whole), str(part)]
    assert subprocess.run(run, capture_output=True, text=True).stdout == "b[x]==2 \\\n    --hash=sha256:11\n"
    part.write_text("a==3\n")
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode and "expected one version of a" in done.stderr and not done.stdout


def test_services_of_ours_are_confined_and_hold_no_secret() -> None:
    assert {"code", "webserver", "viewer", "daemon", "metrics", "instance"} == {*OURS}
    assert "--read-only" in OURS["viewer"]["command"] and "--read-only" not in OURS["webserver"]["command"]
    for name, service in OURS.items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        settings = {key for key in service["environment"] if key.startswith("ORCHESTRAI_")}
        assert settings <= SETTINGS, name
    for name, service in COMPOSE["services"].items():
        assert PINNED.match(str(service["image"])) or str(service["image"]).endswith(":local"), name
        # the proxy alone is there for others, and only where somebody asks for it
        assert name == "proxy" or all(str(port).startswith("127.0.0.1:") for port in service.get("ports", ())), name
        assert ("profiles" in service) == (name == "proxy"), name
        for key, value in (service.get("environment") or {}).items():
            assert (
                not re.search("PASSWORD|SECRET|TOKEN", key)
                or key.endswith("_FILE")
                or str(value).startswith("/run/secrets/")
            ), key
        assert {*service.get("secrets", ())} <= {*COMPOSE["secrets"]}, name
        assert {*service.get("depends_on", ())} <= {*COMPOSE["services"]}, name
    mounted = {
        volume.split(":")[0]
        for service in COMPOSE["services"].values()
        for volume in service.get("volumes", ())
        if "../" in volume
    }
    assert mounted and all((DEPLOY / "compose" / path).resolve().exists() for path in mounted)
    InstanceOptions(database=COMPOSE["services"]["code"]["environment"]["ORCHESTRAI_INSTANCE_DB"])


def test_the_secrets_of_compose_are_made_once_and_for_nobody_else(tmp_path: Path) -> None:
    script = tmp_path / "secrets.sh"
    shutil.copy(DEPLOY / "compose" / "secrets.sh", script)
    subprocess.run(["sh", str(script)], check=True)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    # those of the proxy come from whoever exposes it: its provider's, and a certificate
    assert {*made} == {*COMPOSE["secrets"]} - {*COMPOSE["services"]["proxy"]["secrets"]} and all(made.values())
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    assert made["postgres_password"] in made["instance_db"] and made["minio_password"] in made["aws_credentials"]
    subprocess.run(["sh", str(script)], check=True)
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == made


def test_values_of_the_chart_speak_of_this_release_and_of_known_settings() -> None:
    values = yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text())
    version = pins_of(ROOT / "requirements.run.lock")["dagster"]
    assert f"--version {version} " in (DEPLOY / "helm" / "values.yaml").read_text()
    assert values["postgresql"]["postgresqlScheme"] == "postgresql+psycopg2"
    (code,) = values["dagster-user-deployments"]["deployments"]
    given = {entry["name"]: entry["value"] for entry in code["env"]}
    assert {*given} <= SETTINGS
    # the home goes with the pod, so the witness is elsewhere, and not in the vault
    assert given["ORCHESTRAI_HOME"].startswith("/tmp/") and given["ORCHESTRAI_WITNESS"].startswith("s3://")
    assert given["ORCHESTRAI_WITNESS"] != given["ORCHESTRAI_VAULT_URL"] and values["dagsterWebserver"]["enableReadOnly"]
    queue = values["dagsterDaemon"]["runCoordinator"]["config"]["customRunCoordinator"]
    taken = process_config(resolve_to_config_type(NamedRunCoordinator.config_type()), queue["config"])
    assert queue["class"] == NamedRunCoordinator.__name__ and queue["module"] == NamedRunCoordinator.__module__
    assert taken.success and queue["config"]["user_header"] == given["ORCHESTRAI_USER_HEADER"], taken.errors
    for part in (values["dagsterWebserver"], values["dagsterDaemon"], code):
        assert part["podSecurityContext"]["runAsNonRoot"] and not part["securityContext"]["allowPrivilegeEscalation"]
    assert values["dagsterDaemon"]["runMonitoring"]["maxRuntimeSeconds"] == 14_400


CLOUDS = ("aws", "azure", "gcp")


def terraform(folder: Path) -> str:
    return "\n".join(re.sub(r"^\s*#.*$", "", path.read_text(), flags=re.MULTILINE) for path in sorted(folder.glob("*.tf")))


@pytest.mark.parametrize("folder", ["aws", "aws/bucket", "azure", "gcp"])
def test_terraform_declares_what_it_names_and_uses_what_it_declares(folder: str) -> None:
    text = terraform(DEPLOY / "terraform" / folder)
    declared = {*re.findall(r'^variable "(\w+)"', text, flags=re.MULTILINE)}
    assert {*re.findall(r"\bvar\.(\w+)", text)} == declared
    assert {*re.findall(r"\blocal\.(\w+)", text)} <= {*re.findall(r"^  (\w+) +=", text, flags=re.MULTILINE)}
    blocks = {f"{kind}.{name}" for kind, name in re.findall(r'^resource "(\w+)" "(\w+)"', text, flags=re.MULTILINE)}
    blocks |= {f"data.{kind}.{name}" for kind, name in re.findall(r'^data "(\w+)" "(\w+)"', text, flags=re.MULTILINE)}
    # what a block was called before it was moved is declared no more
    now = re.sub(r"^  from = .*$", "", text, flags=re.MULTILINE)
    named = {
        f"{data}{kind}.{name}"
        for data, kind, name in re.findall(r"(?<![\w\"./])(data\.)?((?:aws|azurerm|google)_\w+)\.(\w+)", now)
    }
    assert named and named <= blocks, named - blocks
    modules = {*re.findall(r'^module "(\w+)"', text, flags=re.MULTILINE)}
    assert {*re.findall(r"\bmodule\.(\w+)", text)} == modules


@pytest.mark.parametrize("cloud", CLOUDS)
def test_each_cloud_has_the_roles_that_are_simulated_a_replica_a_queue_a_key_and_a_registry(cloud: str) -> None:
    text = terraform(DEPLOY / "terraform" / cloud)
    roles = re.search(r"roles\s*=\s*toset\(\[(.*?)\]\)", text)
    assert roles is not None and {*json.loads(f"[{roles[1]}]")} == {
        path.stem for path in (DEPLOY / "policies").glob("*.json")
    }
    needed = {
        "aws": ("aws_s3_bucket_replication_configuration", "enable_key_rotation", "aws_sqs_queue", "aws_ecr_repository"),
        "azure": ("azurerm_storage_object_replication", "rotation_policy", "azurerm_storage_queue", "azurerm_container_registry",
                  "immutability_policy", "shared_access_key_enabled       = false"),
        "gcp": ("google_storage_transfer_job", "rotation_period", "google_pubsub_subscription", "google_artifact_registry_repository",
                'enable_object_retention = each.key == "vault"', "uniform_bucket_level_access"),
    }[cloud]  # fmt: skip
    assert all(name in text for name in needed), [name for name in needed if name not in text]
    outputs = (DEPLOY / "terraform" / cloud / "outputs.tf").read_text()
    assert {*re.findall(r"ORCHESTRAI_\w+", outputs)} <= SETTINGS and "ORCHESTRAI_VAULT_URL" in outputs


@pytest.mark.parametrize("cloud", ["azure", "gcp"])
def test_grants_of_the_other_clouds_give_no_more_than_the_policies_that_are_simulated(cloud: str) -> None:
    text = terraform(DEPLOY / "terraform" / cloud)
    grants = [
        (role, store, can, json.loads(f"[{within}]"))
        for role, store, can, within in re.findall(
            r'role = "(\w+)", (?:account|bucket) = "(\w+)", can = "(\w+)", within = \[(.*?)\]', text
        )
    ]
    assert {role for role, *_ in grants} == {path.stem for path in (DEPLOY / "policies").glob("*.json")}
    letters = {"read": "g", "add": "p", "remove": "d", "work": "gpd"}
    for role, places in MAY.items():
        for place, may in places.items():
            store, key = place.split(" ")
            given = {
                letter
                for one, where, can, within in grants
                if one == role and where == store and (not within or any(key.startswith(prefix) for prefix in within))
                for letter in letters[can]
            }
            # a pruner's bytes lie under vault/ by name, where the policies of S3 name what it may not delete
            assert given == {*may} or (role, key) == ("pruner", "data/x"), (role, place, given, may)
    removes = [(role, within) for role, store, can, within in grants if store == "vault" and can in ("remove", "work")]
    assert {role for role, _ in removes} == {"vault_writer", "pruner"} and all(within for _, within in removes)
    for prefix in ("heads/", "receipts/", "vault/keylog/", "vault/census/", "recalls/", "exports/", "erasures/"):
        assert not any(prefix.startswith(start) or start.startswith(prefix) for _, within in removes for start in within)


def test_terraform_of_aws_gives_the_policies_and_keeps_the_vault() -> None:
    text = terraform(DEPLOY / "terraform" / "aws")
    asked = {name for path in (DEPLOY / "policies").glob("*.json") for name in re.findall(r"\$\{(\w+)\}", path.read_text())}
    given = re.search(r"buckets = \{(.*?)\}\n", text)
    assert given is not None and asked <= {*re.findall(r"(\w+) =", given[1])}
    assert re.search(r'lock_mode\s+= each.key == "vault" \? var.lock_mode : ""', text)
    assert 'ReplicateDelete"' not in text and 'delete_marker_replication { status = "Disabled" }' in text
    bucket = terraform(DEPLOY / "terraform" / "aws" / "bucket")
    assert re.search(r'object_lock_enabled = var.lock_mode != ""', bucket) and 'status = "Enabled"' in bucket
    # a bucket is said once
    assert not re.search(r'resource "aws_s3_bucket(_versioning|_public_access_block)?" ', text)


def test_terraform_s_own_formatter_reads_every_file() -> None:
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed")
    done = subprocess.run(
        ["terraform", "fmt", "-check", "-diff", "-recursive", str(DEPLOY / "terraform")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("setting", "module", "name"), [
    ("s3://logs/dagster", "dagster_aws.s3", "S3ComputeLogManager"), ("gs://logs", "dagster_gcp.gcs", "GCSComputeLogManager"),
    ("az://account/container/p", "dagster_azure.blob", "AzureBlobComputeLogManager"),
])  # fmt: skip
def test_compute_logs_by_setting_are_what_dagsters_own_classes_take(setting: str, module: str, name: str) -> None:
    from importlib import import_module

    section = yaml.safe_load(InstanceOptions(compute_logs=setting).logs_section())["compute_logs"]
    assert (section["module"], section["class"]) == (module, name)
    checked = process_config(resolve_to_config_type(getattr(import_module(module), name).config_type()), section["config"])
    assert checked.success, checked.errors


def test_the_ecs_launcher_by_setting_is_what_dagsters_own_class_takes() -> None:
    section = yaml.safe_load(InstanceOptions(launcher="ecs").launcher_section())["run_launcher"]
    from dagster_aws.ecs import EcsRunLauncher

    assert (section["module"], section["class"]) == ("dagster_aws.ecs", EcsRunLauncher.__name__)
    assert InstanceOptions().launcher_section() == ""


def test_a_proxy_s_header_by_setting_names_people_through_dagster_s_own_queue() -> None:
    section = yaml.safe_load(InstanceOptions(user_header="X-Forwarded-User").coordinator_section)["run_coordinator"]
    assert section["class"] == NamedRunCoordinator.__name__ and section["config"] == {"user_header": "X-Forwarded-User"}
    assert process_config(resolve_to_config_type(NamedRunCoordinator.config_type()), section["config"]).success
    assert InstanceOptions().coordinator_section == ""
    with pytest.raises(ConfigError, match="ORCHESTRAI_USER_HEADER"):
        InstanceOptions(user_header="X: y")


def test_a_run_in_a_container_is_given_every_setting_that_is_set_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster's launcher ends a run for a variable that it is to pass on and that is not set."""
    for name in variables():
        monkeypatch.delenv(name, raising=False)
    given = {
        "ORCHESTRAI_LAKE_URL": "s3://lake/",
        "ORCHESTRAI_WITNESS": "s3://witness/",
        "ORCHESTRAI_RUN_LAUNCHER": "docker:img:1",
    }
    for name, value in {**given, "DAGSTER_PG_URL": "postgresql://somewhere/dagster"}.items():
        monkeypatch.setenv(name, value)
    section = yaml.safe_load(instance_options(load_settings()).launcher_section())["run_launcher"]
    assert set(section["config"]["env_vars"]) == {*given, "DAGSTER_PG_URL"}


@pytest.mark.parametrize("launcher", ["docker:img:1", "k8s:registry/img:1"])
def test_other_launchers_by_setting_name_their_image(launcher: str) -> None:
    kind, _, image = launcher.partition(":")
    section = yaml.safe_load(InstanceOptions(launcher=launcher).launcher_section())["run_launcher"]
    assert image in section["config"].values()
    module = pytest.importorskip(section["module"], reason=f"the extra {kind} is not installed")
    checked = process_config(resolve_to_config_type(getattr(module, section["class"]).config_type()), section["config"])
    assert checked.success, checked.errors


@pytest.mark.thorough("test_the_image_is_built_in_two_stages_from_pinned_bases_and_runs_as_nobody")
def test_the_steps_of_the_image_give_a_command_that_runs(tmp_path: Path) -> None:
    """The entry point's own text in a home of its own; the packages are those of this environment, whose pins the lock's are a part of."""
    shell = (DEPLOY / "entrypoint.sh").read_text()
    assert 'exec "$@"' in shell
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    environment = {"PATH": path, "ORCHESTRAI_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", str(DEPLOY / "entrypoint.sh"), "sh", "-c", 'test -f "$DAGSTER_HOME/dagster.yaml" && orchestrai metrics'],
        env=environment, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "orchestrai_scrape_cpu_seconds" in done.stdout


@pytest.mark.parametrize(("tool", "arguments"), [
    ("hadolint", ["deploy/Dockerfile", "deploy/proxy/Dockerfile"]),
    ("shellcheck", ["deploy/entrypoint.sh", "deploy/compose/secrets.sh", ".ci/run"]),
])  # fmt: skip
def test_linters_of_deployment_files_find_nothing(tool: str, arguments: list[str]) -> None:
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"{tool} is not installed: pip install {tool}-py")
    done = subprocess.run([found, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
