"""What the vault's bench measures: our commands and those of the peers, each a process of its own."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

OURS = (sys.executable, "-m", "bench.vault_command")


class Measured:
    """What a command used: CPU and wall seconds, peak MiB, and what its repository then holds."""

    def __init__(self, command: list[str], environment: dict[str, str] | None = None, cwd: Path | None = None) -> None:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, env={**os.environ, **(environment or {})}, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        problem = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"{' '.join(command[:4])} failed: {problem.decode()[-800:]}")
        self.wall_s = time.perf_counter() - begun
        self.cpu_s = used.ru_utime + used.ru_stime
        self.peak_mib = used.ru_maxrss / 1024


class Ours:
    """orchestrai, plain or sealed."""

    def __init__(self, folder: Path, sealed: bool) -> None:
        self.name = "sealed" if sealed else "plain"
        self.repo = folder / f"ours-{self.name}"
        self.base = [*OURS, str(self.repo), str(folder / "keys"), "sealed" if sealed else "plain"]
        # compiled modules, as an installed package has them
        self.environment = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "pycache")}

    def init(self) -> None:
        shutil.rmtree(self.repo, ignore_errors=True)

    def snapshot(self, source: Path) -> Measured:
        return Measured([*self.base, "snapshot", str(source)], self.environment)

    def verify(self) -> Measured:
        return Measured([*self.base, "verify"], self.environment)

    def restore(self, target: Path) -> Measured:
        return Measured([*self.base, "restore", str(target)], self.environment)


class Restic:
    """restic as it is by default, with zstd."""

    name = "restic"

    def __init__(self, folder: Path) -> None:
        self.repo = folder / "restic"
        self.base = ["restic", "--no-cache", "-r", str(self.repo)]
        self.environment = {"RESTIC_PASSWORD": "bench", "RESTIC_COMPRESSION": "auto"}

    def init(self) -> None:
        shutil.rmtree(self.repo, ignore_errors=True)
        Measured([*self.base, "init"], self.environment)

    def snapshot(self, source: Path) -> Measured:
        return Measured([*self.base, "backup", "."], self.environment, source)

    def verify(self) -> Measured:
        return Measured([*self.base, "check", "--read-data"], self.environment)

    def restore(self, target: Path) -> Measured:
        return Measured([*self.base, "restore", "latest", "--target", str(target)], self.environment)


class Borg:
    """borg without encryption, with zstd where a look at the bytes says that it pays."""

    name = "borg"

    def __init__(self, folder: Path) -> None:
        self.repo = folder / "borg"
        self.number = 0
        self.environment = {"BORG_BASE_DIR": str(folder / "borg-home"), "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}

    def init(self) -> None:
        shutil.rmtree(self.repo, ignore_errors=True)
        Measured(["borg", "init", "--encryption=none", str(self.repo)], self.environment)

    def snapshot(self, source: Path) -> Measured:
        self.number += 1
        command = ["borg", "create", "--compression=auto,zstd,3", f"{self.repo}::a{self.number}", "."]
        return Measured(command, self.environment, source)

    def verify(self) -> Measured:
        return Measured(["borg", "check", "--verify-data", str(self.repo)], self.environment)

    def restore(self, target: Path) -> Measured:
        target.mkdir()
        return Measured(["borg", "extract", f"{self.repo}::a{self.number}"], self.environment, target)


class Rclone:
    """rclone, a copier: no snapshots, nothing sealed, the newest state alone."""

    name = "rclone"

    def __init__(self, folder: Path) -> None:
        self.repo = folder / "rclone"
        self.last = folder / "source"
        self.environment = {"RCLONE_CONFIG": os.devnull}

    def init(self) -> None:
        shutil.rmtree(self.repo, ignore_errors=True)

    def snapshot(self, source: Path) -> Measured:
        self.last = source
        return Measured(["rclone", "copy", "--checksum", str(source), str(self.repo)], self.environment)

    def verify(self) -> Measured:
        """Held against the source, byte by byte: of its own it knows no hash."""
        return Measured(["rclone", "check", "--download", str(self.last), str(self.repo)], self.environment)

    def restore(self, target: Path) -> Measured:
        return Measured(["rclone", "copy", "--checksum", str(self.repo), str(target)], self.environment)


def size_of(folder: Path) -> int:
    """Bytes in all files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def line(
    case: str, metric: str, ours: float, peer: str, theirs: float, target: float | None, *, more_is_better: bool = False
) -> dict[str, object]:
    """One comparison."""
    ratio = ours / theirs if theirs else float("inf")
    ok = target is None or (ratio >= target if more_is_better else ratio <= target)
    return {
        "case": case, "metric": metric, "ours": round(ours, 3), "peer": peer, "theirs": round(theirs, 3),
        "ratio": round(ratio, 3), "target": target, "ok": ok,
    }  # fmt: skip
