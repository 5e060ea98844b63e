"""What a user declares of features: views and labels."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from orchestrai.core import plugins
from orchestrai.core.former_names import first_name
from orchestrai.core.time.duration_cron import Duration
from orchestrai.core.time.partition_key import time_part
from orchestrai.core.yaml.declaration import SHARED, Declaration, FormerNames, field_reader, require_moved
from orchestrai.errors import ConfigError

ARRIVAL = "arrival"
# engines that orchestrai has itself
ENGINES = ("duckdb", "spark")
_IDENTIFIER = r"^[A-Za-z_][A-Za-z0-9_]*$"


def _names(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _table_name(reference: str) -> str:
    return reference.rsplit("/", 1)[-1]


def _share(value: object) -> object:
    """A share as people write it: 2% or 0.02."""
    if not isinstance(value, str) or not value.strip().endswith("%"):
        return value
    try:
        return float(value.strip()[:-1]) / 100
    except ValueError as exc:
        raise ValueError(f"expected a share such as 2% or 0.02, found {value}") from exc


def check_engine(name: str) -> str:
    """Return the name of an engine, or `auto`, unchanged; raises ConfigError where nobody has one of that name."""
    if name not in ("auto", *ENGINES) and plugins.find("engines", name) is None:
        known = ", ".join(("auto", *ENGINES, *plugins.names("engines")))
        raise ConfigError(f"expected an engine ({known}), found {name!r}: correct it, or install the package that adds it")
    return name


Name = Annotated[str, Field(pattern=_IDENTIFIER)]
EngineName = Annotated[
    str,
    AfterValidator(field_reader(check_engine)),
    Field(description="auto, duckdb, spark, or the name of one that a plug-in adds"),
]
Share = Annotated[float, BeforeValidator(_share), Field(ge=0, le=1)]
Names = Annotated[tuple[Name, ...], BeforeValidator(_names), Field(min_length=1)]
References = Annotated[tuple[str, ...], BeforeValidator(_names), Field(min_length=1)]


class Lookback(Declaration):
    """How far before its own rows a view reads: events per entity, and time."""

    rows: int | None = Field(default=None, ge=0)
    time: Duration | None = None


class AsOfSchedule(Declaration):
    """When an entity-level view is computed: every so often, at UTC midnights where `every` is whole days.

    Moments without `start` lie on a fixed grid from Monday 1970-01-05, so that they never move as data grows.
    The first one comes `warmup` after the data begins, by default the view's look-back: earlier windows are not full.
    """

    every: Duration
    warmup: Duration | None = None
    start: date | None = None
    end: date | None = None


class TableClocks(Declaration):
    """How one input tells time; `known_at` is the column that says when a row became known, where it differs.

    `known_at: arrival` takes the time at which the row's object, micro-batch or query first came here, as the vault has it noted.
    `lookback: all` exempts a slowly changing table (items, customers) from the view's time look-back.
    """

    event_time: Name | None = None
    known_at: Name | None = None
    lookback: Literal["view", "all"] = "view"


class FeatureChecks(Declaration):
    """Rules on a view's output. `null_rate` and `ranges` (smallest and largest value), by column, close the gate.

    So does a share of rows above `incomplete` whose windows lack partitions in which data was due; below it, and without it, that warns.
    The others warn: `coverage` is the least share of the entities of the first input (or of the spine) that must have features,
    `freshness` the greatest age of the newest features, `drift` the largest PSI against the champion's training set.
    """

    null_rate: Mapping[Name, float] = Field(default_factory=dict)
    ranges: Mapping[Name, tuple[float | None, float | None]] = Field(default_factory=dict)
    incomplete: Share | None = None
    coverage: Annotated[float, Field(gt=0, le=1)] | None = None
    freshness: Duration | None = None
    drift: Annotated[float, Field(gt=0)] | None = None


def _recompute(value: object) -> object:
    return {"stale": value} if isinstance(value, str) else value


class Recompute(Declaration):
    """What a run does with published partitions beside those asked for that changed inputs have made stale.

    `auto` computes the newest `at_most` of them in the same run and lists the others, `list` lists them all.
    """

    stale: Literal["auto", "list"] = "auto"
    at_most: Annotated[int, Field(ge=1)] = 100


class _Query(Declaration):
    sql: str = Field(min_length=1)
    tables: Mapping[Name, TableClocks] = Field(default_factory=dict)
    engine: EngineName = "auto"


class FeatureViewSpec(_Query):
    """A feature view: features of an entity, row-level (`event_time`) or at moments (`as_of`).

    `from` lists datasets of this pipeline (`orders`) or of another (`churn/orders`); in SQL each is a table named by its
    last part. An as-of view also reads `spine(<entity>, as_of)`. `files_every` cuts each partition of a row-level view into files
    of that much event time, so that new rows rewrite only the files from theirs on. `online` keeps the newest features of each
    entity where a client reads them by key. `recompute: list` leaves partitions that late data made stale to whoever asks for them.

    Instead of `sql`, `python: module:function` names a function over Arrow (or `over: pandas`) tables in the pipeline's folder; its
    columns are declared in `outputs` (Spark SQL types), and a row-level one says how far it looks back. It runs on this machine only.
    """

    name: Name
    renamed_from: FormerNames = ()
    sql: str = ""
    python: str = ""
    over: Literal["arrow", "pandas"] = "arrow"
    outputs: Mapping[Name, str] = Field(default_factory=dict)
    inputs: References = Field(alias="from")
    entity: Names
    event_time: Name | None = None
    as_of: AsOfSchedule | None = None
    spine_from: str | None = None
    lookback: Lookback | None = None
    checks: FeatureChecks = Field(default_factory=FeatureChecks)
    files_every: Annotated[Duration, Field(ge=timedelta(minutes=1))] | None = None
    online: bool = False
    recompute: Annotated[Recompute, BeforeValidator(_recompute)] = Recompute()

    @model_validator(mode="before")
    @classmethod
    def _shared_elsewhere(cls, value: Any) -> Any:
        return require_moved(value, {"share": SHARED, "delta": SHARED})

    @model_validator(mode="after")
    def _one_text(self) -> "FeatureViewSpec":
        if bool(self.sql) == bool(self.python):
            raise ValueError("expected either sql (a file or a text) or python (module:function)")
        if self.python and not self.outputs:
            raise ValueError("expected outputs: {column: TYPE} beside python, found none")
        if not self.python and (self.outputs or self.over != "arrow"):
            raise ValueError("expected outputs and over beside python only, found them beside sql")
        if self.python and self.engine not in ("auto", "duckdb"):
            raise ValueError(
                f"expected engine: duckdb or auto beside python, found {self.engine}: write the view as sql to run it there"
            )
        if self.python and self.event_time is not None and self.lookback is None:
            raise ValueError(
                "expected lookback: {rows, time} beside python, found none: how far back a function reads is not seen"
            )
        return self

    @model_validator(mode="after")
    def _one_clock(self) -> "FeatureViewSpec":
        if (self.event_time is None) == (self.as_of is None):
            raise ValueError("expected either event_time (a feature row per event) or as_of (a row per entity and moment)")
        if self.files_every is not None and self.event_time is None:
            raise ValueError(
                "expected files_every beside event_time, found it beside as_of: a moment has no span to cut into files"
            )
        names = [_table_name(reference) for reference in self.inputs]
        if len(set(names)) != len(names) or "spine" in names:
            raise ValueError(f"expected inputs with distinct last parts, none named spine, found {', '.join(self.inputs)}")
        clocked = sorted(name for name, clocks in self.tables.items() if clocks.known_at is not None)
        if clocked and self.as_of is None:
            raise ValueError(
                f"expected tables.{clocked[0]}.known_at beside as_of, found it beside event_time: a row-level view has no moment before "
                "which a row must be known"
            )
        if self.spine_from is not None and _table_name(self.spine_from) not in names:
            raise ValueError(f"expected spine_from to be one of {', '.join(self.inputs)}, found {self.spine_from}")
        unknown = sorted(set(self.tables) - set(names))
        if unknown:
            raise ValueError(f"expected tables among {', '.join(names)}, found {', '.join(unknown)}")
        return self

    @property
    def first_name(self) -> str:
        """The name that it was given first, which is what is stored of it."""
        return first_name(self.name, self.renamed_from)

    @property
    def table_names(self) -> tuple[str, ...]:
        """The inputs' names in SQL."""
        return tuple(_table_name(reference) for reference in self.inputs)

    @property
    def spine_table(self) -> str:
        """The table whose rows define the entities of an as-of view."""
        return _table_name(self.spine_from or self.inputs[0])


