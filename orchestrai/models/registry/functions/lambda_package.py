"""What a version of a Lambda function holds of a champion, and whether it answers as the champion does."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np

from orchestrai.core.canonical import canonical_json
from orchestrai.errors import ModelError
from orchestrai.models.estimators.artifact import GOLDEN_FILE, INFO_FILE, MODEL_FILES, Estimation, differing
from orchestrai.models.registry.target_port import RECEIPT_FILE, Champion
from orchestrai.models.remote import lambda_batch
from orchestrai.models.rows import Floats

MODULE = "orchestrai_batch"
HANDLER = f"{MODULE}.{lambda_batch.handler.__name__}"
# what a request may carry; a larger package would have to lie in S3
MOST_BYTES = 50 * 1024 * 1024


def package(champion: Champion, model: Estimation) -> bytes:
    """The Zip of a version: the handler, the model, what the rows mean, and its receipt; equal champions give equal bytes."""
    info = champion.scorer.info
    job = {
        "version": champion.scorer.version,
        "estimator": info.kind,
        "kinds": [column.kind for column in info.columns],
        "names": [column.name for column in info.columns],
        "offset": info.offset,
    }
    members = {
        f"{MODULE}.py": Path(lambda_batch.__file__).read_bytes(),
        "job.json": canonical_json(job),
        MODEL_FILES[info.kind]: model.encode(),
        INFO_FILE: info.encode(),
        RECEIPT_FILE: champion.receipt,
    }
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as packed:
        for name, data in sorted(members.items()):
            member = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            member.external_attr = 0o644 << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(member, data)
    found = sink.getvalue()
    if len(found) > MOST_BYTES:
        raise ModelError(
            f"expected a package of at most 50 MiB for AWS Lambda, found {len(found)} bytes: serve it elsewhere"
        )
    return found


def golden(champion: Champion) -> tuple[list[list[float | None]], Floats]:
    """The champion's golden rows as the function takes them, and what they scored at training."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(pa.BufferReader(champion.files[GOLDEN_FILE]))
    matrix = champion.scorer.rows(table.drop_columns(["prediction"])).matrix
    rows = [[None if np.isnan(value) else float(value) for value in row] for row in matrix]
    return rows, np.array(table.column("prediction").to_pylist(), dtype=np.float64)


def difference(champion: Champion, error: str | None, body: bytes, expected: Floats) -> str:
    """What is wrong with an answer; nothing where it is right."""
    try:
        told = json.loads(body)
        if error:
            return f"{told.get('errorType', error)}: {str(told.get('errorMessage', ''))[:200]}"
        if told["version"] != champion.scorer.version:
            return f"version {str(told['version'])[7:19]}"
        scores = np.array(told["scores"], dtype=np.float64)
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        return f"no answer of its handler ({exc})"
    if scores.shape != expected.shape:
        return f"scores of shape {scores.shape} in place of {expected.shape}"
    wrong = int(differing(scores, expected).sum())
    return f"{wrong} of {expected.size} golden scores to differ" if wrong else ""
