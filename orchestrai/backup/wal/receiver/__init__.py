"""The receiver of a log: the replication protocol, what is on its way, and what runs beside following."""
