"""`keys list|trust|distrust`: the keys whose records count: the vault's key log, and the home's own signed list."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from orchestrai.cli.lookup import open_ledger, this_user
from orchestrai.cli.output import AsJson, emit, err, make_app, out, table
from orchestrai.core.identity import utc_now
from orchestrai.errors import ConfigError
from orchestrai.settings import load_settings

if TYPE_CHECKING:
    from orchestrai.ledger.signing import Keyring
    from orchestrai.ledger.trust.key_log import KeyLog
    from orchestrai.ledger.trust.trust_list import TrustRecord
    from orchestrai.storage.base import Store

keys = make_app("The signed list of keys whose records count here.")
Reason = Annotated[str, typer.Option(help="why, kept in the signed list")]


@keys.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """Show the trusted keys, who signed for each, and the keys that lie in the folder without being on the list.

    Of a vault with a key log: each key, what it may sign, since when, and where it ended. Exit code 1 where a key lies in the folder
    that counts for nothing, or where the end of one was begun and not finished. Example: orchestrai keys list
    """
    from orchestrai.ledger.trust.trust_list import read_trust
    from orchestrai.storage.url import open_store

    settings = load_settings()
    trust = read_trust(settings.key_folder)
    log = governed_log(open_store(settings.vault), trust.keyring, settings.key_folder)
    signed = {record.key: record for record in trust.records}
    refused = sorted(trust.keyring.refused)
    if as_json:
        records = [record.as_json() for record in trust.records]
        emit({"trusted": sorted(trust.keyring.keys), "refused": refused, "records": records, "key_log": _log_json(log)})
    else:
        _show_log(log)
        rows = [(name, "[green]trusted[/green]", *_who(signed.get(name))) for name in sorted(trust.keyring.keys)]
        rows += [(name, "[red]refused[/red]", "nobody", "", "not on the signed list") for name in refused]
        table("Keys that this home trusts", ("key", "", "signed for by", "since (UTC)", "reason"), rows)
    unfinished = log is not None and any(key.ending for key in log.keys.values())
    raise typer.Exit(1 if refused or unfinished else 0)


@keys.command("trust")
def trust(key: Annotated[Path, typer.Argument(help="a public key (PEM)")], reason: Reason, as_json: AsJson = False) -> None:
    """Sign a public key onto the home's list: from then on its records count here, and a root that it vouches for.

    Where the vault has a key log, that decides which records of the vault count: `orchestrai keys add`.

    Example: orchestrai keys trust .orchestrai/keys/trusted/0123456789abcdef.pem --reason "the nightly runner"
    """
    from orchestrai.ledger.signing import key_id, load_public
    from orchestrai.ledger.trust.trust_list import trust_key

    if not key.is_file():
        raise ConfigError(f"expected a public key at {key}, found no file")
    ledger = open_ledger()
    public = load_public(key.read_bytes())
    _told(trust_key(load_settings().key_folder, ledger.signer, public, utc_now(), by=this_user(), reason=reason), as_json)
    rules = ledger.keyring.rules
    if rules is not None and key_id(public) not in rules.keys({key_id(public): public}):
        err.print(
            f"the vault's key log has not this key: its records there count once the root signs it, `orchestrai keys add {key}`",
            highlight=False,
            soft_wrap=True,
        )


@keys.command("distrust")
def distrust(
    key: Annotated[str, typer.Argument(help="a key's name, as `keys list` shows it")],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Sign a key off the home's list: what it signed counts no more here, from the first record to the last.

    Where the vault has a key log, that decides which records of the vault count: `orchestrai keys revoke`.

    Example: orchestrai keys distrust 0123456789abcdef --reason "the runner was taken over"
    """
    from orchestrai.ledger.trust.trust_list import distrust_key

    ledger = open_ledger()
    _told(distrust_key(load_settings().key_folder, ledger.signer, key, utc_now(), by=this_user(), reason=reason), as_json)


def governed_log(vault: "Store", keyring: "Keyring", folder: Path) -> "KeyLog | None":
    """The key log of a vault; None where it has none."""
    from orchestrai.ledger.trust.key_rules import LoggedRules, governed

    rules = governed(vault, keyring, folder=folder).rules
    assert isinstance(rules, LoggedRules)
    return rules.log()


def _log_json(log: "KeyLog | None") -> object:
    from orchestrai.ledger.trust.key_log import fingerprint

    if log is None:
        return None
    keys = [
        {
            "key": name,
            "roles": sorted(key.roles),
            "since": key.since,
            "starts": dict(key.starts),
            "ended": key.ended or None,
            "ending": key.ending,
            "ends": dict(key.ends),
            "reason": key.reason,
        }
        for name, key in sorted(log.keys.items())
    ]
    return {
        "vault": log.vault,
        "records": log.seq,
        "root": fingerprint(log.root),
        "approvals": dict(log.approvals),
        "keys": keys,
    }


def _show_log(log: "KeyLog | None") -> None:
    from orchestrai.ledger.trust.key_log import ROLES, fingerprint, grouped

    if log is None:
        out.print("The vault has no key log yet: its next snapshot begins one.", highlight=False)
        return
    rows: list[tuple[str, ...]] = []
    for name, key in sorted(log.keys.items(), key=lambda item: item[1].since):
        state = (
            f"[dim]ended by record {key.ended}[/dim]"
            if key.ended
            else "[red]ending[/red]"
            if key.ending
            else "[green]valid[/green]"
        )
        roles = "all" if len(key.roles) == len(ROLES) else ", ".join(sorted(key.roles))
        rows.append((name, state, roles, f"record {key.since}", escape(key.reason)))
    table(f"Key log of the vault ({log.seq} records)", ("key", "", "may", "since", "why ended"), rows)
    out.print(f"root: {grouped(fingerprint(log.root))}", highlight=False, soft_wrap=True)
    for what, number in sorted(log.approvals.items()):
        out.print(f"to {what} takes {number} keys", highlight=False)


def _who(record: "TrustRecord | None") -> tuple[str, str, str]:
    if record is None:
        return "this home's own", "", ""
    return record.signed_by + (f" ({escape(record.by)})" if record.by else ""), record.time[:19], escape(record.reason)


def _told(record: "TrustRecord", as_json: bool) -> None:
    if as_json:
        emit(record.as_json())
        return
    out.print(f"{record.change} {record.key}: record {record.seq}, {len(record.keys)} trusted keys", highlight=False)
