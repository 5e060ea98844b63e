"""The one resource: a lazily opened runtime."""

import dagster as dg
from pydantic import PrivateAttr

from orchestrai.pipeline import Runtime
from orchestrai.settings import load_settings


class RuntimeResource(dg.ConfigurableResource):
    """Opens settings, stores and pipelines on first use; holds no secret and no live client in its config."""

    _runtime: Runtime | None = PrivateAttr(default=None)

    def get(self) -> Runtime:
        """The runtime of this process."""
        if self._runtime is None:
            self._runtime = Runtime(load_settings())
        return self._runtime

    @classmethod
    def of(cls, runtime: Runtime) -> "RuntimeResource":
        """A resource around a runtime that is already open."""
        resource = cls()
        resource._runtime = runtime
        return resource
