"""`approvals list|approve`: what waits for the signatures of several people."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from orchestrai.cli.lookup import open_ledger
from orchestrai.cli.output import AsJson, emit, make_app, out, table
from orchestrai.errors import ConfigError

if TYPE_CHECKING:
    from orchestrai.ledger.trust.approvals import Approvals, Proposal

approvals = make_app("What is proposed to be forgotten, released or erased, and waits for other people's signatures.")


@approvals.command("list")
def list_proposals(as_json: AsJson = False) -> None:
    """List the proposals, what each would do and who has signed it.

    Example: orchestrai approvals list
    """
    opened = _open()
    proposals = list(opened.all())
    if as_json:
        emit([_json(opened, one) for one in proposals])
        return
    rows = [
        (
            one.id,
            one.what,
            escape(_about(one)),
            f"{len(one.signatures)} of {opened.needed(one)}",
            ", ".join(sorted(one.signatures)),
        )
        for one in proposals
    ]
    table("Proposals", ("id", "to", "what", "signed", "by"), rows)


@approvals.command("approve")
def approve(
    name: Annotated[str, typer.Argument(help="a proposal's id, or a beginning of it that only one has")],
    as_json: AsJson = False,
) -> None:
    """Sign a proposal with this home's own key. With enough signatures, the command that proposed it does it when it is run again.

    Example: orchestrai approvals approve 3f2a
    """
    opened = _open()
    proposal = opened.sign(opened.one(name))
    if as_json:
        emit(_json(opened, proposal))
        return
    lacking = opened.needed(proposal) - len(proposal.signatures)
    then = f"{lacking} more needed" if lacking > 0 else "enough: run the command that proposed it again"
    out.print(f"signed {proposal.id} ({proposal.what} {escape(_about(proposal))}); {then}", highlight=False, soft_wrap=True)


def _open() -> "Approvals":
    from orchestrai.ledger.trust.approvals import Approvals

    ledger = open_ledger()
    if ledger.vault is None:
        raise ConfigError("expected a vault, found none: set ORCHESTRAI_VAULT_URL")
    return Approvals(ledger.vault, ledger.keyring, ledger.signer)


def _about(proposal: "Proposal") -> str:
    body = proposal.body
    if proposal.what == "erase":
        return f"person {str(body.get('person'))[:16]}"
    which = f"snapshot {body['seq']} of {body['dataset']}" if body.get("seq") else f"{body['dataset']}"
    return f"{which}: {body.get('reason', '')}"


def _json(opened: "Approvals", proposal: "Proposal") -> dict[str, object]:
    return {
        "id": proposal.id,
        "what": proposal.what,
        "record": proposal.body,
        "signed_by": sorted(proposal.signatures),
        "needed": opened.needed(proposal),
    }
