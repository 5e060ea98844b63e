"""`vault recover`: a vault on a machine that has nothing but its URL and the fingerprint of its root."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrai.cli.lookup import this_user
from orchestrai.cli.output import AsJson, emit, out
from orchestrai.core.identity import utc_now
from orchestrai.settings import load_settings

if TYPE_CHECKING:
    from orchestrai.ledger.trust.key_log import KeyLog
    from orchestrai.settings import Settings


def recover(
    url: Annotated[str, typer.Argument(help="URL of the vault, or of a replica of it")],
    fingerprint: Annotated[
        str,
        typer.Option("--root-fingerprint", help="of the vault's root key, as `keys list` showed it: 32 to 64 hex digits"),
    ],
    root: Annotated[
        Path | None,
        typer.Option("--root", help="the root's private key, to let this machine's new key write, prune and decide"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Begin a home on an empty machine: the vault is read by its root's fingerprint alone, and this machine gets a new key.

    From then on every command reads, verifies and restores. Writing takes the root: with --root here, or by `keys add` where it lies.
    A sealed vault also needs its wrapping key: the file `vault.key` in the key folder, or its key service.

    Example: orchestrai vault recover s3://backup/vault --root-fingerprint "3f2a 77c1 ..."
    """
    from orchestrai.ledger.signing import Keyring, load_or_create_signer
    from orchestrai.ledger.trust.home_keys import root_signer
    from orchestrai.ledger.trust.key_log import ROLES, typed_fingerprint
    from orchestrai.ledger.trust.key_rules import LoggedRules
    from orchestrai.storage.url import open_store
    from orchestrai.vault.keys.ceremony import Ceremony

    settings, store = load_settings(), open_store(url)
    folder = settings.key_folder
    rules = LoggedRules(store, Keyring({}), root=typed_fingerprint(fingerprint))
    log = rules.log()
    assert log is not None  # without one a root cannot be named
    signer = root_signer(folder, log.root, root) if root is not None else None
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    own = load_or_create_signer(folder)
    _trust_root(settings, log)
    if signer is not None and own.key_id not in log.keys:
        ceremony = Ceremony(store, rules, signer, store, this_user(), utc_now, own)
        log = ceremony.add(own.private_key.public_key(), ROLES, "recovery on a new machine")
    known = log.keys.get(own.key_id)
    writes = known is not None and not known.ended
    lacking = _lacking(store.url, settings)
    if as_json:
        emit({"vault": log.vault, "key": own.key_id, "may_write": writes, "keys": len(log.keys), "to_do": lacking})
        return
    out.print(
        f"vault {log.vault}: {log.seq} records in its key log, signed by the root you named", highlight=False, soft_wrap=True
    )
    out.print(f"this machine's key is {own.key_id}: it may {'write' if writes else 'read'}", highlight=False, soft_wrap=True)
    if not writes:
        pem = folder / "trusted" / f"{own.key_id}.pem"
        out.print(
            f"to write: `orchestrai keys add {pem} --reason recovery --root ROOT.pem`", highlight=False, soft_wrap=True
        )
    for line in lacking:
        out.print(line, highlight=False, soft_wrap=True)


def _trust_root(settings: "Settings", log: "KeyLog") -> None:
    from orchestrai.ledger.signing import key_id, load_signer
    from orchestrai.ledger.trust.trust_list import begin_trust, read_trust, trust_key

    folder = settings.key_folder
    own = load_signer(folder)
    assert own is not None
    begin_trust(folder, own, utc_now())
    if key_id(log.root) not in read_trust(folder).keyring.keys:
        trust_key(folder, own, log.root, utc_now(), by=this_user(), reason="named by its fingerprint at a recovery")


def _lacking(url: str, settings: "Settings") -> list[str]:
    """What is left to do before other commands work."""
    from orchestrai.storage.url import open_store

    lines = []
    if open_store(settings.vault).url != url:
        lines.append(f"set ORCHESTRAI_VAULT_URL={url}, or give --vault {url}")
    return [*lines, "then: orchestrai vault verify, orchestrai rebuild --bytes, orchestrai vault restore"]
