"""What a receipt must show before data or a model is used under it: every gate's verdict, inputs, code, and roots that the vault holds.

`demanding_ledger` is how a site opens its ledger, for runs and commands alike: it hands out no byte of a restored dataset, a feature
table, a training set or a model before this was asked. A signature alone says who, not that anything was proven.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from orchestrai.contracts.anomaly.ordinary import ORDINARY
from orchestrai.contracts.checks import check_names
from orchestrai.core.identity import Clock
from orchestrai.core.tree.paged_tree import PagedTree
from orchestrai.errors import NotReceipted
from orchestrai.ledger.dataset import Dataset, dataset_at
from orchestrai.ledger.heads import Head
from orchestrai.ledger.ledger import Ledger, open_ledger
from orchestrai.ledger.log import Log
from orchestrai.ledger.receipt import InputRef, Receipt
from orchestrai.models.run import CHAMPION, EVALUATION
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.settings import Settings
from orchestrai.stage.contract_record import CONTRACT_RULES, contract_of, rules_digest
from orchestrai.stage.stage import AssetNode
from orchestrai.vault.format.tree_pages import Tree
from orchestrai.vault.run import VERSION_CHECK
from orchestrai.vault.vault import Vault

if TYPE_CHECKING:
    from orchestrai.pipeline.load import Project

# what every restore judged since receipts name no contract
_OLDEST = ("schema", "row_volume", "values")
# of a champion that was brought back: its rule was judged when it was promoted
_BROUGHT_BACK = ("golden_rows",)
# how many entries before the moment of a receipt are looked at for what it read
_NEAR = 8
# up to so many partitions are looked up in a snapshot one by one
_FEW = 16
_AGAIN = "materialize it again from its inputs"
_BACK = "put another in its place: `orchestrai model rollback`, or train and promote again"


def demanding_ledger(
    settings: Settings, clock: Clock, project: "Callable[[], Project]", vault: Callable[[], Vault]
) -> Ledger:
    """The site's ledger, which hands out bytes by full evidence alone; the one way to open it for use, by runs and commands."""
    return open_ledger(settings, clock, lambda: Admission(project, vault))


