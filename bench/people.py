"""What a person meets: the same everyday work with orchestrai and with its peers, by the stopwatch.

    python -m bench.people                      all tasks, as the tables of docs/comparison.md
    python -m bench.people --json               one JSON object a line
    python -m bench.people --task load          only one of them

A task is a recipe in `bench/people_*.yaml`: the files that a person writes and the commands that a person types, for each side. What is
counted is counted in the recipe that is run. A peer lives in an environment of its own, made by pip below `--environments`; one that
cannot be had fails its lines. After the first result each side runs again with nothing new, with one new file, and, each time from that
state, on bad input; a step has told of it where it ended with another code than 0 or a line of its output names it. Exits 1 if a peer
is missing or a step that should end well did not. Which side is faster decides nothing: losses stay in the table.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any

import yaml

from bench.people_data import FAULTS, Data, write_data

HERE = pathlib.Path(__file__).parent
SOON = 900
# words of a line that says something was wrong, whatever the product calls it
WRONG = r"refus|reject|dead.?letter|duplicat|quarantin|not unique|invalid|mismatch|corrupt|replaced|changed|\bheld\b"
COMMENT = re.compile(r"^\s*(#|--|$)")


@dataclass
class Step:
    """One thing that a person does: what it took, and what was to be seen."""

    name: str
    commands: int
    wall: float = 0.0
    cpu: float = 0.0
    code: int = 0
    output: str = ""
    probe: dict[str, Any] = field(default_factory=dict)
    told: str = ""
    stands: str = ""


@dataclass
class Side:
    """One side of a task, with all its steps."""

    task: str
    name: str
    version: str = ""
    missing: str = ""
    files: int = 0
    lines: int = 0
    steps: list[Step] = field(default_factory=list)


def count_lines(text: str) -> int:
    """Lines that a person has to write: neither blank nor a comment alone."""
    return sum(not COMMENT.match(line) for line in text.splitlines())


def effort(recipe: dict[str, Any], steps: list[Any]) -> tuple[int, int]:
    """Files that a person writes in some steps, and the lines of them."""
    texts = {step["write"]: recipe["files"][step["write"]] for step in steps if isinstance(step, dict)}
    return len(texts), sum(map(count_lines, texts.values()))


def environment_of(recipe: dict[str, Any], folder: pathlib.Path) -> tuple[dict[str, str], str]:
    """The variables of a side's commands, and why it cannot be run, if so. Makes the environment where there is none."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("ORCHESTRAI_", "DAGSTER_"))}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    variables |= {"OMP_NUM_THREADS": "1", "COLUMNS": "200", **recipe.get("variables", {})}
    packages: list[str] = recipe.get("packages", [])
    if not packages:
        variables["PATH"] = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{variables['PATH']}"
        variables["PYTHONPATH"] = str(HERE.parent)
        return variables, ""
    place = folder / recipe["environment"]
    bin_folder = place / "bin"
    done = place / "packages.txt"
    if not done.exists() or done.read_text() != "\n".join(packages):
        shutil.rmtree(place, ignore_errors=True)
        for command in (
            [sys.executable, "-m", "venv", str(place)],
            [str(bin_folder / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages],
        ):
            made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SOON)
            if made.returncode:
                return variables, f"{' '.join(packages)} cannot be had: {made.stderr.strip()[-300:]}"
        done.write_text("\n".join(packages))
    variables.pop("PYTHONPATH", None)
    variables["VIRTUAL_ENV"] = str(place)
    variables["PATH"] = f"{bin_folder}{os.pathsep}{variables['PATH']}"
    return variables, ""


