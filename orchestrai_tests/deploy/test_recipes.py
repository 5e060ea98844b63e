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

from orchestrai.pipeline.instance.instance_options import InstanceOptions, instance_options
from orchestrai.settings import Settings, load_settings, variables

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
    assert "--require-hashes -r image.lock" in (DEPLOY / "Dockerfile").read_text()
    copied = {source for word, text in steps if word == "COPY" and "--from" not in text for source in text.split()[:-1]}
    allowed = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    # what is copied is let into the build, and there
    assert copied <= allowed and all((ROOT / path).exists() for path in copied)


def test_the_lock_of_the_image_is_a_part_of_the_lock_of_the_project() -> None:
    pins = [
        dict(re.findall(r"^([a-z0-9][\w.-]*)==(\S+)", path.read_text(), flags=re.MULTILINE))
        for path in (DEPLOY / "image.lock", ROOT / "requirements.lock")
    ]
    image, project = pins
    assert image and {name: project[name] for name in image if name in project} == {
        n: v for n, v in image.items() if n in project
    }
    # what launchers add, which no test needs installed
    assert {"dagster-k8s", "kubernetes"} <= {*image} - {*project} and len({*image} - {*project}) < 10
    assert "pytest" not in image and "dagster-postgres" in image and "psycopg2-binary" in image


def test_services_of_ours_are_confined_and_hold_no_secret() -> None:
    assert {"code", "webserver", "daemon", "metrics", "instance"} == {*OURS}
    for name, service in OURS.items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        settings = {key for key in service["environment"] if key.startswith("ORCHESTRAI_")}
        assert settings <= SETTINGS, name
    for name, service in COMPOSE["services"].items():
        assert PINNED.match(str(service["image"])) or str(service["image"]) == "orchestrai:local", name
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", ())), name
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
    assert {*made} == {*COMPOSE["secrets"]} and all(made.values())
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    assert made["postgres_password"] in made["instance_db"] and made["minio_password"] in made["aws_credentials"]
    subprocess.run(["sh", str(script)], check=True)
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == made


def test_values_of_the_chart_speak_of_this_release_and_of_known_settings() -> None:
    values = yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text())
    lock = (DEPLOY / "image.lock").read_text()
    version = re.search(r"^dagster==(\S+)", lock, flags=re.MULTILINE)
    assert version is not None and f"--version {version[1]} " in (DEPLOY / "helm" / "values.yaml").read_text()
    assert values["postgresql"]["postgresqlScheme"] == "postgresql+psycopg2"
    (code,) = values["dagster-user-deployments"]["deployments"]
    assert {entry["name"] for entry in code["env"]} <= SETTINGS
    for part in (values["dagsterWebserver"], values["dagsterDaemon"], code):
        assert part["podSecurityContext"]["runAsNonRoot"] and not part["securityContext"]["allowPrivilegeEscalation"]
    assert values["dagsterDaemon"]["runMonitoring"]["maxRuntimeSeconds"] == 14_400


def test_terraform_uses_the_policies_that_are_simulated_and_keeps_the_vault() -> None:
    text = (DEPLOY / "terraform" / "aws" / "main.tf").read_text()
    roles = re.search(r"roles\s*=\s*toset\(\[(.*?)\]\)", text)
    assert roles is not None and {*json.loads(f"[{roles[1]}]")} == {
        path.stem for path in (DEPLOY / "policies").glob("*.json")
    }
    asked = {name for path in (DEPLOY / "policies").glob("*.json") for name in re.findall(r"\$\{(\w+)\}", path.read_text())}
    given = re.search(r"buckets = \{(.*?)\}\n", text)
    assert given is not None and asked <= {*re.findall(r"(\w+) =", given[1])}
    for needed in (
        'object_lock_enabled = each.key == "vault"',
        "aws_s3_bucket_replication_configuration",
        "enable_key_rotation",
    ):
        assert needed in text
    assert 'ReplicateDelete"' not in text and 'delete_marker_replication { status = "Disabled" }' in text
    declared = {*re.findall(r'variable "(\w+)"', (DEPLOY / "terraform" / "aws" / "variables.tf").read_text())}
    assert {*re.findall(r"var\.(\w+)", text)} == declared
    names = {*re.findall(r'resource "(aws_\w+)" "(\w+)"', text)}
    used = {*re.findall(r"\b(aws_\w+)\.(\w+)\b", re.sub(r"^\s*(resource|data) .*$", "", text, flags=re.MULTILINE))}
    assert {pair for pair in used if pair[0] not in ("aws_iam_policy_document",)} - {("aws", "replica")} <= names
    # braces of each file close
    for path in (DEPLOY / "terraform" / "aws").glob("*.tf"):
        assert path.read_text().count("{") == path.read_text().count("}"), path.name


@pytest.mark.parametrize(("setting", "module", "name"), [
    ("s3://logs/dagster", "dagster_aws.s3", "S3ComputeLogManager"), ("gs://logs", "dagster_gcp.gcs", "GCSComputeLogManager"),
    ("az://account/container/p", "dagster_azure.blob", "AzureBlobComputeLogManager"),
])  # fmt: skip
def test_compute_logs_by_setting_are_what_dagsters_own_classes_take(setting: str, module: str, name: str) -> None:
    from importlib import import_module

    from dagster._config import process_config, resolve_to_config_type

    section = yaml.safe_load(InstanceOptions(compute_logs=setting).logs_section())["compute_logs"]
    assert (section["module"], section["class"]) == (module, name)
    checked = process_config(resolve_to_config_type(getattr(import_module(module), name).config_type()), section["config"])
    assert checked.success, checked.errors


def test_the_ecs_launcher_by_setting_is_what_dagsters_own_class_takes() -> None:
    section = yaml.safe_load(InstanceOptions(launcher="ecs").launcher_section())["run_launcher"]
    from dagster_aws.ecs import EcsRunLauncher

    assert (section["module"], section["class"]) == ("dagster_aws.ecs", EcsRunLauncher.__name__)
    assert InstanceOptions().launcher_section() == ""


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
    from dagster._config import process_config, resolve_to_config_type

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
    ("hadolint", ["deploy/Dockerfile"]), ("shellcheck", ["deploy/entrypoint.sh", "deploy/compose/secrets.sh", ".ci/run"]),
])  # fmt: skip
def test_linters_of_deployment_files_find_nothing(tool: str, arguments: list[str]) -> None:
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"{tool} is not installed: pip install {tool}-py")
    done = subprocess.run([found, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
