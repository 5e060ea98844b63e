"""Packages load what is used of them, and nothing else."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("contracts", "features", "ingest", "ledger", "models", "provenance", "restore", "storage", "vault")
HEAVY = (
    "boto3", "cryptography.hazmat.primitives.ciphers.aead", "dagster", "duckdb", "numpy", "open_data_contract_standard", "pandas",
    "pyarrow", "pydantic", "pydantic_settings", "sklearn", "sqlglot", "xgboost", "yaml",
)  # fmt: skip


def run(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_resolves_to_what_its_submodule_declares(package: str) -> None:
    module = importlib.import_module(f"orchestrai.{package}")
    tree = ast.parse(Path(str(module.__file__)).read_text())
    declared = {
        name.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(f"orchestrai.{package}.")
        for name in node.names
    }
    assert sorted(declared) == sorted(module.__all__)
    for name, home in declared.items():
        assert getattr(module, name) is getattr(importlib.import_module(str(home)), name)
    assert set(module.__all__) <= set(dir(module))


def test_a_function_is_found_though_its_submodule_of_the_same_name_was_imported_first() -> None:
    run("""
import orchestrai.vault.verify, orchestrai.vault.snapshot, orchestrai.restore.drill, orchestrai.storage.capabilities
import orchestrai.vault, orchestrai.restore, orchestrai.storage
from orchestrai.vault.replicate import replicate
from orchestrai.vault import snapshot, verify
for found in (snapshot, verify, orchestrai.vault.replicate, orchestrai.restore.drill, orchestrai.storage.capabilities):
    assert type(found).__name__ == "function", found
""")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"orchestrai\.vault.*no_such_name"):
        importlib.import_module("orchestrai.vault").no_such_name  # noqa: B018  # the look-up is what is tried


def test_importing_a_package_loads_nothing_heavy() -> None:
    names = ", ".join(f"orchestrai.{package}" for package in PACKAGES)
    run(f"""
import sys
import {names}
found = sorted(set({HEAVY!r}) & set(sys.modules))
assert not found, found
""")


def test_backing_up_verifying_and_restoring_a_folder_loads_nothing_heavy(tmp_path: Path) -> None:
    run(f"""
import sys
from pathlib import Path
from orchestrai.ledger import Ledger, load_or_create_signer
from orchestrai.restore import restore_folder
from orchestrai.storage import LocalStore
from orchestrai.vault import Vault, backup_folder, verify
folder = Path({str(tmp_path)!r})
(folder / "source").mkdir()
(folder / "source" / "a").write_bytes(b"a")
vault = Vault(LocalStore(folder / "vault"), load_or_create_signer(folder / "keys"))
commit = backup_folder(vault, "d", folder / "source")
assert verify(vault, level="read").ok
restore_folder(vault, commit, folder / "target", sync=False)
found = sorted(set({HEAVY!r}) & set(sys.modules))
assert not found, found
""")


def test_verifying_a_model_file_loads_nothing_heavy(tmp_path: Path) -> None:
    frozen = Path(__file__).parent / "models" / "golden" / "format-1.tar.xz"
    run(f"""
import sys, tarfile
from pathlib import Path
folder = Path({str(tmp_path)!r})
with tarfile.open({str(frozen)!r}) as archive:
    archive.extractall(folder, filter="data")
before = set(sys.modules)
from orchestrai.ledger import trusted_keyring
from orchestrai.provenance import verify_model
from orchestrai.settings import load_settings
from orchestrai.storage import open_store
load_settings()
file = next(folder.glob("lake/data/small/alarm/candidate/all/*/model.ubj"))
assert verify_model(file, vault=open_store(str(folder / "vault")), keyring=trusted_keyring(folder / "keys")).ok
found = sorted(set({HEAVY!r}) & (set(sys.modules) - before))
assert not found, found
""")


def test_settings_are_read_without_asyncio_and_its_kin() -> None:
    run("""
import sys
from orchestrai.settings import load_settings
load_settings()
assert not {"pydantic_settings", "asyncio"} & set(sys.modules)
""")
