"""What a person needs next to an asset, shown on its page: Dagster has no place of its own for a trace, a gate, or a snapshot."""

import os
from collections.abc import Mapping

import dagster as dg

from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.project.project_place import project_path
from orchestrai.stage.stage import AssetNode

Command = tuple[str, str]

_GATES = ("what its gate holds back, and why", "orchestrai gate list")
_LANDED = ("which objects were taken, and which not", "orchestrai landing status {subject}")
_LETTERS = ("rows that could not be read", "orchestrai deadletters list {subject}")
_SNAPSHOTS = ("the snapshots there are", "orchestrai vault list {subject}")
_VERIFY = ("are these snapshots whole? (every byte: add `--level read`)", "orchestrai vault verify --dataset {subject}")
_STALE = ("what would come out otherwise now", "orchestrai stale {pipeline}")
_WAY = ("its way back to landed objects", "orchestrai model trace {asset}")
_REPORT = ("the state of everything, as a page with plots", "orchestrai report --out report.html")
_COSTS = ("what runs cost by day, as a page", "orchestrai cost report {pipeline} --html costs.html")
_LETTING_GO = ("what would be let go now (changes nothing)", "orchestrai vault prune --dry-run")
_PAGE = ("its page: trace, proof, evaluation, what a rebuild takes", "orchestrai model page {subject}@%s --out {file}.html")
_MODEL = (
    ("where it comes from, down to landed objects", "orchestrai model trace {subject}@champion"),
    ("its versions, and why one was promoted or not", "orchestrai model list {subject}"),
    (
        "its proof, for somebody without orchestrai",
        "orchestrai export {subject}@champion --format proof --to {file}-proof.zip",
    ),
)
_DATABASE = ("what can be restored, and what would be lost now", "orchestrai backup status {subject}")
# {asset} is the ledger's name, {subject} what stands before its last part, {file} that as a file's name, {pipeline} the first part
_BY_STAGE: Mapping[str, tuple[Command, ...]] = {
    "landing": (_LANDED,),
    "raw_events": (_GATES, _LANDED, _LETTERS, _REPORT),
    "dead_letters": (("the refused rows and their reasons", "orchestrai deadletters list {subject} --each"),),
    "snapshot": (_SNAPSHOTS, _VERIFY),
    "restored": (_SNAPSHOTS, _GATES, _WAY),
    "features": (_STALE, _GATES, _WAY),
    "training_set": (_STALE, _WAY),
    "candidate": ((_PAGE[0], _PAGE[1] % "candidate"), *_MODEL[:2]),
    "evaluation": ((_PAGE[0], _PAGE[1] % "candidate"), *_MODEL[:2], _REPORT),
    "champion": ((_PAGE[0], _PAGE[1] % "champion"), *_MODEL),
    "deployment": (_MODEL[1],),
    "predictions": (_STALE, _WAY),
    "warehouse": (_STALE,),
    "table": (_STALE,),
    "feature_backup": (_SNAPSHOTS, _VERIFY),
    "model_backup": (_SNAPSHOTS, _VERIFY),
    "dump": (_SNAPSHOTS, _VERIFY),
    "base": (_DATABASE,),
    "wal": (_DATABASE,),
    "drill": (("restore it now, to scratch, and prove it", "orchestrai vault drill {subject}"), _SNAPSHOTS, _REPORT),
    "retention": (_SNAPSHOTS, _LETTING_GO),
    "prune": (_LETTING_GO,),
    "heal": (
        ("compare and mend the copies now", "orchestrai vault heal"),
        ("is the vault whole?", "orchestrai vault verify"),
    ),
    "catalog": (("all that is current", "orchestrai report"), _REPORT),
    "costs": (_COSTS,),
}
# what to read when an asset of a stage is red; check-failed where a stage is not named
_RUNBOOKS: Mapping[str, tuple[str, ...]] = {
    "landing": ("silence", "unprotected"),
    "raw_events": ("gate-closed", "held"),
    "dead_letters": ("dead-letters",),
    "snapshot": ("unprotected", "vault-finding"),
    "restored": ("gate-closed", "unprotected"),
    "features": ("gate-closed", "stale"),
    "training_set": ("sla-missed", "stale"),
    "candidate": ("sla-missed",),
    "evaluation": ("promotion-refused",),
    "champion": ("promotion-refused", "champion-old"),
    "predictions": ("champion-old", "stale"),
    "feature_backup": ("unprotected",),
    "model_backup": ("unprotected",),
    "dump": ("unprotected",),
    "base": ("unprotected",),
    "wal": ("unprotected",),
    "drill": ("drill-overdue",),
    "heal": ("vault-finding",),
    "catalog": ("run-failed",),
    "costs": ("over-budget", "cost-unrecorded"),
}

# whose versions are a model's
_VERSION_PAGE = dict.fromkeys(("candidate", "champion"), "orchestrai model page {version} --out {file}-{digits}.html")


def commands_of(node: AssetNode) -> list[Command]:
    """What each command says, and the command: first what shows more of the asset, last what to do when it is red."""
    subject = node.asset.rpartition("/")[0]
    names = {"asset": node.asset, "subject": subject, "pipeline": node.pipeline, "file": subject.replace("/", "-")}
    shown, runbooks = _BY_STAGE.get(node.stage.name, ()), _RUNBOOKS.get(node.stage.name, ("check-failed",))
    # rows of a table or a stream are no objects that could lie there untaken
    landing = isinstance(node.subject, DatasetNode) and node.subject.source.kind == "objects"
    return [
        *((what, typed.format(**names)) for what, typed in shown if landing or (what, typed) != _LANDED),
        *((f"what to do: {kind}", f"orchestrai alerts runbook {kind}") for kind in runbooks),
    ]


def asset_commands(node: AssetNode) -> str:
    """The commands that say more of an asset, and the folder where they mean this project as they stand; Markdown.

    They end its description, which every page of Dagster shows first: metadata lies below all figures of a model.
    """
    project = project_path()
    folder = project.parent if project is not None else os.getcwd()
    lines = [f"- {what}: `{typed}`" for what, typed in commands_of(node)]
    return "\n".join([f"Next, in the project's folder (`cd {folder}`):", "", *lines])


def version_page(node: AssetNode, version: str) -> dg.MarkdownMetadataValue | None:
    """The command that writes the page of the very version that was published; None for what is no model."""
    typed = _VERSION_PAGE.get(node.stage.name)
    if typed is None:
        return None
    subject, digits = node.asset.rpartition("/")[0], version.removeprefix("sha256:")[:12]
    return dg.MetadataValue.md(
        f"`{typed.format(version=f'{subject}@{digits}', file=subject.replace('/', '-'), digits=digits)}`"
    )