class Bench:
    """A side at work in a folder of its own."""

    def __init__(
        self, task: dict[str, Any], recipe: dict[str, Any], folder: pathlib.Path, environments: pathlib.Path
    ) -> None:
        self.task, self.recipe = task, recipe
        self.folder = folder
        self.variables, missing = environment_of(recipe, environments)
        self.side = Side(task["task"], recipe["name"], missing=missing)
        self.data: Data = write_data(folder / "exports")

    def typed(self, line: str) -> str:
        """A command as a person types it here."""
        filled = {"{first}": self.data.first, "{last}": self.data.last}
        for name, value in filled.items():
            line = line.replace(name, value)
        return line

    def command(self, line: str, step: Step) -> bool:
        """Run one command; whether it ended with 0."""
        before, began = os.times(), time.monotonic()
        text = self.typed(line)
        try:
            done = subprocess.run(
                ["bash", "-c", text],
                cwd=self.folder / self.recipe.get("folder", ""),
                env=self.variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                check=False,
                timeout=SOON,
            )
            step.code, output = done.returncode, done.stdout
        except subprocess.TimeoutExpired:
            step.code, output = 124, f"still running after {SOON} s"
        after = os.times()
        step.wall += time.monotonic() - began
        step.cpu += after.children_user + after.children_system - before.children_user - before.children_system
        step.output += output
        return step.code == 0

    def run(self, name: str, steps: list[Any]) -> Step:
        """Do the steps until one fails; then look at what stands."""
        step = Step(name, sum(isinstance(one, str) for one in steps))
        for one in steps:
            if isinstance(one, str):
                if not self.command(one, step):
                    break
            else:
                path = self.folder / one["write"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(self.recipe["files"][one["write"]])
        if (probe := self.recipe.get("probe")) and (name != "first" or not step.code):
            looked = Step("probe", 0)
            script = self.folder / "probe_of_bench.py"
            script.write_text(probe)
            if self.command(f"python {script} {self.data.day}", looked):
                step.probe = json.loads(looked.output.splitlines()[-1])
            else:
                raise SystemExit(f"bench: cannot look at what {self.side.name} has: {looked.output[-500:]}")
            script.unlink()
        self.side.steps.append(step)
        return step

    def measure(self) -> Side:
        """First result, again, one new file, and all faults."""
        side, steps = self.side, self.recipe["steps"]
        side.files, side.lines = effort(self.recipe, steps["first"])
        if side.missing:
            return side
        if named := self.recipe.get("version"):
            asked = Step("version", 0)
            self.command(named, asked)
            side.version = asked.output.split()[-1] if asked.output.strip() else "?"
        first = self.run("first", steps["first"])
        if first.code:
            return side
        again = steps["again"]
        self.run("again", again)
        kept = self.folder.with_name(self.folder.name + "-kept")
        shutil.copytree(self.folder, kept, symlinks=True)
        for name in self.task["faults"]:
            shutil.rmtree(self.folder)
            shutil.copytree(kept, self.folder, symlinks=True)
            self.data = write_data(None)
            fault = FAULTS[name]
            fault.apply(self.data, self.folder / "exports")
            step = self.run(name, steps.get(name, again))
            step.told = tell(step, fault.names, self.side.steps[1:3])
            step.stands = fault.stands(step.probe, self.data) if step.probe else ""
        shutil.rmtree(kept)
        return side


def plain(line: str) -> str:
    """A line without what differs from run to run."""
    return re.sub(r"[0-9a-f]{8,}|\d+", "", re.sub(r"\x1b\[[0-9;]*m", "", line)).strip()


def tell(step: Step, names: str, usual: list[Step]) -> str:
    """The line by which a step told of what was wrong; empty where it carried on silently."""
    known = {plain(line) for one in usual for line in one.output.splitlines()}
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in step.output.splitlines() if plain(line) not in known]
    for pattern in (names, WRONG):
        for line in reversed(lines):
            if re.search(pattern, line, re.IGNORECASE):
                return line
    return (lines or ["(nothing)"])[-1] if step.code else ""


