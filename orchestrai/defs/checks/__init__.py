"""Checks of assets as Dagster shows them: completeness, dimensions, drift, landings."""
