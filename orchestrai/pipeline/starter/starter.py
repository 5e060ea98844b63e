"""From a place to the files of a first project: look, guess, write; nothing is asked and nothing is run."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrai.errors import ConfigError
from orchestrai.pipeline.starter.column_guess import Guess, guess_column, number_marks
from orchestrai.pipeline.starter.composite import derived_time
from orchestrai.pipeline.starter.cut_guess import Cut, find_cut
from orchestrai.pipeline.starter.look.landing_look import Look, look_at
from orchestrai.pipeline.starter.look.sample import Sample, read_sample
from orchestrai.pipeline.starter.look.table_look import is_table, read_table
from orchestrai.pipeline.starter.name_words import TAKEN
from orchestrai.pipeline.starter.roles import is_person, personal_reason, sql_names
from orchestrai.pipeline.starter.shape import Shape, find_shape, is_persistent, season
from orchestrai.secrets.url_credentials import refuse_credentials


@dataclass
class Findings:
    """All that was seen of a place and what follows from it."""

    name: str
    dataset: str
    look: Look
    sample: Sample
    columns: tuple[Guess, ...]
    marks: Mapping[str, str]
    shape: Shape
    cut: Cut
    personal: dict[str, str] = field(default_factory=dict)

    @property
    def time(self) -> Guess | None:
        """The column that dates a row."""
        return self.shape.time

    @property
    def reasons(self) -> list[str]:
        """Why what was written was written, a line each."""
        shape, target = self.shape, self.shape.target
        objects = f"{len(self.look.objects)} objects of {sum(info.size for info in self.look.objects):,} bytes"
        lines = [f"looked at {self.sample.rows:,} rows of {len(self.sample.keys)} of {objects}"]
        lines += [f"passed over, another kind: {', '.join(self.look.others[:5])}"] if self.look.others else []
        lines += self.sample.notes
        lines += [f"numbers are written with {self.marks}"] if self.marks else []
        lines += [f"{guess.name}: {note}" for guess in self.columns for note in guess.notes]
        lines += [f"{name}: personal, by {why}" for name, why in self.personal.items()]
        lines += [f"dated by {self.time.name}" if self.time else "no column tells a time"]
        lines += [f"told apart by {shape.key.name}"] if shape.key else []
        lines += self.cut.notes + shape.notes
        lines += (
            [f"{shape.kind}: {target.task} of {target.guess.name}, {target.why}"]
            if target
            else [f"{shape.kind}: whether they come again"]
        )
        lines += [f"{name} is no feature: {why}" for name, why in shape.left_out.items()]
        lines += [f"refused in the sample: {line}" for line in self.sample.refused[:3]]
        return lines


def find_out(name: str, place: str) -> Findings:
    """Look at a place and decide; raises ConfigError, with what was expected and found, where no project comes of it."""
    # the name of a file may carry one too, which no store looks at
    refuse_credentials(place)
    if is_table(place):
        look, sample = read_table(place)
    else:
        with tempfile.TemporaryDirectory(prefix="orchestrai-look-") as scratch:
            look = look_at(place, Path(scratch))
            sample = read_sample(look)
    marks = number_marks(sample)
    names = sql_names(list(sample.columns))
    columns = [guess_column(source, names[source], array, marks) for source, array in sample.columns.items()]
    made = derived_time(columns)
    if made is not None:
        columns.append(made)
    if sample.rows < 20:
        raise ConfigError(f"expected at least 20 rows to learn from, found {sample.rows}: name more data")
    shape = find_shape(sample, columns)
    if sample.reading["format"] == "sql":
        _require_readable(shape)
    cut = find_cut(look, sample, shape.time)
    if shape.kind == "series":
        shape.window = season(shape)
        shape.persistent = is_persistent(shape)
    findings = Findings(name, _dataset_name(name), look, sample, tuple(columns), marks, shape, cut)
    persons = any(is_person(guess) for guess in columns) or bool(_person_entity(findings))
    for guess in columns:
        why = personal_reason(guess, persons)
        if why:
            findings.personal[guess.name] = why
    _leave_persons_out(findings)
    return findings


def _require_readable(shape: Shape) -> None:
    """A table is read on from a time, row by row: it has both a time and a key."""
    missing = [
        what
        for what, found in (("a column of times", shape.time), ("a column of distinct values", shape.key))
        if found is None
    ]
    if missing or (shape.time is not None and shape.time.derive):
        found = " and ".join(missing) or f"{shape.time.name if shape.time else ''} made of others"
        raise ConfigError(
            f"expected a time and a key by which a table is read on, found it without {found}: name a view of the database that has them"
        )


def _person_entity(findings: Findings) -> bool:
    found = findings.shape.entity
    return found is not None and is_person(found)


def _leave_persons_out(findings: Findings) -> None:
    """What says who somebody is, is no feature."""
    shape = findings.shape
    for guess in shape.features:
        if guess.name in findings.personal:
            shape.left_out[guess.name] = f"personal, by {findings.personal[guess.name]}"
    shape.features = tuple(guess for guess in shape.features if guess.name not in findings.personal)
    if not shape.features and shape.kind == "table":
        raise ConfigError("expected a column to learn from, found personal data only: add one, or declare the view by hand")


def _dataset_name(name: str) -> str:
    return f"{name}_rows" if name in TAKEN else name
