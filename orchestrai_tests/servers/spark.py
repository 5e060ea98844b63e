"""One Spark for all tests of a process: a JVM takes longer to start than most of them to run."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from orchestrai_tests.servers.process import ServerAbsent

# the data are small: one partition each, no user interface, loopback only, and a JVM that ends before its second compiler would pay
SMALL = {
    "spark.ui.enabled": "false", "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "1g", "spark.sql.shuffle.partitions": "1", "spark.sql.session.timeZone": "America/New_York",
    "spark.sql.adaptive.enabled": "false", "spark.default.parallelism": "1", "spark.sql.catalogImplementation": "in-memory",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto",
}  # fmt: skip


@contextmanager
def local_spark() -> Iterator[Any]:
    """A session of this process with two cores, whose Python workers run this interpreter."""
    if shutil.which("java") is None:
        raise ServerAbsent("no Java runtime")
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").appName("orchestrai-tests")
    for name, value in SMALL.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield session
    finally:
        session.stop()
