"""The check `ordinary`: all evidence on one partition judged together, as the probability that an ordinary one looks like that.

What is improbable is held: it waits for a person's yes or for more data. The check says how it came to that, in words.
"""

from dataclasses import dataclass

from orchestrai.contracts.contract import HoldRule
from orchestrai.core.canonical import JsonValue
from orchestrai.core.verdict import CheckInfo, Verdict

ORDINARY = "ordinary"
INFO = CheckInfo(
    ORDINARY, True, "The partition looks like those before it; what is improbable is held until a person says yes."
)
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing looked at: how probable it is that an ordinary partition is at least as far off, and what was expected and found."""

    name: str
    probability: float
    expected: str
    found: str

    def as_json(self) -> dict[str, JsonValue]:
        """The form in which verdicts carry it."""
        return {
            "evidence": self.name,
            "probability": rounded(self.probability),
            "expected": self.expected,
            "found": self.found,
        }


@dataclass(frozen=True, slots=True)
class Judgement:
    """The probability that an ordinary partition looks at least so odd, and the evidence for it, the strongest first."""

    probability: float
    evidence: tuple[Evidence, ...]
    history: int

    def verdict(self, rule: HoldRule) -> Verdict:
        """Fails where fewer than the declared share of ordinary partitions are as odd as this one."""
        details: dict[str, JsonValue] = {
            "probability": rounded(self.probability),
            "least": rule.ordinary_days,
            "history": self.history,
            "evidence": [evidence.as_json() for evidence in self.evidence],
        }
        if self.probability >= rule.ordinary_days:
            return Verdict(ORDINARY, True, f"{percent(self.probability)} of ordinary ones are as far off", details=details)
        told = "; ".join(f"{one.name}: expected {one.expected}, found {one.found}" for one in self.evidence[:SHOWN])
        message = (
            f"{told}: {percent(self.probability)} of ordinary ones are as far off, so it is held: have the producer send what is missing, "
            "or publish it by `orchestrai gate release`"
        )
        return Verdict(ORDINARY, False, message, details=details)


def unjudged(why: str, *, over: bool = True) -> Verdict:
    """The verdict where nothing can be said; of a partition that is not `over` something can be said later."""
    return Verdict(ORDINARY, True, why, details={} if over else {"over": False})


def rounded(probability: float) -> float:
    """Two digits of a probability, however small, so that equal data has equal verdicts on every machine."""
    return float(f"{probability:.1e}")


def percent(probability: float) -> str:
    """A share in words for people."""
    return (
        f"{probability:.0%}" if probability >= 0.1 else f"{probability:.1%}" if probability >= 0.001 else "fewer than 0.1%"
    )
