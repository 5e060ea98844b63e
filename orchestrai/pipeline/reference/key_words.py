"""What each key says in words, and an example of its value; the texts are in key_words.yaml."""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

_TEXTS = Path(__file__).with_name("key_words.yaml")


class Words(NamedTuple):
    """What a key says, and an example where its type tells none (else None)."""

    says: str
    example: Any = None


@cache
def all_words() -> dict[str, Words]:
    """The words by `Class.key`, the key as Python calls it."""
    import yaml

    from orchestrai.core.yaml.declaration import PARSER

    texts = yaml.load(_TEXTS.read_text(encoding="utf-8"), Loader=PARSER)
    return {
        name: Words(text) if isinstance(text, str) else Words(text["says"], text.get("example"))
        for name, text in texts.items()
    }


def words_of(model: type[BaseModel], name: str) -> Words:
    """The words of a field, of the class nearest to `model` that has some; empty where none has, which a test refuses."""
    key = named_words(model, name)
    return Words("") if key is None else all_words()[key]


def named_words(model: type[BaseModel], name: str) -> str | None:
    """The `Class.key` that tells of a field, or None."""
    return next((key for key in _keys(model, name) if key in all_words()), None)


def _keys(model: type[BaseModel], name: str) -> list[str]:
    return [f"{one.__name__}.{name}" for one in model.__mro__ if issubclass(one, BaseModel) and name in one.model_fields]
