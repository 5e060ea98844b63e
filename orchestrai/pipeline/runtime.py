"""One place where declarations meet stores and stages: run a node of the graph, get a report.

Dagster, the command line and tests all call `Runtime.run`; there is no second way to materialize anything.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from orchestrai.core.identity import utc_now
from orchestrai.core.progress import Progress
from orchestrai.errors import ConfigError
from orchestrai.ledger.decisions.overrides import Override
from orchestrai.ledger.report import StageReport
from orchestrai.pipeline.backup_run import is_kept, prover, run_kept
from orchestrai.pipeline.dataset_stages import run_dataset, run_load
from orchestrai.pipeline.load import Project
from orchestrai.pipeline.model_stages import run_model, run_view
from orchestrai.pipeline.nodes import AssetNode, DatasetNode, LoadNode, ModelNode, Pipeline, ViewNode
from orchestrai.pipeline.outcomes import settle
from orchestrai.pipeline.pipeline_catalog import write_catalog
from orchestrai.pipeline.protection import run_drill
from orchestrai.pipeline.retention_stages import run_prune, run_retention
from orchestrai.pipeline.site import Site
from orchestrai.pipeline.stages import GATES
from orchestrai.settings import Settings
from orchestrai.stage.context import RunContext


class Runtime(Site):
    """A site that runs the nodes of its graph."""

    def __init__(self, settings: Settings, project: Project | None = None, clock: Callable[[], datetime] = utc_now) -> None:
        super().__init__(settings, project, clock)
        self.listener: Progress | None = None

    def run(
        self,
        node: AssetNode,
        partitions: Sequence[str],
        progress: Progress | None = None,
        *,
        overrides: Sequence[Override] = (),
    ) -> StageReport:
        """Materialize a node for some partitions; raises OrchestraiError.

        What fails its audit is not published, unless one of `overrides` waives it, which only raw events and restored data take.
        """
        if overrides and node.stage not in GATES:
            raise ConfigError(f"expected a gate of {' or '.join(GATES)} to override, found {node.stage} of {node.asset}")
        with self.ledger.reading():
            return self._run(self.context(self._told(progress), overrides), node, partitions)

    def _run(self, context: RunContext, node: AssetNode, partitions: Sequence[str]) -> StageReport:
        subject = node.subject
        if node.stage == "retention":
            return run_retention(self, node)
        if node.stage == "prune":
            return run_prune(self, node)[0]
        if is_kept(node):
            return run_kept(self, context, node)
        if isinstance(subject, DatasetNode):
            if node.stage == "drill":
                return run_drill(self.ledger, self.vault, subject, prover(self, subject))
            return settle(run_dataset(self, context, node, subject, partitions), subject, partitions)
        if isinstance(subject, ViewNode):
            report = run_view(self, context, subject, partitions)
            return settle(report, subject.partitioned_like, partitions) if subject.partitioned_like else report
        if isinstance(subject, LoadNode):
            return run_load(self, node, subject, partitions)
        if isinstance(subject, Pipeline):
            return write_catalog(self.ledger, subject, node.asset)
        assert isinstance(subject, ModelNode)
        return run_model(self, node, subject)

    def _told(self, progress: Progress | None) -> Progress | None:
        listener = self.listener
        if listener is None or progress is None:
            return listener or progress

        def both(what: str, done: int, total: int) -> None:
            progress(what, done, total)
            listener(what, done, total)

        return both
