"""What travels with a run: where to read and publish, when it is, whose keys, who is told; and ports to what lies above a stage."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from orchestrai.core.progress import Progress
from orchestrai.errors import ConfigError
from orchestrai.ledger.decisions.overrides import Override
from orchestrai.ledger.ledger import Ledger
from orchestrai.settings import Settings

if TYPE_CHECKING:
    from orchestrai.contracts.contract import Contract
    from orchestrai.privacy.tokens import TokenKeys

Port = TypeVar("Port")


@dataclass(frozen=True)
class RunContext:
    """One run's surroundings; what a stage works on is an argument beside it, and facts are in the ledger.

    `ports` give, by its type, what a stage asks of others: made when it is first asked for, by whoever knows both sides.
    With `again` a stage does also what was done before: a run that is to prove something. `trial` is told of the first thing that
    would be made, and raises WouldPublish: where it is given nothing is to come of the run.
    """

    ledger: Ledger
    settings: Settings = field(default_factory=Settings)
    clock: Callable[[], datetime] | None = None
    persons: "Callable[[], TokenKeys] | None" = None
    progress: Progress | None = None
    overrides: Sequence[Override] = ()
    ports: Mapping[type, Callable[[], object]] = field(default_factory=dict)
    again: bool = False
    trial: Callable[[str], NoReturn] | None = None

    @property
    def home(self) -> Path:
        """The folder of what is local to this deployment."""
        return self.settings.home

    def now(self) -> datetime:
        """This moment, by the run's own clock or the ledger's."""
        return self.clock() if self.clock is not None else self.ledger.clock()

    def keys_for(self, contract: "Contract") -> "TokenKeys | None":
        """The keys of persons, for a contract that tokenises columns; None where there is nothing to tokenise, or no keys."""
        return self.persons() if self.persons is not None and contract.person else None

    def begin(self, what: str) -> None:
        """Say that something is about to be made, or done elsewhere, that no store of the run would keep from happening.

        Raises WouldPublish in a trial.
        """
        if self.trial is not None:
            self.trial(what)

    def told(self, what: str, done: int, total: int) -> None:
        """Tell whoever listens how far it is."""
        if self.progress is not None:
            self.progress(what, done, total)

    def port(self, kind: type[Port]) -> Port:
        """What this run reaches through a port; raises ConfigError where nobody filled it."""
        given = self.ports[kind]() if kind in self.ports else None
        if not isinstance(given, kind):
            raise ConfigError(f"expected the port {kind.__name__} in this run, found none: run the node by Runtime.run")
        return given
