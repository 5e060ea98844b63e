"""What runs in a function of AWS Lambda: numpy and xgboost or lightgbm from its layers, sent along with the model.

{"rows": [[1.5, null, 3], ...]}                                  answers {"version": ..., "scores": [...]}
{"input": "s3://bucket/rows.csv", "output": "s3://bucket/scores.csv"}    reads rows of CSV, writes a score a line

A row has the features in the model's order, categories as their codes, flags as 0 and 1; null or an empty field is missing.
"""

import json
import pathlib
from typing import Any

HERE = pathlib.Path(__file__).parent
LETTERS = {"number": "q", "bool": "i", "category": "c"}
held: dict[str, Any] = {}


def handler(event: dict[str, Any], context: object = None) -> dict[str, Any]:
    """Score the rows of an event, or those of an object; of a model of several classes each row gives a list."""
    if "rows" in event:
        scores = score([[float("nan") if value is None else float(value) for value in row] for row in event["rows"]])
        return {"version": model()["version"], "scores": scores}
    lines = read(event["input"]).decode().splitlines()
    scores = score([[float(field) if field else float("nan") for field in line.split(",")] for line in lines])
    told = [",".join(map(repr, one)) if isinstance(one, list) else repr(one) for one in scores]
    write(event["output"], "".join(f"{line}\n" for line in told).encode())
    return {"version": model()["version"], "rows": len(scores), "output": event["output"]}


def model() -> dict[str, Any]:
    """The model of this version, read once a container."""
    if not held:
        told = json.loads((HERE / "job.json").read_text())
        if told["estimator"] == "lightgbm":
            import lightgbm

            booster: Any = lightgbm.Booster(model_str=(HERE / "model.txt").read_text())
        else:
            import xgboost

            booster = xgboost.Booster(model_file=bytearray((HERE / "model.ubj").read_bytes()))
        held.update({**told, "booster": booster})
    return held


def score(rows: list[list[float]]) -> list[Any]:
    """A number for each row, or one for each class."""
    import numpy as np

    known = model()
    if not rows:
        return []
    wrong = next((place for place, row in enumerate(rows) if len(row) != len(known["kinds"])), None)
    if wrong is not None:
        raise ValueError(f"expected {len(known['kinds'])} features in row {wrong}, found {len(rows[wrong])}")
    matrix, booster = np.array(rows, dtype=np.float32), known["booster"]
    if known["estimator"] == "lightgbm":
        raw = booster.predict(matrix, num_threads=1)
    else:
        import xgboost

        types = [LETTERS[kind] for kind in known["kinds"]]
        raw = booster.predict(xgboost.DMatrix(matrix, feature_types=types, missing=np.nan), validate_features=False)
    found = np.asarray(raw, dtype=np.float64) + known["offset"]
    return list(found.tolist())


def read(url: str) -> bytes:
    """An object; boto3 is there in every function."""
    import boto3

    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bytes(boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())


def write(url: str, data: bytes) -> None:
    """Put an object."""
    import boto3

    bucket, _, key = url.removeprefix("s3://").partition("/")
    boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=data)
