"""`keys add|rotate|revoke|require|export`: changes to the vault's key log, signed by its root key."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrai.cli.keys.trust_commands import Reason
from orchestrai.cli.lookup import open_ledger, this_user
from orchestrai.cli.output import AsJson, emit, err, out, table
from orchestrai.errors import ConfigError
from orchestrai.settings import load_settings

if TYPE_CHECKING:
    from orchestrai.ledger.ledger import Ledger
    from orchestrai.ledger.trust.key_log import KeyLog
    from orchestrai.ledger.trust.key_rules import LoggedRules
    from orchestrai.vault.format.records import SnapshotCommit
    from orchestrai.vault.keys.ceremony import Ceremony, Ending

RootFile = Annotated[Path | None, typer.Option("--root", help="the root's private key, where it is not in the key folder")]
KeyName = Annotated[str, typer.Argument(help="a key's name, as `keys list` shows it")]
Since = Annotated[
    str | None,
    typer.Option("--compromised-since", help="a snapshot: what the key signed from this one on stops counting too"),
]
Apply = Annotated[
    bool, typer.Option("--apply", help="with --compromised-since: do it; without, only what would stop counting is listed")
]


def add(
    key: Annotated[Path, typer.Argument(help="a public key (PEM)")],
    reason: Reason,
    role: Annotated[
        list[str] | None, typer.Option(help="write, prune, release, decide; may be repeated; default: all")
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="let count what the key signed before it was added")] = False,
    root: RootFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign a key into the vault's key log: from the present end of each chain on, what it signs counts.

    Example: orchestrai keys add night.pem --role write --reason "the nightly runner"
    """
    from orchestrai.ledger.signing import key_id, load_public
    from orchestrai.ledger.trust.key_log import ROLES

    if not key.is_file():
        raise ConfigError(f"expected a public key at {key}, found no file")
    roles = set(role or ROLES)
    if not roles <= set(ROLES):
        raise ConfigError(f"expected roles of {', '.join(ROLES)}, found {', '.join(sorted(roles - set(ROLES)))}")
    public = load_public(key.read_bytes())
    _told(_ceremony(open_ledger(), root).add(public, roles, reason, history=history), key_id(public), as_json)


def rotate(
    reason: Reason, root: RootFile = None, since: Since = None, apply: Apply = False, as_json: AsJson = False
) -> None:
    """Give this home a new signing key, and end the one it has: what that signed counts on, and nothing more.

    A process that still writes with the old key is told so, and loses nothing. A rotation that died is finished by the next.

    Example: orchestrai keys rotate --reason "yearly"
    """
    from orchestrai.ledger.signing import load_signer
    from orchestrai.ledger.trust.home_keys import install_successor, successor_of

    ledger, folder = open_ledger(), load_settings().key_folder
    ceremony = _ceremony(ledger, root)
    log = ceremony.rules.log()
    assert log is not None
    own = load_signer(folder)
    assert own is not None
    # a rotation that died after the new key was in place is finished
    half = (str(one["key"]) for one in log.records if one["change"] == "ending" and own.key_id in one.get("add", {}))
    predecessor = next((name for name in half if log.keys[name].ending), None)
    old = predecessor or own.key_id
    commit = _since(since)
    if not _confirmed(ceremony, old, commit, apply, as_json):
        return
    if predecessor is None:
        new = successor_of(folder, own, log.root, ceremony.now(), by=ceremony.by, reason=reason)
        ceremony = replace(ceremony, voucher=new)
        ceremony.begin_end(old, reason, successor=new.private_key.public_key())
        new = install_successor(folder, log.root)
    else:
        new = own
    _told(ceremony.end(old, reason, successor=new.private_key.public_key(), since=commit), old, as_json)


