"""Lineage in the forms that other tools read, written from verified records alone; the same records give the same bytes.

`in-toto`: every receipt as it was signed, one DSSE envelope a line. `slsa`: SLSA Provenance v1 of the files, one signed DSSE envelope.
`cyclonedx`: a CycloneDX 1.7 ML-BOM. `openlineage`: run events, one a line. The last two are not signed.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from orchestrai.errors import ConfigError
from orchestrai.ledger.manifest import canonical_json
from orchestrai.ledger.signing import STATEMENT_TYPE, Signer
from orchestrai.provenance.export.cyclonedx import bill_of_materials
from orchestrai.provenance.export.openlineage import openlineage_events
from orchestrai.provenance.export.slsa import slsa_statement
from orchestrai.provenance.lineage import Step, use_of, walk
from orchestrai.provenance.verified_records import Records

FORMATS = ("in-toto", "slsa", "cyclonedx", "openlineage")
ALIASES = {"intoto": "in-toto"}


def export(records: Records, asset: str, version: str | None = None, *, form: str, signer: Signer | None = None) -> str:
    """The lineage of a model or any asset in one of FORMATS; only `slsa` is a new statement and needs a signer.

    Raises ConfigError for another form or a missing signer, NotReceipted, IntegrityError.
    """
    form = ALIASES.get(form, form)
    if form not in FORMATS:
        raise ConfigError(f"expected one of the formats {', '.join(FORMATS)}, found {form!r}")
    steps = walk(records, use_of(records, asset, version))
    if form == "cyclonedx":
        return json.dumps(bill_of_materials(records, steps), indent=2, sort_keys=True) + "\n"
    if form == "slsa":
        if signer is None:
            raise ConfigError(
                "expected a signing key for an SLSA statement, found none: export it where the model was made, or take "
                "--format in-toto, whose statements are signed already"
            )
        statement = slsa_statement(records, steps, signer.key_id)
        return signer.sign(STATEMENT_TYPE, canonical_json(statement)).decode() + "\n"
    lines = bundle(records, steps) if form == "in-toto" else map(_line, openlineage_events(records, steps))
    return "".join(f"{line}\n" for line in lines)


def _line(event: dict[str, Any]) -> str:
    return json.dumps(event, sort_keys=True, separators=(",", ":"))


def bundle(records: Records, steps: Sequence[Step]) -> Iterator[str]:
    """Every receipt as it was signed, upstream first: check each with any DSSE verifier and the public key."""
    seen = set()
    for step in reversed(steps):
        for digest in step.receipts:
            if digest not in seen:
                seen.add(digest)
                yield records.blob("receipts", digest).decode()
