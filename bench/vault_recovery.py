"""Recovery on an empty machine, plain and sealed: what a person types, how long each command takes, and that the bytes are those of before.

A vault of 120 MB in 1,040 files is all that is left, with the root's fingerprint on paper and, where it is sealed, a copy of its key file.
Each command is a process of its own, in a home that does not exist before the first. There is no peer: the lines say what was measured.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.vault_engines import Measured
from orchestrai.backup.folder_files import backup_folder
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.storage.local import LocalStore
from orchestrai.vault.keys.key_file import FileKey
from orchestrai.vault.vault import Vault

ORCHESTRAI = (sys.executable, "-c", "from orchestrai.cli import main; main()")
SIZES = (*[2_500_000] * 40, *[20_000] * 1_000)


def lines(folder: Path) -> Iterator[dict[str, object]]:
    """A line for each command of both kinds."""
    source = folder / "source"
    source.mkdir(parents=True)
    rng = random.Random(1)
    for number, size in enumerate(SIZES):
        (source / f"{number:04d}.bin").write_bytes(rng.randbytes(size))
    for kind in ("plain", "sealed"):
        yield from recovered(folder / kind, source, kind == "sealed")
        shutil.rmtree(folder / kind)


def recovered(folder: Path, source: Path, sealed: bool) -> Iterator[dict[str, object]]:
    """One kind of vault, which is made, bereft of its home, and brought back."""
    lost, url, new = folder / "lost", str(folder / "vault"), folder / "new"
    port = FileKey(lost / "keys" / "vault.key") if sealed else None
    vault = Vault(LocalStore(folder / "vault"), load_or_create_signer(lost / "keys"), encryption=port)
    backup_folder(vault, "shop/orders", source)
    listed = [*ORCHESTRAI, "keys", "list", "--json"]
    paper = str(
        json.loads(subprocess.run(listed, env=home(lost, url), capture_output=True, check=True).stdout)["key_log"]["root"]
    )
    safe = (lost / "keys" / "vault.key").read_bytes() if sealed else b""
    shutil.rmtree(lost)
    steps = {
        "vault recover": ["vault", "recover", url, "--root-fingerprint", paper],
        "put back vault.key": [],
        "vault list": ["vault", "list"],
        "vault verify --level read": ["vault", "verify", "--level", "read"],
        "vault restore": ["vault", "restore", "shop/orders", "--into", str(folder / "out")],
    }
    for name, arguments in steps.items():
        if arguments:
            found = Measured([*ORCHESTRAI, *arguments], home(new, url))
            yield {"case": f"recovery, {name} ({'sealed' if sealed else 'plain'})", "metric": "wall_s", "ours": round(found.wall_s, 2),
                   "cpu_s": round(found.cpu_s, 2), "peer": "none", "theirs": None, "ratio": None, "target": None, "ok": True}  # fmt: skip
        elif sealed:
            place = new / "keys" / "vault.key"
            place.write_bytes(safe)
            place.chmod(0o600)
    subprocess.run(["diff", "-rq", str(source), str(folder / "out")], check=True)


def home(folder: Path, url: str) -> dict[str, str]:
    """The environment of a machine that knows its home and where the vault is."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRAI_")}
    return {**others, "ORCHESTRAI_HOME": str(folder), "ORCHESTRAI_VAULT_URL": url}
