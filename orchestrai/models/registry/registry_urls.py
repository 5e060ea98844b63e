"""Model registries by URL: where a champion is registered besides the lake.

mlflow+https://mlflow.example.com?name=churn&experiment=orchestrai&alias=champion      also mlflow+http, mlflow+sqlite
sagemaker://churn-models?image=<ECR address>&output=s3://bucket/prefix&region=us-east-1
vertex://my-project/europe-west4/churn?output=gs://bucket/prefix&image=<container that would serve>&alias=champion
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from orchestrai.errors import ConfigError

MLFLOW_SCHEMES = ("mlflow+http", "mlflow+https", "mlflow+sqlite")
MLFLOW_OPTIONS = frozenset({"name", "experiment", "alias"})
SAGEMAKER_OPTIONS = frozenset({"image", "output", "region", "role", "endpoint", "instance_type", "instance_count"})
VERTEX_OPTIONS = frozenset({"output", "image", "alias"})
# of a model's id and of an alias, as Vertex AI takes them; a project and a location as training there does
_VERTEX = re.compile(r"[a-z][a-z0-9:.-]{4,61}[a-z0-9]/[a-z]+-[a-z]+[0-9]+/[a-z_][a-z0-9_-]{0,62}")
_ALIAS = re.compile(r"[a-z][a-z0-9-]{0,126}[a-z0-9]")


@dataclass(frozen=True)
class Address:
    """A registry's URL taken apart; `base` has no options."""

    scheme: str
    base: str
    options: Mapping[str, str]


def parse_address(url: str) -> Address:
    """Read a registry URL; raises ConfigError naming what is wrong with it."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.scheme in MLFLOW_SCHEMES:
        known, base = MLFLOW_OPTIONS, urlunsplit((parts.scheme.removeprefix("mlflow+"), parts.netloc, parts.path, "", ""))
        if parts.scheme == "mlflow+sqlite":
            # urlunsplit drops the empty host that sqlite:/// needs
            base = "sqlite://" + parts.netloc + parts.path
        needed: tuple[str, ...] = ()
    elif parts.scheme == "sagemaker":
        known, base, needed = SAGEMAKER_OPTIONS, parts.netloc, ("image", "output")
    elif parts.scheme == "vertex":
        known, base, needed = VERTEX_OPTIONS, f"{parts.netloc}{parts.path}", ("output", "image")
        if not _VERTEX.fullmatch(base) or not _ALIAS.fullmatch(options.get("alias", "champion")):
            raise ConfigError(
                f"expected vertex://PROJECT/LOCATION/MODEL with an alias of small letters, found {base!r}: correct the URL"
            )
        if not options.get("output", "gs://").startswith("gs://"):
            raise ConfigError(f"expected a gs:// folder as output of vertex://{base}, found another: correct it")
    else:
        expected = ", ".join((*MLFLOW_SCHEMES, "sagemaker", "vertex"))
        raise ConfigError(f"expected a registry of {expected}, found {url.split('?')[0]!r}: for example mlflow+https://host")
    if not (parts.netloc or parts.path):
        raise ConfigError(f"expected an address after {parts.scheme}://, found none")
    if "@" in parts.netloc:
        raise ConfigError(
            "expected a registry URL without credentials, found some: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    unknown, missing = sorted(set(options) - known), [name for name in needed if not options.get(name)]
    if unknown or missing:
        raise ConfigError(
            f"expected options of {', '.join(sorted(known))} in {parts.scheme}://{parts.netloc}, found "
            + (f"unknown {', '.join(unknown)}" if unknown else f"none named {', '.join(missing)}")
        )
    return Address(parts.scheme, base, options)
