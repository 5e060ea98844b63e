"""What requests to SageMaker have in common: attempts at a job, names, tags, network."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from orchestrai.models.remote.spec import SageMakerPlace
from orchestrai.storage.cloud.cloud_errors import aws_errors

MADE_BY = {"Key": "made_by", "Value": "orchestrai"}


def split_url(url: str, *, folder: bool = True) -> tuple[str, str]:
    """Bucket and key of an s3:// URL; a folder's key ends in a slash."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, (key.rstrip("/") + "/" if key and folder else key)


def listed(api: Any, operation: str, member: str, **asked: Any) -> list[Mapping[str, Any]]:
    """All entries of a list, page after page: the service shows ten at a time, whatever was asked for."""
    return [one for page in api.get_paginator(operation).paginate(**asked) for one in page[member]]


def attempts_at(api: Any, kind: Literal["training", "transform"], job: str) -> dict[str, str]:
    """How each attempt at a job stands: it alone, or with a number behind; the filter of the service finds the name anywhere."""
    what = f"{kind.title()}Job"
    with aws_errors(f"AWS to list {kind} jobs"):
        found = listed(api, f"list_{kind}_jobs", f"{what}Summaries", NameContains=job)
    states = {one[f"{what}Name"]: one[f"{what}Status"] for one in found}
    return {
        name: state for name, state in states.items() if name == job or (name.startswith(f"{job}-") and attempt_of(name))
    }


def taken_up(attempts: Mapping[str, str]) -> str | None:
    """The last attempt that runs or ended well, which is taken up instead of paying for another; None where there is none."""
    live = [name for name, state in attempts.items() if state in ("InProgress", "Completed")]
    return max(live, key=attempt_of, default=None)


def attempt_of(name: str) -> int:
    """The number of an attempt, 0 for a name without one."""
    number = name.rpartition("-")[2]
    return int(number) if number.isdecimal() and len(number) < 20 else 0


def next_attempt(job: str, attempts: Iterable[str]) -> str:
    """A name that no attempt had: those of jobs are taken for ever, also after they failed."""
    return f"{job}-{max(map(attempt_of, attempts), default=0) + 1}"


def tags_of(where: SageMakerPlace) -> dict[str, Any]:
    """The declared tags, and whose it is."""
    return {"Tags": [MADE_BY, *({"Key": key, "Value": value} for key, value in (where.tags or {}).items())]}


def network_of(where: SageMakerPlace) -> dict[str, Any]:
    """The declared network, where there is one."""
    if where.network is None:
        return {}
    return {"VpcConfig": {"Subnets": list(where.network.subnets), "SecurityGroupIds": list(where.network.security_groups)}}


def model_name(stem: str, version: str, settings: Mapping[str, Any]) -> str:
    """`<stem>-<version>-<settings>` in at most 63 characters: the version and how it is run are never cut off.

    A long stem ends in its digest. What is run otherwise (an image, a network) has another name, for SageMaker changes no model.
    """
    digest = version.removeprefix("sha256:")[:12]
    how = hashlib.sha256(repr(sorted((key, repr(value)) for key, value in settings.items())).encode()).hexdigest()[:8]
    if len(stem) > 41:
        stem = f"{stem[:32].rstrip('-')}-{hashlib.sha256(stem.encode()).hexdigest()[:8]}"
    return f"{stem}-{digest}-{how}"