class Admission:
    """Judges the receipts of one use; what was admitted once is not judged again in it."""

    def __init__(self, project: "Callable[[], Project]", vault: Callable[[], Vault]) -> None:
        self._project = project
        self._open_vault = vault
        self._admitted: set[tuple[str, str]] = set()
        self._ancestors: set[tuple[str, str]] = set()
        self._inputs_admitted: set[str] = set()
        # trees of the newest snapshots, and what all that count hold, by dataset
        self._newest: dict[str, list[Tree]] = {}
        self._looked_up: dict[str, int] = {}
        self._common: dict[str, Mapping[str, str]] = {}
        self._roots: dict[str, dict[str, set[str]]] = {}
        self._whole: set[str] = set()
        self._gates_by_contract: dict[tuple[str, str], tuple[str, ...]] = {}

    def __call__(self, dataset: Dataset, partition: str, receipt: Receipt) -> None:
        """Raise NotReceipted unless the receipt of a partition shows what its stage has to."""
        place = (dataset.partitions[partition].receipt, partition)
        if place in self._admitted:
            return
        node = self._project().nodes.get(dataset.asset)
        if node is None or not node.stage.proven:
            return
        remedy = _BACK if node.stage is CHAMPION else _AGAIN
        where = f"{dataset.asset}@{partition}"
        if receipt.stage != node.stage.name:
            raise _refused(where, f"a receipt of the stage {node.stage.name}", f"one of {receipt.stage or 'none'}", remedy)
        if not receipt.code_version:
            raise _refused(where, "the code that made it in its receipt", "none", remedy)
        judged = {verdict.check for verdict in receipt.verdicts.get(partition, ())}
        lacking = [check for check in self._gates(dataset, node, receipt) if check not in judged]
        if lacking:
            raise _refused(where, "a verdict of every gate in its receipt", f"none of {', '.join(lacking)}", remedy)
        deps = {asset for asset in node.deps if self._is_proven(asset)}
        if not node.stage.verbatim and not {ref.asset for ref in receipt.inputs} >= deps:
            raise _refused(where, f"{', '.join(sorted(deps))} as its inputs", _listed(receipt), remedy)
        self._require_inputs(dataset, node, partition, receipt)
        self._admitted.add(place)

    def _require_ancestor(self, dataset: Dataset, partition: str) -> None:
        """Raise NotReceipted unless what something was made of goes back to the vault, as it was declared when it was made.

        Its own run asked for the gates and inputs of that day; those that were declared since must not end the model that serves.
        """
        place = (dataset.partitions[partition].receipt, partition)
        node = self._project().nodes.get(dataset.asset)
        if place in self._ancestors or place in self._admitted or node is None or not node.stage.proven:
            return
        receipt = dataset.standing_receipt(partition)
        if receipt.stage != node.stage.name or not receipt.code_version or not receipt.verdicts.get(partition):
            found = f"one of {receipt.stage or 'none'} by code {receipt.code_version or 'unknown'}"
            raise _refused(f"{dataset.asset}@{partition}", f"a judged receipt of the stage {node.stage.name}", found)
        self._require_inputs(dataset, node, partition, receipt)
        self._ancestors.add(place)

    def _gates(self, dataset: Dataset, node: AssetNode[Any], receipt: Receipt) -> tuple[str, ...]:
        """The checks that close the gate: of restored data those of the contract that it was judged by."""
        # data restored before streams and tables were held has no verdict of `ordinary`, and is what it was
        own = tuple(check.name for check in node.checks if check.blocking and check.name != ORDINARY)
        if not isinstance(node.subject, DatasetNode):
            return _BROUGHT_BACK if node.stage is CHAMPION and _is_brought_back(dataset.asset, receipt) else own
        digest = str(receipt.parameters.get(CONTRACT_RULES, ""))
        place = (node.asset, digest)
        if place not in self._gates_by_contract:
            contract = None if digest == rules_digest(node.subject.contract) else contract_of(dataset.ledger, receipt)
            if contract is not None:
                own = (VERSION_CHECK.name, *(check.name for check in check_names(contract) if check.blocking))
            elif digest != rules_digest(node.subject.contract):
                own = (VERSION_CHECK.name, *_OLDEST)
            self._gates_by_contract[place] = own
        return self._gates_by_contract[place]

    def _require_inputs(self, dataset: Dataset, node: AssetNode[Any], partition: str, receipt: Receipt) -> None:
        where, subject = f"{dataset.asset}@{partition}", node.subject
        if node.stage.verbatim and isinstance(subject, DatasetNode):
            root, snapshot = dataset.partitions[partition].root, subject.asset("snapshot")
            if not any(ref.asset == snapshot and ref.partitions.get(partition) == root for ref in receipt.inputs):
                raise _refused(where, f"{snapshot} at {root} as its input", _listed(receipt))
            self._require_in_vault(dataset.ledger, subject, {partition: root}, where)
            return
        digest = dataset.partitions[partition].receipt
        if digest in self._inputs_admitted:
            return
        remedy = _BACK if node.stage is CHAMPION else _AGAIN
        if not receipt.inputs:
            raise _refused(where, f"{', '.join(sorted(node.deps))} as its inputs", "none", remedy)
        if node.stage is CHAMPION:
            self._require_same_files(dataset, node, partition, receipt)
        for ref in receipt.inputs:
            # what a candidate was compared with is nothing it learned from, and what was brought back is looked up above
            if not (ref.asset.endswith(f"/{CHAMPION.name}") and node.stage in (EVALUATION, CHAMPION)):
                self._require_input(dataset, ref, receipt, where)
        self._inputs_admitted.add(digest)

    def _require_same_files(self, dataset: Dataset, node: AssetNode[Any], partition: str, receipt: Receipt) -> None:
        """Raise NotReceipted unless a champion has the files of the candidate it names, or of an admitted champion before it."""
        where, root = f"{dataset.asset}@{partition}", dataset.partitions[partition].root
        candidates = {ref.asset: ref for ref in receipt.inputs if ref.asset in node.deps or ref.asset == dataset.asset}
        named = candidates.get(dataset.asset) or candidates.get(node.deps[0])
        if named is None:
            raise _refused(where, f"{node.deps[0]} as its input", _listed(receipt), _BACK)
        if named.partitions.get(partition) != root:
            raise _refused(where, f"{named.asset} at {root} as its input", "another", _BACK)
        if named.asset != dataset.asset:
            return
        for head in dataset.ledger.history(dataset.asset):
            first = dataset_at(dataset.ledger, head) if head.version == named.version else None
            entry = first.partitions.get(partition) if first is not None else None
            if first is None or entry is None or _is_brought_back(dataset.asset, dataset.ledger.receipt(entry.receipt)):
                continue
            self._require_ancestor(first, partition)
            return
        raise _refused(where, f"{named.version} to have been promoted before it was brought back", "no such entry", _BACK)

    def _require_input(self, dataset: Dataset, ref: InputRef, receipt: Receipt, where: str) -> None:
        node = self._project().nodes.get(ref.asset)
        if node is None:
            raise _refused(where, "declared assets as its inputs", ref.asset)
        if node.stage.verbatim and isinstance(node.subject, DatasetNode):
            self._require_in_vault(dataset.ledger, node.subject, ref.partitions, where)
            return
        source = dataset_with(dataset, ref, receipt.finished)
        for key, root in ref.partitions.items():
            if source is None or key not in source.partitions or source.partitions[key].root != root:
                raise _refused(where, f"inputs that were published, as {ref.asset}@{key} at {root}", "none of that root")
            self._require_ancestor(source, key)

    def _is_proven(self, asset: str) -> bool:
        node = self._project().nodes.get(asset)
        return node is not None and node.stage.proven

    # -- the vault -----------------------------------------------------------------------------------------------

    def _require_in_vault(self, log: Log, dataset: DatasetNode, roots: Mapping[str, str], where: str) -> None:
        """Raise NotReceipted unless snapshots that count hold every root."""
        name = dataset.asset("raw_events")
        lacking = self._not_in_newest(log, dataset, roots)
        if lacking and name not in self._whole:
            self._take(name)
            self._whole.add(name)
        lacking = [key for key in lacking if roots[key] not in self._roots.get(name, {}).get(key, ())]
        if lacking:
            raise _refused(
                where,
                f"a snapshot in the vault that counts and names {name}@{lacking[0]} at {roots[lacking[0]]}",
                "none",
            )

    def _not_in_newest(self, log: Log, dataset: DatasetNode, roots: Mapping[str, str]) -> list[str]:
        """The partitions that the newest snapshot does not hold at these roots: a few are looked up by their path in its tree, and many
        by what the restored dataset has in common with it.
        """
        name = dataset.asset("raw_events")
        if name not in self._newest:
            catalog = self._open_vault().catalog
            self._newest[name] = [catalog.tree(commit) for commit in catalog.recent(name, 1)]
        trees = self._newest[name]
        self._looked_up[name] = self._looked_up.get(name, 0) + len(roots)
        if self._looked_up[name] > _FEW:
            common = self._in_common(log, dataset)
            roots = {key: root for key, root in roots.items() if common.get(key) != root}
        return [key for key, root in roots.items() if not any(key in tree and tree[key].root == root for tree in trees)]

    def _in_common(self, log: Log, dataset: DatasetNode) -> Mapping[str, str]:
        """The roots by partition of all pages of the restored dataset whose hash stands in the newest snapshot's tree too.

        The hash is that of RFC 6962 over partitions and roots, so that it says the same as a look at each of them.
        """
        name = dataset.asset("raw_events")
        if name not in self._common:
            head, common = log.head(dataset.asset("restored")), dict[str, str]()
            mine = dataset_at(log, head).partitions if head is not None else None
            if isinstance(mine, PagedTree):
                for tree in self._newest[name]:
                    apart, _ = mine.unlike(tree)
                    common = {row.partition: row.root for row in mine.rows() if row.partition not in apart}
            self._common[name] = common
        return self._common[name]

    def _take(self, name: str) -> None:
        """Note what every snapshot that counts holds."""
        catalog = self._open_vault().catalog
        roots = self._roots.setdefault(name, {})
        for commit in catalog.visible(name, strict=False):
            for entry in catalog.tree(commit).rows():
                roots.setdefault(entry.partition, set()).add(entry.root)


