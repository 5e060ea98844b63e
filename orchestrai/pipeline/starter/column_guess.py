"""The type of a landed column: what our own conversions take every value for, asked in order of the strictest."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrai.ingest.readers.csv.number_marks import NumberMarks
from orchestrai.pipeline.starter.look.sample import Sample
from orchestrai.pipeline.starter.name_words import CLOCKS, COMPACT, DATES, MONTHS, NULL_WORDS
from orchestrai.pipeline.starter.type_trial import FEW, is_other, spread, tried

if TYPE_CHECKING:
    import pyarrow as pa

# names that say that digits are a time or a code
_TIME_WORD = re.compile(
    r"(?:^|_)(ts|time|timestamp|epoch|date|datetime|at|when|created|updated|occurred|t|dt|day|unix)(?:_|$)"
)
ID_WORD = re.compile(
    r"(?:^|_)(id|ids|uuid|guid|key|no|nr|num|code|number|ref|sku|zip|zipcode|postcode|postal|plz|phone|isbn|ean|iban|ssn)$"
)
_EPOCHS = (("s", 10**9, 22 * 10**8), ("ms", 10**12, 22 * 10**11), ("us", 10**15, 22 * 10**14), ("ns", 10**18, 22 * 10**17))


@dataclass
class Guess:
    """One column: its type, how it is read, what was seen of it; `values` are the typed ones, nulls where there is none."""

    source: str
    name: str
    type: str
    values: "pa.Array"
    unit: str = ""
    canonical: str = ""
    formats: tuple[str, ...] = ()
    nulls: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    misfits: int = 0
    zoned: bool = False
    derive: str = ""
    distinct: int = 0
    present: int = 0

    @property
    def numeric(self) -> bool:
        """True for numbers."""
        return self.type in ("BIGINT", "INT", "DOUBLE") or self.type.startswith("DECIMAL")

    @property
    def timed(self) -> bool:
        """True for dates and moments."""
        return self.type in ("TIMESTAMP", "DATE")


def number_marks(sample: Sample) -> dict[str, str]:
    """The decimal and thousands marks of a CSV sample, as keys of its source; nothing where they are those of programs."""
    import pyarrow.compute as pc

    if sample.reading["format"] != "csv":
        return {}
    found: dict[tuple[str, str], int] = {}
    for array in sample.columns.values():
        texts = pc.unique(spread(array.drop_null(), 20_000))
        if not len(texts) or not pc.any(pc.match_substring_regex(texts, r"^\s*[+-]?\d[\d.,' ]*[.,' ]\d+\s*$")).as_py():
            continue
        for decimal, thousands in ((".", ""), (",", ""), (",", "."), (".", ","), (",", " "), (".", "'")):
            if decimal == sample.reading.get("delimiter", ",") and not sample.reading.get("quote", '"'):
                continue
            _, wrong = NumberMarks(decimal, thousands).plain(texts)
            if len(wrong) <= FEW * len(texts) or _null_like(texts.take(wrong)):
                found[decimal, thousands] = found.get((decimal, thousands), 0) + 1
                break
    found.pop((".", ""), None)
    if not found:
        return {}
    # a mark of groups that one column needs does no harm to the others
    decimal, thousands = max(found, key=lambda marks: (found[marks], marks[1]))
    groups = next((marks[1] for marks in found if marks[0] == decimal and marks[1]), thousands)
    return ({"decimal": decimal} if decimal != "." else {}) | ({"thousands": groups} if groups else {})


def _null_like(texts: "pa.Array") -> bool:
    return all(text.strip().lower() in NULL_WORDS for text in set(texts.to_pylist()) if text is not None)


def guess_column(source: str, name: str, landed: "pa.Array", marks: dict[str, str]) -> Guess:
    """The type of one column of a sample."""
    import pyarrow as pa
    import pyarrow.types as kinds

    landed = landed.dictionary_decode() if kinds.is_dictionary(landed.type) else landed
    if kinds.is_large_string(landed.type):
        landed = landed.cast(pa.string())
    guess = _of_text(source, name, landed, marks) if kinds.is_string(landed.type) else _of_type(source, name, landed)
    if not guess.present:
        guess.notes.append("no value in the sample (unsure)")
    return guess


def _counted(guess: Guess) -> Guess:
    import pyarrow.compute as pc

    guess.present = len(guess.values) - guess.values.null_count
    guess.distinct = pc.count_distinct(guess.values, mode="only_valid").as_py()
    return guess


def _of_type(source: str, name: str, landed: "pa.Array") -> Guess:
    """A column that Parquet has typed."""
    import pyarrow.types as kinds

    kind = landed.type
    epoch = _epoch(name, landed) if kinds.is_integer(kind) else ""
    if epoch:
        typed, bad = tried(name, "TIMESTAMP", landed, unit=epoch)
        if not bad:
            why = f"whole numbers of {epoch} since 1970"
            return _counted(Guess(source, name, "TIMESTAMP", typed, unit=epoch, notes=[why]))
    told = _told(kind)
    typed, bad = tried(name, told, landed)
    guess = Guess(source, name, told, typed, misfits=len(bad), zoned=kinds.is_timestamp(kind) and kind.tz is not None)
    if told == "STRING":
        guess.notes.append(f"{kind} as text")
    if bad:
        guess.notes.append(f"{len(bad)} values do not fit, the first in row {bad[0] + 1} (unsure)")
    return _counted(guess)


def _told(kind: "pa.DataType") -> str:
    """The declared type for one of Arrow's; what is none of ours is text."""
    import pyarrow.types as kinds

    if kinds.is_decimal(kind):
        return f"DECIMAL({min(kind.precision, 38)},{kind.scale})"
    tests = (
        (kinds.is_boolean, "BOOLEAN"),
        (kinds.is_integer, "BIGINT"),
        (kinds.is_floating, "DOUBLE"),
        (kinds.is_timestamp, "TIMESTAMP"),
        (kinds.is_date, "DATE"),
    )
    return next((told for test, told in tests if test(kind)), "STRING")


