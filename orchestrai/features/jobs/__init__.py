"""Views on clusters: one port for Spark jobs of EMR, Databricks, Dataproc and Synapse."""
