"""A champion as SageMaker takes it: which models, in which container, and as which archive."""

import gzip
import io
import tarfile
from pathlib import Path

from orchestrai.errors import ModelError
from orchestrai.models.estimators.artifact import MODEL_FILES, Scorer
from orchestrai.models.estimators.boosting import BoostedTrees
from orchestrai.models.estimators.lightgbm_trees import LightTrees
from orchestrai.models.remote import container_serve
from orchestrai.models.remote.sagemaker import MODEL_MEMBER
from orchestrai.models.remote.spec import image_problem

SERVER = "serve.py"
Served = BoostedTrees | LightTrees


def served_model(scorer: Scorer, image: str) -> Served:
    """The model of a champion that a container of this image serves; raises ModelError for one that it does not."""
    if not isinstance(scorer.model, Served):
        raise ModelError(
            f"expected a champion of xgboost or lightgbm for SageMaker, found {scorer.info.kind}: serve it over HTTP instead"
        )
    problem = image_problem(scorer.info.kind, image)
    if problem:
        raise ModelError(problem)
    return scorer.model


def archive(model: Served) -> bytes:
    """model.tar.gz as its container expects it; equal models give equal bytes. What serves LightGBM lies beside the model."""
    data = model.encode()
    members = {MODEL_MEMBER: data}
    if isinstance(model, LightTrees):
        members = {MODEL_FILES["lightgbm"]: data, SERVER: Path(container_serve.__file__).read_bytes()}
    sink = io.BytesIO()
    with gzip.GzipFile(fileobj=sink, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in sorted(members.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return sink.getvalue()
