"""Arrival: from landing to raw events, every object, record and row exactly once."""

from typing import TYPE_CHECKING

from orchestrai.lazy import lazily

if TYPE_CHECKING:
    from orchestrai.ingest.arrived import arrivals
    from orchestrai.ingest.deadletters import LetterCount, count_letters, list_letters, replay, show_letter
    from orchestrai.ingest.discovery import Discovery, discover, identity, landed, missing
    from orchestrai.ingest.following import Pending, behind, check_source, follow, opened_stream, pending
    from orchestrai.ingest.ingestion import ingest
    from orchestrai.ingest.kafka import KafkaSettings, KafkaSource, open_stream
    from orchestrai.ingest.landing import open_landing, require_landing
    from orchestrai.ingest.letters import DeadLetter
    from orchestrai.ingest.load_spec import LoadSpec
    from orchestrai.ingest.notifications import ObjectEvent, Parsed, Refusal
    from orchestrai.ingest.placing import uri_of
    from orchestrai.ingest.queue_services import open_queue
    from orchestrai.ingest.queues import ArrivalQueue, Drained, drain, published, quarantined, store_refused
    from orchestrai.ingest.records import StreamRecord, read_archive
    from orchestrai.ingest.replaying import replay_records
    from orchestrai.ingest.source import HttpOptions, NotificationOptions, SourceSpec, SqlOptions, StreamOptions
    from orchestrai.ingest.sql import ingest_table, position_of
    from orchestrai.ingest.sql_source import Position, SqlSource, table_of
    from orchestrai.ingest.sqlalchemy_target import SqlAlchemyTarget
    from orchestrai.ingest.streaming import ingest_stream
    from orchestrai.ingest.streamlog import StreamLog
    from orchestrai.ingest.streams import StreamSource, published_offsets
    from orchestrai.ingest.tables import LoadReport, load_table
    from orchestrai.ingest.targets import DuckdbTarget, PostgresTarget
    from orchestrai.ingest.warehouse import load_partitions, open_target

__all__ = [
    "ArrivalQueue",
    "DeadLetter",
    "Discovery",
    "Drained",
    "DuckdbTarget",
    "HttpOptions",
    "KafkaSettings",
    "KafkaSource",
    "LetterCount",
    "LoadReport",
    "LoadSpec",
    "NotificationOptions",
    "ObjectEvent",
    "Parsed",
    "Pending",
    "Position",
    "PostgresTarget",
    "Refusal",
    "SourceSpec",
    "SqlAlchemyTarget",
    "SqlOptions",
    "SqlSource",
    "StreamLog",
    "StreamOptions",
    "StreamRecord",
    "StreamSource",
    "arrivals",
    "behind",
    "check_source",
    "count_letters",
    "discover",
    "drain",
    "follow",
    "identity",
    "ingest",
    "ingest_stream",
    "ingest_table",
    "landed",
    "list_letters",
    "load_partitions",
    "load_table",
    "missing",
    "open_landing",
    "open_queue",
    "open_stream",
    "open_target",
    "opened_stream",
    "pending",
    "position_of",
    "published",
    "published_offsets",
    "quarantined",
    "read_archive",
    "replay",
    "replay_records",
    "require_landing",
    "show_letter",
    "store_refused",
    "table_of",
    "uri_of",
]

lazily(
    __name__,
    {
        "arrived": ("arrivals",),
        "deadletters": ("LetterCount", "count_letters", "list_letters", "replay", "show_letter"),
        "discovery": ("Discovery", "discover", "identity", "landed", "missing"),
        "following": ("Pending", "behind", "check_source", "follow", "opened_stream", "pending"),
        "ingestion": ("ingest",),
        "kafka": ("KafkaSettings", "KafkaSource", "open_stream"),
        "landing": ("open_landing", "require_landing"),
        "letters": ("DeadLetter",),
        "load_spec": ("LoadSpec",),
        "notifications": ("ObjectEvent", "Parsed", "Refusal"),
        "placing": ("uri_of",),
        "queue_services": ("open_queue",),
        "queues": ("ArrivalQueue", "Drained", "drain", "published", "quarantined", "store_refused"),
        "records": ("StreamRecord", "read_archive"),
        "replaying": ("replay_records",),
        "source": ("HttpOptions", "NotificationOptions", "SourceSpec", "SqlOptions", "StreamOptions"),
        "sql": ("ingest_table", "position_of"),
        "sql_source": ("Position", "SqlSource", "table_of"),
        "sqlalchemy_target": ("SqlAlchemyTarget",),
        "streaming": ("ingest_stream",),
        "streamlog": ("StreamLog",),
        "streams": ("StreamSource", "published_offsets"),
        "tables": ("LoadReport", "load_table"),
        "targets": ("DuckdbTarget", "PostgresTarget"),
        "warehouse": ("load_partitions", "open_target"),
    },
)
