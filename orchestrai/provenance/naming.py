"""What a person types for a model: NAME, NAME@champion, NAME@candidate, NAME@<first digits of a version>, or an asset's key."""

from orchestrai.errors import ConfigError, NotReceipted
from orchestrai.provenance.verified_records import Records

ALIASES = ("champion", "candidate")


def find_asset(records: Records, text: str) -> tuple[str, str]:
    """The asset and version meant, from records alone; raises ConfigError naming what there is."""
    name, _, which = text.partition("@")
    assets = records.assets()
    if name in assets:
        return name, records.at(name, which or None).version
    models = sorted({asset.rsplit("/", 1)[0] for asset in assets if asset.rsplit("/", 1)[-1] in ALIASES})
    matches = [model for model in models if name in (model, model.rsplit("/", 1)[-1])]
    if len(matches) != 1:
        known = ", ".join(models) or "none yet"
        raise ConfigError(f"expected one of the models {known}, or the key of an asset, found {name!r}")
    candidates = [f"{matches[0]}/{alias}" for alias in ([which] if which in ALIASES else ALIASES)]
    for asset in candidates:
        if asset not in assets:
            continue
        try:
            return asset, records.at(asset, None if which in (*ALIASES, "") else which).version
        except NotReceipted:
            continue
    raise ConfigError(
        f"expected champion, candidate or a version of {matches[0]}, found {which or 'none'!r}: train it first"
    )
