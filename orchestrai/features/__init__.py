"""Features: views in a portable subset of Spark SQL, run with equal bytes on DuckDB and Spark; point-in-time training sets."""

from typing import TYPE_CHECKING

from orchestrai.lazy import lazily

if TYPE_CHECKING:
    from orchestrai.features.compute import compute
    from orchestrai.features.counted_rows import require_counted_rows
    from orchestrai.features.duckdb_engine import DuckDbEngine
    from orchestrai.features.engine import Engine
    from orchestrai.features.exports import register_delta, register_iceberg, write_delta
    from orchestrai.features.lineage import lineage
    from orchestrai.features.online import OnlineRow, OnlineStore, OnlineUpdate, update_online
    from orchestrai.features.online_http import features_app
    from orchestrai.features.remote import RemoteSparkEngine
    from orchestrai.features.spark_engine import SparkEngine
    from orchestrai.features.spec import AsOfSchedule, FeatureChecks, FeatureViewSpec, LabelSpec, Lookback, TableClocks
    from orchestrai.features.stats import Drift, drift, drift_verdicts, feature_stats
    from orchestrai.features.training import training_set
    from orchestrai.features.view import FeatureView, load_view

__all__ = [
    "AsOfSchedule",
    "Drift",
    "DuckDbEngine",
    "Engine",
    "FeatureChecks",
    "FeatureView",
    "FeatureViewSpec",
    "LabelSpec",
    "Lookback",
    "OnlineRow",
    "OnlineStore",
    "OnlineUpdate",
    "RemoteSparkEngine",
    "SparkEngine",
    "TableClocks",
    "compute",
    "drift",
    "drift_verdicts",
    "feature_stats",
    "features_app",
    "lineage",
    "load_view",
    "register_delta",
    "register_iceberg",
    "require_counted_rows",
    "training_set",
    "update_online",
    "write_delta",
]

lazily(
    __name__,
    {
        "compute": ("compute",),
        "counted_rows": ("require_counted_rows",),
        "duckdb_engine": ("DuckDbEngine",),
        "engine": ("Engine",),
        "exports": ("register_delta", "register_iceberg", "write_delta"),
        "lineage": ("lineage",),
        "online_http": ("features_app",),
        "online": ("OnlineRow", "OnlineStore", "OnlineUpdate", "update_online"),
        "remote": ("RemoteSparkEngine",),
        "spark_engine": ("SparkEngine",),
        "spec": ("AsOfSchedule", "FeatureChecks", "FeatureViewSpec", "LabelSpec", "Lookback", "TableClocks"),
        "stats": ("Drift", "drift", "drift_verdicts", "feature_stats"),
        "training": ("training_set",),
        "view": ("FeatureView", "load_view"),
    },
)
