"""`doctor --prove CLOUD`: what would be tried in an account, and what came of it.

A step says beforehand what it makes and needs; it uses the adapters of the product and nothing else, and removes what it made.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrai.errors import ConfigError, OrchestraiError

Given = Mapping[str, str]
State = Literal["proven", "failed", "not given"]


@dataclass(frozen=True)
class Step:
    """One thing to try. `needs` are names of what must be given; `makes` says what is there for a moment, "" for nothing.

    `run` returns what was seen, and raises an error of ours; it removes what it made in each case.
    """

    name: str
    does: str
    needs: tuple[str, ...]
    run: Callable[[Given], str]
    makes: str = ""


@dataclass(frozen=True)
class Proven:
    """What came of a step."""

    name: str
    state: State
    detail: str


@dataclass(frozen=True)
class AccountPlan:
    """The steps for a cloud, with what was given."""

    cloud: str
    given: Given
    steps: tuple[Step, ...] = field(default_factory=tuple)

    def lacking(self, step: Step) -> list[str]:
        """What a step needs and was not given."""
        return [name for name in step.needs if not self.given.get(name)]

    def lines(self) -> list[tuple[str, str, str, str]]:
        """Name, what it does, what it makes, and what it lacks, for people."""
        return [(one.name, one.does, one.makes or "nothing", ", ".join(self.lacking(one))) for one in self.steps]

    def run(self) -> list[Proven]:
        """Try each step for which everything is given; one that fails keeps no other from being tried."""
        return [self._tried(step) for step in self.steps]

    def _tried(self, step: Step) -> Proven:
        lacking = self.lacking(step)
        if lacking:
            return Proven(step.name, "not given", f"give {' and '.join(lacking)}")
        try:
            return Proven(step.name, "proven", step.run(self.given))
        except OrchestraiError as exc:
            return Proven(step.name, "failed", exc.message)


def account_plan(cloud: str, given: Sequence[str]) -> AccountPlan:
    """The plan for `aws`, `azure` or `gcp`, of what was given as NAME=VALUE; raises ConfigError. Nothing is connected."""
    steps = _steps(cloud)
    known = sorted({name for step in steps for name in step.needs} | {"endpoint"})
    values: dict[str, str] = {}
    for one in given:
        name, separator, value = one.partition("=")
        if not separator or name not in known or not value:
            raise ConfigError(f"expected NAME=VALUE with a name of {', '.join(known)}, found {name!r}: correct --given")
        values[name] = value
    return AccountPlan(cloud, values, steps)


def _steps(cloud: str) -> tuple[Step, ...]:
    if cloud == "aws":
        from orchestrai.pipeline.accounts.aws_steps import aws_steps

        return aws_steps()
    if cloud == "azure":
        from orchestrai.pipeline.accounts.azure_steps import azure_steps

        return azure_steps()
    if cloud == "gcp":
        from orchestrai.pipeline.accounts.google_steps import google_steps

        return google_steps()
    raise ConfigError(f"expected aws, azure or gcp to prove, found {cloud!r}: correct --prove")


def declared(kind: Any, given: Given, **more: Any) -> Any:
    """A declaration of what was given; raises ConfigError with its first mistake."""
    from pydantic import ValidationError

    fields = {name: given[name] for name in kind.model_fields if given.get(name)}
    try:
        return kind.model_validate({**fields, **more})
    except ValidationError as exc:
        first = exc.errors(include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "what was given"
        raise ConfigError(f"{name}: {first['msg']}: correct --given") from None
