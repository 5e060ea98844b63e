"""A run's log as JSON lines, one object a record, with run, job, step, asset and partition: what a log store finds again."""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

PARTITION, FIRST, LAST = "dagster/partition", "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


class JsonLines(logging.Formatter):
    """Formats records of Dagster and of anybody else; a line never holds a line end."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object."""
        meta = getattr(record, "dagster_meta", None)
        meta = meta if isinstance(meta, Mapping) else {}
        tags = meta.get("job_tags") or {}
        event = meta.get("dagster_event")
        asset = getattr(event, "asset_key", None)
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": str(meta.get("orig_message") or record.getMessage()),
            "event": getattr(event, "event_type_value", None),
            "run": meta.get("run_id"),
            "job": meta.get("job_name"),
            "step": meta.get("step_key"),
            "asset": asset.to_user_string() if asset is not None else None,
            "partition": getattr(event, "partition", None) or tags.get(PARTITION),
            "partitions": [tags[FIRST], tags[LAST]] if FIRST in tags and LAST in tags else None,
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(
            {name: value for name, value in line.items() if value is not None}, ensure_ascii=False, default=str
        )