class LabelSpec(_Query):
    """A label: SQL over `spine(<entity>, as_of)` and inputs, which sees rows of [as_of, as_of + horizon) only.

    It is called as its file is, without `.sql`; `renamed_from` names files that it was in before.
    """

    horizon: Duration
    renamed_from: FormerNames = ()

    @property
    def name(self) -> str:
        """The name of its file, without the ending; `label` where its text is declared in place."""
        return Path(self.sql).stem if self.sql.endswith(".sql") else "label"

    @property
    def first_name(self) -> str:
        """The name that it was given first, which is what is stored of it."""
        return first_name(self.name, self.renamed_from)

    def as_recorded(self) -> dict[str, Any]:
        """What a receipt keeps of the declaration; its file by the name that it was given first."""
        body = self.model_dump(mode="json", exclude={"renamed_from"})
        if self.renamed_from and self.sql.endswith(".sql"):
            body["sql"] = str(Path(self.sql).with_name(f"{self.first_name}.sql"))
        return body


class SpineSpec(Declaration):
    """Training rows that somebody brings: a dataset of entities and moments, with the label in a column.

    The moment is the event time of the dataset's contract. `horizon` is how far after its moment the label looked.
    """

    source: Name = Field(alias="from")
    label: Name
    horizon: Duration


