"""What a person types about an asset, shown on its page: Dagster has no place of its own for a trace, a gate, or a snapshot."""

from collections.abc import Mapping

import dagster as dg

from orchestrai.stage.stage import AssetNode

_PAGE = ("its page: trace, proof, evaluation, what a rebuild takes", "orchestrai model page {subject}@%s --out page.html")
_MODEL = (
    ("where it comes from, down to landed objects", "orchestrai model trace {subject}@champion"),
    ("its versions, and why one was promoted or not", "orchestrai model list {subject}"),
    ("its proof, for somebody without orchestrai", "orchestrai model export {subject}@champion --format proof --to proof"),
)
# {subject} is `pipeline/name`, {pipeline} the first part
_BY_STAGE: Mapping[str, tuple[tuple[str, str], ...]] = {
    "landing": (("which objects were taken, and which not", "orchestrai landing status {subject}"),),
    "raw_events": (
        ("what its gate holds back, and why", "orchestrai gate list"),
        ("which objects were taken, and which not", "orchestrai landing status {subject}"),
        ("rows that could not be read", "orchestrai deadletters list {subject}"),
    ),
    "dead_letters": (("the refused rows and their reasons", "orchestrai deadletters list {subject} --each"),),
    "snapshot": (("the snapshots there are", "orchestrai vault list {subject}"),),
    "restored": (("the snapshots there are", "orchestrai vault list {subject}"),),
    "features": (("what would come out otherwise now", "orchestrai stale {pipeline}"),),
    "training_set": (("what would come out otherwise now", "orchestrai stale {pipeline}"), *_MODEL[:1]),
    "candidate": ((_PAGE[0], _PAGE[1] % "candidate"), *_MODEL[:2]),
    "evaluation": ((_PAGE[0], _PAGE[1] % "candidate"), *_MODEL[:2]),
    "champion": ((_PAGE[0], _PAGE[1] % "champion"), *_MODEL),
    "predictions": _MODEL[:1],
}

# whose versions are a model's
_VERSION_PAGE = dict.fromkeys(("candidate", "champion"), "orchestrai model page {version} --out {file}-{digits}.html")


def asset_commands(node: AssetNode) -> dg.MarkdownMetadataValue | None:
    """The commands that say more of an asset; None where there is none."""
    lines = _BY_STAGE.get(node.stage.name, ())
    names = {"subject": node.asset.rpartition("/")[0], "pipeline": node.pipeline}
    return dg.MetadataValue.md("\n".join(f"- {what}: `{typed.format(**names)}`" for what, typed in lines)) if lines else None


def version_page(node: AssetNode, version: str) -> dg.MarkdownMetadataValue | None:
    """The command that writes the page of the very version that was published; None for what is no model."""
    typed = _VERSION_PAGE.get(node.stage.name)
    if typed is None:
        return None
    subject, digits = node.asset.rpartition("/")[0], version.removeprefix("sha256:")[:12]
    return dg.MetadataValue.md(
        f"`{typed.format(version=f'{subject}@{digits}', file=subject.replace('/', '-'), digits=digits)}`"
    )
