"""What is operated in a chaos test: two datasets by hour, one landing in a folder and one behind HTTP; each row is known by its number."""

from pathlib import Path

PREFIX = "day"
DATASETS = ("sales", "visits")
DAY = "2026-10-01"

_DATASET = """
  - name: {name}
    source: {{url: "{url}", format: csv, ask_again: 2s, reconcile_every: 10s}}
    contract: {name}.contract.yaml
    partitions: {{grain: hour, start: 2026-10-01, end: 2026-10-02}}
    backup: {{rpo: 3000d}}
    retries: {{max: 2, delay: 2s}}
"""
_CONTRACT = """
kind: DataContract
apiVersion: v3.0.2
id: {name}
name: {name}
version: 1.0.0
status: active
schema:
  - name: {name}
    properties:
      - {{name: number, logicalType: integer, required: true}}
      - {{name: ts, logicalType: timestamp, required: true}}
      - {{name: cents, logicalType: integer, required: true, logicalTypeOptions: {{minimum: 0}}}}
customProperties:
  - {{property: eventTime, value: ts}}
  - {{property: volume, value: {{method: none}}}}
"""


def declare(folder: Path, urls: dict[str, str]) -> Path:
    """The pipeline's folder, with a landing for each dataset."""
    folder.mkdir(parents=True)
    text = f"pipeline: {PREFIX}\ndatasets:" + "".join(_DATASET.format(name=name, url=urls[name]) for name in DATASETS)
    (folder / "pipeline.yaml").write_text(text)
    for name in DATASETS:
        (folder / f"{name}.contract.yaml").write_text(_CONTRACT.format(name=name))
    return folder


def csv_of(hour: int, numbers: list[int], broken: bool = False) -> bytes:
    """Rows of an hour. A broken object has every amount below nought, which its contract refuses."""
    lines = [f"{number},{DAY}T{hour:02d}:{number % 60:02d}:00Z,{-1 if broken else number % 500}" for number in numbers]
    return "\n".join(["number,ts,cents", *lines, ""]).encode()
