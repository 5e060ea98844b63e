"""Command lines in the pages, held against the real command line without running it."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

import click
import typer

from orchestrai_tests.docs.pages import ROOT

_INSIDE = re.compile(r"\$\(([^()]*)\)")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


@cache
def command_line() -> click.Group:
    """`orchestrai`, as a tree of click's commands."""
    from orchestrai.cli.app import app

    found: Any = typer.main.get_command(app)
    return found  # type: ignore[no-any-return]


@cache
def dagster_line() -> click.Group:
    """`dagster`, of which the pages use a command or two."""
    from dagster._cli import create_dagster_cli

    found: Any = create_dagster_cli()
    return found  # type: ignore[no-any-return]


@cache
def targets() -> frozenset[str]:
    """What `make` knows."""
    text = (ROOT / "Makefile").read_text()
    named = re.findall(r"^([a-z][a-z -]*):(?!=)", text, flags=re.MULTILINE)
    return frozenset(name for names in named for name in names.split())


def lines_of(text: str) -> list[str]:
    """The commands of a block: comments gone, continued lines joined, `&&` taken apart."""
    joined = re.sub(r"\\\n\s*", " ", text)
    found = []
    for line in joined.split("\n"):
        words = shlex.split(line, comments=True)
        if words:
            found += [part.strip() for part in re.sub(r"\s#\s.*$", "", line).split("&&")]
    return [line for line in found if line and not line.startswith("#")]


def spelled_out(line: str) -> Iterator[list[str]]:
    """Every command that a synopsis means: `[--x Y]` is taken, `a|b` and `[--x | --y]` are taken one after another."""
    parts: list[list[str]] = []
    for group, word in re.findall(r"\[([^\]]*)\]|((?:[^\s\[\"']|\"[^\"]*\"|'[^']*')+)", line):
        if group:
            parts.append(re.split(r"\s+\|\s+", group) if " | " in group else _alternatives(group))
        else:
            parts.append(_alternatives(word))
    for chosen in product(*parts):
        yield ["1" if word == "N" else word for piece in chosen for word in shlex.split(piece)]


def _alternatives(text: str) -> list[str]:
    """`--level a|b` -> `--level a`, `--level b`; text with quotes, URLs or paths is left alone."""
    words = text.split(" ")
    choices = [word.split("|") if re.fullmatch(r"[\w|*./:-]+", word) and "|" in word else [word] for word in words]
    return [" ".join(chosen) for chosen in product(*choices)]


def check_line(line: str) -> None:
    """Raise AssertionError for a command that the real program would not understand, or for one inside it."""
    for inner in _INSIDE.findall(line):
        check_line(inner)
    for words in spelled_out(_INSIDE.sub("answer", line)):
        while words and _ASSIGNMENT.match(words[0]):
            words = words[1:]
        assert words, f"{line}: no command"
        program, *given = words
        program = program.rpartition("/")[2]
        if program == "orchestrai":
            parse(command_line(), given)
        elif program == "dagster":
            parse(dagster_line(), given)
        elif program == "make":
            unknown = [target for target in given if target not in targets()]
            assert not unknown, f"{line}: make knows no {', '.join(unknown)}"
        elif program in ("python", "pytest"):
            check_paths(given)
        elif program in ("export", "moto_server"):
            continue
        else:
            raise AssertionError(f"{line}: nothing here knows {program}; give a reason above it: <!-- not run: ... -->")


def check_paths(given: list[str]) -> None:
    """Paths of tests and modules of benchmarks exist."""
    for word in given:
        if word.startswith("orchestrai_tests/"):
            assert (ROOT / word.partition("::")[0]).exists(), f"{word} is not there"
    if "-m" in given:
        module = given[given.index("-m") + 1]
        if module.startswith(("bench.", "orchestrai_tests.")):
            assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), f"{module} is not there"


def parse(root: click.Group, given: list[str]) -> None:
    """As click would, up to where the command would begin; raises AssertionError with its message."""
    command: Any = root
    path = [str(root.name or "orchestrai")]
    rest = list(given)
    context: Any = None
    # typer carries a click of its own, so what a group is is told by what it can do
    while hasattr(command, "get_command") and rest and not rest[0].startswith("-"):
        context = context or command.context_class(command, info_name=path[-1])
        found = command.get_command(context, rest[0])
        assert found is not None, f"{' '.join([*path, rest[0]])}: no such command"
        path.append(rest.pop(0))
        context = found.context_class(found, info_name=path[-1], parent=context)
        command = found
    if "--help" in rest or hasattr(command, "get_command"):
        assert rest in ([], ["--help"], ["--version"]), f"{' '.join([*path, *rest])}: a command is missing"
        return
    try:
        command.make_context(path[-1], list(rest), parent=context.parent)
    except Exception as exc:
        # usage errors of two libraries, which share no base
        told = exc.format_message() if hasattr(exc, "format_message") else repr(exc)
        raise AssertionError(f"{' '.join([*path, *rest])}: {told}") from exc


def option_names(command: Any) -> set[str]:
    """Every spelling of every option."""
    return {name for param in command.params for name in (*param.opts, *param.secondary_opts)} | {"--help"}


def every_command(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All commands of `orchestrai` that do something, by path."""
    command = command or command_line()
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, child in sorted(command.commands.items()):
        yield from every_command(child, (*path, name))


def check_spoken(text: str) -> None:
    """A command named within a sentence may leave out arguments, but what it names exists."""
    for words in spelled_out(text):
        command: Any = command_line()
        rest = words[1:]
        while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
            assert rest[0] in command.commands, f"`{text}`: no command {rest[0]}"
            command = command.commands[rest.pop(0)]
        unknown = [word for word in rest if word.startswith("--") and word.partition("=")[0] not in option_names(command)]
        assert not unknown, f"`{text}`: no option {', '.join(unknown)}"
