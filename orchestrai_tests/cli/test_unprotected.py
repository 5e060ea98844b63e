"""What no counted snapshot protects is told by the commands that people look at."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrai.pipeline.runtime import Runtime
from orchestrai_tests.cli.conftest import DATASET, command, run

LATER = timedelta(days=3)


def test_status_and_report_tell_it(shop: Runtime, days: list[str], landing: Path) -> None:
    run(shop, days)
    code, text = command("landing", "status", DATASET, "--json")
    assert (code, json.loads(text)[0]["rpo_seconds"]) == (0, 0.0)
    late = landing / f"{days[0]}-late.csv"
    late.write_text((landing / f"{days[0]}.csv").read_text() + "\n")
    landed = (datetime.now(UTC) - LATER).timestamp()
    os.utime(late, (landed, landed))
    code, text = command("landing", "status", DATASET)
    assert (code, "rpo: 1 landed without a counted snapshot" in " ".join(text.split())) == (1, True)
    assert "rpo: 1 landed without a counted snapshot" in " ".join(command("report")[1].split())