def _of_text(source: str, name: str, landed: "pa.Array", marks: dict[str, str]) -> Guess:
    for candidate in _candidates(source, name, landed, marks):
        return _counted(candidate)
    guess = _counted(Guess(source, name, "STRING", landed))
    return guess


def _candidates(source: str, name: str, landed: "pa.Array", marks: dict[str, str]) -> Iterator[Guess]:
    import pyarrow.compute as pc

    texts = pc.unique(landed.drop_null())
    if not len(texts):
        return
    lowered = set(text.strip().lower() for text in texts.slice(0, 50).to_pylist())
    if lowered.difference(NULL_WORDS) and lowered.difference(NULL_WORDS) <= {"true", "false"}:
        yield from _accepted(source, name, landed, "BOOLEAN", {}, "")
    plain = _plain(landed, marks)
    for told in ("BIGINT", "DOUBLE"):
        for guess in _accepted(source, name, plain, told, {}, ""):
            yield from _numbers(guess, landed, texts)
    yield from _moments(source, name, landed, texts, marks)


def _plain(landed: "pa.Array", marks: dict[str, str]) -> "pa.Array":
    if not marks:
        return landed
    import pyarrow as pa

    typed = NumberMarks(marks.get("decimal", "."), marks.get("thousands", ""))
    plain, wrong = typed.plain(landed)
    if not wrong:
        return plain

    values = plain.to_pylist()
    original = landed.to_pylist()
    for row in wrong:
        # what is no number with these marks must not become one: 12.34 is not 1234
        values[row] = original[row] if not re.fullmatch(r"[\d.,+-]+", original[row]) else f"not {original[row]}"
    return pa.array(values, pa.string())


def _numbers(guess: Guess, landed: "pa.Array", texts: "pa.Array") -> Iterator[Guess]:
    import pyarrow.compute as pc

    coded = pc.any(pc.match_substring_regex(texts, r"^\s*0\d")).as_py()
    if coded or (ID_WORD.search(guess.name) and guess.type == "BIGINT"):
        padded = pc.any(pc.match_substring_regex(texts, r"^\s*-?\d+\.0+$")).as_py()
        why = "digits with leading zeros: a code" if coded else "digits, by its name a code"
        yield Guess(
            guess.source, guess.name, "STRING", landed, canonical="integer" if padded else "", nulls=guess.nulls, notes=[why]
        )
        return
    if guess.type == "BIGINT":
        epoch = _epoch(guess.name, guess.values)
        if epoch:
            typed, bad = tried(guess.name, "TIMESTAMP", landed, unit=epoch)
            if len(bad) <= guess.misfits:
                why = f"whole numbers of {epoch} since 1970"
                yield Guess(guess.source, guess.name, "TIMESTAMP", typed, unit=epoch, nulls=guess.nulls, notes=[why])
                return
        if _TIME_WORD.search(guess.name) and pc.all(pc.match_substring_regex(texts, r"^(19|20)\d{6}$")).as_py():
            typed, bad = tried(guess.name, "DATE", landed, formats=("%Y%m%d",))
            if not bad:
                yield Guess(guess.source, guess.name, "DATE", typed, formats=("%Y%m%d",), notes=["digits of a date"])
                return
    yield guess


def _epoch(name: str, numbers: "pa.Array") -> str:
    """The unit in which whole numbers count since 1970; nothing where they look like other numbers."""
    import pyarrow.compute as pc

    bounds = pc.min_max(numbers).as_py()
    if bounds["min"] is None:
        return ""
    for unit, low, high in _EPOCHS:
        # ten digits may be anything: there the name has to say so
        if low <= bounds["min"] and bounds["max"] <= high and (unit != "s" or _TIME_WORD.search(name)):
            return unit
    return ""


