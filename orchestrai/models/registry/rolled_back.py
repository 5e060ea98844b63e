"""Versions that a person took from serving: they come back by a person alone, never by a training that gives them again."""

from collections.abc import Sequence

from orchestrai.core.time.calendar import WHOLE
from orchestrai.errors import IntegrityError, ObjectNotFound
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.heads import Head
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.estimators.artifact import MODEL_FILES


def left_by_rollback(heads: Sequence[Head]) -> dict[str, Head]:
    """The versions that a rollback moved a champion away from, with its entry; `heads` are the champion's log, newest first.

    A version that was brought back since is none of them, and undoing a rollback leaves the version that it undoes as it was.
    """
    left: dict[str, Head] = {}
    serving = ""
    for head in reversed(heads):
        undone = left.pop(head.version, None)
        undoes = undone is not None and undone.version == serving
        if head.action == "rollback" and not undoes and serving and serving != head.version:
            left[serving] = head
        serving = head.version
    return left


def rolled_back_twin(ledger: Ledger, champion: str, candidate: Dataset) -> tuple[str, Head] | None:
    """The version that was rolled back and is the candidate, or has the very model of it, with the entry that did so; else None.

    One that was recalled is left out: it never serves again, and what is trained without its data is judged by itself.
    """
    heads = list(ledger.history(champion))
    left = left_by_rollback(heads)
    if candidate.version in left:
        return candidate.version, left[candidate.version]
    if not left:
        return None
    model = _model(candidate)
    for version, by in left.items():
        dataset = ledger.dataset(next(head for head in heads if head.version == version))
        if not _recalled(dataset) and model is not None and _model(dataset) == model:
            return version, by
    return None


def told(by: Head) -> str:
    """When and why a version was rolled back."""
    return f"rolled back on {by.time[:10]}" + (f": {by.reason}" if by.reason else "")


def _recalled(dataset: Dataset) -> bool:
    entry = dataset.partitions.get(WHOLE)
    return entry is not None and bool(dataset.recalls.find(dataset.asset, WHOLE, entry.root, entry.receipt))


def _model(dataset: Dataset) -> str | None:
    """The digest of what estimates; None where its list of files is not there. Nothing of it is used, so no receipt is asked."""
    entry = dataset.partitions.get(WHOLE)
    try:
        files = dataset.ledger.partition(entry.manifest).files if entry is not None else ()
    except (IntegrityError, ObjectNotFound):
        return None
    return next((file.sha256 for file in files if file.path in MODEL_FILES.values()), None)
