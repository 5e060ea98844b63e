"""What JSON can say, as a type."""

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]
