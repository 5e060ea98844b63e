"""What of one lock file another does not have: `python deploy/pins.py WHOLE PART` prints it, and fails where the two pin differently.

So deploy/image.lock is what the image has beside requirements.run.lock, and a version stands in one place.
"""

import re
import sys
from pathlib import Path

_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*(?:\[[^\]]*\])?)==(\S+)", re.MULTILINE)


def blocks(path: Path) -> dict[str, str]:
    """Each package's lines, by its name."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        pin = _PIN.match(line)
        if pin:
            name = pin[1]
        if name:
            found.setdefault(name, []).append(line)
    return {name: "\n".join(lines) + "\n" for name, lines in found.items()}


def difference(whole: Path, part: Path) -> str:
    """The packages of `whole` that `part` does not have; raises ValueError for one that it has in another version."""
    kept, there = blocks(whole), blocks(part)
    for name in {*kept} & {*there}:
        if kept[name].split()[0] != there[name].split()[0]:
            raise ValueError(f"expected one version of {name}, found {kept[name].split()[0]} and {there[name].split()[0]}")
    return "".join(kept[name] for name in kept if name not in there)


if __name__ == "__main__":
    sys.stdout.write(difference(Path(sys.argv[1]), Path(sys.argv[2])))
