"""What a person types for a model: NAME, NAME@champion, NAME@candidate, NAME@<first digits of a version>, or an asset's key.

A name may be any that it had.
"""

from orchestrai.errors import ConfigError, NotReceipted
from orchestrai.ledger.decisions.renames import renames_in
from orchestrai.provenance.verified_records import Records

ALIASES = ("champion", "candidate")


def find_asset(records: Records, text: str) -> tuple[str, str]:
    """The asset and version meant, from records alone; raises ConfigError naming what there is."""
    renames = renames_in(records.store, records.keyring)
    name, _, which = renames.key(text).partition("@")
    assets = records.assets()
    if name in assets:
        return name, records.at(name, which or None).version
    models = sorted({asset.rsplit("/", 1)[0] for asset in assets if asset.rsplit("/", 1)[-1] in ALIASES})
    # by the name alone, as it is or was in the one pipeline that has it
    last = {model: {model.rsplit("/", 1)[-1]} for model in models}
    for rename in renames.records:
        last.setdefault(renames.key(rename.old), set()).add(rename.new.rsplit("/", 1)[-1])
    matches = [model for model in models if name == model or name in last[model]]
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
