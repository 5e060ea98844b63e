"""`keys list|trust|distrust`: the signed list of keys whose records count."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from orchestrai.cli.lookup import open_ledger, this_user
from orchestrai.cli.output import AsJson, emit, make_app, out, table
from orchestrai.core.identity import utc_now
from orchestrai.errors import ConfigError
from orchestrai.settings import load_settings

if TYPE_CHECKING:
    from orchestrai.ledger.trust.trust_list import TrustRecord

keys = make_app("The signed list of keys whose records count here.")
Reason = Annotated[str, typer.Option(help="why, kept in the signed list")]


@keys.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """Show the trusted keys, who signed for each, and the keys that lie in the folder without being on the list.

    Exit code 1 where such a key lies there: it counts for nothing. Example: orchestrai keys list
    """
    from orchestrai.ledger.trust.trust_list import read_trust

    trust = read_trust(load_settings().key_folder)
    signed = {record.key: record for record in trust.records}
    refused = sorted(trust.keyring.refused)
    if as_json:
        emit({"trusted": sorted(trust.keyring.keys), "refused": refused, "records": [r.as_json() for r in trust.records]})
    else:
        rows = [(name, "[green]trusted[/green]", *_who(signed.get(name))) for name in sorted(trust.keyring.keys)]
        rows += [(name, "[red]refused[/red]", "nobody", "", "not on the signed list") for name in refused]
        table("Keys", ("key", "", "signed for by", "since (UTC)", "reason"), rows)
    raise typer.Exit(1 if refused else 0)


@keys.command("trust")
def trust(key: Annotated[Path, typer.Argument(help="a public key (PEM)")], reason: Reason, as_json: AsJson = False) -> None:
    """Sign a public key onto the list with this home's own: from then on its records count here.

    Example: orchestrai keys trust .orchestrai/keys/trusted/0123456789abcdef.pem --reason "the nightly runner"
    """
    from orchestrai.ledger.signing import load_public
    from orchestrai.ledger.trust.trust_list import trust_key

    if not key.is_file():
        raise ConfigError(f"expected a public key at {key}, found no file")
    ledger = open_ledger()
    public = load_public(key.read_bytes())
    _told(trust_key(load_settings().key_folder, ledger.signer, public, utc_now(), by=this_user(), reason=reason), as_json)


@keys.command("distrust")
def distrust(
    key: Annotated[str, typer.Argument(help="a key's name, as `keys list` shows it")],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Sign a key off the list: what it signed counts no more, from the first record to the last.

    Example: orchestrai keys distrust 0123456789abcdef --reason "the runner was taken over"
    """
    from orchestrai.ledger.trust.trust_list import distrust_key

    ledger = open_ledger()
    _told(distrust_key(load_settings().key_folder, ledger.signer, key, utc_now(), by=this_user(), reason=reason), as_json)


def _who(record: "TrustRecord | None") -> tuple[str, str, str]:
    if record is None:
        return "this home's own", "", ""
    return record.signed_by + (f" ({escape(record.by)})" if record.by else ""), record.time[:19], escape(record.reason)


def _told(record: "TrustRecord", as_json: bool) -> None:
    if as_json:
        emit(record.as_json())
        return
    out.print(f"{record.change} {record.key}: record {record.seq}, {len(record.keys)} trusted keys", highlight=False)
