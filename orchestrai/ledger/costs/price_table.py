"""Prices: a table with date and source for each, of which only those count that a site applies; none is ever made up.

The table that ships is `prices.yaml` beside this module. A site's own file names those that it applies, and adds or replaces prices.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal

from orchestrai.core.canonical import canonical_json, sha256_hex
from orchestrai.errors import ConfigError
from orchestrai.ledger.costs.usage import JobUsage, Usage

SHIPPED = Path(__file__).with_name("prices.yaml")
FORMAT = 1
# what a price may be of, and by what it counts there
UNITS = {
    "run": ("cpu_hour", "wall_hour", "vcpu_hour", "gb_hour"),
    "store": ("thousand_reads", "thousand_writes", "gb_read", "gb_written"),
    "job": ("hour", "vcpu_hour", "gb_hour", "dcu_hour", "normalized_instance_hour"),
}
GB = 1e9
# the price of a job that has one of its own
DECLARED = "declared with the job"
DIGITS = 9
# no price or machine is larger
MOST = 1e12


@dataclass(frozen=True)
class Price:
    """US dollars of one unit; `of` is `run`, `store/<kind>` or `job/<place>[/<instance type>]`."""

    name: str
    of: str
    unit: str
    usd: float
    date: str
    source: str
    kind: Literal["list", "own"] = "own"
    region: str = ""
    read: bool = False

    @property
    def told(self) -> str:
        """What a person reads of it."""
        what = f"list price, {self.region}" if self.kind == "list" else "own price"
        return f"USD {self.usd:g} a {self.unit} ({what}, {'read' if self.read else 'as of'} {self.date})"


@dataclass(frozen=True)
class Charge:
    """So much of a unit at a price, in US dollars; `job` is what it was used by, where that ran elsewhere."""

    price: str
    unit: str
    quantity: float
    usd: float
    job: str = ""

    def as_json(self) -> dict[str, Any]:
        """The form that is kept."""
        return {
            "price": self.price,
            "unit": self.unit,
            "quantity": round(self.quantity, DIGITS),
            "usd": round(self.usd, DIGITS),
            "job": self.job,
        }


@dataclass(frozen=True)
class PriceTable:
    """The prices that a site applies, and what its runs are given: `vcpus` and `memory_gb` are billed for as long as a run lasts."""

    prices: tuple[Price, ...] = ()
    vcpus: float = 0.0
    memory_gb: float = 0.0
    known: Mapping[str, Price] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Names the prices and the machine; empty where none applies."""
        if not self.prices:
            return ""
        return sha256_hex(canonical_json([[one.__dict__ for one in self.prices], self.vcpus, self.memory_gb]))[:12]

    def charges(self, usage: Usage) -> tuple[Charge, ...]:
        """What a run costs, by price; a job that has a declared price of its own costs that."""
        found = [charge for price in self.prices for charge in self._of(price, usage)]
        found += [Charge(DECLARED, "job", 1.0, job.usd, job.name) for job in usage.jobs if job.usd is not None]
        return tuple(charge for charge in found if charge.quantity)

    def _of(self, price: Price, usage: Usage) -> Iterator[Charge]:
        what, _, rest = price.of.partition("/")
        if what == "run":
            hours = usage.wall_seconds / 3600
            quantity = {
                "cpu_hour": usage.all_cpu_seconds / 3600,
                "wall_hour": hours,
                "vcpu_hour": self.vcpus * hours,
                "gb_hour": self.memory_gb * hours,
            }[price.unit]
            yield _charge(price, quantity)
        elif what == "store":
            traffic = usage.stores.get(rest)
            if traffic is not None:
                # services bill a listing as a write
                yield _charge(
                    price,
                    {
                        "thousand_reads": traffic.reads / 1000,
                        "thousand_writes": (traffic.writes + traffic.lists) / 1000,
                        "gb_read": traffic.bytes_read / GB,
                        "gb_written": traffic.bytes_written / GB,
                    }[price.unit],
                )
        else:
            for job in usage.jobs:
                if job.usd is None and _is_of(rest, job):
                    yield _charge(price, _units(job, price.unit), job.name)


def newly_charged(charges: Iterable[Charge], paid: dict[tuple[str, str], float]) -> float:
    """The US dollars of some charges that are not in `paid` yet, which they join: a job that a later try took up is paid for once."""
    total = 0.0
    for charge in charges:
        if not charge.job:
            total += charge.usd
            continue
        before = paid.get((charge.price, charge.job), 0.0)
        total += max(0.0, charge.usd - before)
        paid[charge.price, charge.job] = max(before, charge.usd)
    return total


def _charge(price: Price, quantity: float, job: str = "") -> Charge:
    return Charge(price.name, price.unit, quantity, quantity * price.usd, job)


def _is_of(rest: str, job: JobUsage) -> bool:
    place, _, machine = rest.partition("/")
    return job.place == place and machine in ("", job.instance_type)


def _units(job: JobUsage, unit: str) -> float:
    return job.seconds * job.instances / 3600 if unit == "hour" else float(job.units.get(unit, 0.0))


