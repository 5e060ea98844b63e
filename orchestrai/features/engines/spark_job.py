"""One run of a view on Spark: what to read, the view's text, where to write. Runs inside a session, or as a script on a cluster.

    spark-submit spark_job.py <URL of job.json>

It needs Python and PySpark alone, so that this one file is all that a cluster is given. A job names the SHA-256 of every input
file; the executors hash what they read before the view sees it. `result.json` beside the job is the receipt that comes back.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

# what makes Spark 3.5 and 4 read and write as DuckDB does
SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.int96RebaseModeInRead": "CORRECTED",
}


def configure(session: Any) -> Any:
    """The session, set to UTC, ANSI and microsecond timestamps."""
    for name, value in SETTINGS.items():
        session.conf.set(name, value)
    return session


def run_job(session: Any, job: Mapping[str, Any]) -> None:
    """Write the rows of `job["sql"]` over its tables to `job["out"]`, as Parquet in order.

    `tables` maps a name to parts, each a list of `files` with `select` expressions and `where` tests, or a `sql`; parts are
    one below the other.
    """
    named = []
    try:
        for name, parts in job["tables"].items():
            frames = [_frame(session, part) for part in parts]
            whole = frames[0]
            for frame in frames[1:]:
                whole = whole.unionAll(frame)
            whole.createOrReplaceTempView(name)
            named.append(name)
        result = session.sql(job["sql"])
        for test in job["where"]:
            result = result.where(test)
        from pyspark.sql.functions import expr

        order = [expr(text) for text in job["order"]]
        result.selectExpr(*job["select"]).orderBy(*order).write.mode("overwrite").parquet(job["out"])
    finally:
        for name in named:
            session.catalog.dropTempView(name)


def _frame(session: Any, part: Mapping[str, Any]) -> Any:
    frame = session.sql(part["sql"]) if "sql" in part else session.read.parquet(*part["files"]).selectExpr(*part["select"])
    for test in part.get("where", ()):
        frame = frame.where(test)
    return frame


def hashes(session: Any, files: Sequence[str]) -> dict[str, str]:
    """The SHA-256 of files by the last part of their path, computed where they are read."""
    if not files:
        return {}
    frame = session.read.format("binaryFile").load(list(files)).selectExpr("path", "sha2(content, 256) AS digest")
    return {row["path"].rsplit("/", 1)[-1]: row["digest"] for row in frame.collect()}


def main(url: str) -> int:
    """Run the job at `url` and leave `result.json` beside it; returns the exit code."""
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    session = configure(SparkSession.builder.getOrCreate())
    job = json.loads(_text(session, url))
    result: dict[str, Any] = {"spark": session.version, "job": job["id"]}
    digests = hashes(
        session, sorted({file for parts in job["tables"].values() for part in parts for file in part.get("files", ())})
    )
    wrong = sorted(name for name, digest in job["sha256"].items() if digests.get(name) != digest)
    if wrong:
        result["error"] = f"integrity: expected {wrong[0]} to be the bytes that were verified, found others"
    else:
        try:
            run_job(session, job)
        except PySparkException as exc:
            result["error"] = str(exc)[:2000]
        else:
            written = [row["path"] for row in session.read.format("binaryFile").load(job["out"]).select("path").collect()]
            result["inputs"], result["outputs"] = digests, hashes(session, sorted(written))
    # the receipt first: what cannot be told must not lose it
    _put(session, url.rsplit("/", 1)[0] + "/result", json.dumps(result, sort_keys=True))
    _tell(result)
    return 1 if "error" in result else 0


def _tell(result: dict[str, Any]) -> None:
    """Report to Dagster, where this process was started through Pipes and has its package."""
    if "DAGSTER_PIPES_MESSAGES" not in os.environ:
        return
    try:
        from dagster_pipes import PipesEnvVarParamsLoader, PipesS3MessageWriter, open_dagster_pipes

        writer = None
        if "bucket" in PipesEnvVarParamsLoader().load_messages_params():  # type: ignore[no-untyped-call]
            import boto3

            writer = PipesS3MessageWriter(client=boto3.client("s3"))
    except ImportError:
        return
    with open_dagster_pipes(message_writer=writer) as pipes:
        pipes.log.info(f"spark {result['spark']}: {result.get('error') or str(len(result['outputs'])) + ' file(s) written'}")
        pipes.report_custom_message(result)


def _text(session: Any, url: str) -> str:
    return "\n".join(row["value"] for row in session.read.text(url).collect())


def _put(session: Any, folder: str, text: str) -> None:
    """One line of text in a folder: what Spark can write to any store."""
    from pyspark.sql.functions import lit

    session.range(1).select(lit(text).alias("value")).coalesce(1).write.mode("overwrite").text(folder)


if __name__ == "__main__":
    code = main(sys.argv[1])
    # some clusters take any exit of a script, even with 0, for its failure
    if code:
        sys.exit(code)
