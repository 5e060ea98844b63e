"""The bill of materials of the image, as CycloneDX 1.6 JSON: Python distributions and, where there are any, Debian packages.

`python sbom.py --lock FILE [--lock FILE] [--path SITE_PACKAGES] [--dpkg STATUS] > sbom.cdx.json`. Needs nothing but Python. Exit code 1
where something is installed that no lock names, but for the tools that install. The same packages give the same bytes.
"""

import argparse
import hashlib
import json
import re
import sys
import uuid
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

# what puts the others there
TOOLS = {"pip", "setuptools", "uv", "wheel"}
OWN = "orchestrai"
_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;]+)(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*")


def normal(name: str) -> str:
    """A distribution's name as the index has it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(paths: list[Path]) -> dict[str, tuple[str, int]]:
    """The version of each locked package, and how many files of it are allowed by hash."""
    pins: dict[str, tuple[str, int]] = {}
    for path in paths:
        for name, version, rest in _PIN.findall(path.read_text(encoding="utf-8")):
            pins[normal(name)] = (version, rest.count("--hash=sha256:"))
    return pins


def component(found: Distribution) -> dict[str, Any]:
    """One Python distribution."""
    name, told = normal(found.metadata["Name"]), found.metadata
    purl = f"pkg:pypi/{name}@{found.version}"
    body: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": name, "version": found.version, "purl": purl}
    licence = told.get("License-Expression")
    if licence:
        body["licenses"] = [{"expression": licence}]
    elif told.get("License") and len(told["License"]) < 80 and "\n" not in told["License"]:
        body["licenses"] = [{"license": {"name": told["License"]}}]
    return body


def debian(status: Path) -> list[dict[str, Any]]:
    """The installed packages of a dpkg status file."""
    found = []
    for block in status.read_text(encoding="utf-8", errors="replace").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(" "))
        if fields.get("Status", "").endswith(" installed"):
            purl = f"pkg:deb/debian/{fields['Package']}@{fields['Version']}?arch={fields.get('Architecture', 'all')}"
            found.append(
                {"type": "library", "bom-ref": purl, "name": fields["Package"], "version": fields["Version"], "purl": purl}
            )
    return found


def bill(path: list[str] | None, locks: list[Path], status: Path | None) -> tuple[dict[str, Any], list[str]]:
    """The document, and what is installed that no lock names."""
    there = {normal(found.metadata["Name"]): found for found in (distributions(path=path) if path else distributions())}
    pins = locked(locks)
    strange = [
        f"{name} {found.version}"
        for name, found in sorted(there.items())
        if name not in {*TOOLS, OWN} and pins.get(name, ("", 0))[0] != found.version
    ]
    parts = {name: component(found) for name, found in sorted(there.items())}
    own = parts.pop(OWN, {"type": "library", "bom-ref": OWN, "name": OWN, "version": "0"}) | {"type": "application"}
    dependencies = [
        {
            "ref": body["bom-ref"],
            "dependsOn": sorted(parts[name]["bom-ref"] for name in needs(there[owner]) if name in parts),
        }
        for owner, body in [*parts.items(), *([(OWN, own)] if OWN in there else [])]
    ]
    components = [*parts.values(), *(debian(status) if status is not None and status.is_file() else [])]
    content = json.dumps([own, components], sort_keys=True).encode()
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.UUID(bytes=hashlib.sha256(content).digest()[:16], version=4)}",
        "version": 1,
        "metadata": {"component": own},
        "components": components,
        "dependencies": dependencies,
    }
    return document, strange


def needs(found: Distribution) -> set[str]:
    """What a distribution asks for without an extra."""
    wanted = (text for text in found.requires or () if "extra ==" not in text)
    return {normal(match[0]) for text in wanted if (match := _NAME.match(text))}


def main() -> int:
    """Print the bill; 1 where something is there that was not locked."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--lock", action="append", type=Path, required=True)
    options.add_argument("--path", action="append")
    options.add_argument("--dpkg", type=Path, default=Path("/var/lib/dpkg/status"))
    given = options.parse_args()
    document, strange = bill(given.path, given.lock, given.dpkg)
    sys.stdout.write(json.dumps(document, indent=1, sort_keys=True) + "\n")
    for name in strange:
        sys.stderr.write(f"expected only what a lock names, found {name}\n")
    return 1 if strange else 0


if __name__ == "__main__":
    sys.exit(main())