def rows_of(sides: list[Side]) -> list[dict[str, Any]]:
    """All figures, one row each, the sides of a task beside each other."""
    rows: list[dict[str, Any]] = []
    ours = sides[0]
    for other in sides[1:]:
        base = {"bench": "people", "peer": f"{other.name} {other.version}".strip()}
        if other.missing:
            rows.append({**base, "case": ours.task, "metric": "peer", "ok": False, "why": other.missing})
            continue
        for metric in ("files", "lines"):
            values = {"ours": getattr(ours, metric), "theirs": getattr(other, metric)}
            rows.append({**base, "case": f"{ours.task}: to write", "metric": metric, **values, "ok": True})
        for mine, theirs in zip(ours.steps, other.steps, strict=False):
            case = f"{ours.task}: {mine.name}"
            fault = mine.name in FAULTS and FAULTS[mine.name].bad
            ok = fault or (mine.code == 0 and theirs.code == 0)
            for metric in ("commands", "wall", "cpu"):
                values = {"ours": round(getattr(mine, metric), 2), "theirs": round(getattr(theirs, metric), 2)}
                rows.append(
                    {
                        **base,
                        "case": case,
                        "metric": metric.replace("wall", "wall_s").replace("cpu", "cpu_s"),
                        **values,
                        "ok": ok,
                    }
                )
            if fault:
                rows.append({**base, "case": case, "metric": "told", "ours": mine.told, "theirs": theirs.told, "ok": True})
                rows.append(
                    {**base, "case": case, "metric": "stands", "ours": mine.stands, "theirs": theirs.stands, "ok": True}
                )
        if len(ours.steps) != len(other.steps):
            last = (ours if len(ours.steps) < len(other.steps) else other).steps[-1]
            rows.append({**base, "case": ours.task, "metric": "steps", "ok": False, "why": last.output[-300:]})
    return rows


def markdown(task: dict[str, Any], sides: list[Side]) -> str:
    """The tables of one task."""
    out = [f"### {task['title']}", "", "| | " + " | ".join(f"{side.name} {side.version}".strip() for side in sides) + " |"]
    out.append("|---" * (len(sides) + 1) + "|")
    have = [side for side in sides if side.steps]

    def row(name: str, cell: Any) -> None:
        out.append(f"| {name} | " + " | ".join(cell(side) if side in have else "**missing**" for side in sides) + " |")

    row("files, lines to write", lambda side: f"{side.files}, {side.lines}")
    for number, step in enumerate(max(sides, key=lambda side: len(side.steps)).steps):
        fault = FAULTS.get(step.name)

        def cell(side: Side, number: int = number, bad: bool = bool(fault and fault.bad)) -> str:
            if number >= len(side.steps):
                return "not reached"
            one = side.steps[number]
            spent = f"{one.wall:.1f} s, {one.cpu:.1f} CPU s"
            if not bad:
                return f"{one.commands} commands, {spent}" + ("" if one.code == 0 else f", **ended with {one.code}**")
            said = f"**told**: `{one.told[:160].replace('|', '/')}`" if one.told else "**silent**"
            return said + (f"; {one.stands}" if one.stands else "") + f" ({spent})"

        row(fault.title if fault else {"first": "to the first result", "again": "again, nothing new"}[step.name], cell)
    return "\n".join(out)


def main() -> int:
    """All tasks, or one; exits 1 if any line is not ok."""
    tasks = {path.stem.removeprefix("people_"): path for path in sorted(HERE.glob("people_*.yaml"))}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=sorted(tasks), action="append", help="only this one; may be repeated")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of tables")
    parser.add_argument(
        "--environments", type=pathlib.Path, default=HERE.parent / ".venv" / "people", help="where the peers live"
    )
    parser.add_argument("--keep", type=pathlib.Path, help="a folder for the output of every step")
    given = parser.parse_args()
    failed = False
    for name in given.task or sorted(tasks):
        task = yaml.safe_load(tasks[name].read_text())
        sides = []
        load = os.getloadavg()[0]
        for recipe in task["sides"]:
            with tempfile.TemporaryDirectory(prefix="orchestrai-people-") as folder:
                place = pathlib.Path(folder) / "work"
                side = Bench(task, recipe, place, given.environments.absolute()).measure()
            sides.append(side)
            for step in side.steps if given.keep else ():
                given.keep.mkdir(parents=True, exist_ok=True)
                (given.keep / f"{name}-{re.sub('[^a-z]+', '-', recipe['name'].lower())}-{step.name}.txt").write_text(
                    f"{step.output}\n{step.code} {step.probe}\n"
                )
        rows = rows_of(sides)
        failed |= any(not row["ok"] for row in rows)
        if given.json:
            print("\n".join(json.dumps({**row, "load": round(load, 1)}) for row in rows), flush=True)
        else:
            print(f"{markdown(task, sides)}\n\nLoad at the start: {load:.1f}.\n", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
