"""A tutorial as its reader does it: its files are written, its commands typed, and what it promises is looked for in what was said.

A block whose first line is a comment with a path is that file. Of `text` behind `sh`, the words of each line must be in what was said since
the last promise, in this order; `...` stands for anything, and frames of tables do not count.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrai.settings import PREFIX
from orchestrai_tests.docs.commands import lines_of
from orchestrai_tests.docs.pages import ROOT, Block, blocks_of

FOLDER = ROOT / "docs" / "tutorials"
_FILE = re.compile(r"^(?:#|--) ([\w./-]+\.(?:py|yaml|sql))$")
_EXIT = re.compile(r"# exit code (\d)")
# one command may train a model on a machine that does much else
_PATIENCE = 600.0


def file_of(block: Block) -> str | None:
    """The path of the file that a block is, or None."""
    found = _FILE.match(block.text.partition("\n")[0])
    return found[1] if found else None


def only(text: str) -> str:
    """Words with one space between them, without the frames of tables."""
    return " ".join(re.sub(r"[\u2500-\u257f]", " ", text).split())


@dataclass
class Tutorial:
    """A reader with a folder: `instead` are texts of the pages and what stands here in their place, such as the address of a server."""

    folder: Path
    instead: Mapping[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def play(self, name: str) -> None:
        """Do what a page says; raises AssertionError with the place for a command or a promise that does not hold."""
        page = FOLDER / name
        said = ""
        for block in blocks_of(page, self._put(page.read_text(encoding="utf-8"))):
            if (path := file_of(block)) is not None:
                (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / path).write_text(block.text + "\n", encoding="utf-8")
            elif block.language == "sh":
                said += "".join(self._type(line, block) for line in _commands(block.text))
            elif block.language == "text":
                _promised(block, said)
                said = ""

    def write_files_of(self, name: str, *names: str) -> None:
        """Files of another page that this one goes on from."""
        for block in blocks_of(FOLDER / name, self._put((FOLDER / name).read_text(encoding="utf-8"))):
            if (path := file_of(block)) in names and path is not None:
                (self.folder / path).write_text(block.text + "\n", encoding="utf-8")

    def _put(self, text: str) -> str:
        for old, new in self.instead.items():
            text = text.replace(old, new)
        return text

    def _type(self, line: str, block: Block) -> str:
        if line.startswith("moto_server"):
            return ""
        if line.startswith("export "):
            told = subprocess.run(
                ["bash", "-c", f"{line}; env -0"], cwd=self.folder, env=self._environment(), capture_output=True, check=True
            )
            now = dict(pair.split("=", 1) for pair in told.stdout.decode().split("\0") if "=" in pair)
            self.variables |= {name: now[name] for name in re.findall(r"([A-Z_]+)=", line)}
            return ""
        expected = int(found[1]) if (found := _EXIT.search(line)) else 0
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_PATIENCE,
            check=False,
        )
        output = done.stdout.decode()
        assert done.returncode == expected, f"{block.place}: {line} ended with {done.returncode}:\n{output}"
        return output

    def _environment(self) -> dict[str, str]:
        """As somebody's who has installed the project and nothing set."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "DAGSTER_", "AWS_"))}
        there = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        paths = os.pathsep.join([str(ROOT), str(self.folder)])
        return kept | {"PATH": there, "PYTHONPATH": paths, "COLUMNS": "160", "PYTHONUNBUFFERED": "1", **self.variables}


def _commands(text: str) -> list[str]:
    """The lines as they are typed; of continued ones the whole, with the comment that says how it ends."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [line for line in joined.split("\n") if line.strip() and lines_of(line)]


def _promised(block: Block, said: str) -> None:
    there, at = only(said), 0
    for line in block.text.split("\n"):
        for part in (only(piece) for piece in line.split("...")):
            found = there.find(part, at)
            assert found >= 0, f"{block.place}: {part!r} was not said, or earlier:\n{said}"
            at = found + len(part)
