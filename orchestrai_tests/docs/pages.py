"""The pages of the project as the tests read them: fenced blocks, and what is said in `code` within sentences."""

import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^( *)```(\w*)$")
_NOT_RUN = re.compile(r"^ *<!-- not run: *(.*?) *-->$")
# examples in a pipeline template and what tools made are no pages of ours
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@dataclass(frozen=True)
class Block:
    """One fenced block: where it begins, its language, its text, and the reason given above it why it is not run."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None

    @property
    def place(self) -> str:
        """`docs/proof.md:5`, as editors take it."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@cache
def blocks() -> list[Block]:
    """Every fenced block of every page."""
    return [block for page in PAGES for block in blocks_of(page, page.read_text(encoding="utf-8"))]


def blocks_of(page: Path, text: str) -> list[Block]:
    """The fenced blocks of one page; raises AssertionError for a fence that never ends."""
    found: list[Block] = []
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        if fence is None:
            at += 1
            continue
        end = next((n for n in range(at + 1, len(lines)) if lines[n].strip() == "```"), None)
        assert end is not None, f"{page.name}:{at + 1}: a fence that never ends"
        above = next((line for line in reversed(lines[:at]) if line.strip()), "")
        reason = _NOT_RUN.match(above)
        indent = len(fence[1])
        body = "\n".join(line[indent:] for line in lines[at + 1 : end])
        found.append(Block(page, at + 1, fence[2], body, reason[1] if reason else None))
        at = end + 1
    return found


def prose(page: Path) -> str:
    """A page without its blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def spoken(page: Path) -> list[str]:
    """What stands in `code` within sentences, line breaks taken out."""
    return [" ".join(text.split()) for text in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose(page))]


@cache
def tracked() -> list[Path]:
    """The files of the project, as git knows them; all text files below the root where there is no git."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        hidden = {".venv", ".orchestrai", "site", "dist", "__pycache__"}
        return [p for p in ROOT.rglob("*") if p.is_file() and not hidden & set(p.relative_to(ROOT).parts)]
    names = listed.stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]
