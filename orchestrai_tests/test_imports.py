"""Packages load what is used of them, and nothing else."""

import ast
import os
import re
import subprocess
import symtable
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "orchestrai"
LIGHT = (
    "ingest.discovery.queues.notifications", "ledger.ledger", "provenance.trace", "provenance.verify.model_proof",
    "restore.folder", "storage.url",
    "vault.run", "vault.vault", "vault.verify.verify",
)  # fmt: skip
HEAVY = (
    "boto3", "cryptography.hazmat.primitives.ciphers.aead", "dagster", "duckdb", "numpy", "open_data_contract_standard", "pandas",
    "pyarrow", "pydantic", "pydantic_settings", "sklearn", "sqlglot", "xgboost", "yaml",
)  # fmt: skip


def run(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_name_has_one_home_so_a_package_says_only_what_it_is_for() -> None:
    for path in sorted(ROOT.rglob("__init__.py")):
        if path.parent in (ROOT, ROOT / "cli", ROOT / "defs"):
            continue
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
        assert len(tree.body) == 1, path


def test_importing_what_reads_and_proves_a_vault_loads_nothing_heavy() -> None:
    names = ", ".join(f"orchestrai.{module}" for module in LIGHT)
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
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.restore.folder import restore_folder
from orchestrai.storage.local import LocalStore
from orchestrai.backup.folder_files import backup_folder
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
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
    archive.extractall(folder, **(dict(filter="data") if hasattr(tarfile, "data_filter") else {{}}))
before = set(sys.modules)
from orchestrai.ledger.trust.trust_list import trusted_keyring
from orchestrai.provenance.verify.model_proof import verify_model
from orchestrai.settings import load_settings
from orchestrai.storage.url import open_store
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


def _splits_keys(tree: ast.AST) -> list[int]:
    """The lines that take text apart at a bar, or put two values together with one."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            parts = node.func.attr in ("split", "rsplit", "partition", "rpartition", "replace")
            if parts and node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == "|":
                lines.append(node.lineno)
        if isinstance(node, ast.JoinedStr):
            values = node.values
            for before, bar, after in zip(values, values[1:], values[2:], strict=False):
                ends = isinstance(before, ast.FormattedValue) and isinstance(after, ast.FormattedValue)
                if ends and isinstance(bar, ast.Constant) and bar.value == "|":
                    lines.append(node.lineno)
    return lines


def test_one_module_splits_and_joins_partition_keys() -> None:
    home = ROOT / "core" / "time" / "partition_key.py"
    assert _splits_keys(ast.parse('a.split("|"); f"{a}|{b}"; f"{a} | {b}"')) == [1, 1]
    found = {path: _splits_keys(ast.parse(path.read_text())) for path in sorted(ROOT.rglob("*.py")) if path != home}
    assert not {str(path.relative_to(ROOT)): lines for path, lines in found.items() if lines}
    # Dagster's own class for such keys would be a second way to make them
    assert not [path for path in found if "MultiPartitionKey(" in path.read_text()]


def test_landing_what_is_in_order_loads_no_pandas(tmp_path: Path) -> None:
    run(f"""
import json, sys
from datetime import datetime, UTC
from pathlib import Path
from orchestrai.contracts.contract import Column, Contract
from orchestrai.ingest.spec import SourceSpec
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.storage.local import LocalStore
from orchestrai_tests.running import ingest
folder = Path({str(tmp_path)!r})
kinds = {{"n": "BIGINT", "size": "DOUBLE", "name": "STRING", "at": "TIMESTAMP", "price": "DECIMAL(12,2)", "on": "DATE"}}
columns = tuple(Column(name, kind, name, required=True) for name, kind in kinds.items())
contract = Contract("items", "1.0.0", columns, event_time="at")
row = {{"n": 7, "size": 1.5, "name": "lamp", "at": "2026-01-01 03:00:00", "price": 1.25, "on": "2026-01-01"}}
values = ",".join(str(value) for value in row.values())
texts = {{"csv": ",".join(row) + chr(10) + (values + chr(10)) * 200, "jsonl": (json.dumps(row) + chr(10)) * 200}}
for form, text in texts.items():
    landing = folder / form
    landing.mkdir()
    (landing / f"2026-01-01.{{form}}").write_text(text)
    ledger = Ledger(LocalStore(folder / "lake" / form), load_or_create_signer(folder / "keys"))
    report = ingest(
        ledger, asset="shop/items/raw_events", partitions=["2026-01-01"], landing=LocalStore(landing),
        source=SourceSpec(url="x", format=form), contract=contract, grain="day", now=datetime(2026, 1, 3, tzinfo=UTC),
    )
    assert report.rows == 200, report
assert "pandas" not in sys.modules
""")


def test_the_help_loads_no_heavy_package_and_check_only_what_reads_declarations(tmp_path: Path) -> None:
    heavy = (*HEAVY, "fastapi", "matplotlib", "obstore", "pyspark", "skops", "sqlalchemy")
    look = f"import sys; print(sorted(name for name in {heavy!r} if name in sys.modules))"
    command = "import sys; sys.argv = ['orchestrai', {words}]; from orchestrai.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    wanted = {
        "'--help'": [],
        "'check'": ["duckdb", "numpy", "open_data_contract_standard", "pyarrow", "pydantic", "sqlglot", "yaml"],
    }
    for words, names in wanted.items():
        program = command.format(words=words) + look
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "ORCHESTRAI_HOME": str(tmp_path)},
        )
        assert done.stdout.splitlines()[-1] == repr(names)


# what was reached with the shipped pipelines, and a handful: whoever needs more takes something else out, or says why
MOST = {"'check'": 500, "the code location": 635}


def test_what_checking_and_loading_pipelines_takes_of_our_own_modules_does_not_creep(tmp_path: Path) -> None:
    """Half of the start is our own modules: what does a stage's work is loaded when the stage runs, not to say that it is there."""
    programs = {
        "'check'": "import sys; from orchestrai.cli import main\nsys.argv = ['x', 'check']\ntry: main()\nexcept SystemExit: pass\n",
        "the code location": "import sys, orchestrai.definitions\n",
    }
    idle = {
        f"orchestrai.{name}"
        for name in ("backup.databases.dump", "ingest.run", "ingest.sources.stream_batch", "warehouse.merge")
    }
    idle |= {f"orchestrai.vault.{name}" for name in ("heal.heal", "pull.pull", "spread.copy_tasks")}
    for name, program in programs.items():
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                f"{program}print(*(one for one in sys.modules if one.partition('.')[0] == 'orchestrai'))",
            ],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "ORCHESTRAI_HOME": str(tmp_path)},
        )
        loaded = done.stdout.splitlines()[-1].split()
        assert len(loaded) <= MOST[name], f"expected at most {MOST[name]} modules for {name}, found {len(loaded)}"
        if name == "'check'":
            assert not idle & set(loaded), sorted(idle & set(loaded))