def revoke(
    key: KeyName, reason: Reason, root: RootFile = None, since: Since = None, apply: Apply = False, as_json: AsJson = False
) -> None:
    """End a key: what it signed up to now counts on, and nothing more; with --compromised-since, up to a snapshot alone.

    Example: orchestrai keys revoke 0123456789abcdef --reason "the runner was stolen" --compromised-since 3f2a --apply
    """
    ledger = open_ledger()
    ceremony, commit = _ceremony(ledger, root), _since(since)
    if key == ledger.signer.key_id:
        raise ConfigError(f"expected another key than this home's own, found {key}: run `orchestrai keys rotate`")
    if _confirmed(ceremony, key, commit, apply, as_json):
        _told(ceremony.end(key, reason, since=commit), key, as_json)


def require(
    numbers: Annotated[list[str], typer.Argument(help="forget=N, release=N, erase=N: how many keys must sign")],
    reason: Reason,
    root: RootFile = None,
    as_json: AsJson = False,
) -> None:
    """Say how many keys must sign what destroys: a proposal then waits for the others (`orchestrai approvals list`).

    Example: orchestrai keys require forget=2 release=2 erase=2 --reason "two-person rule"
    """
    wanted = {}
    for one in numbers:
        name, _, number = one.partition("=")
        if not number.isdigit():
            raise ConfigError(f"expected NAME=N such as forget=2, found {one!r}")
        wanted[name] = int(number)
    _told(_ceremony(open_ledger(), root).require_approvals(wanted, reason), "", as_json)


def rotate_root(
    reason: Reason,
    root: RootFile = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="a new file for the new root's PRIVATE key; default: the key folder")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let a new key be root of the vault's key log: the old root signs it in, and signs nothing more.

    The old root's private key goes from the key folder; one that was given by --root is yours to destroy. Whoever has only the old
    fingerprint still comes to the new root; write the new one down. One that died is finished by the same command.

    Example: orchestrai keys rotate-root --root /media/old/root.pem --to /media/new/root.pem --reason "a new stick"
    """
    from orchestrai.ledger.signing import key_id
    from orchestrai.ledger.trust.home_keys import drop_root, next_root
    from orchestrai.ledger.trust.key_log import fingerprint, grouped
    from orchestrai.ledger.trust.trust_list import read_trust, trust_key

    ledger, folder = open_ledger(), load_settings().key_folder
    new, place = next_root(folder, to)
    log = _rules(ledger).log()
    assert log is None or log.roots
    if log is not None and len(log.roots) > 1 and key_id(log.root) == new.key_id:
        before = log.roots[-2]  # the one that died had signed it in
    else:
        ceremony = _ceremony(ledger, root)
        before = ceremony.root.private_key.public_key()
        log = ceremony.change_root(new, reason)
    if key_id(log.root) not in read_trust(folder).keyring.keys:
        trust_key(folder, ledger.signer, log.root, ledger.clock(), by=this_user(), reason=reason)
    signing = drop_root(folder, before, new)
    digits, left = fingerprint(log.root), root or signing
    if as_json:
        emit({"root": new.key_id, "fingerprint": digits, "before": key_id(before), "seq": log.seq})
        return
    where = place if to is not None else folder / f"root-{new.key_id}.pem"
    out.print(
        f"root key {new.key_id}: {where}; write its fingerprint down:\n{grouped(digits)}", highlight=False, soft_wrap=True
    )
    if left is not None:
        what = "is this home's signing key too: run `orchestrai keys rotate`" if signing else "counts no more: destroy it"
        out.print(f"the old root in {left} {what}", highlight=False, soft_wrap=True)


def export(
    to: Annotated[Path, typer.Argument(help="a new file")],
    key: Annotated[str | None, typer.Option("--key", help="a key's name; default: this home's own")] = None,
    root: Annotated[
        bool, typer.Option("--root", help="move the root's PRIVATE key out of the key folder into this file")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a public key to a file; or move the root's private key out, to be kept where no machine reads it.

    Example: orchestrai keys export /media/stick/root.pem --root
    """
    from orchestrai.ledger.signing import key_id, public_pem
    from orchestrai.ledger.trust.home_keys import move_root
    from orchestrai.ledger.trust.key_log import fingerprint, grouped

    ledger = open_ledger()
    log = _rules(ledger).log()
    if root:
        if log is None:
            raise ConfigError("expected a vault with a key log, found none: take a snapshot first")
        move_root(load_settings().key_folder, log.root, to)
        digits = fingerprint(log.root)
        if as_json:
            emit({"root": key_id(log.root), "fingerprint": digits, "file": str(to)})
        else:
            out.print(
                f"root key moved to {to}; write its fingerprint down:\n{grouped(digits)}", highlight=False, soft_wrap=True
            )
        return
    public = {name: one.public for name, one in log.keys.items()} if log else dict(ledger.keyring.keys)
    if log is not None:
        public[key_id(log.root)] = log.root
    name = key or ledger.signer.key_id
    if name not in public:
        raise ConfigError(f"expected one of the keys {', '.join(sorted(public))}, found {name}")
    if to.exists():
        raise ConfigError(f"expected a new file, found {to}: name another")
    to.write_bytes(public_pem(public[name]))
    if as_json:
        emit({"key": name, "file": str(to)})
    else:
        out.print(f"public key {name}: {to}", highlight=False, soft_wrap=True)


