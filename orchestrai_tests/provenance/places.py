"""A model registry in memory, in place of those that a model declares."""

import pytest

from orchestrai.errors import StorageError
from orchestrai.models.registry.target_port import Champion, Registered


class Place:
    """Remembers which versions it was given, one after the other; refuses while it is down."""

    url = "memory://registry"

    def __init__(self) -> None:
        self.held: list[str] = []
        self.down = False

    @classmethod
    def instead(cls, monkeypatch: pytest.MonkeyPatch) -> "Place":
        """One that every deployment goes to until the test ends."""
        found = cls()
        monkeypatch.setattr("orchestrai.models.registry.deployment.targets_of", lambda spec: [found])
        return found

    def register(self, champion: Champion) -> Registered:
        """Hold a version."""
        if self.down:
            raise StorageError("expected the registry to answer, found it down")
        changed = champion.scorer.version not in self.held[-1:]
        self.held += [champion.scorer.version] if changed else []
        return Registered(self.url, champion.name, "1", "live", "artifact", changed)
