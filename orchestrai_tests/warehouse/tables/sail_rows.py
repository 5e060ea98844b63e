"""In a process of its own: the rows that Sail, by Spark's protocol, reads of a table as of each of its snapshots, as JSON."""

import json
import sys
from typing import Any


def main() -> None:
    """Arguments: the server's URL, the format, the table's place, and the name of the option followed by its values."""
    from pyspark.sql import SparkSession

    url, form, place, option, *values = sys.argv[1:]
    spark: Any = SparkSession.builder.remote(url).getOrCreate()
    found = []
    for value in values:
        rows = spark.read.format(form).option(option, value).load(place).collect()
        found.append([{name: str(item) for name, item in row.asDict().items()} for row in rows])
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
