"""What the ledger calls an asset that Dagster names by a key."""

from typing import get_args

import dagster as dg

from orchestrai.stage.names import StageName


def ledger_name(key: dg.AssetKey) -> str:
    """The other way round of `asset_key`, for keys of the project alone."""
    group, *rest = key.path
    for stage in get_args(StageName) if len(rest) == 1 else ():
        subject = rest[0].removesuffix(f"_{stage}")
        if subject and subject != rest[0]:
            return f"{group}/{subject}/{stage}"
    return "/".join(key.path)
