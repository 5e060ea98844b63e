"""One mistake in a declaration, as a value: where it is, what was expected, what was found."""

import dataclasses
import re
from pathlib import Path

from orchestrai.core.yaml.declaration import LineOf, Location, field_name, mistake
from orchestrai.errors import DeclarationError, OrchestraiError

_WORDS = re.compile(r"expected (?P<expected>.*?), found(?P<found>[: ].*)", re.DOTALL)
# what the SQL lint says: the text's name or file, the line where there is one, then the sentence
_TEXT = re.compile(r"(?P<origin>[\w.-]+):(?:(?P<line>\d+):)? (?P<sentence>.*)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Mistake:
    """`message` is the whole line; `error` is what was raised, where something was."""

    message: str
    path: str
    line: int
    field: str
    expected: str
    found: str
    error: OrchestraiError | None = dataclasses.field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, error: DeclarationError) -> "Mistake":
        """The mistake that an error of a declaration tells."""
        fields = error.fields
        line = fields.get("line")
        where, expected, found = (str(fields.get(name, "")) for name in ("field", "expected", "found"))
        path, line = str(fields.get("path", "")), line if isinstance(line, int) else 0
        return cls(error.message, path, line, where, expected, found, error)

    def as_json(self) -> dict[str, str | int]:
        """The form that a program reads."""
        return {
            "file": self.path,
            "line": self.line,
            "field": self.field,
            "expected": self.expected,
            "found": self.found,
            "message": self.message,
        }


class Mistakes:
    """Collects the mistakes of one pipeline.yaml and of the files it names."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.line_of: LineOf = lambda location: 1
        self.all: list[Mistake] = []

    def wrong(self, at: Location, expected: str, found: object) -> None:
        """A field of pipeline.yaml is not what it has to be."""
        self.take(mistake(self.path, self.line_of(at), field_name(at), expected, found), at)

    def take(self, error: OrchestraiError, at: Location) -> None:
        """What a reader of a contract, a source, a view or a label refused; `at` is the field that names it."""
        problem = Mistake.of(error) if isinstance(error, DeclarationError) else self._located(error, at)
        if problem.message not in {known.message for known in self.all}:
            self.all.append(problem)

    def _located(self, error: OrchestraiError, at: Location) -> Mistake:
        named = _TEXT.fullmatch(error.message)
        sentence = named["sentence"] if named else error.message
        path, line, where = self.path, self.line_of(at), field_name(at)
        if named and named["origin"].endswith((".sql", ".py")):
            path, line = self.path.parent / named["origin"], int(named["line"] or 1)
        elif named and named["line"] and named["line"] != "1":
            where = f"{where}, line {named['line']} of the text"
        sentence = " ".join(sentence.split())
        words = _WORDS.fullmatch(sentence)
        expected, found = (words["expected"], words["found"].lstrip(": ")) if words else (sentence, "")
        message = f"{path.parent.name}/{path.name}:{line}: {where}: {sentence}"
        return Mistake(message, str(path), line, where, expected, found, error)
