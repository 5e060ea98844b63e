"""Connections and the resources of dagster-aws, dagster-gcp and dagster-azure, each in the place of the other."""
