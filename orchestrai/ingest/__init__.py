"""Arrival: from landing to raw events, every object exactly once."""

from typing import TYPE_CHECKING

from orchestrai.lazy import lazily

if TYPE_CHECKING:
    from orchestrai.ingest.deadletters import LetterCount, count_letters, list_letters, replay, show_letter
    from orchestrai.ingest.discovery import Discovery, discover, landed, missing
    from orchestrai.ingest.ingestion import ingest
    from orchestrai.ingest.landing import open_landing
    from orchestrai.ingest.letters import DeadLetter
    from orchestrai.ingest.source import HttpOptions, SourceSpec, SqlOptions

__all__ = [
    "DeadLetter",
    "Discovery",
    "HttpOptions",
    "LetterCount",
    "SourceSpec",
    "SqlOptions",
    "count_letters",
    "discover",
    "ingest",
    "landed",
    "list_letters",
    "missing",
    "open_landing",
    "replay",
    "show_letter",
]

lazily(
    __name__,
    {
        "deadletters": ("LetterCount", "count_letters", "list_letters", "replay", "show_letter"),
        "discovery": ("Discovery", "discover", "landed", "missing"),
        "ingestion": ("ingest",),
        "landing": ("open_landing",),
        "letters": ("DeadLetter",),
        "source": ("HttpOptions", "SourceSpec", "SqlOptions"),
    },
)
