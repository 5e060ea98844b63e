"""`vault pull`: a copy of a vault in an account of its own, which the primary neither knows nor can write to."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrai.cli.lookup import Limit, vault_key
from orchestrai.cli.output import OK, AsJson, bars, emit, out, table
from orchestrai.errors import ConfigError
from orchestrai.settings import load_settings

if TYPE_CHECKING:
    from orchestrai.ledger.signing import Keyring
    from orchestrai.storage.base import Store
    from orchestrai.vault.pull.pull import PullReport

SHOWN = 40


def pull(
    source: Annotated[str, typer.Option("--from", help="URL of the vault; reading and listing it is all that is needed")],
    to: Annotated[
        str, typer.Option("--to", help="URL of the copy, in an account that the vault's writers have no access to")
    ],
    root: Annotated[
        str, typer.Option("--root", help="fingerprint of the vault's root key, as `keys list` shows it: 32 to 64 hex digits")
    ] = "",
    keys: Annotated[
        list[Path] | None,
        typer.Option("--key", help="public key of the writer of a vault without a key log; may be repeated"),
    ] = None,
    lock: Annotated[str | None, typer.Option("--lock", help="lock what is pulled for so long, for example 30d")] = None,
    keep_forgotten: Annotated[
        str,
        typer.Option("--keep-forgotten", help="how old a snapshot must be before the vault may have it forgotten here too"),
    ] = "30d",
    take_tombstones: Annotated[
        bool, typer.Option("--take-tombstones", help="forget here at once what the vault forgot; its bytes stay")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="compare and read back what was pulled before too")] = False,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Copy a vault into another account by reading it, prove every byte and record there, and keep what was pulled whatever comes.

    Nothing is written to the vault, and nothing of the copy is removed. A vault that was rolled back, forked, damaged, or that forgot
    what is younger than --keep-forgotten, is told of by name, and the copy stays as it is there. The copy is a vault: `vault recover`
    opens it by the root's fingerprint. A sealed vault needs its wrapping key here.

    Exit code 0 when all was pulled, 1 when something of the vault is not what was pulled before, or not right.

    Example: orchestrai vault pull --from s3://prod/vault --to s3://airgap/vault --root "3f2a 77c1 ..." --lock 30d
    """
    from orchestrai.core.time.duration_cron import parse_duration
    from orchestrai.ledger.signing import load_or_create_signer
    from orchestrai.storage.url import open_within_limits
    from orchestrai.vault.pull.pull import Pull, PullTerms
    from orchestrai.vault.replica.read_only_store import ReadOnlyStore
    from orchestrai.vault.vault import Vault
    from orchestrai.vault.vault_store import identity_record

    keep = parse_duration("0d" if take_tombstones else keep_forgotten, zero=True)
    terms = PullTerms(keep, parse_duration(lock) if lock else parse_duration("0d", zero=True), full)
    settings = load_settings()
    primary, folder = ReadOnlyStore(open_within_limits(source, settings)), settings.key_folder
    keyring = _pinned(primary, root, keys or [], folder)
    encryption = vault_key(primary, keyring, folder) if identity_record(primary) is not None else None
    vault = Vault(primary, load_or_create_signer(folder), keyring, encryption=encryption)
    with bars(quiet=as_json) as progress:
        report = Pull(vault, open_within_limits(to, settings), terms, progress).run()
    if as_json:
        emit(report.as_json())
    else:
        _show(report)
    raise typer.Exit(0 if report.ok else 1)


def _pinned(primary: "Store", root: str, keys: list[Path], folder: Path) -> "Keyring":
    """The keys whose signatures count, by what the person who pulls was given on another way than the vault."""
    from orchestrai.ledger.signing import Keyring, load_keyring
    from orchestrai.ledger.trust.key_log import typed_fingerprint
    from orchestrai.ledger.trust.key_rules import governed

    if bool(root) == bool(keys):
        raise ConfigError(
            "expected the vault's root or its writer's key, found both or neither: give --root FINGERPRINT or --key PUB.pem"
        )
    if missing := [path for path in keys if not path.is_file()]:
        raise ConfigError(f"expected a public key at {missing[0]}, found no file")
    trusted = load_keyring(path.read_bytes() for path in keys) if keys else Keyring({})
    return governed(primary, trusted, folder=folder, root=typed_fingerprint(root) if root else "")


def _show(report: "PullReport") -> None:
    if report.findings:
        rows = [(one.kind, one.key, one.problem) for one in report.findings[:SHOWN]]
        table("Not as it was, or not right; left as it is", ("what", "key", "problem"), rows)
    if len(report.findings) > SHOWN:
        out.print(f"and {len(report.findings) - SHOWN:,} more: see --json")
    if report.locked_until is not None:
        out.print(f"{report.locked:,} objects locked until {report.locked_until:%Y-%m-%d %H:%M}", soft_wrap=True)
    pulled = (
        f"{report.snapshots:,} snapshots, {report.records:,} records, {report.objects:,} objects, {report.bytes:,} bytes"
    )
    out.print(f"{OK[report.ok]}: pulled {pulled} to {report.target}", soft_wrap=True)
