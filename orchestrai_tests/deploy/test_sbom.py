"""The image's bill of materials: what is installed and nothing else, the same each time, and a build that ends at what nobody locked."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "sbom.py"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with three distributions."""
    for name, version, more in (
        (
            "orchestrai",
            "0.1.0",
            "License-Expression: Apache-2.0\nRequires-Dist: Some_Lib>=1\nRequires-Dist: pytest; extra == 'dev'\n",
        ),
        ("some.lib", "1.2", "License: MIT\nRequires-Dist: leaf\n"),
        ("leaf", "3", ""),
        ("pip", "25.0", ""),
    ):
        folder = tmp_path / "site" / f"{name}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{more}")
    (tmp_path / "a.lock").write_text("some-lib==1.2 \\\n    --hash=sha256:00\n    # via x\n")
    (tmp_path / "b.lock").write_text("leaf[x]==3 ; python_version > '3' \\\n    --hash=sha256:11\n")
    (tmp_path / "status").write_text(
        "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n"
    )
    return tmp_path


def bill(folder: Path, *more: str) -> tuple[int, dict[str, Any], str]:
    given = ["--path", str(folder / "site"), "--lock", str(folder / "a.lock"), "--dpkg", str(folder / "status"), *more]
    done = subprocess.run([sys.executable, "-S", str(SCRIPT), *given], capture_output=True, text=True)
    return done.returncode, json.loads(done.stdout), done.stderr


def test_it_names_what_is_installed_who_needs_it_and_the_system_s_packages(site: Path) -> None:
    code, told, error = bill(site, "--lock", str(site / "b.lock"))
    assert (code, error) == (0, "")
    assert [part["purl"] for part in told["components"]] == [
        "pkg:pypi/leaf@3", "pkg:pypi/pip@25.0", "pkg:pypi/some-lib@1.2", "pkg:deb/debian/libc6@2.36?arch=amd64",
    ]  # fmt: skip
    needs = {entry["ref"]: entry["dependsOn"] for entry in told["dependencies"]}
    assert needs["pkg:pypi/orchestrai@0.1.0"] == ["pkg:pypi/some-lib@1.2"] and needs["pkg:pypi/some-lib@1.2"] == [
        "pkg:pypi/leaf@3"
    ]
    assert told["metadata"]["component"]["type"] == "application"
    assert bill(site, "--lock", str(site / "b.lock"))[1] == told
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(told)) is None


def test_what_no_lock_names_ends_the_build(site: Path) -> None:
    code, told, error = bill(site)
    assert code == 1 and "found leaf 3" in error and "some-lib" not in error and "pip" not in error
    assert len(told["components"]) == 4
    (site / "b.lock").write_text("leaf==4 \\\n    --hash=sha256:11\n")
    assert bill(site, "--lock", str(site / "b.lock"))[0] == 1
