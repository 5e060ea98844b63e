"""A package of strangers, as an installer leaves it: its modules and its `.dist-info` in a folder of the path."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrai.core import plugins

HERE = Path(__file__).parent


def install(folder: Path, name: str = "acme-orchestrai", version: str = "1.2", points: str | None = None) -> Path:
    """Put the package `acme` into a folder, or, with `points`, a distribution that has these entry points alone."""
    folder.mkdir(parents=True, exist_ok=True)
    if points is None:
        shutil.copytree(HERE / "acme", folder / "acme", ignore=shutil.ignore_patterns("__pycache__"))
        points = (HERE / "acme" / "entry_points.txt").read_text()
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(points)
    return folder


@contextmanager
def importable(folder: Path, monkeypatch: pytest.MonkeyPatch, *packages: str) -> Iterator[Path]:
    """The folder on the path, its packages forgotten afterwards; which plug-ins there are is looked up anew, now and then."""
    monkeypatch.syspath_prepend(str(folder))
    plugins.installed.cache_clear()
    try:
        yield folder
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
            del sys.modules[name]
        plugins.installed.cache_clear()
