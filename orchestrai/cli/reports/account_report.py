"""`doctor --prove`: the plan first, then what came of each step."""

from typing import Annotated

import typer
from rich.markup import escape

from orchestrai.cli.output import emit, out, table

Prove = Annotated[str, typer.Option("--prove", help="try an account of aws, azure or gcp")]
GivenValues = Annotated[list[str] | None, typer.Option("--given", help="NAME=VALUE for --prove, as its plan asks for")]
Yes = Annotated[bool, typer.Option("--yes", help="run the plan of --prove")]


def prove_account(cloud: str, given: list[str], yes: bool, as_json: bool) -> None:
    """Print the plan and, with `yes`, run it; exit code 1 when a step failed or nothing was given to try."""
    from orchestrai.pipeline.accounts.account_proof import account_plan

    plan = account_plan(cloud, given)
    if not as_json:
        rows = [tuple(escape(cell) for cell in line) for line in plan.lines()]
        table(f"Plan for {cloud}", ("step", "what it does", "what it makes and removes", "not given yet"), rows)
    if not yes:
        if as_json:
            steps = [dict(zip(("step", "does", "makes", "lacks"), line, strict=True)) for line in plan.lines()]
            emit({"cloud": cloud, "plan": steps})
        else:
            out.print("Nothing was tried: give what is lacking by --given NAME=VALUE, then add --yes.", highlight=False)
        return
    found = plan.run()
    good = all(one.state != "failed" for one in found) and any(one.state == "proven" for one in found)
    if as_json:
        emit({"cloud": cloud, "proven": good, "steps": [one.__dict__ for one in found]})
    else:
        table("Proven", ("step", "state", "detail"), [(one.name, one.state, escape(one.detail)) for one in found])
    raise typer.Exit(0 if good else 1)
