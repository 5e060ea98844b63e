"""Model registries by URL: where a champion is registered besides the lake.

mlflow+https://mlflow.example.com?name=churn&experiment=orchestrai&alias=champion      also mlflow+http, mlflow+sqlite
sagemaker://churn-models?image=<ECR address>&output=s3://bucket/prefix&region=us-east-1
azureml://<subscription>/<resource group>/<workspace>/churn?output=abfss://...&datastore=<its name there>/<folder>&tag=champion
vertex://my-project/europe-west4/churn?output=gs://bucket/prefix&image=<container that would serve>&alias=champion
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, urlsplit, urlunsplit

from orchestrai.errors import ConfigError

MLFLOW_SCHEMES = ("mlflow+http", "mlflow+https", "mlflow+sqlite")
MLFLOW_OPTIONS = frozenset({"name", "experiment", "alias"})
SAGEMAKER_OPTIONS = frozenset({"image", "output", "region", "role", "endpoint", "instance_type", "instance_count"})
AZUREML_OPTIONS = frozenset({"output", "datastore", "tag"})
VERTEX_OPTIONS = frozenset({"output", "image", "alias"})
# of a model's id and of an alias, as Vertex AI takes them; a project and a location as training there does
_VERTEX = re.compile(r"[a-z][a-z0-9:.-]{4,61}[a-z0-9]/[a-z]+-[a-z]+[0-9]+/[a-z_][a-z0-9_-]{0,62}")
_ALIAS = re.compile(r"[a-z][a-z0-9-]{0,126}[a-z0-9]")
# as training in a workspace does
_AZUREML = re.compile(r"[0-9a-fA-F-]{36}/[-\w.()]{1,90}/[A-Za-z0-9][A-Za-z0-9_-]{2,32}/[A-Za-z0-9][A-Za-z0-9_-]{0,254}")
_DATASTORE = re.compile(r"[A-Za-z0-9_]+(/[A-Za-z0-9_./-]*)?")


@dataclass(frozen=True)
class Address:
    """A registry's URL taken apart; `base` has no options."""

    scheme: str
    base: str
    options: Mapping[str, str]


@dataclass(frozen=True)
class _Kind:
    """What the URL of a kind of registry may and must say; `base` reads it without its options, and raises ConfigError."""

    known: frozenset[str]
    needed: tuple[str, ...]
    base: Callable[[SplitResult, Mapping[str, str]], str]


def parse_address(url: str) -> Address:
    """Read a registry URL; raises ConfigError naming what is wrong with it."""
    parts = urlsplit(url)
    kind, options = _KINDS.get(parts.scheme), dict(parse_qsl(parts.query, keep_blank_values=True))
    if kind is None:
        expected = ", ".join(_KINDS)
        raise ConfigError(f"expected a registry of {expected}, found {url.split('?')[0]!r}: for example mlflow+https://host")
    if not (parts.netloc or parts.path):
        raise ConfigError(f"expected an address after {parts.scheme}://, found none")
    if "@" in parts.netloc:
        raise ConfigError(
            "expected a registry URL without credentials, found some: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    unknown, missing = sorted(set(options) - kind.known), [name for name in kind.needed if not options.get(name)]
    if unknown or missing:
        raise ConfigError(
            f"expected options of {', '.join(sorted(kind.known))} in {parts.scheme}://{parts.netloc}, found "
            + (f"unknown {', '.join(unknown)}" if unknown else f"none named {', '.join(missing)}")
        )
    return Address(parts.scheme, kind.base(parts, options), options)


def _mlflow(parts: SplitResult, options: Mapping[str, str]) -> str:
    if parts.scheme == "mlflow+sqlite":
        # urlunsplit drops the empty host that sqlite:/// needs
        return "sqlite://" + parts.netloc + parts.path
    return urlunsplit((parts.scheme.removeprefix("mlflow+"), parts.netloc, parts.path, "", ""))


def _sagemaker(parts: SplitResult, options: Mapping[str, str]) -> str:
    return parts.netloc


def _azureml(parts: SplitResult, options: Mapping[str, str]) -> str:
    base = f"{parts.netloc}{parts.path}"
    if not _AZUREML.fullmatch(base) or not _DATASTORE.fullmatch(options["datastore"]):
        raise ConfigError(
            "expected azureml://SUBSCRIPTION/RESOURCE_GROUP/WORKSPACE/MODEL?output=abfss://...&datastore=NAME/FOLDER, found "
            f"{base!r}: correct the URL"
        )
    if not options["output"].startswith(("abfss://", "az://")):
        raise ConfigError(f"expected an abfss:// or az:// folder as output of azureml://{base}, found another: correct it")
    return base


def _vertex(parts: SplitResult, options: Mapping[str, str]) -> str:
    base = f"{parts.netloc}{parts.path}"
    if not _VERTEX.fullmatch(base) or not _ALIAS.fullmatch(options.get("alias", "champion")):
        raise ConfigError(
            f"expected vertex://PROJECT/LOCATION/MODEL with an alias of small letters, found {base!r}: correct the URL"
        )
    if not options["output"].startswith("gs://"):
        raise ConfigError(f"expected a gs:// folder as output of vertex://{base}, found another: correct it")
    return base


_KINDS: Mapping[str, _Kind] = {
    **{scheme: _Kind(MLFLOW_OPTIONS, (), _mlflow) for scheme in MLFLOW_SCHEMES},
    "sagemaker": _Kind(SAGEMAKER_OPTIONS, ("image", "output"), _sagemaker),
    "azureml": _Kind(AZUREML_OPTIONS, ("output", "datastore"), _azureml),
    "vertex": _Kind(VERTEX_OPTIONS, ("output", "image"), _vertex),
}
