"""What all declarations of models share."""

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo

from orchestrai.core.time import declared_duration


def _duration(value: object, info: ValidationInfo) -> object:
    """As people write it; read from JSON, such as the recipe in model.json, also in ISO 8601 as it was written there."""
    written = info.mode == "json" and isinstance(value, str) and value.startswith(("P", "-P"))
    return value if written else declared_duration(value)


Duration = Annotated[timedelta, BeforeValidator(_duration)]


class Declared(BaseModel):
    """Base of all declarations: immutable, and an unknown field is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
