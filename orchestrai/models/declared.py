"""What all declarations of models share."""

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from orchestrai.contracts.duration import declared_duration


def _duration(value: object) -> object:
    """As people write it, or in ISO 8601 as the recipe in model.json keeps it."""
    return value if isinstance(value, str) and value.startswith(("P", "-P")) else declared_duration(value)


Duration = Annotated[timedelta, BeforeValidator(_duration)]


class Declared(BaseModel):
    """Base of all declarations: immutable, and an unknown field is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