def dataset_with(dataset: Dataset, ref: InputRef, read: str) -> Dataset | None:
    """The newest version of an input, or the named one where the newest holds other roots; None where nothing was published.

    `read` is a moment after it was read, near which it is looked for first.
    """
    log = dataset.ledger
    head = log.head(ref.asset)
    if head is None:
        return None
    newest = dataset_at(log, head)
    if all(key in newest.partitions and newest.partitions[key].root == root for key, root in ref.partitions.items()):
        return newest
    near = next((entry for entry in _heads_before(log, head, read) if entry.version == ref.version), None)
    named = near or next((entry for entry in log.history(ref.asset) if entry.version == ref.version), None)
    return dataset_at(log, named) if named is not None else None


def _heads_before(log: Log, newest: Head, moment: str) -> Iterator[Head]:
    """The last entries of a log up to a moment, newest first, found by halving: a long log is not walked."""
    until, low, high = datetime.fromisoformat(moment), 1, newest.seq
    while low < high:
        middle = (low + high + 1) // 2
        if datetime.fromisoformat(log.numbered(newest.asset, middle).time) <= until:
            low = middle
        else:
            high = middle - 1
    for seq in range(low, max(0, low - _NEAR), -1):
        yield log.numbered(newest.asset, seq)


def _is_brought_back(asset: str, receipt: Receipt) -> bool:
    """Whether a champion's receipt names a champion before it, as a rollback does."""
    return any(ref.asset == asset for ref in receipt.inputs)


def _listed(receipt: Receipt) -> str:
    return ", ".join(ref.asset for ref in receipt.inputs) or "none"


def _refused(where: str, expected: str, found: str, remedy: str = _AGAIN) -> NotReceipted:
    return NotReceipted(
        f"expected {expected} for {where}, found {found}: nothing proves this version; {remedy}",
        asset=where.rpartition("@")[0],
        partition=where.rpartition("@")[2],
    )