def read_prices(file: Path | None = None) -> PriceTable:
    """The table of a site: what its file applies and adds, or nothing without one. Raises ConfigError with file, entry and field."""
    shipped = dict(_shipped())
    if file is None:
        return PriceTable(known=shipped)
    body = _document(file)
    _known_fields(file, "the whole", body, ("format", "apply", "machine", "prices"))
    own = {price.name: price for price in _prices(file, body)}
    known = shipped | own
    applied = [str(name) for name in _list(file, body, "apply")]
    for name in applied:
        if name not in known:
            raise ConfigError(f"{file}: apply: expected one of {', '.join(known)}, found {name!r}: add it under prices")
    machine = body.get("machine") or {}
    if not isinstance(machine, Mapping):
        raise ConfigError(f"{file}: machine: expected vcpus and memory_gb, found {machine!r}: correct it")
    _known_fields(file, "machine", machine, ("vcpus", "memory_gb"))
    table = PriceTable(
        tuple(known[name] for name in dict.fromkeys([*applied, *own])),
        _number(file, "machine.vcpus", machine.get("vcpus", 0)),
        _number(file, "machine.memory_gb", machine.get("memory_gb", 0)),
        known,
    )
    for price in table.prices:
        given = {"vcpu_hour": table.vcpus, "gb_hour": table.memory_gb}.get(price.unit, 1.0)
        if price.of == "run" and not given:
            raise ConfigError(
                f"{file}: machine: expected what a run is given beside {price.name}, found none: say vcpus and memory_gb"
            )
    return table


@cache
def _shipped() -> Mapping[str, Price]:
    """The prices that ship, by name: read once in a process."""
    return {price.name: price for price in _prices(SHIPPED, _document(SHIPPED))}


def _document(file: Path) -> Mapping[str, Any]:
    import yaml

    # libyaml reads a tenth as long, and what ships nests no deeper than it was written
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader) if file == SHIPPED else yaml.SafeLoader
    try:
        body = yaml.load(file.read_text(encoding="utf-8"), loader) or {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as exc:
        # a ValueError is text that is no UTF-8, or a date that no calendar has
        raise ConfigError(
            f"expected a YAML file of prices in {file}, found {type(exc).__name__}: correct or remove it"
        ) from exc
    if not isinstance(body, Mapping):
        raise ConfigError(f"expected a mapping in {file}, found a {type(body).__name__}: see docs/cost.md")
    if body.get("format", FORMAT) != FORMAT:
        raise ConfigError(f"{file}: format: expected {FORMAT}, found {body['format']!r}: use a newer release")
    return body


def _prices(file: Path, body: Mapping[str, Any]) -> list[Price]:
    found = [_price(file, number, one) for number, one in enumerate(_list(file, body, "prices"))]
    names = [price.name for price in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"{file}: prices: expected each name once, found {twice} twice: remove one")
    return found


def _price(file: Path, number: int, body: Any) -> Price:
    at = f"prices[{number}]"
    if not isinstance(body, Mapping):
        raise ConfigError(f"{file}: {at}: expected a mapping, found {body!r}: see docs/cost.md")
    _known_fields(file, at, body, tuple(Price.__dataclass_fields__))
    missing = [name for name in ("name", "of", "unit", "usd", "date", "source") if body.get(name) in (None, "")]
    if missing:
        raise ConfigError(
            f"{file}: {at}: expected {', '.join(missing)}, found none: a price says of what, since when and who says so"
        )
    told = body["date"]
    day = told.isoformat() if isinstance(told, date) else str(told)
    try:
        date.fromisoformat(day)
    except ValueError as exc:
        raise ConfigError(f"{file}: {at}.date: expected a date such as 2026-11-30, found {day!r}: correct it") from exc
    of, unit, kind = str(body["of"]), str(body["unit"]), str(body.get("kind", "own"))
    what, _, rest = of.partition("/")
    if what not in UNITS or bool(rest) == (what == "run"):
        raise ConfigError(
            f"{file}: {at}.of: expected run, store/KIND or job/PLACE[/INSTANCE TYPE], found {of!r}: correct it"
        )
    if unit not in UNITS[what]:
        raise ConfigError(
            f"{file}: {at}.unit: expected one of {', '.join(UNITS[what])} for {what}, found {unit!r}: correct it"
        )
    if kind not in ("list", "own"):
        raise ConfigError(f"{file}: {at}.kind: expected list or own, found {kind!r}: correct it")
    return Price(
        str(body["name"]),
        of,
        unit,
        _number(file, f"{at}.usd", body["usd"]),
        day,
        str(body["source"]),
        "list" if kind == "list" else "own",
        str(body.get("region", "")),
        bool(body.get("read", False)),
    )


def _number(file: Path, at: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST:
        raise ConfigError(f"{file}: {at}: expected a number of at least 0, found {value!r}: correct it")
    return float(value)


def _list(file: Path, body: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = body.get(name) or []
    if not isinstance(value, list):
        raise ConfigError(f"{file}: {name}: expected a list, found {value!r}: correct it")
    return value


def _known_fields(file: Path, at: str, body: Mapping[str, Any], known: Sequence[str]) -> None:
    unknown = sorted(str(name) for name in body if name not in known)
    if unknown:
        raise ConfigError(f"{file}: {at}: expected {', '.join(known)}, found {', '.join(unknown)}: correct it")
