"""One bucket or container of a cloud as obstore and the cloud's own library reach it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

from orchestrai.storage.cloud.connection import StoreOptions
from orchestrai.storage.cloud.control import ControlPlane

READ_RETRIES: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=60)}
# a conditional write that was repeated by the client library could not be told from one that lost
NO_RETRIES: Any = {"max_retries": 0}


@dataclass
class Backend(ABC):
    """Two obstore stores on the same bucket, and what differs between the clouds; `options` are complete."""

    bucket: str
    prefix: str
    """Empty, or ending in a slash."""
    options: StoreOptions = field(repr=False)
    lists_in_order: bool = True

    @property
    @abstractmethod
    def url(self) -> str:
        """Where this is, without any secret."""

    @cached_property
    def reads(self) -> Any:
        """The obstore store that retries by itself."""
        return self.opened(READ_RETRIES)

    @cached_property
    def writes(self) -> Any:
        """The obstore store that never retries."""
        return self.opened(NO_RETRIES)

    @abstractmethod
    def opened(self, retries: Any) -> Any:
        """An obstore store with these retries."""

    @abstractmethod
    def refuse(self, name: str) -> str | None:
        """Why the cloud cannot hold a name, or None."""

    @abstractmethod
    def control(self) -> ControlPlane:
        """What obstore cannot do, through the cloud's own library."""
