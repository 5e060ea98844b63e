"""A package of strangers, as an installer leaves it: its modules and its `.dist-info` in a folder of the path."""

import shutil
from pathlib import Path

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