def _moments(source: str, name: str, landed: "pa.Array", texts: "pa.Array", marks: dict[str, str]) -> Iterator[Guess]:
    import pyarrow.compute as pc

    shown = str(texts[0])
    if not any(letter.isdigit() for letter in shown) and not any(letter.isdigit() for letter in str(texts[len(texts) - 1])):
        return
    yield from _accepted(source, name, landed, "DATE", {}, "")
    for guess in _accepted(source, name, landed, "TIMESTAMP", {}, ""):
        guess.zoned = bool(pc.all(pc.match_substring_regex(texts, r":.*(Z|[+-]\d{2}(:?\d{2})?)$")).as_py())
        if not guess.zoned:
            guess.notes.append("no zone is named: read as UTC; where it is a local clock, declare source.timezone (unsure)")
        yield guess
    if len(shown) > 40 or sum(letter.isdigit() for letter in shown) < 4:
        return
    fits = list(_forms())
    for size in (40, 2_000):
        head = spread(landed, size)
        few = FEW * len(head) + _words(head)
        fits = [form for form in fits if len(tried(name, "TIMESTAMP", head, formats=(form,))[1]) <= few]
    whole = [
        (form, guess) for form in fits for guess in _accepted(source, name, landed, "TIMESTAMP", {"formats": (form,)}, form)
    ]
    if not whole:
        return
    form, guess = min(whole, key=lambda one: (one[1].misfits, _disorder(one[1].values), _foreign(one[0], marks)))
    if "%H" not in form and "%I" not in form:
        typed, bad = tried(name, "DATE", landed, formats=(form,))
        guess.type, guess.values = (
            ("DATE", typed) if len(bad) <= guess.misfits + _words(landed) else (guess.type, guess.values)
        )
    elif "%z" not in form:
        guess.notes.append("no zone is named: read as UTC; where it is a local clock, declare source.timezone (unsure)")
    if len({one for one, _ in whole if one[:2] in ("%d", "%m")}) > 1:
        guess.notes.append(f"day and month could stand the other way round; {form} has the times in order (unsure)")
    yield guess


def _forms() -> Iterator[str]:
    for day in DATES:
        for clock in CLOCKS:
            yield day + clock
    yield from COMPACT
    yield from MONTHS


def _foreign(form: str, marks: dict[str, str]) -> int:
    """Months first where numbers are written with a point, days first elsewhere."""
    return int(form.startswith("%m") == bool(marks.get("decimal")))


def _disorder(values: "pa.Array") -> float:
    """The share of steps back, then how long the span is: the wrong way round jumps about."""
    import numpy as np
    import pyarrow as pa

    micros = values.drop_null().cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy(zero_copy_only=False)
    if len(micros) < 2:
        return 0.0
    steps = np.diff(micros)
    return round(float((steps < 0).mean()), 2) + float(np.abs(steps).mean()) / 1e18


def _words(landed: "pa.Array") -> int:
    """How many values are words for nothing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    known = pa.array(sorted(NULL_WORDS))
    return int(pc.sum(pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(landed.drop_null())), value_set=known)).as_py() or 0)


def _accepted(source: str, name: str, landed: "pa.Array", told: str, options: dict[str, Any], why: str) -> Iterator[Guess]:
    """The column as a type, if all but words for nothing and very few others fit."""
    for size in (100, 4_000):
        some = spread(landed, size)
        if len(some) < len(landed) and is_other(some, tried(name, told, some, **options)[1]):
            return
    typed, bad = tried(name, told, landed, **options)
    nulls: tuple[str, ...] = ()
    if bad:
        texts = landed.take(bad).to_pylist()
        distinct = set(texts)
        words = {text for text in distinct if text.strip().lower() in NULL_WORDS}
        others = [text for text in texts if text not in words]
        alike = set(others)
        present = len(landed) - landed.null_count - (len(texts) - len(others))
        if not present or len(others) == present:
            return
        if len(alike) == 1 and len(others) > FEW * present and not any(letter.isdigit() for letter in others[0]):
            # one word where the rest are numbers: a word for nothing that no list has
            share = len(others) / present
            if share > 0.3:
                return
            words, others = words | alike, []
        if len(others) > FEW * present:
            return
        nulls, bad = tuple(sorted(words)), others
    notes = [f"values such as {form!r}" for form in ((why,) if why else ())]
    if bad:
        notes.append(f"{len(bad)} values are no {told}, such as {bad[0]!r}: their rows become dead letters (unsure)")
    yield Guess(source, name, told, typed, nulls=nulls, notes=notes, misfits=len(bad), **options)