class IncompleteRows(Declaration):
    """What a training set does with rows whose windows lack partitions in which data was due.

    `windows: keep` has them in it, `drop` leaves them out. Rows whose label's horizon lacks such a partition are always left out: their
    label is not known. The share of rows of either kind is told, and closes the gate above `at_most` (2% or 0.02).
    """

    windows: Literal["keep", "drop"] = "keep"
    at_most: Share | None = None


def moments(schedule: AsOfSchedule, first: datetime, last: datetime) -> list[datetime]:
    """The as-of moments from `first` to `last`, both included, ascending."""
    anchor = _midnight(schedule.start) if schedule.start else datetime(1970, 1, 5, tzinfo=UTC)
    low = max(first, anchor) if schedule.start else first
    high = min(last, _midnight(schedule.end)) if schedule.end else last
    step = max(0, -((anchor - low) // schedule.every))
    times = []
    while (moment := anchor + step * schedule.every) <= high:
        if moment >= low:
            times.append(moment)
        step += 1
    return times


def moment_key(moment: datetime, every: timedelta) -> str:
    """The partition key of an as-of moment: a date, or date and minute where moments are less than days apart."""
    return moment.strftime("%Y-%m-%d" if every % timedelta(days=1) == timedelta(0) else "%Y-%m-%d-%H:%M")


def parse_moment(key: str) -> datetime:
    """The moment of an as-of partition key, whatever its value; raises ValueError."""
    key = time_part(key)
    return datetime.strptime(key, "%Y-%m-%d-%H:%M" if len(key) > 10 else "%Y-%m-%d").replace(tzinfo=UTC)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
