"""Every metric that is exported, once: the exporter, the rules, the dashboard and the docs are held against this list."""

from orchestrai.observability.metrics.exposition import Metric

ASSET = ("pipeline", "asset", "stage")
DATASET = ("pipeline", "dataset")

# what heads and receipts say, at each scrape
ROWS = Metric("orchestrai_asset_rows", "Rows of the published version.", ASSET)
BYTES = Metric("orchestrai_asset_bytes", "Bytes of the published version.", ASSET)
PARTITIONS = Metric("orchestrai_asset_partitions", "Partitions of the published version.", ASSET)
NEWEST_ROWS = Metric("orchestrai_asset_newest_partition_rows", "Rows of the newest partition, by its key.", ASSET)
PUBLISHED = Metric("orchestrai_asset_published_timestamp_seconds", "When the published version was published.", ASSET)
WALL = Metric("orchestrai_asset_stage_wall_seconds", "How long the step took that published it.", ASSET)
CPU = Metric("orchestrai_asset_stage_cpu_seconds", "CPU seconds of the step that published it.", ASSET)
READ = Metric("orchestrai_asset_stage_read_bytes", "Bytes that this step read.", ASSET)
COST = Metric("orchestrai_asset_stage_cost_usd", "What this step cost elsewhere, where its receipt has a price.", ASSET)
CHECKS = Metric("orchestrai_asset_checks", "Verdicts on the receipt of the published version.", (*ASSET, "outcome"))
FAILING = Metric("orchestrai_check_failing", "1 for each check that did not pass.", (*ASSET, "check", "severity"))
NEWEST_EVENT = Metric(
    "orchestrai_dataset_newest_event_timestamp_seconds", "The newest event time in the raw events.", DATASET
)
FRESH_FOR = Metric("orchestrai_dataset_freshness_promise_seconds", "How old it may be by its contract.", DATASET)
LETTERS = Metric("orchestrai_dataset_dead_letters", "Refused rows and objects that wait for a replay.", DATASET)
BACKED_UP = Metric("orchestrai_backup_last_success_timestamp_seconds", "When its newest snapshot was published.", DATASET)
RPO_TARGET = Metric("orchestrai_backup_rpo_target_seconds", "How much may be lost, as declared.", DATASET)
RTO_TARGET = Metric("orchestrai_backup_rto_target_seconds", "How long a restore may take, as declared.", DATASET)
RTO = Metric("orchestrai_drill_rto_seconds", "The slowest restore of the newest drill.", ("pipeline", "asset"))
DRILLED = Metric("orchestrai_drill_timestamp_seconds", "When the newest drill was published.", ("pipeline", "asset"))
MODEL = Metric("orchestrai_model_metric", "A metric of the newest evaluation.", ("pipeline", "model", "metric"))
CHAMPION = Metric("orchestrai_model_champion_timestamp_seconds", "When the champion began to serve.", ("pipeline", "model"))
PROMOTED = Metric(
    "orchestrai_model_candidate_serves", "1 while the newest candidate is the champion.", ("pipeline", "model")
)

# what needs a look at stores or a comparison of many records: at most once in the declared refresh
RPO = Metric("orchestrai_backup_rpo_seconds", "How old the oldest is that no counted snapshot protects.", DATASET)
UNPROTECTED = Metric("orchestrai_backup_unprotected", "How many objects or records no counted snapshot protects.", DATASET)
HELD = Metric("orchestrai_gate_held_partitions", "Partitions that wait for a yes, or for more data.", ("pipeline", "asset"))
REFUSED = Metric("orchestrai_gate_refused_partitions", "Partitions whose gate is closed otherwise.", ("pipeline", "asset"))
STALE = Metric(
    "orchestrai_stale_partitions", "Published partitions that would come out otherwise now.", ("pipeline", "asset")
)
LANDED = Metric("orchestrai_landing_objects", "Where landed objects are.", (*DATASET, "place"))
WAITING = Metric("orchestrai_landing_oldest_waiting_timestamp_seconds", "When the oldest waiting object landed.", DATASET)
COST_DAY = Metric(
    "orchestrai_pipeline_day_cost_usd", "What its runs cost today (UTC), by the prices that apply.", ("pipeline",)
)
COST_CPU = Metric("orchestrai_pipeline_day_cpu_seconds", "CPU seconds of its runs today (UTC).", ("pipeline",))
COST_RUNS = Metric(
    "orchestrai_pipeline_day_runs", "Its runs of today (UTC), by what became of them.", ("pipeline", "outcome")
)
BUDGET = Metric("orchestrai_budget_used_ratio", "The share of a declared budget that is used.", ("pipeline", "of", "per"))
SURVEYED = Metric("orchestrai_survey_timestamp_seconds", "When landings, RPO, gates and staleness were looked at.")
SURVEY_CPU = Metric("orchestrai_survey_cpu_seconds", "CPU seconds that this took.")

# Dagster's own
RUNS = Metric("orchestrai_runs", "Runs in Dagster's storage.", ("status",))
HEARTBEAT = Metric("orchestrai_daemon_heartbeat_timestamp_seconds", "When a daemon was last alive.", ("daemon",))
TICK = Metric(
    "orchestrai_tick_failed", "1 where the newest tick of a sensor or schedule that is on failed.", ("instigator",)
)
OLDEST_RUN = Metric("orchestrai_oldest_unfinished_run_timestamp_seconds", "When the oldest run that is not over was made.")

# the signed log of alerts
ALERTS = Metric("orchestrai_alerts", "Alerts that are not resolved.", ("kind", "severity", "state"))
OWED = Metric("orchestrai_alert_messages_owed", "Messages that a receiver has not taken yet.", ("receiver",))

PROBLEM = Metric("orchestrai_metrics_problem", "1 where something could not be read; all else is told.", ("source",))
LEFT_OUT = Metric("orchestrai_pipeline_left_out", "1 for a pipeline whose declarations do not load.", ("pipeline",))
SCRAPE_CPU = Metric("orchestrai_scrape_cpu_seconds", "CPU seconds of this scrape.")

METRICS: tuple[Metric, ...] = (
    ROWS, BYTES, PARTITIONS, NEWEST_ROWS, PUBLISHED, WALL, CPU, READ, COST, CHECKS, FAILING, NEWEST_EVENT, FRESH_FOR, LETTERS,
    BACKED_UP, RPO_TARGET, RTO_TARGET, RTO, DRILLED, MODEL, CHAMPION, PROMOTED, RPO, UNPROTECTED, HELD, REFUSED, STALE, LANDED,
    WAITING, COST_DAY, COST_CPU, COST_RUNS, BUDGET,
    SURVEYED, SURVEY_CPU, RUNS, HEARTBEAT, TICK, OLDEST_RUN, ALERTS, OWED, PROBLEM, LEFT_OUT, SCRAPE_CPU,
)  # fmt: skip
