"""The settings of the Dagster instance: one text, whoever starts it. Knows no Dagster."""
