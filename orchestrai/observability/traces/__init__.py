"""Spans of runs for a tracing system, by setting: a run, its stages, their partitions; OTLP over HTTP, written here without a library."""
