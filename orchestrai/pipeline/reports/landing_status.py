"""Landings held against the ledger, for whoever asks: sensors, the check `accounted`, the command line, `doctor`."""

from orchestrai.ingest.discovery.known_objects import Records
from orchestrai.ingest.discovery.partitioning import Zone
from orchestrai.ingest.discovery.reconciliation import Judge
from orchestrai.ingest.sources.landing import require_landing
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.runtime import Runtime


def judge_of(runtime: Runtime, dataset: DatasetNode, *, blank: bool = False) -> Judge:
    """The judge of a dataset's landed objects as the ledger is now, or of an empty ledger (`blank`).

    Raises StorageError where the landing cannot be looked at.
    """
    source, partitions = dataset.spec.source, dataset.spec.partitions
    zone = Zone(require_landing(runtime.landing(dataset), source), source, partitions.grain)
    records = Records(None if blank else runtime.ledger, dataset.asset("raw_events"))
    return Judge(zone, partitions.span, records, runtime.clock(), dataset.contract.hold.release_after)