def _rules(ledger: "Ledger") -> "LoggedRules":
    from orchestrai.ledger.trust.key_rules import LoggedRules

    rules = ledger.keyring.rules
    assert isinstance(rules, LoggedRules)
    return rules


def _ceremony(ledger: "Ledger", root: Path | None) -> "Ceremony":
    from datetime import UTC

    from orchestrai.ledger.trust.home_keys import root_signer
    from orchestrai.vault.keys.ceremony import Ceremony

    rules = _rules(ledger)
    log = rules.log()
    if log is None or ledger.vault is None:
        raise ConfigError("expected a vault with a key log, found none: the first snapshot makes it")
    signer = root_signer(load_settings().key_folder, log.root, root)
    voucher = ledger.signer if ledger.signer.key_id in log.keys else None
    return Ceremony(ledger.vault, rules, signer, ledger.lake, this_user(), lambda: ledger.clock().astimezone(UTC), voucher)


def _since(snapshot: str | None) -> "SnapshotCommit | None":
    from orchestrai.cli.lookup import open_existing

    return open_existing(None).get(snapshot) if snapshot else None


def _confirmed(ceremony: "Ceremony", key: str, since: "SnapshotCommit | None", apply: bool, as_json: bool) -> bool:
    """Show what stops counting; False where somebody has to say --apply first."""
    from orchestrai.vault.keys.ceremony import require_valid

    log = ceremony.rules.log()
    assert log is not None
    require_valid(log, key)
    if since is None:
        return True
    ending = ceremony.ending(key, since)
    if apply:
        err.print(f"{len(ending.stops)} records stop counting", highlight=False)
        return True
    if as_json:
        emit({"key": key, "counts": len(ending.counts), "stops": [one.key for one in ending.stops], "applied": False})
    else:
        _show(ending)
    return False


def _show(ending: "Ending") -> None:
    rows = [(one.key, f"{one.moment:%Y-%m-%d %H:%M:%S}") for one in ending.stops[:50]]
    table(f"What would stop counting ({len(ending.stops)} records of {ending.key})", ("record", "made (UTC)"), rows)
    if len(ending.stops) > 50:
        out.print(f"and {len(ending.stops) - 50} more: --json tells all", highlight=False)
    out.print(f"{len(ending.counts)} records count on. To do it, say --apply.", highlight=False)


def _told(log: "KeyLog", key: str, as_json: bool) -> None:
    record = log.records[-1]
    if as_json:
        emit(record)
        return
    valid = [name for name, one in log.keys.items() if not one.ended]
    out.print(
        f"{record['change']} {key}: record {log.seq} of the key log, {len(valid)} valid keys",
        highlight=False,
        soft_wrap=True,
    )
