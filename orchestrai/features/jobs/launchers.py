"""Which service a Spark job is started on: `ORCHESTRAI_SPARK_URL=SERVICE:FILE`."""

from orchestrai.features.jobs.cluster_job import Cluster, ClusterFile, ClusterLauncher, Size, Tell, read_file
from orchestrai.storage.cloud.job_wait import Clock


def cluster_launcher(
    where: str,
    file: str,
    script: str,
    *,
    tell: Tell | None = None,
    clock: Clock | None = None,
    size: Size | None = None,
) -> ClusterLauncher:
    """What starts jobs on a service by the parameters in `file`; `script` is the URL of `spark_job.py` for the cluster.

    `size` chooses the number of workers within the bounds that the file declares.
    """
    cluster, limits = _cluster(where, file)
    return ClusterLauncher(cluster, limits, script, tell=tell, clock=clock, size=size)


def _cluster(where: str, file: str) -> tuple[Cluster, ClusterFile]:
    if where == "databricks":
        from orchestrai.features.jobs.databricks import DatabricksFile, DatabricksJobs

        workspace = read_file(DatabricksFile, where, file)
        return DatabricksJobs(workspace), workspace
    if where == "dataproc":
        from orchestrai.features.jobs.dataproc import DataprocBatches, DataprocFile

        project = read_file(DataprocFile, where, file)
        return DataprocBatches(project), project
    if where == "synapse":
        from orchestrai.features.jobs.synapse import SynapseBatches, SynapseFile

        pool = read_file(SynapseFile, where, file)
        return SynapseBatches(pool), pool
    from orchestrai.features.jobs.emr import EmrClusters, EmrFile, EmrServerless

    account = read_file(EmrFile, where, file)
    return (EmrClusters(account) if where == "emr" else EmrServerless(account)), account