IMPORT = re.compile(r"^[ ]*from ((?:orchestrai|orchestrai_tests|bench)\b[\w.]*) import (\([^)]*\)|[^\n#]*)", re.MULTILINE)


def test_what_is_imported_by_name_is_bound_where_it_is_imported_from() -> None:
    """A name missing in a helper takes whole test files out of a run, and only the run of all tests would show it."""
    top = ROOT.parent
    folders = [top / name for name in ("orchestrai", "orchestrai_tests", "bench", "docs")]
    texts = {
        ".".join(path.relative_to(top).with_suffix("").parts).removesuffix(".__init__"): path.read_text()
        for folder in folders
        for path in folder.rglob("*.py")
    }
    bound = {
        module: {
            symbol.get_name()
            for symbol in symtable.symtable(text, module, "exec").get_symbols()
            if symbol.is_assigned() or symbol.is_imported()
        }
        for module, text in texts.items()
    }
    asked = [
        (module, home, name.partition(" as ")[0].strip())
        for module, text in texts.items()
        for home, names in IMPORT.findall(text)
        for name in re.sub(r"#[^\n]*", "", names).strip("()").split(",")
        if name.strip() not in ("", "*")
    ]
    missing = [
        f"{module}: {home}.{name}"
        for module, home, name in asked
        if name not in bound.get(home, set())
        and f"{home}.{name}" not in texts
        and not top.joinpath(*home.split("."), name).is_dir()
    ]
    assert len(asked) > 5_000
    assert not missing, missing
